"""Gitea's REST API of pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import LOGINS, TOKEN, ForgeDouble, Pull, Refused, names, only, route


class GiteaDouble(ForgeDouble):
    """docs.gitea.com/api, version 1."""

    kind, api, git_user = "gitea", "/api/v1", "rclaude"
    templates = ".gitea/PULL_REQUEST_TEMPLATE.md"
    known_labels = ("bot", "docs")

    def bearer(self) -> str:
        return f"token {TOKEN}"

    def _pull(self, pull: Pull) -> Any:
        return {
            "number": pull.number, "html_url": pull.url, "title": pull.title, "body": pull.body,
            "state": pull.state, "draft": pull.title.startswith("WIP: "),
            "head": {"ref": pull.head, "sha": self.sha(pull)}, "base": {"ref": pull.base},
        }  # fmt: skip

    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if path == "/user/repos":
            return [
                {"full_name": n, "html_url": self.page(n), "private": True, "default_branch": "main"}
                for n in names(self.root)
            ]
        found = route(r"/repos/([^/]+/[^/]+)(/.*)?", path)
        if not found or not (self.root / f"{found[1]}.git").is_dir():
            raise LookupError(path)
        repo = found[1]
        match method, (found[2] or "").split("/")[1:]:
            case "GET", []:
                return {"full_name": repo, "default_branch": "main"}
            case "GET", ["pulls"]:
                return [self._pull(p) for p in self.open_of(repo)] if query["page"] == "1" else []
            case "POST", ["pulls"]:
                only(body, "title", "head", "base", "body", "labels", "assignee", "milestone")
                draft = body["title"].startswith("WIP: ")
                return self._pull(self.open(repo, **body, draft=draft, url=f"{self.page(repo)}/pulls/{{}}"))
            case "GET", ["pulls", number]:
                return self._pull(self.pull(repo, number))
            case "PATCH", ["pulls", number]:
                pull = self.pull(repo, number)
                pull.body = only(body, "title", "body", "state", "base", "labels")["body"]
                return self._pull(pull)
            case "GET", ["pulls", number, "reviews"]:
                return [
                    {"id": index, "user": {"login": who}, "body": "" if place else text,
                     "comments_count": 1 if place else 0}
                    for index, (who, place, text) in enumerate(self.pull(repo, number).remarks)
                ]  # fmt: skip
            case "GET", ["pulls", number, "reviews", index, "comments"]:
                who, place, text = self.pull(repo, number).remarks[int(index)]
                path, _, line = place.partition(":")
                return [{"user": {"login": who}, "path": path, "position": int(line), "body": text}]
            case "POST", ["pulls", number, "requested_reviewers"]:
                pull = self.pull(repo, number)
                if unknown := set(only(body, "reviewers", "team_reviewers")["reviewers"]) - set(LOGINS):
                    raise Refused(404, {"message": f"user {unknown.pop()} does not exist"})
                pull.reviewers = body["reviewers"]
                return []
            case "GET", ["labels"]:
                return [{"id": index, "name": name} for index, name in enumerate(self.known_labels)]
            case "POST", ["issues", number, "labels"]:
                self.pull(repo, number).labels += [
                    self.known_labels[i] for i in only(body, "labels")["labels"]
                ]
                return []
            case "GET", ["issues", number, "comments"]:
                return [{"user": {"login": "ada"}, "body": t} for t in self.thread(int(number), issue=False)]
            case "POST", ["issues", number, "comments"]:
                self.thread(int(number), issue=False).append(only(body, "body")["body"])
                return {"id": 1, "body": body["body"]}
            case "GET", ["commits", _, "status"]:
                [pull] = self.open_of(repo)[-1:]
                return {"statuses": [
                    {"context": n, "status": "failure", "description": t, "target_url": ""} for n, t in pull.checks
                ]}  # fmt: skip
            case "GET", ["raw", *parts]:
                return self.file(repo, "/".join(parts), query["ref"])
        raise LookupError(path)
