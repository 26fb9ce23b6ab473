"""The repository in the sandbox: checked out for the agent, and what the agent made of it.

Nothing but the standard library and Git is needed here.
"""

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from remote_claude.worker.git import GitFailed, environment, git
from remote_claude.worker.missing_files import missing_files
from remote_claude.worker.result_tree import Prepared, RepositoryFailed, ResultTree

__all__ = ["Concluded", "Prepared", "RepositoryFailed", "conclude", "prepare"]

BASE_REF = "refs/rclaude/base"
SENT_REF = "refs/rclaude/sent"
SNAPSHOT_REF = "refs/rclaude/snapshot"
EXTRA_REF = "refs/rclaude/extra"
MAX_RESULT_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    commit: str | None  # None: the agent changed nothing
    bundle: Path | None
    patch: Path | None
    left_out: tuple[str, ...] = ()  # "path (why)": what the agent wrote and the commit doesn't have


async def prepare(
    bundle: Path,
    workspace: Path,
    branch: str,
    *,
    author: tuple[str, str] = ("rclaude", "rclaude@localhost"),
    aside: Path | None = None,
) -> Prepared:
    """Checks the bundle out into `workspace` (empty, or not there), on `branch`, with no remote.

    `author` (name, e-mail) is who commits there. `aside` defaults to `.<workspace>.git` beside the workspace.
    The bundle has to stay until `conclude`: there is no second copy of its objects but the workspace's.
    """
    bundle, workspace = _absolute(bundle), _folder(workspace)
    aside = aside or workspace.with_name(f".{workspace.name}.git")
    env = environment(workspace)
    try:
        await git(
            *("init", "--quiet", "--template=", f"--object-format={_object_format(bundle)}"),
            *(f"--initial-branch={branch}", "."),
            cwd=workspace,
            env=env,
        )
        await asyncio.to_thread(_configure, workspace / ".git" / "config", *author)
        await git(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", bundle),
            "refs/rclaude/*:refs/rclaude/*",
            cwd=workspace,
            env=env,
        )
        refs = await git(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/rclaude/", cwd=workspace, env=env
        )
        found = dict(line.split(" ") for line in refs.decode().splitlines())
        if SENT_REF not in found:
            raise RepositoryFailed("bundle_invalid", f"the bundle has no {SENT_REF}")
        await git("checkout", "--quiet", "-B", branch, found[SENT_REF], cwd=workspace, env=env)
        await asyncio.to_thread(_copy_index, workspace / ".git", aside)
        extra = found.get(EXTRA_REF)
        if extra is not None:
            await _check_out_extra(extra, workspace, aside / "extra-index", env)
        missing = await missing_files(workspace, env)
        forget = b"".join(b"delete %s\n" % ref.encode() for ref in found)
        await git("update-ref", "--stdin", stdin=forget, cwd=workspace, env=env)
    except (GitFailed, OSError) as error:
        raise RepositoryFailed("bundle_invalid", f"what was sent can't be checked out: {error}") from error
    return Prepared(
        base=found.get(BASE_REF),
        sent=found[SENT_REF],
        extra=extra,
        bundle=bundle,
        aside=aside,
        missing=missing,
    )


async def conclude(
    workspace: Path,
    prepared: Prepared,
    *,
    branch: str,
    message: Callable[[Sequence[str]], str],
    author: tuple[str, str],
    out: Path | None = None,
    max_bytes: int = MAX_RESULT_BYTES,
) -> Concluded:
    """One commit on `branch`, its parent what was sent, its tree the working tree as the agent left it.

    `message` makes its message of the paths that have changed.

    However the agent committed, or not, on whatever branch, in however broken a Git folder: only the files
    count. Ignored ones are left out, unless tracked; repositories that the agent made inside count as folders.
    `result.bundle` holds `base..commit` as `refs/heads/<branch>`, `changes.patch` what the agent changed, both
    in `out` (default: in `prepared.aside`).
    """
    out = out or prepared.aside / "result"
    for source in ("workspace", "bundle"):  # the bundle where the objects in the workspace are no good
        try:
            with tempfile.TemporaryDirectory(prefix=".rclaude-", dir=_folder(out)) as temporary:
                work = await ResultTree.begin(
                    Path(temporary), _absolute(workspace), prepared, from_bundle=source == "bundle"
                )
                tree = await work.snapshot(max_bytes)
                left_out = (*work.left_out, *await work.out_of_reach())
                if tree == await work.tree(prepared.sent):
                    return Concluded(commit=None, bundle=None, patch=None, left_out=left_out)
                changed = await work.changed(prepared.sent, tree)
                commit = await work.commit(tree, prepared.sent, message(changed), author)
                patch = await work.patch(prepared.sent, commit, out / "changes.patch")
                bundle = await work.bundle(branch, commit, prepared.base, out / "result.bundle")
                return Concluded(commit=commit, bundle=bundle, patch=patch, left_out=left_out)
        except (GitFailed, OSError) as error:
            unreadable = RepositoryFailed("result_unreadable", f"the changes can't be read: {error}")
            unreadable.__cause__ = error
    raise unreadable


