"""What the doubles of all forges share: bare repositories, pull requests and the refusals of a REST API."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

TOKEN = "madeUpForTests-0123456789"
LOGINS = ("ada", "grace")
"""People whom each forge knows."""


@dataclass
class Pull:
    """A pull request, whatever its forge calls it. `remarks` are author, place and text, `checks` are name and text."""

    repository: str
    number: int
    url: str
    head: str
    base: str
    title: str
    body: str
    draft: bool
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    remarks: list[tuple[str, str, str]] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)


class Refused(Exception):
    """The forge's answer is no success."""

    def __init__(self, status: int, document: Any) -> None:
        self.status, self.document = status, document


@dataclass
class ForgeDouble(ABC):
    """Its state: bare repositories below `root`, and pull requests. `failures` answer the next requests of a method."""

    url: str
    root: Path
    pulls: list[Pull] = field(default_factory=list)
    issues: dict[int, list[str]] = field(default_factory=dict)
    """Comments on issues, by number."""
    failures: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    unauthorized: int = 0
    """Requests that came without the token."""

    app_key: RSAPublicKey | None = None
    """Of a GitHub App with the id 12, whose installation is 34."""

    kind = ""
    api = ""
    example = "ada/calc"
    git_user = ""
    templates: str = ""

    @abstractmethod
    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        """The JSON, or the text, of a success. Raises `Refused`, and `LookupError` for what is not there."""

    def repository(self, name: str, source: Path) -> str:
        """A bare copy of a repository, open for pushes with the token; its URL."""
        bare = self.root / f"{name}.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", str(source), str(bare)], check=True)
        subprocess.run(["git", "config", "http.receivepack", "true"], cwd=bare, check=True)
        return self.page(name)

    def page(self, name: str) -> str:
        return f"{self.url}/{name}"

    def git(self, name: str, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.root / f"{name}.git", check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def git_errors(self, name: str, *args: str) -> str:
        """What Git prints on standard error."""
        folder = self.root / f"{name}.git"
        return subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True).stderr

    def installation_token(self, method: str, path: str, authorization: str) -> str | None:
        """What an App asks for with a statement that its key has signed; None for any other request."""
        if self.app_key is None or (method, path) != (
            "POST",
            f"{self.api}/app/installations/34/access_tokens",
        ):
            return None
        head, claims, signed = authorization.removeprefix("Bearer ").split(".")
        self.app_key.verify(decoded(signed), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
        assert json.loads(decoded(head)) == {"alg": "RS256", "typ": "JWT"}
        said = json.loads(decoded(claims))
        assert said["iss"] == "12"
        assert said["exp"] - said["iat"] <= 600
        return TOKEN

    def bearer(self) -> str:
        return f"Bearer {TOKEN}"

    def bare_of(self, path: str) -> tuple[str, str]:
        """The repository that a path of Git names, and the rest."""
        found = re.fullmatch(r"/(.+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)", path)
        assert found, path
        return found[1], found[2]

    def open(
        self, repository: str, *, head: str, base: str, title: str, body: str, draft: bool, url: str
    ) -> Pull:
        """Raises `Refused` as the forge does."""
        heads = self.git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
        if wrong := [side for side in (head, base) if side not in heads]:
            raise Refused(*self.invalid(f"branch {wrong[0]} does not exist"))
        if self.open_of(repository, head):
            raise Refused(*self.exists())
        number = len(self.pulls) + 1
        pull = Pull(repository, number, url.format(number), head, base, title, body, draft)
        self.pulls.append(pull)
        return pull

    def open_of(self, repository: str, head: str | None = None) -> list[Pull]:
        return [
            p
            for p in self.pulls
            if p.repository == repository and p.state == "open" and head in (None, p.head)
        ]

    def pull(self, repository: str, number: str) -> Pull:
        return next(p for p in self.pulls if p.repository == repository and p.number == int(number))

    def sha(self, pull: Pull) -> str:
        return self.git(pull.repository, "rev-parse", pull.head)

    def file(self, repository: str, path: str, ref: str) -> str:
        try:
            return self.git(repository, "show", f"{ref}:{path}") + "\n"
        except subprocess.CalledProcessError:
            raise LookupError(path) from None

    def exists(self) -> tuple[int, Any]:
        return 409, {"message": "it exists"}

    def invalid(self, why: str) -> tuple[int, Any]:
        return 422, {"message": why}

    def thread(self, number: int, *, issue: bool) -> list[str]:
        """The comments on an issue or a pull request."""
        pull = next((p for p in self.pulls if p.number == number), None)
        return pull.comments if pull is not None and not issue else self.issues.setdefault(number, [])


def only(body: Any, *known: str) -> Any:
    """The body, without a field that is not documented."""
    unknown = set(body) - set(known)
    assert not unknown, f"not documented: {unknown}"
    return body


def decoded(text: str) -> bytes:
    """Base64 of a URL, without its padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def route(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, text)


def names(root: Path, depth: int | None = None) -> list[str]:
    """The repositories below a folder."""
    found = sorted(str(p.relative_to(root)).removesuffix(".git") for p in root.rglob("*.git") if p.is_dir())
    return [name for name in found if depth is None or name.count("/") == depth - 1]
