"""This machine: tasks in a sandbox of bubblewrap, or in containers of a Docker engine. Nothing is made anywhere."""

from __future__ import annotations

import getpass
import platform
import shutil
import subprocess

from remote_claude.cli import config, machine
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudCheck, Deployed, Prices, Say

WORKER = "remote-claude/worker"


class Local:
    """Sandboxes of bubblewrap."""

    needs_gateway = False
    prices = Prices(0, 0)
    provider = "local"

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.account = platform.node()
        self.identity = f"{getpass.getuser()} on {platform.node()}"

    def checks(self) -> list[CloudCheck]:
        if not machine.is_installed():
            return [
                CloudCheck(
                    "stack",
                    "failed",
                    "only the client is installed here: pip install 'remote-claude[embedded]'",
                )
            ]
        running = config.stack_file() is not None
        return [CloudCheck(c.name, c.level, c.detail) for c in machine.checks(config.home(), running=running)]

    def plan(self) -> dict[str, int]:
        return {}

    def deploy(self, say: Say) -> Deployed:
        providers = "local" if self.provider == "local" else f"local,{self.provider}"
        return Deployed(self.provider, {"RCLAUDE_RUNNER_PROVIDERS": providers, **self._settings()})

    def resources(self) -> list[tuple[str, str]]:
        return []

    def destroy(self, say: Say) -> None:
        """There is nothing: the stack removes its own sandboxes."""

    def _settings(self) -> dict[str, str]:
        return {}


class Docker(Local):
    """Containers of the engine that `docker` finds."""

    provider = "docker"

    def checks(self) -> list[CloudCheck]:
        return [*super().checks(), self._engine(), self._image()]

    def _settings(self) -> dict[str, str]:
        return {"RCLAUDE_RUNNER_DOCKER_IMAGE": self.answers.image or WORKER}

    def _engine(self) -> CloudCheck:
        said, ok = _docker("version", "--format", "{{.Server.Version}}")
        return CloudCheck(
            "engine",
            "ok" if ok else "failed",
            f"Docker {said}" if ok else f"{said}: start it, or set DOCKER_HOST",
        )

    def _image(self) -> CloudCheck:
        image = self.answers.image or WORKER
        said, ok = _docker("image", "inspect", "--format", "{{.Id}}", image)
        missing = f"{image} is not there: `deploy/images/build.sh worker` builds it, or name one with --image"
        return CloudCheck("image", "ok" if ok else "failed", f"{image} ({said})" if ok else missing)


def _docker(*arguments: str) -> tuple[str, bool]:
    """What a command of Docker says, and whether it succeeded."""
    if shutil.which("docker") is None:
        return "docker is not installed", False
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    return (
        (done.stdout if done.returncode == 0 else done.stderr) or "no answer"
    ).strip(), done.returncode == 0
