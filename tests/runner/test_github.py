"""The client of GitHub's API, against a double of it, and the push, against a real Git server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from github import TOKEN, GitHubDouble, github_double
from product import git, repository
from remote_claude.runner.forges import github
from remote_claude.runner.forges.github import ForgeFailed, GitHub, OpenPullRequest
from remote_claude.runner.forges.pushing import push


@pytest.fixture
def forge(tmp_path: Path) -> Iterator[GitHubDouble]:
    with github_double(tmp_path / "forge") as double:
        double.repository("ada/calc", repository(tmp_path / "repo", {"a.txt": "a\n"}))
        yield double


def opened(
    forge: GitHubDouble, *, token: str = TOKEN, name: str = "ada/calc", head: str = "main"
) -> OpenPullRequest:
    async def run() -> OpenPullRequest:
        found = github.repository(forge.api, f"{forge.url}/{name}")
        assert found is not None
        async with httpx2.AsyncClient() as client:
            hub = GitHub(client, forge.api, found, token)
            return await hub.open(head=head, base="main", title="t", body="b", draft=False)

    return asyncio.run(run())


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
    ],
)
def test_each_failure_has_a_code_and_says_what_to_do(
    forge: GitHubDouble, status: int, headers: dict[str, str], code: str, passing: bool, after: float | None
) -> None:
    forge.failures["POST"] = [(status, headers)]
    with pytest.raises(ForgeFailed) as failed:
        opened(forge)
    assert (failed.value.code, failed.value.passing, failed.value.retry_after) == (code, passing, after)
    assert "rclaude" in str(failed.value)


def test_half_an_answer_is_a_failure_that_passes(forge: GitHubDouble) -> None:
    forge.failures["POST"] = [(201, {"Content-Encoding": "gzip"})]
    with pytest.raises(ForgeFailed) as failed:
        opened(forge)
    assert (failed.value.code, failed.value.passing) == ("forge_unreachable", True)


def test_a_second_request_finds_the_first_pull_request(forge: GitHubDouble) -> None:
    assert opened(forge) == opened(forge)
    assert len(forge.pulls) == 1


def test_what_github_says_is_passed_on(forge: GitHubDouble) -> None:
    with pytest.raises(ForgeFailed, match="Validation Failed"):
        opened(forge, head="nowhere")
    with pytest.raises(ForgeFailed, match="no repository ada/none"):
        opened(forge, name="ada/none")


@pytest.mark.parametrize(
    ("api", "url", "name"),
    [
        ("https://api.github.com", "https://github.com/o/r", "o/r"),
        ("https://api.github.com", "https://github.com/o/r.git", "o/r"),
        ("https://api.github.com", "https://user:token@github.com/o/r/", "o/r"),
        ("https://git.example.com/api/v3", "https://git.example.com/o/r", "o/r"),
        ("https://api.github.com", "https://github.com.example.com/o/r", None),
        ("https://api.github.com", "http://github.com/o/r", None),
        ("https://api.github.com", "https://github.com/o", None),
        ("https://api.github.com", "https://github.com/o/r/tree/main", None),
        ("https://api.github.com", "git@github.com:o/r.git", None),
    ],
)
def test_a_url_is_of_the_forge_or_is_not(api: str, url: str, name: str | None) -> None:
    found = github.repository(api, url)
    assert (f"{found.owner}/{found.name}" if found else None) == name


def result(folder: Path) -> tuple[Path, str, str]:
    """A bundle of one commit on top of what the forge has; base and commit."""
    repo = folder / "repo"
    base = git(repo, "rev-parse", "HEAD").strip()
    (repo / "a.txt").write_text("b\n")
    git(repo, "commit", "--quiet", "--all", "--message", "second")
    git(repo, "branch", "rclaude/task_01")
    git(repo, "bundle", "create", "--quiet", str(folder / "result.bundle"), "rclaude/task_01", f"^{base}")
    return folder / "result.bundle", base, git(repo, "rev-parse", "HEAD").strip()


def pushed(
    forge: GitHubDouble, folder: Path, bundle: Path, base: str, commit: str, token: str = TOKEN
) -> None:
    folder.mkdir()
    asyncio.run(
        push(
            f"{forge.url}/ada/calc.git",
            forge.url,
            token,
            bundle=bundle,
            base=base,
            commit=commit,
            branch="rclaude/task_01",
            folder=folder,
        )
    )


def test_a_push_makes_the_branch_and_again_changes_nothing(forge: GitHubDouble, tmp_path: Path) -> None:
    bundle, base, commit = result(tmp_path)
    for number in range(2):
        pushed(forge, tmp_path / f"push-{number}", bundle, base, commit)
        assert forge.git("ada/calc", "rev-parse", "rclaude/task_01") == commit
    assert forge.unauthorized > 0


def test_a_wrong_token_and_a_branch_that_has_moved_have_different_codes(
    forge: GitHubDouble, tmp_path: Path
) -> None:
    bundle, base, commit = result(tmp_path)
    with pytest.raises(ForgeFailed) as refused:
        pushed(forge, tmp_path / "wrong", bundle, base, commit, token="ghp_other")
    assert refused.value.code == "forge_token_refused"
    pushed(forge, tmp_path / "right", bundle, base, commit)
    git(tmp_path / "repo", "commit", "--quiet", "--amend", "--message", "another")
    other = git(tmp_path / "repo", "rev-parse", "HEAD").strip()
    git(tmp_path / "repo", "bundle", "create", "--quiet", str(bundle), "HEAD", f"^{base}")
    with pytest.raises(ForgeFailed) as rejected:
        pushed(forge, tmp_path / "moved", bundle, base, other)
    assert rejected.value.code == "push_rejected"
    assert forge.git("ada/calc", "rev-parse", "rclaude/task_01") == commit
