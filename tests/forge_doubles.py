"""Forges of our own on loopback: the REST API of pull requests of each kind, and real Git over HTTP behind the same token.

Requests are refused for a field that the vendor does not document; answers have the fields that it documents, as far as a
client may read them. Pushes go to `git http-backend`, which asks for the token first.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "madeUpForTests-0123456789"
LOGINS = ("ada", "grace")
"""People whom each forge knows."""


@dataclass
class Pull:
    """A pull request, whatever its forge calls it. `remarks` are author, place and text, `checks` are name and text."""

    repository: str
    number: int
    url: str
    head: str
    base: str
    title: str
    body: str
    draft: bool
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    remarks: list[tuple[str, str, str]] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)


class Refused(Exception):
    """The forge's answer is no success."""

    def __init__(self, status: int, document: Any) -> None:
        self.status, self.document = status, document


@dataclass
class ForgeDouble(ABC):
    """Its state: bare repositories below `root`, and pull requests. `failures` answer the next requests of a method."""

    url: str
    root: Path
    pulls: list[Pull] = field(default_factory=list)
    issues: dict[int, list[str]] = field(default_factory=dict)
    """Comments on issues, by number."""
    failures: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    unauthorized: int = 0
    """Requests that came without the token."""

    kind = ""
    api = ""
    example = "ada/calc"
    git_user = ""
    templates: str = ""

    @abstractmethod
    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        """The JSON, or the text, of a success. Raises `Refused`, and `LookupError` for what is not there."""

    def repository(self, name: str, source: Path) -> str:
        """A bare copy of a repository, open for pushes with the token; its URL."""
        bare = self.root / f"{name}.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", str(source), str(bare)], check=True)
        subprocess.run(["git", "config", "http.receivepack", "true"], cwd=bare, check=True)
        return self.page(name)

    def page(self, name: str) -> str:
        return f"{self.url}/{name}"

    def git(self, name: str, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.root / f"{name}.git", check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def bearer(self) -> str:
        return f"Bearer {TOKEN}"

    def bare_of(self, path: str) -> tuple[str, str]:
        """The repository that a path of Git names, and the rest."""
        found = re.fullmatch(r"/(.+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)", path)
        assert found, path
        return found[1], found[2]

    def open(
        self, repository: str, *, head: str, base: str, title: str, body: str, draft: bool, url: str
    ) -> Pull:
        """Raises `Refused` as the forge does."""
        heads = self.git(repository, "for-each-ref", "--format=%(refname:short)", "refs/heads").splitlines()
        if wrong := [side for side in (head, base) if side not in heads]:
            raise Refused(*self.invalid(f"branch {wrong[0]} does not exist"))
        if self.open_of(repository, head):
            raise Refused(*self.exists())
        number = len(self.pulls) + 1
        pull = Pull(repository, number, url.format(number), head, base, title, body, draft)
        self.pulls.append(pull)
        return pull

    def open_of(self, repository: str, head: str | None = None) -> list[Pull]:
        return [
            p
            for p in self.pulls
            if p.repository == repository and p.state == "open" and head in (None, p.head)
        ]

    def pull(self, repository: str, number: str) -> Pull:
        return next(p for p in self.pulls if p.repository == repository and p.number == int(number))

    def sha(self, pull: Pull) -> str:
        return self.git(pull.repository, "rev-parse", pull.head)

    def file(self, repository: str, path: str, ref: str) -> str:
        try:
            return self.git(repository, "show", f"{ref}:{path}") + "\n"
        except subprocess.CalledProcessError:
            raise LookupError(path) from None

    def exists(self) -> tuple[int, Any]:
        return 409, {"message": "it exists"}

    def invalid(self, why: str) -> tuple[int, Any]:
        return 422, {"message": why}

    def thread(self, number: int, *, issue: bool) -> list[str]:
        """The comments on an issue or a pull request."""
        pull = next((p for p in self.pulls if p.number == number), None)
        return pull.comments if pull is not None and not issue else self.issues.setdefault(number, [])


def only(body: Any, *known: str) -> Any:
    """The body, without a field that is not documented."""
    unknown = set(body) - set(known)
    assert not unknown, f"not documented: {unknown}"
    return body


def route(pattern: str, text: str) -> re.Match[str] | None:
    return re.fullmatch(pattern, text)


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


class BitbucketDouble(ForgeDouble):
    """developer.atlassian.com/cloud/bitbucket/rest, version 2.0."""

    kind, api, git_user = "bitbucket", "/2.0", "x-token-auth"

    def invalid(self, why: str) -> tuple[int, Any]:
        return 400, {"type": "error", "error": {"message": why}}

    def exists(self) -> tuple[int, Any]:
        return 409, {"type": "error", "error": {"message": "There is already an open pull request"}}

    def _pull(self, pull: Pull) -> Any:
        return {
            "id": pull.number, "title": pull.title, "description": pull.body, "state": pull.state.upper(),
            "draft": pull.draft, "links": {"html": {"href": pull.url}},
            "source": {"branch": {"name": pull.head}}, "destination": {"branch": {"name": pull.base}},
        }  # fmt: skip

    def rest(self, method: str, path: str, query: Mapping[str, str], body: Any) -> Any:
        if path == "/repositories":
            return {"values": [
                {"full_name": n, "links": {"html": {"href": self.page(n)}}, "is_private": True,
                 "mainbranch": {"name": "main"}}
                for n in names(self.root)
            ]}  # fmt: skip
        found = route(r"/repositories/([^/]+/[^/]+)(/.*)?", path)
        if not found or not (self.root / f"{found[1]}.git").is_dir():
            raise LookupError(path)
        repo = found[1]
        match method, (found[2] or "").split("/")[1:]:
            case "GET", []:
                return {"full_name": repo, "mainbranch": {"name": "main"}}
            case "GET", ["pullrequests"]:
                asked = route(r'source\.branch\.name="([^"]+)" AND state="OPEN"', query["q"])
                assert asked
                return {"values": [self._pull(p) for p in self.open_of(repo, asked[1])]}
            case "POST", ["pullrequests"]:
                only(body, "title", "description", "source", "destination", "draft", "reviewers")
                pull = self.open(
                    repo, head=body["source"]["branch"]["name"], base=body["destination"]["branch"]["name"],
                    title=body["title"], body=body["description"], draft=body["draft"],
                    url=f"{self.page(repo)}/pull-requests/{{}}",
                )  # fmt: skip
                return self._pull(pull)
            case "GET", ["pullrequests", number]:
                return self._pull(self.pull(repo, number))
            case "PUT", ["pullrequests", number]:
                pull = self.pull(repo, number)
                only(body, "title", "description", "reviewers")
                pull.body = body.get("description", pull.body)
                for one in body.get("reviewers", ()):
                    if one.get("account_id") not in LOGINS:
                        raise Refused(*self.invalid(f"{one} is not a valid user"))
                    pull.reviewers.append(one["account_id"])
                return self._pull(pull)
            case "GET", [("pullrequests" | "issues") as of, number, "comments"]:
                remarks = self.pull(repo, number).remarks if of == "pullrequests" else []
                said = [("ada", "", t) for t in self.thread(int(number), issue=of == "issues")]
                return {"values": [
                    {"user": {"display_name": who}, "content": {"raw": text}, "deleted": False}
                    | ({"inline": {"path": place.partition(":")[0], "to": int(place.partition(":")[2])}}
                       if place else {})
                    for who, place, text in [*remarks, *said]
                ]}  # fmt: skip
            case "POST", [("pullrequests" | "issues") as of, number, "comments"]:
                text = only(body, "content", "parent", "inline")["content"]["raw"]
                self.thread(int(number), issue=of == "issues").append(text)
                return {"id": 1}
            case "GET", ["pullrequests", number, "statuses"]:
                return {"values": [
                    {"key": n, "name": n, "state": "FAILED", "description": t, "url": ""}
                    for n, t in self.pull(repo, number).checks
                ]}  # fmt: skip
            case "GET", ["src", ref, *parts]:
                return self.file(repo, "/".join(parts), unquote(ref))
        raise LookupError(path)


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


DOUBLES: Sequence[type[ForgeDouble]] = (GitHubDouble, GitLabDouble, GiteaDouble, BitbucketDouble, AzureDouble)


def names(root: Path, depth: int | None = None) -> list[str]:
    """The repositories below a folder."""
    found = sorted(str(p.relative_to(root)).removesuffix(".git") for p in root.rglob("*.git") if p.is_dir())
    return [name for name in found if depth is None or name.count("/") == depth - 1]


@contextmanager
def forge_double(root: Path, of: type[ForgeDouble] = GitHubDouble) -> Iterator[ForgeDouble]:
    """A forge for as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def do_PUT(self) -> None:
            self._handle()

        def do_PATCH(self) -> None:
            self._handle()

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            body = self._body()
            parts = urlsplit(self.path)
            basic = "Basic " + base64.b64encode(f"{double.git_user}:{TOKEN}".encode()).decode()
            is_git = parts.path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack"))
            if self.headers.get("authorization") not in (double.bearer(), basic):
                double.unauthorized += 1
                self._send(401, {"message": "Bad credentials"}, {"WWW-Authenticate": 'Basic realm="Git"'})
            elif is_git:
                self._git(parts.path, parts.query, body)
            elif waiting := double.failures.get(self.command):
                status, headers = waiting.pop(0)
                self._send(status, {"message": f"Status {status}", "documentation_url": "x"}, headers)
            else:
                self._rest(parts.path.removeprefix(double.api), parts.query, body)

        def _rest(self, path: str, query: str, body: bytes) -> None:
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            try:
                document = double.rest(self.command, path, asked, json.loads(body) if body else None)
            except Refused as refused:
                self._send(refused.status, refused.document)
            except (LookupError, StopIteration):
                self._send(404, {"message": "Not Found"})
            except AssertionError as error:
                self._send(418, {"message": f"the double does not take this: {error}"})
            else:
                self._send(201 if self.command == "POST" else 200, document)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _git(self, path: str, query: str, body: bytes) -> None:
            name, rest = double.bare_of(path)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(double.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "PATH_INFO": f"/{name}.git/{rest}",
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "REMOTE_USER": "ada",
                "REMOTE_ADDR": "127.0.0.1",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, capture_output=True, env=environment, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double = of(f"http://127.0.0.1:{server.server_port}", root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
