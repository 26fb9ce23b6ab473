"""Bringing the agent's commit over into what the user has by now."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from remote_claude.cli.repository.cleaning import cleaned, unfiltered
from remote_claude.cli.repository.git import Repository, RepositoryError
from remote_claude.cli.repository.hooks import HookRefused, Hooks
from remote_claude.cli.repository.landing import Landing
from remote_claude.cli.repository.locking import locked, refuse_when_busy
from remote_claude.cli.repository.result import UnpackedResult, compare, read_result
from remote_claude.cli.repository.scratch import Scratch, snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    commit: str | None  # the new one; the earlier one when `already`; None when there is nothing to commit
    files: tuple[str, ...]  # what changed
    already: bool = False  # it was there before, nothing changed
    kept: tuple[str, ...] = ()  # never committed here, deleted by the agent: still here
    unstaged: tuple[str, ...] = ()  # merged into files whose index entry stays as it was
    conflicts: tuple[str, ...] = ()  # files with conflict markers
    unfiltered: tuple[
        str, ...
    ] = ()  # the agent's own .gitattributes name a filter for them, which was not run


class ApplyConflict(RepositoryError):
    """`apply_conflict`: the agent's commit contradicts what is here now. Nothing changed."""

    def __init__(self, reasons: dict[str, str], task: str, ways: Sequence[str]) -> None:
        listing = "".join(f"\n  {name}: {reason}" for name, reason in sorted(reasons.items()))
        advice = "; or ".join(ways)
        super().__init__(
            "apply_conflict",
            f"nothing was changed, since these files are in the way:{listing}\n{advice[:1].upper()}{advice[1:]}.",
            sorted(reasons),
        )


