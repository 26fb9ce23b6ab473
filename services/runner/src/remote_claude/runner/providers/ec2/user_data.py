"""What an instance does with its life: it runs one container, writes how that ended to its console, and switches itself off."""

from __future__ import annotations

import base64
import binascii
import re
import shlex

from remote_claude.runner.providers.base import SandboxExit
from remote_claude.runner.providers.clouds import Launch
from remote_claude.runner.providers.clouds.provider import KILLED

_END = re.compile(r"rclaude-output ([A-Za-z0-9+/=]*)\s+rclaude-exit (\d+) (true|false)")
_KEPT = 5000
"""Bytes of output: the console keeps 64 KiB, with the system's own messages in it."""


def script(launch: Launch, image: str) -> str:
    """For cloud-init, which runs it as root at the first boot.

    The container has a network of its own: its packets need two hops to the metadata service, which answers within one.
    """
    limits = launch.spec.limits
    options = [
        "--name=worker",
        f"--memory={limits.memory_mib}m",
        f"--memory-swap={limits.memory_mib}m",
        f"--cpus={limits.vcpu_millis / 1000}",
        f"--pids-limit={limits.processes}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        *(f"--env={name}" for name in launch.env),
    ]
    lines = [
        "#!/bin/sh",
        f"(sleep {launch.deadline_s + 600}; poweroff) &",
        "log=$(mktemp); console=${CONSOLE:-/dev/console}",
        *(f"export {name}={shlex.quote(value)}" for name, value in launch.env.items()),
        f"docker run {shlex.join([*options, image, *launch.command])} >$log 2>&1",
        "code=$?",
        "oom=$(docker inspect --format '{{.State.OOMKilled}}' worker || echo false)",
        f'echo "rclaude-output $(tail -c {_KEPT} $log | base64 -w 0)" >$console',
        'echo "rclaude-exit $code $oom" >$console',
        "poweroff",
    ]
    return "\n".join(lines) + "\n"


def ended(console: str) -> SandboxExit | None:
    """How the container ended, out of the console. Output is encoded there, so that it can't pretend to be an end."""
    found = _END.search(console)
    if found is None:
        return None
    try:
        output = base64.b64decode(found[1]).decode(errors="replace")
    except binascii.Error:
        output = ""
    code = int(found[2])
    if found[3] == "true":
        return SandboxExit(code or KILLED, "out_of_memory", output)
    return SandboxExit(code, "killed" if code == KILLED else "exited", output)
