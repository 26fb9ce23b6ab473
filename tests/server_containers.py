"""The same servers in containers, by Testcontainers, when `RCLAUDE_TEST_CONTAINERS=1` asks for it.

`RCLAUDE_TEST_NATS_IMAGE` and `RCLAUDE_TEST_POSTGRES_IMAGE` name other images than the official ones.
`make test-containers` sets all three, and makes engine and images where there are none.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from testcontainers.core.container import DockerContainer

from remote_claude.runtime.durable_files import write_private
from remote_claude.runtime.embedded.nats import NatsServer
from remote_claude.runtime.embedded.postgres import DATABASE, ROLE, PostgresServer
from servers import until

LABEL = "remote-claude-test"


class ContainerServer:
    """A server in a container that is there already: it keeps its port and data until the container is removed."""

    def __init__(self, container: DockerContainer, answers: Callable[[], bool]) -> None:
        self._container: Any = container.get_wrapped_container()
        self._answers = answers
        self._wait()

    @property
    def pid(self) -> int:
        self._container.reload()
        return int(self._container.attrs["State"]["Pid"])

    def start(self) -> None:
        self._container.start()
        self._wait()

    def stop(self) -> None:
        self._container.stop(timeout=30)

    def kill(self) -> None:
        self._container.kill()
        self._container.wait()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _wait(self) -> None:
        until(self._answers, f"{self._container.name} answers")


@contextmanager
def serving_container(spec: NatsServer | PostgresServer, env: Mapping[str, str]) -> Iterator[ContainerServer]:
    """What `spec` describes, in a container; removed afterwards."""
    container = _nats(spec, env) if isinstance(spec, NatsServer) else _postgres(spec, env)
    inside = 4222 if isinstance(spec, NatsServer) else 5432
    container.ports[str(inside)] = ("127.0.0.1", spec.port)  # type: ignore[assignment]
    with container.with_kwargs(labels={LABEL: "1"}):
        yield ContainerServer(container, spec.answers)


def _nats(spec: NatsServer, env: Mapping[str, str]) -> DockerContainer:
    config = spec.config() | {"host": "0.0.0.0", "port": 4222}  # noqa: S104 - inside the container
    config["jetstream"]["store_dir"] = "/data"
    write_private(spec.folder / "nats.conf", json.dumps(config))
    container = DockerContainer(env.get("RCLAUDE_TEST_NATS_IMAGE", "nats:2.12-alpine"))
    container.with_volume_mapping(spec.folder / "nats.conf", "/etc/remote-claude/nats.conf")
    return container.with_command(["nats-server", "--config", "/etc/remote-claude/nats.conf"])


def _postgres(spec: PostgresServer, env: Mapping[str, str]) -> DockerContainer:
    container = DockerContainer(env.get("RCLAUDE_TEST_POSTGRES_IMAGE", "postgres:18-alpine"))
    container.with_envs(POSTGRES_USER=ROLE, POSTGRES_DB=DATABASE, POSTGRES_PASSWORD=spec.password())
    return container.with_command(["postgres", "-c", "fsync=off", "-c", "max_connections=100"])
