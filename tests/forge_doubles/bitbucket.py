"""Bitbucket Cloud's REST API of pull requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from .base import LOGINS, ForgeDouble, Pull, Refused, names, only, route


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
