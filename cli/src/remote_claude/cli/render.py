"""How things look to a person: frames, states, tables, money. Remote text never reaches a terminal unwashed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from remote_claude.cli.columns import elided, fit, screen_width
from remote_claude.cli.terminal import output_text, safe_text

if TYPE_CHECKING:
    from rich.live import Live as RichLive
    from rich.text import Text

NANO = 1_000_000_000
COLOURS = {"dim": "2", "bold": "1", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
TERMINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "timed_out", "rejected"})
State = Literal[
    "submitted", "queued", "assigned", "running", "succeeded", "failed", "cancelled", "timed_out", "rejected"
]


DECISIONS = {
    "allow": "allowed",
    "allow_always": "allowed from now on",
    "deny": "denied",
    "withdrawn": "not asked any more",
}
"""Answers to a permission request, in words."""


def ring() -> None:
    """Call the person at this terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\a")
        sys.stderr.flush()


def emit(document: Any) -> None:
    """A document for programs: one line of JSON on standard output."""
    in_unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, ensure_ascii=not in_unicode), flush=True)


def say(text: str = "", *, to_stderr: bool = False) -> None:
    """A line for people."""
    print(safe_text(text), file=sys.stderr if to_stderr else sys.stdout, flush=True)


def note(text: str) -> None:
    """A line for people about the command itself, which is never part of its output."""
    say(text, to_stderr=True)


def clear_screen() -> None:
    """Begin at the top, on a terminal."""
    if sys.stdout.isatty():
        print("\x1b[2J\x1b[H", end="", flush=True)


def coloured(text: str, colour: str) -> str:
    """The text in a colour, on a terminal."""
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if is_styled() else text


def is_styled() -> bool:
    """Whether what is printed may have colours: on a terminal, unless `NO_COLOR` is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def money(nano_usd: int) -> str:
    """Dollars, exact: as many decimals as it takes, two at least."""
    whole, fraction = divmod(abs(nano_usd), NANO)
    decimals = f"{fraction:09}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano_usd < 0 else ''}${whole:,}.{decimals}"


def local_time(text: str | None) -> str:
    """A time of the server's, in this machine's zone."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S") if text else "-"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    elastic: str | None = None,
    expendable: Sequence[str] = (),
) -> None:
    """Columns under their names. On a narrow screen the `elastic` one is cut, `expendable` ones are left out."""
    lines = [[safe_text(str(cell)) for cell in row] for row in (head, *rows)]
    for number, cells in enumerate(fit(lines, screen_width(), elastic, expendable)):
        line = "  ".join(cells).rstrip()
        print(coloured(line, "bold") if number == 0 else line)


