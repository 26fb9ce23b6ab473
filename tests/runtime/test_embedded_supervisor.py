"""The supervisor, over small real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from remote_claude.runtime.embedded import Backoff, Child, ServerDidNotStart, Supervisor
from remote_claude.runtime.embedded.child_process import LOG_LIMIT


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.005)


def exists(path: Path) -> Callable[[], Awaitable[None]]:
    return lambda: until(path.exists)


def child(folder: Path, name: str, script: str, **options: object) -> Child:
    """A shell process; it is ready once it has made `<folder>/<name>.up`."""
    argv = ["/bin/sh", "-c", script.replace("UP", f"touch {folder}/{name}.up")]
    return Child(name=name, argv=argv, **({"ready": exists(folder / f"{name}.up")} | options))  # type: ignore[arg-type]


def quick() -> Backoff:
    return Backoff(first=0.01, longest=0.05)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_children_start_after_those_they_need_and_stop_in_reverse(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    script = "trap 'echo stop NAME >> DIARY; exit' TERM; echo start NAME >> DIARY; UP; while :; do sleep 0.01; done"
    children = [
        child(tmp_path, name, script.replace("NAME", name).replace("DIARY", str(diary)), after=after)
        for name, after in (("one", ()), ("two", ("one",)))
    ]
    async with Supervisor(children, log_dir=tmp_path) as supervisor:
        assert list(supervisor.pids) == ["one", "two"]
    assert diary.read_text().splitlines() == ["start one", "start two", "stop two", "stop one"]
    assert supervisor.pids == {}


async def test_children_start_side_by_side(tmp_path: Path) -> None:
    """The first is ready when the second is."""
    one = child(tmp_path, "one", "exec sleep 60", ready=exists(tmp_path / "two.up"))
    async with Supervisor([one, child(tmp_path, "two", "UP; exec sleep 60")], log_dir=tmp_path) as supervisor:
        assert sorted(supervisor.pids) == ["one", "two"]


async def test_an_early_child_runs_while_it_waits_for_others_and_goes_on_when_they_are_ready(
    tmp_path: Path,
) -> None:
    """The other is ready when the early one runs, which says first whether the other is."""
    script = f"touch {tmp_path}/runs; read _; test -e {tmp_path}/one.up && UP; exec sleep 60"
    early = child(tmp_path, "early", script, after=("one",), early=True)
    one = child(tmp_path, "one", f"while ! test -e {tmp_path}/runs; do sleep 0.01; done; UP; exec sleep 60")
    async with Supervisor([one, early], log_dir=tmp_path, backoff=quick) as supervisor:
        before = supervisor.pids["early"]
        os.kill(before, signal.SIGKILL)  # the others are there: it waits for nothing
        await until(lambda: supervisor.pids.get("early") not in (None, before))
        (tmp_path / "early.up").unlink(missing_ok=True)
        await until((tmp_path / "early.up").exists)


async def test_what_comes_first_is_done_once_and_its_failure_leaves_nothing_running(tmp_path: Path) -> None:
    done: list[str] = []
    one = child(tmp_path, "one", "UP; exec sleep 60", first=lambda: done.append("one"))
    async with Supervisor([one], log_dir=tmp_path, backoff=quick) as supervisor:
        before = supervisor.pids["one"]
        os.kill(before, signal.SIGKILL)
        await until(lambda: supervisor.pids.get("one") not in (None, before))
    assert done == ["one"]

    def fail() -> None:
        raise ServerDidNotStart("no room")

    two = child(tmp_path, "two", "UP; exec sleep 60", first=fail)
    supervisor = Supervisor([one, two], log_dir=tmp_path)
    with pytest.raises(ServerDidNotStart, match="no room"):
        await supervisor.start()
    assert supervisor.pids == {}


async def test_crashed_child_comes_back_and_others_stay(tmp_path: Path) -> None:
    seen: list[dict[str, int]] = []
    children = [child(tmp_path, name, "UP; exec sleep 60") for name in ("one", "two")]
    async with Supervisor(children, log_dir=tmp_path, on_change=seen.append, backoff=quick) as supervisor:
        before = supervisor.pids
        os.kill(before["two"], signal.SIGKILL)
        await until(lambda: supervisor.pids.get("two") not in (None, before["two"]))
        assert supervisor.pids["one"] == before["one"]
    assert [sorted(pids) for pids in seen] == [["one"], ["one", "two"], ["one"], ["one", "two"], ["one"], []]


async def test_child_that_keeps_failing_is_tried_again_until_it_holds(tmp_path: Path) -> None:
    """Up at first, then five starts fail, then up again."""
    script = f"echo x >> {tmp_path}/starts; n=$(wc -l < {tmp_path}/starts); [ $n -gt 1 ] && [ $n -lt 7 ] && exit 3; UP; exec sleep 60"
    flaky = child(tmp_path, "flaky", script)
    async with Supervisor([flaky], log_dir=tmp_path, backoff=quick) as supervisor:
        (tmp_path / "flaky.up").unlink()
        os.kill(supervisor.pids["flaky"], signal.SIGKILL)
        await until((tmp_path / "flaky.up").exists)
        assert len((tmp_path / "starts").read_text().split()) == 7


async def test_child_that_never_starts_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    good = child(tmp_path, "good", "UP; exec sleep 60")
    bad = child(tmp_path, "bad", "echo the reason; exit 3")
    supervisor = Supervisor([good, bad], log_dir=tmp_path, backoff=quick)
    with pytest.raises(
        ServerDidNotStart, match=r"bad ended with 3; the end of .*bad\.log says:\nthe reason$"
    ):
        await supervisor.start()
    assert supervisor.pids == {}


async def test_of_the_log_whole_lines_of_the_last_try_are_told(tmp_path: Path) -> None:
    (tmp_path / "bad.log").write_text("of another run\n")
    script = f"for n in 1 2 3 4 5; do echo $n {'long ' * 100}.; done; exit 3"
    with pytest.raises(ServerDidNotStart) as told:
        await Supervisor([child(tmp_path, "bad", script)], log_dir=tmp_path, backoff=quick).start()
    said = str(told.value).splitlines()[1:]
    assert [line.partition(" ")[0] for line in said] == ["3", "4", "5"]
    assert all(line.endswith("long .") for line in said)


async def test_child_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    mute = child(tmp_path, "mute", "exec sleep 60", ready_timeout=0.05)
    supervisor = Supervisor([mute], log_dir=tmp_path, backoff=quick)
    with pytest.raises(ServerDidNotStart, match=r"did not answer within 0\.05 s"):
        await supervisor.start()
    assert supervisor.pids == {}


async def test_child_that_says_itself_how_long_it_is_waited_for_is_ended_when_it_gives_up(
    tmp_path: Path,
) -> None:
    async def ready() -> None:
        raise TimeoutError("did not answer for a year")

    mute = child(tmp_path, "mute", "exec sleep 60", ready=ready, ready_timeout=None)
    supervisor = Supervisor([mute], log_dir=tmp_path, backoff=quick)
    with pytest.raises(ServerDidNotStart, match="mute did not answer for a year"):
        await supervisor.start()
    assert supervisor.pids == {}


async def test_start_that_is_called_off_leaves_nothing(tmp_path: Path) -> None:
    pids: list[int] = []
    mute = child(tmp_path, "mute", "exec sleep 60")
    supervisor = Supervisor([mute], log_dir=tmp_path, on_change=lambda now: pids.extend(now.values()))
    starting = asyncio.create_task(supervisor.start())
    await until(lambda: bool(pids))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert gone(pids[0])


async def test_child_that_ignores_the_stop_is_killed_with_its_offspring(tmp_path: Path) -> None:
    script = f"trap '' TERM; sleep 60 & echo $! > {tmp_path}/offspring; UP; while :; do sleep 60; done"
    stubborn = child(tmp_path, "stubborn", script, stop_timeout=0.1)
    async with Supervisor([stubborn], log_dir=tmp_path) as supervisor:
        pid = supervisor.pids["stubborn"]
    assert gone(pid)
    await until(lambda: gone(int((tmp_path / "offspring").read_text())))


async def test_offspring_of_a_crashed_child_goes_with_it(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >> {tmp_path}/offspring; UP; wait"
    async with Supervisor([child(tmp_path, "parent", script)], log_dir=tmp_path, backoff=quick) as supervisor:
        os.kill(supervisor.pids["parent"], signal.SIGKILL)
        await until(lambda: len((tmp_path / "offspring").read_text().split()) == 2)
        first = int((tmp_path / "offspring").read_text().split()[0])
        await until(lambda: gone(first))


async def test_failing_listener_is_heard(tmp_path: Path) -> None:
    def listener(pids: dict[str, int]) -> None:
        if armed:
            armed.clear()
            raise OSError("disk full")

    armed: list[bool] = []
    async with Supervisor(
        [child(tmp_path, "one", "UP; exec sleep 60")], log_dir=tmp_path, on_change=listener
    ) as supervisor:
        armed.append(True)
        os.kill(supervisor.pids["one"], signal.SIGKILL)
        with pytest.raises(OSError, match="disk full"):
            await supervisor.wait()


async def test_child_that_is_restarted_as_it_comes_up_comes_back(tmp_path: Path) -> None:
    starts = 0

    async def ready() -> None:
        nonlocal starts
        starts += 1
        if starts == 2:
            await supervisor.restart("one")

    one = child(tmp_path, "one", "exec sleep 60", ready=ready)
    async with Supervisor([one], log_dir=tmp_path, backoff=quick) as supervisor:
        await supervisor.restart("one")
        await until(lambda: starts == 3)
        waiting = asyncio.create_task(supervisor.wait())
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        assert not gone(supervisor.pids["one"])


async def test_wait_returns_when_stopped(tmp_path: Path) -> None:
    supervisor = Supervisor([child(tmp_path, "one", "UP; exec sleep 60")], log_dir=tmp_path)
    await supervisor.start()
    waiting = asyncio.create_task(supervisor.wait())
    await asyncio.sleep(0)
    await supervisor.stop()
    await waiting


def test_it_runs_on_uvloop(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Supervisor(
            [child(tmp_path, "one", "UP; exec sleep 60")], log_dir=tmp_path, backoff=quick
        ) as supervisor:
            before = supervisor.pids["one"]
            os.kill(before, signal.SIGKILL)
            await until(lambda: supervisor.pids.get("one") not in (None, before))

    uvloop.run(scenario())


def test_wait_between_starts_doubles_and_begins_anew_after_a_lasting_run() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [backoff.after(10), backoff.after(1)] == [0.1, 0.2]


async def test_environment_is_the_given_one_only(tmp_path: Path) -> None:
    os.environ["LEAK"] = "yes"
    try:
        quiet = child(tmp_path, "quiet", "UP; env; exec sleep 60", env={"PATH": os.defpath, "GIVEN": "1"})
        async with Supervisor([quiet], log_dir=tmp_path):
            await until(lambda: "GIVEN=1" in (tmp_path / "quiet.log").read_text())
    finally:
        del os.environ["LEAK"]
    assert "LEAK" not in (tmp_path / "quiet.log").read_text()


async def test_large_log_is_put_aside_at_a_start(tmp_path: Path) -> None:
    (tmp_path / "one.log").write_bytes(bytes(LOG_LIMIT + 1))
    async with Supervisor([child(tmp_path, "one", "UP; exec sleep 60")], log_dir=tmp_path):
        assert (tmp_path / "one.log").stat().st_size < LOG_LIMIT
        assert (tmp_path / "one.log.1").stat().st_size > LOG_LIMIT


async def test_large_log_of_a_running_child_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    emptied = f"while [ $(stat -c %s {log}) -gt 9 ]; do sleep 0.05; done"
    writes = f"UP; head -c {LOG_LIMIT + 1} /dev/zero; {emptied}; echo after; exec sleep 60"
    async with Supervisor([child(tmp_path, "one", writes)], log_dir=tmp_path, rotate_s=0.05):
        await until(lambda: log.read_bytes() == b"after\n")
        assert (tmp_path / "one.log.1").stat().st_size > LOG_LIMIT


async def test_python_process_is_a_child_like_any_other(tmp_path: Path) -> None:
    script = f"import pathlib, time; pathlib.Path('{tmp_path}/services.up').touch(); time.sleep(60)"
    services = Child(
        name="services", argv=[sys.executable, "-c", script], ready=exists(tmp_path / "services.up")
    )
    async with Supervisor([services], log_dir=tmp_path) as supervisor:
        assert psutil.Process(supervisor.pids["services"]).ppid() == os.getpid()


async def test_stopping_twice_at_once_is_stopping(tmp_path: Path) -> None:
    supervisor = Supervisor([child(tmp_path, "one", "UP; exec sleep 60")], log_dir=tmp_path)
    await supervisor.start()
    pid = supervisor.pids["one"]
    await asyncio.gather(supervisor.stop(), supervisor.stop())
    assert gone(pid)
    assert supervisor.pids == {}
