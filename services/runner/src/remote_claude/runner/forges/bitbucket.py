"""Bitbucket Cloud's REST API, version 2.0, as far as a pull request needs it (developer.atlassian.com/cloud/bitbucket/rest).

The token is an access token of a repository, a project or a workspace. Bitbucket has no labels and no templates.
"""

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


class Bitbucket(ForgeClient):
    title: ClassVar[str] = "Bitbucket"
    git_user: ClassVar[str] = "x-token-auth"

    @classmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        found = re.match(rf"/({SEGMENT}/{SEGMENT})/pull-requests/(\d+)(?:/|$)", urlsplit(url).path)
        return (Repository(found[1], f"{forge.url}/{found[1]}.git"), int(found[2])) if found else None

    @property
    def api(self) -> str:
        if self._forge.url == "https://bitbucket.org":
            return "https://api.bitbucket.org/2.0"
        return f"{self._forge.url}/2.0"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._token}", "accept": "application/json"}

    @property
    def _repo(self) -> str:
        return f"/repositories/{quote(self._path)}"

    async def find(self, branch: str) -> OpenPullRequest | None:
        params = {"q": f'source.branch.name="{branch}" AND state="OPEN"'}
        found = self.read(await self.ask("GET", f"{self._repo}/pullrequests", params=params), "values")
        return self._opened(found[0]) if found else None

    async def default_branch(self) -> str:
        return str(self.read(await self.ask("GET", self._repo), "mainbranch", "name"))

    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        body = {
            "title": wanted.title,
            "description": wanted.body,
            "source": {"branch": {"name": wanted.head}},
            "destination": {"branch": {"name": wanted.base}},
            "draft": wanted.draft,
        }
        return self._opened(await self.ask("POST", f"{self._repo}/pullrequests", json=body))

    async def update(self, number: int, body: str) -> None:
        await self._change(number, {"description": body})

    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        attempts = Attempts()
        if wanted.labels:
            attempts.refused.append(ForgeFailed("forge_refused", "Bitbucket has no labels."))
        if wanted.reviewers:
            people = [
                {"uuid": name} if name.startswith("{") else {"account_id": name} for name in wanted.reviewers
            ]
            await attempts.of(self._change(number, {"reviewers": people}))
        return attempts.refused

    async def _change(self, number: int, change: dict[str, Any]) -> None:
        url = f"{self._repo}/pullrequests/{number}"
        title = self.read(await self.ask("GET", url), "title")
        await self.ask("PUT", url, json={"title": title, **change})

    async def file(self, path: str, ref: str) -> str | None:
        return await self.text(f"{self._repo}/src/{quote(ref, safe='')}/{quote(path)}")

    async def feedback(self, number: int) -> Feedback:
        pulls = f"{self._repo}/pullrequests/{number}"
        found = self.read(await self.ask("GET", f"{pulls}/comments", params={"pagelen": "100"}), "values")
        review_comments = [
            ReviewComment(
                str((one.get("user") or {}).get("display_name") or "?"),
                str(one["content"]["raw"]),
                f"{one['inline']['path']}:{one['inline'].get('to') or 1}" if one.get("inline") else "",
            )
            for one in found
            if not one.get("deleted")
        ]
        statuses = await self.maybe("GET", f"{pulls}/statuses", params={"pagelen": "100"})
        checks = [
            FailedCheck(
                str(one.get("name") or one["key"]),
                str(one.get("description") or ""),
                str(one.get("url") or ""),
            )
            for one in (statuses or {}).get("values", ())
            if one.get("state") == "FAILED"
        ]
        return Feedback(review_comments, checks)

    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        found = await self.ask(
            "GET", self._comments(number, issue), params={"pagelen": "100", "sort": "-created_on"}
        )
        return [str(one["content"]["raw"]) for one in self.read(found, "values")]

    async def comment(self, number: int, text: str, *, issue: bool) -> None:
        await self.ask("POST", self._comments(number, issue), json={"content": {"raw": text}})

    async def search(self, words: str) -> Sequence[ListedRepository]:
        params = {"role": "member", "pagelen": "100"}
        if words:
            params["q"] = f'full_name~"{words.replace(chr(34), "")}"'
        return [
            ListedRepository(
                one["full_name"],
                one["links"]["html"]["href"],
                bool(one["is_private"]),
                str((one.get("mainbranch") or {}).get("name") or ""),
            )
            for one in self.read(await self.ask("GET", "/repositories", params=params), "values")
        ]

    def _comments(self, number: int, issue: bool) -> str:
        return f"{self._repo}/{'issues' if issue else 'pullrequests'}/{number}/comments"

    def _opened(self, found: Any) -> OpenPullRequest:
        number, url = self.read(found, "id"), self.read(found, "links", "html", "href")
        return OpenPullRequest(int(number), str(url), str(found.get("description") or ""))
