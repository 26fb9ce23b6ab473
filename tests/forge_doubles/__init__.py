"""Forges of our own on loopback: the REST API of pull requests of each kind, and real Git over HTTP behind the same token.

Requests are refused for a field that the vendor does not document; answers have the fields that it documents, as far as a
client may read them. Pushes go to `git http-backend`, which asks for the token first.
"""

from __future__ import annotations

from collections.abc import Sequence

from .azure import AzureDouble
from .base import TOKEN, ForgeDouble
from .bitbucket import BitbucketDouble
from .gitea import GiteaDouble
from .github import GitHubDouble
from .gitlab import GitLabDouble
from .server import forge_double

__all__ = ["DOUBLES", "TOKEN", "ForgeDouble", "forge_double"]

DOUBLES: Sequence[type[ForgeDouble]] = (GitHubDouble, GitLabDouble, GiteaDouble, BitbucketDouble, AzureDouble)
