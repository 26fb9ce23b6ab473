"""The REST API of Gitea and Forgejo, version 1, as far as a pull request needs it (docs.gitea.com/api)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.client import (
    MAX_PAGES,
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

DRAFT = "WIP: "
PAGE = 50


class Gitea(ForgeClient):
    title: ClassVar[str] = "Gitea"
    git_user: ClassVar[str] = "rclaude"  # any name: the token says who it is
    templates: ClassVar[Sequence[str]] = (
        ".gitea/PULL_REQUEST_TEMPLATE.md",
        ".gitea/pull_request_template.md",
        ".forgejo/pull_request_template.md",
        ".github/pull_request_template.md",
        "PULL_REQUEST_TEMPLATE.md",
        "pull_request_template.md",
    )

    @classmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        found = re.match(rf"/({SEGMENT}/{SEGMENT})/pulls/(\d+)(?:/|$)", urlsplit(url).path)
        return (Repository(found[1], f"{forge.url}/{found[1]}.git"), int(found[2])) if found else None

    @property
    def api(self) -> str:
        return f"{self._forge.url}/api/v1"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"token {self._token}"}

    @property
    def _repo(self) -> str:
        return f"/repos/{quote(self._path)}"

    async def find(self, branch: str) -> OpenPullRequest | None:
        """The list has no filter by branch."""
        for page in range(1, MAX_PAGES + 1):
            params = {"state": "open", "sort": "recentupdate", "limit": str(PAGE), "page": str(page)}
            found = await self.ask("GET", f"{self._repo}/pulls", params=params)
            for pull in found or ():
                if self.read(pull, "head", "ref") == branch:
                    return self._opened(pull)
            if len(found or ()) < PAGE:
                break
        return None

    async def default_branch(self) -> str:
        return str(self.read(await self.ask("GET", self._repo), "default_branch"))

    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        title = (DRAFT if wanted.draft else "") + wanted.title
        body = {"title": title, "head": wanted.head, "base": wanted.base, "body": wanted.body}
        return self._opened(await self.ask("POST", f"{self._repo}/pulls", json=body))

    async def update(self, number: int, body: str) -> None:
        await self.ask("PATCH", f"{self._repo}/pulls/{number}", json={"body": body})

    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        attempts = Attempts()
        if wanted.labels:
            known = await attempts.of(self.ask("GET", f"{self._repo}/labels", params={"limit": str(PAGE)}))
            ids = {str(one["name"]): int(one["id"]) for one in known or ()}
            missing = [name for name in wanted.labels if name not in ids]
            attempts.refused += [
                ForgeFailed("forge_refused", f"The repository has no label {name}.") for name in missing
            ]
            body: dict[str, Any] = {"labels": [ids[name] for name in wanted.labels if name in ids]}
            if body["labels"]:
                await attempts.of(self.ask("POST", f"{self._repo}/issues/{number}/labels", json=body))
        if wanted.reviewers:
            body = {"reviewers": list(wanted.reviewers)}
            url = f"{self._repo}/pulls/{number}/requested_reviewers"
            await attempts.of(self.ask("POST", url, json=body))
        return attempts.refused

    async def file(self, path: str, ref: str) -> str | None:
        return await self.text(f"{self._repo}/raw/{quote(path)}", params={"ref": ref})

    async def feedback(self, number: int) -> Feedback:
        pulls = f"{self._repo}/pulls/{number}"
        sha = self.read(await self.ask("GET", pulls), "head", "sha")
        review_comments = []
        for review in await self.ask("GET", f"{pulls}/reviews") or ():
            if review.get("body"):
                review_comments.append(ReviewComment(_login(review), str(review["body"])))
            if review.get("comments_count"):
                found = await self.ask("GET", f"{pulls}/reviews/{review['id']}/comments")
                review_comments += [
                    ReviewComment(_login(one), str(one["body"]), f"{one['path']}:{one.get('position') or 1}")
                    for one in found or ()
                ]
        found = await self.ask("GET", f"{self._repo}/issues/{number}/comments")
        review_comments += [ReviewComment(_login(one), str(one["body"])) for one in found or ()]
        status = await self.maybe("GET", f"{self._repo}/commits/{sha}/status")
        checks = [
            FailedCheck(
                str(one["context"]), str(one.get("description") or ""), str(one.get("target_url") or "")
            )
            for one in (status or {}).get("statuses") or ()
            if one.get("status") in ("failure", "error")
        ]
        return Feedback(review_comments, checks)

    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        found = await self.ask("GET", f"{self._repo}/issues/{number}/comments", params={"since": since})
        return [str(one["body"]) for one in found or ()]

    async def comment(self, number: int, text: str, *, issue: bool) -> None:
        await self.ask("POST", f"{self._repo}/issues/{number}/comments", json={"body": text})

    async def search(self, words: str) -> Sequence[ListedRepository]:
        found = await self.ask("GET", "/user/repos", params={"limit": str(PAGE)})
        return [
            ListedRepository(
                one["full_name"], one["html_url"], bool(one["private"]), str(one["default_branch"])
            )
            for one in found or ()
            if words.casefold() in one["full_name"].casefold()
        ]

    def _opened(self, found: Any) -> OpenPullRequest:
        number, url = self.read(found, "number"), self.read(found, "html_url")
        return OpenPullRequest(int(number), str(url), str(found.get("body") or ""))


def _login(found: Any) -> str:
    return str((found.get("user") or {}).get("login") or "?")
