"""The log over a real broker keeps the contract."""

from collections.abc import AsyncIterator

import pytest

from event_log_contract import HEARTBEAT, EventLogContract
from event_logs import Place, new_place
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from servers import Broker


class TestJetStreamEventLog(EventLogContract):
    @pytest.fixture
    async def place(self, nats_server: Broker) -> Place:
        return await new_place(nats_server)

    @pytest.fixture
    def prefix(self, place: Place) -> str:
        return place.prefix

    @pytest.fixture(params=[False, True], ids=["direct", "leader"])
    async def log(self, place: Place, request: pytest.FixtureRequest) -> AsyncIterator[JetStreamEventLog]:
        async with place.log(heartbeat=HEARTBEAT, leader_reads=request.param, attempt_timeout=1.0) as log:
            yield log


class TestPlainConnection(TestJetStreamEventLog):
    """Over the public API of nats-py."""

    @pytest.fixture
    async def log(self, place: Place) -> AsyncIterator[JetStreamEventLog]:
        async with place.log(plain=True, heartbeat=HEARTBEAT, attempt_timeout=1.0) as log:
            yield log
