"""A terminal in the sandbox of a task that runs, and its ports on one's own loopback."""

from __future__ import annotations

import contextlib
import subprocess

import httpx2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from product import Product
from remote_claude.runtime.ids import new_id
from screens import Screen
from servers import until

SERVES = """
mkdir www && echo 'a page of the agent' > www/index.html
python3 -m http.server --bind 127.0.0.1 --directory www 3000 > /dev/null 2>&1 &
until curl -s -o /dev/null http://127.0.0.1:3000/; do sleep 0.1; done
echo serving
until [ -e /tmp/over ]; do sleep 0.1; done
"""


def test_a_terminal_and_a_port_of_a_task_that_runs(stack: Product) -> None:
    task = stack.submit(SERVES)
    until(lambda: "serving" in stack.output(task), "a page", 60, pause=0.2)

    piped = stack.run("shell", task, stdin=b"pwd\necho from $USER\nexit 3\n")
    assert piped.code == 3, piped.err
    assert "/workspace" in piped.out
    assert "from agent" in piped.out

    screen = Screen(stack, "shell", task)
    screen.shows(r"\$ ")
    screen.type("stty size\r")
    screen.shows("30 100")
    screen.resize(120, 40)
    screen.type("echo it be''gins; sleep 100\r")
    screen.shows("it begins")  # from here on Ctrl-C is a signal, not a key of the line
    screen.type("\x03")
    screen.shows(r"\^C")
    screen.type("stty size; tty\r")
    screen.shows("40 120")
    screen.shows("/dev/pts/")
    screen.type("\x1d")
    assert screen.process.wait(60) == 0

    with subprocess.Popen(
        stack.command("port", task, "3000", "--local", "0"), env=stack.env, stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        url = forwarding.stdout.readline().split()[0]
        for _ in range(2):
            assert httpx2.get(url, timeout=60).text == "a page of the agent\n"
        forwarding.terminate()

    nobody_else_looks_in(stack, task)
    stack.run("shell", task, stdin=b"touch /tmp/over\n")  # which ends the shell too
    assert stack.ended(task)["state"] == "succeeded"
    assert "does not run now" in stack.run("shell", task, stdin=b"").err


def read_to_its_end(socket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=30)


def nobody_else_looks_in(stack: Product, task: str) -> None:
    """A key that may not see the task learns nothing of it, and one that is revoked sees no more."""
    url = stack.stack_file()["url"].replace("http", "ws", 1)
    with stack.client() as owner:
        account = owner.post("/v1/org/service-accounts", json={"name": "another"}).json()["id"]
        body = {"name": "looks", "service_account": account, "scopes": ["tasks"]}
        made = owner.post("/v1/keys", json=body).json()
        headers = {"Authorization": f"Bearer {made['secret']}"}

        def closed(path: str) -> tuple[int | None, str | None]:
            with connect(f"{url}{path}", additional_headers=headers, proxy=None) as socket:
                read_to_its_end(socket)
                return socket.close_code, socket.close_reason

        owner.put("/v1/org/policy", json={"task_visibility": "own"}).raise_for_status()
        try:
            for path in ("shell", "ports/3000"):
                hidden, unknown = (closed(f"/v1/tasks/{one}/{path}") for one in (task, new_id("task")))
                assert hidden == unknown
                assert hidden[0] == 4404
        finally:
            owner.put("/v1/org/policy", json={"task_visibility": "organisation"}).raise_for_status()
        with connect(f"{url}/v1/tasks/{task}/shell", additional_headers=headers, proxy=None) as shell:
            shell.send(b"echo op''en\n")
            until(lambda: b"open" in shell.recv(timeout=30, decode=False), "a prompt", 30)
            owner.delete(f"/v1/keys/{made['id']}").raise_for_status()
            read_to_its_end(shell)
            assert (shell.close_code, shell.close_reason) == (4401, "unauthenticated")
