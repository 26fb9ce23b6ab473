"""The repository in the sandbox: whatever the agent does to it, one commit comes out."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remote_claude.worker.git import git
from remote_claude.worker.repository import Concluded, RepositoryFailed, conclude, prepare
from repositories import AGENT, BRANCH, Repo, Sandbox, git_home, tree, until


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with git_home(tmp_path_factory.mktemp("home")):
        yield


@pytest.fixture(scope="module")
def repo(home: None, tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """The user's repository: only read here."""
    repo = Repo.init(tmp_path_factory.mktemp("project"))
    repo.write({"a.txt": "one\ntwo\n", "src/b.txt": "b\n", ".gitignore": "*.log\n"}).commit("first")
    return repo.write({"a.txt": "one\nmine\n"})


@pytest.fixture(scope="module")
def sent(repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sandbox = Sandbox(tmp_path_factory.mktemp("sent"))
    sandbox.send(repo)
    return sandbox.folder / "sent.bundle"


@pytest.fixture
def sandbox(sent: Path, tmp_path: Path) -> Sandbox:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.folder.mkdir()
    shutil.copy(sent, sandbox.folder)
    return sandbox


def outcome(sandbox: Sandbox, repo: Repo, concluded: Concluded) -> Repo:
    """A clone of the user's repository that took the result bundle in."""
    assert concluded.bundle is not None
    clone = Repo.init(sandbox.folder / "clone")
    clone.git("fetch", "--quiet", str(repo.path), "HEAD")
    clone.git("fetch", "--quiet", str(concluded.bundle), f"refs/heads/{BRANCH}:refs/heads/{BRANCH}")
    clone.git("fsck", "--full", "--strict")
    return clone


def in_workspace(*commands: str) -> Callable[[Path], object]:
    """An agent that runs shell commands."""
    return lambda workspace: [
        subprocess.run(command, shell=True, cwd=workspace, check=True) for command in commands
    ]


async def test_the_workspace_is_on_the_tasks_branch_with_the_tree_as_sent_and_no_remote(
    sandbox: Sandbox, repo: Repo
) -> None:
    workspace = sandbox.folder / "workspace"
    prepared = await prepare(sandbox.folder / "sent.bundle", workspace, BRANCH)
    there = Repo(workspace)
    assert tree(workspace) == tree(repo.path)
    assert (there.git("symbolic-ref", "--short", "HEAD"), there.status) == (BRANCH, "")
    assert there.git("log", "--format=%s").split("\n") == ["The working tree as it was sent", "first"]
    assert there.git("for-each-ref", "--format=%(refname)") == f"refs/heads/{BRANCH}"
    assert there.git("remote") == ""
    assert (prepared.base, prepared.sent) == (repo.head, there.head)
    there.commit("agents can commit", **{"new.txt": "n\n"})


def test_uncommitted_work_becomes_one_commit_on_top_of_what_was_sent(sandbox: Sandbox, repo: Repo) -> None:
    prepared, concluded = sandbox.work(
        lambda workspace: Repo(workspace).write({"a.txt": "agent\n", "new/c.txt": "c\n", "noise.log": "x"})
    )
    clone = outcome(sandbox, repo, concluded)
    assert clone.git("rev-parse", f"{BRANCH}^") == prepared.sent
    assert clone.git("rev-parse", BRANCH) == concluded.commit
    assert clone.files(BRANCH) == {
        ".gitignore": "*.log",
        "a.txt": "agent",
        "new/c.txt": "c",
        "src/b.txt": "b",
    }
    assert clone.git("show", "-s", "--format=%an <%ae>|%s", BRANCH) == f"{AGENT[0]} <{AGENT[1]}>|Do the work"


def test_the_patch_is_what_the_agent_changed_and_applies(sandbox: Sandbox, repo: Repo) -> None:
    def agent(workspace: Path) -> None:
        Repo(workspace).write({"a.txt": "one\nmine\nagent\n", "bin": bytes(range(256))})
        (workspace / "src/b.txt").rename(workspace / "moved.txt")

    _, concluded = sandbox.work(agent)
    assert concluded.patch is not None
    assert b"-two" not in concluded.patch.read_bytes()
    shutil.copytree(repo.path, copy := sandbox.folder / "copy")
    Repo(copy).git("apply", str(concluded.patch))
    assert tree(copy) == tree(sandbox.folder / "workspace")


def test_no_change_is_no_commit(sandbox: Sandbox) -> None:
    _, concluded = sandbox.work(in_workspace("touch src/b.txt", "echo > only.log", "git status"))
    left_out = ("only.log (ignored by Git)",)
    assert concluded == Concluded(commit=None, bundle=None, patch=None, left_out=left_out)


def test_changes_that_were_undone_are_no_commit(sandbox: Sandbox) -> None:
    _, concluded = sandbox.work(
        in_workspace("echo x > x && git add x && git commit -qm x", "git rm -q x && git commit -qm undone")
    )
    assert concluded.commit is None


COMMITS = {
    "several commits": ["echo 1 >> a.txt && git commit -qam 1", "echo 2 >> a.txt && git commit -qam 2"],
    "commit and more": ["echo 1 >> a.txt && git commit -qam 1", "echo 2 >> a.txt"],
    "only staged": ["printf '1\\n2\\n' >> a.txt && git add a.txt"],
    "another branch": ["git switch -qc elsewhere", "printf '1\\n2\\n' >> a.txt && git commit -qam x"],
    "detached": ["git checkout -q --detach", "printf '1\\n2\\n' >> a.txt && git commit -qam x"],
    "amended": ["printf '1\\n2\\n' >> a.txt && git commit -qa --amend -m mine"],
    "orphan": [
        "git checkout -q --orphan new",
        "printf '1\\n2\\n' >> a.txt && git add -A && git commit -qm x",
    ],
    "branch deleted": ["git checkout -q --detach", f"git branch -qD {BRANCH}", "printf '1\\n2\\n' >> a.txt"],
}


@pytest.mark.parametrize("commands", COMMITS.values(), ids=COMMITS.keys())
def test_however_the_agent_commits_it_is_one_commit(
    sandbox: Sandbox, repo: Repo, commands: list[str]
) -> None:
    prepared, concluded = sandbox.work(in_workspace(*commands))
    clone = outcome(sandbox, repo, concluded)
    assert clone.git("rev-parse", f"{BRANCH}^") == prepared.sent
    assert clone.files(BRANCH)["a.txt"] == "one\nmine\n1\n2"


BREAKAGES = {
    "Git folder deleted": "rm -rf .git",
    "Git folder emptied": "find .git -delete; mkdir .git",
    "Git folder replaced": "rm -rf .git && git init -q . && git add -A && git commit -qm mine",
    "Git folder now a file": "rm -rf .git && echo gitdir: /nowhere > .git",
    "Git folder now a link": "rm -rf .git && ln -s /etc .git",
    "configuration broken": "echo '[[[' > .git/config",
    "index broken": "echo garbage > .git/index",
    "HEAD broken": "echo garbage > .git/HEAD",
    "objects deleted": "rm -rf .git/objects",
    "lock left": "touch .git/index.lock",
    "everything packed": "git gc -q --prune=now",
    "copy of the index deleted": "rm -rf ../.workspace.git",
    "bundle deleted": "rm ../sent.bundle",
    "an object damaged": "chmod u+w .git/objects/pack/*.pack; for p in .git/objects/pack/*.pack; "
    "do printf x | dd of=$p bs=1 seek=40 conv=notrunc status=none; done; "
    "find .git/objects -type f -name '??????????????????????????????????????' -exec sh -c 'chmod u+w $1; echo x > $1' x {} ';'",
}


@pytest.mark.parametrize("breakage", BREAKAGES.values(), ids=BREAKAGES.keys())
def test_a_broken_git_folder_costs_nothing(sandbox: Sandbox, repo: Repo, breakage: str) -> None:
    _, concluded = sandbox.work(
        in_workspace("echo agent > a.txt", "echo c > c.txt", "rm src/b.txt", breakage)
    )
    assert outcome(sandbox, repo, concluded).files(BRANCH) == {
        ".gitignore": "*.log",
        "a.txt": "agent",
        "c.txt": "c",
    }


def test_a_destroyed_repository_is_reported(sandbox: Sandbox) -> None:
    with pytest.raises(RepositoryFailed) as caught:
        sandbox.work(in_workspace("rm -rf .git ../sent.bundle"))
    assert caught.value.code == "repository_destroyed"


def test_nothing_the_agent_configured_is_run(sandbox: Sandbox, repo: Repo, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    hook = f"printf '#!/bin/sh\\ntouch {ran}\\n' > .git/hook && chmod +x .git/hook && mkdir -p .git/hooks && "
    hook += "for h in pre-commit commit-msg post-index-change reference-transaction; do cp .git/hook .git/hooks/$h; done"
    _, concluded = sandbox.work(
        in_workspace(
            "echo '* filter=trap diff=trap' > .gitattributes",
            f"git config filter.trap.clean 'touch {ran}' && git config filter.trap.required true",
            f"git config diff.trap.textconv 'touch {ran}' && git config core.fsmonitor 'touch {ran}'",
            hook,
        )
    )
    assert ".gitattributes" in outcome(sandbox, repo, concluded).files(BRANCH)
    assert not ran.exists()


def test_repositories_that_the_agent_made_inside_come_as_their_files(sandbox: Sandbox, repo: Repo) -> None:
    def agent(workspace: Path) -> None:
        made = Repo.init(workspace / "app")
        made.commit("scaffold", **{"index.js": "x\n", ".gitignore": "dist\n"})
        made.write({"dist/out.js": "built\n", "debug.log": "ignored one level up\n"})
        Repo.init(workspace / "app/deep/er").write({"deep.txt": "d\n"})
        Repo.init(workspace / "empty")

    _, concluded = sandbox.work(agent)
    files = outcome(sandbox, repo, concluded).files(BRANCH)
    assert {name for name in files if name.startswith(("app", "empty"))} == {
        "app/.gitignore", "app/deep/er/deep.txt", "app/index.js",
    }  # fmt: skip


def test_ignored_files_stay_behind_unless_the_agent_added_them_by_force(sandbox: Sandbox, repo: Repo) -> None:
    _, concluded = sandbox.work(
        in_workspace("echo 1 > a.log", "echo 2 > b.log", "git add -f b.log && git commit -qm b")
    )
    files = outcome(sandbox, repo, concluded).files(BRANCH)
    assert "b.log" in files
    assert "a.log" not in files


def test_tracked_files_that_are_ignored_since_are_not_deleted(sandbox: Sandbox, repo: Repo) -> None:
    _, concluded = sandbox.work(in_workspace("echo '*.txt' >> .gitignore", "echo agent > a.txt"))
    files = outcome(sandbox, repo, concluded).files(BRANCH)
    assert (files["a.txt"], files["src/b.txt"]) == ("agent", "b")


def test_files_become_folders_and_links_and_the_other_way_round(sandbox: Sandbox, repo: Repo) -> None:
    _, concluded = sandbox.work(
        in_workspace(
            "rm a.txt && mkdir a.txt && echo x > a.txt/x",
            "rm -r src && ln -s /etc src",
            "chmod +x .gitignore",
        )
    )
    clone = outcome(sandbox, repo, concluded)
    listed = clone.git("ls-tree", "-r", "--format=%(objectmode) %(path)", BRANCH).split("\n")
    assert listed == ["100755 .gitignore", "100644 a.txt/x", "120000 src"]


def test_a_file_that_no_commit_can_hold_is_skipped_and_named(sandbox: Sandbox, repo: Repo) -> None:
    _, concluded = sandbox.work(
        in_workspace("mkdir .GIT && echo x > .GIT/config", "echo c > c.txt", "mkfifo pipe")
    )
    assert concluded.left_out == (".GIT/config (Git refuses the name)",)
    assert outcome(sandbox, repo, concluded).files(BRANCH)["c.txt"] == "c"


def test_a_file_that_its_attributes_cannot_convert_is_stored_as_it_is(sandbox: Sandbox, repo: Repo) -> None:
    agent = in_workspace("echo '*.txt working-tree-encoding=UTF-16' > .gitattributes", "printf odd > a.txt")
    _, concluded = sandbox.work(agent)
    assert concluded.left_out == ()
    assert outcome(sandbox, repo, concluded).files(BRANCH)["a.txt"] == "odd"


def test_strange_names_are_kept(sandbox: Sandbox, repo: Repo) -> None:
    names = ["new\nline", '"quoted"', "-dash", "*", ":(top)x", "trailing ", os.fsdecode(b"\xe9"), "\\back"]
    _, concluded = sandbox.work(lambda workspace: Repo(workspace).write(dict.fromkeys(names, "x\n")))
    assert set(names) <= outcome(sandbox, repo, concluded).files(BRANCH).keys()


def test_a_repository_without_history_comes_back_whole(tmp_path: Path) -> None:
    repo = Repo.init(tmp_path / "fresh").write({"a.txt": "a\n"})
    sandbox = Sandbox(tmp_path / "fresh-sandbox")
    sandbox.send(repo)
    prepared, concluded = sandbox.work(in_workspace("echo b > b.txt"))
    assert prepared.base is None
    clone = Repo.init(tmp_path / "clone")
    clone.git("fetch", "--quiet", str(concluded.bundle), f"{BRANCH}:{BRANCH}")
    assert clone.git("rev-list", "--count", BRANCH) == "2"
    assert clone.files(BRANCH) == {"a.txt": "a", "b.txt": "b"}


def test_an_empty_repository_can_be_worked_in(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.send(Repo.init(tmp_path / "fresh"))
    _, concluded = sandbox.work(in_workspace("echo b > b.txt"))
    assert concluded.commit


@pytest.mark.parametrize("content", [b"", b"no bundle", b"# v2 git bundle\n\n"])
async def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(RepositoryFailed) as caught:
        await prepare(tmp_path / "b", tmp_path / "workspace", BRANCH)
    assert caught.value.code == "bundle_invalid"


async def test_concluding_twice_gives_the_same_tree(sandbox: Sandbox, repo: Repo) -> None:
    workspace = sandbox.folder / "workspace"
    prepared = await prepare(sandbox.folder / "sent.bundle", workspace, BRANCH)
    Repo(workspace).write({"c.txt": "c\n"})
    trees = set()
    for _ in range(2):
        concluded = await conclude(workspace, prepared, branch=BRANCH, message=lambda _: "m", author=AGENT)
        clone = outcome(sandbox, repo, concluded)
        trees.add(clone.git("rev-parse", f"{BRANCH}^{{tree}}"))
        shutil.rmtree(clone.path)
    assert len(trees) == 1


@pytest.mark.parametrize("turns", [2, 3, 5, 20])
async def test_a_cancelled_git_leaves_no_process(tmp_path: Path, turns: int) -> None:
    """Cancelled in the middle of its start as well: what it has started by then ends with it."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    command = f"!sleep 600 & echo $! > {pids}; wait"
    task = asyncio.ensure_future(
        git("-c", f"alias.hang={command}", "hang", cwd=tmp_path, env=dict(os.environ))
    )
    for _ in range(turns):
        await asyncio.sleep(0)
    pid = _first_line(pids)  # holds up the loop, and with it the start
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not _alive(pid))


def _first_line(path: Path) -> int:
    return int(path.read_text())


def _alive(pid: int) -> bool:
    """Running: one that nobody has waited for yet is dead all the same."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_file_over_the_limit_is_named_and_the_rest_comes_back(sandbox: Sandbox, repo: Repo) -> None:
    def agent(workspace: Path) -> None:
        Repo(workspace).write({"core.1": bytes(300_000), "src/b.txt": "edited\n"})
        for number in range(5):
            Repo(workspace).write({f"part{number}": bytes(150_000 + number)})

    _, concluded = sandbox.work(agent, max_bytes=800_000)
    assert concluded.left_out == (
        "part2 (0 MiB, the result would be over 0 MiB)",
        "part3 (0 MiB, the result would be over 0 MiB)",
        "part4 (0 MiB, the result would be over 0 MiB)",
        "core.1 (0 MiB, more than the 0 MiB of a file)",
    )
    files = outcome(sandbox, repo, concluded).files(BRANCH)
    assert {name for name in files if name[:4] in ("part", "core")} == {"part0", "part1"}
    assert files["src/b.txt"] == "edited"


def test_what_the_agent_writes_into_a_submodule_is_named(tmp_path: Path) -> None:
    inner = Repo.init(tmp_path / "inner")
    inner.commit("inner", **{"i.txt": "i\n"})
    outer = Repo.init(tmp_path / "outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "lib")
    outer.commit("outer")
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.send(outer)
    _, concluded = sandbox.work(in_workspace("echo agent > lib/fresh.txt", "echo top > top.txt"))
    assert concluded.left_out == ("lib/fresh.txt (in a submodule)",)
    assert concluded.commit is not None


def test_empty_submodules_and_pointers_to_lfs_contents_are_named_with_what_to_do(tmp_path: Path) -> None:
    inner = Repo.init(tmp_path / "inner")
    inner.commit("inner", **{"i.txt": "i\n"})
    outer = Repo.init(tmp_path / "outer")
    outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "lib")
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    attributes = "*.bin filter=lfs\n"
    outer.write({".gitattributes": attributes, "é.bin": pointer, "here.bin": "here\n", "a.txt": pointer})
    outer.commit("outer")
    clone = Repo(tmp_path / "clone")
    outer.git("clone", "--quiet", str(outer.path), str(clone.path))

    def work(name: str, repo: Repo) -> str:
        sandbox = Sandbox(tmp_path / name)
        sandbox.send(repo)
        return sandbox.work(in_workspace("true"))[0].missing

    assert work("both", clone) == (
        "not in the workspace: the files of submodules (lib) and the contents of LFS files (é.bin); to have them, "
        "start the task in a clone after `git submodule update --init --recursive` and `git lfs pull`"
    )
    clone.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    clone.commit("contents", **{"é.bin": b"five\n"})
    assert work("neither", clone) == ""


def test_names_of_any_bytes_are_named_and_many_are_counted(sandbox: Sandbox) -> None:
    def agent(workspace: Path) -> None:
        (workspace / os.fsdecode(b"\xff.log")).write_text("odd")
        for number in range(30):
            (workspace / f"{number:02}.log").write_text("noise")

    _, concluded = sandbox.work(agent)
    assert len(concluded.left_out) == 21
    assert concluded.left_out[-1] == "11 more (ignored by Git)"
