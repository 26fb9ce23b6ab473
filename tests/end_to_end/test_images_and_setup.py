"""A repository says how its sandbox is made: `.rclaude.toml`, `devcontainer.json`, and an image of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker_host import docker
from docker_images import worker_image, worker_images
from product import Product, product, repository

OWN = """
agent = "shell"
network = "none"
setup = '''
echo "setting up"
echo prepared > prepared.txt
'''
checks = ["test -e prepared.txt", "grep -q wanted made.txt"]
env = {GREETING = "hello from the file"}
"""
DEVCONTAINER = """
{
    // as editors write it
    "image": "example.com/unused:1",
    "features": {"ghcr.io/devcontainers/features/node:1": {}},
    "postCreateCommand": "echo created > created.txt",
    "containerEnv": {"COLOUR": "blue", "HERE": "${localEnv:HOME}"},
}
"""


def test_a_repository_says_how_its_sandbox_is_made(stack: Product, tmp_path: Path) -> None:
    repo = repository(tmp_path / "own", {".rclaude.toml": OWN})
    done = stack.ok("run", "echo $GREETING; cat prepared.txt; echo wanted > made.txt", cwd=repo)
    assert "setting up\n" in done.out
    assert "hello from the file\nprepared\n" in done.out
    task = stack.ok("show", "--json").json["id"]
    frames = stack.ok("logs", task, "--json").lines
    phases = [frame["phase"] for frame in frames if frame["kind"] == "status"]
    assert phases == ["preparing", "setting_up", "running", "checking", "committing"]

    unchecked = stack.run("run", "--json", "echo other > made.txt", cwd=repo).json
    assert (unchecked["state"], unchecked["reason"]) == ("failed", "check_failed")
    assert "grep -q wanted made.txt" in unchecked["detail"]
    assert unchecked["result"]["commit"], "what it did is kept"

    (repo / ".rclaude.toml").write_text("agent = 'shell'\nsetup = 'echo broken >&2; exit 7'\n")
    failed = stack.run("run", "--json", "echo never", cwd=repo).json
    assert (failed["reason"], "exit 7" in failed["detail"]) == ("setup_failed", True)
    assert "never" not in stack.ok("logs", failed["id"]).out

    (repo / ".rclaude.toml").write_text("agent = 'shell'\nsetup = 'sleep 60'\nsetup_timeout_s = 0.5\n")
    slow = stack.run("run", "--json", "echo never", cwd=repo).json
    assert "took longer than 0.5 s: sleep 60" in slow["detail"]

    (repo / ".rclaude.toml").write_text("unknown = 1\n")
    assert "there is no setting 'unknown'" in stack.run("run", "true", cwd=repo).err


def test_a_devcontainer_is_read_too(stack: Product, tmp_path: Path) -> None:
    repo = repository(tmp_path / "dev", {".devcontainer/devcontainer.json": DEVCONTAINER})
    done = stack.ok("run", "--agent", "shell", "cat created.txt; echo $COLOUR $HERE.", cwd=repo)
    assert "created\nblue .\n" in done.out
    said = done.out + done.err
    assert "features is not used here" in said
    assert "containerEnv.HERE is left out" in said
    assert "used with --provider docker only" in said


@pytest.mark.timeout(300)
def test_a_task_runs_in_an_image_of_ones_own() -> None:
    with worker_images() as engine:
        image = f"{worker_image()}-with-a-tool"
        build = f'printf \'FROM {worker_image()}\\nCMD ["made", "for", "a test"]\\nENV TOOL=mine\\n\' | docker build -q -t {image} -'
        docker(engine, "bash", "-c", build)
        environment = {
            **engine,
            "RCLAUDE_RUNNER_PROVIDERS": "local,docker",
            "RCLAUDE_RUNNER_DOCKER_IMAGE": worker_image(),
        }
        with product(environment, up=False) as one:
            one.ok("up", "--detach")
            run = ("run", "--agent", "shell", "--no-repo", "--json")
            done = one.ok(*run, "--image", image, "echo the tool is $TOOL; sleep 7").json
            assert "the tool is mine" in one.ok("logs", done["id"]).out
            assert [attempt["provider"] for attempt in done["attempts"]] == ["docker"]
            missing = one.run(*run, "--image", "127.0.0.1:9/no/such:1", "true").json
            assert (missing["state"], missing["reason"]) == ("failed", "image_unusable")
            assert "can't be pulled" in missing["detail"]
            docker(engine, "docker", "tag", "remote-claude/base", f"{image}-less")
            without = one.run(*run, "--image", f"{image}-less", "true").json
            assert "has no worker" in without["detail"], without
