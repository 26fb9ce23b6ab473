"""What the backup guide says, done: an old beginning trimmed off the broker, and a stack brought up from a backup."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from product import Product, product
from servers import until

APART = ("kek", "owner.json", "api_key", "head_key", "head_key.pub", "head_key.last")
"""What the guide says to keep besides the exported log, the objects, the heads and the data keys."""


def archived(one: Product) -> bool:
    with one.client() as client:
        said = client.get("/v1/status").json()
    return bool(said["archive"]["position"] == said["position"])


def run(one: Product, said: str) -> str:
    return str(one.ok("run", "--agent", "shell", "--no-repo", "--json", f"echo {said}").json["id"])


def everything(one: Product, tasks: list[str]) -> Any:
    """What a user sees."""
    shown = [one.task(task) for task in tasks]
    for task in shown:
        task.pop("as_of")
    bill = one.ok("bill", "--json").json
    return (
        shown,
        [one.output(task) for task in tasks],
        bill["lines"],
        one.ok("usage", "--json").json["executions"],
    )


def views_are_whole(one: Product) -> None:
    """Every view is what the log says, and so is the log."""
    for view in one.views():
        rebuilt = one.admin("rebuild", view, "--json")
        assert (rebuilt.code, rebuilt.json["equal"]) == (0, True), rebuilt.err
    verified = one.admin("log", "verify", "--json")
    assert (verified.code, verified.json["findings"]) == (0, []), verified.err
    one.verified()


@pytest.mark.timeout(900)
def test_a_stack_is_trimmed_backed_up_and_restored_into_an_empty_home(tmp_path: Path) -> None:
    with product() as one:
        tasks = [run(one, "first")]
        until(lambda: archived(one), "the archive has caught up")
        first = tmp_path / "first.jsonl.gz"
        nowhere = one.admin("log", "export", str(tmp_path / "nope" / "x.gz"))
        assert (nowhere.code, f"{tmp_path}/nope/x.gz can't be written: No such" in nowhere.err) == (2, True)
        trimmed = one.admin("log", "export", str(first), "--json").json["last"] - 3
        in_use = one.admin("log", "trim", "--to", str(trimmed), "--backed-up", str(first))
        assert (in_use.code, "rclaude down" in in_use.err) == (2, True)
        one.ok("down")
        assert one.admin("log", "verify", "--json").json["unarchived"] == 0  # the runner's goodbye included
        done = one.admin("log", "trim", "--to", str(trimmed), "--backed-up", str(first), "--json")
        assert (done.code, done.json) == (0, {"events": trimmed, "first": trimmed + 1}), done.err
        one.ok("up", "--detach")
        tasks.append(run(one, "second"))
        until(lambda: archived(one), "the archive has caught up")
        views_are_whole(one)
        events, seen = one.events(), everything(one, tasks)
        assert events[0]["position"] == 1
        one.admin("log", "head")
        assert one.admin("log", "export", str(tmp_path / "log.jsonl")).code == 0
        one.ok("down")

        with product(up=False) as other:
            other.home.mkdir()
            for name in APART:
                shutil.copy(one.home / name, other.home / name)
            for folder in ("objects", "heads"):
                shutil.copytree(one.home / folder, other.home / folder)
            keys = one.home / "nats/data/jetstream/log/streams/KV_KEYS"
            shutil.copytree(keys, other.home / keys.relative_to(one.home))
            imported = other.admin("log", "import", str(tmp_path / "log.jsonl"), "--json")
            assert imported.code == 0, imported.err
            restored = other.admin("log", "restore", "--json")
            assert (restored.code, restored.json["last"]) == (0, imported.json["last"]), restored.err
            other.ok("up", "--detach")
            assert other.events()[: len(events)] == events
            assert everything(other, tasks) == seen
            views_are_whole(other)
            run(other, "third")
