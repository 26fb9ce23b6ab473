"""A package index over HTTP, with one made-up package in it."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

HOST = "127.0.0.2"
"""Loopback, and no address that tools leave their proxy out for."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The folder over HTTP; its port."""
    with ThreadingHTTPServer((HOST, 0), partial(_Quiet, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def package_index(folder: Path) -> None:
    """A simple index with one wheel in it."""
    place = folder / "simple" / "made-up-greeting"
    place.mkdir(parents=True)
    name, info = "made_up_greeting-1.0-py3-none-any.whl", "made_up_greeting-1.0.dist-info"
    contents = {
        "made_up_greeting.py": b"print('greetings from a package')\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: made-up-greeting\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(place / name, "w") as wheel:
        record = ""
        for path, data in contents.items():
            wheel.writestr(path, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(data)}\n"
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    (place / "index.html").write_text(f'<a href="{name}">{name}</a>')
