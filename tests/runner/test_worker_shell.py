"""The shell agent in a real worker process, over a real socket."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from remote_claude.runner.sessions import WorkerLost
from remote_claude.worker.main import EXIT_LEASE_LOST, EXIT_USAGE
from remote_claude.worker.protocol import frames
from repositories import Repo, Sandbox, git_home
from workers import Stored, task, worker


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def test_command_succeeds_and_its_output_arrives_in_order() -> None:
    stored = Stored()
    async with worker(task("echo one; echo two >&2; echo three"), stored) as one:
        result = await one.result()
        assert await one.exit_code() == 0
    assert (result.outcome, result.exit_code, result.reason) == ("succeeded", 0, None)
    assert stored.text() == "one\nthree\n"
    assert stored.text("stderr") == "two\n"
    assert [frame["phase"] for frame in stored.of("status")] == ["preparing", "running"]
    assert stored.frames[-1]["kind"] == "result"
    for frame in stored.frames:
        assert frames.plain(msgspec.convert(frame, frames.Frame)) == frame


async def test_nonzero_exit_has_failed() -> None:
    stored = Stored()
    async with worker(task("echo no; exit 7"), stored) as one:
        result = await one.result()
    assert (result.outcome, result.exit_code, result.reason) == ("failed", 7, "agent_exited")
    assert stored.of("result")[0]["outcome"] == "failed"


async def test_death_by_signal_has_a_shells_exit_code() -> None:
    async with worker(task("kill -SEGV $$"), Stored()) as one:
        assert (await one.result()).exit_code == 128 + signal.SIGSEGV


async def test_a_command_with_a_nul_is_refused_with_a_sentence() -> None:
    async with worker(task("echo a\0b"), Stored()) as one:
        result = await one.result()
    assert result.reason == "agent_failed"
    assert "NUL" in result.summary


async def test_an_unknown_agent_is_refused_with_a_sentence() -> None:
    async with worker(task("hello", agent="copilot"), Stored()) as one:
        result = await one.result()
    assert result.reason == "agent_unavailable"
    assert "there are claude, codex, gemini, opencode, shell" in result.summary


async def test_broken_utf8_becomes_replacement_characters() -> None:
    stored = Stored()
    # A character in two writes arrives whole; one that never ends does not break what follows.
    command = r"printf 'a\xff\xc3'; sleep 0.3; printf '\xa9b\n'; printf '\xe2\x82'"
    async with worker(task(command), stored) as one:
        assert (await one.result()).outcome == "succeeded"
    assert stored.text() == "a\N{REPLACEMENT CHARACTER}éb\n\N{REPLACEMENT CHARACTER}"


async def test_terminal_escapes_and_control_characters_stay_data() -> None:
    stored = Stored()
    hostile = "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x1b[0m\r\b\x00\u202e"
    async with worker(
        task(r"printf '\e[2J\e]0;owned\a\e[31mred\e[0m\r\b\0\u202e'"), stored, env={"LC_ALL": "C.UTF-8"}
    ) as one:
        await one.result()
    assert stored.text() == hostile


async def test_unfinished_line_is_shown_before_its_end() -> None:
    stored = Stored()
    async with worker(task("printf 'password: '; sleep 60"), stored) as one:
        await stored.until_text("password: ")
        await one.session.stop("cancelled")
        await one.result()


async def test_large_output_arrives_whole_while_the_store_is_slow() -> None:
    waiting = asyncio.Event()
    stored = Stored()
    largest = 0

    async def slow(first: int, some: list[dict[str, Any]]) -> None:
        nonlocal largest
        largest = max(largest, sum(len(f.get("text", "")) for f in some))
        if first > 1 and not waiting.is_set():  # the first output: let the worker run into its window
            await waiting.wait()
        await stored(first, some)

    async with worker(
        task("seq -f 'line %.0f: the quick brown fox jumps over the lazy dog' 100000"), slow
    ) as one:
        await one.session.connected.wait()
        memory = psutil.Process(one.process.pid)
        peak = 0
        for _ in range(20):
            await one.session.renew(10.0)
            await asyncio.sleep(0.05)
            peak = max(peak, memory.memory_info().rss)
        assert not one.session.result.done()
        waiting.set()
        assert (await one.result()).outcome == "succeeded"
    lines = stored.text().splitlines()
    assert len(lines) == 100_000
    assert lines[-1].startswith("line 100000:")
    assert all(lines[n].startswith(f"line {n + 1}:") for n in range(0, 100_000, 997))
    assert len(stored.frames) < 500, "lines are coalesced"
    assert largest <= 512 * 1024
    assert peak < 120 * 1024 * 1024


async def test_many_small_writes_are_coalesced() -> None:
    stored = Stored()
    command = "for i in $(seq 20000); do echo $i; done"
    async with worker(task(command), stored) as one:
        await one.result()
    assert stored.text() == "".join(f"{n}\n" for n in range(1, 20_001))
    assert len(stored.frames) < 2_000


async def test_stop_ends_the_whole_process_tree() -> None:
    stored = Stored()
    command = "setsid sleep 1234 & (trap '' TERM; sleep 1235 & wait) & echo started; wait"
    async with worker(task(command), stored) as one:
        await stored.until_text("started")
        children = psutil.Process(one.process.pid).children(recursive=True)
        assert len(children) >= 3
        await one.session.stop("cancelled")
        result = await one.result()
        assert (result.outcome, result.reason) == ("failed", "stopped")
        assert await one.exit_code() == 0
        assert not [child for child in children if alive(child)]


async def test_background_process_does_not_hold_up_the_end() -> None:
    async with worker(task("(setsid sleep 1236 &) ; echo done"), Stored()) as one:
        assert (await one.result()).outcome == "succeeded"


async def test_worker_not_renewed_for_a_lease_ends_its_agent_and_itself() -> None:
    stored = Stored()
    async with worker(task("echo started; sleep 1237", lease_s=1.0), stored) as one:
        await stored.until_text("started")
        children = psutil.Process(one.process.pid).children(recursive=True)
        assert await one.exit_code() == EXIT_LEASE_LOST
        assert not [child for child in children if alive(child)]
        with pytest.raises(WorkerLost):
            await one.session.result


async def test_a_worker_that_can_not_reach_its_runner_any_more_says_why() -> None:
    stored = Stored()
    async with worker(task("echo started; sleep 1237", lease_s=1.0), stored, through_relay=True) as one:
        await stored.until_text("started")
        (one.folder / "runner.sock").unlink()
        assert one.relay is not None
        one.relay.cut()
        assert await one.exit_code() == EXIT_LEASE_LOST
        assert b"worker: not renewed for 1 s: [Errno 2] No such file or directory" in await one.stderr


async def test_a_worker_goes_on_for_as_long_as_its_last_lease() -> None:
    stored = Stored()
    async with worker(task("echo started; sleep 1237", lease_s=60.0), stored) as one:
        await stored.until_text("started")
        await one.session.renew(0.5)
        assert await one.exit_code() == EXIT_LEASE_LOST


async def test_lease_is_kept_up_while_files_are_on_their_way(tmp_path: Path) -> None:
    with git_home(tmp_path / "home"):
        repo = Repo.init(tmp_path / "project").write({"large": os.urandom(8 << 20)})
        repo.commit("first")
        Sandbox(tmp_path).send(repo)
    command = "head -c 8000000 /dev/urandom > other"
    sent, limit = tmp_path / "sent.bundle", 32 << 20
    async with worker(task(command, lease_s=20.0), Stored(), bundle=sent, max_blob_bytes=limit) as one:
        while not one.session.result.done():
            await one.session.renew(20.0)
            await asyncio.sleep(0)
        result = await one.session.result
    assert (result.outcome, result.reason) == ("succeeded", None)


async def test_killed_worker_is_lost_after_a_lease() -> None:
    stored = Stored()
    async with worker(task("echo started; sleep 2", lease_s=0.5), stored) as one:
        await stored.until_text("started")
        one.process.kill()
        with pytest.raises(WorkerLost):
            await one.result(renewing=False)


async def test_worker_without_token_says_how_it_is_started() -> None:
    async with worker(task("true"), Stored(), env={"RCLAUDE_WORKER_TOKEN": "", "PYTHONWARNINGS": ""}) as one:
        assert await one.exit_code() == EXIT_USAGE
        assert b"RCLAUDE_WORKER_TOKEN" in await one.stderr


async def test_token_and_sockets_are_not_in_the_agents_environment() -> None:
    stored = Stored()
    async with worker(task("env"), stored, env={"ANTHROPIC_API_KEY": "sk-ant-leaked"}) as one:
        await one.result()
        assert one.session.token not in stored.text()
    names = {line.partition("=")[0] for line in stored.text().splitlines()}
    assert {name for name in names if name.startswith("RCLAUDE")} == {
        "RCLAUDE_ARTIFACTS",
        "RCLAUDE_COMMIT_MESSAGE",
    }
    assert "ANTHROPIC" not in stored.text()


async def test_dropped_connections_leave_neither_gap_nor_duplicate() -> None:
    stored = Stored()
    command = 'for i in $(seq 60); do seq -f "$i %g" 1 400; sleep 0.02; done'
    async with worker(task(command), stored, through_relay=True, cut_every=40_000) as one:
        result = await one.result()
        assert one.relay is not None
        assert one.relay.connections > 3
    assert result.outcome == "succeeded"
    assert stored.text().splitlines() == [f"{i} {n}" for i in range(1, 61) for n in range(1, 401)]


async def test_frames_whose_acknowledgement_was_lost_are_stored_once() -> None:
    stored = Stored()
    first = asyncio.Event()

    async def store_then_cut(number: int, some: list[dict[str, Any]]) -> None:
        await stored(number, some)
        if not first.is_set() and stored.text():
            first.set()
            assert one.relay is not None
            one.relay.cut()

    async with worker(task("echo a; sleep 0.2; echo b"), store_then_cut, through_relay=True) as one:
        await one.result()
        assert one.relay is not None
        assert one.relay.connections == 2
    assert stored.text() == "a\nb\n"


async def test_store_that_fails_gets_the_frames_again() -> None:
    stored = Stored()
    failures = 2

    async def failing(first: int, some: list[dict[str, Any]]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ConnectionError("the store is away")
        await stored(first, some)

    async with worker(task("seq 1000"), failing) as one:
        assert (await one.result()).outcome == "succeeded"
    assert failures == 0
    assert stored.text().splitlines() == [str(n) for n in range(1, 1001)]


async def test_a_stop_sent_while_disconnected_is_followed_after_the_reconnect() -> None:
    stored = Stored()
    async with worker(task("echo started; sleep 1238"), stored, through_relay=True) as one:
        await stored.until_text("started")
        assert one.relay is not None
        one.relay.cut()
        await one.session.stop("cancelled")
        assert (await one.result()).reason == "stopped"


async def test_a_fault_of_the_worker_is_a_failure_with_a_sentence_and_no_lost_sandbox(tmp_path: Path) -> None:
    bundle = tmp_path / "source.bundle"
    bundle.write_bytes(b"no bundle")
    stored = Stored()
    async with worker(task("true", repository=True, branch="no\0branch"), stored, bundle=bundle) as one:
        result = await one.result()
        assert await one.exit_code() == 0
    assert (result.outcome, result.reason) == ("failed", "worker_failed")
    assert "a fault of Remote Claude in the sandbox: ValueError: embedded null byte" in result.summary


async def test_a_command_may_begin_with_a_dash() -> None:
    stored = Stored()
    async with worker(task("--no-such-program || printf %s went-on"), stored) as one:
        assert (await one.result()).outcome == "succeeded"
    assert stored.text() == "went-on"
