"""Imports nats-py and structlog without optional libraries that are installed and that nothing here uses with them.

nats-py imports aiohttp, for a broker behind WebSocket; structlog imports rich, for coloured tracebacks. Together they take an
eighth of a service's start.
"""

import sys

UNUSED = ("aiohttp", "rich")


def import_lean() -> None:
    """Import both; has to come before anything else that imports them. Later imports find the optional libraries again."""
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an import raises `ImportError`
    try:
        import nats  # noqa: F401
        import structlog  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
