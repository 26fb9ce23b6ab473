"""The HTTP server of a double: the REST API and real Git, behind the same token."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import forge_schemas as published

from .base import TOKEN, ForgeDouble, Refused
from .github import GitHubDouble


@contextmanager
def forge_double(root: Path, of: type[ForgeDouble] = GitHubDouble) -> Iterator[ForgeDouble]:
    """A forge for as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def do_PUT(self) -> None:
            self._handle()

        def do_PATCH(self) -> None:
            self._handle()

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            body = self._body()
            parts = urlsplit(self.path)
            basic = "Basic " + base64.b64encode(f"{double.git_user}:{TOKEN}".encode()).decode()
            is_git = parts.path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack"))
            token = double.installation_token(
                self.command, parts.path, self.headers.get("authorization") or ""
            )
            if token is not None:
                self._send(201, {"token": token, "expires_at": "2026-12-01T00:00:00Z", "permissions": {}})
            elif self.headers.get("authorization") not in (double.bearer(), basic):
                double.unauthorized += 1
                self._send(401, {"message": "Bad credentials"}, {"WWW-Authenticate": 'Basic realm="Git"'})
            elif is_git:
                self._git(parts.path, parts.query, body)
            elif waiting := double.failures.get(self.command):
                status, headers = waiting.pop(0)
                self._send(status, {"message": f"Status {status}", "documentation_url": "x"}, headers)
            else:
                self._rest(parts.path.removeprefix(double.api), parts.query, body)

        def _rest(self, path: str, query: str, body: bytes) -> None:
            asked = {name: values[0] for name, values in parse_qs(query).items()}
            request = json.loads(body) if body else None
            try:
                document = double.rest(self.command, path, asked, request)
                published.check(double.kind, self.command, path, asked, request, document)
            except Refused as refused:
                self._send(refused.status, refused.document)
            except (LookupError, StopIteration):
                self._send(404, {"message": "Not Found"})
            except AssertionError as error:
                self._send(418, {"message": f"the double does not take this: {error}"})
            else:
                self._send(201 if self.command == "POST" else 200, document)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _send(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
            content = document.encode() if isinstance(document, str) else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _git(self, path: str, query: str, body: bytes) -> None:
            name, rest = double.bare_of(path)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(double.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "PATH_INFO": f"/{name}.git/{rest}",
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "REMOTE_USER": "ada",
                "REMOTE_ADDR": "127.0.0.1",
            }
            done = subprocess.run(
                ["git", "http-backend"], input=body, capture_output=True, env=environment, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double = of(f"http://127.0.0.1:{server.server_port}", root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
