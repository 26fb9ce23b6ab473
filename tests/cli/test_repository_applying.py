"""The agent's commit in the user's repository, beside whatever the user has there by now."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from applying import LINES, bring, edits, refused
from remote_claude.cli.repository import Applied, ApplyConflict
from repositories import TASK, USER, Repo, Sandbox, git_home, tree


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    with git_home(tmp_path / "home"):
        yield


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.init(tmp_path / "project")
    repo.write({"a.txt": LINES, "src/b.txt": "b\n", ".gitignore": "*.log\n"}).commit("first")
    return repo


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path / "sandbox")


def test_the_agents_commit_becomes_one_on_the_branch_by_the_user(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "fixed\n", "new/c.txt": "c\n"}))
    first = repo.head
    applied = bring(repo, result)
    assert applied == Applied(commit=repo.head, files=("new/c.txt", "src/b.txt"))
    assert repo.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert repo.git("rev-parse", "HEAD^") == first
    assert repo.git("show", "-s", "--format=%an <%ae> %cn <%ce>") == "{0} <{1}> {0} <{1}>".format(*USER)
    message = f"Fix it\n\nAt last.\n\nAssisted-by: shell (rclaude {TASK})"
    assert repo.git("show", "-s", "--format=%B").strip() == message
    assert repo.git("reflog", "-1", "--format=%gs") == f"rclaude apply: {TASK}"
    assert tree(repo.path)["new/c.txt"][1] == b"c\n"
    assert repo.status == ""
    assert not (repo.path / ".git/rclaude").exists()
    repo.git("fsck", "--full", "--strict")


def test_uncommitted_changes_that_were_sent_stay_uncommitted(repo: Repo, sandbox: Sandbox) -> None:
    mine = LINES.replace("line 2\n", "my line 2\n")
    repo.write({"a.txt": mine, "untracked.txt": "u\n", "staged.txt": "s\n"})
    repo.git("add", "staged.txt")
    before = repo.status
    agent = edits({"a.txt": mine.replace("line 17\n", "agent's line 17\n"), "src/b.txt": "fixed\n"})
    bring(repo, sandbox.result(repo, agent))
    assert repo.status == before
    assert repo.files()["a.txt"] + "\n" == LINES.replace("line 17\n", "agent's line 17\n")
    assert (repo.path / "a.txt").read_text() == mine.replace("line 17\n", "agent's line 17\n")
    assert "staged.txt" not in repo.files()


def test_changes_made_since_merge_on_every_level(repo: Repo, sandbox: Sandbox) -> None:
    """Committed, staged and unstaged since it was sent, each in other lines of the same file."""
    result = sandbox.result(repo, edits({"a.txt": LINES.replace("line 18\n", "agent\n")}))
    repo.commit("meanwhile", **{"a.txt": LINES.replace("line 2\n", "committed\n")})
    repo.write({"a.txt": (repo.path / "a.txt").read_text().replace("line 6\n", "staged\n")})
    repo.git("add", "a.txt")
    repo.write({"a.txt": (repo.path / "a.txt").read_text().replace("line 10\n", "unstaged\n")})
    bring(repo, result)
    head, index = repo.files()["a.txt"], repo.git("show", ":a.txt")
    here = (repo.path / "a.txt").read_text()
    for text, expected in ((head, {"committed"}), (index, {"committed", "staged"})):
        assert {
            w for w in ("committed", "staged", "unstaged", "agent") if w in text.split("\n")
        } == expected | {"agent"}
    assert {"committed", "staged", "unstaged", "agent"} <= set(here.split("\n"))
    assert repo.status == "MM a.txt\0"


def test_without_commit_the_change_is_staged(repo: Repo, sandbox: Sandbox) -> None:
    repo.write({"untracked.txt": "u\n"})
    result = sandbox.result(repo, edits({"src/b.txt": "fixed\n", "c.txt": "c\n"}))
    first = repo.head
    applied = bring(repo, result, commit=False)
    assert applied == Applied(commit=None, files=("c.txt", "src/b.txt"))
    assert (repo.head, repo.status) == (first, "A  c.txt\0M  src/b.txt\0?? untracked.txt\0")
    assert bring(repo, result, commit=False).already


def test_applying_twice_changes_nothing(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "fixed\n"}))
    applied = bring(repo, result)
    repo.commit("later", **{"src/b.txt": "changed again\n"})
    before = repo.head, repo.status, tree(repo.path)
    again = bring(repo, result)
    assert (again.already, again.commit, again.files) == (True, applied.commit, ())
    assert (repo.head, repo.status, tree(repo.path)) == before


def test_what_the_user_has_done_alike_already_needs_no_commit(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "fixed\n"}))
    repo.commit("did it myself", **{"src/b.txt": "fixed\n"})
    assert bring(repo, result).already


def test_what_the_agent_undid_of_the_uncommitted_changes_is_undone_without_a_commit(
    repo: Repo, sandbox: Sandbox
) -> None:
    (repo.path / "src/b.txt").unlink()
    result = sandbox.result(repo, edits({"src/b.txt": "b\n"}))
    first = repo.head
    assert bring(repo, result) == Applied(commit=None, files=("src/b.txt",))
    assert (repo.head, repo.status) == (first, "")
    assert bring(repo, result).already


def test_a_conflict_names_the_files_and_changes_nothing(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "agent\n", "a.txt": "agent\n", "c.txt": "c\n"}))
    repo.write({"src/b.txt": "mine\n", "notes.txt": "keep\n"})
    error = refused(repo, result)
    assert isinstance(error, ApplyConflict)
    assert error.files == ("src/b.txt",)
    assert "src/b.txt" in str(error)
    assert f"`rclaude apply {TASK} --merge`" in str(error)
    repo.git("stash", "--include-untracked")
    repo.write({"src/b.txt": "mine\n"})
    repo.git("commit", "--all", "--message", "mine")
    advice = str(refused(repo, result)).splitlines()[-1]  # there is nothing to commit
    assert advice.startswith("Write both into the files")
    repo.git("reset", "--hard", "HEAD~")
    repo.git("stash", "pop")
    merged = bring(repo, result, merge=True)
    assert (merged.conflicts, merged.commit) == (("src/b.txt",), None)
    assert {"mine", "agent", "======="} <= set((repo.path / "src/b.txt").read_text().split("\n"))
    assert (repo.path / "c.txt").read_text() == "c\n"
    assert repo.pending["src/b.txt"] == "UU", "so Git refuses a commit until it is resolved"
    assert [repo.git("show", f":{n}:src/b.txt").strip() for n in (1, 2, 3)] == ["b", "mine", "agent"]
    repo.git("fsck", "--full", "--strict")
    refused(repo, result, "repository_busy", merge=True)


def test_a_deletion_against_a_change_proposes_no_merge(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, lambda workspace: (workspace / "src/b.txt").unlink())
    repo.write({"src/b.txt": "mine\n"})
    assert "--merge" not in str(refused(repo, result))
    assert "--merge" not in str(refused(repo, result, merge=True))
    repo.git("commit", "--all", "--message", "mine")
    assert str(refused(repo, result)).splitlines()[-1].startswith("See the agent's change with `rclaude diff")


def test_what_the_agent_built_on_uncommitted_lines_goes_into_the_working_tree(
    repo: Repo, sandbox: Sandbox
) -> None:
    repo.write({"src/b.txt": "my first try\n"})
    result = sandbox.result(repo, edits({"src/b.txt": "the agent's better one\n", "c.txt": "c\n"}))
    assert f"`rclaude apply {TASK} --no-commit`" in str(refused(repo, result))
    applied = bring(repo, result, commit=False)
    assert applied.unstaged == ("src/b.txt",)
    assert (repo.path / "src/b.txt").read_text() == "the agent's better one\n"
    assert repo.pending == {"src/b.txt": " M", "c.txt": "A "}


def test_a_result_without_history_does_not_land_in_another_repository(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    fresh = Repo.init(tmp_path / "fresh").write({"a.txt": "a\n", "b.txt": "b\n"})
    result = sandbox.result(fresh, edits({"new.txt": "agent\n"}))
    other = Repo.init(tmp_path / "other")
    other.commit("other", README="something else\n")
    assert f"`rclaude apply {TASK} --unrelated`" in str(refused(other, result, "result_unrelated"))
    bring(other, result, unrelated=True)
    assert (other.path / "new.txt").read_text() == "agent\n"
    fresh.commit("my own first")
    bring(fresh, result)
    assert fresh.files()["new.txt"] == "agent"


def test_a_conflict_with_what_is_only_staged_is_refused(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "agent\n"}))
    repo.write({"src/b.txt": "staged\n"})
    repo.git("add", "src/b.txt")
    repo.write({"src/b.txt": "b\n"})
    assert refused(repo, result).files == ("src/b.txt",)


def test_what_the_agent_built_on_uncommitted_lines_applies_once_they_are_committed(
    repo: Repo, sandbox: Sandbox
) -> None:
    repo.write({"src/b.txt": "my first try\n", "new.txt": "mine\n"})
    result = sandbox.result(repo, edits({"src/b.txt": "the agent's better one\n", "new.txt": "agent\n"}))
    assert refused(repo, result).files == ("new.txt", "src/b.txt")
    repo.commit("mine")
    assert bring(repo, result).files == ("new.txt", "src/b.txt")
    assert repo.status == ""


def test_what_the_agent_built_on_an_untracked_file_stays_untracked(repo: Repo, sandbox: Sandbox) -> None:
    repo.write({"new.txt": "mine\n"})
    result = sandbox.result(repo, edits({"new.txt": "agent\n"}))
    bring(repo, result, commit=False)
    assert repo.status == "?? new.txt\0"
    assert (repo.path / "new.txt").read_text() == "agent\n"


def test_a_commit_that_needs_an_untracked_file_says_that_it_is_untracked(
    repo: Repo, sandbox: Sandbox
) -> None:
    repo.write({"untracked.txt": "mine\n"})
    result = sandbox.result(repo, edits({"untracked.txt": "agent's\n"}))
    said = str(refused(repo, result))
    assert "untracked.txt: is not tracked by Git here" in said
    assert "staged" not in said


def test_an_ignored_file_of_the_same_name_is_never_overwritten(repo: Repo, sandbox: Sandbox) -> None:
    def agent(workspace: Path) -> None:
        Repo(workspace).write({"secret.log": "agent\n", ".gitignore": "\n", "src/b.txt": "x\n"})

    result = sandbox.result(repo, agent)
    repo.write({"secret.log": "mine\n"})
    error = refused(repo, result)
    assert error.files == ("secret.log",)
    (repo.path / "secret.log").unlink()
    bring(repo, result)
    assert (repo.path / "secret.log").read_text() == "agent\n"


def test_an_ignored_folder_or_link_in_the_way_is_refused(
    repo: Repo, sandbox: Sandbox, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def agent(workspace: Path) -> None:
        Repo(workspace).write({"out.log/evil": "e\n", "dir.log": "file\n", ".gitignore": ""})

    result = sandbox.result(repo, agent)
    (repo.path / "out.log").symlink_to(outside)
    repo.write({"dir.log/mine": "m\n"})
    assert refused(repo, result).files == ("dir.log", "out.log/evil")
    assert list(outside.iterdir()) == []


def test_an_untracked_file_that_appeared_since_is_kept(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"c.txt": "agent\n"}))
    repo.write({"c.txt": "mine\n"})
    assert refused(repo, result).files == ("c.txt",)


def test_a_file_never_committed_is_not_deleted(repo: Repo, sandbox: Sandbox) -> None:
    repo.write({"only-copy.txt": "mine\n", "staged.txt": "mine too\n"})
    repo.git("add", "staged.txt")

    def agent(workspace: Path) -> None:
        (workspace / "only-copy.txt").rename(workspace / "renamed.txt")
        (workspace / "staged.txt").unlink()
        (workspace / "src/b.txt").unlink()

    applied = bring(repo, sandbox.result(repo, agent))
    assert applied.kept == ("only-copy.txt", "staged.txt")
    assert applied.files == ("renamed.txt", "src/b.txt")
    assert (repo.path / "only-copy.txt").read_text() == "mine\n"
    assert repo.status == "A  staged.txt\0?? only-copy.txt\0"


def test_deletions_renames_modes_and_links_come_over(repo: Repo, sandbox: Sandbox) -> None:
    repo.write({"tool": "x\n", "dir/file": "f\n", "plain": "p\n"}).commit("more")
    (repo.path / "a.txt").write_text(LINES.replace("line 3\n", "mine\n"))

    def agent(workspace: Path) -> None:
        (workspace / "moved").mkdir()
        (workspace / "a.txt").rename(workspace / "moved/a.txt")
        (workspace / "tool").chmod(0o755)
        (workspace / "src/b.txt").unlink()
        (workspace / "link").symlink_to("moved/a.txt")
        shutil.rmtree(workspace / "dir")
        (workspace / "dir").write_text("now a file\n")
        (workspace / "plain").unlink()
        Repo(workspace).write({"plain/inside": "now a folder\n"})

    bring(repo, sandbox.result(repo, agent))
    expected = tree(sandbox.folder / "workspace")
    assert tree(repo.path) == expected
    assert repo.files()["moved/a.txt"] + "\n" == LINES
    assert repo.status == " M moved/a.txt\0"
    assert not (repo.path / "src").exists()


def test_strange_names_come_over(repo: Repo, sandbox: Sandbox) -> None:
    names = [
        "new\nline",
        "tab\there",
        '"quoted"',
        "ünï",
        "-dash",
        "*",
        ":(top)x",
        "trailing ",
        os.fsdecode(b"\xe9"),
    ]
    repo.write(dict.fromkeys(names[:4], "mine\n")).commit("strange")
    bring(repo, sandbox.result(repo, edits(dict.fromkeys(names, "agent\n"))))
    assert repo.status == ""
    assert dict.fromkeys(names, "agent").items() <= repo.files().items()
