"""What the processes of a stack import at their start, and what they leave to those that need it."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("start", "unused"),
    [
        ("from remote_claude.runtime.embedded import stack", {"cryptography", "psycopg", "remote_claude.contracts"}),
        (
            "from remote_claude.runtime.lean_imports import import_lean; import_lean();"
            "from remote_claude.runtime import host; host.installed()",
            {"aiohttp", "authlib", "boto3", "rich"},
        ),
    ],
    ids=["stack", "services"],
)  # fmt: skip
def test_a_start_imports_nothing_that_only_some_need(start: str, unused: set[str]) -> None:
    code = f"{start}; import json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert unused.isdisjoint(json.loads(done.stdout))
