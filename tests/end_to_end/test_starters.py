"""What starts tasks without a person: the clock, and a comment on an issue."""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from forge_doubles import TOKEN, forge_double
from guides import follow
from product import Product, product, repository
from servers import until


def report(
    stack: Product, made: dict[str, Any], kind: str, payload: dict[str, Any], secret: str
) -> httpx2.Response:
    body = json.dumps(payload).encode()
    signature = "sha256=" + hmac.new(secret.encode(), body, sha256).hexdigest()
    headers = {"X-GitHub-Event": kind, "X-Hub-Signature-256": signature, "Content-Type": "application/json"}
    return httpx2.post(stack.stack_file()["url"] + made["path"], content=body, headers=headers, timeout=30)


@pytest.mark.timeout(240)
def test_the_clock_and_a_comment_start_tasks(tmp_path: Path) -> None:
    with forge_double(tmp_path / "forge") as forge:
        url = forge.repository("ada/calc", repository(tmp_path / "repo", {"README.md": "hello\n"}))
        environment = {
            "RCLAUDE_FORGES": f"github=github:{forge.url}",
            "RCLAUDE_OUTBOUND_ALLOW": "127.0.0.0/8",
        }
        with product(environment) as stack:
            stack.ok("repo", "connect", "github", "--token-stdin", stdin=f"{TOKEN}\n".encode())
            schedule = stack.ok(
                *("schedule", "create", "* * * * *", "echo on time", "--agent", "shell"),
                *("--zone", "Europe/Berlin", "--json"),
            ).json
            refused = stack.run("schedule", "create", "99 * * * *", "true", "--agent", "shell", "--json")
            assert refused.json["error"]["code"] == "schedule_invalid"

            made = stack.ok(
                *("trigger", "create", "--repo", "ada/calc", "--allow", "ada", "--agent", "shell", "--json")
            ).json
            comment = {
                "action": "created",
                "comment": {"id": 5, "body": "/rclaude echo more >> README.md", "user": {"login": "ada"}},
                "issue": {"id": 3, "number": 7, "title": ":", "body": "true", "updated_at": "2026-03-01"},
                "repository": {"full_name": "ada/calc", "clone_url": url},
                "sender": {"login": "ada"},
            }
            assert (
                report(stack, made, "issue_comment", comment, "wrong").status_code == httpx2.codes.BAD_REQUEST
            )
            eve = comment | {"comment": {"id": 6, "body": "/rclaude true", "user": {"login": "eve"}}}
            assert "eve" in report(stack, made, "issue_comment", eve, made["secret"]).json()["ignored"]
            forge.failures["POST"] = [(429, {"retry-after": "0"}), (500, {})]
            first = report(stack, made, "issue_comment", comment, made["secret"]).json()["task"]
            assert report(stack, made, "issue_comment", comment, made["secret"]).json()["task"] == first
            done = stack.ended(first)
            assert (done["state"], done["labels"]["issue"]) == ("succeeded", "ada/calc#7")
            until(lambda: bool(forge.pulls), "the pull request", 60, pause=0.1)
            assert forge.git("ada/calc", "show", f"rclaude/{first}:README.md") == "hello\nmore"
            assert made["secret"] not in str(stack.events())
            until(lambda: len(forge.issues[7]) == 2, "both comments", 60, pause=0.1)
            begun, ended = forge.issues[7]
            assert f"has started the task `{first}`" in begun
            for part in (f"`{first}`", "succeeded", f"Pull request: {forge.pulls[0].url}", "$0.0000"):
                assert part in ended

            [pull] = forge.pulls
            about = {"number": pull.number, "title": ":", "body": "true", "html_url": pull.url}
            words = {"id": 8, "body": "/rclaude echo again >> README.md", "user": {"login": "ada"}}
            asked = comment | {"comment": words, "issue": about | {"pull_request": {"html_url": pull.url}}}
            second = report(stack, made, "issue_comment", asked, made["secret"]).json()["task"]
            assert stack.ended(second)["labels"]["pull-request"] == f"ada/calc#{pull.number}"
            until(lambda: len(pull.comments) == 2, "the comments on the pull request", 60, pause=0.1)
            assert forge.git("ada/calc", "show", f"rclaude/{first}:README.md") == "hello\nmore\nagain"
            assert len(forge.pulls) == 1
            other = about | {"pull_request": {"html_url": "x"}, "html_url": f"{url}/pull/99"}
            unknown = asked | {"comment": words | {"id": 9}, "issue": other}
            assert (
                "not known" in report(stack, made, "issue_comment", unknown, made["secret"]).json()["ignored"]
            )
            assert len(forge.issues[7]) == 2

            def last_task() -> Any:
                [listed] = stack.ok("schedule", "list", "--json").json["schedules"]
                return listed["last_task"]

            until(lambda: last_task() is not None, "the schedule's task", 90, pause=0.5)
            task = last_task()
            stack.ended(task)
            assert "on time" in stack.ok("logs", task).out
            stack.ok("schedule", "remove", schedule["id"])
            stack.ok("trigger", "remove", made["id"])
            assert (
                report(stack, made, "issue_comment", comment, made["secret"]).status_code
                == httpx2.codes.NOT_FOUND
            )
            assert "ada/calc" in follow(stack, "schedules-and-triggers.md", tmp_path)
            stack.verified()
