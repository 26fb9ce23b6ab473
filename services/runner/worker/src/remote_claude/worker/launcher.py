"""Runs one command that a runner gives it over HTTP, and shows its output and its end.

For machines whose vendor takes no command, such as codespaces: `python -m remote_claude.worker.launcher` listens on the
loopback, and the vendor forwards that port to the machine's owner only. It takes one command in its life.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8377
KEPT = 8 * 1024
MAX_BODY = 256 * 1024
_OWN = ("PATH", "HOME", "USER", "LANG", "TZ", "SSL_CERT_FILE")


class Launcher:
    """`take` starts the command; the same one again is fine, another is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: dict[str, Any] | None = None
        self._output = b""
        self._code: int | None = None

    def take(self, given: dict[str, Any]) -> bool:
        """Whether it is, or was, started."""
        with self._lock:
            if self._given is not None:
                return bool(self._given["id"] == given["id"])
            own = {key: os.environ[key] for key in _OWN if key in os.environ}
            process = subprocess.Popen(
                given["command"],
                env={**own, **given["env"]},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._given = given
        threading.Thread(target=self._follow, args=(process,), daemon=True).start()
        return True

    def status(self) -> dict[str, Any] | None:
        """Whose it is, the end of its output, and its exit code once it has ended; None before a command is given."""
        with self._lock:
            if self._given is None:
                return None
            own = {key: self._given[key] for key in ("id", "runner", "name")}
            return {
                **own,
                "output": self._output.decode(errors="replace"),
                "code": self._code,
            }

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 65536):
            with self._lock:
                self._output = (self._output + data)[-KEPT:]
        code = process.wait()
        with self._lock:
            self._code = code if code >= 0 else 128 - code


class _Handler(BaseHTTPRequestHandler):
    launcher: Launcher

    def do_GET(self) -> None:
        status = self.launcher.status()
        self._answer(200 if status else 404, status or {"message": "no command was given"})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > MAX_BODY:
            self._answer(413, {"message": "too long"})
            return
        try:
            taken = self.launcher.take(json.loads(self.rfile.read(length)))
        except (ValueError, KeyError, TypeError, OSError) as error:
            self._answer(400, {"message": f"it can't be started: {error}"})
            return
        if taken:
            self._answer(200, self.launcher.status() or {})
        else:
            self._answer(409, {"message": "another command was given before"})

    def log_message(self, *_: object) -> None:
        """Nothing: what is asked holds a token."""

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serving(port: int = PORT) -> ThreadingHTTPServer:
    """A server on the loopback with a launcher of its own."""
    handler = type("Handler", (_Handler,), {"launcher": Launcher()})
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


if __name__ == "__main__":
    serving().serve_forever()
