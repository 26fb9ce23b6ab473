"""Permission requests of an agent, as its worker sends them: frames of the output that become events."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from remote_claude.access.kek import KeyUnusable
from remote_claude.access.keyring import KeyErased, Keyring
from remote_claude.contracts.contexts import permission_context
from remote_claude.contracts.scheduler import TaskAssigned
from remote_claude.runner.domain.attempt import RequestPermission, WithdrawPermission
from remote_claude.runner.handlers import AttemptLog
from remote_claude.worker.protocol.codec import Malformed

MAX_REQUESTS = 1_000
"""Of one attempt. A worker that asks more often does not keep to the protocol."""
MAX_TOOL = 200
"""Characters of a tool's name."""


class PermissionRequests:
    """Those of one attempt."""

    def __init__(self, keyring: Keyring, assigned: TaskAssigned, attempt_log: AttemptLog) -> None:
        self._keyring, self._assigned, self._attempt_log = keyring, assigned, attempt_log
        self._id = re.compile(rf"{assigned.attempt}-[1-9][0-9]{{0,5}}")
        self._open: set[str] = set()
        self._asked: set[str] = set()

    def __bool__(self) -> bool:
        """Whether the agent waits for an answer."""
        return bool(self._open)

    async def record(self, frames: Sequence[dict[str, Any]]) -> None:
        """Record what is asked and what is withdrawn; the same frames again change nothing. Raises `Malformed`."""
        for frame in frames:
            match frame["kind"]:
                case "permission_request":
                    await self._request(frame["id"], frame["name"], frame["input"])
                case "permission_answer" if frame["id"] in self._open:
                    self._open.discard(frame["id"])
                    if frame["decision"] == "withdrawn":
                        await self._attempt_log.record(WithdrawPermission(frame["id"]))

    async def _request(self, request: str, tool: str, given: dict[str, Any]) -> None:
        if not self._id.fullmatch(request) or len(tool) > MAX_TOOL or len(self._asked) >= MAX_REQUESTS:
            raise Malformed("a permission request without a right number, or too many of them")
        try:
            key = await self._keyring.get(self._assigned.org)
        except (KeyErased, KeyUnusable):
            return
        text = json.dumps(given, ensure_ascii=False)
        sealed = key.seal(text, permission_context(self._assigned.task, request))
        await self._attempt_log.record(RequestPermission(request=request, tool=tool, input=sealed))
        self._open.add(request)
        self._asked.add(request)
