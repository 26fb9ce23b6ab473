"""GitLab's REST API, version 4, as far as a merge request needs it (docs.gitlab.com/api/rest)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

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
    plain_path,
    segment,
)

DRAFT = "Draft: "


class GitLab(ForgeClient):
    title: ClassVar[str] = "GitLab"
    git_user: ClassVar[str] = "oauth2"
    templates: ClassVar[Sequence[str]] = (
        ".gitlab/merge_request_templates/Default.md",
        ".gitlab/merge_request_templates/default.md",
    )

    @classmethod
    def repository(cls, forge: Forge, url: str) -> Repository | None:
        found = re.fullmatch(rf"/({SEGMENT}(?:/{SEGMENT})+)", plain_path(url))
        return Repository(found[1], f"{forge.url}/{found[1]}.git") if found else None

    @classmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        found = re.match(rf"/({SEGMENT}(?:/{SEGMENT})+)/-/merge_requests/(\d+)(?:/|$)", urlsplit(url).path)
        return (Repository(found[1], f"{forge.url}/{found[1]}.git"), int(found[2])) if found else None

    @property
    def api(self) -> str:
        return f"{self._forge.url}/api/v4"

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    @property
    def _project(self) -> str:
        return f"/projects/{segment(self._path)}"

    async def find(self, branch: str) -> OpenPullRequest | None:
        params = {"source_branch": branch, "state": "opened"}
        found = await self.ask("GET", f"{self._project}/merge_requests", params=params)
        return self._opened(found[0]) if found else None

    async def default_branch(self) -> str:
        return str(self.read(await self.ask("GET", self._project), "default_branch"))

    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        body = {
            "source_branch": wanted.head,
            "target_branch": wanted.base,
            "title": (DRAFT if wanted.draft else "") + wanted.title,
            "description": wanted.body,
        }
        return self._opened(await self.ask("POST", f"{self._project}/merge_requests", json=body))

    async def update(self, number: int, body: str) -> None:
        await self.ask("PUT", f"{self._project}/merge_requests/{number}", json={"description": body})

    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        attempts, body = Attempts(), dict[str, Any]()
        if wanted.labels:
            body["add_labels"] = ",".join(wanted.labels)
        ids = []
        for name in wanted.reviewers:
            found = await attempts.of(self.ask("GET", "/users", params={"username": name}))
            if found:
                ids.append(self.read(found, 0, "id"))
            elif found is not None:
                attempts.refused.append(ForgeFailed("forge_refused", f"GitLab knows no user {name}."))
        if ids:
            body["reviewer_ids"] = ids
        if body:
            await attempts.of(self.ask("PUT", f"{self._project}/merge_requests/{number}", json=body))
        return attempts.refused

    async def file(self, path: str, ref: str) -> str | None:
        url = f"{self._project}/repository/files/{segment(path)}/raw"
        return await self.text(url, params={"ref": ref})

    async def feedback(self, number: int) -> Feedback:
        merge = f"{self._project}/merge_requests/{number}"
        found = await self.ask("GET", f"{merge}/discussions", params={"per_page": "100"})
        notes = [note for one in found for note in one["notes"]]
        review_comments = [
            ReviewComment(str(note["author"]["username"]), str(note["body"]), _place(note))
            for note in notes
            if not note.get("system") and not note.get("resolved")
        ]
        pipelines = await self.maybe("GET", f"{merge}/pipelines")
        checks = []
        if pipelines and pipelines[0].get("status") == "failed":
            url = f"{self._project}/pipelines/{pipelines[0]['id']}/jobs"
            for job in await self.ask("GET", url, params={"scope[]": "failed"}):
                trace = await self.text(f"{self._project}/jobs/{job['id']}/trace")
                last = (trace or "")[-4000:] or str(job.get("failure_reason") or "")
                checks.append(FailedCheck(str(job["name"]), last, str(job.get("web_url") or "")))
        return Feedback(review_comments, checks)

    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        found = await self.ask("GET", self._notes(number, issue), params={"per_page": "100"})
        return [str(one["body"]) for one in found]

    async def comment(self, number: int, text: str, *, issue: bool) -> None:
        await self.ask("POST", self._notes(number, issue), json={"body": text})

    async def search(self, words: str) -> Sequence[ListedRepository]:
        params = {"membership": "true", "per_page": "100", "order_by": "last_activity_at"}
        if words:
            params |= {"search": words, "search_namespaces": "true"}
        return [
            ListedRepository(
                one["path_with_namespace"],
                one["web_url"],
                one["visibility"] != "public",
                str(one.get("default_branch") or ""),
            )
            for one in await self.ask("GET", "/projects", params=params)
        ]

    def _notes(self, number: int, issue: bool) -> str:
        return f"{self._project}/{'issues' if issue else 'merge_requests'}/{number}/notes"

    def _opened(self, found: Any) -> OpenPullRequest:
        number, url = self.read(found, "iid"), self.read(found, "web_url")
        return OpenPullRequest(int(number), str(url), str(found.get("description") or ""))


def _place(note: Any) -> str:
    position = note.get("position") or {}
    path = position.get("new_path")
    return f"{path}:{position.get('new_line') or position.get('old_line') or 1}" if path else ""
