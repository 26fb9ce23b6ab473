"""What a person takes along has what their tasks left."""

import json
import zipfile
from pathlib import Path

from product import Product


def test_the_export_has_the_output_and_the_result_of_a_task(
    stack: Product, repo: Path, tmp_path: Path
) -> None:
    stack.ok("run", "--agent", "shell", "echo told; echo new > new.txt", cwd=repo)
    stack.ok("account", "export", str(tmp_path / "me.zip"))
    with zipfile.ZipFile(tmp_path / "me.zip") as archive:
        (place,) = [name for name in archive.namelist() if name.endswith("tasks.jsonl")]
        tasks = [json.loads(line) for line in archive.open(place)]
        task = next(task for task in tasks if task["title"] == "echo told; echo new > new.txt")
        folder = place.replace("tasks.jsonl", f"tasks/{task['id']}")
        frames = [json.loads(line) for line in archive.open(f"{folder}/output.jsonl")]
        assert "told\n" in [frame.get("text") for frame in frames]
        assert archive.read(f"{folder}/result.bundle").startswith(b"# v2 git bundle")
