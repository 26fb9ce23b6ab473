"""What the user has in front of them, as a bundle."""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remote_claude.cli.repository import extra
from remote_claude.cli.repository.git import Repository, RepositoryError, failed, user_environment
from remote_claude.cli.repository.scratch import Scratch, only_new, snapshot

BASE_REF = "refs/rclaude/base"
SENT_REF = "refs/rclaude/sent"
EXTRA_REF = "refs/rclaude/extra"

_NAME, _EMAIL = "rclaude", "rclaude@localhost"
_NO_DATE = "946684800 +0000"  # where there is no commit to take the date from


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    base: str | None  # HEAD, where its history went along
    sent: str  # the working tree as a commit on top of it; `base` itself when nothing was uncommitted
    sha256: str  # of the bundle
    size: int  # bytes
    notes: tuple[str, ...] = ()  # what the user should know: one sentence each


def bundle(repository: Repository, out: Path, *, include: Sequence[str] = ()) -> Sent:
    """Writes the working tree, uncommitted and untracked (not ignored) files included, to a bundle.

    The bundle needs nothing else: `refs/rclaude/base` is HEAD with its history (absent before the first
    commit), `refs/rclaude/sent` a commit on top of it, the same for the same content and HEAD. A clone
    without the whole history (shallow, partial) is sent as one commit without parents, and `base` is None.
    `refs/rclaude/extra` is a tree of what is sent besides: ignored files that `include` or `.worktreeinclude` names
    (patterns as in `.gitignore`), the files of submodules that are checked out, and LFS contents that are on this disk;
    absent without any.

    Submodules are links in the commits. Other repositories inside this one and files marked `skip-worktree` or
    `assume-unchanged` are not looked at. A merge in progress is sent as it is,
    conflict markers included. The repository isn't touched: index and objects are temporary, though a
    clean filter such as LFS may fill its own cache.
    """
    notes = []
    with tempfile.TemporaryDirectory(prefix="rclaude-") as temporary:
        scratch = Scratch.create(Path(temporary) / "git", repository)
        index = Path(temporary) / "index"
        env = scratch.landing(index)
        shot = snapshot(scratch, index)
        head = repository.commit()
        base = head
        if head and _history_is_partial(repository):
            base = None
            notes.append("this clone lacks history, so the files are sent as one commit without any")
        sent = base if base and _tree(repository, base) == shot.tree else None
        sent = sent or _commit(repository, env, shot.tree, base, head)
        more = extra.collect(repository, index, env, include, shot.nested)
        notes += [more.note] if more.note else []
        refs = {SENT_REF: sent} | ({BASE_REF: base} if base else {})
        refs |= {EXTRA_REF: more.tree} if more.tree else {}
        sha256, size = _write(repository, env, refs, out)
    return Sent(base=base, sent=sent, sha256=sha256, size=size, notes=tuple(notes))


def _history_is_partial(repository: Repository) -> bool:
    shallow = repository.git("rev-parse", "--is-shallow-repository").text == "true"
    promised = repository.git("config", "--get-regexp", r"^remote\..*\.promisor$", expect=(0, 1)).out
    return shallow or bool(promised)


def _tree(repository: Repository, commit: str) -> str:
    return repository.git("rev-parse", f"{commit}^{{tree}}").text


def _commit(
    repository: Repository, env: dict[str, str], tree: str, base: str | None, head: str | None
) -> str:
    """The same commit for the same content: no clock, no user, no signature."""
    seconds = head and repository.git("show", "-s", "--no-show-signature", "--format=%ct", head).text
    date = f"{seconds} +0000" if seconds else _NO_DATE
    identity = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", _NAME), ("EMAIL", _EMAIL), ("DATE", f"@{date}"))
    }
    parents = ("-p", base) if base else ()
    return repository.git(
        *("-c", "i18n.commitEncoding=UTF-8", "commit-tree", "--no-gpg-sign", tree, *parents),
        *("-m", "The working tree as it was sent"),
        env=env | identity,
    ).text


def _write(repository: Repository, env: dict[str, str], refs: dict[str, str], out: Path) -> tuple[str, int]:
    """SHA-256 and size of the bundle.

    Written here, not by `git bundle`, which wants the refs to exist; and packed in the user's repository,
    since a partial clone knows there where to get what it lacks. One thread: the same bytes each time.
    """
    signature = "# v2 git bundle\n"
    if repository.object_format != "sha1":
        signature = f"# v3 git bundle\n@object-format={repository.object_format}\n"
    head = signature + "".join(f"{commit} {ref}\n" for ref, commit in sorted(refs.items())) + "\n"
    command = ["git", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"]
    command += ["pack-objects", "--revs", "--stdout", "--delta-base-offset", "--threads=1", "-q"]
    digest, size = hashlib.sha256(), 0
    with only_new(out) as file, tempfile.TemporaryFile() as wanted, tempfile.TemporaryFile() as stderr:
        wanted.write("".join(f"{commit}\n" for commit in refs.values()).encode())
        wanted.seek(0)
        pack = subprocess.Popen(
            command,
            cwd=repository.top,
            env={**user_environment(), **env},
            stdin=wanted,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
        with pack:
            assert pack.stdout is not None
            chunk = head.encode()
            while chunk:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                chunk = pack.stdout.read(1 << 20)
        if pack.returncode:
            stderr.seek(0)
            error = failed(("pack-objects",), pack.returncode, stderr.read())
            raise RepositoryError(
                "repository_damaged", f"the history can't be read whole: {error}"
            ) from error
    return digest.hexdigest(), size
