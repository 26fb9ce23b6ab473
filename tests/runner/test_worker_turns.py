"""Turns: what people send while a task runs, and where the next attempt continues."""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
from pathlib import Path

from remote_claude.worker.protocol.messages import CheckpointSent, TaskMessage
from repositories import Repo, Sandbox, git_home
from workers import Stored, task, worker


class Kept:
    """Keeps the latest checkpoint, outside its sandbox."""

    def __init__(self, folder: Path) -> None:
        self.archive = folder / "kept.tar"
        self.turns: list[tuple[int, int]] = []
        self.grown = asyncio.Event()

    async def __call__(self, checkpoint: CheckpointSent, archive: Path) -> None:
        os.replace(archive, self.archive)
        self.turns.append((checkpoint.turn, checkpoint.messages))
        self.grown.set()


async def test_messages_are_further_commands_of_the_shell() -> None:
    stored = Stored()
    async with worker(task("echo one; sleep 0.3"), stored) as one:
        await stored.until_text("one")
        await one.session.send_message(TaskMessage(number=1, text="echo two"))
        await one.session.send_message(TaskMessage(number=2, text="echo three; exit 3"))
        result = await one.result()
    assert stored.text() == "one\ntwo\nthree\n"
    assert [frame["text"] for frame in stored.of("user_message")] == ["echo two", "echo three; exit 3"]
    assert (result.outcome, result.exit_code) == ("failed", 3)


async def test_the_next_attempt_continues_after_the_last_saved_turn(tmp_path: Path) -> None:
    """The first turn's files are there, tracked and not, and its command does not run again."""
    kept, stored = Kept(tmp_path), Stored()
    with git_home(tmp_path / "git-home"):
        repo = Repo.init(tmp_path / "project").write({"a.txt": "old", "gone.txt": "x"})
        repo.commit("first")
        Sandbox(tmp_path).send(repo)
    sent = tmp_path / "sent.bundle"
    first = "echo new > a.txt; echo made > made.txt; rm gone.txt; mkdir -p ~/state && echo kept > ~/state/note; echo done"
    async with worker(task(first), stored, bundle=sent, on_checkpoint=kept) as one:
        await one.session.connected.wait()
        await one.session.send_message(TaskMessage(number=1, text="echo second; sleep 1000"))
        await stored.until_text("second")
        await kept.grown.wait()
        one.process.kill()
    assert kept.turns == [(1, 0)]
    with tarfile.open(kept.archive) as tar:
        assert json.load(tar.extractfile("state.json") or b"")["turn"] == 1  # type: ignore[arg-type]

    again = Stored()
    async with worker(
        task(first, attempt=2), again, bundle=sent, on_checkpoint=kept, checkpoint=kept.archive
    ) as two:
        await two.session.connected.wait()
        look = "cat a.txt made.txt ~/state/note; ls gone.txt; git status --short | sort"
        await two.session.send_message(TaskMessage(number=1, text=look))
        result = await two.result()
        assert result.patch is not None
        patch = result.patch.read_text()
    assert again.text() == "new\nmade\nkept\n D gone.txt\n M a.txt\n?? made.txt\n"
    assert "done" not in again.text()
    assert "continuing after turn 1" in again.text("stderr")
    assert [frame["phase"] for frame in again.of("status")][:3] == ["preparing", "restoring", "running"]
    assert result.outcome == "succeeded"
    assert "+new" in patch
    assert "+made" in patch


async def test_files_of_a_task_without_a_repository_are_restored(tmp_path: Path) -> None:
    kept, stored = Kept(tmp_path), Stored()
    async with worker(task("mkdir deep; echo x > deep/file"), stored, on_checkpoint=kept) as one:
        await one.session.connected.wait()
        await one.session.send_message(TaskMessage(number=1, text="echo up; sleep 1000"))
        await stored.until_text("up")
        await kept.grown.wait()
    again = Stored()
    async with worker(task("false", attempt=2), again, checkpoint=kept.archive, on_checkpoint=kept) as two:
        await two.session.connected.wait()
        await two.session.send_message(TaskMessage(number=1, text="cat deep/file"))
        assert (await two.result()).outcome == "succeeded"
    assert again.text() == "x\n"


async def test_a_checkpoint_that_can_not_be_read_starts_the_task_again(tmp_path: Path) -> None:
    broken, stored = tmp_path / "broken.tar", Stored()
    broken.write_bytes(b"not an archive")
    async with worker(task("echo again"), stored, checkpoint=broken) as one:
        assert (await one.result()).outcome == "succeeded"
    assert "the task starts from the beginning" in stored.text("stderr")
    assert stored.text() == "again\n"
