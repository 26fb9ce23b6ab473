"""A conversation with an agent in the terminal: history first, live after, interrupted, and on after the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from messages_api import MessagesApi, text, tool
from product import Product
from screens import Screen
from servers import until


def test_a_message_interrupts_and_one_after_the_end_goes_on(stack: Product) -> None:
    task = stack.submit("echo the first; sleep 100")
    until(lambda: "the first" in stack.output(task), "the first command", 60, pause=0.2)
    stack.ok("send", "--interrupt", task, "echo the second > made.txt; cat made.txt")
    assert stack.ended(task)["state"] == "succeeded"
    attached = stack.run("attach", task, stdin=b"cat made.txt; echo the third\n")
    assert attached.code == 0, attached.err
    assert attached.out.count("the second\n") == 2, "as it was, and from the file that is still there"
    assert attached.out.index("the first") < attached.out.index("the third")


def test_a_message_that_the_agent_never_took_is_said_to_be_lost(stack: Product) -> None:
    task = stack.submit("echo the first; sleep 100")
    until(lambda: "the first" in stack.output(task), "the first command", 60, pause=0.2)
    stack.ok("send", task, "echo the second")
    stack.ok("cancel", task)
    stack.ended(task)
    assert "before it took the messages 1: send them to `rclaude resume`" in stack.ok("show", task).out


def test_a_conversation_in_a_terminal(stack: Product) -> None:
    screen = Screen(stack, "run", "-i", "--agent", "shell", "--no-repo", "echo hello there; sleep 100")
    screen.shows("hello there")
    screen.type("\x03")
    screen.shows("instead>")
    screen.type("echo as you wish\r")
    screen.shows("as you wish\r?\n")
    screen.shows("succeeded")
    screen.type("echo and more\r")
    screen.shows("and more\r?\n")
    screen.shows("succeeded")
    screen.type("\x04")
    assert screen.process.wait(60) == 0


@pytest.mark.timeout(300)
def test_claude_is_interrupted_and_takes_what_it_is_told(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    turns = (
        [text("I wait."), tool("Bash", command="tail -f /dev/null", description="wait")],
        [text("As you wish.")],
    )
    model.play(*turns)
    task = with_model.ok("run", "--detach", "--json", "wait", cwd=repo).json["id"]
    until(lambda: "I wait." in with_model.output(task), "the first turn", 150, pause=0.5)
    with_model.ok("send", "--interrupt", task, "do something else")
    ended = with_model.ended(task)
    assert ended["state"] == "succeeded", ended
    assert "do something else" in str(model.requests[1]["body"])
    assert "As you wish." in with_model.output(task)


@pytest.mark.timeout(300)
def test_claude_asks_for_permissions_and_a_person_answers(
    repo: Path, with_model: Product, model: MessagesApi
) -> None:
    """Denied with a reason, allowed from then on by another way: the third file is not asked about."""
    names = ("one.txt", "two.txt", "three.txt")
    model.play(*([tool("Write", file_path=name, content="x\n")] for name in names), [text("Done.")])
    started = with_model.ok("run", "--detach", "--json", "--permission-mode", "ask", "write", cwd=repo)
    task = started.json["id"]

    def asked() -> list[str]:
        shown = with_model.ok("show", "--json", task).json
        assert not shown["permissions"] or shown["waiting"]["code"] == "permission", shown
        return [one["input"]["file_path"].rpartition("/")[2] for one in shown["permissions"]]

    until(lambda: asked() == ["one.txt"], "the first question", 150, pause=0.3)
    assert "one.txt" in with_model.ok("list").err
    with_model.ok("answer", task, "deny", "--message", "leave that file alone")
    until(lambda: asked() == ["two.txt"], "the second question", 60, pause=0.3)
    attached = with_model.run("attach", task, stdin=b"/always\n")
    assert attached.code == 0, attached.err
    assert attached.out.count("? may it use") == 2
    ended = with_model.ended(task)
    assert ended["state"] == "succeeded", ended
    assert "leave that file alone" in str(model.requests[-1]["body"])
    assert not with_model.ok("show", "--json", task).json["permissions"]
    patch = with_model.ok("diff", task).out
    assert "two.txt" in patch
    assert "three.txt" in patch
    assert "one.txt" not in patch
    late = with_model.run("answer", task, "allow", "--request", "1-1")
    assert "has ended" in late.err or "already" in late.err, late.err
    assert "PermissionAnswered" in with_model.ok("audit").out
