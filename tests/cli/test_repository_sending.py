"""The working tree as a bundle, and a repository that doesn't notice."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_claude.cli.repository import RepositoryError, bundle, find
from repositories import Repo, everything, git_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    with git_home(tmp_path / "home"):
        yield


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.init(tmp_path / "project")
    repo.write({"a.txt": "one\ntwo\n", "src/b.txt": "b\n", ".gitignore": "*.log\n"}).commit("first")
    return repo


def unbundled(bundle: Path, to: Path) -> Repo:
    """A repository that has nothing but what the bundle holds."""
    repo = Repo.init(to)
    repo.git("fetch", "--quiet", str(bundle), "refs/rclaude/*:refs/rclaude/*")
    repo.git("fsck", "--full", "--strict")
    return repo


def test_uncommitted_untracked_and_deleted_files_are_sent_and_ignored_ones_are_not(
    repo: Repo, tmp_path: Path
) -> None:
    repo.write({"a.txt": "one\nTWO\n", "new/c d.txt": "c\n", "x.log": "noise", "staged.txt": "s\n"})
    repo.git("add", "staged.txt")
    (repo.path / "src/b.txt").unlink()
    sent = bundle(repo.repository, tmp_path / "b")
    got = unbundled(tmp_path / "b", tmp_path / "other")
    assert (
        sent.base
        == repo.head
        == got.git("rev-parse", "refs/rclaude/base")
        == got.git("rev-parse", f"{sent.sent}^")
    )
    assert got.files(sent.sent) == {
        ".gitignore": "*.log", "a.txt": "one\nTWO", "new/c d.txt": "c", "staged.txt": "s",
    }  # fmt: skip
    assert got.git("show", "-s", "--format=%an %cn", sent.sent) == "rclaude rclaude"
    assert (sent.size, sent.sha256) == ((tmp_path / "b").stat().st_size, _sha256(tmp_path / "b"))


def test_the_history_goes_along(repo: Repo, tmp_path: Path) -> None:
    repo.commit("second", **{"a.txt": "2\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    got = unbundled(tmp_path / "b", tmp_path / "other")
    assert got.git("log", "--format=%s", sent.sent).split("\n") == ["second", "first"]


def test_nothing_uncommitted_sends_head_itself(repo: Repo, tmp_path: Path) -> None:
    sent = bundle(repo.repository, tmp_path / "b")
    assert sent.sent == sent.base == repo.head


def test_the_repository_is_not_touched_in_a_single_byte_or_time_stamp(repo: Repo, tmp_path: Path) -> None:
    repo.git("config", "core.splitIndex", "true")
    repo.git("config", "core.untrackedCache", "true")
    repo.git("status")
    repo.write({"a.txt": "changed\n", "new.txt": "new\n", "half.txt": "staged\n"})
    repo.git("add", "half.txt")
    repo.write({"half.txt": "staged, then changed\n"})
    os.utime(repo.path / "src/b.txt")  # its index entry is stale: `git status` would write that down
    for hook in ("post-index-change", "reference-transaction", "pre-commit", "post-commit"):
        place = repo.path / ".git/hooks" / hook
        place.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
        place.chmod(0o755)
    before = everything(repo.path)
    bundle(repo.repository, tmp_path / "b")
    assert everything(repo.path) == before
    assert not (tmp_path / "hook-ran").exists()


def test_the_same_content_is_the_same_commit_and_the_same_bytes(repo: Repo, tmp_path: Path) -> None:
    repo.write({"a.txt": "changed\n", "new.txt": "n\n"})
    one = bundle(repo.repository, tmp_path / "one")
    os.utime(repo.path / "a.txt", (1, 1))
    repo.git("add", "new.txt")
    two = bundle(repo.repository, tmp_path / "two")
    assert one == two


def test_a_repository_without_a_commit_is_sent_as_a_first_one(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "project").write({"a.txt": "a\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    assert sent.base is None
    assert unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent) == {"a.txt": "a"}


def test_a_repository_without_a_file_is_sent_as_an_empty_commit(tmp_path: Path) -> None:
    sent = bundle(Repo.init(tmp_path / "project").repository, tmp_path / "b")
    assert sent.base is None
    assert unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent) == {}


def test_a_detached_head_a_linked_working_tree_and_a_subfolder_are_found(repo: Repo, tmp_path: Path) -> None:
    linked = Repo(tmp_path / "linked")
    repo.git("worktree", "add", "--quiet", "--detach", str(linked.path))
    linked.write({"src/only-here.txt": "x\n"})
    found = find(linked.path / "src")
    assert found is not None
    assert found.top == linked.path
    sent = bundle(found, tmp_path / "b")
    assert "src/only-here.txt" in unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent)
    assert repo.status == ""


def test_links_modes_and_strange_names_are_sent_as_they_are(repo: Repo, tmp_path: Path) -> None:
    names = ["a b.txt", "new\nline", "tab\there", '"quoted"', "ünïcödé", "-dash", "*", ":(top)x", "trailing "]
    raw = os.fsencode(repo.path) + b"/latin-\xe9"
    with open(raw, "wb") as file:
        file.write(b"raw")
    repo.write(dict.fromkeys(names, "x\n"))
    repo.write({"tool": "#!/bin/sh\n"})
    (repo.path / "tool").chmod(0o755)
    (repo.path / "link").symlink_to("a.txt")
    (repo.path / "dangling").symlink_to("/nowhere/\n")
    sent = bundle(repo.repository, tmp_path / "b")
    got = unbundled(tmp_path / "b", tmp_path / "other")
    listed = {
        line.partition("\t")[2]: line[:6]
        for line in got.git("ls-tree", "-r", "-z", sent.sent).split("\0")
        if line
    }
    assert dict.fromkeys(names, "100644").items() <= listed.items()
    assert listed[os.fsdecode(b"latin-\xe9")] == "100644"
    assert (listed["tool"], listed["link"], listed["dangling"]) == ("100755", "120000", "120000")


def test_a_path_that_needs_quoting_is_no_obstacle(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / 'odd:"name\nhere')
    repo.commit("first", **{"a.txt": "a\n"})
    repo.write({"a.txt": "b\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    assert unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent) == {"a.txt": "b"}


def test_line_ends_and_clean_filters_are_applied_as_in_git_add(repo: Repo, tmp_path: Path) -> None:
    repo.git("config", "core.autocrlf", "true")
    repo.git("config", "core.safecrlf", "true")
    repo.git("config", "filter.shout.clean", "tr a-z A-Z")
    repo.git("config", "filter.shout.smudge", "tr A-Z a-z")
    repo.write({".gitattributes": "*.big filter=shout\n", "x.big": "pointer\n", "dos.txt": "1\r\n2\r\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    got = unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent)
    assert got["x.big"] == "POINTER"
    assert got["dos.txt"] == "1\n2"


def test_a_merge_in_progress_is_sent_with_its_conflict_markers(repo: Repo, tmp_path: Path) -> None:
    repo.git("switch", "--quiet", "-c", "side")
    repo.commit("side", **{"a.txt": "side\n"})
    repo.git("switch", "--quiet", "main")
    repo.commit("main", **{"a.txt": "main\n"})
    repo.git("merge", "side", check=False)
    before = everything(repo.path)
    sent = bundle(repo.repository, tmp_path / "b")
    assert everything(repo.path) == before
    assert "<<<<<<< HEAD" in unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent)["a.txt"]


def test_submodules_stay_links_and_inner_repositories_stay_behind(repo: Repo, tmp_path: Path) -> None:
    other = Repo.init(tmp_path / "library")
    other.commit("library", **{"lib.txt": "l\n"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "lib")
    repo.git("commit", "--quiet", "-m", "submodule")
    repo.write({"lib/lib.txt": "dirty\n", "a.txt": "changed\n"})
    Repo.init(repo.path / "vendor/inner").write({"inner.txt": "i\n"})
    before = everything(repo.path)
    sent = bundle(repo.repository, tmp_path / "b")
    assert everything(repo.path) == before
    got = unbundled(tmp_path / "b", tmp_path / "other")
    listed = got.git("ls-tree", "-r", sent.sent)
    assert f"160000 commit {other.head}\tlib" in listed
    assert "inner" not in listed
    assert any("lib" in note for note in sent.notes)
    assert any("vendor/inner/" in note for note in sent.notes)


def test_a_submodule_is_a_repository_of_its_own(repo: Repo, tmp_path: Path) -> None:
    other = Repo.init(tmp_path / "library")
    other.commit("library", **{"lib.txt": "l\n"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other.path), "lib")
    inner = Repo(repo.path / "lib").write({"lib.txt": "changed\n"})
    sent = bundle(inner.repository, tmp_path / "b")
    assert unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent) == {"lib.txt": "changed"}


def test_a_shallow_clone_is_sent_without_history(repo: Repo, tmp_path: Path) -> None:
    for n in range(3):
        repo.commit(f"more {n}", **{"a.txt": f"{n}\n"})
    repo.git("clone", "--quiet", "--depth=2", f"file://{repo.path}", str(tmp_path / "shallow"))
    shallow = Repo(tmp_path / "shallow").write({"a.txt": "mine\n"})
    before = everything(shallow.path)
    sent = bundle(shallow.repository, tmp_path / "b")
    assert everything(shallow.path) == before
    got = unbundled(tmp_path / "b", tmp_path / "other")
    assert sent.base is None
    assert got.files(sent.sent)["a.txt"] == "mine"
    assert got.git("rev-list", "--count", sent.sent) == "1"
    assert any("history" in note for note in sent.notes)


def test_a_partial_sparse_clone_is_sent_whole(repo: Repo, tmp_path: Path) -> None:
    repo.git("config", "uploadpack.allowFilter", "true")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    repo.commit("more", **{"deep/er.txt": "deep\n"})
    url = f"file://{repo.path}"
    repo.git("clone", "--quiet", "--filter=blob:none", "--sparse", url, str(tmp_path / "partial"))
    partial = Repo(tmp_path / "partial").write({"a.txt": "mine\n"})
    assert not (partial.path / "deep").exists()
    before = everything(partial.path)
    sent = bundle(partial.repository, tmp_path / "b")
    assert everything(partial.path) == before
    got = unbundled(tmp_path / "b", tmp_path / "other").files(sent.sent)
    assert (got["a.txt"], got["deep/er.txt"], got["src/b.txt"]) == ("mine", "deep", "b")


def test_files_that_git_overlooks_by_a_flag_are_not_sent(repo: Repo, tmp_path: Path) -> None:
    repo.git("update-index", "--skip-worktree", "a.txt")
    repo.git("update-index", "--assume-unchanged", "src/b.txt")
    repo.write({"a.txt": "password\n", "src/b.txt": "password\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    assert sent.sent == repo.head


def test_a_file_changed_in_the_instant_after_the_index_was_written_is_sent(tmp_path: Path) -> None:
    """Same size, same time stamp: only a copy of the index that keeps its own time shows it."""
    repo = Repo.init(tmp_path / "project")
    for n in range(10):
        repo.write({"a.txt": f"{n} old\n"})
        os.utime(repo.path / "a.txt", ns=(10**18, 10**18))
        repo.git("add", "a.txt")
        os.utime(repo.path / ".git/index", ns=(10**18, 10**18))
        repo.write({"a.txt": f"{n} new\n"})
        os.utime(repo.path / "a.txt", ns=(10**18, 10**18))
        sent = bundle(repo.repository, tmp_path / f"b{n}")
        assert unbundled(tmp_path / f"b{n}", tmp_path / f"other{n}").files(sent.sent)["a.txt"] == f"{n} new"


def test_a_repository_with_sha256_ids_is_sent(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "project", "--object-format=sha256")
    repo.commit("first", **{"a.txt": "a\n"})
    repo.write({"a.txt": "b\n"})
    sent = bundle(repo.repository, tmp_path / "b")
    got = Repo.init(tmp_path / "other", "--object-format=sha256")
    got.git("fetch", "--quiet", str(tmp_path / "b"), "refs/rclaude/*:refs/rclaude/*")
    assert got.files(sent.sent) == {"a.txt": "b"}


def test_environment_of_a_hook_is_not_taken_for_the_repository(
    repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Repo.init(tmp_path / "other-project")
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.path / ".git/index"))
    found = find(repo.path)
    assert found is not None
    assert found.top == repo.path


def test_no_repository_is_none_and_a_bare_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert find(tmp_path / "plain") is None
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "bare"], check=True)
    for path, code in ((tmp_path / "bare", "repository_bare"), (tmp_path / "nowhere", "folder_not_found")):
        with pytest.raises(RepositoryError) as caught:
            find(path)
        assert caught.value.code == code


def test_a_failure_leaves_no_bundle(repo: Repo, tmp_path: Path) -> None:
    blob = repo.git("rev-parse", "HEAD:a.txt")
    repo.git("rm", "--quiet", "--cached", "a.txt")
    (repo.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    (repo.path / "a.txt").unlink()
    with pytest.raises(RepositoryError) as caught:
        bundle(repo.repository, tmp_path / "b")
    assert caught.value.code == "repository_damaged"
    assert list(tmp_path.glob("*b")) == []


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
