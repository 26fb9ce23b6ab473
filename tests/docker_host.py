"""A Docker engine for tests: the one that runs, otherwise a `dockerd` that all test processes share.

The first who needs it starts a keeper, which starts `dockerd` and ends it when nobody holds the engine any more.
`python tests/docker_host.py COMMAND...` runs a command with `DOCKER_HOST` set to it; `--base` makes the base image.
Images and the engine's files are in `RCLAUDE_TEST_CACHE`, by default `~/.cache/remote-claude/containers`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import until

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("RCLAUDE_TEST_CACHE") or Path.home() / ".cache/remote-claude/containers")
ENGINE = CACHE / "engine"
SOCKET = ENGINE / "docker.sock"
BASE = "remote-claude/base"
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@contextmanager
def docker_engine() -> Iterator[dict[str, str]]:
    """Hold a running engine. Yields the environment that leads to it (`DOCKER_HOST`, `DOCKER_CONFIG`)."""
    with _compose_plugin() as config:
        if _answers(os.environ.get("DOCKER_HOST")):
            yield {**_host(os.environ.get("DOCKER_HOST")), **config}
            return
        _install({"dockerd": "docker.io", "iptables": "iptables"})
        _install({"docker": "docker-cli"})  # a part of docker.io up to Debian 12
        ENGINE.mkdir(parents=True, exist_ok=True)
        with (ENGINE / "users.lock").open("w") as users:
            with (ENGINE / "start.lock").open("w") as starting:
                fcntl.flock(starting, fcntl.LOCK_EX)
                fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is ending its engine
                if not _answers(f"unix://{SOCKET}"):
                    with (ENGINE / "keeper.log").open("ab") as log:
                        subprocess.Popen(
                            [sys.executable, __file__, "--keep"],
                            env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    until(
                        lambda: _answers(f"unix://{SOCKET}"), f"dockerd: {ENGINE}/keeper.log", 180, pause=0.1
                    )
            yield {**_host(f"unix://{SOCKET}"), **config}


def base_image(environment: dict[str, str]) -> str:
    """The name of a Debian image with Python and Git; made once for a machine (a minute)."""
    _install({"debootstrap": "debootstrap"})
    with (ENGINE / "base.lock").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        docker(environment, "bash", str(ROOT / "deploy/images/base.sh"), BASE)
    return BASE


def docker(environment: dict[str, str], *command: str, timeout_s: float = 600) -> str:
    """Run a command with the engine's environment. Returns what it printed; fails with what it said."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment, "PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _host(address: str | None) -> dict[str, str]:
    return {"DOCKER_HOST": address} if address else {}


def _answers(address: str | None) -> bool:
    if shutil.which("docker", path=SYSTEM_PATH) is None:
        return False
    try:
        asked = subprocess.run(
            ["docker", "info"],
            env={**os.environ, **_host(address), "PATH": SYSTEM_PATH},
            capture_output=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired:  # it starts containers that a killed test has left
        return False
    return asked.returncode == 0


def _install(packages: dict[str, str]) -> None:
    """Install Debian packages by the programs that are missing. Needs root and Debian; says what is missing otherwise."""
    missing = [
        package for program, package in packages.items() if not shutil.which(program, path=SYSTEM_PATH)
    ]
    if not missing:
        return
    may_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
    assert may_install, f"install {' '.join(missing)}, or start a Docker engine"
    subprocess.run(["apt-get", "update", "-qq"], check=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing],
        env=quiet,
        stdout=subprocess.DEVNULL,
        check=True,
    )


@contextmanager
def _compose_plugin() -> Iterator[dict[str, str]]:
    """The environment in which `docker compose` is version 2; Debian's own package of it is taken where there is none."""
    asked = (
        subprocess.run(
            ["docker", "compose", "version"],
            env={**os.environ, "PATH": SYSTEM_PATH},
            capture_output=True,
            check=False,
        )
        if shutil.which("docker", path=SYSTEM_PATH)
        else None
    )
    if asked is not None and asked.returncode == 0:
        yield {}
        return
    config = CACHE / "config"
    plugins = config / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    with (CACHE / "plugins.lock").open("w") as making:
        fcntl.flock(making, fcntl.LOCK_EX)
        if not (plugins / "docker-compose").exists():
            _download_plugins(plugins)
    yield {"DOCKER_CONFIG": str(config)}


def _download_plugins(plugins: Path) -> None:
    """Compose and buildx from Debian 13: bookworm's Compose is version 1."""
    mirror = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for needed in ("lists/partial", "cache/archives/partial"):
            (at / needed).mkdir(parents=True)
        (at / "sources.list").write_text(
            f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} trixie main\n"
        )
        apt = [
            "apt-get", "-qq",
            "-o", f"Dir::Etc::sourcelist={at}/sources.list", "-o", "Dir::Etc::sourceparts=-",
            "-o", f"Dir::State::lists={at}/lists", "-o", f"Dir::Cache={at}/cache",
        ]  # fmt: skip
        subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*apt, "download", "docker-compose", "docker-buildx"], cwd=at, check=True)
        for package in at.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(at / "x")], check=True)
        for plugin in (at / "x/usr/libexec/docker/cli-plugins").iterdir():
            shutil.copy2(plugin, plugins / plugin.name)


def _keep() -> None:
    """Run `dockerd` until nobody holds it."""
    run = Path(tempfile.mkdtemp(prefix="remote-claude-docker."))
    # With version 1 control groups, containers go below our own: not everywhere may one create a group at the root.
    groups = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    below = next((path.rstrip("/") for _, name, path in groups if name == "memory"), None)
    parent = [f"--cgroup-parent={below}/remote-claude-{os.getpid()}"] if below is not None else []
    SOCKET.unlink(missing_ok=True)
    daemon = subprocess.Popen(
        [
            "dockerd", "--data-root", str(CACHE / "docker"), "--exec-root", str(run / "exec"),
            "--pidfile", str(run / "pid"), "--host", f"unix://{SOCKET}", *parent,
        ],
        env={**os.environ, "PATH": SYSTEM_PATH},
    )  # fmt: skip
    try:
        until(lambda: _answers(f"unix://{SOCKET}") or daemon.poll() is not None, "dockerd", 180, pause=0.1)
        with (ENGINE / "users.lock").open("w") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)
    finally:
        daemon.kill()
        shutil.rmtree(run, ignore_errors=True)


def main() -> int:
    """`--keep`, `--base`, or a command to run with the engine."""
    if sys.argv[1:] == ["--keep"]:
        _keep()
        return 0
    with docker_engine() as environment:
        if sys.argv[1:] == ["--base"]:
            base_image(environment)
            return 0
        return subprocess.run(
            sys.argv[1:], env={**os.environ, **environment, "PATH": SYSTEM_PATH}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
