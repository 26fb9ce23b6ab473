"""GitLab's REST API of merge requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from .base import LOGINS, ForgeDouble, Pull, names, only, route


class GitLabDouble(ForgeDouble):
    """docs.gitlab.com/api/rest, version 4."""

    kind, api, git_user, example = "gitlab", "/api/v4", "oauth2", "team/tools/calc"
    templates = ".gitlab/merge_request_templates/Default.md"

    def exists(self) -> tuple[int, Any]:
        return 409, {"message": ["Another open merge request already exists for this source branch: !1"]}

    def _merge(self, pull: Pull) -> Any:
        return {
            "id": 1000 + pull.number, "iid": pull.number, "web_url": pull.url, "title": pull.title,
            "description": pull.body, "draft": pull.title.startswith("Draft: "), "state": "opened",
            "source_branch": pull.head, "target_branch": pull.base, "labels": pull.labels,
            "reviewers": [{"username": name} for name in pull.reviewers],
        }  # fmt: skip

    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if path == "/projects":
            return [
                {"path_with_namespace": n, "web_url": self.page(n), "visibility": "private", "default_branch": "main"}
                for n in names(self.root) if query.get("search", "") in n
            ]  # fmt: skip
        if path == "/users":
            known = query["username"] in LOGINS
            return [{"id": LOGINS.index(query["username"]), "username": query["username"]}] if known else []
        found = route(r"/projects/([^/]+)(/.*)?", path)
        repo = unquote(found[1]) if found else ""
        if not found or not (self.root / f"{repo}.git").is_dir():
            raise LookupError(path)
        match method, (found[2] or "").split("/")[1:]:
            case "GET", []:
                return {"path_with_namespace": repo, "default_branch": "main"}
            case "GET", ["merge_requests"]:
                assert query["state"] == "opened"
                return [self._merge(p) for p in self.open_of(repo, query["source_branch"])]
            case "POST", ["merge_requests"]:
                only(body, "source_branch", "target_branch", "title", "description", "labels", "reviewer_ids")
                url = f"{self.page(repo)}/-/merge_requests/{{}}"
                pull = self.open(
                    repo, head=body["source_branch"], base=body["target_branch"], title=body["title"],
                    body=body["description"], draft=body["title"].startswith("Draft: "), url=url,
                )  # fmt: skip
                return self._merge(pull)
            case "PUT", ["merge_requests", number]:
                pull = self.pull(repo, number)
                only(body, "description", "add_labels", "reviewer_ids")
                pull.body = body.get("description", pull.body)
                pull.labels += filter(None, body.get("add_labels", "").split(","))
                pull.reviewers += [LOGINS[id] for id in body.get("reviewer_ids", ())]
                return self._merge(pull)
            case "GET", ["merge_requests", number, "discussions"]:
                return [{"notes": [{
                    "author": {"username": who}, "body": text, "system": False, "resolved": False,
                    "position": {"new_path": place.partition(":")[0], "new_line": int(place.partition(":")[2])}
                    if place else None,
                }]} for who, place, text in self.pull(repo, number).remarks]  # fmt: skip
            case "GET", ["merge_requests", number, "pipelines"]:
                return [
                    {"id": int(number), "status": "failed" if self.pull(repo, number).checks else "success"}
                ]
            case "GET", ["pipelines", number, "jobs"]:
                assert query["scope[]"] == "failed"
                return [
                    {"id": index, "name": name, "web_url": self.url, "failure_reason": "script_failure"}
                    for index, (name, _) in enumerate(self.pull(repo, number).checks)
                ]
            case "GET", ["jobs", index, "trace"]:
                return self.open_of(repo)[-1].checks[int(index)][1]
            case "GET", [("merge_requests" | "issues") as of, number, "notes"]:
                return [{"id": 1, "body": t} for t in self.thread(int(number), issue=of == "issues")]
            case "POST", [("merge_requests" | "issues") as of, number, "notes"]:
                self.thread(int(number), issue=of == "issues").append(only(body, "body")["body"])
                return {"id": 1, "body": body["body"]}
            case "GET", ["repository", "files", name, "raw"]:
                return self.file(repo, unquote(name), query["ref"])
        raise LookupError(path)
