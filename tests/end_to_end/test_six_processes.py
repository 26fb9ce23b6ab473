"""Each service alone: six processes, each with its own credential, one broker, one PostgreSQL, one trace through all."""

import contextlib
import json
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from collector import Collector, Exported, collecting
from product import Product
from remote_claude.runtime.embedded.home import free_port
from servers import nats_with_accounts, until
from service_processes import ServiceProcess, installation, routes

TRACE, CLIENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVICES = ("auth", "users", "billing", "scheduler", "runner")


@pytest.mark.timeout(300)
def test_a_task_runs_through_six_processes(postgres_dsn: str, tmp_path: Path) -> None:
    port = free_port()
    public = {"RCLAUDE_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with (
        nats_with_accounts() as as_user,
        collecting() as collector,
        installation(as_user, postgres_dsn, tmp_path, **collector.environment, **public) as apart,
    ):
        services = {service: apart.start(service) for service in SERVICES}
        owners = json.loads(routes(services["billing"])) | {
            "/auth": services["auth"].url,
            "/v1/session": services["auth"].url,
            "/v1/tasks/*/shell": services["runner"].url,
            "/v1/org": services["users"].url,
        }
        services["gateway"] = apart.start(
            "gateway", RCLAUDE_GATEWAY_ROUTES=json.dumps(owners), RCLAUDE_HTTP_PORT=str(port)
        )
        for process in apart.processes:
            process.ready()

        client = apart.client(services["gateway"])
        done = client.run("run", "--agent", "shell", "--no-repo", "--json", "echo through six processes")
        assert done.code == 0, done.err
        assert done.json["state"] == "succeeded"
        assert done.json["cost"]["total_nano_usd"] > 0
        assert "through six processes" in client.ok("logs", done.json["id"]).out
        assert client.ok("usage", "--json").json["executions"]["used"] == 1
        assert client.ok("bill", "--json").json["total_nano_usd"] == done.json["cost"]["total_nano_usd"]

        a_browser_opens_a_terminal(client, services["gateway"].url, apart.api_key)
        task = submitted(services["gateway"].url, apart.api_key)
        traced_from_request_to_bill(collector, task, client)
        for process in apart.processes:
            told_with_its_trace(process, task)
            assert "ermissions violation" not in process.log.read_text()


def a_browser_opens_a_terminal(client: Product, url: str, api_key: str) -> None:
    """As the page does: by the cookie of a session, whose origin the runner checks. The audit has it."""
    task = client.submit("echo waiting; until [ -e over ]; do sleep 0.1; done")
    until(lambda: "waiting" in client.ok("logs", task).out, "a sandbox", 60, pause=0.2)
    authorization = {"Authorization": f"Bearer {api_key}"}
    with httpx2.Client(base_url=url, timeout=30) as browser:
        browser.get(browser.post("/v1/session/links", headers=authorization).json()["url"])
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    shell = f"{url.replace('http', 'ws', 1)}/v1/tasks/{task}/shell"
    for origin, code in (("http://elsewhere.example", 4403), (url, 1000)):
        headers = {"Cookie": cookie, "Origin": origin}
        with connect(shell, additional_headers=headers, proxy=None) as terminal:
            if code == 1000:  # a normal end
                terminal.send(b"touch over; exit\n")
            with contextlib.suppress(ConnectionClosed):
                while True:
                    terminal.recv(timeout=30)
            assert terminal.close_code == code, terminal.close_reason
    client.ok("wait", task)
    [opened] = [e for e in client.ok("audit", "--json").lines if e["action"] == "ShellOpened"]
    assert (opened["details"]["task"], bool(opened["address"])) == (task, True)


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
            s for s in spans if s.name == "fold billing_usage" and "AttemptFinished" in s.attributes.values()
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
    assigned = ["TaskAssigned", "TaskSubmitted", *request]
    assert way_up(only("TaskSucceeded")) == ["TaskSucceeded", "AttemptFinished", *assigned]
    assert way_up(only("TaskStarted")) == ["TaskStarted", *assigned]
    assert way_up(only("worker")) == ["worker", "attempt", *assigned]
    usage = next(
        s for s in spans if s.name == "fold billing_usage" and "AttemptFinished" in s.attributes.values()
    )
    assert way_up(usage) == ["fold billing_usage", "AttemptFinished", *assigned]
    assert only("worker").attributes["rclaude.task"] == task
    assert only("worker").end <= only("AttemptFinished").end
    seen_inside = client.ok("logs", task).out
    assert f"traced 00-{TRACE}-{only('worker').id}-01" in seen_inside


def told_with_its_trace(process: ServiceProcess, task: str) -> None:
    """What a process wrote on standard error says which trace it belongs to, and what it is about."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    traced = [line for line in lines if "trace_id" in line]
    assert traced, f"no line of {process.log} has a trace"
    assert all(len(line["trace_id"]) == 32 and line["correlation_id"] for line in traced)
    if process.service in ("gateway", "scheduler", "runner"):
        assert any((line["trace_id"], line["correlation_id"]) == (TRACE, task) for line in traced)
