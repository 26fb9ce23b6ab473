"""Azure DevOps' REST API, version 7.1, as far as a pull request needs it (learn.microsoft.com/rest/api/azure/devops/git).

The token is a personal access token with the scope *Code (read and write)*. A repository is `ORGANISATION/PROJECT/NAME`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.client import (
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
    path_of,
)
from remote_claude.runner.forges.description import fitted

VERSION = {"api-version": "7.1"}
MAX_DESCRIPTION = 4000
HEADS = "refs/heads/"
_PART = r"[^/\n]+"


class AzureDevOps(ForgeClient):
    title: ClassVar[str] = "Azure DevOps"
    git_user: ClassVar[str] = "rclaude"  # any name: the token says who it is
    templates: ClassVar[Sequence[str]] = (
        ".azuredevops/pull_request_template.md",
        "docs/pull_request_template.md",
        "pull_request_template.md",
    )

    @classmethod
    def repository(cls, forge: Forge, url: str) -> Repository | None:
        found = re.fullmatch(rf"/({_PART})/({_PART})/_git/({_PART})", path_of(url).rstrip("/"))
        return _repository(forge, found) if found else None

    @classmethod
    def pull_request(cls, forge: Forge, url: str) -> tuple[Repository, int] | None:
        found = re.match(rf"/({_PART})/({_PART})/_git/({_PART})/pullrequest/(\d+)(?:/|$)", path_of(url))
        return (_repository(forge, found), int(found[4])) if found else None

    @property
    def api(self) -> str:
        return self._forge.url

    @property
    def headers(self) -> Mapping[str, str]:
        credential = base64.b64encode(f":{self._token}".encode()).decode()
        return {"authorization": f"Basic {credential}", "accept": "application/json"}

    @property
    def _repo(self) -> str:
        organisation, project, name = map(quote, self._path.split("/", 2))
        return f"/{organisation}/{project}/_apis/git/repositories/{name}"

    async def find(self, branch: str) -> OpenPullRequest | None:
        params = {
            "searchCriteria.sourceRefName": HEADS + branch,
            "searchCriteria.status": "active",
            **VERSION,
        }
        found = self.read(await self.ask("GET", f"{self._repo}/pullrequests", params=params), "value")
        return self._opened(found[0]) if found else None

    async def default_branch(self) -> str:
        found = self.read(await self.ask("GET", self._repo, params=VERSION), "defaultBranch")
        return str(found).removeprefix(HEADS)

    async def create(self, wanted: NewPullRequest) -> OpenPullRequest:
        body = {
            "sourceRefName": HEADS + wanted.head,
            "targetRefName": HEADS + wanted.base,
            "title": wanted.title,
            "description": fitted(wanted.body, MAX_DESCRIPTION),
            "isDraft": wanted.draft,
        }
        return self._opened(await self.ask("POST", f"{self._repo}/pullrequests", json=body, params=VERSION))

    async def update(self, number: int, body: str) -> None:
        change = {"description": fitted(body, MAX_DESCRIPTION)}
        await self.ask("PATCH", f"{self._repo}/pullrequests/{number}", json=change, params=VERSION)

    async def add(self, number: int, wanted: NewPullRequest) -> Iterable[ForgeFailed]:
        attempts, pulls = Attempts(), f"{self._repo}/pullrequests/{number}"
        for name in wanted.labels:
            await attempts.of(self.ask("POST", f"{pulls}/labels", json={"name": name}, params=VERSION))
        for id in wanted.reviewers:
            url = f"{pulls}/reviewers/{quote(id)}"
            await attempts.of(self.ask("PUT", url, json={"id": id, "vote": 0}, params=VERSION))
        return attempts.refused

    async def file(self, path: str, ref: str) -> str | None:
        params = {
            "path": f"/{path}",
            "versionDescriptor.version": ref,
            "versionDescriptor.versionType": "branch",
        }
        return await self.text(
            f"{self._repo}/items", params=params | VERSION, headers={"accept": "text/plain"}
        )

    async def feedback(self, number: int) -> Feedback:
        pulls = f"{self._repo}/pullrequests/{number}"
        review_comments = []
        for thread in self.read(await self.ask("GET", f"{pulls}/threads", params=VERSION), "value"):
            if thread.get("status") in ("fixed", "closed", "wontFix", "byDesign"):
                continue
            context = thread.get("threadContext") or {}
            line = (context.get("rightFileStart") or {}).get("line", 1)
            place = f"{context['filePath'].lstrip('/')}:{line}" if context.get("filePath") else ""
            review_comments += [
                ReviewComment(
                    str((one.get("author") or {}).get("displayName") or "?"), str(one["content"]), place
                )
                for one in thread["comments"]
                if one.get("commentType") != "system" and one.get("content")
            ]
        statuses = await self.maybe("GET", f"{pulls}/statuses", params=VERSION)
        checks = [
            FailedCheck(
                str(one["context"]["name"]),
                str(one.get("description") or ""),
                str(one.get("targetUrl") or ""),
            )
            for one in (statuses or {}).get("value", ())
            if one.get("state") in ("failed", "error")
        ]
        return Feedback(review_comments, checks)

    async def comments(self, number: int, *, issue: bool, since: str) -> Sequence[str]:
        self._only_pull_requests(issue)
        url = f"{self._repo}/pullrequests/{number}/threads"
        found = self.read(await self.ask("GET", url, params=VERSION), "value")
        return [str(one.get("content") or "") for thread in found for one in thread["comments"]]

    async def comment(self, number: int, text: str, *, issue: bool) -> None:
        self._only_pull_requests(issue)
        comment = {"parentCommentId": 0, "content": text, "commentType": "text"}
        body = {"comments": [comment], "status": "closed"}
        await self.ask("POST", f"{self._repo}/pullrequests/{number}/threads", json=body, params=VERSION)

    async def search(self, words: str) -> Sequence[ListedRepository]:
        """A token is of one organisation; `words` begin with its name: `ORGANISATION/WORDS`."""
        organisation, _, rest = words.partition("/")
        if not organisation:
            raise ForgeFailed(
                "forge_refused",
                "A search on Azure DevOps begins with the organisation to look into: ORGANISATION/WORDS.",
            )
        found = await self.ask("GET", f"/{quote(organisation)}/_apis/git/repositories", params=VERSION)
        return [
            ListedRepository(
                f"{organisation}/{one['project']['name']}/{one['name']}",
                one["webUrl"],
                one["project"].get("visibility") != "public",
                str(one.get("defaultBranch") or "").removeprefix(HEADS),
            )
            for one in self.read(found, "value")
            if rest.casefold() in one["name"].casefold()
        ]

    @staticmethod
    def _only_pull_requests(issue: bool) -> None:
        if issue:
            raise ForgeFailed("forge_refused", "Comments on work items of Azure DevOps are not supported.")

    def _opened(self, found: Any) -> OpenPullRequest:
        number = int(self.read(found, "pullRequestId"))
        organisation, project, name = map(quote, self._path.split("/", 2))
        url = f"{self._forge.url}/{organisation}/{project}/_git/{name}/pullrequest/{number}"
        return OpenPullRequest(number, url, str(found.get("description") or ""))


def _repository(forge: Forge, found: re.Match[str]) -> Repository:
    organisation, project, name = found[1], found[2], found[3]
    url = f"{forge.url}/{quote(organisation)}/{quote(project)}/_git/{quote(name)}"
    return Repository(f"{organisation}/{project}/{name}", url)
