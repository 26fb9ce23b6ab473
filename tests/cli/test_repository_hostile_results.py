"""A result bundle from a sandbox that means harm."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_claude.cli.repository import RepositoryError, apply
from repositories import BRANCH, TASK, Repo, Sandbox, everything, git_home


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[None]:
    with git_home(tmp_path / "home"):
        yield


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    repo = Repo.init(tmp_path / "project")
    repo.commit("first", **{"a.txt": "a\n", "src/b.txt": "b\n"})
    return repo


class Forger:
    """A clone in which any object can be made."""

    def __init__(self, repo: Repo, folder: Path) -> None:
        subprocess.run(["git", "clone", "--quiet", repo.path, folder], check=True)
        self.repo = Repo(folder)
        self.sent = repo.head

    def object(self, kind: str, content: bytes) -> str:
        return self.repo.git("hash-object", "-t", kind, "-w", "--literally", "--stdin", stdin=content)

    def tree(self, *entries: tuple[str, str, str]) -> str:
        """(mode, name, id): unchecked and in the order given."""
        return self.object(
            "tree", b"".join(f"{m} {n}\0".encode() + bytes.fromhex(oid) for m, n, oid in entries)
        )

    def commit(self, tree: str, *parents: str) -> str:
        above = [part for parent in parents or (self.sent,) for part in ("-p", parent)]
        return self.repo.git("commit-tree", tree, *above, "-m", "evil")

    def bundle(self, commit: str, ref: str = f"refs/heads/{BRANCH}", *more: str) -> Path:
        """Every object that was made here goes along."""
        out = self.repo.path / "result.bundle"
        every = self.repo.git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", "--unordered")
        pack = self.pack(every.split("\n"))
        head = (
            f"# v2 git bundle\n-{self.sent} base\n{commit} {ref}\n"
            + "".join(f"{line}\n" for line in more)
            + "\n"
        )
        out.write_bytes(head.encode() + pack)
        return out

    def pack(self, objects: list[str]) -> bytes:
        return subprocess.run(
            ["git", "pack-objects", "--stdout", "-q"],
            cwd=self.repo.path,
            input="".join(f"{oid}\n" for oid in objects).encode(),
            capture_output=True,
            check=True,
        ).stdout

    @property
    def blob(self) -> str:
        return self.object("blob", b"evil\n")


@pytest.fixture
def forger(repo: Repo, tmp_path: Path) -> Forger:
    return Forger(repo, tmp_path / "forger")


def refused(repo: Repo, result: Path, *codes: str) -> None:
    """Neither the repository nor what lies beside it changes."""
    around = repo.path.parent
    before = everything(around)
    with pytest.raises(RepositoryError) as caught:
        apply(repo.repository, result, task=TASK, agent="shell", message="m")
    assert caught.value.code in codes, caught.value
    git_dir = str(repo.path / ".git")
    assert {**everything(around), git_dir: None} == {**before, git_dir: None}


NAMES = [
    "..",
    ".",
    ".git",
    ".GIT",
    ".Git",
    "git~1",
    "",
    "a/../../x",
    "../x",
    "/etc",
    ".git ",
    ".git\u200c",
    "GIT~1",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_out_of_the_working_tree_or_into_the_git_folder_is_refused(
    repo: Repo, forger: Forger, name: str
) -> None:
    inner = forger.tree(("100644", "evil", forger.blob))
    for entry in (("40000", name, inner), ("100644", name, forger.blob)):
        refused(repo, forger.bundle(forger.commit(forger.tree(entry))), "result_unsafe", "result_invalid")


def test_a_tree_that_is_a_link_and_a_folder_at_once_is_refused(
    repo: Repo, forger: Forger, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = forger.object("blob", str(outside).encode())
    inner = forger.tree(("100644", "evil", forger.blob))
    result = forger.bundle(forger.commit(forger.tree(("120000", "x", link), ("40000", "x", inner))))
    refused(repo, result, "result_invalid")
    assert list(outside.iterdir()) == []


def test_a_folder_in_place_of_a_link_is_written_inside_the_repository(repo: Repo, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repo.path / "out").symlink_to(outside)
    repo.commit("link")

    def agent(workspace: Path) -> None:
        (workspace / "out").unlink()
        Repo(workspace).write({"out/evil": "e\n"})

    result = Sandbox(tmp_path / "sandbox").result(repo, agent)
    apply(repo.repository, result, task=TASK, agent="shell", message="m")
    assert list(outside.iterdir()) == []
    assert (repo.path / "out/evil").read_text() == "e\n"
    assert repo.status == ""


def test_a_folder_of_the_users_that_is_a_link_by_now_is_not_written_through(
    repo: Repo, tmp_path: Path
) -> None:
    result = Sandbox(tmp_path / "sandbox").result(repo, lambda w: Repo(w).write({"src/evil": "e\n"}))
    outside = tmp_path / "outside"
    shutil.move(repo.path / "src", outside)
    (repo.path / "src").symlink_to(outside)
    (repo.path / ".git/info/exclude").write_text("src\n")
    refused(repo, result, "apply_conflict")


def test_a_submodule_swapped_for_another_commit_is_refused(repo: Repo, forger: Forger) -> None:
    refused(repo, forger.bundle(forger.commit(forger.tree(("160000", "lib", forger.sent)))), "result_unsafe")


def test_a_harmful_submodule_configuration_is_refused(repo: Repo, forger: Forger) -> None:
    modules = forger.object("blob", b'[submodule "../../x"]\n\tpath = x\n\turl = --upload-pack=touch evil\n')
    refused(
        repo, forger.bundle(forger.commit(forger.tree(("100644", ".gitmodules", modules)))), "result_invalid"
    )


def test_attributes_that_are_a_link_are_refused(repo: Repo, forger: Forger) -> None:
    link = forger.object("blob", b"/etc/passwd")
    result = forger.bundle(forger.commit(forger.tree(("120000", ".gitattributes", link))))
    refused(repo, result, "result_unsafe", "result_invalid")


def test_a_bundle_of_something_else_is_refused(repo: Repo, forger: Forger, tmp_path: Path) -> None:
    tree = forger.tree(("100644", "c", forger.blob))
    good = forger.commit(tree)
    other = forger.commit(tree, forger.commit(tree, forger.commit(tree)))
    merge = forger.commit(tree, forger.sent, good)
    rootless = forger.repo.git("commit-tree", tree, "-m", "root")
    for result in (
        forger.bundle(good, "refs/heads/main"),
        forger.bundle(good, f"refs/heads/{BRANCH}", f"{good} refs/heads/main"),
        forger.bundle(good, f"refs/heads/{BRANCH}", "@filter=blob:none"),
        forger.bundle(merge),
        forger.bundle(other),
        forger.bundle(rootless),
        forger.bundle(forger.blob),
        forger.bundle(tree),
    ):
        refused(repo, result, "result_invalid")
    for content in (b"", b"\n\n", b"# v2 git bundle\n", b"# v2 git bundle\n" + b"x" * 100_000, b"\xff" * 100):
        (tmp_path / "b").write_bytes(content)
        refused(repo, tmp_path / "b", "result_invalid")
    refused(repo, tmp_path / "nowhere", "result_invalid")


def test_a_damaged_bundle_is_refused(repo: Repo, forger: Forger) -> None:
    result = forger.bundle(forger.commit(forger.tree(("100644", "c", forger.blob))))
    whole = result.read_bytes()
    flipped = whole[:-25] + bytes([whole[-25] ^ 1]) + whole[-24:]
    for broken in (whole[:-30], whole[:-1], flipped):
        result.write_bytes(broken)
        refused(repo, result, "result_invalid")


def test_a_bundle_that_lacks_an_object_is_refused(repo: Repo, forger: Forger) -> None:
    blob = forger.blob
    commit = forger.commit(forger.tree(("100644", "c", blob)))
    out = forger.bundle(commit)
    listed = forger.repo.git("rev-list", "--objects", "--no-object-names", commit, f"^{forger.sent}").split(
        "\n"
    )
    pack = forger.pack([oid for oid in listed if oid != blob])
    out.write_bytes(out.read_bytes().partition(b"\n\n")[0] + b"\n\n" + pack)
    refused(repo, out, "result_invalid")


def test_message_and_agent_are_taken_as_text(repo: Repo, forger: Forger) -> None:
    result = forger.bundle(forger.commit(forger.tree(("100644", "c", forger.blob))))
    message = "Subject \ud800\0\n\n---\n# no comment\n\nSigned-off-by: nobody\n"
    with pytest.raises(RepositoryError):  # deletes a.txt: fine; but the task id must be one
        apply(repo.repository, result, task="x --option", agent="a", message=message)
    apply(repo.repository, result, task=TASK, agent="a\nCo-authored-by: x", message=message)
    assert repo.git("show", "-s", "--format=%B").strip().split("\n") == [
        "Subject ?",
        "",
        "---",
        "# no comment",
        "",
        "Signed-off-by: nobody",
        f"Assisted-by: a Co-authored-by: x (rclaude {TASK})",
    ]
