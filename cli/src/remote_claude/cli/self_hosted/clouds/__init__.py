"""The clouds that `rclaude init --self-hosted` knows. A cloud's module is read when it is chosen."""

from __future__ import annotations

from importlib import import_module

from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudAccount, CloudCheck, Deployed, Prices, Say

CLOUDS = {
    "local": ("machine", "Local", "this machine, in a sandbox of bubblewrap"),
    "docker": ("machine", "Docker", "a Docker engine, a container for each task"),
    "aws": ("aws", "Aws", "AWS: a Fargate task for each task"),
    "gcp": ("terraform", "Gcp", "Google Cloud: an execution of a Cloud Run job for each task"),
    "azure": ("terraform", "Azure", "Azure: a container group for each task"),
    "fly": ("fly", "Fly", "Fly.io: a Machine for each task"),
    "kubernetes": ("kubernetes", "Kubernetes", "a Kubernetes cluster: a Job for each task"),
}
"""Name to module, class, and a line for people."""


def reach(answers: Answers) -> CloudAccount:
    """The cloud of these answers, with the credentials that its own tools use. Raises `CliError` without any."""
    if answers.cloud not in CLOUDS:
        raise CliError(
            f"there is no template for {answers.cloud!r}; there are: {', '.join(CLOUDS)}", Exit.USAGE
        )
    module, name, _ = CLOUDS[answers.cloud]
    found: CloudAccount = getattr(import_module(f"{__name__}.{module}"), name)(answers)
    return found


__all__ = ["CLOUDS", "Answers", "CloudAccount", "CloudCheck", "Deployed", "Prices", "Say", "reach"]
