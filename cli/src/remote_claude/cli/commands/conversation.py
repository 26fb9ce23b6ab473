"""`rclaude attach`: a conversation with the agent of a task, in the terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from remote_claude.cli import render
from remote_claude.cli.commands.resuming import continuation
from remote_claude.cli.commands.submission import hand_over
from remote_claude.cli.commands.tasks import Decision, give_answer, show_frames
from remote_claude.cli.errors import OF_STATE, CliError, Exit
from remote_claude.cli.session import connect, task_id

if TYPE_CHECKING:
    from remote_claude.cli.client import CliClient

HELP = "Enter sends; Ctrl-C interrupts the agent; Ctrl-D leaves, and the task goes on. /cancel ends the task."
ANSWERS = {
    **dict.fromkeys(("/allow", "y"), Decision.ALLOW),
    **dict.fromkeys(("/always", "a"), Decision.ALWAYS),
    **dict.fromkeys(("/deny", "n"), Decision.DENY),
}
"""What a person types while the agent asks; more words after it say why."""
HOW_TO_ANSWER = "y allows it, a allows the like from now on, n denies it (and says why: n WORDS)"


def attach(
    task: Annotated[str | None, typer.Argument(help="The task's id; the newest one if left out.")] = None,
) -> None:
    """Talk with the agent of a task: what it did, then what it does. After its end, a message goes on with it."""
    client = connect()
    raise typer.Exit(converse(client, task_id(task, client)))


def converse(client: CliClient, task: str) -> Exit:
    """Until the person leaves, or, where messages are piped in, until the task has ended after the last one."""
    talk = _Conversation(client, task)
    if not sys.stdin.isatty():
        talk.follow()
        for line in sys.stdin:
            if line.startswith("/") and line.split()[0] in ANSWERS:
                talk.wait_for_question()
            if line.strip() and not talk.answer(line.strip()):
                talk.say(line.strip())
        talk.wait()
        return OF_STATE.get(client.get(f"/v1/tasks/{talk.task}")["state"], Exit.OK)
    with _prompt() as ask:
        render.note(HELP)
        talk.follow()
        interrupting = False
        while True:
            try:
                text = ask(partial(talk.prompt, interrupting)).strip()
            except EOFError:
                return Exit.OK
            except KeyboardInterrupt:
                if interrupting:
                    return Exit.OK
                interrupting = True
                continue
            if text == "/cancel":
                client.post(f"/v1/tasks/{talk.task}/cancel")
            elif text and not talk.answer(text):
                talk.say(text, interrupt=interrupting)
            interrupting = False


class _Conversation:
    """One task at a time: the one that continues it takes its place."""

    def __init__(self, client: CliClient, task: str) -> None:
        self._client, self.task = client, task
        self._position = 0
        self._following: threading.Thread | None = None
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._asked: list[dict[str, Any]] = []
        """What the agent waits for."""

    def follow(self) -> None:
        """Print what the task did and does, in a thread."""
        self._ended.clear()
        self._following = threading.Thread(target=self._print, args=(self.task,), daemon=True)
        self._following.start()

    def wait(self) -> None:
        """Until the task has ended, and all of it is printed."""
        if self._following is not None:
            self._following.join()

    def prompt(self, interrupting: bool) -> str:
        """What stands before the line that the person types."""
        return "allow? [y/a/n] " if self._asked else "instead> " if interrupting else "> "

    def wait_for_question(self) -> None:
        """Until the agent asks for a permission, or the task has ended."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._asked) or self._ended.is_set())

    def answer(self, text: str) -> bool:
        """Whether this was the answer to a permission request; it is given then."""
        word, _, why = text.partition(" ")
        decision = ANSWERS.get(word)
        if decision is None or not self._asked:
            return False
        if why and decision is not Decision.DENY:
            return False
        with self._changed:
            asked = self._asked.pop(0)
        try:
            give_answer(self._client, self.task, asked["request"], decision, why.strip() or None)
        except CliError as error:
            render.note(f"rclaude: {error}")
        return True

    def _ask(self, task: str, requests: list[str]) -> None:
        """Show what the agent asks now."""
        known = [asked["request"] for asked in self._asked]
        asked = (
            self._client.get(f"/v1/tasks/{task}")["permissions"]
            if set(requests) - set(known)
            else self._asked
        )
        with self._changed:
            self._asked = [one for one in asked if one["request"] in requests]
            self._changed.notify_all()
        for one in self._asked:
            if one["request"] not in known:
                render.ring()
                what = render.tool_call({"name": one["tool"], "input": one["input"]})
                render.note(f"may it use {what}? {HOW_TO_ANSWER}")

    def say(self, text: str, *, interrupt: bool = False) -> None:
        """Send a message, or go on with a task that has ended."""
        if not self._ended.is_set():
            try:
                body = {"text": text, "interrupt": interrupt}
                self._client.post(f"/v1/tasks/{self.task}/messages", body)
            except CliError as error:
                if error.code != "task_already_finished":
                    raise
            else:
                return
        self.wait()
        submitted = hand_over(self._client, continuation(self._client, self.task, text))
        self.task, self._position = submitted["id"], submitted["position"]
        render.note(f"task: {self.task}")
        self.follow()

    def _print(self, task: str) -> None:
        live = render.LiveView(progress=False)
        try:
            for message in self._client.live(task, self._position):
                if message["type"] == "state":
                    self._ask(task, message.get("permissions", []))
                elif message["type"] == "output":
                    show_frames(message["frames"], live, as_json=False)
            live.finish()
            ended = self._client.get(f"/v1/tasks/{task}")
            why = render.explanation(ended)
            render.note(f"{task} {ended['state']}" + (f": {why}" if why else ""))
        except CliError as error:
            render.note(f"rclaude: {error}")
        finally:
            self._asked = []
            self._ended.set()
            with self._changed:
                self._changed.notify_all()


@contextmanager
def _prompt() -> Iterator[Callable[[Callable[[], str]], str]]:
    """Ask for a line at the bottom of the screen, while output appears above it."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.patch_stdout import patch_stdout

    session: PromptSession[str] = PromptSession()
    with patch_stdout(raw=True):
        yield lambda shown: session.prompt(shown, refresh_interval=0.5)
