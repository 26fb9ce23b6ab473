"""Writes the OpenAPI document of an installation with all services: `python tests/openapi_document.py FILE`."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from remote_claude.runtime.host import connected, installed
from remote_claude.runtime.http.server import application
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics
from servers import running_nats, running_postgres, settings_for


async def document() -> bytes:
    """The document as JSON; broker and PostgreSQL run for as long as it takes to build the services."""
    with (
        running_nats() as broker,
        running_postgres() as database,
        TemporaryDirectory() as home,
        database.fresh() as dsn,
    ):
        metrics = Metrics("openapi")
        settings = settings_for(broker, dsn, Path(home))
        async with connected(settings, {}, metrics, Purpose.MAINTAIN) as runtime:
            services = [build(runtime) for build in installed()]
            return orjson.dumps(application(runtime, services, metrics).openapi())


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(asyncio.run(document()))
