"""Any tree, any changes: sent, worked on, brought back; the user's side untouched until then."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_claude.cli.repository import ApplyConflict, apply
from repositories import TASK, Repo, Sandbox, everything, git_home, tree


@pytest.fixture(autouse=True, scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with git_home(tmp_path_factory.mktemp("home")):
        yield


NAMES = [
    "a",
    "b",
    "c d",
    "e\nf",
    "ü",
    "dir/a",
    "dir/b",
    "dir/deep/x",
    "a2/b",
    "other",
    os.fsdecode(b"\xff"),
    "run",
]
LINE = st.sampled_from(["", "alpha", "beta", "gamma", "delta\r", "ünï", "<<<<<<<"])
TEXT = st.lists(LINE, max_size=8).map(lambda lines: "\n".join(lines).encode())
CONTENT = st.one_of(TEXT, TEXT, st.binary(max_size=40))


@dataclass(frozen=True)
class File:
    content: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    target: str


ENTRY = st.one_of(
    st.builds(File, CONTENT, st.booleans()),
    st.builds(Link, st.sampled_from(["a", "dir", "/nowhere", "../outside"])),
)
CHANGES = st.dictionaries(st.sampled_from(NAMES), st.none() | ENTRY, max_size=5)


def change(folder: Path, changes: dict[str, File | Link | None]) -> None:
    """Makes the changes that are possible: what is in the way of a file or folder goes."""
    for name, entry in changes.items():
        place = folder / name
        for parent in reversed(place.relative_to(folder).parents[:-1]):
            if (folder / parent).is_symlink() or (folder / parent).is_file():
                (folder / parent).unlink()
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        place.unlink(missing_ok=True)
        if entry is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
        match entry:
            case File(content, executable):
                place.write_bytes(content)
                place.chmod(0o755 if executable else 0o644)
            case Link(target):
                place.symlink_to(target)


def agent(changes: dict[str, File | Link | None], *, commits: bool) -> Callable[[Path], None]:
    def work(workspace: Path) -> None:
        change(workspace, changes)
        if commits:
            Repo(workspace).commit("the agent's own")

    return work


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(committed=CHANGES, staged=CHANGES, uncommitted=CHANGES, agents=CHANGES, commits=st.booleans())
def test_the_agents_tree_comes_back_as_it_left_it_or_not_at_all(
    committed: dict[str, File | Link | None],
    staged: dict[str, File | Link | None],
    uncommitted: dict[str, File | Link | None],
    agents: dict[str, File | Link | None],
    commits: bool,
) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        repo = Repo.init(Path(temporary) / "project")
        change(repo.path, committed)
        if committed:
            repo.commit("first")
        change(repo.path, staged)
        repo.git("add", "--all")
        change(repo.path, uncommitted)
        pending = repo.pending
        before = everything(repo.path)

        sandbox = Sandbox(Path(temporary) / "sandbox")
        sent = sandbox.send(repo)
        assert everything(repo.path) == before
        prepared, concluded = sandbox.work(agent(agents, commits=commits))
        assert (prepared.base, prepared.sent) == (sent.base, sent.sent)
        assert everything(repo.path) == before
        if concluded.bundle is None:
            assert tree(sandbox.folder / "workspace") == tree(repo.path)
            return

        here = tree(repo.path)
        head = repo.git("rev-parse", "-q", "--verify", "HEAD", check=False)
        try:
            applied = apply(
                repo.repository, concluded.bundle, task=TASK, agent="shell", message="m", sent=sent.sent
            )
        except ApplyConflict:
            after = everything(repo.path)
            assert {**after, str(repo.path / ".git"): None} == {**before, str(repo.path / ".git"): None}
            return
        expected = tree(sandbox.folder / "workspace") | {name: here[name] for name in applied.kept}
        assert tree(repo.path) == expected
        if applied.commit:
            assert repo.head == applied.commit
            assert head == repo.git("rev-parse", "-q", "--verify", "HEAD^", check=False)
            repo.git("fsck", "--full", "--strict")
            touched = {*applied.files, *applied.kept}
            assert {k: v for k, v in repo.pending.items() if k not in touched} == {
                k: v for k, v in pending.items() if k not in touched
            }
        assert not os.path.lexists(repo.path / ".git/index.lock")


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(committed=CHANGES, agents=CHANGES, since=CHANGES)
def test_what_the_user_does_meanwhile_is_never_lost(
    committed: dict[str, File | Link | None],
    agents: dict[str, File | Link | None],
    since: dict[str, File | Link | None],
) -> None:
    """The user's files afterwards are the user's, or the agent's where the user left them alone, or a merge."""
    with tempfile.TemporaryDirectory() as temporary:
        repo = Repo.init(Path(temporary) / "project")
        change(repo.path, committed)
        repo.commit("first")
        sent = tree(repo.path)
        sandbox = Sandbox(Path(temporary) / "sandbox")
        sandbox.send(repo)
        _, concluded = sandbox.work(agent(agents, commits=False))
        change(repo.path, since)
        mine = tree(repo.path)
        if concluded.bundle is None:
            return
        theirs = tree(sandbox.folder / "workspace")
        try:
            apply(repo.repository, concluded.bundle, task=TASK, agent="shell", message="m")
        except ApplyConflict:
            assert tree(repo.path) == mine
            return
        merged = tree(repo.path)
        for name, entry in mine.items():
            if sent.get(name) != entry and theirs.get(name) == sent.get(name):
                content = [found for found in merged.values() if found[1] == entry[1]]
                assert merged.get(name) == entry or content, name
        for name, entry in theirs.items():
            if mine.get(name) == sent.get(name) != entry:
                assert merged.get(name) == entry, name
