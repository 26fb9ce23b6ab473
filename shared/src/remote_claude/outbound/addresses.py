"""Which addresses may be connected to."""

from __future__ import annotations

import asyncio
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

from remote_claude.outbound.hosts import split_port

SETTING = "RCLAUDE_OUTBOUND_ALLOW"
CONNECT_S = 10.0

Address = IPv4Address | IPv6Address

_EMBEDDING = tuple(ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
"""IPv6 addresses that a router turns into an IPv4 address of the caller's choice."""


class AddressRefused(Exception):
    """The host has no address that may be connected to."""

    code = "address_refused"

    def __init__(self, host: str, port: int, addresses: Iterable[str]) -> None:
        super().__init__(
            f"{host}:{port} is not on the public internet ({', '.join(addresses)}):"
            f" the operator can allow it with {SETTING}={host}:{port}"
        )


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: str
    network: IPv4Network | IPv6Network | None
    port: int | None


class AllowedHosts:
    """What the operator allows beyond the public internet.

    Rules are separated by commas: `HOST`, where `*.` in front matches every host below, or `ADDRESS/BITS`; each with
    `:PORT` behind it for one port only. Raises `ValueError` for a rule that is none.
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        self._rules = tuple(_rule(rule) for rule in rules)

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(filter(None, (rule.strip() for rule in text.split(","))))

    def allows(self, host: str, port: int, address: Address) -> bool:
        """Whether this address may be connected to, which `host` has resolved to."""
        return is_public(address) or any(
            rule.port in (None, port)
            and (address in rule.network if rule.network else fnmatchcase(host.lower(), rule.pattern))
            for rule in self._rules
        )


def _rule(text: str) -> _Rule:
    host, port = split_port(text)
    if not host or host.strip("*.") == "":
        raise ValueError(f"{text!r} names no host")
    try:
        return _Rule(host.lower(), ip_network(host, strict=False), port)
    except ValueError:
        if "/" in host or ":" in host:
            raise ValueError(f"{text!r} is neither a host nor a network") from None
        return _Rule(host.lower(), None, port)


def is_public(address: Address) -> bool:
    """Whether it is an address of the public internet, and of one host."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if any(address in network for network in _EMBEDDING):
            return False
    return address.is_global and not address.is_multicast


async def resolve(host: str, port: int, allowed: AllowedHosts) -> list[str]:
    """The addresses of a host that may be connected to, at least one.

    Raises `AddressRefused`, and `OSError` when the host has no address.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of the name is longer than 63 characters, or empty
        raise socket.gaierror(socket.EAI_NONAME, f"{host[:80]} is no name of a host") from error
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    fitting = [text for text in addresses if allowed.allows(host, port, ip_address(text.partition("%")[0]))]
    if not fitting:
        raise AddressRefused(host, port, addresses)
    return fitting


def refuse_local(host: str, port: int, allowed: AllowedHosts) -> None:
    """Raise `AddressRefused` for `localhost` and for an address that may not be connected to.

    An early answer when a URL is stored: other names are looked up at each connect.
    """
    try:
        address = ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    except ValueError:
        return
    if not allowed.allows(host, port, address):
        raise AddressRefused(host, port, [str(address)])


async def connect(host: str, port: int, allowed: AllowedHosts) -> tuple[StreamReader, StreamWriter]:
    """A connection to the first address of a host that answers and may be connected to.

    The address that was checked is the one that is used. Raises as `resolve` does, and `TimeoutError`.
    """
    failure: OSError | None = None
    async with asyncio.timeout(CONNECT_S):
        for address in await resolve(host, port, allowed):
            try:
                return await asyncio.open_connection(address, port)
            except OSError as error:
                failure = error
    assert failure is not None
    raise failure
