"""Which addresses a URL of a user may lead to."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from ipaddress import ip_address

import httpx2
import pytest

from remote_claude.outbound import AddressRefused, AllowedHosts, CheckedTransport, connect


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("0.0.0.0", False),  # noqa: S104  refused
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_public_internet_are_allowed(address: str, public: bool) -> None:
    assert AllowedHosts().allows("any.example", 443, ip_address(address)) is public


@pytest.mark.parametrize(
    ("rules", "host", "port", "address", "allowed"),
    [
        ("10.0.0.0/8", "git.corp", 443, "10.1.2.3", True),
        ("10.0.0.0/8", "git.corp", 443, "192.168.0.1", False),
        ("git.corp", "git.corp", 22, "192.168.0.1", True),
        ("git.corp:443", "git.corp", 22, "192.168.0.1", False),
        ("*.corp", "git.corp", 443, "192.168.0.1", True),
        ("*.corp", "corp", 443, "192.168.0.1", False),
        ("a.corp, [::1]:8080", "x", 8080, "::1", True),
        ("127.0.0.1:8080", "x", 8081, "127.0.0.1", False),
    ],
)
def test_the_operator_allows_hosts_and_networks(
    rules: str, host: str, port: int, address: str, allowed: bool
) -> None:
    assert AllowedHosts.parse(rules).allows(host, port, ip_address(address)) is allowed


@pytest.mark.parametrize("rules", ["*", "10.0.0.0/99", "a.corp:0", ":80"])
def test_a_rule_that_is_none_is_an_error(rules: str) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        AllowedHosts.parse(rules)


async def test_a_refused_address_is_never_connected_to() -> None:
    with pytest.raises(AddressRefused, match="RCLAUDE_OUTBOUND_ALLOW=localhost:9"):
        await connect("localhost", 9, AllowedHosts())


async def test_every_request_of_a_redirect_is_checked() -> None:
    async def redirect(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host = head.partition(b"host: ")[2] or head.partition(b"Host: ")[2]
        assert host.startswith(b"localhost:")
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(redirect, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = CheckedTransport(AllowedHosts.parse(f"localhost:{port}"))
        async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as client:
            with pytest.raises(AddressRefused, match=r"127\.0\.0\.1:9"):
                await client.get(f"http://localhost:{port}/")
