"""Span ids follow from event ids, headers go on from cause to event, and nothing is exported unasked."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from uuid import UUID, uuid4

import pytest

from collector import Collector, collecting
from event_logs import JsonCodec, everything, happened
from remote_claude.eventsourcing import traces
from remote_claude.eventsourcing.cloudevents import encode_headers
from remote_claude.eventsourcing.events import caused_id
from remote_claude.eventsourcing.memory import InMemoryEventLog
from remote_claude.runtime.telemetry.observed_log import ObservedLog
from remote_claude.runtime.telemetry.tracing import Tracing, received

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"
STREAM = "ev.gateway.org_1.task.task_1"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        yield collector


@pytest.mark.parametrize(
    "header",
    [
        None, "", "nonsense", HEADER.upper(), HEADER + "-x", HEADER.replace("00-", "ff-", 1),
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-1",
    ],
)  # fmt: skip
def test_a_malformed_traceparent_is_ignored(header: str | None) -> None:
    assert received(header) is None


def test_a_caused_event_goes_on_with_the_trace_and_the_flags_of_its_cause() -> None:
    event_id = str(UUID(int=7, version=4))
    assert received(HEADER) == HEADER
    here = traces.of_event(HEADER, event_id)
    assert here == f"00-{TRACE}-{traces.span_of(event_id)}-01"
    assert received(here) == here
    assert traces.of_event(None, event_id) is None


@pytest.mark.parametrize("event_id", [str(UUID(int=7, version=4)), str(UUID(int=0)), "not a uuid", "x" * 36])
def test_every_event_id_gives_a_span_id_and_always_the_same(event_id: str) -> None:
    assert len(traces.span_of(event_id)) == 16
    assert traces.span_of(event_id) == traces.span_of(event_id)
    if event_id != str(UUID(int=0)):
        assert received(traces.root(event_id, sampled=True)) is not None


async def test_an_event_that_is_said_again_has_the_same_header() -> None:
    """The log may get the bytes twice, and the hash chain is over them."""
    logs = [InMemoryEventLog(JsonCodec()) for _ in range(2)]
    cause = str(uuid4())
    caused = caused_id(cause, "handler")
    for log in logs:
        observed = ObservedLog(log, Tracing())
        new = happened(
            event_id=caused,
            causation_id=cause,
            traceparent=traces.of_event(HEADER, caused),
            correlation_id="t",
        )
        position = await observed.append(STREAM, [happened(event_id=cause)], expected_position=0)
        await observed.append(STREAM, [new], expected_position=position)
    first, second = [await everything(log) for log in logs]
    assert [e.traceparent for e in first] == [e.traceparent for e in second]
    assert first[0].traceparent == traces.root(cause, sampled=False)
    assert b"traceparent: 00-" in encode_headers(new, "gateway", "Happened", 1)


async def test_an_event_without_a_cause_belongs_to_what_is_being_worked_on() -> None:
    log = InMemoryEventLog(JsonCodec())
    tracing = Tracing()
    with tracing.span("gateway", "request", HEADER, "key") as span:
        await ObservedLog(log, tracing).append(STREAM, [happened()], expected_position=0)
    assert traces.current.get() is None
    [event] = await everything(log)
    assert event.traceparent == traces.of_event(span.traceparent, event.event_id)
    assert event.correlation_id == "task_1"


def spans(collector: Collector, trace: str) -> Sequence[str]:
    return [f"{s.service}: {s.name} under {s.parent or 'nothing'}" for s in collector.of(trace)]


async def test_spans_of_a_sampled_trace_are_exported_with_their_parents(collector: Collector) -> None:
    tracing = Tracing.of(collector.environment)
    log = ObservedLog(InMemoryEventLog(JsonCodec()), tracing)
    cause = str(uuid4())
    with tracing.span("gateway", "request", HEADER, "key", answer=42) as span:
        position = await log.append(STREAM, [happened(event_id=cause)], expected_position=0)
    caused = caused_id(cause, "x")
    new = happened(event_id=caused, causation_id=cause, traceparent=traces.of_event(span.traceparent, caused))
    await log.append(STREAM.replace("gateway", "scheduler"), [new], expected_position=0)
    with pytest.raises(KeyError), tracing.span("runner", "attempt", HEADER, "other"):
        raise KeyError
    unsampled = HEADER[:-1] + "0"
    with tracing.span("gateway", "unsampled", unsampled, "third"):
        await log.append(STREAM, [happened()], expected_position=position)
    tracing.close()
    assert sorted(spans(collector, TRACE)) == sorted(
        [
            f"gateway: request under {SPAN}",
            f"gateway: Happened under {traces.span_id(span.traceparent)}",
            f"scheduler: Happened under {traces.span_of(cause)}",
            f"runner: attempt under {SPAN}",
        ]
    )
    by_name = {s.name: s for s in collector.spans}
    assert by_name["request"].attributes == {"answer": 42}
    assert [name for name, s in by_name.items() if s.failed] == ["attempt"]


async def test_a_sampler_of_the_environment_decides_about_traces_that_begin_here(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing = Tracing.of(collector.environment)
    with tracing.span("gateway", "begun here", None, "key") as begun:
        pass
    with tracing.span("gateway", "asked for", HEADER, "key"):
        pass
    tracing.close()
    assert not traces.sampled(begun.traceparent)
    assert [span.name for span in collector.spans] == ["asked for"]


@pytest.mark.parametrize("more", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_environment_can_switch_it_off(more: dict[str, str]) -> None:
    assert not Tracing.of({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **more}).exporting


def test_unasked_nothing_of_the_exporter_is_imported() -> None:
    code = (
        "import sys; from remote_claude.runtime.host import hosting; "
        "from remote_claude.runtime.telemetry.tracing import Tracing, received; Tracing.of({}).close(); "
        "print([m for m in sys.modules if m.startswith('opentelemetry.exporter.otlp')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
