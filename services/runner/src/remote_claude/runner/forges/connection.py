"""Where the repository of a task is on a forge, and the organisation's token for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from remote_claude.contracts.contexts import repository_url_context
from remote_claude.contracts.gateway import RemoteRepository, TaskSubmitted
from remote_claude.outbound.forges import Forges
from remote_claude.runner.forges.client import ForgeClient, ForgeFailed, connect_hint
from remote_claude.runner.forges.forge_token import forge_token
from remote_claude.runner.forges.kinds import Place, place_of
from remote_claude.runner.forges.pushing import Credential
from remote_claude.runner.lineage import with_repository
from remote_claude.runtime.service import Runtime


@dataclass(frozen=True, slots=True)
class Connection:
    """A repository on a forge with a token for it. `source` is the submission that names the repository."""

    place: Place
    token: str
    source: TaskSubmitted

    @property
    def credential(self) -> Credential:
        return Credential(self.place.forge, self.place.kind.git_user, self.token)

    def client(self, http: httpx2.AsyncClient) -> ForgeClient:
        return self.place.client(http, self.token)


async def connect(runtime: Runtime, line: Sequence[TaskSubmitted]) -> Connection:
    """For a task and those that it continues. Raises `ForgeFailed`, `KeyErased`, `KeyUnusable`."""
    source, forges = with_repository(line), Forges(runtime.settings.forges)
    if not isinstance(source.repository, RemoteRepository):
        raise ForgeFailed("forge_unknown", "The task's repository has no URL on a forge.")
    url = await runtime.keyring.open(source.repository.url, repository_url_context(source.task))
    place = place_of(forges, url)
    if place is None:
        raise ForgeFailed(
            "forge_unknown",
            f"The repository is on no forge that is known here ({', '.join(forges.names())}). Take the result "
            "with `rclaude apply` and push it yourself, or ask the operator to add the forge to RCLAUDE_FORGES.",
        )
    name = place.forge.name
    token = await forge_token(runtime, source.org, place.forge, line[0].user)
    if token is None:
        raise ForgeFailed(
            "forge_token_missing", f"The organisation has no token for {name}. {connect_hint(name)}"
        )
    return Connection(place, token, source)
