"""Pipes are read on either event loop, no further ahead than wanted, and closed once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from remote_claude.worker.pipes import CHUNK, reading

ON = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.fixture(params=ON)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return ON[request.param]


def test_what_is_written_arrives_whole_and_ends(run: Callable[..., Any]) -> None:
    sent = os.urandom(3_000_000)

    async def scenario() -> bytes:
        ours, theirs = os.pipe()
        async with reading(ours) as reader:

            def write() -> None:
                with os.fdopen(theirs, "wb") as file:
                    file.write(sent)

            writing = asyncio.create_task(asyncio.to_thread(write))
            received = await reader.read()
            await writing
            return received

    assert run(scenario()) == sent


def test_a_reader_that_takes_nothing_keeps_the_writer_waiting(run: Callable[..., Any]) -> None:
    async def scenario() -> int:
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        written = refused = 0
        async with reading(ours):
            while refused < 20:
                try:
                    written += os.write(theirs, bytes(CHUNK))
                    refused = 0
                except BlockingIOError:
                    refused += 1
                await asyncio.sleep(0)
        os.close(theirs)
        return written

    assert run(scenario()) < 8 * CHUNK


def test_files_that_threads_open_meanwhile_stay_open(run: Callable[..., Any]) -> None:
    over, lost = threading.Event(), list[OSError]()

    def open_and_look() -> None:
        while not over.is_set():
            fd = os.open(os.devnull, os.O_RDONLY)
            try:
                os.fstat(fd)
                os.close(fd)
            except OSError as error:
                lost.append(error)

    async def scenario() -> None:
        threads = [asyncio.create_task(asyncio.to_thread(open_and_look)) for _ in range(3)]
        for _ in range(3000):
            ours, theirs = os.pipe()
            async with reading(ours) as reader:
                os.close(theirs)
                assert await reader.read() == b""
            if lost:
                break
        over.set()
        await asyncio.gather(*threads)

    run(scenario())
    assert not lost
