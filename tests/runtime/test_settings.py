"""What a process says when its environment lacks something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from remote_claude.runtime.settings import BadSettings
from remote_claude.runtime.settings_sources import resolve

WHOLE = {"NATS_URL": "nats://127.0.0.1:1", "POSTGRES_DSN": "postgresql://", "OBJECTS": "/", "KEK_FILE": "/"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, ["RCLAUDE_NATS_URL", "RCLAUDE_POSTGRES_DSN", "RCLAUDE_OBJECTS"]),
        (WHOLE | {"REPLICAS": "many"}, ["RCLAUDE_REPLICAS"]),
        (WHOLE | {"HTTP_PROT": "8080"}, ["RCLAUDE_HTTP_PROT"]),
    ],
)
def test_a_service_names_what_is_missing_or_wrong(given: dict[str, str], named: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RCLAUDE_")}
    env |= {f"RCLAUDE_{name}": value for name, value in given.items()}
    run = subprocess.run(
        [sys.executable, "-m", "remote_claude.scheduler"], env=env, capture_output=True, text=True
    )
    first, *lines = run.stderr.splitlines()
    assert (run.returncode, first) == (1, "bad_settings: the settings can't be used")
    assert [line.split(":")[0] for line in lines] == named


def test_a_settings_file_gives_what_the_environment_does_not(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("""
        http_port = 8080
        log_json = false
        log_level = "debug"
        [scheduler]
        lease_s = 20
        [runner.ecs]
        subnets = ["subnet-1", "subnet-2"]
        [gateway.routes]
        "/v1/bill" = "http://billing:8080"
    """)
    environment = {"RCLAUDE_SETTINGS": str(file), "RCLAUDE_LOG_LEVEL": "warning", "PATH": "/bin"}
    resolve(environment)
    assert environment == {
        "RCLAUDE_SETTINGS": str(file),
        "PATH": "/bin",
        "RCLAUDE_LOG_LEVEL": "warning",
        "RCLAUDE_HTTP_PORT": "8080",
        "RCLAUDE_LOG_JSON": "false",
        "RCLAUDE_SCHEDULER_LEASE_S": "20",
        "RCLAUDE_RUNNER_ECS_SUBNETS": "subnet-1,subnet-2",
        "RCLAUDE_GATEWAY_ROUTES": '{"/v1/bill": "http://billing:8080"}',
    }


def test_a_file_gives_the_value_of_one_setting(tmp_path: Path) -> None:
    secret = tmp_path / "stripe"
    secret.write_text("sk_test_made_up\n")
    environment = {"RCLAUDE_BILLING_STRIPE_KEY_FILE": str(secret), "RCLAUDE_KEK_FILE": "/kek"}
    resolve(environment)
    assert environment == {"RCLAUDE_BILLING_STRIPE_KEY": "sk_test_made_up", "RCLAUDE_KEK_FILE": "/kek"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"RCLAUDE_HTTP_PROT": "1"},
            "RCLAUDE_HTTP_PROT: there is no such setting; RCLAUDE_HTTP_PORT is the nearest",
        ),
        (
            {"RCLAUDE_SCHEDULER_LEASES": "1"},
            "RCLAUDE_SCHEDULER_LEASES: there is no such setting; RCLAUDE_SCHEDULER_LEASE_S is the nearest",
        ),
        ({"RCLAUDE_XYZZYX": "1"}, "RCLAUDE_XYZZYX: there is no such setting"),
        (
            {"RCLAUDE_SETTINGS": "/missing.toml"},
            "RCLAUDE_SETTINGS: /missing.toml can't be read: No such file or directory",
        ),
        (
            {"RCLAUDE_POSTGRES_DSN": "x", "RCLAUDE_POSTGRES_DSN_FILE": "y"},
            "RCLAUDE_POSTGRES_DSN_FILE: RCLAUDE_POSTGRES_DSN is set too; keep one of the two",
        ),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings) as refused:
        resolve(given)
    assert str(refused.value).splitlines()[1:] == [said]


def test_a_name_in_the_file_that_is_no_setting_is_refused_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[runner]\nslot = 4\n")
    with pytest.raises(
        BadSettings, match=f"RCLAUDE_RUNNER_SLOT in {file}: .* RCLAUDE_RUNNER_SLOTS is the nearest"
    ):
        resolve({"RCLAUDE_SETTINGS": str(file)})


def test_the_command_line_s_own_variables_are_left_alone() -> None:
    resolve({"RCLAUDE_URL": "x", "RCLAUDE_API_KEY": "x", "RCLAUDE_PROFILE": "x", "RCLAUDE_TEST_SEED": "1"})
