"""What a forge says has happened, and whether that starts a task."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, assert_never

from pydantic import BaseModel, ConfigDict

from remote_claude.contracts.gateway import ForgeThread

MAX_TEXT = 32_000
"""Characters of an issue or a pull request that the prompt has."""

Forge = Literal["github", "gitea", "gitlab", "bitbucket", "azure"]


class TriggerRules(BaseModel):
    """Who may start what. `allow` are logins on the forge, `repositories` are `owner/name`.

    A comment starts a task when it begins with `command`; a label when it is `label`.
    """

    model_config = ConfigDict(frozen=True)

    allow: tuple[str, ...]
    repositories: tuple[str, ...]
    command: str = "/rclaude"
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStart:
    """A task to start. `key` is the same for the same happening, however often the forge reports it.

    `pull_request` is the URL of the pull request that is commented, `branch` the branch that it asks to merge, if that
    is known and in the same repository.
    """

    key: str
    prompt: str
    url: str
    labels: Mapping[str, str]
    thread: ForgeThread
    pull_request: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing starts. `reason` is for who reads the forge's list of deliveries."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeEvent:
    """What a forge reports, as far as all forges have it. `words` follow the command; they are empty for a label.

    `pull_request` is the URL of a pull request; for an issue it is None. `place` is the file and line of a review comment.
    """

    key: str
    words: str
    requester: str
    repository: str
    clone_url: str
    number: int
    title: str
    text: str
    pull_request: str | None = None
    branch: str | None = None
    place: str = ""


def is_signed(forge: Forge, secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether a body comes from the forge. Names of headers in lower case.

    GitHub, Gitea and Bitbucket sign it, GitLab sends the secret, Azure DevOps signs in with it as its password.
    """
    digest = hmac.new(secret.encode(), body, sha256).hexdigest()
    match forge:
        case "github":
            name, expected = "x-hub-signature-256", f"sha256={digest}"
        case "gitea":
            name, expected = "x-gitea-signature", digest
        case "gitlab":
            name, expected = "x-gitlab-token", secret
        case "bitbucket":
            name, expected = "x-hub-signature", f"sha256={digest}"
        case "azure":
            name, expected = (
                "authorization",
                f"Basic {base64.b64encode(f'rclaude:{secret}'.encode()).decode()}",
            )
        case _:
            assert_never(forge)
    return hmac.compare_digest(expected.encode(), headers.get(name, "").encode())


def from_forge(
    forge: Forge, headers: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules
) -> TaskStart | Ignored:
    """What an event starts. Raises `KeyError` or `TypeError` for one without its fields."""
    event = _READERS[forge](headers, payload, rules)
    if isinstance(event, Ignored):
        return event
    if event.requester.casefold() not in {login.casefold() for login in rules.allow}:
        return Ignored(f"{event.requester} is not allowed to start tasks")
    if event.repository.casefold() not in {one.casefold() for one in rules.repositories}:
        return Ignored(f"{event.repository} is not a repository of this trigger")
    issue = event.pull_request is None
    kind = "issue" if issue else "pull request"
    place = f"{event.repository}{'!' if forge == 'gitlab' and not issue else '#'}{event.number}"
    text = f"{event.title}\n\n{event.text}".strip()[:MAX_TEXT]
    words = event.words or f"Do what this {kind} asks for."
    if event.place:
        words += f"\n\nThis is a comment at {event.place}."
    return TaskStart(
        key=event.key,
        prompt=f"{words}\n\nThe {kind} {place}:\n\n{text}".replace("\0", ""),
        url=event.clone_url,
        labels={"issue" if issue else "pull-request": place, "asked-by": event.requester},
        thread=ForgeThread(kind="issue" if issue else "pull_request", number=event.number),
        pull_request=event.pull_request,
        branch=event.branch,
    )


def _command(comment: Any, rules: TriggerRules) -> str | Ignored:
    """What follows the command in a comment."""
    words = str(comment).strip()
    if words.split(maxsplit=1)[:1] != [rules.command]:
        return Ignored(f"the comment does not begin with {rules.command}")
    return words.removeprefix(rules.command).strip()


