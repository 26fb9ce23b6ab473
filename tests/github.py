"""A GitHub of its own on loopback: the REST API of pull requests, and real Git over HTTP behind the same token.

Answers have the fields that GitHub documents for version 2022-11-28 of its API, as far as a client may read them.
Pushes go to `git http-backend`, which asks for the token first.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "ghp_madeUpForTests0123456789"
API = "/api/v3"


@dataclass
class GitHubDouble:
    """Its state: bare repositories below `root`, and pull requests. `failures` answer the next requests of a method."""

    url: str
    root: Path
    pulls: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    unauthorized: int = 0
    """Requests that came without the token."""

    @property
    def api(self) -> str:
        return f"{self.url}{API}"

    def repository(self, name: str, source: Path) -> str:
        """A bare copy of a repository, open for pushes with the token; its URL."""
        bare = self.root / f"{name}.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", str(source), str(bare)], check=True)
        subprocess.run(["git", "config", "http.receivepack", "true"], cwd=bare, check=True)
        return f"{self.url}/{name}"

    def git(self, name: str, *args: str) -> str:
        done = subprocess.run(
            ["git", *args], cwd=self.root / f"{name}.git", check=True, capture_output=True, text=True
        )
        return done.stdout.strip()


@contextmanager
def github_double(root: Path) -> Iterator[GitHubDouble]:
    """A GitHub for as long as this lasts."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._handle()

        def do_POST(self) -> None:
            self._handle()

        def log_message(self, *_: object) -> None:
            pass

        def _handle(self) -> None:
            body = self._body()
            parts = urlsplit(self.path)
            basic = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
            if self.headers.get("authorization") not in (f"Bearer {TOKEN}", basic):
                double.unauthorized += 1
                self._send(401, {"message": "Bad credentials"}, {"WWW-Authenticate": 'Basic realm="GitHub"'})
            elif not parts.path.startswith(API):
                self._git(parts.path, parts.query, body)
            elif waiting := double.failures.get(self.command):
                status, headers = waiting.pop(0)
                self._send(status, {"message": f"Status {status}", "documentation_url": "x"}, headers)
            else:
                self._rest(parts.path.removeprefix(f"{API}/repos/"), parse_qs(parts.query), body)

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
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _rest(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
            owner, name, *rest = path.split("/")
            bare = double.root / owner / f"{name}.git"
            if not bare.is_dir():
                self._send(404, {"message": "Not Found", "status": "404"})
            elif not rest:
                self._send(200, {"full_name": f"{owner}/{name}", "default_branch": "main", "private": True})
            elif self.command == "GET":
                head = query["head"][0].partition(":")[2]
                found = [p for p in double.pulls if p["head"]["ref"] == head and p["state"] == "open"]
                self._send(200, found)
            else:
                self._open(owner, name, json.loads(body))

        def _open(self, owner: str, name: str, asked: dict[str, Any]) -> None:
            heads = double.git(f"{owner}/{name}", "for-each-ref", "--format=%(refname:short)", "refs/heads")
            wrong = [side for side in ("head", "base") if asked[side] not in heads.splitlines()]
            errors: list[dict[str, str]] = [
                {"resource": "PullRequest", "field": side, "code": "invalid"} for side in wrong
            ]
            if any(p["head"]["ref"] == asked["head"] and p["state"] == "open" for p in double.pulls):
                said = f"A pull request already exists for {owner}:{asked['head']}."
                errors.append({"resource": "PullRequest", "code": "custom", "message": said})
            if errors:
                self._send(422, {"message": "Validation Failed", "errors": errors, "status": "422"})
                return
            number = len(double.pulls) + 1
            pull = {
                "number": number,
                "state": "open",
                "html_url": f"{double.url}/{owner}/{name}/pull/{number}",
                "title": asked["title"],
                "body": asked["body"],
                "draft": asked["draft"],
                "head": {"ref": asked["head"]},
                "base": {"ref": asked["base"]},
            }
            double.pulls.append(pull)
            self._send(201, pull)

        def _git(self, path: str, query: str, body: bytes) -> None:
            owner, name, rest = path.lstrip("/").split("/", 2)
            environment = {
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(double.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
                "PATH_INFO": f"/{owner}/{name.removesuffix('.git')}.git/{rest}",
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("content-type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
                "REMOTE_USER": owner,
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
    double = GitHubDouble(f"http://127.0.0.1:{server.server_port}", root)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
