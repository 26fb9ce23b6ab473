"""The prompt is a command: `/bin/bash -c`, its output as it comes, its exit code as the outcome."""

from __future__ import annotations

import asyncio
import codecs
import os
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Literal

from remote_claude.runner.agents.base import STOPPED, AgentResult, Emit, Job
from remote_claude.runner.agents.processes import end_descendants
from remote_claude.runner.frames import MAX_TEXT, Output
from remote_claude.runner.pipes import reading

LINE_S = 0.1
"""How long an unfinished line waits for its end."""
IDLE_S = 1.0


class ShellAgent:
    name: ClassVar[str] = "shell"

    async def run(self, job: Job, emit: Emit, stop: asyncio.Event) -> AgentResult:
        if "\0" in job.prompt:
            return AgentResult(
                outcome="failed", reason="agent_failed", text="a command cannot hold a NUL character"
            )
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group, _pipe() as (out, out_end), _pipe() as (err, err_end):
            try:
                process = await asyncio.create_subprocess_exec(
                    *("/bin/bash", "-c", job.prompt),
                    stdin=DEVNULL,
                    stdout=out_end,
                    stderr=err_end,
                    cwd=job.workspace,
                    start_new_session=True,
                )
            except OSError as error:
                return AgentResult(outcome="failed", reason="agent_unavailable", text=f"no shell: {error}")
            finally:
                os.close(out_end)
                os.close(err_end)
            streams = {
                group.create_task(_stream("stdout", out, emit, over)),
                group.create_task(_stream("stderr", err, emit, over)),
            }
            ended = group.create_task(process.wait())
            stopped = group.create_task(stop.wait())
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            # What it left in the background holds the pipes open, and is over with it.
            await end_descendants()
            code = await ended
            over.set()
            stopped.cancel()
            await asyncio.wait(streams)
        if stop.is_set():
            return STOPPED
        if code == 0:
            return AgentResult(outcome="succeeded", text="exit 0", exit_code=0)
        exit_code = code if code > 0 else 128 - code
        return AgentResult(
            outcome="failed", reason="agent_exited", text=f"exit {exit_code}", exit_code=exit_code
        )


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """A pipe of our own, its writing end for the child. With asyncio's, some Pythons wait for it to close, too."""
    ours, theirs = os.pipe()
    async with reading(ours) as reader:
        yield reader, theirs


async def _stream(
    name: Literal["stdout", "stderr"], pipe: asyncio.StreamReader, emit: Emit, over: asyncio.Event
) -> None:
    """Whole lines as they come; an unfinished one when it has waited, or has filled a frame.

    Ends with the pipe; or when it is over, and whoever still holds the pipe says nothing more.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    waiting, ended = "", False
    while not ended:
        try:
            async with asyncio.timeout(LINE_S if waiting else IDLE_S):
                chunk = await pipe.read(MAX_TEXT)
        except TimeoutError:
            whole, waiting, ended = waiting, "", over.is_set()
        else:
            ended = not chunk
            waiting += decoder.decode(chunk, final=ended)
            end = len(waiting) if ended or len(waiting) >= MAX_TEXT else waiting.rfind("\n") + 1
            whole, waiting = waiting[:end], waiting[end:]
        if whole:
            await emit(Output(stream=name, text=whole))
