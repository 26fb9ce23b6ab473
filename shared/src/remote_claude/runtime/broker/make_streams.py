"""Makes the broker's streams where they are missing: `python -m remote_claude.runtime.broker.make_streams`.

A process of its own, with the administrator's credential: the services never have it, and who keeps them running
stays small.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from remote_claude.runtime.lean_imports import import_lean

if TYPE_CHECKING:
    from remote_claude.runtime.settings import BrokerSettings


async def make_streams(
    settings: BrokerSettings, *, new_keys: bool = False, patience: float | None = None
) -> None:
    """Make what is missing, check what is there, once there is a broker: for `patience` seconds, or for ever.

    Raises what `ensure_streams` does, `NotPermitted`, `BrokerError`.
    """
    from remote_claude.eventsourcing.jetstream.streams import ensure_streams
    from remote_claude.runtime.broker.connection import connect_nats

    client = await connect_nats(settings, patience=patience)
    try:
        await ensure_streams(client, replicas=settings.replicas, new_keys=new_keys)
    finally:
        await client.close()


def main() -> None:
    """For a broker that is there: the first start of a stack waits for this."""
    import_lean()
    from remote_claude.eventsourcing.log import EventLogError
    from remote_claude.runtime.broker.connection import BrokerError
    from remote_claude.runtime.settings import BadSettings, BrokerSettings

    try:
        asyncio.run(make_streams(BrokerSettings.from_environment()))
    except (BadSettings, BrokerError, EventLogError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
