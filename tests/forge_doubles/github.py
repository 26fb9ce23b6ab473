"""GitHub's REST API of pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import LOGINS, ForgeDouble, Pull, Refused, names, only, route


class GitHubDouble(ForgeDouble):
    """docs.github.com/rest, version 2022-11-28."""

    kind, api, git_user = "github", "/api/v3", "x-access-token"
    templates = ".github/pull_request_template.md"

    def invalid(self, why: str) -> tuple[int, Any]:
        errors = [{"resource": "PullRequest", "code": "custom", "message": why}]
        return 422, {"message": "Validation Failed", "errors": errors, "status": "422"}

    def exists(self) -> tuple[int, Any]:
        return self.invalid("A pull request already exists.")

    def _pull(self, pull: Pull) -> Any:
        return {
            "number": pull.number, "state": pull.state, "html_url": pull.url, "title": pull.title,
            "body": pull.body, "draft": pull.draft,
            "head": {"ref": pull.head, "sha": self.sha(pull)}, "base": {"ref": pull.base},
            "labels": [{"name": name} for name in pull.labels],
            "requested_reviewers": [{"login": name} for name in pull.reviewers],
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
        repo, rest = found[1], found[2] or ""
        match method, rest.split("/")[1:]:
            case "GET", []:
                return {"full_name": repo, "default_branch": "main", "private": True}
            case "GET", ["pulls"]:
                return [self._pull(p) for p in self.open_of(repo, query["head"].partition(":")[2])]
            case "POST", ["pulls"]:
                only(body, "title", "head", "base", "body", "draft", "maintainer_can_modify")
                return self._pull(self.open(repo, **body, url=f"{self.page(repo)}/pull/{{}}"))
            case "GET", ["pulls", number]:
                return self._pull(self.pull(repo, number))
            case "PATCH", ["pulls", number]:
                pull = self.pull(repo, number)
                pull.body = only(body, "title", "body", "state", "base")["body"]
                return self._pull(pull)
            case "GET", ["pulls", number, "comments"]:
                remarks = [r for r in self.pull(repo, number).remarks if r[1]]
                return [
                    {"user": {"login": who}, "path": place.partition(":")[0], "body": text,
                     "line": int(place.partition(":")[2])}
                    for who, place, text in remarks
                ]  # fmt: skip
            case "GET", ["pulls", number, "reviews"]:
                remarks = [r for r in self.pull(repo, number).remarks if not r[1]]
                return [
                    {"user": {"login": w}, "body": t, "state": "CHANGES_REQUESTED"} for w, _, t in remarks
                ]
            case "POST", ["pulls", number, "requested_reviewers"]:
                pull = self.pull(repo, number)
                if unknown := set(only(body, "reviewers", "team_reviewers")["reviewers"]) - set(LOGINS):
                    raise Refused(*self.invalid(f"{unknown.pop()} is not a collaborator"))
                pull.reviewers = body["reviewers"]
                return self._pull(pull)
            case "POST", ["issues", number, "labels"]:
                self.pull(repo, number).labels += only(body, "labels")["labels"]
                return [{"name": name} for name in body["labels"]]
            case "GET", ["issues", number, "comments"]:
                assert set(query) <= {"since", "per_page", "page"}
                return [{"user": {"login": "ada"}, "body": t} for t in self._thread(number)]
            case "POST", ["issues", number, "comments"]:
                self._thread(number).append(only(body, "body")["body"])
                return {"id": 1, "body": body["body"]}
            case "GET", ["commits", _, "check-runs"]:
                [pull] = self.open_of(repo, None)[-1:]
                return {"check_runs": [
                    {"name": n, "conclusion": "failure", "output": {"title": t, "summary": None}, "details_url": None}
                    for n, t in pull.checks
                ]}  # fmt: skip
            case "GET", ["commits", _, "status"]:
                return {"state": "pending", "statuses": []}
            case "GET", ["contents", *parts]:
                return self.file(repo, "/".join(parts), query["ref"])
        raise LookupError(path)

    def _thread(self, number: str) -> list[str]:
        """Issues and pull requests share their numbers."""
        return self.thread(int(number), issue=False)
