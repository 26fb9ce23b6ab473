"""What a task costs in fsyncs: of the broker and of every PostgreSQL process of an embedded stack, which is durable.

No-op tasks go through the HTTP API, 1,000 and 64 in flight, each until its result can be read, while strace counts the
calls of fsync and fdatasync. (The services call neither.) Which files they were for goes to the terminal.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import uvloop
from noop_tasks import load_on
from readings import Reading, at_most

from product import Product, product

PATIENT = {  # strace makes everything slow
    "RCLAUDE_RUNNER_SLOTS": "2000",
    "RCLAUDE_GATEWAY_POSITION_WAIT_S": "60",
    "RCLAUDE_GATEWAY_LOG_WAIT_S": "60",
    "RCLAUDE_GATEWAY_ADMISSION_WAIT_S": "60",
}
TASKS = {1000: 5_000, 64: 2_000}
GOALS = {1000: 0.1, 64: 0.5}
SERVERS = ("nats", "postgres")
CALL = re.compile(r"^(\d+) +(?:fsync|fdatasync)\(\d+(?:<(.*?)>)?", re.MULTILINE)


def measure() -> Iterator[Reading]:
    """Of 1,000 in flight, then of 64."""
    if shutil.which("strace") is None:
        sys.exit("counting fsyncs needs strace: apt-get install strace")
    with product(PATIENT) as stack:
        uvloop.run(run(stack, 500, 64))  # warm
        for in_flight, tasks in TASKS.items():
            with TemporaryDirectory() as folder:
                calls, seconds = counted(stack, tasks, in_flight, Path(folder) / "calls")
            total = calls.total()
            print(f"{in_flight} in flight, {tasks / seconds:.0f} tasks/s under strace:", file=sys.stderr)
            for (server, file), count in calls.most_common(12):
                print(f"{count:8} {count / tasks:.4f} a task  {server:9} {file}", file=sys.stderr)
            yield at_most(
                figure=3, what=f"fsyncs a task, {in_flight:,} in flight", value=total / tasks,
                limit=GOALS[in_flight], unit="fsyncs",
            )  # fmt: skip


async def run(stack: Product, tasks: int, in_flight: int) -> float:
    async with load_on(stack) as load:
        return await load.run(tasks, in_flight)


def counted(stack: Product, tasks: int, in_flight: int, out: Path) -> tuple[Counter[tuple[str, str]], float]:
    """Calls by server and file while the tasks run, and how long they took."""
    servers = {pid: name for name in SERVERS for pid in family(stack.stack_file()["pids"][name])}
    pids = [argument for pid in servers for argument in ("-p", str(pid))]
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync", "-o", str(out), *pids]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr is not None
        for _ in servers:
            assert "attached" in strace.stderr.readline()
        seconds = uvloop.run(run(stack, tasks, in_flight))
        strace.send_signal(signal.SIGINT)
        strace.communicate()
    threads = {thread.id: name for pid, name in servers.items() for thread in psutil.Process(pid).threads()}
    found = CALL.findall(out.read_text())
    return Counter((threads.get(int(thread), "postgres"), place(file)) for thread, file in found), seconds


def family(pid: int) -> list[int]:
    process = psutil.Process(pid)
    return [pid, *(child.pid for child in process.children(recursive=True))]


def place(file: str) -> str:
    """The last folders, without what differs from file to file."""
    parts = file.split("/")[-3:]
    return re.sub(r"(?<=batches/).*|[0-9A-F]{24}|\d+", "*", "/".join(parts))
