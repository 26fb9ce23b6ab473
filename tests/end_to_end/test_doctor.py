"""What the doctor and `up` say of a stack that runs."""

import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from product import Product, product
from remote_claude.cli import security
from remote_claude.cli.config import Target
from remote_claude.cli.machine import MachineCheck
from servers import until


def test_a_task_that_waits_is_named_with_the_reason() -> None:
    with product({"RCLAUDE_RUNNER_SLOTS": "1"}) as stack:
        assert {check["check"]: check["detail"] for check in stack.ok("doctor", "--json").json}[
            "waiting tasks"
        ] == "none"
        first = stack.submit("sleep 600")
        until(lambda: stack.task(first)["state"] == "running", "the first one to run", 60, pause=0.1)
        second = stack.submit("true")
        until(lambda: stack.task(second).get("waiting"), "a reason to wait", 60, pause=0.1)
        [check] = [c for c in stack.ok("doctor", "--json").json if c["check"] == "waiting tasks"]
        assert check["level"] == "note"
        assert check["detail"].startswith(f"{second}: ")
        assert first not in check["detail"]
        stack.ok("cancel", first)
        assert stack.ended(second)["state"] == "succeeded"


def test_a_plan_that_is_too_large_for_this_machine_is_named() -> None:
    with product({"RCLAUDE_RUNNER_VCPU_MILLIS": "2000"}) as stack:
        org = stack.stack_file()["org"]
        note = stack.admin("plan", "set", org, "pro")
        assert note.code == 0
        assert (
            "gives each task 4 vCPU and 8192 MiB, and no runner has so much for one: the largest has 2"
            in note.err
        )
        until(
            lambda: any(check["check"] == "plan pro" for check in stack.ok("doctor", "--json").json),
            "the doctor to name the plan",
            30,
        )
        stack.ok("down")
        assert "plan pro: Its plan gives each task 4 vCPU" in stack.ok("up", "--detach").err
        assert not stack.admin("plan", "set", org, "self-hosted").err


def test_what_protects_a_stack_is_checked(stack: Product) -> None:
    def found() -> dict[str, str]:
        said = stack.run("doctor", "--security", "--json").json
        return {check["check"]: check["level"] for check in said if check["check"] != "metadata service"}

    assert found() == {
        "permissions": "ok", "ports": "ok", "TLS": "ok", "gateway": "ok", "isolation": "ok", "credentials": "ok",
        "API keys": "note",  # the owner's own does not expire
    }  # fmt: skip
    key = stack.home / "api_key"
    key.chmod(0o644)
    try:
        assert found()["permissions"] == "failed"
    finally:
        key.chmod(0o600)
    assert security.transport(Target("http://rclaude.example.com", "rck_x")) == MachineCheck(
        "TLS", "failed", "http://rclaude.example.com is not encrypted: rclaude config url https://..."
    )
    with socket.create_server(("127.0.0.1", 0)):
        assert security.listening({"pid": os.getpid(), "pids": {}}).level == "ok"
    rows = "0: 00000000:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n1: 0100007F:1F91 00000000:0000 0A 0:0 0:0 0 0 0 78 1\n"
    assert [str(address) for _, address, _ in security.listeners(rows)] == ["0.0.0.0", "127.0.0.1"]  # noqa: S104 - read, not bound


@pytest.mark.parametrize(("status", "level"), [(200, "failed"), (401, "note")])
def test_a_metadata_service_that_needs_no_token_is_found(status: int, level: str) -> None:
    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert security.metadata("127.0.0.1", server.server_address[1]).level == level
        server.shutdown()
