"""Each service alone: six processes, one broker, one PostgreSQL."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from product import Product
from remote_claude.access.kek import create_kek
from remote_claude.runtime import owner
from remote_claude.runtime.embedded.home import free_port
from servers import Broker, until

SERVICES = ("auth", "users", "billing", "scheduler", "runner", "gateway")


@pytest.mark.timeout(300)
def test_a_task_runs_through_six_processes(fresh_nats: Broker, postgres_dsn: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    create_kek(home / "kek")
    local = owner.ensure(home / "owner.json")
    ports = {service: free_port() for service in SERVICES}
    billing = f"http://127.0.0.1:{ports['billing']}"
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RCLAUDE_", "ANTHROPIC_"))
        },
        "RCLAUDE_HOME": str(home),
        "RCLAUDE_NATS_URL": fresh_nats.url,
        "RCLAUDE_NATS_CREDENTIALS": str(fresh_nats.seed_file),
        "RCLAUDE_POSTGRES_DSN": postgres_dsn,
        "RCLAUDE_OBJECTS": str(home / "objects"),
        "RCLAUDE_KEK_FILE": str(home / "kek"),
        "RCLAUDE_OWNER_FILE": str(home / "owner.json"),
        "RCLAUDE_GATEWAY_ROUTES": json.dumps(
            {"/v1/usage": billing, "/v1/bill": billing, "/v1/tasks/*/bill": billing}
        ),
    }
    with ExitStack() as stack:
        for service in SERVICES:
            log = stack.enter_context((tmp_path / f"{service}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"remote_claude.{service}"],
                env={**environment, "RCLAUDE_HTTP_PORT": str(ports[service])},
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        for service, port in ports.items():
            until(lambda p=port: answers(p), f"{service} to be ready: {tmp_path / service}.log", 120)

        url = f"http://127.0.0.1:{ports['gateway']}"
        client = Product(home, {"RCLAUDE_URL": url, "RCLAUDE_API_KEY": local.api_key})
        done = client.run("run", "--agent", "shell", "--no-repo", "--json", "echo through six processes")
        assert done.code == 0, done.err
        assert done.json["state"] == "succeeded"
        assert done.json["cost"]["total_nano_usd"] > 0
        assert "through six processes" in client.ok("logs", done.json["id"]).out
        assert client.ok("usage", "--json").json["executions"]["used"] == 1
        assert client.ok("bill", "--json").json["total_nano_usd"] == done.json["cost"]["total_nano_usd"]


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False
