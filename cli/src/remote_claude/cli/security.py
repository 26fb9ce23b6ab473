"""What `rclaude doctor --security` looks at: who may read the home, who can reach the stack, and how old its keys are."""

from __future__ import annotations

import ipaddress
import os
import socket
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from remote_claude.cli import config
from remote_claude.cli.client import CliClient
from remote_claude.cli.errors import CliError
from remote_claude.cli.machine import MachineCheck
from remote_claude.cli.self_hosted import deployment, providers

SECRETS = (
    "kek", "api_key", "owner.json", "head_key", "config.json", "profiles.json", "providers.json", "self_hosted.json", "nats/*.nk",
    "credentials/*", "terraform/*/terraform.tfstate", "machine/joined.json",
)  # fmt: skip
"""Files of a home that nobody else may read."""
OLD_DAYS = 90
METADATA = ("169.254.169.254", 80)
METADATA_S = 0.5
LISTENS = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def checks(client: CliClient | None) -> Iterator[MachineCheck]:
    """Without a server that answers, what is on this machine only."""
    yield permissions(config.home())
    yield listening(config.stack_file())
    yield transport(config.target())
    yield gateway()
    yield isolation()
    yield stored()
    if client is not None:
        yield keys(client)
    yield metadata(*METADATA)


def permissions(home: Path) -> MachineCheck:
    """Whether others may read what is secret."""
    found = [file for pattern in SECRETS for file in home.glob(pattern) if file.is_file()]
    open_ones = sorted(str(file) for file in found if stat.S_IMODE(file.stat().st_mode) & 0o077)
    if open_ones:
        return MachineCheck(
            "permissions",
            "failed",
            f"others may read {', '.join(open_ones)}: chmod 600 {' '.join(open_ones)}",
        )
    return MachineCheck("permissions", "ok", f"{len(found)} secret files of {home} are their owner's alone")


def listening(stack: dict[str, Any] | None) -> MachineCheck:
    """Whether a process of the stack can be reached from other machines."""
    if stack is None:
        return MachineCheck("ports", "ok", "no stack runs here")
    inodes = {inode for pid in (stack["pid"], *_numbers(stack["pids"])) for inode in _sockets(pid)}
    outside = sorted(
        {
            f"{address}:{port}"
            for inode, address, port in listeners(_tables())
            if inode in inodes and not address.is_loopback
        }
    )
    if outside:
        return MachineCheck(
            "ports",
            "failed",
            f"other machines can reach {', '.join(outside)}: listen on 127.0.0.1 (RCLAUDE_HTTP_HOST)",
        )
    return MachineCheck("ports", "ok", "the stack listens on this machine only")


def transport(target: config.Target | None) -> MachineCheck:
    """Whether the way to the server is encrypted."""
    if target is None:
        return MachineCheck("TLS", "ok", "no server is configured")
    return _encrypted("TLS", target.url, "https://", "rclaude config url https://...")


def gateway() -> MachineCheck:
    """Whether workers in a cloud reach the gateway over TLS."""
    url = os.environ.get("RCLAUDE_RUNNER_GATEWAY_URL") or deployment.runner_settings().get(
        "RCLAUDE_RUNNER_GATEWAY_URL"
    )
    if not url:
        return MachineCheck("gateway", "ok", "no worker comes from elsewhere")
    return _encrypted("gateway", url, "wss://", "put TLS before the gateway and use wss://")


def isolation() -> MachineCheck:
    """Whether agents are kept from this machine."""
    if os.environ.get("RCLAUDE_RUNNER_ISOLATION") == "none":
        return MachineCheck(
            "isolation", "failed", "RCLAUDE_RUNNER_ISOLATION is none: agents run as you; unset it"
        )
    return MachineCheck("isolation", "ok", "agents run in sandboxes")


def stored() -> MachineCheck:
    """Where the credentials of providers are."""
    files = sorted(name for name, one in providers.load().items() if one.secrets and one.store == "file")
    if files:
        return MachineCheck(
            "credentials", "note", f"those of {', '.join(files)} are in files: a keyring protects them better"
        )
    return MachineCheck("credentials", "ok", "no credential of a provider is in a file")


def keys(client: CliClient) -> MachineCheck:
    """API keys that are old, or good for ever."""
    try:
        found = client.get("/v1/keys")["keys"]
    except CliError as error:
        return MachineCheck("API keys", "note", f"not known: {error}")
    now = datetime.now(UTC)
    old = [k["id"] for k in found if (now - datetime.fromisoformat(k["created_at"])).days > OLD_DAYS]
    endless = [k["id"] for k in found if not k["expires_at"] and k["id"] not in old]
    if old:
        return MachineCheck(
            "API keys",
            "note",
            f"older than {OLD_DAYS} days: {', '.join(old)}. Make new ones: `rclaude key create`",
        )
    if endless:
        return MachineCheck(
            "API keys",
            "note",
            f"never expire: {', '.join(endless)}. Use --expires-in-days for those you give away",
        )
    return MachineCheck("API keys", "ok", f"{len(found)}, none older than {OLD_DAYS} days")


def metadata(host: str, port: int) -> MachineCheck:
    """Whether this machine's metadata service gives credentials to anything that can make a request."""
    began = time.monotonic()
    try:
        with socket.create_connection((host, port), METADATA_S):
            pass
        with urllib.request.urlopen(f"http://{host}:{port}/latest/meta-data/", timeout=METADATA_S) as answer:
            open_to_all = answer.status == 200
    except urllib.error.HTTPError as error:
        open_to_all = error.code == 200
    except OSError:
        return MachineCheck("metadata service", "ok", f"none answers ({time.monotonic() - began:.1f} s)")
    if open_to_all:
        return MachineCheck(
            "metadata service",
            "failed",
            "it answers without a token (IMDSv1): aws ec2 modify-instance-metadata-options --http-tokens required "
            "--http-put-response-hop-limit 1",
        )
    return MachineCheck("metadata service", "note", "it needs a token; sandboxes don't reach it")


def _encrypted(name: str, url: str, scheme: str, advice: str) -> MachineCheck:
    host = urlsplit(url).hostname or ""
    if url.startswith(scheme):
        return MachineCheck(name, "ok", url)
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if is_here:
        return MachineCheck(name, "ok", f"{url} stays on this machine")
    return MachineCheck(name, "failed", f"{url} is not encrypted: {advice}")


def _numbers(pids: dict[str, Any]) -> Iterator[int]:
    for one in pids.values():
        yield from one if isinstance(one, list) else (one,)


def _sockets(pid: int) -> Iterator[str]:
    """The inodes of a process's sockets; none of a process that is another's, or gone."""
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            name = os.readlink(descriptor)
            if name.startswith("socket:["):
                yield name[8:-1]
    except OSError:
        return


def listeners(rows: str) -> Iterator[tuple[str, ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    """Inode, address and port of each listening TCP socket, from the rows of /proc/net/tcp or tcp6. Source: proc(5)."""
    for row in rows.splitlines():
        fields = row.split()
        if len(fields) > 9 and fields[3] == LISTENS:
            digits, port = fields[1].split(":")
            yield fields[9], _address(digits), int(port, 16)


def _tables() -> str:
    """Every TCP socket of this machine."""
    return "".join(
        table.read_text() for table in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if table.exists()
    )


def _address(digits: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """From groups of four bytes in this machine's order."""
    words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    packed = b"".join(word[::-1] for word in words)
    return ipaddress.ip_address(packed)
