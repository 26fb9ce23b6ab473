"""`rclaude-admin rebuild VIEW...` in a process that may connect to its broker and nowhere else.

`python tests/offline_rebuild.py HOST:PORT VIEW...`. PostgreSQL's library connects by itself, and is no business of Python's
sockets. Anything else that resolves a name or connects ends the process at once, with status 99 and the address.
"""

import os
import sys
from typing import Any

from remote_claude.runtime.admin import command_line

STATUS = 99


def stay_offline(allowed: tuple[str, int]) -> None:
    """Refuse the outside, for good: an audit hook can't be taken off."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            outside = arguments[1] != allowed
        elif event == "socket.getaddrinfo":
            outside = arguments[:2] != allowed
        else:
            outside = event in ("socket.sendto", "socket.gethostbyname", "subprocess.Popen", "os.system")
        if outside:
            sys.stderr.write(f"reached for the outside: {event} {arguments[-1]!r} {arguments}\n")
            sys.stderr.flush()
            os._exit(STATUS)

    sys.addaudithook(hook)


def main(broker: str, *views: str) -> None:
    host, _, port = broker.partition(":")
    stay_offline((host, int(port)))
    for view in views:
        sys.argv = ["rclaude-admin", "rebuild", view]
        try:
            command_line.main()
        except SystemExit as end:
            if end.code:
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])
