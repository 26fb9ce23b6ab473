"""Traces across services: spans of requests, events, folds and attempts, sent by OTLP where the environment asks for it.

`OTEL_EXPORTER_OTLP_ENDPOINT` switches it on; the other variables of OpenTelemetry (sampler, headers, batches) count
as its SDK reads them. Without it nothing is exported, and headers go on through the log.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.events import NewEvent, RecordedEvent
from remote_claude.eventsourcing.postgres.batches import DeadLetter
from remote_claude.eventsourcing.views import View

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
Attributes = Mapping[str, str | int | bool]
Kind = Literal["internal", "server", "producer", "consumer"]


PROPAGATOR, IDS = TraceContextTextMapPropagator(), RandomIdGenerator()


def new_span_id() -> str:
    """A random one, in hex."""
    return format_span_id(IDS.generate_span_id())


def received(header: str | None) -> str | None:
    """The `traceparent` that a request came with, of version 00; None where it is missing or malformed."""
    if header is None:
        return None
    found = get_current_span(PROPAGATOR.extract({"traceparent": header}, Context())).get_span_context()
    if not found.is_valid:
        return None
    return f"00-{format_trace_id(found.trace_id)}-{format_span_id(found.span_id)}-{found.trace_flags:02x}"


@dataclass(slots=True)
class Span:
    """A span under way. `error` marks it as failed and says why."""

    traceparent: str
    attributes: dict[str, str | int | bool] = field(default_factory=dict)
    error: str | None = None


class Tracing:
    """Makes the spans of one process. `Tracing()` exports nothing, `Tracing.of(environment)` to where the environment says."""

    def __init__(self, exporter: Exporter | None = None) -> None:
        self._exporter = exporter

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Tracing:
        wanted = any(environment.get(name) for name in ENDPOINTS)
        disabled = (
            environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
            or environment.get("OTEL_TRACES_EXPORTER") == "none"
        )
        if not wanted or disabled:
            return cls()
        return cls(Exporter())

    @property
    def exporting(self) -> bool:
        return self._exporter is not None

    def close(self) -> None:
        """Send what is left; blocks for as long as the collector takes, at most the exporter's time-out."""
        if self._exporter is not None:
            self._exporter.close()

    def begin(self) -> str:
        """A new trace, and the id of its first span."""
        trace = format_trace_id(IDS.generate_trace_id())
        sampled = self._exporter is not None and self._exporter.samples(trace)
        return f"00-{trace}-{new_span_id()}-0{int(sampled)}"

    @contextmanager
    def span(
        self, service: str, name: str, parent: str | None, key: str, **attributes: str | int | bool
    ) -> Iterator[Span]:
        """A span of `service` while this lasts. Its id follows from `key`; without a parent it begins a trace."""
        here = traces.child(parent, traces.derived_span(key)) if parent is not None else self.begin()
        span, before, started = Span(here, dict(attributes)), traces.current.set(here), time.time_ns()
        try:
            yield span
        except BaseException as error:
            span.error = span.error or type(error).__name__
            raise
        finally:
            traces.current.reset(before)
            above = traces.span_id(parent) if parent is not None else None
            self.record(service, name, here, above, started, attributes=span.attributes, error=span.error)

    def headed(self, new: NewEvent) -> str:
        """The `traceparent` of an event whose author gave it none: below what is being worked on, or a trace of its own."""
        here = traces.of_event(traces.current.get(), new.event_id)
        if here is not None:
            return here
        here = traces.root(new.event_id, sampled=False)
        if self._exporter is not None and self._exporter.samples(traces.trace_id(here)):
            here = traces.root(new.event_id, sampled=True)
        return here

    def appended(self, stream: str, events: Sequence[NewEvent], position: int, started: int) -> None:
        """A span for each event that has landed, from its append on."""
        if self._exporter is None:
            return
        under = traces.current.get()
        first = position - len(events) + 1
        for n, new in enumerate(events):
            here = new.traceparent
            if here is None:
                continue
            parent = None
            if new.causation_id is not None:
                parent = traces.span_of(new.causation_id)
            elif under is not None and traces.trace_id(under) == traces.trace_id(here):
                parent = traces.span_id(under)
            attributes: dict[str, str | int | bool] = {
                "rclaude.event.id": new.event_id, "rclaude.stream": stream, "rclaude.position": first + n,
            }  # fmt: skip
            if new.correlation_id is not None:
                attributes["rclaude.correlation.id"] = new.correlation_id
            service, name = stream.split(".", 2)[1], new.event.type
            self.record(service, name, here, parent, started, attributes=attributes, kind="producer")

    def folded(
        self, view: View, events: Sequence[RecordedEvent], letters: Sequence[DeadLetter], started: int
    ) -> None:
        """A span for each event that a view has folded or parked, below the event's own."""
        if self._exporter is None:
            return
        parked = {letter.event.position for letter in letters}  # why is for the log: it may quote data
        service = view.name.partition("_")[0]
        for event in events:
            parent = event.traceparent
            if event.type in view.handles and parent is not None:
                here = traces.child(parent, traces.derived_span(f"{event.event_id}/{view.name}"))
                self.record(
                    service, f"fold {view.name}", here, traces.span_id(parent), started,
                    attributes={"rclaude.event.type": event.type, "rclaude.position": event.position},
                    error="parked" if event.position in parked else None, kind="consumer",
                )  # fmt: skip

    def record(
        self,
        service: str,
        name: str,
        here: str,
        parent: str | None,
        started: int,
        *,
        attributes: Attributes | None = None,
        error: str | None = None,
        kind: Kind = "internal",
    ) -> None:
        """Export a span that ends now. `started` is in nanoseconds since the epoch, `parent` a span id."""
        if self._exporter is not None and traces.sampled(here):
            self._exporter.send(service, name, here, parent, started, attributes or {}, error, kind)


class Exporter:
    """OpenTelemetry's, over OTLP/HTTP. Its settings come from the process's environment."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import Decision

        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._sampled = Decision.RECORD_AND_SAMPLE
        self._make_resource = Resource.create
        self._resources: dict[str, Any] = {}

    def samples(self, trace: str) -> bool:
        """Whether a trace that begins here is exported."""
        decision = self._sampler.should_sample(None, int(trace, 16), "root").decision
        return decision is self._sampled

    def send(
        self,
        service: str,
        name: str,
        here: str,
        parent: str | None,
        started: int,
        attributes: Attributes,
        error: str | None,
        kind: Kind,
    ) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        resource = self._resources.get(service)
        if resource is None:
            resource = self._resources[service] = self._make_resource({"service.name": service})
        trace, flags = int(traces.trace_id(here), 16), TraceFlags(int(here[53:], 16))
        span = ReadableSpan(
            name,
            context=SpanContext(trace, int(traces.span_id(here), 16), is_remote=False, trace_flags=flags),
            parent=SpanContext(trace, int(parent, 16), is_remote=True, trace_flags=flags) if parent else None,
            resource=resource,
            attributes=dict(attributes),
            kind=SpanKind[kind.upper()],
            status=Status(StatusCode.ERROR, error) if error is not None else Status(StatusCode.UNSET),
            start_time=started,
            end_time=time.time_ns(),
        )
        self._processor.on_end(span)

    def close(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]
