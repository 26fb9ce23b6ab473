"""Repositories on the forges that are connected, over HTTP."""

from __future__ import annotations

from typing import Annotated

import httpx2
from fastapi import APIRouter, Query
from pydantic import BaseModel

from remote_claude.contracts.refusals import Refusal
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.outbound.forges import Forges
from remote_claude.runner.forges.client import ForgeFailed, connect_hint
from remote_claude.runner.forges.forge_token import forge_token
from remote_claude.runner.forges.kinds import CLIENTS
from remote_claude.runtime.service import Runtime


class ListedRepositoryAnswer(BaseModel):
    """A repository that the token can see. `url` is what a task takes."""

    name: str
    url: str
    private: bool
    default_branch: str


class RepositoryList(BaseModel):
    """At most 100."""

    repositories: list[ListedRepositoryAnswer]


class RepositoriesNotListed(Refusal):
    """The forge is not connected, or does not answer."""

    code = "repositories_not_listed"


def add_routes(api: APIRouter, runtime: Runtime) -> None:
    """The route of repositories."""
    forges = Forges(runtime.settings.forges)

    @api.get("/v1/repositories", tags=["repositories"], responses=problems(403, 422, 503))
    async def list_repositories(
        principal: Caller,
        forge: Annotated[str, Query(max_length=32)],
        search: Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")] = "",
    ) -> RepositoryList:
        """The repositories that the caller's own token for a forge can see, without one those of the organisation's."""
        if (known := forges.by_name.get(forge)) is None:
            raise RepositoriesNotListed(f"There is no forge {forge!r}; known: {', '.join(forges.names())}.")
        try:
            token = await forge_token(runtime, principal.org, known, principal.user)
            if token is None:
                raise RepositoriesNotListed(f"There is no token for {forge}. {connect_hint(forge)}")
            async with httpx2.AsyncClient(timeout=30.0, follow_redirects=False) as client:
                found = await CLIENTS[known.kind](client, known, token).search(search)
        except ForgeFailed as error:
            why = str(error).replace(" Try again: `rclaude pr TASK`.", " Try again.")
            raise RepositoriesNotListed(why) from error
        return RepositoryList(
            repositories=[
                ListedRepositoryAnswer(
                    name=one.name, url=one.url, private=one.private, default_branch=one.default_branch
                )
                for one in found
            ]
        )
