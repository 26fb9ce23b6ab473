"""TAB, in a real bash on a terminal."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from product import BIN

PROMPT = "ready> "
CLEAR = "\x15"  # Ctrl-U


class Bash:
    """An interactive bash whose user has installed the completion."""

    def __init__(self, home: Path) -> None:
        (home / ".bashrc").write_text(f"PS1='{PROMPT}'\n")
        self._terminal, its = pty.openpty()
        env = {
            "HOME": str(home),
            "RCLAUDE_HOME": str(home / ".rclaude"),
            "PATH": f"{BIN}:/usr/bin:/bin",
            "TERM": "dumb",
            "INPUTRC": "/dev/null",
            "HISTFILE": "/dev/null",
        }
        self._process = subprocess.Popen(
            ["bash", "-i"],
            env=env,
            cwd=home,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)

    def type(self, keys: str, until: str, timeout: float = 30) -> str:
        """What appears after some keys, up to a text."""
        os.write(self._terminal, keys.encode())
        seen, deadline = "", time.monotonic() + timeout
        while until not in seen:
            ready, _, _ = select.select([self._terminal], [], [], deadline - time.monotonic())
            assert ready, f"not within {timeout} s: {until!r}; there is {seen!r}"
            seen += os.read(self._terminal, 65536).decode()
        return seen

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@pytest.fixture
def bash(tmp_path: Path) -> Iterator[Bash]:
    shell = Bash(tmp_path)
    shell.type("", PROMPT)
    shell.type("rclaude --install-completion\n", f"restart the terminal\r\n{PROMPT}")
    shell.type(". ~/.bashrc; echo installed\n", f"installed\r\n{PROMPT}")
    yield shell
    shell.close()


def test_tab_completes_commands_options_and_values(bash: Bash) -> None:
    for typed, completed in (
        ("rclaude stat\t", "rclaude status "),
        ("rclaude run --max\t", "rclaude run --max-attempts "),
        ("rclaude up --isolation b\t", "rclaude up --isolation bubblewrap "),
        ("rclaude run --agent sh\t", "rclaude run --agent shell "),
        ("rclaude config api\t", "rclaude config api_key "),
    ):
        bash.type(CLEAR + typed, completed)


def test_tab_on_nothing_shows_every_command(bash: Bash) -> None:
    shown = bash.type("rclaude \t\t", f"{PROMPT}rclaude ")
    assert {"run", "list", "apply", "doctor"} <= set(shown.split())


def test_the_script_can_be_shown_and_sourced(bash: Bash) -> None:
    bash.type('complete -r rclaude; eval "$(rclaude --show-completion)"; echo so\n', f"so\r\n{PROMPT}")
    bash.type("rclaude doc\t", "rclaude doctor ")
