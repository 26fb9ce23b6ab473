"""The simulated broker keeps the contract of an event log while nothing goes wrong."""

from random import Random

import pytest

from event_log_contract import HEARTBEAT, EventLogContract
from event_logs import JsonCodec
from simulator.network import Broker, SimulatedLog


class TestSimulatedLog(EventLogContract):
    @pytest.fixture
    def prefix(self) -> str:
        return "ev"

    @pytest.fixture
    async def log(self) -> SimulatedLog:
        return SimulatedLog(Broker(JsonCodec(), Random(1), heartbeat=HEARTBEAT))
