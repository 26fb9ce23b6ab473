"""Commands in a terminal, as people have them."""

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

from product import Product


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

    def shows(self, pattern: str, within: float = 90) -> None:
        """Wait until it does; what was there before does not count again."""
        late = time.monotonic() + within
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < late, (pattern, self.shown)
            if select.select([self.mine], [], [], 0.2)[0]:
                self.shown += os.read(self.mine, 65536).decode(errors="replace")
        self.shown = self.shown[found.end() :]

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.mine, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
