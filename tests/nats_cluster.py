"""Three brokers on this machine that keep their streams together."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
import nats.errors
from nats.js.api import StorageType, StreamConfig

from remote_claude.runtime.embedded.child_process import Child
from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.embedded.nats import find_nats, greeting
from servers import Broker, OwnServer

SIZE = 3


class Cluster:
    """`nodes` by the names that the brokers give themselves; `broker` stands for all of them together."""

    def __init__(self, nodes: dict[str, OwnServer], urls: list[str]) -> None:
        self.nodes = nodes
        self.broker = ClusterBroker(next(iter(nodes.values())), urls)

    async def elected(self) -> None:
        """Wait until the three have found each other and take streams."""
        client = await nats.connect(**self.broker.options)
        js = client.jetstream(timeout=1)
        probe = StreamConfig(name="PROBE", subjects=["probe"], num_replicas=SIZE, storage=StorageType.MEMORY)
        async with asyncio.timeout(60):
            while True:
                with suppress(nats.errors.Error):
                    await js.add_stream(probe)
                    await js.delete_stream("PROBE")
                    break
                await asyncio.sleep(0.05)
        await client.close()


class ClusterBroker(Broker):
    def __init__(self, server: OwnServer, urls: list[str]) -> None:
        super().__init__(server, urls[0], None)
        self._urls = urls

    @property
    def options(self) -> dict[str, Any]:
        return {"servers": self._urls}


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    with TemporaryDirectory(prefix="rclaude-test-") as folder, ExitStack() as stack:
        ports = free_ports(2 * SIZE)
        clients, routes = ports[:SIZE], ports[SIZE:]
        names = [f"n{n}" for n in range(SIZE)]
        nodes = {
            name: OwnServer(_node(Path(folder), name, port, route, routes), _greets(port), Path(folder))
            for name, port, route in zip(names, clients, routes, strict=True)
        }
        for node in nodes.values():
            stack.callback(node.kill)
        yield Cluster(nodes, [f"nats://127.0.0.1:{port}" for port in clients])


def _node(folder: Path, name: str, port: int, route: int, routes: list[int]) -> Child:
    config = folder / f"{name}.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": name,
                "host": "127.0.0.1",
                "port": port,
                "jetstream": {"store_dir": str(folder / name), "sync_interval": "always"},
                "cluster": {
                    "name": "test",
                    "listen": f"127.0.0.1:{route}",
                    "routes": [f"nats://127.0.0.1:{other}" for other in routes],
                },
            }
        )
    )

    async def ready() -> None: ...

    return Child(
        name=name,
        argv=[str(find_nats()), "--config", str(config)],
        env={"PATH": os.defpath},
        ready=ready,
        stop_signal=signal.SIGTERM,
        death_signal=signal.SIGKILL,
    )


def _greets(port: int) -> Callable[[], bool]:
    def greets() -> bool:
        try:
            return greeting("127.0.0.1", port).get("jetstream") is True
        except (OSError, ValueError):
            return False

    return greets


def free_ports(n: int) -> list[int]:
    ports: list[int] = []
    for _ in range(n):
        ports.append(free_port(taken=ports))
    return ports
