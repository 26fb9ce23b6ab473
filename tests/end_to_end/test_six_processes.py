"""Each service alone: six processes, each with its own credential, one broker, one PostgreSQL, one trace through all."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from collector import Collector, Exported, collecting
from product import Product
from remote_claude.access.kek import create_kek
from remote_claude.runtime import owner
from remote_claude.runtime.accounts import ADMIN
from remote_claude.runtime.embedded.home import free_port
from servers import Broker, nats_with_accounts, until

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVICES = ("auth", "users", "billing", "scheduler", "runner", "gateway")


@pytest.mark.timeout(300)
def test_a_task_runs_through_six_processes(postgres_dsn: str, tmp_path: Path) -> None:
    with nats_with_accounts() as as_user:
        run_through(as_user, postgres_dsn, tmp_path)


def run_through(as_user: Callable[[str], Broker], postgres_dsn: str, tmp_path: Path) -> None:
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
        "RCLAUDE_NATS_URL": as_user(ADMIN).url,
        "RCLAUDE_POSTGRES_DSN": postgres_dsn,
        "RCLAUDE_OBJECTS": str(home / "objects"),
        "RCLAUDE_KEK_FILE": str(home / "kek"),
        "RCLAUDE_OWNER_FILE": str(home / "owner.json"),
        "RCLAUDE_LOG_LEVEL": "debug",
        "RCLAUDE_GATEWAY_ROUTES": json.dumps(
            {"/v1/usage": billing, "/v1/bill": billing, "/v1/tasks/*/bill": billing}
        ),
    }
    operator = Product(home, {**environment, "RCLAUDE_NATS_CREDENTIALS": str(as_user(ADMIN).seed_file)})
    assert operator.admin("broker", "init").code == 0
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        for service in SERVICES:
            log = stack.enter_context((tmp_path / f"{service}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"remote_claude.{service}"],
                env={
                    **environment,
                    **collector.environment,
                    "RCLAUDE_NATS_CREDENTIALS": str(as_user(service).seed_file),
                    "RCLAUDE_HTTP_PORT": str(ports[service]),
                },
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

        task = submitted(url, local.api_key)
        traced_from_request_to_bill(collector, task, client)
        for service in SERVICES:
            told_with_its_trace(tmp_path / f"{service}.log", task)
            assert "ermissions violation" not in (tmp_path / f"{service}.log").read_text()


def submitted(url: str, api_key: str) -> str:
    """A task that a client asks for within a trace of its own."""
    answer = httpx2.post(
        f"{url}/v1/tasks",
        json={"agent": "shell", "prompt": "echo traced $TRACEPARENT"},
        headers={"Authorization": f"Bearer {api_key}", "traceparent": f"00-{TRACE}-{CLIENT}-01"},
        timeout=30,
    )
    assert answer.status_code == httpx2.codes.CREATED, answer.text
    task: str = answer.json()["id"]
    return task


def traced_from_request_to_bill(collector: Collector, task: str, client: Product) -> None:
    """One trace id over all services, each span below what caused it."""

    def whole() -> bool:
        spans = collector.of(TRACE)
        billed = [
            s for s in spans if s.name == "fold billing_usage" and "UsageRecorded" in s.attributes.values()
        ]
        names = {s.name for s in spans}
        return bool(billed) and {"TaskSucceeded", "attempt", "worker", "POST /v1/tasks"} <= names

    until(whole, "the trace", 60, pause=0.1)
    spans = collector.of(TRACE)
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans)
    assert {s.service for s in spans} >= {"gateway", "scheduler", "runner", "worker", "billing"}
    assert not any(span.failed for span in spans)
    assert all(span.start <= span.end for span in spans)

    def only(name: str) -> Exported:
        [span] = [span for span in spans if span.name == name]
        return span

    def way_up(span: Exported) -> list[str]:
        above = by_id.get(span.parent)
        return [span.name, *(way_up(above) if above is not None else [span.parent])]

    request = ["POST /v1/tasks", CLIENT]
    assigned = ["TaskAssigned", "TaskAdmitted", "TaskSubmitted", *request]
    assert way_up(only("TaskSucceeded")) == ["TaskSucceeded", "AttemptFinished", *assigned]
    assert way_up(only("TaskStarted")) == ["TaskStarted", *assigned]
    assert way_up(only("worker")) == ["worker", "attempt", *assigned]
    usage = next(
        s for s in spans if s.name == "fold billing_usage" and "UsageRecorded" in s.attributes.values()
    )
    assert way_up(usage) == ["fold billing_usage", "UsageRecorded", *assigned]
    assert only("worker").attributes["rclaude.task"] == task
    assert only("worker").end <= only("AttemptFinished").end
    seen_inside = client.ok("logs", task).out
    assert f"traced 00-{TRACE}-{only('worker').id}-01" in seen_inside


def told_with_its_trace(log: Path, task: str) -> None:
    """What a process wrote on standard error says which trace it belongs to, and what it is about."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    traced = [line for line in lines if "trace_id" in line]
    assert traced, f"no line of {log} has a trace"
    assert all(len(line["trace_id"]) == 32 and line["correlation_id"] for line in traced)
    if log.stem in ("gateway", "scheduler", "runner"):
        assert any((line["trace_id"], line["correlation_id"]) == (TRACE, task) for line in traced)


def answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False
