"""Hosts as people write them."""

from __future__ import annotations

import re

NONE, DEFAULT = "none", "default"

_HOST = re.compile(
    r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_IPV6 = re.compile(r"[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def split_port(text: str) -> tuple[str, int | None]:
    """`HOST`, `HOST:PORT`, `[IPv6]:PORT`, or an IPv6 address without a port. Raises `ValueError`."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no valid port")
    return host, int(port) if port else None


def network(text: str) -> list[tuple[str, int | None]]:
    """The network of a task: `none`, `default`, or `HOST[:PORT]` with commas between them, of which `default` may be one.

    `*.` in front of a host matches every host below it. Raises `ValueError`.
    """
    items = text.split(",")
    found = []
    for item in map(str.strip, items):
        try:
            host, port = split_port(item)
        except ValueError:
            host, port = "", None
        word = host in (NONE, DEFAULT)
        if word and (port is not None or (host == NONE and len(items) > 1)):
            host = ""
        if not (word or _HOST.fullmatch(host) or _IPV6.fullmatch(host)) or not host:
            raise ValueError(
                f"{item!r} is no host: give none, default, or HOST[:PORT] with commas between them"
            )
        found.append((host.lower(), port))
    return found