def apply(
    repository: Repository,
    result_bundle: Path,
    *,
    task: str,
    agent: str,
    message: str,
    commit: bool = True,
    merge: bool = False,
    unrelated: bool = False,
    sent: str | None = None,
    hooks: bool = False,
) -> Applied:
    """Brings the agent's commit over, as a commit on HEAD, or staged only.

    Three merges, all from what was sent to what the agent made of it: into HEAD, into the index, into the
    working tree. Only when all three are clean does anything change, in an order in which an interruption
    at any point loses nothing and a second call finishes the work: objects, files, index, HEAD. So
    uncommitted changes stay as they are, uncommitted, and merge with the agent's where both touched a file.

    A file that was never committed here isn't deleted, though the agent did so (`Applied.kept`).
    The bundle is taken for hostile: strictly checked, read without the user's configuration; its
    attributes choose no filter, nothing is written outside the working tree. What is stored is what `git add`
    would store: the filters and line ends that the user's own attributes name are applied to the agent's files.

    The user's hooks run around the commit with `hooks` only. One that refuses leaves the change staged (`hook_refused`).

    Without `commit`, a file whose index entry differs from what was sent is merged in the working tree only
    (`Applied.unstaged`). With `merge`, so are files in which both changed the same lines, with conflict markers
    (`Applied.conflicts`); nothing is committed then, and Git's index has them as unmerged.
    A result without history says nothing of where it belongs: it is refused in a repository whose files are others,
    unless `unrelated`.

    `sent`, where known, is the commit that must be the parent of the agent's.
    Errors: `apply_conflict`, `repository_busy`, `identity_missing`, `filter_failed`, `result_invalid`, `result_unsafe`,
    `result_foreign`, `result_unrelated`, `apply_interrupted` (a file couldn't be written half-way: apply again).
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", task):
        raise RepositoryError("result_invalid", f"{task!r} is no task id")
    if commit:
        _require_identity(repository)
    with locked(repository) as folder:
        refuse_when_busy(repository)
        scratch = Scratch.create(folder / "git", repository)
        result = read_result(scratch, result_bundle, task)
        if sent and result.sent != sent:
            raise RepositoryError("result_invalid", "the result isn't built on what was sent")
        applying = _Apply(scratch, result, task, hooks=hooks)
        if result.base is None and not unrelated:
            applying.require_same_files()
        return applying.run(agent, message, commit=commit and not merge, merge=merge)


class _Apply:
    def __init__(self, scratch: Scratch, result: UnpackedResult, task: str, *, hooks: bool) -> None:
        self.scratch, self.result, self.task = scratch, result, task
        self.repository = scratch.repository
        self.landing = Landing(scratch)
        self.hooks = Hooks(self.repository, self.landing.folder / "hook-index", task) if hooks else None
        self.reasons: dict[str, str] = {}  # path to why it is in the way
        self.kept: set[str] = set()
        self.commits: dict[tuple[str, ...], str] = {}

    def require_same_files(self) -> None:
        """Half of the files that were sent are here, as they were sent; or nothing was, and nothing is committed here."""
        here = snapshot(self.scratch, self.landing.snapshot_index, flagged=True).tree
        sent = self._entries(self.result.sent_tree)
        known = self._entries(here)
        head = self.repository.commit()
        if head is not None:
            known |= self._entries(self.scratch.git("rev-parse", f"{head}^{{tree}}").text)
        if (sent and 2 * len(sent & known) >= len(sent)) or (not sent and head is None):
            return
        raise RepositoryError(
            "result_unrelated",
            f"{self.repository.top} does not look like the repository that the task was started from, and the result has "
            f"no history that would say so: go there, or take it here with `rclaude apply {self.task} --unrelated`",
        )

    def _entries(self, tree: str) -> set[bytes]:
        return set(self.scratch.git("ls-tree", "-r", "-z", "--full-tree", tree).paths)

    def run(self, agent: str, message: str, *, commit: bool, merge: bool) -> Applied:
        head = self.repository.commit()
        earlier = head and self._earlier(head)
        if earlier and commit:
            return Applied(commit=earlier, files=(), already=True)
        head_tree = f"{head}^{{tree}}" if head else self._empty_tree()
        head_tree = self.scratch.git("rev-parse", head_tree).text
        index_tree = self.landing.index_tree()
        here = snapshot(self.scratch, self.landing.snapshot_index, flagged=True).tree
        self.result = cleaned(self.scratch, self.result, here)
        agent_tree = self._agent_tree(head_tree)
        new_here = self._merge(here, agent_tree, "was changed here since it was sent")
        conflicts = tuple(sorted(self.reasons))
        mergeable = bool(conflicts) and self._has_markers(new_here)
        if conflicts and not (merge and mergeable):
            ways = []
            if here != head_tree:
                ways.append("Commit your own changes, or move the files away, and apply again")
            elif not mergeable:
                ways.append(f"see the agent's change with `rclaude diff {self.task}`, and make it by hand")
            if mergeable:
                ways.append(
                    f"write both into the files, with conflict markers: `rclaude apply {self.task} --merge`"
                )
            self._refuse(*ways)
        self.reasons = {}
        unstaged: tuple[str, ...] = ()
        if commit:
            new_index = self._merge(
                index_tree, agent_tree, "differs from what was sent in what you have staged"
            )
            self._name_untracked(index_tree)
            reason = "the agent built on changes that aren't committed here, or others were committed since"
            new_head = self._merge(head_tree, agent_tree, reason)
            if self.reasons:
                self._refuse(
                    "Commit your own changes (`git add` what is not tracked) and apply again",
                    f"take it into the working tree, without a commit: `rclaude apply {self.task} --no-commit`",
                )
        else:
            new_head = head_tree
            new_index, unstaged = self._merge_index(index_tree, agent_tree, leave=conflicts)
        nothing_new = not self.reasons and (new_head == head_tree if commit else new_index == index_tree)
        if nothing_new and (new_index, new_here) == (index_tree, here):
            return Applied(commit=earlier, files=(), already=True, kept=self._still_here())
        self._settle()
        writes = compare(self.scratch, here, new_here)
        self.reasons |= self.landing.in_the_way(writes)
        self._settle()
        staged = compare(self.scratch, index_tree, new_index)
        made = compare(self.scratch, head_tree, new_head)
        # From here on the user's repository changes: each step is complete without the next one.
        unmerged = self._unmerged(conflicts, here, agent_tree)
        sides = [entry.split(b" ")[1].decode() for entry in unmerged if not entry.startswith(b"0 ")]
        self.landing.bring_objects([new_index, new_head, *sides], writes, without=head_tree if head else None)
        text = self._message(agent, message)
        self.landing.write_files(writes)
        if made and self.hooks:
            try:
                tree, text = self.hooks.before(new_head, text)
            except HookRefused:
                self.landing.write_index(staged)
                raise
            staged = (*staged, *compare(self.scratch, new_head, tree))
            new_head = tree
        oid = self._commit(new_head, head, text) if made else None
        self.landing.write_index(staged, unmerged)
        if oid:
            self._move_head(head, oid)
            if self.hooks:
                self.hooks.after()
        files = {change.name for change in (*made, *staged, *writes)}
        return Applied(
            commit=oid,
            files=tuple(sorted(files)),
            kept=self._still_here(),
            unstaged=unstaged,
            conflicts=conflicts,
            unfiltered=unfiltered(self.scratch, self.result, here),
        )

    def _name_untracked(self, index: str) -> None:
        """Give the true reason for files that were sent untracked: the index has no other version of them."""
        tracked = {entry.partition(b"\t")[2] for entry in self._entries(index)}
        self.reasons |= {
            name: "is not tracked by Git here, and the agent changed it"
            for name in self.reasons
            if os.fsencode(name) not in tracked
        }

    def _merge_index(self, index: str, agent: str, *, leave: Collection[str]) -> tuple[str, tuple[str, ...]]:
        """The index with the agent's changes, but for files where the two contradict each other, and those to `leave`."""
        merged = self._merge(index, agent, "is staged otherwise")
        left = tuple(sorted({*self.reasons, *leave}))
        self.reasons = {}
        if not left:
            return merged, ()
        changes = {change.name: change for change in compare(self.scratch, index, merged)}
        back = [changes[name] for name in left if name in changes]
        env = {"GIT_INDEX_FILE": str(self.scratch.folder / "merged-index")}
        self.scratch.git("read-tree", merged, env=env)
        entries = b"".join(
            b"%s %s\t%s\0" % ((b"0", b"0" * len(c.old), c.path) if c.added else (c.old_mode, c.old, c.path))
            for c in back
        )
        self.scratch.git("update-index", "-z", "--index-info", stdin=entries, env=env)
        return self.scratch.git("write-tree", "--missing-ok", env=env).text, left

    def _unmerged(self, names: Collection[str], here: str, agent: str) -> list[bytes]:
        """The index entries of files in conflict: as sent (1), as they were here (2), the agent's (3), so that Git knows."""
        paths = {os.fsencode(name) for name in names}
        entries = [b"0 %s\t%s\0" % (b"0" * len(agent), path) for path in sorted(paths)]
        for stage, tree in enumerate((self.result.sent_tree, here, agent), start=1):
            for entry in sorted(self._entries(tree)):
                kind, _, path = entry.partition(b"\t")
                if path in paths:
                    mode, _, oid = kind.split(b" ")
                    entries.append(b"%s %s %d\t%s\0" % (mode, oid, stage, path))
        return entries

    def _has_markers(self, tree: str) -> bool:
        """Whether every conflict is one of contents, in a file of its own name."""
        entries = {entry.partition(b"\t")[2]: entry for entry in self._entries(tree)}
        for name in self.reasons:
            entry = entries.get(os.fsencode(name))
            if entry is None:
                return False
            oid = entry.split(b"\t")[0].split(b" ")[2].decode()
            if b"\n<<<<<<< " not in b"\n" + self.scratch.git("cat-file", "blob", oid).out:
                return False
        return True

    def _refuse(self, *ways: str) -> NoReturn:
        raise ApplyConflict(self.reasons, self.task, ways)

    def _earlier(self, head: str) -> str | None:
        """The commit that says it is this task's."""
        mark = f"(rclaude {self.task})"
        since = ("--not", self.result.base) if self.result.base else ()
        log = self.repository.git(
            *("log", "--no-show-signature", "--encoding=UTF-8", "--fixed-strings", f"--grep={mark}", "-z"),
            *("--format=%H%n%(trailers:key=Assisted-by,valueonly)", head, *since),
        )
        for entry in log.out.decode("utf-8", "replace").split("\0"):
            oid, *trailers = entry.splitlines() or [""]
            if any(trailer.endswith(mark) for trailer in trailers):
                return oid
        return None

    def _empty_tree(self) -> str:
        return self.scratch.git("mktree").text

    def _agent_tree(self, head_tree: str) -> str:
        """The agent's tree with the files it deleted put back where HEAD hasn't got them.

        They exist nowhere but in the user's working tree, and the commit can't delete them anyway.
        """
        elsewhere = {
            change.path
            for change in compare(self.scratch, self.result.sent_tree, head_tree)
            if change.deleted
        }
        deleted = [change for change in self.result.changes if change.deleted and change.path in elsewhere]
        if not deleted:
            return self.result.agent_tree
        added = [change.path for change in self.result.changes if change.added]
        for change in deleted:
            if any(_collide(change.path, path) for path in added):
                self.reasons[change.name] = (
                    "isn't committed here, and the agent replaced it by a folder or file"
                )
        self._settle()
        self.kept = {change.name for change in deleted}
        env = {"GIT_INDEX_FILE": str(self.scratch.folder / "kept-index")}
        entries = b"".join(b"%s %s\t%s\0" % (change.old_mode, change.old, change.path) for change in deleted)
        self.scratch.git("read-tree", self.result.agent_tree, env=env)
        self.scratch.git("update-index", "-z", "--index-info", stdin=entries, env=env)
        return self.scratch.git("write-tree", "--missing-ok", env=env).text

    def _merge(self, ours: str, theirs: str, reason: str) -> str:
        """The tree of what is here with the agent's changes; conflicts go to `reasons`."""
        sent = self.result.sent_tree
        if ours in (sent, theirs):
            return theirs
        if theirs == sent:
            return ours
        base = self._synthetic(sent)
        sides = (self._synthetic(ours, base), self._synthetic(theirs, base))
        merged = self.scratch.git(
            *("-c", "merge.directoryRenames=false", "-c", "merge.conflictStyle=merge"),
            *("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", *sides),
            expect=(0, 1),
        )
        tree, *paths = merged.paths
        if merged.code:
            names = [os.fsdecode(path) for path in paths] or [change.name for change in self.result.changes]
            self.reasons |= {name: reason for name in names if name not in self.reasons}
        return tree.decode()

    def _synthetic(self, tree: str, *parents: str) -> str:
        """A commit for Git to merge; only what was sent is their common ground."""
        if (tree, *parents) not in self.commits:
            identity = {
                f"GIT_{role}_{part}": "rclaude"
                for role in ("AUTHOR", "COMMITTER")
                for part in ("NAME", "EMAIL")
            }
            above = [part for parent in parents for part in ("-p", parent)]
            commit = self.scratch.git("commit-tree", tree, *above, "-m", "merge", env=identity).text
            self.commits[tree, *parents] = commit
        return self.commits[tree, *parents]

    def _settle(self) -> None:
        if self.reasons:
            self._refuse("Move these files away and apply again")

    def _still_here(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.kept if os.path.lexists(self.repository.top / name)))

    def _message(self, agent: str, message: str) -> str:
        text = message.replace("\0", "").strip() or f"Apply {self.task}"
        trailer = " ".join(f"Assisted-by: {agent} (rclaude {self.task})".split())
        return self.scratch.git(
            *("interpret-trailers", "--no-divider", f"--trailer={trailer}"),
            stdin=f"{text}\n".encode("utf-8", "replace"),
        ).text

    def _commit(self, tree: str, head: str | None, text: str) -> str:
        sign = ("--gpg-sign",) if self.repository.flag("commit.gpgSign") else ()
        parents = ("-p", head) if head else ()
        return self.repository.git(
            *("-c", "i18n.commitEncoding=UTF-8", "commit-tree", *sign, tree, *parents, "-F", "-"),
            stdin=os.fsencode(text),
        ).text

    def _move_head(self, old: str | None, new: str) -> None:
        try:
            self.repository.git(
                *("update-ref", "-m", f"rclaude apply: {self.task}", "HEAD", new, old or "0" * len(new))
            )
        except RepositoryError as error:
            raise RepositoryError(
                "apply_interrupted", f"the changes are staged, but HEAD couldn't move: {error}. Apply again."
            ) from error


def _collide(one: bytes, other: bytes) -> bool:
    return one.startswith(other + b"/") or other.startswith(one + b"/")


def _require_identity(repository: Repository) -> None:
    for role in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        if repository.git("-c", "user.useConfigOnly=true", "var", role, expect=(0, 128)).code:
            raise RepositoryError(
                "identity_missing",
                "Git doesn't know who you are. Run `git config --global user.name 'Your Name'` and "
                "`git config --global user.email you@example.com`, then apply again.",
            )
