"""The result of an attempt as its worker sends it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from remote_claude.worker.protocol import frames
from remote_claude.worker.protocol import messages as protocol
from remote_claude.worker.protocol.codec import Malformed
from remote_claude.worker.protocol.messages import MAX_CHECKS, MAX_COMMAND, Finished

MAX_SUMMARY = frames.MAX_TEXT
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerResult:
    """The result that the worker sent: checked for form, not for truth."""

    outcome: Literal["succeeded", "failed"]
    summary: str
    exit_code: int | None = None
    reason: str | None = None
    base: str | None = None
    sent: str | None = None
    commit: str | None = None
    detail: str | None = None
    messages: int | None = None
    checks: tuple[tuple[str, int], ...] = ()
    """Commands of the repository that have run on the result, with their exit codes."""
    written: str = ""
    """What the agent says it has done."""
    bundle: Path | None = None
    patch: Path | None = None
    artifacts: Path | None = None


def checked_result(finished: Finished, files: Mapping[str, Path]) -> WorkerResult:
    """The result, with the files that came before it, by name. Raises `Malformed`."""
    for commit in (finished.base, finished.sent, finished.commit):
        if commit is not None and not _COMMIT.fullmatch(commit):
            raise Malformed("a commit is 40 or 64 hexadecimal digits")
    if finished.reason is not None and not _REASON.fullmatch(finished.reason):
        raise Malformed("a reason is a short code")
    if frames.size(finished.summary) > MAX_SUMMARY:
        raise Malformed("the summary is too long")
    if finished.detail is not None and len(finished.detail) > protocol.MAX_DETAIL:
        raise Malformed("the detail is too long")
    return WorkerResult(
        outcome=finished.outcome,
        summary=finished.summary.replace("\0", "\ufffd"),
        exit_code=finished.exit_code,
        reason=finished.reason,
        base=finished.base,
        sent=finished.sent,
        commit=finished.commit,
        detail=finished.detail.replace("\0", "\ufffd") if finished.detail else None,
        messages=finished.messages,
        checks=tuple(
            (check.command.replace("\0", "\ufffd")[:MAX_COMMAND], check.exit_code)
            for check in finished.checks[:MAX_CHECKS]
        ),
        written=finished.written.replace("\0", "\ufffd")[: protocol.MAX_SUMMARY],
        bundle=files.get(protocol.RESULT_BUNDLE),
        patch=files.get(protocol.CHANGES_PATCH),
        artifacts=files.get(protocol.ARTIFACTS),
    )
