"""A terminal in the sandbox of a task that runs, and its ports on one's own loopback."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import httpx2

from product import Product
from servers import until

SERVES = """
mkdir www && echo 'a page of the agent' > www/index.html
python3 -m http.server --bind 127.0.0.1 --directory www 3000 > /dev/null 2>&1 &
until curl -s -o /dev/null http://127.0.0.1:3000/; do sleep 0.1; done
echo serving
until [ -e /tmp/over ]; do sleep 0.1; done
"""


class Screen:
    """A command in a terminal."""

    def __init__(self, one: Product, *args: str) -> None:
        self.mine, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.process = subprocess.Popen(
            one.command(*args),
            env={**one.env, "TERM": "xterm"},
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(its)
        self.shown = ""

    def type(self, text: str) -> None:
        os.write(self.mine, text.encode())

    def shows(self, pattern: str) -> None:
        """Wait until it does; what was there before does not count again."""
        late = time.monotonic() + 30
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < late, (pattern, self.shown)
            if select.select([self.mine], [], [], 0.2)[0]:
                self.shown += os.read(self.mine, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.mine, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


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
    screen.type("sleep 100\r")
    screen.shows("sleep 100\r\n")
    screen.type("\x03")
    screen.shows(r"\^C")
    screen.type("stty size; tty\r")
    screen.shows("40 120")
    screen.shows("/dev/pts/")
    screen.type("\x1d")
    assert screen.process.wait(20) == 0

    with subprocess.Popen(
        stack.command("port", task, "3000", "--local", "0"), env=stack.env, stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        url = forwarding.stdout.readline().split()[0]
        for _ in range(2):
            assert httpx2.get(url, timeout=20).text == "a page of the agent\n"
        forwarding.terminate()

    stack.run("shell", task, stdin=b"touch /tmp/over\n")  # which ends the shell too
    assert stack.ended(task)["state"] == "succeeded"
    assert "does not run now" in stack.run("shell", task, stdin=b"").err
