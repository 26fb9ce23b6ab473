"""The action and the recipe for CI: their own steps, run in a shell as the CI system does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from product import BIN, Done, Product

CI = Path(__file__).parents[2] / "deploy" / "ci"


def environment(stack: Product, tmp_path: Path) -> dict[str, str]:
    kept = {key: value for key, value in stack.env.items() if key != "RCLAUDE_HOME"}
    return kept | {"PATH": f"{BIN}:{os.environ['PATH']}", "RCLAUDE_HOME": str(tmp_path / "ci-home")}


def server(stack: Product) -> dict[str, str]:
    """Its address, and a key that is good for tasks alone, as the guide says."""
    key = stack.ok("key", "create", "ci", "--scope", "tasks", "--json").json["secret"]
    return {"url": stack.stack_file()["url"], "api-key": key}


def shell(script: str, cwd: Path, env: dict[str, str]) -> Done:
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def action(stack: Product, cwd: Path, tmp_path: Path, **given: str) -> tuple[Done, dict[str, str], str]:
    """Every step of the action until one fails: the last, the outputs, the summary."""
    document: dict[str, Any] = yaml.safe_load((CI / "action.yml").read_text())
    inputs = (
        {name: one.get("default", "") for name, one in document["inputs"].items()} | server(stack) | given
    )
    values = {f"inputs.{name}": value for name, value in inputs.items()} | {"github.action_path": str(CI)}

    def filled(text: str) -> str:
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda match: values[match[1]], text)

    out, summary = tmp_path / "output", tmp_path / "summary"
    files = {"GITHUB_OUTPUT": str(out), "GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true"}
    for step in document["runs"]["steps"]:
        env = {name: filled(value) for name, value in step.get("env", {}).items()}
        done = shell(filled(step["run"]), cwd, environment(stack, tmp_path) | files | env)
        if done.code:
            break
    return done, dict(line.split("=", 1) for line in out.read_text().splitlines()), summary.read_text()


def test_the_action_ends_as_its_task_and_says_so(stack: Product, repo: Path, tmp_path: Path) -> None:
    done, outputs, summary = action(stack, repo, tmp_path, agent="shell", prompt="echo more >> README.md")
    assert done.code == 0, done.err
    assert outputs["state"] == "succeeded"
    assert f"::notice title=Remote Claude::{outputs['task']} succeeded" in done.out
    assert outputs["task"] in summary
    assert "+more" in stack.ok("diff", outputs["task"]).out

    (tmp_path / "output").unlink()
    failed, outputs, _ = action(stack, repo, tmp_path, agent="shell", prompt="exit 3")
    assert (failed.code, outputs["state"]) == (1, "failed")
    assert "::error title=Remote Claude::" in failed.out


def test_the_job_for_gitlab_ends_as_its_task(stack: Product, repo: Path, tmp_path: Path) -> None:
    job = yaml.safe_load((CI / "gitlab.yml").read_text())["remote-claude"]
    shutil.copy(CI / "task.sh", repo)
    found = server(stack)
    env = environment(stack, tmp_path) | job["variables"]
    env |= {"RCLAUDE_URL": found["url"], "RCLAUDE_API_KEY": found["api-key"], "TASK_AGENT": "shell"}
    script = "\n".join((*job["before_script"], *job["script"]))
    assert shell(script, repo, env | {"TASK_PROMPT": "true"}).code == 0
    assert shell(script, repo, env | {"TASK_PROMPT": "false"}).code == 1
