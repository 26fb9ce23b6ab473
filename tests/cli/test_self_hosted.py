"""`rclaude init --self-hosted aws` and its removal, against an emulator of AWS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from aws_emulator import aws
from docker_host import ROOT
from product import BIN, Product
from screens import Screen

INIT = (
    "init",
    "--self-hosted",
    "aws",
    "--gateway-url",
    "wss://rclaude.example.com",
    "--gateway-cidr",
    "203.0.113.7/32",
)
TEMPLATE = ROOT / "deploy/aws/compute.yaml"
SECRET = "made-up-secret-key-of-the-tests"


@pytest.fixture(scope="module")
def emulator() -> Iterator[dict[str, str]]:
    with aws({"DOCKER_HOST": "unix:///nowhere/docker.sock"}) as environment:
        yield environment


@pytest.fixture
def rclaude(emulator: dict[str, str], tmp_path: Path) -> Product:
    return Product(tmp_path / "home", emulator)


def cloud(emulator: dict[str, str], service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=emulator["AWS_ENDPOINT_URL"],
        region_name=emulator["AWS_DEFAULT_REGION"],
        aws_access_key_id=emulator["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=emulator["AWS_SECRET_ACCESS_KEY"],
    )


def stacks(emulator: dict[str, str]) -> dict[str, str]:
    found = cloud(emulator, "cloudformation").describe_stacks()["Stacks"]
    return {one["StackName"]: one["StackStatus"] for one in found if one["StackStatus"] != "DELETE_COMPLETE"}


def test_the_template_passes_the_linter() -> None:
    ended = subprocess.run(
        [str(BIN / "cfn-lint"), "--regions", "eu-central-1", "us-east-1", "--template", str(TEMPLATE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_dry_run_shows_the_plan_and_its_cost_and_makes_nothing(
    rclaude: Product, emulator: dict[str, str]
) -> None:
    said = rclaude.ok(*INIT, "--name", "dry", "--dry-run", "--json").json
    assert said["account"] == "000000000000"
    assert said["resources"]["AWS::ECS::Cluster"] == 1
    assert sum(said["resources"].values()) == len(
        re.findall(r"^    Type: AWS::", TEMPLATE.read_text(), re.MULTILINE)
    )
    assert {check["name"]: check["level"] for check in said["checks"]}["VPCs"] in ("ok", "note")
    assert said["monthly"]["total_usd"] > said["monthly"]["fixed_usd"] > 0
    assert "dry" not in stacks(emulator)
    assert not (rclaude.home / "self_hosted.json").exists()
    assert "a month" in rclaude.ok(*INIT, "--dry-run").out


def test_it_deploys_writes_the_settings_of_the_runner_and_removes_it_all(
    rclaude: Product, emulator: dict[str, str]
) -> None:
    done = rclaude.ok(*INIT, "--name", "mine", "--yes", "--json")
    said = done.json
    assert "Cluster: CREATE_COMPLETE" in done.err
    assert stacks(emulator)["mine"] == "CREATE_COMPLETE"
    kept = json.loads((rclaude.home / "self_hosted.json").read_text())
    assert kept["settings"] == said["settings"]
    settings = said["settings"]
    assert settings["RCLAUDE_RUNNER_PROVIDERS"] == "local,ecs"
    definition = cloud(emulator, "ecs").describe_task_definition(
        taskDefinition=settings["RCLAUDE_RUNNER_ECS_TASK_DEFINITION"]
    )["taskDefinition"]
    assert not definition.get("taskRoleArn"), "a task has no rights"
    assert definition["containerDefinitions"][0]["image"] == f"{said['outputs']['RepositoryUri']}:latest"
    (group,) = cloud(emulator, "ec2").describe_security_groups(
        GroupIds=[settings["RCLAUDE_RUNNER_ECS_SECURITY_GROUPS"]]
    )["SecurityGroups"]
    assert group["IpPermissions"] == []
    reached = [block["CidrIp"] for rule in group["IpPermissionsEgress"] for block in rule.get("IpRanges", [])]
    assert reached == ["203.0.113.7/32"]
    assert SECRET not in done.out + done.err + json.dumps(kept)

    assert rclaude.ok(*INIT, "--name", "mine", "--yes", "--json").json["settings"] == settings, (
        "again: no change"
    )

    refused = rclaude.run("destroy", "--self-hosted")
    assert (refused.code, "mine" in stacks(emulator)) == (2, True)
    assert "AWS::ECS::Cluster" in refused.out
    rclaude.ok("destroy", "--self-hosted", "--yes")
    assert "mine" not in stacks(emulator)
    assert not (rclaude.home / "self_hosted.json").exists()
    clusters = cloud(emulator, "ecs").list_clusters()["clusterArns"]
    assert not [arn for arn in clusters if arn.endswith("/mine")]
    groups = cloud(emulator, "logs").describe_log_groups(logGroupNamePrefix="/mine")["logGroups"]
    assert groups == []


def test_what_was_interrupted_is_resumed(rclaude: Product, emulator: dict[str, str]) -> None:
    """The stack was made, and the command ended before it wrote down the settings."""
    rclaude.ok(*INIT, "--name", "again", "--yes", "--json")
    place = rclaude.home / "self_hosted.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "settings": {}}))
    said = rclaude.ok(*INIT, "--name", "again", "--yes", "--json").json
    assert json.loads(place.read_text())["settings"] == said["settings"] != {}
    place.write_text(json.dumps({**json.loads(place.read_text()), "settings": {}}))
    resumed = rclaude.ok("init", "--self-hosted", "--yes", "--json")  # no answer is given twice
    assert resumed.json["settings"] == said["settings"]
    assert "which was interrupted" in resumed.err
    assert rclaude.ok("upgrade", "--self-hosted", "--yes", "--json").json["settings"] == said["settings"]
    other = rclaude.run(*INIT, "--name", "second", "--yes", "--json")
    assert other.code == 2
    rclaude.ok("destroy", "--self-hosted", "--yes", "--json")


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (INIT, {}, "not_confirmed"),
        ((*INIT[:3], "--gateway-url", "ws://127.0.0.1:8000", "--yes"), {}, "gateway_unreachable"),
        ((*INIT[:3], "--gateway-url", "https://example.com", "--yes"), {}, "usage"),
        (("init", "--self-hosted", "venus", *INIT[3:]), {}, "usage"),
        ((*INIT, "--profile", "missing", "--yes"), {}, "usage"),
        (
            (*INIT, "--yes"),
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nowhere"},
            "credentials_missing",
        ),
        ((*INIT, "--budget", "10", "--yes"), {}, "over_budget"),
        (("init", "--self-hosted", "kubernetes", *INIT[3:], "--yes"), {"PATH": "/nowhere"}, "tool_missing"),
        (("init", "--self-hosted", "fly", *INIT[3:], "--yes"), {"FLY_API_TOKEN": ""}, "credentials_missing"),
        (("init", "--self-hosted", "gcp", *INIT[3:], "--yes"), {}, "usage"),
        (("init", "--self-hosted", "--yes"), {}, "usage"),
        (("destroy", "--self-hosted", "--yes"), {}, "nothing_deployed"),
        (("upgrade", "--self-hosted", "--yes"), {}, "nothing_deployed"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    arguments: tuple[str, ...],
    environment: dict[str, str],
    code: str,
    emulator: dict[str, str],
    tmp_path: Path,
) -> None:
    refused = Product(tmp_path / "home", {**emulator, **environment}).run(*arguments, "--json")
    assert refused.lines[-1]["error"]["code"] == code, refused.err
    assert not (tmp_path / "home/self_hosted.json").exists()


def test_the_command_line_starts_without_the_client_of_aws() -> None:
    script = (
        "import sys, remote_claude.cli.app; sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, env=os.environ).returncode == 0


def test_without_the_extra_the_error_says_which_is_missing() -> None:
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "from remote_claude.cli.self_hosted.clouds.cloudformation import AwsAccount\n"
        "try: AwsAccount('eu-central-1', None)\n"
        "except Exception as error: print(error.code, error)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("extra_missing")
    assert "remote-claude[aws]" in ended.stdout


def test_the_wizard_asks_sets_this_machine_up_and_runs_a_task(tmp_path: Path) -> None:
    one = Product(tmp_path / "home")
    try:
        screen = Screen(one, "init", "--self-hosted", "--test-task")
        screen.shows("Cloud \\[local\\]: ")
        screen.type("mars\n")
        screen.shows("one of: local, docker, aws")
        screen.type("\n")
        screen.shows("nothing is made that costs")
        screen.shows("Make this in .* on .*\\[y/N\\]: ")
        screen.type("y\n")
        screen.shows("test task: succeeded", within=200)  # it starts a stack
        screen.shows("ready: remote-claude in local")
        kept = json.loads((one.home / "self_hosted.json").read_text())
        assert kept["settings"] == {"RCLAUDE_RUNNER_PROVIDERS": "local"}
        one.ok("destroy", "--self-hosted", "--yes")
    finally:
        one.run("down")