async def snapshot(workspace: Path, prepared: Prepared, out: Path) -> Path | None:
    """The working tree as it is, without what Git ignores, as a bundle on top of what was sent; None without a change.

    It is in `out`, as `SNAPSHOT_REF`. Errors: `result_unreadable`, `repository_destroyed`.
    """
    with tempfile.TemporaryDirectory(prefix=".rclaude-", dir=_folder(out.parent)) as temporary:
        try:
            work = await ResultTree.begin(Path(temporary), _absolute(workspace), prepared, from_bundle=False)
            tree = await work.snapshot(MAX_RESULT_BYTES)
            if tree == await work.tree(prepared.sent):
                return None
            commit = await work.commit(tree, prepared.sent, "checkpoint", ("rclaude", "rclaude@localhost"))
            await work.git("update-ref", SNAPSHOT_REF, commit)
            await work.git("bundle", "create", "--quiet", out, SNAPSHOT_REF, f"^{prepared.sent}")
        except (GitFailed, OSError) as error:
            raise RepositoryFailed("result_unreadable", f"the changes can't be read: {error}") from error
    return out


async def restore(workspace: Path, bundle: Path) -> None:
    """Make the prepared working tree what a snapshot of it was. Branch and index stay. Errors: `bundle_invalid`."""
    env = environment(workspace)
    try:
        await git(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", _absolute(bundle)),
            f"{SNAPSHOT_REF}:{SNAPSHOT_REF}",
            cwd=workspace,
            env=env,
        )
        await git("read-tree", "--reset", "-u", SNAPSHOT_REF, cwd=workspace, env=env)
        await git("read-tree", "HEAD", cwd=workspace, env=env)
        await git("update-ref", "-d", SNAPSHOT_REF, cwd=workspace, env=env)
    except GitFailed as error:
        raise RepositoryFailed("bundle_invalid", f"the checkpoint can't be restored: {error}") from error


def _configure(config: Path, name: str, email: str) -> None:
    """For the agent's own commits: a name, no signature, nothing collected behind its back."""
    name, email = (re.sub(r'[\x00-\x1f"\\<>]', "", value) for value in (name, email))
    with config.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f'[user]\n\tname = "{name}"\n\temail = "{email}"\n')
        file.write("[commit]\n\tgpgSign = false\n[core]\n\tautocrlf = false\n[gc]\n\tauto = 0\n")


def _copy_index(git_dir: Path, aside: Path) -> None:
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    shutil.copy2(git_dir / "index", aside / "index")


async def _check_out_extra(extra: str, workspace: Path, index: Path, env: dict[str, str]) -> None:
    """Files that Git doesn't track, as they were on the other side. The agent's own index doesn't know them."""
    own = env | {"GIT_INDEX_FILE": str(index)}
    await git("read-tree", extra, cwd=workspace, env=own)
    await git("checkout-index", "--all", "--force", "--index", cwd=workspace, env=own)


def _absolute(path: Path) -> Path:
    return path.absolute()


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path.absolute()


def _object_format(bundle: Path) -> str:
    with bundle.open("rb") as file:
        file.readline()
        return "sha256" if file.readline().startswith(b"@object-format=sha256") else "sha1"
