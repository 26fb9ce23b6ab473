"""GitHub's REST API, as far as a pull request needs it (docs.github.com/rest, version 2022-11-28).

Every answer that is no success becomes a `ForgeFailed` with a sentence that says what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

API_VERSION = "2022-11-28"
HEADERS = {
    "accept": "application/vnd.github+json",
    "x-github-api-version": API_VERSION,
    "user-agent": "remote-claude",
}
CONNECT = "Store one that may write contents and pull requests: `rclaude repo connect github --token-stdin`."
MAX_SAID = 300
"""Characters of the forge's own message that are passed on."""


class ForgeFailed(Exception):
    """`code` is stable. Where `passing`, the same request may succeed later, after `retry_after` seconds if that is known."""

    def __init__(
        self, code: str, message: str, *, passing: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.passing, self.retry_after = code, passing, retry_after


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on GitHub. `url` is where Git finds it, without a name or a token."""

    owner: str
    name: str
    url: str

    @property
    def path(self) -> str:
        return f"/repos/{quote(self.owner)}/{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class OpenPullRequest:
    """A pull request as GitHub has it."""

    number: int
    url: str


def git_origin(api: str) -> str:
    """Scheme and host of the repositories of an API: those of github.com are not on the API's own host."""
    parts = urlsplit(api)
    return "https://github.com" if parts.netloc == "api.github.com" else f"{parts.scheme}://{parts.netloc}"


def repository(api: str, url: str) -> Repository | None:
    """The repository that a URL names; None when it is not on the forge of this API."""
    origin, parts = git_origin(api), urlsplit(url)
    if f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" != origin:
        return None
    found = re.fullmatch(r"/([A-Za-z0-9_.-]+)/([A-Za-z0-9_.-]+?)(?:\.git)?/?", parts.path)
    return Repository(found[1], found[2], f"{origin}/{found[1]}/{found[2]}.git") if found else None


class GitHub:
    """Pull requests of one repository, by one token."""

    def __init__(self, client: httpx2.AsyncClient, api: str, repository: Repository, token: str) -> None:
        self._client, self._api, self._repository = client, api.rstrip("/"), repository
        self._headers = HEADERS | {"authorization": f"Bearer {token}"}

    async def find(self, branch: str) -> OpenPullRequest | None:
        """The open pull request of a branch. Raises `ForgeFailed`."""
        head = f"{self._repository.owner}:{branch}"
        found = await self._ask("GET", "/pulls", params={"head": head, "state": "open"})
        return _pull_request(found[0]) if found else None

    async def default_branch(self) -> str:
        """Raises `ForgeFailed`."""
        return str((await self._ask("GET", ""))["default_branch"])

    async def open(self, *, head: str, base: str, title: str, body: str, draft: bool) -> OpenPullRequest:
        """Open a pull request; the one that is open already, if there is one. Raises `ForgeFailed`."""
        wanted = {"title": title, "head": head, "base": base, "body": body, "draft": draft}
        try:
            return _pull_request(await self._ask("POST", "/pulls", json=wanted))
        except ForgeFailed as error:
            if error.code == "forge_refused" and (found := await self.find(head)) is not None:
                return found
            raise

    async def _ask(self, method: str, path: str, **request: Any) -> Any:
        url = f"{self._api}{self._repository.path}{path}"
        try:
            answer = await self._client.request(method, url, headers=self._headers, **request)
            if answer.is_success:
                return answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise ForgeFailed(
                "forge_unreachable",
                f"GitHub gave no whole answer ({type(error).__name__}). Try again: `rclaude pr TASK`.",
                passing=True,
            ) from error
        raise _failure(answer, f"{self._repository.owner}/{self._repository.name}")


def _pull_request(found: Any) -> OpenPullRequest:
    try:
        return OpenPullRequest(number=int(found["number"]), url=str(found["html_url"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ForgeFailed(
            "forge_unreachable",
            "GitHub's answer is not that of its API. Try again: `rclaude pr TASK`.",
            passing=True,
        ) from error


def _failure(answer: httpx2.Response, name: str) -> ForgeFailed:
    said = _said(answer)
    limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    match answer.status_code:
        case HTTPStatus.UNAUTHORIZED:
            return ForgeFailed("forge_token_refused", f"GitHub refused the token{said}. {CONNECT}")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _rate_limited(answer)
        case HTTPStatus.FORBIDDEN if limited:
            return _rate_limited(answer)
        case HTTPStatus.FORBIDDEN:
            return ForgeFailed("forge_forbidden", f"The token may not do this in {name}{said}. {CONNECT}")
        case HTTPStatus.NOT_FOUND:
            return ForgeFailed(
                "forge_not_found", f"There is no repository {name}, or the token can't see it. {CONNECT}"
            )
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ForgeFailed(
                "forge_unavailable",
                f"GitHub has a fault of its own ({status}). Try again: `rclaude pr TASK`.",
                passing=True,
            )
        case status:
            return ForgeFailed(
                "forge_refused",
                f"GitHub refused the pull request ({status}){said}. Set right what it names, then `rclaude pr TASK`.",
            )


def _rate_limited(answer: httpx2.Response) -> ForgeFailed:
    after = answer.headers.get("retry-after", "")
    return ForgeFailed(
        "forge_rate_limited",
        "The token has used up its requests to GitHub for now. Try again later: `rclaude pr TASK`.",
        passing=True,
        retry_after=float(after) if after.isdecimal() else None,
    )


def _said(answer: httpx2.Response) -> str:
    """The forge's own words, on one line."""
    try:
        document = answer.json()
        words = [str(document["message"])]
        words += [
            str(e["message"]) for e in document.get("errors", ()) if isinstance(e, dict) and "message" in e
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return ": " + re.sub(r"[^\x20-\x7e]+", " ", "; ".join(words))[:MAX_SAID].rstrip(". ")
