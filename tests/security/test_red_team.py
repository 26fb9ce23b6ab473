"""A hostile agent in each sandbox: none of its probes gets through, and a leak that is planted is found."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from docker_images import worker_image, worker_images
from product import Product, product

MARKER = f"made-up-{uuid.uuid4().hex}"
PROBES = Path(__file__).with_name("probes.py").read_text()
NETWORK = "default,127.0.0.1,localhost,169.254.169.254,10.0.0.1,192.168.0.1,::1"
"""The task asks for what it may not have: what refuses it then is the check of addresses."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Product]:
    with worker_images() as engine:
        environment = {
            **engine,
            "RCLAUDE_RUNNER_PROVIDERS": "local,docker",
            "RCLAUDE_RUNNER_DOCKER_IMAGE": worker_image(),
            "A_SECRET_OF_THE_HOST": MARKER,
        }
        with product(environment) as one:
            yield one


@contextmanager
def host_server() -> Iterator[int]:
    """A server of the host that says the marker."""

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(MARKER.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("provider", ["local", "docker"])
def test_no_probe_gets_through_and_a_planted_leak_is_found(
    stack: Product, tmp_path: Path, provider: str
) -> None:
    planted = tmp_path / "secret"
    planted.write_text(MARKER)
    name = f"rclaude-{uuid.uuid4().hex}"
    earlier = f"echo {MARKER} | tee /tmp/left /workspace/left /dev/shm/left $HOME/left > /dev/null"
    stack.ended(stack.submit(earlier, "--provider", provider))
    with host_server() as port, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        files = [str(planted), *(str(stack.home / part) for part in ("api_key", "kek", "owner.json"))]
        what: dict[str, Any] = {"rekram": MARKER[::-1], "files": files, "port": port, "socket": name}

        def probed(before: str = "") -> Any:
            script = "\n".join(
                (
                    "cat > /tmp/probes.py <<'PROBES'",
                    PROBES,
                    "PROBES",
                    before,
                    "python3 /tmp/probes.py <<WHAT",
                    json.dumps(what)[:-1] + ', "proxy": "$http_proxy"}',
                    "WHAT",
                )
            )
            run = ("run", "--agent", "shell", "--no-repo", "--provider", provider, "--network", NETWORK)
            done = stack.ok(*run, script)
            return json.loads(next(line for line in done.out.splitlines() if line.startswith('{"probes"')))

        found = probed()
        assert found["probes"] >= 100
        assert found["through"] == {}
        leaked = probed(f"export LEAK={MARKER}; echo {MARKER} > /tmp/left")["through"]
        assert {"environment", "another task's leftovers"} <= leaked.keys()
