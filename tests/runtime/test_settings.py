"""What a process says when its environment lacks something."""

import os
import subprocess
import sys

import pytest

WHOLE = {"NATS_URL": "nats://127.0.0.1:1", "POSTGRES_DSN": "postgresql://", "OBJECTS": "/", "KEK_FILE": "/"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, [f"RCLAUDE_{name}" for name in WHOLE]),
        (WHOLE | {"REPLICAS": "many"}, ["RCLAUDE_REPLICAS"]),
    ],
)
def test_a_service_names_what_is_missing_or_wrong(given: dict[str, str], named: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RCLAUDE_")}
    env |= {f"RCLAUDE_{name}": value for name, value in given.items()}
    run = subprocess.run(
        [sys.executable, "-m", "remote_claude.scheduler"], env=env, capture_output=True, text=True
    )
    first, *lines = run.stderr.splitlines()
    assert (run.returncode, first) == (1, "bad_settings: the environment can't be used")
    assert [line.split(":")[0] for line in lines] == named
