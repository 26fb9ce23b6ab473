"""The code blocks of the guides: run as a reader would, or held against the command lines that they are typed into."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

import forking
from product import BIN, Product

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "guides"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?[^\n]*\n.*?^\1$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(
    r"(?:^|[|&;(]|\b(?:do|until|admin|--)|=\S*\s)\s*(?=(?:rclaude|rclaude-admin) )", re.MULTILINE
)
NAMED = re.compile(
    r"(?<![$\w])(?:TASK|HOOK|SECRET|ORG|USER|SECOND_ORG|SECOND_USER|KEY_ID|KEY|ACCOUNT|CI_KEY|TEAM|TEAM_KEY)(?!\w)"
)
"""What stands for a value: in what is expected the value is remembered, in what follows it is put in."""


AT_ONCE = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
"""Options that do something as they are parsed."""


@dataclass(frozen=True)
class Block:
    """A code block: its guide below `docs/guides`, the line that it begins in, its language, its text."""

    guide: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.guide}:{self.line}"


@dataclass(frozen=True)
class Typed:
    """A command of a `console` block, and what it is to print: `...` stands for any text, alone for any lines."""

    command: str
    expected: str


def blocks() -> list[Block]:
    """Those of all guides, in their order."""
    return [
        Block(
            str(path.relative_to(GUIDES)),
            text.count("\n", 0, found.start()) + 1,
            found[2],
            re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
        )
        for path in sorted(GUIDES.rglob("*.md"))
        for text in [path.read_text()]
        for found in FENCE.finditer(text)
    ]


def typed(block: Block) -> list[Typed]:
    """The commands of a `console` block, each with the lines below it."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert parts[0] == "", f"{block.place}: a console block begins with a command"
    return [Typed(*part.partition("\n")[::2]) for part in parts[1:]]


def script(block: Block) -> str:
    """The commands of a block alone, a line each: without what is printed, and what is fed to a command."""
    text = block.text
    if block.language == "console":
        text = "\n".join(one.command for one in typed(block))
    return re.sub(r"(^|\s)#.*$", "", HERE_DOCUMENT.sub("", text.replace("\\\n", " ")), flags=re.MULTILINE)


def command_lines(text: str) -> Iterator[list[str]]:
    """Every `rclaude` and `rclaude-admin` of a script, with its words: to the end of the command, without redirections."""
    for found in COMMAND.finditer(text):
        words: list[str] = []
        lexer = shlex.shlex(
            re.sub(r"<(\w[\w ]*)>", "a_value", text[found.end() :]), posix=True, punctuation_chars="();<>|&\n"
        )
        lexer.whitespace, lexer.whitespace_split = " \t", True
        for word in lexer:
            if set(word) <= set("<>"):
                next(lexer)
            elif set(word) <= set("();|&\n"):
                break
            else:
                words.append(word)
        yield words


@cache
def _command_line(program: str) -> Any:
    from remote_claude.cli.app import app
    from remote_claude.runtime.admin.app import complete

    return typer.main.get_command(app if program == "rclaude" else complete())


def parse(words: list[str]) -> None:
    """Parse a command line as the program itself does, values included; nothing is run. Raises `TyperException`."""
    if AT_ONCE & set(words):
        return
    command, given, context = _command_line(words[0]), words[1:], None
    name = words[0]
    while True:
        context = command.make_context(name, given, parent=context)
        given = [*getattr(context, "_protected_args", ()), *context.args]
        if not hasattr(command, "commands") or not given:
            return
        name, command, given = command.resolve_command(context, given)


def variables(text: str) -> set[str]:
    """The variables of the product that a text names."""
    return set(re.findall(r"\bRCLAUDE_[A-Z0-9_]+", text))


@cache
def settings() -> set[str]:
    """Those of the reference, which a test holds against the code."""
    return variables((ROOT / "docs/reference/settings.md").read_text())


def missing(text: str) -> list[str]:
    """What a script names of this repository and there is not: targets of `make`, modules, files."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    found = [
        f"make {target}"
        for line in re.findall(r"\bmake((?: [a-z][\w-]+)+)", text)
        for target in line.split()
        if target not in targets
    ]
    found += [name for name in re.findall(r"python -m ([\w.]+)", text) if find_spec(name) is None]
    found += [
        name
        for name in re.findall(r"(?<![\w/.])(?:deploy|tests)/[\w./-]*\w", text)
        if not (ROOT / name).exists() and not name.startswith("deploy/k8s/stacks/")
    ]
    return found


def first_words(text: str) -> Iterator[str]:
    """The program of each line of a script, without the variables that are set for it."""
    for line in text.splitlines():
        words = re.sub(r"^\s*(\w+=(\$\(.*|\S*)\s*)+", "", line).split()
        if words and not re.match(r"""["'}-]""", words[0]):
            yield words[0]


class Reader:
    """Types commands, each into a shell of its own, and remembers what was named."""

    def __init__(self, stack: Product, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._named: dict[str, str] = {}
        self._more: dict[str, str] = {}

    def signed_in(self) -> None:
        """The stack is up: who the reader is, and where the API is, can be put in."""
        me = self._stack.ok("whoami", "--json").json
        self._named |= {"USER": me["user"], "ORG": me["org"]}
        found = self._stack.stack_file()
        self._more = {"URL": found["url"], "KEY": Path(found["api_key"]).read_text().strip()}

    def read(self, block: Block) -> None:
        """Type the commands of a block; each must succeed and print what stands below it, and nothing more."""
        for one in typed(block):
            command = self._filled(one.command)
            code, out = self._type(command)
            printed = f"{block.place}: {command}\n{out}"
            assert code == 0, printed
            lines = [line.rstrip() for line in out.splitlines()]
            pattern = _pattern(self._filled(one.expected))
            found = re.fullmatch(pattern, "".join(f"{line}\n" for line in lines))
            assert found is not None, f"{printed}\nexpected:\n{one.expected}"
            self._named |= found.groupdict()

    def _type(self, command: str) -> tuple[int, str]:
        """The exit code and all that is printed. What needs no shell is forked, which is faster."""
        env = {**self._stack.env, **self._more, "PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "120"}
        program, *args = shlex.split(command)
        if program in forking.PROGRAMS and not set("<>|;&$(*?`") & set(re.sub(r"'[^']*'", "", command)):
            done = forking.run(program, *args, cwd=self._folder, env=env, together=True)
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command], cwd=self._folder, env=env, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
            )  # fmt: skip
        return done.returncode, done.stdout.decode()

    def _filled(self, text: str) -> str:
        return NAMED.sub(lambda found: self._named.get(found[0], found[0]), text)


def _pattern(expected: str) -> str:
    known: set[str] = set()

    def value(found: re.Match[str]) -> str:
        name = found[0]
        once_more = name in known
        known.add(name)
        return f"(?P={name})" if once_more else rf"(?P<{name}>\S+)"

    lines = []
    for line in expected.splitlines():
        if line == "...":
            lines.append(r"(?s:.*)")
            continue
        parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in line.split("...")]
        lines.append(NAMED.sub(value, ".*".join(parts)) + "\n")
    return "".join(lines)


def follow(stack: Product, guide: str, cwd: Path) -> str:
    """Run all shell commands of a guide in one shell that ends at the first that fails; returns what they print."""
    found = [block.text for block in blocks() if block.guide == guide and block.language == "sh"]
    assert found
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        cwd=cwd,
        env={**stack.env, "PATH": f"{BIN}:{os.environ['PATH']}"},
        input="\n".join(found),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
