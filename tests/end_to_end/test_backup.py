"""What the backup guide says, done: an old beginning trimmed off the broker, and a stack brought up from a backup."""

import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from product import BIN, Product, product
from servers import until

GUIDE = Path(__file__).parents[2] / "docs/guides/backup.md"


def commands(section: str) -> list[str]:
    """The shell blocks of a section of the guide, word for word: the backup, then the restore."""
    [text] = re.findall(rf"^## {section}\n(.*?)(?=^## )", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def type_(one: Product, block: str, backups: Path) -> None:
    """Run a block of the guide as somebody types it, in a shell that ends at the first command that fails."""
    folders = {"BACKUP": backups / "backup", "SAFE": backups / "safe"}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    environment = {name: str(folder) for name, folder in folders.items()}
    done = subprocess.run(
        ["bash", "-euc", block],
        env={**one.env, **environment, "PATH": f"{BIN}:{one.env['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"


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
    one.rebuilds_equal()
    verified = one.admin("log", "verify", "--json")
    assert (verified.code, verified.json["findings"]) == (0, []), verified.err
    one.verified()


def test_a_whole_home_is_backed_up_and_restored_elsewhere(tmp_path: Path) -> None:
    with product() as one:
        tasks = [run(one, "first")]
        secrets = {(one.home / name).read_bytes() for name in ("kek", "head_key")}
        backup, restore = commands("The whole home")
        type_(one, backup, tmp_path)
        with tarfile.open(tmp_path / "backup/home.tar") as tar:
            names = {name.removeprefix("./") for name in tar.getnames()}
            packed = {file.read() for member in tar if (file := tar.extractfile(member))}
        assert {"owner.json", "head_key.pub", "objects", "heads"} <= names
        assert packed & secrets == set()
        seen = everything(one, tasks)
        one.ok("down")

    with product(up=False) as other:
        type_(other, restore, tmp_path)
        assert everything(other, tasks) == seen
        tasks.append(run(other, "second"))
        views_are_whole(other)


@pytest.mark.nightly
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
        events, seen = one.events(), everything(one, tasks)
        assert events[0]["position"] == 1
        backup, restore = commands("Piece by piece")
        type_(one, backup, tmp_path)
        one.ok("down")

        with product(up=False) as other:
            type_(other, restore, tmp_path)
            assert other.events()[: len(events)] == events
            assert everything(other, tasks) == seen
            views_are_whole(other)
            run(other, "third")
