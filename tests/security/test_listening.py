"""An embedded stack is there for this machine only: what its processes listen on, as the kernel says."""

import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from product import Product
from servers import until

LISTEN = "0A"


def listening(pid: int) -> set[tuple[str, int]]:
    """The addresses and ports on which one process takes TCP connections, out of /proc; none once it has ended."""
    inodes: set[str] = set()
    found: set[tuple[str, int]] = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
    if not inodes:
        return found
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in inodes:
                address, port = local.split(":")
                found.add((readable(family, address), int(port, 16)))
    return found


def readable(family: socket.AddressFamily, address: str) -> str:
    """The kernel writes addresses as words of this machine's byte order."""
    words = [int(address[n : n + 8], 16) for n in range(0, len(address), 8)]
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))


def test_every_process_of_an_embedded_stack_listens_on_loopback_only(stack: Product) -> None:
    task = stack.submit("sleep 600")
    until(lambda: stack.task(task)["state"] == "running", "the task to run", 60, pause=0.1)
    addresses = [(one.name(), *where) for one in stack.processes() for where in listening(one.pid)]
    document = stack.stack_file()
    config = json.loads((Path(document["home"]) / "nats" / "nats.conf").read_text())
    stack.run("cancel", task)
    stack.ended(task)
    ports = {port for _, _, port in addresses}
    for url in (document["url"], document["nats_url"], document["postgres_dsn"]):
        assert urlsplit(url).port in ports  # they were really looked at
    assert {address for _, address, _ in addresses} == {"127.0.0.1"}
    assert sum(name.startswith("nats-server") for name, _, _ in addresses) == 1
    assert not {"http", "https", "monitor_port", "websocket", "cluster", "leafnodes"} & config.keys()
