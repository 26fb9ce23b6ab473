"""Files that a task leaves for people: listed, downloaded, bounded, and never written outside."""

from __future__ import annotations

from pathlib import Path

from product import Product


def test_artifacts_are_listed_and_downloaded(stack: Product, tmp_path: Path) -> None:
    command = """
        mkdir $RCLAUDE_ARTIFACTS/report && echo '<h1>fine</h1>' > $RCLAUDE_ARTIFACTS/report/index.html
        ln -s /etc/passwd $RCLAUDE_ARTIFACTS/passwd; mkfifo $RCLAUDE_ARTIFACTS/pipe
        head -c 1000000 /dev/zero > $RCLAUDE_ARTIFACTS/zeros; exit 4
    """
    task = stack.run("run", "--agent", "shell", "--no-repo", "--json", command).json
    assert task["state"] == "failed", "and has its artifacts all the same"
    shown = stack.ok("artifacts", task["id"], "--json").json
    assert shown == [{"name": "report/index.html", "size": 14}, {"name": "zeros", "size": 1000000}]
    stack.ok("artifacts", task["id"], "--download", str(tmp_path / "out"))
    assert (tmp_path / "out/report/index.html").read_text() == "<h1>fine</h1>\n"
    assert "is there already" in stack.run("artifacts", task["id"], "--download", str(tmp_path / "out")).err

    none = stack.submit("true")
    stack.ended(none)
    assert "no artifacts" in stack.run("artifacts", none).err
