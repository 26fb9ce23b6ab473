"""Which events of a forge start a task, and about what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from remote_claude.contracts.gateway import ForgeThread
from remote_claude.gateway.domain.forge_events import Ignored, TaskStart, TriggerRules, from_forge, is_signed

RULES = TriggerRules(allow=("Ada",), repositories=("ada/calc",), label="rclaude")


def comment(body: str = "/rclaude fix this", **changed: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "action": "created",
        "comment": {"id": 5, "body": body, "user": {"login": "ada"}},
        "issue": {"id": 3, "number": 7, "title": "Wrong sum", "body": "1+1=0", "updated_at": "2026-03-01"},
        "repository": {"full_name": "ada/calc", "clone_url": "https://forge.example/ada/calc.git"},
        "sender": {"login": "ada"},
    }
    return payload | changed


def on_github(kind: str, payload: dict[str, Any]) -> TaskStart | Ignored:
    return from_forge("github", {"x-github-event": kind}, payload, RULES)


def test_a_comment_starts_a_task_about_its_issue() -> None:
    start = on_github("issue_comment", comment())
    assert isinstance(start, TaskStart)
    assert start.prompt == "fix this\n\nThe issue ada/calc#7:\n\nWrong sum\n\n1+1=0"
    assert (start.key, start.url) == ("comment-5", "https://forge.example/ada/calc.git")


def test_a_label_starts_a_task() -> None:
    start = on_github("issues", comment(action="labeled", label={"name": "rclaude"}))
    assert isinstance(start, TaskStart)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("issue_comment", comment("please /rclaude")),
        ("issue_comment", comment("/rclaudefix")),
        ("issue_comment", comment(action="edited")),
        ("issue_comment", comment(comment={"id": 5, "body": "/rclaude", "user": {"login": "eve"}})),
        ("issue_comment", comment(repository={"full_name": "eve/calc", "clone_url": "https://x/y"})),
        ("issues", comment(action="labeled", label={"name": "bug"})),
        ("issues", comment(action="labeled", label={"name": "rclaude"}, sender={"login": "eve"})),
        ("push", comment()),
    ],
)
def test_nothing_else_starts_one(kind: str, payload: dict[str, Any]) -> None:
    assert isinstance(on_github(kind, payload), Ignored)


@pytest.mark.parametrize(
    ("kind", "action", "command", "started"),
    [
        ("issue_comment", "created", "You", 5),
        ("pull_request_review_comment", "created", "Maybe", 3),
        ("issues", "labeled", "/rclaude", 2),
    ],
)
def test_of_the_examples_that_github_publishes_new_comments_and_the_label_start_tasks(
    kind: str, action: str, command: str, started: int
) -> None:
    """`github_examples/README.md` has their source. Their comments begin with `command`."""
    examples = json.loads((Path(__file__).parent / "github_examples" / "examples.json").read_text())
    rules = TriggerRules(
        allow=("codertocat",), repositories=("Codertocat/Hello-World",), command=command, label="bug"
    )
    payloads = [one["payload"] for one in examples if one["event"] == kind]
    found = [from_forge("github", {"x-github-event": kind}, payload, rules) for payload in payloads]
    starts = [one for one in found if isinstance(one, TaskStart)]
    assert [isinstance(one, TaskStart) for one in found] == [one["action"] == action for one in payloads]
    assert len(starts) == started
    for start in starts:
        assert start.url == "https://github.com/Codertocat/Hello-World.git"
        number = 2 if kind == "pull_request_review_comment" else 1
        assert start.thread == ForgeThread(kind="pull_request" if number == 2 else "issue", number=number)
        assert start.branch == ("changes" if number == 2 else None)


def on_gitlab(payload: dict[str, Any]) -> TaskStart | Ignored:
    rules = TriggerRules(allow=("ada",), repositories=("team/core/calc",), label="rclaude")
    project = {
        "path_with_namespace": "team/core/calc",
        "git_http_url": "https://lab.example/team/core/calc.git",
    }
    return from_forge("gitlab", {}, {"project": project, "user": {"username": "ada"}, **payload}, rules)


ISSUE = {"id": 3, "iid": 7, "title": "Wrong sum", "description": "1+1=0", "updated_at": "2026-03-01"}
NOTE = {"id": 5, "note": "/rclaude fix this", "noteable_type": "Issue", "action": "create"}


def test_a_comment_on_gitlab_starts_a_task_about_its_issue() -> None:
    start = on_gitlab({"object_kind": "note", "object_attributes": NOTE, "issue": ISSUE})
    assert isinstance(start, TaskStart)
    assert start.prompt == "fix this\n\nThe issue team/core/calc#7:\n\nWrong sum\n\n1+1=0"
    assert (start.key, start.url) == ("comment-5", "https://lab.example/team/core/calc.git")


def test_only_a_label_that_is_added_on_gitlab_starts_a_task() -> None:
    one, other = {"title": "rclaude"}, {"title": "bug"}
    issue = {"object_kind": "issue", "object_attributes": ISSUE | {"action": "update"}}
    added = issue | {"changes": {"labels": {"previous": [other], "current": [other, one]}}}
    assert isinstance(on_gitlab(added), TaskStart)
    there = issue | {"changes": {"labels": {"previous": [one], "current": [one, other]}}}
    assert isinstance(on_gitlab(there), Ignored)
    assert isinstance(on_gitlab(issue), Ignored)


@pytest.mark.parametrize(
    "note", [{"noteable_type": "Commit"}, {"action": "update"}, {"note": "please /rclaude"}]
)
def test_no_other_comment_on_gitlab_starts_one(note: dict[str, Any]) -> None:
    event = {"object_kind": "note", "object_attributes": NOTE | note, "issue": ISSUE}
    assert isinstance(on_gitlab(event), Ignored)


GITEA = {"x-gitea-event": "issue_comment"}


def test_a_comment_on_gitea_starts_a_task_and_a_label_does_not() -> None:
    start = from_forge("gitea", GITEA, comment(is_pull=False), RULES)
    assert isinstance(start, TaskStart)
    labelled = comment(action="label_updated")
    assert isinstance(from_forge("gitea", {"x-gitea-event": "issues"}, labelled, RULES), Ignored)


def test_a_signature_is_that_of_the_body() -> None:
    # the example of docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    secret, signature = (
        "It's a Secret to Everybody",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )
    assert is_signed("github", secret, b"Hello, World!", {"x-hub-signature-256": signature})
    assert not is_signed("github", secret, b"Hello, World?", {"x-hub-signature-256": signature})
    assert not is_signed("github", secret, b"Hello, World!", {})
    plain = {"x-gitea-signature": signature.removeprefix("sha256=")}
    assert is_signed("gitea", secret, b"Hello, World!", plain)
    assert not is_signed("gitea", secret, b"Hello, World?", plain)
    assert is_signed("gitlab", secret, b"", {"x-gitlab-token": secret})
    assert not is_signed("gitlab", secret, b"", {"x-gitlab-token": ""})
    assert is_signed("bitbucket", secret, b"Hello, World!", {"x-hub-signature": signature})
    assert not is_signed("bitbucket", secret, b"Hello, World?", {"x-hub-signature": signature})
    assert is_signed("azure", "open", b"", {"authorization": "Basic cmNsYXVkZTpvcGVu"})
    assert not is_signed("azure", "open", b"", {"authorization": "Basic cmNsYXVkZTpzaHV0"})


def pull(repository: str = "ada/calc") -> dict[str, Any]:
    """A pull request as GitHub and Gitea send it."""
    return {
        "number": 9,
        "title": "Add",
        "body": "It adds.",
        "html_url": "https://forge.example/ada/calc/pull/9",
        "head": {"ref": "adding", "repo": {"full_name": repository}},
    }


ON_PULL = {"id": 3, "number": 9, "title": "Add", "body": "It adds.", "updated_at": "2026-03-01"} | {
    "html_url": "https://forge.example/ada/calc/pull/9",
    "pull_request": {"html_url": "https://forge.example/ada/calc/pull/9"},
}
LINE = {"id": 5, "body": "/rclaude why?", "user": {"login": "ada"}, "path": "calc.py", "line": 3}
NOTE_ON_MERGE = {
    "object_kind": "note",
    "object_attributes": NOTE | {"noteable_type": "MergeRequest"},
    "merge_request": {
        "iid": 9, "title": "Add", "description": "It adds.", "source_branch": "adding", "source_project_id": 1,
        "target_project_id": 1, "url": "https://lab.example/ada/calc/-/merge_requests/9",
    },
    "project": {
        "path_with_namespace": "ada/calc",
        "git_http_url": "https://lab.example/ada/calc.git",
        "web_url": "https://lab.example/ada/calc",
    },
    "user": {"username": "ada"},
}  # fmt: skip
ON_BITBUCKET = {
    "actor": {"nickname": "ada", "account_id": "557058:1", "uuid": "{1}"},
    "repository": {
        "full_name": "ada/calc",
        "links": {"html": {"href": "https://bitbucket.org/ada/calc"}},
    },
    "comment": {"id": 5, "content": {"raw": "/rclaude fix this"}},
    "pullrequest": {
        "id": 9, "title": "Add", "description": "It adds.",
        "links": {"html": {"href": "https://bitbucket.org/ada/calc/pull-requests/9"}},
        "source": {"branch": {"name": "adding"}, "repository": {"full_name": "ada/calc"}},
    },
}  # fmt: skip
ON_AZURE = {
    "eventType": "ms.vss-code.git-pullrequest-comment-event",
    "resource": {
        "comment": {
            "content": "/rclaude fix this",
            "author": {"uniqueName": "ada", "displayName": "Ada"},
            "_links": {"self": {"href": "https://dev.azure.com/_apis/pullRequests/9/threads/2/comments/1"}},
        },
        "pullRequest": {
            "pullRequestId": 9, "title": "Add", "description": "It adds.", "sourceRefName": "refs/heads/adding",
            "repository": {
                "name": "calc", "project": {"name": "tools"},
                "remoteUrl": "https://ada@dev.azure.com/ada/tools/_git/calc",
            },
        },
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("forge", "headers", "payload", "branch"),
    [
        ("github", {"x-github-event": "issue_comment"}, comment(issue=ON_PULL), None),
        (
            "github",
            {"x-github-event": "pull_request_review_comment"},
            comment(comment=LINE, pull_request=pull()),
            "adding",
        ),
        (
            "github",
            {"x-github-event": "pull_request_review_comment"},
            comment(comment=LINE, pull_request=pull("eve/calc")),
            None,
        ),
        ("gitea", GITEA, comment(issue=ON_PULL, pull_request=pull()), "adding"),
        ("gitlab", {}, NOTE_ON_MERGE, "adding"),
        ("bitbucket", {"x-event-key": "pullrequest:comment_created"}, ON_BITBUCKET, "adding"),
        ("azure", {}, ON_AZURE, "adding"),
    ],
)
def test_a_comment_on_a_pull_request_starts_a_task_about_it(
    forge: Any, headers: dict[str, str], payload: dict[str, Any], branch: str | None
) -> None:
    rules = TriggerRules(allow=("ada",), repositories=("ada/calc", "ada/tools/calc"))
    start = from_forge(forge, headers, payload, rules)
    assert isinstance(start, TaskStart)
    assert (start.thread, start.branch) == (ForgeThread(kind="pull_request", number=9), branch)
    assert start.pull_request is not None
    assert start.pull_request.endswith("/9")
    assert "The pull request " in start.prompt
    assert start.prompt.endswith("Add\n\nIt adds.")
    assert ("calc.py:3" in start.prompt) == (payload.get("comment") is LINE)
    assert "pull-request" in start.labels
    assert isinstance(
        from_forge(forge, headers, payload, rules.model_copy(update={"allow": ("eve",)})), Ignored
    )


def test_a_comment_on_an_issue_of_bitbucket_starts_a_task_for_an_account() -> None:
    issue = {"id": 7, "title": "Wrong sum", "content": {"raw": "1+1=0"}}
    rules = TriggerRules(allow=("557058:1",), repositories=("ada/calc",))
    start = from_forge(
        "bitbucket", {"x-event-key": "issue:comment_created"}, ON_BITBUCKET | {"issue": issue}, rules
    )
    assert isinstance(start, TaskStart)
    assert (start.url, start.labels["issue"]) == ("https://bitbucket.org/ada/calc.git", "ada/calc#7")
    assert start.labels["asked-by"] == "557058:1"
