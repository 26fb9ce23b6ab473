"""An HTTPS host for tests, by a certificate authority of their own, which remembers what it was sent."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from remote_claude.runner.egress import Authority


@dataclass
class Host:
    """`requests` are those that have come: request line, headers and body as text."""

    port: int
    authorities: Path
    """The file of certificates that its clients have to trust."""
    requests: list[str] = field(default_factory=list)


@contextmanager
def https_host(folder: Path, address: str = "127.0.0.2") -> Iterator[Host]:
    """Serve at this address."""
    authority = Authority(folder)
    trusted = folder / "authorities.pem"
    system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    trusted.write_text(Path(system).read_text() + authority.pem)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            if self.headers.get("transfer-encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
            host.requests.append(f"{self.requestline}\n{self.headers}\n{body.decode()}")
            self.send_response(200)
            self.send_header("content-length", "3")
            self.end_headers()
            self.wfile.write(b"ok\n")

        do_GET = do_POST = answer  # noqa: N815 - the names that the base class looks for

    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.socket = authority.context(address).wrap_socket(server.socket, server_side=True)
        host = Host(server.server_port, trusted)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield host
        finally:
            server.shutdown()
            thread.join()
