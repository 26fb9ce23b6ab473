"""One suite over the clients of all forges, against doubles of them, and the push, against a real Git server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest

import forge_schemas
from forge_doubles import DOUBLES, TOKEN, ForgeDouble, forge_double
from product import git, repository
from remote_claude.outbound.forges import Forge, Forges
from remote_claude.runner.forges.client import ForgeClient, ForgeFailed, NewPullRequest, OpenPullRequest
from remote_claude.runner.forges.kinds import CLIENTS, place_of
from remote_claude.runner.forges.pushing import Credential, push

T = TypeVar("T")
BRANCH = "rclaude/task_01"


@pytest.fixture(params=DOUBLES, ids=lambda double: double.kind)
def forge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ForgeDouble]:
    with forge_double(tmp_path / "forge", request.param) as double:
        files = {"a.txt": "a\n", double.templates or "b.txt": "## Checklist\n"}
        repo = repository(tmp_path / "repo", files)
        git(repo, "branch", BRANCH)
        double.repository(double.example, repo)
        yield double


def asked(
    forge: ForgeDouble, doing: Callable[[ForgeClient], Awaitable[T]], token: str = TOKEN, name: str = ""
) -> T:
    async def run() -> T:
        place = place_of(Forges(f"own={forge.kind}:{forge.url}"), forge.page(name or forge.example))
        assert place is not None
        async with httpx2.AsyncClient() as client:
            return await doing(place.client(client, token))

    return asyncio.run(run())


def wanted(head: str = BRANCH, **more: object) -> NewPullRequest:
    return NewPullRequest(head=head, base="main", title="t", body="b", **more)  # type: ignore[arg-type]  # options by name


def opened(forge: ForgeDouble, head: str = BRANCH, name: str = "") -> OpenPullRequest:
    return asked(forge, lambda client: client.open(wanted(head)), name=name)


@pytest.mark.parametrize(
    ("status", "headers", "code", "passing", "after"),
    [
        (401, {}, "forge_token_refused", False, None),
        (403, {}, "forge_forbidden", False, None),
        (403, {"x-ratelimit-remaining": "0"}, "forge_rate_limited", True, None),
        (404, {}, "forge_not_found", False, None),
        (409, {}, "forge_refused", False, None),
        (422, {}, "forge_refused", False, None),
        (429, {"retry-after": "7"}, "forge_rate_limited", True, 7.0),
        (500, {}, "forge_unavailable", True, None),
        (502, {}, "forge_unavailable", True, None),
        (201, {"Content-Encoding": "gzip"}, "forge_unreachable", True, None),  # half an answer
    ],
)
def test_each_failure_has_a_code_and_says_what_to_do(
    forge: ForgeDouble, status: int, headers: dict[str, str], code: str, passing: bool, after: float | None
) -> None:
    forge.failures["POST"] = [(status, headers)]
    with pytest.raises(ForgeFailed) as failed:
        opened(forge)
    assert (failed.value.code, failed.value.passing, failed.value.retry_after) == (code, passing, after)
    assert "rclaude" in str(failed.value)
    assert not forge.pulls
    assert opened(forge).url == forge.pulls[0].url


def test_a_second_request_finds_the_first_pull_request(forge: ForgeDouble) -> None:
    assert opened(forge) == opened(forge)
    assert len(forge.pulls) == 1


def test_what_the_forge_says_is_passed_on(forge: ForgeDouble) -> None:
    with pytest.raises(ForgeFailed, match="branch nowhere does not exist"):
        opened(forge, "nowhere")
    missing = forge.example.rpartition("/")[0] + "/none"
    with pytest.raises(ForgeFailed, match=f"no repository {missing}"):
        opened(forge, name=missing)


@pytest.mark.parametrize("kind", [double.kind for double in DOUBLES])
def test_what_a_vendor_does_not_publish_is_refused(kind: str) -> None:
    listing = {"azure": "/o/_apis/git/repositories", "gitlab": "/projects", "bitbucket": "/repositories"}
    path = listing.get(kind, "/user/repos")
    forge_schemas.check(kind, "GET", path, {}, None, None)
    one = [{"unknown": 1}]
    answer = {"azure": {"value": one}, "bitbucket": {"values": one}}.get(kind, one)
    for query, found, where in (({"unknown": "1"}, None, path), ({}, answer, path), ({}, None, "/unknown")):
        with pytest.raises(AssertionError, match="unknown"):
            forge_schemas.check(kind, "GET", where, query, None, found)


def test_options_feedback_and_comments(forge: ForgeDouble) -> None:
    async def use(client: ForgeClient) -> None:
        assert await client.default_branch() == "main"
        assert await client.template("main") == ("## Checklist\n" if forge.templates else None)
        options = wanted(draft=True, reviewers=["grace", "nobody"], labels=["bot"])
        found = await client.open(options)
        refused = [str(one) for one in await client.add(found.number, options)]
        assert refused
        await client.update(found.number, "other")
        again = await client.find(BRANCH)
        assert again is not None
        assert (again.number, again.body) == (found.number, "other")
        page = CLIENTS[forge.kind].pull_request(Forge("own", forge.kind, forge.url), found.url)
        assert page is not None
        assert (page[0].path, page[1]) == (forge.example, found.number)
        [pull] = forge.pulls
        pull.remarks += [("grace", "a.txt:3", "Name it"), ("grace", "", "Not yet")]
        pull.checks.append(("lint", "E501 line too long"))
        await client.comment(found.number, "begun", issue=False)
        assert "begun" in await client.comments(found.number, issue=False, since="2026-01-01T00:00:00Z")
        feedback = await client.feedback(found.number)
        said = {(one.author, one.place, one.text) for one in feedback.review_comments}
        assert {("grace", "a.txt:3", "Name it"), ("grace", "", "Not yet")} <= said
        assert [(one.name, one.text.strip()) for one in feedback.checks] == [("lint", "E501 line too long")]
        words = forge.example.partition("/")[0] + "/calc" if forge.kind == "azure" else "calc"
        assert [one.name for one in await client.search(words)] == [forge.example]

    asked(forge, use)
    [pull] = forge.pulls
    assert pull.draft
    assert pull.labels == ([] if forge.kind == "bitbucket" else ["bot"])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://github.com/o/r", "o/r"),
        ("https://github.com/o/r.git", "o/r"),
        ("https://user:token@github.com/o/r/", "o/r"),
        ("https://github.com.example.com/o/r", None),
        ("http://github.com/o/r", None),
        ("https://github.com/o", None),
        ("https://github.com/o/r/tree/main", None),
        ("git@github.com:o/r.git", None),
        ("https://gitlab.com/group/sub/r.git", "group/sub/r"),
        ("https://gitlab.com/r", None),
        ("https://codeberg.org/o/r", "o/r"),
        ("https://bitbucket.org/o/r", "o/r"),
        ("https://dev.azure.com/o/My%20Project/_git/r", "o/My Project/r"),
        ("https://o@dev.azure.com/o/p/_git/r", "o/p/r"),
        ("https://dev.azure.com/o/r", None),
        ("https://git.example.com/o/r", "o/r"),
    ],
)
def test_a_url_is_of_a_forge_that_is_known_or_of_none(url: str, path: str | None) -> None:
    found = place_of(Forges("work=github:https://git.example.com"), url)
    assert (found.repository.path if found else None) == path


def result(folder: Path, change: str = "a.txt") -> tuple[Path, str, str]:
    """A bundle of one commit on top of what the forge has; base and commit."""
    repo = folder / "repo"
    base = git(repo, "rev-parse", "HEAD").strip()
    (repo / change).parent.mkdir(parents=True, exist_ok=True)
    (repo / change).write_text("b\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "second")
    git(repo, "bundle", "create", "--quiet", str(folder / "result.bundle"), "HEAD", f"^{base}")
    return folder / "result.bundle", base, git(repo, "rev-parse", "HEAD").strip()


def pushed(
    forge: ForgeDouble,
    folder: Path,
    bundle: Path,
    base: str,
    commit: str,
    token: str = TOKEN,
    workflows: bool = False,
) -> str:
    """The subject of the commit on the branch."""
    folder.mkdir()
    credential = Credential(Forge("own", forge.kind, forge.url), CLIENTS[forge.kind].git_user, token)
    url = forge.page(forge.example)
    pushing = push(
        url,
        credential,
        bundle=bundle,
        base=base,
        commit=commit,
        branch="rclaude/task_02",
        folder=folder,
        workflows=workflows,
    )
    return asyncio.run(pushing)[1]


def test_a_push_makes_the_branch_and_again_changes_nothing(forge: ForgeDouble, tmp_path: Path) -> None:
    bundle, base, commit = result(tmp_path)
    for number in range(2):
        assert pushed(forge, tmp_path / f"push-{number}", bundle, base, commit) == "second"
        assert forge.git(forge.example, "rev-parse", "rclaude/task_02") == commit
    assert forge.unauthorized > 0
    with pytest.raises(ForgeFailed) as refused:
        pushed(forge, tmp_path / "wrong", bundle, base, commit, token="other")
    assert refused.value.code == "forge_token_refused"


def test_a_push_is_never_by_force_and_changes_what_the_forge_runs_only_with_leave(
    forge: ForgeDouble, tmp_path: Path
) -> None:
    bundle, base, commit = result(tmp_path, ".github/workflows/ci.yml")
    with pytest.raises(ForgeFailed) as refused:
        pushed(forge, tmp_path / "workflow", bundle, base, commit)
    assert refused.value.code == "workflow_refused"
    pushed(forge, tmp_path / "allowed", bundle, base, commit, workflows=True)
    for name in (f"+{commit}", "main", f"{commit}:refs/heads/main "):
        with pytest.raises(ForgeFailed) as no_commit:
            pushed(forge, tmp_path / name.replace("/", "-"), bundle, base, name)
        assert no_commit.value.code == "push_refused"
    git(tmp_path / "repo", "commit", "--quiet", "--amend", "--message", "another")
    other = git(tmp_path / "repo", "rev-parse", "HEAD").strip()
    git(tmp_path / "repo", "bundle", "create", "--quiet", str(bundle), "HEAD", f"^{base}")
    with pytest.raises(ForgeFailed) as rejected:
        pushed(forge, tmp_path / "moved", bundle, base, other, workflows=True)
    assert rejected.value.code == "push_rejected"
    assert forge.git(forge.example, "rev-parse", "rclaude/task_02") == commit
