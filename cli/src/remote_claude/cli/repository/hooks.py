"""The user's hooks around the commit that `apply` makes, as `git commit` runs them."""

import os
import subprocess
from pathlib import Path

from remote_claude.cli.repository.git import Repository, RepositoryError, callers_environment


class HookRefused(RepositoryError):
    """`hook_refused`: a hook ended with an error. The change is staged, and nothing is committed."""

    def __init__(self, name: str, output: str, task: str) -> None:
        super().__init__(
            "hook_refused",
            f"the hook {name} refused the commit; the change is staged:\n{output}\nCorrect it and commit it yourself, or "
            f"apply again: `rclaude apply {task}`, with `--hooks` or without.",
        )


class Hooks:
    """`index` is a file for the index that the hooks see: what is committed, nothing more."""

    def __init__(self, repository: Repository, index: Path, task: str) -> None:
        self._repository, self._index, self._task = repository, index, task

    def before(self, tree: str, message: str) -> tuple[str, str]:
        """`pre-commit`, `prepare-commit-msg` and `commit-msg`; tree and message as they leave them. Raises `HookRefused`."""
        repository, env = self._repository, {"GIT_INDEX_FILE": str(self._index)}
        repository.git("read-tree", tree, env=env)
        repository.git("update-index", "-q", "--refresh", env=env, expect=(0, 1))
        self._run("pre-commit")
        tree = repository.git("write-tree", env=env).text
        file = repository.git_dir / "COMMIT_EDITMSG"
        file.write_bytes(os.fsencode(message) + b"\n")
        self._run("prepare-commit-msg", str(file), "message")
        self._run("commit-msg", str(file))
        kept = repository.git("stripspace", "--strip-comments", stdin=file.read_bytes()).text
        if not kept:
            raise HookRefused("commit-msg", "it left no message", self._task)
        return tree, kept

    def after(self) -> None:
        """`post-commit`; the commit is kept however that ends."""
        try:
            self._run("post-commit")
        except HookRefused:
            return

    def _run(self, name: str, *args: str) -> None:
        done = subprocess.run(
            ["git", "hook", "run", "--ignore-missing", name, "--", *args],
            cwd=self._repository.top,
            env={**callers_environment(), "GIT_INDEX_FILE": str(self._index), "GIT_EDITOR": ":"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise HookRefused(name, done.stdout.decode("utf-8", "replace").strip(), self._task)
