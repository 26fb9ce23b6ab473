"""The description of a pull request: what the agent says of its work, its checks, what it cost, and a link.

It is between two marks, so that a later task replaces it and leaves what people have written around it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BEGIN, END = "<!-- rclaude:begin -->", "<!-- rclaude:end -->"
COMMENT_MARK = "[//]: # (rclaude:"
"""Begins the last line of each of our comments. Markdown shows a link's definition nowhere."""
MAX_SUMMARY = 20_000
"""Characters of the agent's own words."""
MIN_SUMMARY = 1_000
"""So much of the summary stays where a description has to be shortened, before other text is."""
CUT = "\n\n(shortened)"
NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the repository that has run on the result."""

    command: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Work:
    """A task that has a part in the pull request. `model_nano_usd` is that of all its attempts."""

    task: str
    attempts: int
    model_nano_usd: int


def section(summary: str, checks: Sequence[Check], works: Sequence[Work], public_url: str) -> str:
    """Our section, with its marks. `works` has the newest task first. Nothing of a prompt is in it."""
    parts = [quiet(summary)[:MAX_SUMMARY].strip()]
    if checks:
        ran = [(f"`{_cell(check.command)}`", _outcome(check.exit_code)) for check in checks]
        parts.append(_table(("Check", "Result"), ran))
    rows = [
        (_link(work.task, public_url), str(work.attempts), f"${work.model_nano_usd / NANO:.4f}")
        for work in works
    ]
    if len(works) > 1:
        rows.append(("All", "", f"${sum(work.model_nano_usd for work in works) / NANO:.4f}"))
    parts.append(_table(("Task", "Attempts", "Model cost"), rows))
    parts.append("Opened by Remote Claude.")
    body = "\n\n".join(filter(None, parts))
    return f"{BEGIN}\n{body}\n{END}"


def placed(section: str, body: str | None) -> str:
    """The section in a description, or in a template: in its old place if it has one, otherwise in front."""
    body = (body or "").replace("\r\n", "\n")
    begin, end = body.find(BEGIN), body.find(END)
    if 0 <= begin < end:
        return body[:begin] + section + body[end + len(END) :]
    return f"{section}\n\n{body}".strip() + "\n"


def with_notes(body: str, notes: Sequence[str]) -> str:
    """The description with what could not be done."""
    if not notes:
        return body
    listed = "\n".join(f"- {quiet(note)}" for note in notes)
    return body.replace(END, f"\nNot everything could be set:\n\n{listed}\n{END}", 1)


def started_comment(task: str, public_url: str, key: str) -> str:
    """For the issue or the pull request that has started a task."""
    return _comment([f"Remote Claude has started the task {_link(task, public_url)}."], key)


def ended_comment(work: Work, state: str, summary: str, pull_request: str, public_url: str, key: str) -> str:
    """Where it started: how a task has ended, what its agent says, and what it cost. `pull_request` is a sentence."""
    head = f"The task {_link(work.task, public_url)} has ended: {state.replace('_', ' ')}. {pull_request}".strip()
    cost = f"Model cost: ${work.model_nano_usd / NANO:.4f}, attempts: {work.attempts}."
    return _comment([head, quiet(summary)[:MAX_SUMMARY].strip(), cost], key)


def _comment(parts: Sequence[str], key: str) -> str:
    return "\n\n".join([*filter(None, parts), f"{COMMENT_MARK}{key})"])


def _link(task: str, public_url: str) -> str:
    if public_url:
        return f"[{task}]({public_url.rstrip('/')}/tasks/{task})"
    return f"`{task}`, see `rclaude show {task}`"


def _outcome(exit_code: int) -> str:
    return "passed" if exit_code == 0 else f"failed with {exit_code}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("`", "'")[:200]


BREAK = "\u200b"
"""A space of no width: people read on over it, a forge finds no name and no keyword across it."""
_MENTION = re.compile(r"(?<![A-Za-z0-9])@(?=\w)")
_CLOSING = re.compile(
    r"\b(clos|fix|resolv|implement)(?=\w*\b[\s\S]{0,200}?(?:[#!]\d|\bGH-\d|\b[A-Z]+-\d|/(?:issues|work_items|edit)/\d))",
    re.IGNORECASE,
)
_QUICK_ACTION = re.compile(r"^(\s*)/(?=\w)", re.MULTILINE)


def quiet(text: str) -> str:
    """A text of the agent that does nothing on a forge: it calls nobody, closes no issue and gives no command.

    Mentions, closing keywords before a reference, and lines that GitLab takes as quick actions are broken by a space of
    no width. Without HTML comments, which could hide text from people or end our section.
    """
    return quiet_words(text.replace("<!--", "&lt;!--"))


def quiet_words(text: str) -> str:
    """The same for a commit message, which is no Markdown."""
    text = _MENTION.sub(f"@{BREAK}", text)
    text = _CLOSING.sub(rf"\1{BREAK}", text)
    return _QUICK_ACTION.sub(rf"\1/{BREAK}", text)


def fitted(body: str, limit: int) -> str:
    """The description in at most `limit` characters. The summary is shortened first; our end mark always stays."""
    if len(body) <= limit:
        return body
    begin, end = body.find(BEGIN), body.find(END)
    if not 0 <= begin < end:
        return body[:limit]
    before, inner, after = body[: begin + len(BEGIN)], body[begin + len(BEGIN) : end], body[end + len(END) :]
    summary, separator, tables = inner.partition("\n\n| ")
    fixed = len(before) + len(CUT) + len(separator) + len(tables) + len(END)
    if fixed > limit:  # even without the summary it is too long: a template of the repository is
        return body[: limit - len(END)] + END
    after = after[: max(0, limit - fixed - MIN_SUMMARY)]
    summary = summary[: limit - fixed - len(after)]
    return f"{before}{summary}{CUT}{separator}{tables}{END}{after}"
