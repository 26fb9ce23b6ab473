"""`make demo`: the main job from end to end, on a sample repository with a failing test. Standard library only."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "demo"
SAMPLE = PLACE / "sample"
RCLAUDE = ROOT / ".venv" / "bin" / "rclaude"

FILES = {
    "slug.py": '''\
"""Turn titles into slugs."""

import re


def slugify(title: str) -> str:
    """`Hello, World!` becomes `hello-world`."""
    return re.sub(r"[^a-z0-9]+", "-", title)
''',
    "test_slug.py": """\
import unittest

from slug import slugify


class SlugifyTest(unittest.TestCase):
    def test_words_are_joined_by_hyphens(self):
        self.assertEqual(slugify("Hello, World!"), "hello-world")

    def test_nothing_hangs_over_the_ends(self):
        self.assertEqual(slugify("  Ready?  "), "ready")


if __name__ == "__main__":
    unittest.main()
""",
    ".gitignore": "__pycache__/\n",
}
PROMPT = (
    "The tests of this repository fail. Find out why, fix the code (not the tests), "
    "and run `python3 -m unittest` until they pass. Keep the change small."
)
COMMAND = """\
sed -i 's/, title)/, title.lower()).strip("-")/' slug.py
python3 -m unittest -v
"""
KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


def main() -> None:
    """Run the demo; exits with the first failing command's code."""
    environment = {
        **os.environ,
        "RCLAUDE_HOME": os.environ.get("RCLAUDE_HOME", str(PLACE / "home")),
        "PATH": f"{RCLAUDE.parent}{os.pathsep}{os.environ['PATH']}",
    }
    for name in ("RCLAUDE_URL", "RCLAUDE_API_KEY"):
        environment.pop(name, None)  # the demo is about this machine's own stack
    make_sample()
    stays = (sys.stdin.isatty() and sys.stdout.isatty()) or runs_already(environment)
    try:
        show(environment, stays)
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    finally:
        if not stays:
            run(["rclaude", "down"], environment)


def show(environment: dict[str, str], stays: bool) -> None:
    """One task, from a failing test to an applied commit and its bill."""
    title("A repository whose tests fail")
    run(["git", "log", "--oneline"], environment)
    run([sys.executable, "-m", "unittest"], environment, expected=1)

    if any(environment.get(key) for key in KEYS):
        agent, prompt = "claude", PROMPT
        title("Claude Code fixes it in a sandbox, with your key")
    else:
        agent, prompt = "shell", COMMAND
        title(f"No model key ({' or '.join(KEYS)}) is set: the agent `shell` fixes it, in the same sandbox")
    run(["rclaude", "run", "--agent", agent, "--repo", ".", prompt], environment)
    task = newest(environment, prompt)

    title("The change, as a patch")
    run(["rclaude", "diff", task], environment)
    title("The commit, brought over to the branch that you are on")
    run(["rclaude", "apply", task], environment)
    run(["git", "log", "--stat", "-1"], environment)
    run([sys.executable, "-m", "unittest"], environment)
    title("The bill, down to the events that it is the sum of")
    run(["rclaude", "bill", task], environment)
    title("The log it was folded from holds together")
    run(["rclaude-admin", "verify"], environment)

    home = shlex.quote(environment["RCLAUDE_HOME"])
    title("Next")
    print(f"  export PATH={shlex.quote(str(RCLAUDE.parent))}:$PATH RCLAUDE_HOME={home}")
    print(f"  cd {shlex.quote(str(SAMPLE))}")
    if not any(environment.get(key) for key in KEYS):
        print("  export ANTHROPIC_API_KEY=...        # then `rclaude down`, to start again with the key")
    print(
        f'  rclaude run --agent {agent} "{"add a test for an empty title" if agent == "claude" else "ls -la"}"'
    )
    print("  rclaude list; rclaude show; rclaude logs; rclaude usage; rclaude status")
    print(f"  rclaude-admin log read --json       # every event, {task} among them")
    if stays:
        print("  rclaude down                        # the stack is still up")


def make_sample() -> None:
    """A fresh repository with a bug, in its first commit."""
    shutil.rmtree(SAMPLE, ignore_errors=True)
    SAMPLE.mkdir(parents=True)
    for name, content in FILES.items():
        (SAMPLE / name).write_text(content)
    for command in (
        ["git", "init", "--quiet", "--initial-branch", "main"],
        ["git", "config", "user.name", "Demo"],
        ["git", "config", "user.email", "demo@example.com"],
        ["git", "add", "."],
        ["git", "commit", "--quiet", "--message", "Slugs, with a bug"],
    ):
        subprocess.run(command, cwd=SAMPLE, check=True)


def runs_already(environment: dict[str, str]) -> bool:
    """Whether somebody else has brought the home's stack up: then it is not the demo's to take down."""
    return subprocess.run(["rclaude", "status"], env=environment, capture_output=True).returncode == 0


def newest(environment: dict[str, str], prompt: str) -> str:
    """The id of the task that was just run; others may have been submitted to the same stack meanwhile."""
    listed = subprocess.run(["rclaude", "list", "--json"], env=environment, check=True, capture_output=True)
    tasks = json.loads(listed.stdout)["tasks"]
    return next(str(task["id"]) for task in tasks if prompt.startswith(task["title"].rstrip("…")))


def run(command: list[str], environment: dict[str, str], *, expected: int = 0) -> None:
    """Show a command and run it in the sample; raises `CalledProcessError` for another exit code."""
    name, *rest = command
    shown = " ".join(["python3" if name == sys.executable else name, *map(shlex.quote, rest)])
    print(f"\x1b[1m$ {shown}\x1b[0m" if sys.stdout.isatty() else f"$ {shown}", flush=True)
    done = subprocess.run(
        [shutil.which(name, path=environment["PATH"]) or name, *rest], cwd=SAMPLE, env=environment
    )
    if done.returncode != expected:
        raise subprocess.CalledProcessError(done.returncode or 1, shown)


def title(text: str) -> None:
    """A heading."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    main()
