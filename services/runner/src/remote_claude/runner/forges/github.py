"""GitHub's REST API, as far as a pull request needs it (docs.github.com/rest, version 2022-11-28)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.client import (
    SEGMENT,
    Attempts,
    FailedCheck,
    Feedback,
    ForgeClient,
    ForgeFailed,
    ListedRepository,
    NewPullRequest,
    OpenPullRequest,
    Repository,
    ReviewComment,
)

API_VERSION = "2022-11-28"
FAILED = frozenset({"failure", "timed_out", "action_required", "cancelled"})


class GitHub(ForgeClient):
    title: ClassVar[str] = "GitHub"
    git_user: ClassVar[str] = "x-access-token"
    templates: ClassVar[Sequence[str]] = (
        ".github/pull_request_template.md",
        ".github/PULL_REQUEST_TEMPLATE.md",
        "pull_request_template.md",
        "PULL_REQUEST_TEMPLATE.md",
        "docs/pull_request_template.md",
    )

    @classmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        found = re.match(rf"/({SEGMENT}/{SEGMENT})/pull/(\d+)(?:/|$)", urlsplit(url).path)
        return (Repository(found[1], f"{forge.url}/{found[1]}.git"), int(found[2])) if found else None

    @property
    def api(self) -> str:
        if self._forge.url == "https://github.com":
            return "https://api.github.com"
        return f"{self._forge.url}/api/v3"

    @property
    def headers(self) -> Mapping[str, str]:
        return {
            "accept": "application/vnd.github+json",
            "x-github-api-version": API_VERSION,
            "authorization": f"Bearer {self._token}",
        }

    @property
    def _repo(self) -> str:
        return f"/repos/{quote(self._path)}"

    async def find(self, branch: str) -> OpenPullRequest | None:
        head = f"{self._path.partition('/')[0]}:{branch}"
        found = await self.ask("GET", f"{self._repo}/pulls", params={"head": head, "state": "open"})
        return self._opened(found[0]) if found else None

    async def default_branch(self) -> str:
        return str(self.read(await self.ask("GET", self._repo), "default_branch"))

    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        body = {
            "title": wanted.title,
            "head": wanted.head,
            "base": wanted.base,
            "body": wanted.body,
            "draft": wanted.draft,
        }
        return self._opened(await self.ask("POST", f"{self._repo}/pulls", json=body))

    async def update(self, number: int, body: str) -> None:
        await self.ask("PATCH", f"{self._repo}/pulls/{number}", json={"body": body})

    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        attempts = Attempts()
        if wanted.labels:
            body: dict[str, Any] = {"labels": list(wanted.labels)}
            await attempts.of(self.ask("POST", f"{self._repo}/issues/{number}/labels", json=body))
        if wanted.reviewers:
            people = [name for name in wanted.reviewers if "/" not in name]
            teams = [name.rpartition("/")[2] for name in wanted.reviewers if "/" in name]
            body = {"reviewers": people, "team_reviewers": teams}
            url = f"{self._repo}/pulls/{number}/requested_reviewers"
            await attempts.of(self.ask("POST", url, json=body))
        return attempts.refused

    async def file(self, path: str, ref: str) -> str | None:
        raw = {"accept": "application/vnd.github.raw+json"}
        return await self.text(f"{self._repo}/contents/{quote(path)}", params={"ref": ref}, headers=raw)

    async def feedback(self, number: int) -> Feedback:
        page = {"per_page": "100"}
        pulls = f"{self._repo}/pulls/{number}"
        pull = await self.ask("GET", pulls)
        sha = self.read(pull, "head", "sha")
        review_comments = [
            ReviewComment(
                _login(one), str(one.get("body") or ""), f"{one.get('path')}:{one.get('line') or 1}"
            )
            for one in await self.ask("GET", f"{pulls}/comments", params=page)
        ]
        review_comments += [
            ReviewComment(_login(one), str(one["body"]))
            for one in await self.ask("GET", f"{pulls}/reviews", params=page)
            if one.get("body")
        ]
        review_comments += [
            ReviewComment(_login(one), str(one.get("body") or ""))
            for one in await self.ask("GET", f"{self._repo}/issues/{number}/comments", params=page)
        ]
        runs = await self.maybe("GET", f"{self._repo}/commits/{sha}/check-runs", params=page)
        checks = [
            FailedCheck(
                str(run["name"]),
                "\n".join(filter(None, (run["output"].get("title"), run["output"].get("summary")))),
                str(run.get("details_url") or ""),
            )
            for run in (runs or {}).get("check_runs", ())
            if run.get("conclusion") in FAILED
        ]
        status = await self.maybe("GET", f"{self._repo}/commits/{sha}/status", params=page)
        checks += [
            FailedCheck(
                str(one["context"]), str(one.get("description") or ""), str(one.get("target_url") or "")
            )
            for one in (status or {}).get("statuses", ())
            if one.get("state") in ("failure", "error")
        ]
        return Feedback(review_comments, checks)

    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        url = f"{self._repo}/issues/{number}/comments"
        found = await self.ask("GET", url, params={"per_page": "100", "since": since})
        return [str(one.get("body") or "") for one in found]

    async def comment(self, number: int, text: str, *, issue: bool) -> None:
        await self.ask("POST", f"{self._repo}/issues/{number}/comments", json={"body": text})

    async def search(self, words: str) -> Sequence[ListedRepository]:
        """A token of an App's installation sees the installation's repositories, a person's token that person's."""
        page = {"per_page": "100", "sort": "pushed"}
        if self._token.startswith("ghs_"):
            url = "/installation/repositories"
            found = self.read(await self.ask("GET", url, params=page), "repositories")
        else:
            found = await self.ask("GET", "/user/repos", params=page)
        return [
            ListedRepository(
                one["full_name"], one["html_url"], bool(one["private"]), str(one["default_branch"])
            )
            for one in found
            if words.casefold() in one["full_name"].casefold()
        ]

    def _opened(self, found: Any) -> OpenPullRequest:
        number, url = self.read(found, "number"), self.read(found, "html_url")
        return OpenPullRequest(int(number), str(url), str(found.get("body") or ""))


def _login(found: Any) -> str:
    return str((found.get("user") or {}).get("login") or "?")
