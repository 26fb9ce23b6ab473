"""The prompt is a command: `/bin/bash -c`, its output as it comes, its exit code as the outcome."""

from __future__ import annotations

import asyncio
import codecs
from asyncio.subprocess import DEVNULL, PIPE
from typing import ClassVar, Literal

from remote_claude.runner.agents.base import STOPPED, AgentResult, Emit, Job
from remote_claude.runner.agents.processes import end_descendants
from remote_claude.runner.frames import MAX_TEXT, Output

LINE_S = 0.1
"""How long an unfinished line waits for its end."""


class ShellAgent:
    name: ClassVar[str] = "shell"

    async def run(self, job: Job, emit: Emit, stop: asyncio.Event) -> AgentResult:
        if "\0" in job.prompt:
            return AgentResult(
                outcome="failed", reason="agent_failed", text="a command cannot hold a NUL character"
            )
        process = await asyncio.create_subprocess_exec(
            "/bin/bash", "-c", job.prompt, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=job.workspace, start_new_session=True
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(_stream("stdout", process.stdout, emit))
            group.create_task(_stream("stderr", process.stderr, emit))
            ended = group.create_task(process.wait())
            stopped = group.create_task(stop.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            # What it left in the background holds the pipes open, and is over with it.
            await end_descendants()
            code = await ended
            stopped.cancel()
        if stop.is_set():
            return STOPPED
        if code == 0:
            return AgentResult(outcome="succeeded", text="exit 0", exit_code=0)
        exit_code = code if code > 0 else 128 - code
        return AgentResult(
            outcome="failed", reason="agent_exited", text=f"exit {exit_code}", exit_code=exit_code
        )


async def _stream(name: Literal["stdout", "stderr"], pipe: asyncio.StreamReader, emit: Emit) -> None:
    """Whole lines as they come; an unfinished one when it has waited, or has filled a frame."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    waiting, ended = "", False
    while not ended:
        try:
            async with asyncio.timeout(LINE_S if waiting else None):
                chunk = await pipe.read(MAX_TEXT)
        except TimeoutError:
            whole, waiting = waiting, ""
        else:
            ended = not chunk
            waiting += decoder.decode(chunk, final=ended)
            end = len(waiting) if ended or len(waiting) >= MAX_TEXT else waiting.rfind("\n") + 1
            whole, waiting = waiting[:end], waiting[end:]
        if whole:
            await emit(Output(stream=name, text=whole))
