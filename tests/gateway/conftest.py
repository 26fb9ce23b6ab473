"""One gateway per test module: its tests are organisations of their own."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gateway_stack import Member, Stack, running_gateway
from servers import Broker, Database, running_nats


@pytest.fixture(scope="module")
def module_nats() -> Iterator[Broker]:
    with running_nats() as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    module_nats: Broker, postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    with postgres_server.fresh() as dsn:
        async with running_gateway(module_nats, dsn, tmp_path_factory.mktemp("gateway")) as running:
            yield running


@pytest_asyncio.fixture(loop_scope="module")
async def member(stack: Stack) -> Member:
    """Somebody of an organisation that has no task yet."""
    return await stack.member()
