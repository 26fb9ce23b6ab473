"""An emulator of AWS on this machine: `ministack`, whose ECS starts real containers, and what it leaves out of RunTask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from remote_claude.runner.providers.ecs.client import EcsClient
from remote_claude.runner.providers.ecs.settings import EcsSettings
from remote_claude.runtime.embedded.home import free_port
from servers import until

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAMADEUPFORTESTS00",
    "AWS_SECRET_ACCESS_KEY": "made-up-secret-key-of-the-tests",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def aws(engine: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Run the emulator with an engine for its containers (`{}`: without). Yields the environment that leads to it."""
    port = free_port()
    own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "HOSTNAME": "no-container"}
    with TemporaryDirectory(prefix="rclaude-aws-") as folder, (Path(folder) / "log").open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("ministack"))],
            env={**os.environ, **engine, **CREDENTIALS, **own},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            until(
                lambda: _answers(url),
                f"ministack: {(Path(folder) / 'log').read_text()[-2000:]}",
                60,
                pause=0.1,
            )
            yield {**CREDENTIALS, "AWS_ENDPOINT_URL": url}
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_ministack/health", timeout=5):  # noqa: S310  on the loopback
            return True
    except (urllib.error.URLError, OSError):
        return False


class TokenKeepingClient(EcsClient):
    """A client that treats client tokens as AWS does, where the emulator ignores them.

    Source: "Ensuring idempotency" of the Amazon ECS API Reference: the same token with the same parameters gets the first
    answer again, with other parameters a ConflictException.
    """

    def __init__(self, settings: EcsSettings) -> None:
        super().__init__(settings)
        self.answers: dict[str, tuple[str, Any]] = {}
        self._asked = ("", "")

    def _make(self, service: str) -> Any:
        client = super()._make(service)
        if service == "ecs":
            client.meta.events.register("before-call.ecs.RunTask", self._before)
            client.meta.events.register("after-call.ecs.RunTask", self._after)
        return client

    def _before(self, params: Any, **_: Any) -> Any:
        asked = json.loads(params["body"])
        token = asked.pop("clientToken")
        assert len(token) <= 64
        same = json.dumps(asked, sort_keys=True)
        if token not in self.answers:
            params["context"]["rclaude"] = (token, same)
            return None
        first, answer = self.answers[token]
        if first == same:
            return _Http(200), answer
        error = {"Code": "ConflictException", "Message": "the token was used with other parameters"}
        return _Http(400), {"Error": error, "ResponseMetadata": {}}

    def _after(self, parsed: Any, context: Any, **_: Any) -> None:
        if "rclaude" in context:
            token, same = context["rclaude"]
            self.answers[token] = (same, parsed)


class _Http:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code
