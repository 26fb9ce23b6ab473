"""What a pull request needs of any forge. A module per kind implements it with its own API; failures have the same codes everywhere."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

import httpx2

from remote_claude.outbound.forges import Forge

MAX_MESSAGE = 300
"""Characters of the forge's own message that are passed on."""
MAX_PAGES = 20
SEGMENT = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"


class ForgeFailed(Exception):
    """`code` is stable. Where `passing`, the same request may succeed later, after `retry_after` seconds if that is known."""

    def __init__(
        self, code: str, message: str, *, passing: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.passing, self.retry_after = code, passing, retry_after


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a forge. `path` is its name there, `url` is where Git finds it, without a name or a token."""

    path: str
    url: str


@dataclass(frozen=True, slots=True)
class OpenPullRequest:
    """A pull request as its forge shows it."""

    number: int
    url: str
    body: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPullRequest:
    """A pull request to open. Reviewers are named as the forge's API takes them."""

    head: str
    base: str
    title: str
    body: str
    draft: bool = False
    reviewers: Sequence[str] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ReviewComment:
    """A comment on a pull request; `place` is a file and a line, or empty."""

    author: str
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class FailedCheck:
    name: str
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a pull request still asks for."""

    review_comments: Sequence[ReviewComment] = ()
    checks: Sequence[FailedCheck] = ()


@dataclass(frozen=True, slots=True)
class ListedRepository:
    """A repository that a token can see."""

    name: str
    url: str
    private: bool
    default_branch: str


def connect_hint(name: str) -> str:
    return (
        f"Store one that may write contents and pull requests: `rclaude repo connect {name} --token-stdin`."
    )


class ForgeClient(ABC):
    """Pull requests of one repository, by one token. Every method raises `ForgeFailed`."""

    title: ClassVar[str]
    """What people call a forge of this kind."""
    git_user: ClassVar[str]
    """The name that Git signs in with; the token is the password."""
    templates: ClassVar[Sequence[str]] = ()
    """Where a repository may have a template for descriptions, the first that is there counts."""

    def __init__(self, client: httpx2.AsyncClient, forge: Forge, token: str, path: str = "") -> None:
        self._client, self._forge, self._token, self._path = client, forge, token, path

    @classmethod
    def repository(cls, forge: Forge, url: str) -> Repository | None:
        """The repository that a URL of this forge names; None for any other page of it."""
        found = re.fullmatch(rf"/({SEGMENT}/{SEGMENT})", plain_path(url))
        return Repository(found[1], f"{forge.url}/{found[1]}.git") if found else None

    @classmethod
    @abstractmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        """The repository and the number of the pull request at a URL; None for any other page."""

    @property
    @abstractmethod
    def api(self) -> str:
        """Without a slash at the end."""

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """The headers of each request, with the credential."""

    @abstractmethod
    async def find(self, branch: str) -> OpenPullRequest | None:
        """The open pull request of a branch."""

    @abstractmethod
    async def default_branch(self) -> str: ...

    @abstractmethod
    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        """Open it, without reviewers and labels."""

    @abstractmethod
    async def update(self, number: int, body: str) -> None:
        """Replace the description."""

    @abstractmethod
    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        """Ask the reviewers, set the labels. What the forge refuses is returned; the pull request stays open."""

    @abstractmethod
    async def file(self, path: str, ref: str) -> str | None:
        """A text file of the repository; None if there is none."""

    @abstractmethod
    async def feedback(self, number: int) -> Feedback:
        """Review comments and failing checks of a pull request."""

    @abstractmethod
    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        """Texts of the newest comments on a pull request, or on an issue: at least those since then (RFC 3339)."""

    @abstractmethod
    async def comment(self, number: int, text: str, *, issue: bool) -> None: ...

    @abstractmethod
    async def search(self, words: str) -> Sequence[ListedRepository]:
        """Repositories that the token can see, at most 100; those with `words` in their name."""

    async def open(self, wanted: NewPullRequest) -> OpenPullRequest:
        """Open a pull request; the one that is open already, if there is one."""
        try:
            return await self.create(wanted)
        except ForgeFailed as error:
            if error.code == "forge_refused" and (found := await self.find(wanted.head)) is not None:
                return found
            raise

    async def template(self, ref: str) -> str | None:
        """The repository's own template for descriptions."""
        for path in self.templates:
            if (text := await self.file(path, ref)) is not None:
                return text
        return None

    async def ask(self, method: str, path: str, **request: Any) -> Any:
        """The JSON of an answer; None of an empty one."""
        answer = await self.request(method, path, **request)
        try:
            return answer.json() if answer.content else None
        except ValueError as error:
            raise self._no_whole_answer("not JSON") from error

    async def request(self, method: str, path: str, **request: Any) -> httpx2.Response:
        url = path if path.startswith(self.api) else f"{self.api}{path}"
        headers = {"user-agent": "remote-claude", **self.headers, **request.pop("headers", {})}
        try:
            answer = await self._client.request(method, url, headers=headers, **request)
        except httpx2.HTTPError as error:
            raise self._no_whole_answer(type(error).__name__) from error
        if answer.is_success and answer.status_code != HTTPStatus.NON_AUTHORITATIVE_INFORMATION:
            return answer
        raise self._failure(answer)

    async def maybe(self, method: str, path: str, **request: Any) -> Any:
        """The same; None for what is not there."""
        try:
            return await self.ask(method, path, **request)
        except ForgeFailed as error:
            if error.code == "forge_not_found":
                return None
            raise

    async def text(self, path: str, **request: Any) -> str | None:
        """A file as text; None for what is not there."""
        try:
            return (await self.request("GET", path, **request)).text
        except ForgeFailed as error:
            if error.code == "forge_not_found":
                return None
            raise

    def read(self, found: Any, *path: str | int) -> Any:
        """A field of an answer. Raises `ForgeFailed` for an answer without it."""
        try:
            for name in path:
                found = found[name]
        except (KeyError, TypeError, IndexError) as error:
            raise self._no_whole_answer(f"no field {'.'.join(map(str, path))}") from error
        return found

    def _no_whole_answer(self, why: str) -> ForgeFailed:
        return ForgeFailed(
            "forge_unreachable",
            f"{self.title} gave no whole answer ({why}). Try again: `rclaude pr TASK`.",
            passing=True,
        )

    def _failure(self, answer: httpx2.Response) -> ForgeFailed:
        message, hint = _message(answer), connect_hint(self._forge.name)
        limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
        match answer.status_code:
            case HTTPStatus.UNAUTHORIZED | HTTPStatus.NON_AUTHORITATIVE_INFORMATION | HTTPStatus.FOUND:
                return ForgeFailed("forge_token_refused", f"{self.title} refused the token{message}. {hint}")
            case HTTPStatus.TOO_MANY_REQUESTS:
                return self._rate_limited(answer)
            case HTTPStatus.FORBIDDEN if limited:
                return self._rate_limited(answer)
            case HTTPStatus.FORBIDDEN:
                return ForgeFailed(
                    "forge_forbidden", f"The token may not do this in {self._path}{message}. {hint}"
                )
            case HTTPStatus.NOT_FOUND:
                return ForgeFailed(
                    "forge_not_found",
                    f"There is no repository {self._path}, or the token can't see it. {hint}",
                )
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return ForgeFailed(
                    "forge_unavailable",
                    f"{self.title} has a fault of its own ({status}). Try again: `rclaude pr TASK`.",
                    passing=True,
                )
            case status:
                return ForgeFailed(
                    "forge_refused",
                    f"{self.title} refused the pull request ({status}){message}. Correct what it names, then `rclaude pr TASK`.",
                )

    def _rate_limited(self, answer: httpx2.Response) -> ForgeFailed:
        after = answer.headers.get("retry-after", "")
        return ForgeFailed(
            "forge_rate_limited",
            f"The token has used up its requests to {self.title} for now. Try again later: `rclaude pr TASK`.",
            passing=True,
            retry_after=float(after) if after.isdecimal() else None,
        )


@dataclass(slots=True)
class Attempts:
    """Requests of which each may be refused without harm to the others."""

    refused: list[ForgeFailed] = field(default_factory=list)

    async def of(self, doing: Any) -> Any:
        """What it gives; None if it is refused. Raises `ForgeFailed` for what passes."""
        try:
            return await doing
        except ForgeFailed as error:
            if error.passing:
                raise
            self.refused.append(error)
            return None


def segment(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


def plain_path(url: str) -> str:
    """The path of a repository's URL, without what Git adds to it."""
    return urlsplit(url).path.rstrip("/").removesuffix(".git")


def path_of(url: str) -> str:
    return unquote(urlsplit(url).path)


def _message(answer: httpx2.Response) -> str:
    """The forge's own message, on one line."""
    try:
        document = answer.json()
    except ValueError:
        return ""
    words = [*_words(document)]
    text = re.sub(r"[^\x20-\x7e]+", " ", "; ".join(words))[:MAX_MESSAGE].rstrip(". ")
    return f": {text}" if text else ""


def _words(document: Any) -> Iterable[str]:
    """The sentences in an error document, however the forge nests them."""
    match document:
        case str():
            yield document
        case list():
            for one in document:
                yield from _words(one)
        case dict():
            for name in ("message", "detail", "error", "error_description", "errors"):
                yield from _words(document.get(name))
