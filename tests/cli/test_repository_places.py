"""The agent's commit in every kind of repository: however it was made and set up, and whatever interrupts."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from applying import LINES, bring, edits, refused
from remote_claude.cli.repository import ApplyConflict, RepositoryError, apply, bundle
from repositories import TASK, Repo, Sandbox, git_home, tree


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


def test_a_detached_head_moves_and_no_branch_does(repo: Repo, sandbox: Sandbox) -> None:
    repo.git("checkout", "--quiet", "--detach")
    first = repo.head
    applied = bring(repo, sandbox.result(repo, edits({"src/b.txt": "x\n"})))
    assert repo.head == applied.commit
    assert repo.git("rev-parse", "main") == first
    assert repo.git("symbolic-ref", "-q", "HEAD", check=False) == ""


def test_a_linked_working_tree_gets_the_commit_alone(repo: Repo, sandbox: Sandbox, tmp_path: Path) -> None:
    linked = Repo(tmp_path / "linked")
    repo.git("worktree", "add", "--quiet", "-b", "side", str(linked.path))
    applied = bring(linked, sandbox.result(linked, edits({"src/b.txt": "x\n"})))
    assert (linked.head, linked.status) == (applied.commit, "")
    assert repo.status == ""
    assert repo.head != linked.head


def test_a_repository_without_a_commit_gets_its_first_one(tmp_path: Path, sandbox: Sandbox) -> None:
    repo = Repo.init(tmp_path / "project").write({"mine.txt": "m\n"})
    applied = bring(repo, sandbox.result(repo, edits({"agent.txt": "a\n"})))
    assert applied.commit == repo.head
    assert repo.files() == {"agent.txt": "a"}
    assert repo.status == "?? mine.txt\0"


def test_a_shallow_clone_gets_the_commit(repo: Repo, sandbox: Sandbox, tmp_path: Path) -> None:
    repo.commit("second", **{"a.txt": "2\n"})
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(tmp_path / "shallow"))
    shallow = Repo(tmp_path / "shallow").write({"a.txt": "mine\n"})
    first = shallow.head
    bring(shallow, sandbox.result(shallow, edits({"src/b.txt": "x\n"})))
    assert shallow.git("rev-parse", "HEAD^") == first
    assert shallow.status == " M a.txt\0"
    assert shallow.files()["src/b.txt"] == "x"


def test_a_partial_sparse_clone_gets_the_commit_and_stays_sparse(
    repo: Repo, sandbox: Sandbox, tmp_path: Path
) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    repo.commit("more", **{"deep/er.txt": "deep\n", "deep/other.txt": "other\n"})
    url = f"file://{repo.path}"
    repo.git("clone", "--quiet", "--filter=blob:none", "--sparse", url, str(tmp_path / "partial"))
    partial = Repo(tmp_path / "partial")
    result = sandbox.result(partial, edits({"deep/er.txt": "agent\n", ".gitignore": "agent\n"}))
    bring(partial, result)
    assert partial.status == ""
    assert partial.files()["deep/er.txt"] == "agent"
    assert not (partial.path / "deep").exists()


def test_a_sha256_repository_gets_the_commit(tmp_path: Path, sandbox: Sandbox) -> None:
    repo = Repo.init(tmp_path / "project", "--object-format=sha256")
    repo.commit("first", **{"a.txt": "a\n"})
    bring(repo, sandbox.result(repo, edits({"a.txt": "b\n"})))
    assert repo.files() == {"a.txt": "b"}


def test_files_that_git_overlooks_by_a_flag_are_not_overwritten(repo: Repo, sandbox: Sandbox) -> None:
    repo.git("update-index", "--skip-worktree", "a.txt")
    repo.git("update-index", "--assume-unchanged", "src/b.txt")
    mine = LINES.replace("line 2\n", "password\n")
    repo.write({"a.txt": mine, "src/b.txt": "password\n"})
    result = sandbox.result(repo, edits({"a.txt": LINES.replace("line 17\n", "agent\n")}))
    bring(repo, result)
    assert (repo.path / "a.txt").read_text() == mine.replace("line 17\n", "agent\n")
    assert (repo.path / "src/b.txt").read_text() == "password\n"
    assert repo.git("ls-files", "-v", "src/b.txt") == "h src/b.txt"
    other = Sandbox(sandbox.folder / "other")
    clash = other.result(repo, edits({"src/b.txt": "agent\n"}))
    before = tree(repo.path)
    with pytest.raises(ApplyConflict) as caught:
        apply(repo.repository, clash, task=TASK, agent="shell", message="x", commit=False)
    assert caught.value.files == ("src/b.txt",)
    assert tree(repo.path) == before


def test_line_ends_and_smudge_filters_of_the_user_are_kept(repo: Repo, sandbox: Sandbox) -> None:
    repo.git("config", "core.autocrlf", "true")
    repo.git("config", "filter.shout.clean", "tr a-z A-Z")
    repo.git("config", "filter.shout.smudge", "tr A-Z a-z")
    repo.write({".gitattributes": "*.big filter=shout\n", "x.big": "content\n", "dos.txt": "1\r\n2\r\n3\r\n"})
    repo.commit("filtered")
    bring(repo, sandbox.result(repo, edits({"dos.txt": "1\n2\nthree\n", "x.big": "CHANGED\n"})))
    assert (repo.path / "dos.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"
    assert (repo.path / "x.big").read_text() == "changed\n"
    assert repo.status == ""
    assert repo.files()["x.big"] == "CHANGED"


def test_what_comes_back_is_stored_as_git_add_would_store_it(repo: Repo, sandbox: Sandbox) -> None:
    repo.git("config", "core.autocrlf", "input")
    repo.git("config", "filter.shout.clean", "tr a-z A-Z")
    repo.git("config", "filter.shout.smudge", "tr A-Z a-z")
    repo.write({".gitattributes": "*.big filter=shout\n", "x.big": "content\n"}).commit("filtered")

    def agent(workspace: Path) -> None:
        (workspace / "x.big").rename(workspace / "moved.big")
        Repo(workspace).write({"new.big": "changed\n", "dos.txt": "1\r\n2\r\n", "a.txt": LINES + "more\r\n"})

    bring(repo, sandbox.result(repo, agent))
    stored = repo.files()
    assert (stored["new.big"], stored["moved.big"], stored["dos.txt"]) == ("CHANGED", "CONTENT", "1\n2")
    assert stored["a.txt"] == LINES + "more"
    assert (repo.path / "new.big").read_text() == "changed\n"
    assert repo.status == ""


def test_a_filter_that_fails_refuses_the_change_in_a_sentence(repo: Repo, sandbox: Sandbox) -> None:
    repo.write({".gitattributes": "*.big filter=crypt\n"}).commit("filtered")
    result = sandbox.result(repo, edits({"x.big": "secret\n"}))
    repo.git("config", "filter.crypt.clean", "false")
    repo.git("config", "filter.crypt.required", "true")
    assert "x.big: clean filter 'crypt' failed" in str(refused(repo, result, "filter_failed"))


def _hook(repo: Repo, name: str, script: str) -> None:
    place = repo.path / ".git/hooks" / name
    place.parent.mkdir(exist_ok=True)
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def test_hooks_run_around_the_commit_when_asked_for(repo: Repo, sandbox: Sandbox, tmp_path: Path) -> None:
    _hook(
        repo,
        "pre-commit",
        "git diff --cached --name-only HEAD; echo formatted >> src/b.txt && git add src/b.txt",
    )
    _hook(repo, "commit-msg", "echo 'Ticket: 7' >> \"$1\"")
    _hook(repo, "post-commit", f"git rev-parse HEAD > {tmp_path}/ran")
    repo.write({"a.txt": LINES + "mine\n"}).git("add", "a.txt")
    applied = bring(repo, sandbox.result(repo, edits({"src/b.txt": "x\n"})), hooks=True)
    assert repo.files()["src/b.txt"] == "x\nformatted"
    assert "Ticket: 7" in repo.git("log", "-1", "--format=%B")
    assert (tmp_path / "ran").read_text().strip() == applied.commit == repo.head
    assert repo.pending == {"a.txt": "M "}


def test_a_hook_that_refuses_leaves_the_change_staged(repo: Repo, sandbox: Sandbox) -> None:
    _hook(repo, "pre-commit", "echo no tabs, please; exit 1")
    head, result = repo.head, sandbox.result(repo, edits({"src/b.txt": "x\n"}))
    with pytest.raises(RepositoryError, match="no tabs, please") as caught:
        bring(repo, result, hooks=True)
    assert (caught.value.code, repo.head, repo.pending) == ("hook_refused", head, {"src/b.txt": "M "})
    assert bring(repo, result).commit == repo.head != head


def test_no_hook_and_no_filter_or_merge_driver_that_the_result_names_is_run(
    repo: Repo, sandbox: Sandbox, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    repo.git("config", "filter.trap.smudge", f"tee {ran}")
    repo.git("config", "filter.trap.clean", "cat")
    repo.git("config", "merge.trap.driver", f"touch {ran}")
    repo.git("config", "diff.trap.textconv", f"touch {ran}")
    for hook in ("post-index-change", "reference-transaction", "pre-commit", "commit-msg", "post-checkout"):
        place = repo.path / ".git/hooks" / hook
        place.write_text(f"#!/bin/sh\ntouch {ran}\n")
        place.chmod(0o755)
    result = sandbox.result(
        repo,
        edits(
            {
                ".gitattributes": "* filter=trap merge=trap diff=trap\n",
                "a.txt": LINES.replace("line 18\n", "x\n"),
            }
        ),
    )
    repo.write({"a.txt": LINES.replace("line 2\n", "mine\n")})
    assert bring(repo, result).unfiltered == (".gitattributes", "a.txt")
    assert not ran.exists()
    assert (repo.path / ".gitattributes").read_text() == "* filter=trap merge=trap diff=trap\n"


def test_signed_commits_are_signed_by_the_user(repo: Repo, sandbox: Sandbox, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for setting, value in (("gpg.format", "ssh"), ("user.signingKey", str(key)), ("commit.gpgSign", "true")):
        repo.git("config", setting, value)
    bring(repo, sandbox.result(repo, edits({"src/b.txt": "x\n"})))
    assert "-----BEGIN SSH SIGNATURE-----" in repo.git("cat-file", "commit", "HEAD")


def test_without_a_user_name_the_error_names_the_setting(
    repo: Repo, sandbox: Sandbox, tmp_path: Path
) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "x\n"}))
    (tmp_path / "home/gitconfig").write_text("[user]\n\temail = a@example.com\n")
    assert "git config --global user.name" in str(refused(repo, result, "identity_missing"))
    assert bring(repo, result, commit=False).files == ("src/b.txt",)


@pytest.mark.parametrize("operation", ["merge", "rebase", "cherry-pick"])
def test_a_merge_or_rebase_in_progress_is_refused(repo: Repo, sandbox: Sandbox, operation: str) -> None:
    result = sandbox.result(repo, edits({"a.txt": "x\n"}))
    repo.git("switch", "--quiet", "-c", "side")
    repo.commit("side", **{"src/b.txt": "side\n"})
    repo.git("switch", "--quiet", "main")
    repo.commit("main", **{"src/b.txt": "main\n"})
    repo.git(operation, "side", check=False)
    refused(repo, result, "repository_busy")


def test_another_git_at_work_is_not_disturbed(repo: Repo, sandbox: Sandbox) -> None:
    result = sandbox.result(repo, edits({"a.txt": "x\n"}))
    repo.write({".git/index.lock": ""})
    refused(repo, result, "repository_busy")


def test_a_file_that_cannot_be_written_is_noticed_before_anything_changes(
    repo: Repo, sandbox: Sandbox
) -> None:
    result = sandbox.result(repo, edits({"src/b.txt": "x\n", "a.txt": "y\n"}))
    if os.geteuid() == 0:  # root may write everywhere: let a step fail half-way instead
        (repo.path / "src/b.txt").unlink()
        (repo.path / "src").rmdir()
        (repo.path / "src").write_text("a file where the agent wants a folder\n")
        assert "src/b.txt" in refused(repo, result).files
    else:
        (repo.path / "src").chmod(0o555)
        assert refused(repo, result).files == ("src/b.txt",)
        (repo.path / "src").chmod(0o755)


def test_another_repository_is_not_the_place(repo: Repo, sandbox: Sandbox, tmp_path: Path) -> None:
    result = sandbox.result(repo, edits({"a.txt": "x\n"}))
    other = Repo.init(tmp_path / "other")
    other.commit("unrelated", **{"a.txt": "a\n"})
    refused(other, result, "result_foreign")


def test_a_result_of_something_else_than_was_sent_is_refused(repo: Repo, sandbox: Sandbox) -> None:
    sent = bundle(repo.repository, sandbox.folder.parent / "b").sent
    result = sandbox.result(repo, edits({"a.txt": "x\n"}))
    with pytest.raises(RepositoryError) as caught:
        bring(repo, result, sent="0" * 40)
    assert caught.value.code == "result_invalid"
    assert bring(repo, result, sent=sent).commit


def kill_at(step: int, repo: Repo, result: Path) -> bool:
    """Applies in a process that is killed at its n-th step from the first that leaves a trace in the repository;
    True when it came to its end."""
    pid = os.fork()
    if pid == 0:
        seen = 0

        def watch(event: str, args: tuple[Any, ...]) -> None:
            nonlocal seen
            started = event == "subprocess.Popen" and "unpack-objects" in str(args[1])
            changing = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "subprocess.Popen")
            if started or (seen and changing and (event == "subprocess.Popen" or os.path.isabs(args[0]))):
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            bring(repo, result)
        finally:
            os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def test_an_apply_killed_at_any_step_loses_nothing_and_is_finished_by_the_next(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    origin = Repo.init(tmp_path / "origin")
    origin.commit("first", **{"a.txt": LINES, "src/b.txt": "b\n", "gone.txt": "g\n", ".gitignore": "*.log\n"})
    origin.write({"a.txt": LINES.replace("line 2\n", "mine\n"), "untracked.txt": "mine\n"})

    def agent(workspace: Path) -> None:
        sent = (workspace / "a.txt").read_text()
        Repo(workspace).write(
            {"a.txt": sent.replace("line 17\n", "agent\n"), "new/c.txt": "c\n", "src/b.txt": "B\n"}
        )
        (workspace / "gone.txt").unlink()

    result = sandbox.result(origin, agent)
    whole = Repo(tmp_path / "whole")
    shutil.copytree(origin.path, whole.path, symlinks=True)
    bring(whole, result)
    expected = tree(whole.path), whole.status, whole.files()
    step, finished = 0, False
    while not finished:
        step += 1
        repo = Repo(tmp_path / f"killed-{step}")
        shutil.copytree(origin.path, repo.path, symlinks=True)
        finished = kill_at(step, repo, result)
        assert "mine\n" in (repo.path / "a.txt").read_text()
        assert (repo.path / "untracked.txt").read_text() == "mine\n"
        done = repo.git("rev-list", "--count", "HEAD") == "2"
        assert bring(repo, result).already is done
        assert (tree(repo.path), repo.status, repo.files()) == expected, step
        assert repo.git("rev-list", "--count", "HEAD") == "2"
        assert not (repo.path / ".git/index.lock").exists()
    assert step > 10