class ProgressLine:
    """A line on standard error for as long as something takes: on a terminal it counts seconds, then goes away."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._started = time.monotonic()
        self._live: RichLive | None = None

    def __enter__(self) -> Self:
        if not sys.stderr.isatty():
            note(self.text)
            return self
        from rich.console import Console
        from rich.live import Live as RichLive

        console = Console(stderr=True, highlight=False)
        self._live = RichLive(
            get_renderable=self._line,
            console=console,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
        )
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def _line(self) -> Text:
        from rich.text import Text

        line = safe_text(f"{self.text} · {int(time.monotonic() - self._started)} s")
        return Text(line, style="dim", no_wrap=True, overflow="ellipsis")


class LiveView:
    """What an agent does, line by line; on a terminal with a quiet line below that says how long it has taken."""

    def __init__(self, since: str | None = None, *, progress: bool = True) -> None:
        """`since` is when the task was handed over or started (RFC 3339); now if left out."""
        self._terminal = progress and sys.stdout.isatty()
        age = (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds() if since else 0.0
        self._started = time.monotonic() - max(0.0, age)
        self._state = "submitted"
        self._open = False
        self._progress = False

    def state(self, state: str) -> None:
        """The task has changed its state."""
        self._state = state
        self._draw()

    def frames(self, frames: Sequence[dict[str, Any]]) -> None:
        """Frames of the agent, in order."""
        self.clear()
        for frame in frames:
            self._frame(frame)
        sys.stdout.flush()
        self._draw()

    def clear(self) -> None:
        """Take the progress line away."""
        if self._progress:
            sys.stdout.write("\r\x1b[2K")
            self._progress = False

    def finish(self) -> None:
        """End an open line, and the progress line."""
        self.clear()
        if is_styled():
            sys.stdout.write("\x1b[0m")  # of what the agent left on
        if self._open:
            print(flush=True)
            self._open = False

    def _draw(self) -> None:
        if self._terminal and not self._open and self._state not in TERMINAL_STATES:
            self.clear()
            seconds = int(time.monotonic() - self._started)
            sys.stdout.write(f"\x1b[2m{self._state} · {seconds // 60}:{seconds % 60:02}\x1b[0m")
            sys.stdout.flush()
            self._progress = True

    def _frame(self, frame: dict[str, Any]) -> None:
        match frame.get("kind"):
            case "output":
                self._write(str(frame.get("text", "")))
            case "text":
                self._line(str(frame.get("text", "")))
            case "user_message":
                self._line(coloured("> ", "cyan") + safe_text(str(frame.get("text", ""))), washed=True)
            case "permission_request":
                self._line(coloured("? may it use ", "yellow") + safe_text(tool_call(frame)), washed=True)
            case "permission_answer":
                said = DECISIONS.get(str(frame.get("decision")), str(frame.get("decision")))
                self._line(coloured(safe_text(f"  {said}"), "dim"), washed=True)
            case "tool_call":
                self._line(coloured("→ ", "cyan") + safe_text(tool_call(frame)), washed=True)
            case "tool_result":
                text = str(frame.get("content", "")).strip()
                if text:
                    shown = text if len(text) <= 500 else text[:500] + " …"
                    lines = "\n".join("  " + line for line in safe_text(shown).splitlines())
                    self._line(coloured(lines, "red" if frame.get("is_error") else "dim"), washed=True)
            case "connection" if frame.get("outcome") != "closed":
                self._line(coloured(safe_text(f"network: {frame.get('detail', '')}"), "yellow"), washed=True)
            case "result" if frame.get("reason") not in (None, "agent_exited"):  # the rest has been shown
                self._line(coloured(safe_text(str(frame.get("text", ""))), "red"), washed=True)

    def _write(self, text: str) -> None:
        if self._open and text.startswith("\r") and not text.startswith("\r\n"):
            sys.stdout.write("\n")  # another state of the line, which is printed already
        shown = output_text(text, styled=is_styled())
        sys.stdout.write(shown)
        self._open = not shown.endswith("\n") if shown else self._open

    def _line(self, text: str, *, washed: bool = False) -> None:
        if self._open:
            sys.stdout.write("\n")
        sys.stdout.write((text if washed else safe_text(text)).rstrip("\n") + "\n")
        self._open = False


def tool_call(frame: dict[str, Any]) -> str:
    """The name of a tool, and what of its input says most."""
    given = frame.get("input") or {}
    hint = next(
        (str(given[key]) for key in ("command", "file_path", "path", "pattern", "url") if key in given), ""
    )
    return f"{frame.get('name', 'tool')} {hint.splitlines()[0][:160] if hint else ''}".rstrip()


def describe_task(task: dict[str, Any]) -> None:
    """One task, for people."""
    state = str(task["state"])
    colour = {"succeeded": "green", "failed": "red", "timed_out": "red", "rejected": "red"}.get(
        state, "yellow"
    )
    rows = [
        ("task", task["id"]),
        ("state", coloured(state.replace("_", " "), colour)),
        ("agent", safe_text(task["agent"])),
        ("prompt", _shorten(safe_text(str(task.get("prompt") or "")))),
        ("attempts", _attempts(task)),
        ("submitted", local_time(task.get("submitted_at"))),
        ("started", local_time(task.get("started_at"))),
        ("finished", local_time(task.get("finished_at"))),
    ]
    if why := explanation(task):
        rows.insert(2, ("because" if state != "succeeded" else "note", safe_text(why)))
    if labels := task.get("labels"):
        rows.append(("labels", safe_text(", ".join(f"{name}={value}" for name, value in labels.items()))))
    result = task.get("result") or {}
    if result.get("commit"):
        rows.append(("commit", f"{result['commit']} on rclaude/{task['id']}"))
    elif result.get("patch"):
        rows.append(("result", "a patch, without a commit"))
    if wanted := task.get("pull_request"):
        rows.append(("pull request", safe_text(pull_request(wanted))))
    if task.get("exit_code") is not None:
        rows.append(("exit code", str(task["exit_code"])))
    if task.get("cost"):
        rows.append(("cost", money(int(task["cost"]["total_nano_usd"]))))
    kept = [
        f"{kind} until {local_time(until)}" for kind, until in task.get("kept_until", {}).items() if until
    ]
    if kept:
        rows.append(("kept", ", ".join(kept)))
    if removed := task.get("removed"):
        rows.append(("not kept", f"{', '.join(removed)}: their time by the plan is over"))
    for name, value in rows:
        print(f"{name:>12}  {value}")


def pull_request(wanted: dict[str, Any]) -> str:
    """Where it is, or why there is none."""
    match wanted["state"]:
        case "opened":
            return str(wanted["url"] or f"number {wanted['number']} on {wanted['forge']}")
        case "failed":
            return f"none: {wanted['detail'] or str(wanted['reason']).replace('_', ' ')}"
        case _:
            return "it is opened when the task has succeeded"


REASONS = {
    "agent_exited": "the agent ended with an error",
    "agent_failed": "the agent said that it failed",
    "agent_unavailable": "the agent can't run there",
    "attempts_exhausted": "its sandbox or its runner was lost in every attempt that it may have",
    "out_of_memory": "the sandbox ran out of memory",
    "output_too_large": "it printed more than an attempt may",
    "silent": "its output was silent for too long",
    "quota_exceeded": "the plan's executions of this month are used up",
    "stopped": "it was stopped",
    "timed_out": "its time was over",
    "worker_failed": "a fault of Remote Claude",
}


def explanation(task: dict[str, Any]) -> str | None:
    """Why a task waits, or ended as it did, in words."""
    waiting = task.get("waiting")
    if waiting:
        place = f" (place {waiting['place']} in the queue)" if waiting.get("place") else ""
        return f"{waiting['detail']}{place}"
    if task.get("detail"):
        return " ".join(str(task["detail"]).split())
    reason = task.get("reason")
    return REASONS.get(str(reason), str(reason).replace("_", " ")) if reason else None


def _attempts(task: dict[str, Any]) -> str:
    number, most = int(task.get("attempt") or 0), int(task["max_attempts"])
    given_back = " that may be lost; what was given back does not count" if number > most else ""
    return f"{number} of at most {most}{given_back}"


def _shorten(text: str) -> str:
    first, _, more = text.strip().partition("\n")
    return elided(first + (" …" if more else ""), min(100, (screen_width() or 114) - 14))


QUANTITIES = {
    "vcpu_ms": ("vCPU-seconds", 1000),
    "gib_ms": ("GiB-seconds", 1000),
    "egress_bytes": ("bytes", 1),
    "storage_byte_days": ("GiB-months", 30 * 2**30),
    "executions": ("executions", 1),
    "subscription": ("months", 1),
}


def quantity(meter: str, count: int) -> str:
    """A quantity of a meter in a unit that people use, exact."""
    if meter.endswith("_nano_usd"):
        return money(count)
    unit, scale = QUANTITIES.get(meter, (meter.rpartition("_")[2], 1))
    if scale > 1:
        return f"{count / scale:,.3f} {unit}"
    return f"{count:,} {unit.removesuffix('s') if count == 1 else unit}"


def meter_name(meter: str) -> str:
    """A meter without its smallest unit, as tables show it."""
    return meter.removesuffix("_nano_usd").removesuffix("_ms").removesuffix("_byte_days")


def bill_lines(bill: dict[str, Any]) -> None:
    """The lines of a bill and its total."""
    rows = [
        (
            meter_name(line["meter"]),
            quantity(line["meter"], int(line["quantity"])),
            f"{quantity(line['meter'], int(line['included']))} free" if line["included"] else "",
            f"{line['events']} event{'s' * (line['events'] != 1)}",
            money(int(line["amount_nano_usd"])),
        )
        for line in bill["lines"]
    ]
    table(("meter", "quantity", "included", "from", "amount"), rows, expendable=("from", "included"))
    print(coloured(f"total  {money(int(bill['total_nano_usd']))}", "bold"))
