"""Placeholders of secrets in a sandbox. In requests to a secret's hosts, and in no others, its value replaces the placeholder."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, quote_plus

from remote_claude.outbound.hosts import split_port
from remote_claude.runner.egress.policy import matches

TLS_PORT = 443
MAX_BODY = 1024 * 1024
"""Bytes of a body that is searched for placeholders when its length is announced. A chunked one is searched whole."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """`text` is replaced by `value` in requests to `hosts`, each by pattern and port."""

    name: str
    text: str
    value: str = field(repr=False)
    hosts: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, name: str, value: str, hosts: Iterable[str]) -> Self:
        """A new one, good for one attempt."""
        split = (split_port(host) for host in hosts)
        text = f"rclaude-{name.lower().replace('_', '-')}-{secrets.token_hex(16)}"
        return cls(name, text, value, tuple((host, port or TLS_PORT) for host, port in split))

    def goes_to(self, host: str, port: int) -> bool:
        """Whether a request there may have the value."""
        return any(port == only and matches(pattern, host) for pattern, only in self.hosts)


class Swapper:
    """Puts values in the place of placeholders, for one host. `used` collects the names of those that were met."""

    def __init__(self, placeholders: Sequence[Placeholder]) -> None:
        self.placeholders = placeholders
        self.used: set[str] = set()

    @property
    def longest(self) -> int:
        """Bytes of the longest placeholder."""
        return max(len(one.text) for one in self.placeholders)

    def target(self, target: bytes) -> bytes:
        """Path and query."""
        return self._swap(target, lambda value: quote(value, safe=""))

    def header(self, name: bytes, value: bytes) -> bytes:
        """A header's value; name and password of basic authentication too."""
        scheme, space, rest = value.partition(b" ")
        if name == b"authorization" and scheme.lower() == b"basic":
            try:
                plain = base64.b64decode(rest, validate=True)
            except ValueError:
                return value
            return scheme + space + base64.b64encode(self._swap(plain, str))
        return self._swap(value, str)

    def body(self, data: bytes, content_type: bytes) -> bytes:
        """A body or a part of one, by its kind: in JSON and in forms, the value is written as they write it."""
        if b"json" in content_type:
            return self._swap(data, lambda value: json.dumps(value)[1:-1])
        if b"x-www-form-urlencoded" in content_type:
            return self._swap(data, quote_plus)
        return self._swap(data, str)

    def _swap(self, data: bytes, written: Callable[[str], str]) -> bytes:
        for one in self.placeholders:
            if (text := one.text.encode()) in data:
                self.used.add(one.name)
                data = data.replace(text, written(one.value).encode())
        return data
