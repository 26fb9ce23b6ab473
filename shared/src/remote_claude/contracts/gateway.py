"""Events of the gateway: what a user asked for."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from remote_claude.contracts.base import Event, Sealed, Value


class BundleRepository(Value):
    """A Git bundle that was uploaded before, by its SHA-256."""

    kind: Literal["bundle"] = "bundle"
    sha256: str


class RemoteRepository(Value):
    """A repository to clone. The URL may carry a name or a token, so it is sealed."""

    kind: Literal["remote"] = "remote"
    url: Sealed
    ref: Sealed | None = None


Repository = Annotated[BundleRepository | RemoteRepository, Field(discriminator="kind")]


class GatewayEvent(Event):
    producer: ClassVar[str] = "gateway"
    aggregate: ClassVar[str] = "task"


class TaskSubmitted(GatewayEvent):
    """A task, as asked. `body_hash` tells a repeated idempotency key from a reused one.

    `timeout_s` bounds each attempt; None means the plan's bound.
    """

    type: ClassVar[str] = "TaskSubmitted"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
    prompt: Sealed
    agent: str
    repository: Repository | None = None
    max_attempts: int = 3
    timeout_s: int | None = None
    priority: int = 0
    labels: Sealed | None = None
    body_hash: str


class TaskCancellationRequested(GatewayEvent):
    type: ClassVar[str] = "TaskCancellationRequested"
    version: ClassVar[int] = 1

    task: str
    org: str
    user: str