def _github(
    headers: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules
) -> ForgeEvent | Ignored:
    """docs.github.com/webhooks: `issue_comment` (of pull requests too), `pull_request_review_comment` and `issues`."""
    return _of_github(headers.get("x-github-event", ""), payload, rules)


def _gitea(
    headers: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules
) -> ForgeEvent | Ignored:
    """docs.gitea.com/usage/webhooks. Comments have GitHub's fields; an event of labels does not say which one is new."""
    kind = headers.get("x-gitea-event", "")
    if kind != "issue_comment":
        return Ignored("of Gitea only comments start tasks")
    return _of_github(kind, payload, rules)


def _of_github(kind: str, payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    repository = payload.get("repository") or {}
    match kind, payload.get("action"):
        case (("issue_comment" | "pull_request_review_comment"), "created"):
            comment = payload["comment"]
            words, requester = _command(comment["body"], rules), comment["user"]["login"]
            key = f"{'comment' if kind == 'issue_comment' else 'review'}-{comment['id']}"
        case "issues", "labeled":
            words, requester = "", payload["sender"]["login"]
            if rules.label is None or payload["label"]["name"] != rules.label:
                return Ignored("it is not the trigger's label")
            key = f"label-{payload['issue']['id']}-{payload['issue']['updated_at']}"
        case _:
            return Ignored("this kind of event starts nothing")
    if isinstance(words, Ignored):
        return words
    about = payload["pull_request"] if kind == "pull_request_review_comment" else payload["issue"]
    pull = payload.get(
        "pull_request"
    )  # Gitea sends it with comments on pull requests, GitHub with review comments
    is_pull = pull is not None or bool(about.get("pull_request"))
    same = pull is not None and (pull["head"].get("repo") or {}).get("full_name") == repository["full_name"]
    place = ""
    if kind == "pull_request_review_comment":
        place = f"{payload['comment']['path']}:{payload['comment'].get('line') or 1}"
    return ForgeEvent(
        key=key,
        words=words,
        requester=str(requester),
        repository=str(repository["full_name"]),
        clone_url=str(repository["clone_url"]),
        number=int(about["number"]),
        title=str(about["title"]),
        text=str(about.get("body") or ""),
        pull_request=str((pull or about)["html_url"]) if is_pull else None,
        branch=str(pull["head"]["ref"]) if pull is not None and same else None,
        place=place,
    )


def _gitlab(_: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    """docs.gitlab.com/user/project/integrations/webhook_events: comments on issues and merge requests (`note`), and `issue`."""
    found, project = payload["object_attributes"], payload["project"]
    url, branch, place = None, None, ""
    match payload.get("object_kind"), found.get("action", "create"):
        case "note", "create":
            words, key = _command(found["note"], rules), f"comment-{found['id']}"
            if found.get("noteable_type") == "MergeRequest":
                about = payload["merge_request"]
                url = str(about.get("url") or f"{project['web_url']}/-/merge_requests/{about['iid']}")
                branch = (
                    about["source_branch"]
                    if about["source_project_id"] == about["target_project_id"]
                    else None
                )
                at = found.get("position") or {}
                place = f"{at['new_path']}:{at.get('new_line') or 1}" if at.get("new_path") else ""
            elif found.get("noteable_type") == "Issue":
                about = payload["issue"]
            else:
                return Ignored("only comments on issues and merge requests start tasks")
        case "issue", ("open" | "update") as action:
            before, after = _labels(payload, action)
            if rules.label is None or rules.label not in after - before:
                return Ignored("the trigger's label was not added")
            words, about, key = "", found, f"label-{found['id']}-{found['updated_at']}"
        case _:
            return Ignored("this kind of event starts nothing")
    if isinstance(words, Ignored):
        return words
    return ForgeEvent(
        key=key,
        words=words,
        requester=str(payload["user"]["username"]),
        repository=str(project["path_with_namespace"]),
        clone_url=str(project["git_http_url"]),
        number=int(about["iid"]),
        title=str(about["title"]),
        text=str(about.get("description") or ""),
        pull_request=url,
        branch=branch,
        place=place,
    )


def _labels(payload: Mapping[str, Any], action: str) -> tuple[set[str], set[str]]:
    """Of GitLab: the labels of an issue before and after what is reported."""
    if action == "open":
        return set(), {label["title"] for label in payload.get("labels") or ()}
    change = (payload.get("changes") or {}).get("labels") or {}
    before, after = ({label["title"] for label in change.get(name) or ()} for name in ("previous", "current"))
    return before, after


def _bitbucket(
    headers: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules
) -> ForgeEvent | Ignored:
    """support.atlassian.com/bitbucket-cloud/docs/event-payloads. People are allowed by nickname or account id."""
    kind = headers.get("x-event-key", "")
    if kind not in ("pullrequest:comment_created", "issue:comment_created"):
        return Ignored("this kind of event starts nothing")
    comment, repository, actor = payload["comment"], payload["repository"], payload["actor"]
    words = _command(comment["content"]["raw"], rules)
    if isinstance(words, Ignored):
        return words
    url, branch, place = None, None, ""
    if kind == "pullrequest:comment_created":
        about = payload["pullrequest"]
        url, source = str(about["links"]["html"]["href"]), about["source"]
        same = (source.get("repository") or {}).get("full_name") == repository["full_name"]
        branch = str(source["branch"]["name"]) if same else None
        inline = comment.get("inline") or {}
        place = f"{inline['path']}:{inline.get('to') or 1}" if inline else ""
        text = about.get("description")
    else:
        about = payload["issue"]
        text = about["content"]["raw"]
    names = [str(actor[name]) for name in ("account_id", "uuid", "nickname") if actor.get(name)]
    allowed = {login.casefold() for login in rules.allow}
    return ForgeEvent(
        key=f"{kind.partition(':')[0]}-{comment['id']}",
        words=words,
        requester=next((name for name in names if name.casefold() in allowed), names[-1]),
        repository=str(repository["full_name"]),
        clone_url=f"{repository['links']['html']['href']}.git",
        number=int(about["id"]),
        title=str(about["title"]),
        text=str(text or ""),
        pull_request=url,
        branch=branch,
        place=place,
    )


def _azure(_: Mapping[str, str], payload: Mapping[str, Any], rules: TriggerRules) -> ForgeEvent | Ignored:
    """learn.microsoft.com/azure/devops/service-hooks/events: a pull request is commented. People are allowed by their sign-in address."""
    if payload.get("eventType") != "ms.vss-code.git-pullrequest-comment-event":
        return Ignored("this kind of event starts nothing")
    comment, about = payload["resource"]["comment"], payload["resource"]["pullRequest"]
    words = _command(comment["content"], rules)
    if isinstance(words, Ignored):
        return words
    repository = about["repository"]
    url = re.sub(r"(?<=://)[^/@]*@", "", str(repository["remoteUrl"]))  # it may name a user
    name = f"{url.split('/')[3]}/{repository['project']['name']}/{repository['name']}"
    return ForgeEvent(
        key=f"comment-{about['pullRequestId']}-{comment['_links']['self']['href'].rpartition('/threads/')[2]}",
        words=words,
        requester=str(comment["author"]["uniqueName"]),
        repository=name,
        clone_url=url,
        number=int(about["pullRequestId"]),
        title=str(about["title"]),
        text=str(about.get("description") or ""),
        pull_request=f"{url}/pullrequest/{about['pullRequestId']}",
        branch=None if about.get("forkSource") else str(about["sourceRefName"]).removeprefix("refs/heads/"),
    )


_READERS: Mapping[
    Forge, Callable[[Mapping[str, str], Mapping[str, Any], TriggerRules], ForgeEvent | Ignored]
] = {"github": _github, "gitea": _gitea, "gitlab": _gitlab, "bitbucket": _bitbucket, "azure": _azure}
