"""The client of each kind of forge, and how a URL leads to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx2

from remote_claude.outbound.forges import Forge, Forges
from remote_claude.runner.forges.azure import AzureDevOps
from remote_claude.runner.forges.bitbucket import Bitbucket
from remote_claude.runner.forges.client import ForgeClient, Repository
from remote_claude.runner.forges.gitea import Gitea
from remote_claude.runner.forges.github import GitHub
from remote_claude.runner.forges.gitlab import GitLab

CLIENTS: Mapping[str, type[ForgeClient]] = {
    "github": GitHub,
    "gitlab": GitLab,
    "gitea": Gitea,
    "bitbucket": Bitbucket,
    "azure": AzureDevOps,
}


@dataclass(frozen=True, slots=True)
class Place:
    """A repository on a forge that is known."""

    forge: Forge
    repository: Repository

    @property
    def kind(self) -> type[ForgeClient]:
        return CLIENTS[self.forge.kind]

    def client(self, http: httpx2.AsyncClient, token: str) -> ForgeClient:
        return self.kind(http, self.forge, token, self.repository.path)


def place_of(forges: Forges, url: str) -> Place | None:
    """The repository of a URL; None for a URL of no forge that is known."""
    forge = forges.of(url)
    repository = CLIENTS[forge.kind].repository(forge, url) if forge is not None else None
    return Place(forge, repository) if forge is not None and repository is not None else None
