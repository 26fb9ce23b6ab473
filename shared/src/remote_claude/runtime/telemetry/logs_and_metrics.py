"""Logs and metrics: structlog lines, OpenTelemetry instruments, a Prometheus page."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from remote_claude.eventsourcing import traces


class Metrics:
    """The instruments of one process, and the page that shows them."""

    def __init__(self, service: str) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # processor time, memory, open files
        reader = PrometheusMetricReader(registry=self._registry)
        self._provider = MeterProvider([reader], Resource.create({"service.name": service}))
        self.meter = self._provider.get_meter("remote_claude")

    def page(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop reading the instruments."""
        self._provider.shutdown()


def add_trace(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor: which trace a line belongs to, and what it is about, where that is known."""
    if (here := traces.current.get()) is not None:
        line.setdefault("trace_id", traces.trace_id(here))
        line.setdefault("span_id", traces.span_id(here))
    if (about := traces.correlation.get()) is not None:
        line.setdefault("correlation_id", about)
    return line


def configure_logging(level: str, *, as_json: bool) -> None:
    """One line an event on standard error; standard library loggers take the same way."""
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_trace,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn.access", "httpx2", "httpcore2", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
