"""Azure DevOps' REST API of pull requests."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from .base import LOGINS, TOKEN, ForgeDouble, Pull, Refused, names, only, route


class AzureDouble(ForgeDouble):
    """learn.microsoft.com/rest/api/azure/devops/git, version 7.1."""

    kind, git_user, example = "azure", "rclaude", "work/tools/calc"
    templates = ".azuredevops/pull_request_template.md"

    def bearer(self) -> str:
        return "Basic " + base64.b64encode(f":{TOKEN}".encode()).decode()

    def page(self, name: str) -> str:
        organisation, project, repo = name.split("/")
        return f"{self.url}/{organisation}/{project}/_git/{repo}"

    def bare_of(self, path: str) -> tuple[str, str]:
        found = re.fullmatch(r"/([^/]+)/([^/]+)/_git/([^/]+)/(.+)", path)
        assert found, path
        return f"{found[1]}/{found[2]}/{found[3]}", found[4]

    def invalid(self, why: str) -> tuple[int, Any]:
        return 400, {"$id": "1", "message": f"TF401398: {why}", "typeKey": "GitPullRequestCannotBeActivated"}

    def exists(self) -> tuple[int, Any]:
        return 409, {"$id": "1", "message": "TF401179: An active pull request already exists."}

    def _pull(self, pull: Pull) -> Any:
        return {
            "pullRequestId": pull.number, "title": pull.title, "description": pull.body, "status": "active",
            "isDraft": pull.draft, "sourceRefName": f"refs/heads/{pull.head}",
            "targetRefName": f"refs/heads/{pull.base}",
        }  # fmt: skip

    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if found := route(r"/([^/]+)/_apis/git/repositories", path):
            return {"value": [
                {"name": n.split("/")[2], "webUrl": self.page(n), "defaultBranch": "refs/heads/main",
                 "project": {"name": n.split("/")[1], "visibility": "private"}}
                for n in names(self.root, 3) if n.startswith(f"{found[1]}/")
            ]}  # fmt: skip
        found = route(r"/([^/]+)/([^/]+)/_apis/git/repositories/([^/]+)(/.*)?", path)
        repo = f"{found[1]}/{found[2]}/{found[3]}" if found else ""
        if not found or not (self.root / f"{repo}.git").is_dir():
            raise LookupError(path)
        assert query["api-version"] == "7.1"
        match method, (found[4] or "").split("/")[1:]:
            case "GET", []:
                return {"name": found[3], "defaultBranch": "refs/heads/main"}
            case "GET", ["pullrequests"]:
                head = query["searchCriteria.sourceRefName"].removeprefix("refs/heads/")
                return {"value": [self._pull(p) for p in self.open_of(repo, head)], "count": 1}
            case "POST", ["pullrequests"]:
                only(
                    body,
                    "sourceRefName",
                    "targetRefName",
                    "title",
                    "description",
                    "isDraft",
                    "labels",
                    "reviewers",
                )
                assert len(body["description"]) <= 4000
                pull = self.open(
                    repo, head=body["sourceRefName"].removeprefix("refs/heads/"),
                    base=body["targetRefName"].removeprefix("refs/heads/"), title=body["title"],
                    body=body["description"], draft=body["isDraft"], url=f"{self.page(repo)}/pullrequest/{{}}",
                )  # fmt: skip
                return self._pull(pull)
            case "PATCH", ["pullrequests", number]:
                pull = self.pull(repo, number)
                pull.body = only(body, "title", "description", "status", "isDraft")["description"]
                return self._pull(pull)
            case "POST", ["pullrequests", number, "labels"]:
                self.pull(repo, number).labels.append(only(body, "name")["name"])
                return {"id": "1", "name": body["name"]}
            case "PUT", ["pullrequests", number, "reviewers", id]:
                if id not in LOGINS:
                    raise Refused(*self.invalid(f"the identity {id} is not known"))
                self.pull(repo, number).reviewers.append(id)
                return {"id": id, "vote": 0}
            case "GET", ["pullrequests", number, "threads"]:
                pull = self.pull(repo, number)
                said = [*pull.remarks, *(("ada", "", text) for text in pull.comments)]
                return {"value": [
                    {"status": "active", "comments": [{"author": {"displayName": who}, "content": text}]}
                    | ({"threadContext": {"filePath": f"/{place.partition(':')[0]}",
                                          "rightFileStart": {"line": int(place.partition(":")[2])}}}
                       if place else {})
                    for who, place, text in said
                ]}  # fmt: skip
            case "POST", ["pullrequests", number, "threads"]:
                [comment] = only(body, "comments", "status", "threadContext")["comments"]
                self.pull(repo, number).comments.append(comment["content"])
                return {"id": 1}
            case "GET", ["pullrequests", number, "statuses"]:
                return {"value": [
                    {"state": "failed", "context": {"name": n, "genre": "ci"}, "description": t, "targetUrl": ""}
                    for n, t in self.pull(repo, number).checks
                ]}  # fmt: skip
            case "GET", ["items"]:
                return self.file(repo, query["path"].lstrip("/"), query["versionDescriptor.version"])
        raise LookupError(path)
