"""Sessions of Claude Code on this machine: found, packed for a task, and put back.

Claude Code keeps a session as JSON Lines in `projects/<folder>/<session>.jsonl` below its configuration folder, where
`<folder>` is the working directory with a dash for every character that is no letter or digit.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from pathlib import Path
from uuid import UUID

from remote_claude.cli.errors import CliError, Exit

WORKSPACE = "/workspace"
"""Where a task works. The lines of its conversation name that folder."""
MAX_TRANSCRIPT = 64 * 1024 * 1024


def sessions(folder: Path) -> Path:
    """Where Claude Code keeps the sessions of a working directory."""
    configuration = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    return configuration / "projects" / _encoded(str(folder.resolve()))


def newest(folder: Path, session: str | None = None) -> Path:
    """The transcript of a session of this folder, the newest if none is named. Raises `CliError`."""
    place = sessions(folder)
    if session is not None:
        found = [place / f"{session}.jsonl"] if (place / f"{session}.jsonl").is_file() else []
    else:
        found = sorted(place.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not found:
        which = f"session {session}" if session else "session"
        raise CliError(
            f"Claude Code has no {which} of {folder} ({place}): start one with `claude` in this folder, "
            "or use `rclaude run`",
            Exit.USAGE,
            code="session_missing",
        )
    if found[-1].stat().st_size > MAX_TRANSCRIPT:
        raise CliError(
            f"{found[-1]} is over 64 MiB: too large to be handed over", Exit.USAGE, code="session_too_large"
        )
    return found[-1]


def pack(transcript: Path) -> bytes:
    """A checkpoint with this conversation alone, as a tar archive."""
    state = {"turn": 0, "messages": 0, "agent": {"session": transcript.stem, "done": True, "text": ""}}
    folder = f"home/.claude/projects/{_encoded(WORKSPACE)}"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "state.json", json.dumps(state).encode())
        _add(tar, f"{folder}/{transcript.name}", transcript.read_bytes())
    return out.getvalue()


def unpack(checkpoint: bytes, folder: Path) -> str:
    """Put the conversation of a checkpoint among the sessions of a folder; the session's id. Raises `CliError`."""
    with tarfile.open(fileobj=io.BytesIO(checkpoint)) as tar:
        state = tar.extractfile("state.json")
        assert state is not None
        session = json.loads(state.read())["agent"].get("session")
        if session is None:
            raise CliError("the task's agent keeps no conversation", Exit.USAGE, code="session_missing")
        session = str(UUID(session))  # it names a file here
        name = re.compile(rf"home/\.claude/projects/[^/]+/{session}\.jsonl")
        member = next((one for one in tar if one.isreg() and name.fullmatch(one.name)), None)
        content = tar.extractfile(member) if member is not None else None
        if content is None:
            raise CliError("the checkpoint lacks its conversation", Exit.FAILED, code="session_missing")
        lines = content.read().decode().splitlines()
    place = sessions(folder)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = place / f"{session}.jsonl"
    part = target.with_suffix(".part")
    part.write_text("".join(f"{_here(line, folder)}\n" for line in lines))
    part.chmod(0o600)
    part.replace(target)
    return session


def _here(line: str, folder: Path) -> str:
    """A line of a conversation, of this folder instead of the task's."""
    try:
        entry = json.loads(line)
    except ValueError:
        return line
    if isinstance(entry, dict) and entry.get("cwd") == WORKSPACE:
        entry["cwd"] = str(folder.resolve())
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    return line


def _encoded(folder: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "-", folder)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    tar.addfile(member, io.BytesIO(content))
