"""One installation per test module."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

import browsers
from identity_stack import Installation, installed
from servers import Broker, Database, running_nats

if lacking := [what for what in browsers.missing() if "page's" not in what]:
    if browsers.wanted():
        raise pytest.UsageError(f"{browsers.WANTED} is set, and there is no {', no '.join(lacking)}")
    collect_ignore = ["test_github_sign_in.py"]


@pytest.fixture(scope="module")
def module_nats() -> Iterator[Broker]:
    with running_nats() as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(
    module_nats: Broker, postgres_server: Database, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    with postgres_server.fresh() as dsn:
        async with installed(module_nats, dsn, tmp_path_factory.mktemp("identity")) as running:
            yield running
