"""The prompt is a command: `/bin/bash -c`, its output as it comes, its exit code as the outcome.

A message to the running task is the next command. A turn is one command.
"""

from __future__ import annotations

import asyncio
import codecs
import os
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Literal

from remote_claude.worker.agents.base import STOPPED, AgentResult, Emit, Job, Turns
from remote_claude.worker.agents.processes import end_descendants
from remote_claude.worker.first_of import first_of
from remote_claude.worker.pipes import reading
from remote_claude.worker.protocol.frames import MAX_TEXT, Output, UserMessage

LINE_S = 0.1
"""How long an unfinished line waits for its end."""
IDLE_S = 1.0
INTERRUPTED = 130
"""Exit code of a command that a person has interrupted, as a shell has it."""


class ShellAgent:
    name: ClassVar[str] = "shell"

    async def run(self, job: Job, turns: Turns, emit: Emit, stop: asyncio.Event) -> AgentResult:
        """The commands in turn; the last one decides the outcome."""
        if turns.restored is None or job.continues:
            ended = await self._turn(job.prompt, job, turns, emit, stop)
        else:
            ended = _of_exit(turns.restored["exit_code"])
        while ended is not STOPPED and not turns.messages.empty():
            await turns.ended({"exit_code": ended.exit_code})
            message = turns.messages.get_nowait()
            await emit(UserMessage(text=message.text))
            ended = await self._turn(message.text, job, turns, emit, stop)
        if ended is not STOPPED:
            await turns.ended({"exit_code": ended.exit_code})
        return ended

    async def _turn(
        self, command: str, job: Job, turns: Turns, emit: Emit, stop: asyncio.Event
    ) -> AgentResult:
        """One command, until it ends or is interrupted."""
        over = asyncio.Event()
        turns.interrupted.clear()
        watched = [asyncio.create_task(event.wait()) for event in (stop, turns.interrupted)]
        for task in watched:
            task.add_done_callback(lambda done: None if done.cancelled() else over.set())
        try:
            ended = await run_command(command, job, emit, over)
        finally:
            for task in watched:
                task.cancel()
        if ended is STOPPED and not stop.is_set():
            return AgentResult(
                outcome="failed", reason="agent_exited", text="interrupted", exit_code=INTERRUPTED
            )
        return ended


async def run_command(command: str, job: Job, emit: Emit, stop: asyncio.Event) -> AgentResult:
    """One command by bash, to its end; nothing that it started is left."""
    if "\0" in command:
        return AgentResult(
            outcome="failed", reason="agent_failed", text="a command cannot hold a NUL character"
        )
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group, _pipe() as (out, out_end), _pipe() as (err, err_end):
        try:
            process = await asyncio.create_subprocess_exec(
                *("/bin/bash", "-c", "--", command),
                stdin=DEVNULL,
                stdout=out_end,
                stderr=err_end,
                cwd=job.workspace,
                env={**os.environ, **job.environment},
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
        await first_of(ended, stop.wait())
        # What it left in the background holds the pipes open, and is over with it.
        await end_descendants()
        code = await ended
        over.set()
        await asyncio.wait(streams)
    if stop.is_set():
        return STOPPED
    return _of_exit(code if code >= 0 else 128 - code)


def _of_exit(code: int | None) -> AgentResult:
    if code == 0:
        return AgentResult(outcome="succeeded", text="exit 0", exit_code=0)
    return AgentResult(outcome="failed", reason="agent_exited", text=f"exit {code}", exit_code=code)


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

    Ends with the pipe; or when it is over, and nothing more comes from those that still hold the pipe.
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
