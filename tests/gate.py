"""A TCP forwarder on the loopback that a test shuts and opens: what a machine sees of a network that is lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Gate:
    """Forwards to a port of this machine while it is open."""

    def __init__(self, port: int) -> None:
        self._target, self._sockets, self._lock = port, set[socket.socket](), threading.Lock()
        self._is_open = True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self) -> None:
        """Cut what is connected; what comes is cut at once."""
        with self._lock:
            self._is_open = False
            for one in self._sockets:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def open(self) -> None:
        """Forward again."""
        with self._lock:
            self._is_open = True

    def close(self) -> None:
        """For good."""
        self._listening.close()
        self.shut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                one, _ = self._listening.accept()
                with self._lock:
                    if not self._is_open:
                        one.close()
                        continue
                    other = socket.create_connection(("127.0.0.1", self._target))
                    self._sockets |= {one, other}
                for pair in ((one, other), (other, one)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
