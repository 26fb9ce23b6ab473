"""The worker's image for tests, built by the repository's own script and named after what it was built from."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from docker_host import ENGINE, ROOT, base_image, docker, docker_engine

SOURCES = ("services/runner/worker", "deploy/images/Dockerfile", "requirements.lock")


@cache
def worker_image(agents: str = "") -> str:
    """The image's name: one for each state of its sources. `agents` are the packages of the agents that it has."""
    digest = hashlib.sha256(agents.encode())
    for source in SOURCES:
        place = ROOT / source
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in (".py", ".toml", ".lock") or path.name == "Dockerfile":
                digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return f"remote-claude/worker:test-{digest.hexdigest()[:12]}"


@contextmanager
def worker_images(agents: str = "") -> Iterator[dict[str, str]]:
    """Hold an engine that has the worker's image; most tests need no agent in it but the shell."""
    with docker_engine() as environment, (ENGINE / "worker.lock").open("w") as building:
        base_image(environment)
        fcntl.flock(building, fcntl.LOCK_EX)
        image = worker_image(agents)
        if not docker(environment, "docker", "images", "--quiet", image).strip():
            arguments = {"TAG": image.partition(":")[2], "WORKER_AGENTS": agents}
            docker(environment | arguments, "bash", str(ROOT / "deploy/images/build.sh"), "worker")
        fcntl.flock(building, fcntl.LOCK_UN)
        yield environment
