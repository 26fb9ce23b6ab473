"""Pushes a result to its branch, from a bundle, outside of every sandbox. Never by force, and to no other branch."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from remote_claude.outbound.forges import Forge
from remote_claude.runner.forges.client import MAX_MESSAGE, ForgeFailed, connect_hint
from remote_claude.runner.forges.pushed_commit import finished_commit
from remote_claude.worker.git import GitFailed, environment, git

TOKEN = "RCLAUDE_FORGE_TOKEN"  # noqa: S105 - the name of a variable
_REFUSED = re.compile(
    r"could not read (Username|Password)|Authentication failed|returned error: 401", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"Permission to .* denied|returned error: 403", re.IGNORECASE)
_MISSING = re.compile(r"not found|returned error: 404", re.IGNORECASE)
_REJECTED = re.compile(r"\[(?:remote )?rejected\]|pre-receive hook declined|refusing to allow", re.IGNORECASE)


_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
WORKFLOWS = re.compile(
    r"\.(?:github|gitea|forgejo)/workflows/|\.gitlab-ci\.ya?ml$|bitbucket-pipelines\.yml$|azure-pipelines[^/]*\.ya?ml$"
    r"|\.circleci/|Jenkinsfile$"
)
"""Files that a forge runs, with the secrets of the repository."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What Git signs in with at a forge, and nowhere else."""

    forge: Forge
    user: str
    token: str

    @property
    def settings(self) -> tuple[str, ...]:
        """Git settings by which it takes the token from the environment, for this scheme and host only."""
        helper = (
            f'!f() {{ test "$1" = get && printf "username={self.user}\\npassword=%s\\n" "${TOKEN}"; }}; f'
        )
        return ("credential.helper=", f"credential.{self.forge.url}.helper={helper}")


async def push(
    url: str,
    credential: Credential,
    *,
    bundle: Path,
    base: str | None,
    commit: str,
    branch: str,
    folder: Path,
    follows: bool = False,
    workflows: bool = False,
    signing_key: str | None = None,
) -> tuple[str, str]:
    """Push `commit`, which `bundle` holds on top of `base`, as `branch`. Once it is there, again changes nothing.

    With `follows`, the branch that is there gets one commit more, with the files of `commit`. Without `workflows`, a
    change to a file that the forge would run is refused. `signing_key` is a private key in OpenSSH's format.

    `folder` is empty, and nobody else's. Returns the id and the subject of the pushed commit. Raises `ForgeFailed`.
    """
    if not all(_OID.fullmatch(id) for id in (commit, base or commit)):
        raise ForgeFailed("push_refused", "The result names a commit that is none.")
    env = environment(folder) | {
        "GIT_DIR": str(folder / "git"),
        "GIT_ALLOW_PROTOCOL": "https:http",
        TOKEN: credential.token,
    }
    settings = (*credential.settings, "http.followRedirects=initial", "protocol.version=2")

    async def raw(*args: str | Path, stdin: bytes = b"") -> bytes:
        return await git(*args, cwd=folder, env=env, settings=settings, stdin=stdin)

    async def run(*args: str | Path) -> str:
        return (await raw(*args)).decode("utf-8", "replace")

    try:
        await run("init", "--quiet", "--bare", "--template=")
        if base is not None:
            await run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", url, base)
        await run("bundle", "unbundle", bundle)
        changed = await run("diff-tree", "-r", "-z", "--name-only", base, commit) if base is not None else ""
        if not workflows and (files := sorted({p for p in changed.split("\0") if WORKFLOWS.match(p)})):
            raise ForgeFailed(
                "workflow_refused",
                f"The result changes {files[0]}, which the forge would run with the repository's secrets. Look at it with "
                "`rclaude diff TASK`; a task that may do so is submitted with --workflows.",
            )
        tip = await _tip(run, url, branch) if follows or signing_key is not None else None
        if tip is None or not await _same_files(run, tip, commit):
            parent = tip if follows else None
            commit = await finished_commit(raw, commit, parent=parent, signing_key=signing_key)
        else:
            commit = tip
        await run("push", "--quiet", "--no-verify", url, f"{commit}:refs/heads/{branch}")
        return commit, (await run("log", "-1", "--format=%s", commit)).strip()
    except ValueError as error:
        raise ForgeFailed(
            "signing_key_unusable",
            f"The organisation's signing key can't sign: {error}. Make another: `rclaude org signing-key create`.",
        ) from error
    except GitFailed as error:
        raise _explained(error, branch, connect_hint(credential.forge.name)) from error


async def _tip(run: Callable[..., Awaitable[str]], url: str, branch: str) -> str | None:
    """The branch as the forge has it; None if it has none."""
    ref = f"refs/heads/{branch}"
    if not await run("ls-remote", url, ref):
        return None
    await run("fetch", "--quiet", "--no-tags", "--depth=1", url, f"+{ref}:refs/rclaude/tip")
    return (await run("rev-parse", "refs/rclaude/tip")).strip()


async def _same_files(run: Callable[..., Awaitable[str]], one: str, other: str) -> bool:
    return await run("rev-parse", f"{one}^{{tree}}") == await run("rev-parse", f"{other}^{{tree}}")


def _explained(error: GitFailed, branch: str, hint: str) -> ForgeFailed:
    words = re.sub(r"[^\x20-\x7e]+", " ", error.stderr).strip()[-MAX_MESSAGE:]
    if _REFUSED.search(error.stderr):
        return ForgeFailed("forge_token_refused", f"The forge refused the token at the push. {hint}")
    if _REJECTED.search(error.stderr):
        return ForgeFailed(
            "push_rejected",
            f"The forge does not take the branch {branch}: {words}. Correct what it names, then `rclaude pr TASK`.",
        )
    if _FORBIDDEN.search(error.stderr):
        return ForgeFailed("forge_forbidden", f"The token may not push to this repository. {hint}")
    if _MISSING.search(error.stderr):
        return ForgeFailed(
            "forge_not_found", f"There is no such repository, or the token can't see it. {hint}"
        )
    return ForgeFailed(
        "forge_unreachable", f"The push failed: {words}. Try again: `rclaude pr TASK`.", passing=True
    )
