"""Pushes a result to its branch, from a bundle, outside of every sandbox. Never by force, and to no other branch."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from remote_claude.runner.forges.github import CONNECT, MAX_SAID, ForgeFailed
from remote_claude.worker.git import GitFailed, environment, git

TOKEN = "RCLAUDE_FORGE_TOKEN"  # noqa: S105 - the name of a variable
_REFUSED = re.compile(
    r"could not read (Username|Password)|Authentication failed|returned error: 401", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"Permission to .* denied|returned error: 403", re.IGNORECASE)
_MISSING = re.compile(r"not found|returned error: 404", re.IGNORECASE)
_REJECTED = re.compile(r"\[(?:remote )?rejected\]|pre-receive hook declined|refusing to allow", re.IGNORECASE)


def credential_settings(origin: str) -> tuple[str, ...]:
    """Git settings by which it takes the token from the environment, for this scheme and host only."""
    helper = f'!f() {{ test "$1" = get && printf "username=x-access-token\\npassword=%s\\n" "${TOKEN}"; }}; f'
    return ("credential.helper=", f"credential.{origin}.helper={helper}")


async def push(
    url: str,
    origin: str,
    token: str,
    *,
    bundle: Path,
    base: str | None,
    commit: str,
    branch: str,
    folder: Path,
    follows: bool = False,
) -> None:
    """Push `commit`, which `bundle` holds on top of `base`, as `branch`. Once it is there, again changes nothing.

    With `follows`, the branch that is there gets one commit more, with the files of `commit`.

    `folder` is empty, and nobody else's. Raises `ForgeFailed`.
    """
    env = environment(folder) | {
        "GIT_DIR": str(folder / "git"),
        "GIT_ALLOW_PROTOCOL": "https:http",
        TOKEN: token,
    }
    settings = (*credential_settings(origin), "http.followRedirects=initial", "protocol.version=2")

    async def run(*args: str | Path, stdin: str = "") -> str:
        out = await git(*args, cwd=folder, env=env, settings=settings, stdin=stdin.encode())
        return out.decode("utf-8", "replace")

    try:
        await run("init", "--quiet", "--bare", "--template=")
        if base is not None:
            await run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", url, base)
        await run("bundle", "unbundle", bundle)
        if follows:
            commit = await _on_top(run, url, branch, commit)
        await run("push", "--quiet", "--no-verify", url, f"{commit}:refs/heads/{branch}")
    except GitFailed as error:
        raise _explained(error, branch) from error


async def _on_top(run: Callable[..., Awaitable[str]], url: str, branch: str, commit: str) -> str:
    """The commit on top of the branch as the forge has it: the same files, message and author. The tip if it has them."""
    ref = f"refs/heads/{branch}"
    if not await run("ls-remote", url, ref):
        return commit
    await run("fetch", "--quiet", "--no-tags", "--depth=1", url, f"+{ref}:refs/rclaude/tip")
    tip = (await run("rev-parse", "refs/rclaude/tip")).strip()
    if (await run("rev-parse", f"{tip}^{{tree}}")) == (await run("rev-parse", f"{commit}^{{tree}}")):
        return tip
    header, _, message = (await run("cat-file", "commit", commit)).partition("\n\n")
    lines = [f"parent {tip}" if line.startswith("parent ") else line for line in header.split("\n")]
    made = await run(
        "hash-object", "-t", "commit", "-w", "--stdin", stdin="\n".join(lines) + "\n\n" + message
    )
    return made.strip()


def _explained(error: GitFailed, branch: str) -> ForgeFailed:
    words = re.sub(r"[^\x20-\x7e]+", " ", error.stderr).strip()[-MAX_SAID:]
    if _REFUSED.search(error.stderr):
        return ForgeFailed("forge_token_refused", f"The forge refused the token at the push. {CONNECT}")
    if _REJECTED.search(error.stderr):
        return ForgeFailed(
            "push_rejected",
            f"The forge does not take the branch {branch}: {words}. Set right what it names, then `rclaude pr TASK`.",
        )
    if _FORBIDDEN.search(error.stderr):
        return ForgeFailed("forge_forbidden", f"The token may not push to this repository. {CONNECT}")
    if _MISSING.search(error.stderr):
        return ForgeFailed(
            "forge_not_found", f"There is no such repository, or the token can't see it. {CONNECT}"
        )
    return ForgeFailed(
        "forge_unreachable", f"The push failed: {words}. Try again: `rclaude pr TASK`.", passing=True
    )
