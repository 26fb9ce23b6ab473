"""The message of the commit: what the agent wrote, otherwise what has changed. The prompt is not in it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from pathlib import Path

from remote_claude.worker.protocol.messages import Assignment

FILE = "commit-message"
VARIABLE = "RCLAUDE_COMMIT_MESSAGE"
"""Names a file: what the agent writes there is the message."""
SUBJECT, WIDTH = 72, 100
MAX_BODY = 4_000
MAX_FILE = 64 * 1024
NAMED = 3
AGENT = ("Remote Claude", "agent@remote-claude.invalid")


def read(path: Path) -> str:
    """What the agent wrote; empty if it wrote nothing that can be read."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE).decode("utf-8", "replace")
    except OSError:
        return ""


def message(assignment: Assignment, said: str, changed: Sequence[str]) -> str:
    """The subject, the body, and who did it. `said` is what the agent says it has done, `changed` are paths."""
    subject, body = _parts(said)
    trailers = [f"Rclaude-Task: {assignment.task}", f"Rclaude-Agent: {assignment.agent}"]
    if (assignment.author_name, assignment.author_email) != AGENT:
        trailers.append(f"Co-authored-by: {AGENT[0]} <{AGENT[1]}>")
    return "\n\n".join(filter(None, (subject or _of_paths(changed), body, "\n".join(trailers)))) + "\n"


def _parts(said: str) -> tuple[str, str]:
    """Subject and body. What is too long for a subject is whole in the body."""
    lines = re.sub(r"[^\S\n]+", " ", said.replace("\0", "")).strip().splitlines()
    if not lines:
        return "", ""
    first = lines[0].strip().lstrip("#*- ").replace("**", "").replace("`", "").rstrip(".: ")
    rest = "\n".join(lines[1:]).strip()
    if len(first) <= SUBJECT:
        return first, _wrapped(rest)
    return textwrap.shorten(first, SUBJECT, placeholder="..."), _wrapped(f"{lines[0].strip()}\n\n{rest}")


def _wrapped(text: str) -> str:
    text = text.strip()[:MAX_BODY]
    lines = (
        textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join(line if not line.startswith("#") else f" {line}" for line in lines)


def _of_paths(changed: Sequence[str]) -> str:
    names = ", ".join(changed[:NAMED])
    more = f" and {len(changed) - NAMED} more" if len(changed) > NAMED else ""
    return textwrap.shorten(f"Change {names}{more}", SUBJECT, placeholder="...")
