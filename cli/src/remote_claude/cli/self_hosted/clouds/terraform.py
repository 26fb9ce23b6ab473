"""Google Cloud and Azure: templates of Terraform, deployed by the `terraform` or `tofu` of this machine.

The templates, their variables and their state are in `terraform/<cloud>` of this home. They hold no credentials.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from importlib.resources import as_file, files
from typing import Any

from remote_claude.cli import config
from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.identity.profiles import write_private
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudCheck, Deployed, Prices, Say

HINT = "https://developer.hashicorp.com/terraform/install"


class Terraform:
    """A template, and what it has made."""

    def __init__(self, cloud: str, variables: dict[str, Any]) -> None:
        self._template = files("remote_claude.cli") / "self_hosted" / "templates" / cloud
        self._folder = config.home() / "terraform" / cloud
        self._variables = variables
        self._program = next(filter(None, map(shutil.which, ("terraform", "tofu"))), None)

    def check(self) -> CloudCheck:
        if self._program is None:
            return CloudCheck("terraform", "failed", f"neither terraform nor tofu is installed: {HINT}")
        return CloudCheck("terraform", "ok", self._program)

    def plan(self) -> dict[str, int]:
        text = (self._template / "main.tf").read_text()
        return dict(sorted(Counter(re.findall(r'^resource "(\w+)"', text, re.MULTILINE)).items()))

    def apply(self, say: Say) -> dict[str, Any]:
        """Its outputs. Raises `CliError`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with as_file(self._template) as template:
            for file in template.glob("*.tf"):
                shutil.copy(file, self._folder)
        write_private(self._folder / "answers.auto.tfvars.json", json.dumps(self._variables, indent=1))
        self._run("init", "-input=false", "-no-color", say=say)
        self._run("apply", "-input=false", "-no-color", "-auto-approve", say=say)
        return {name: one["value"] for name, one in json.loads(self._run("output", "-json")).items()}

    def resources(self) -> list[tuple[str, str]]:
        if not (self._folder / "terraform.tfstate").exists():
            return []
        return [(line.partition(".")[0], line) for line in self._run("state", "list").splitlines()]

    def destroy(self, say: Say) -> None:
        if (self._folder / "terraform.tfstate").exists():
            self._run("destroy", "-input=false", "-no-color", "-auto-approve", say=say)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, *arguments: str, say: Say | None = None) -> str:
        if self._program is None:
            raise CliError(
                f"neither terraform nor tofu is installed: {HINT}", Exit.USAGE, code="tool_missing"
            )
        lines = []
        with subprocess.Popen(
            [self._program, *arguments], cwd=self._folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if say else subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if say and (step := line.strip()):
                    say(step)
        if process.returncode:
            raise CliError(
                f"terraform {arguments[0]} failed: {''.join(lines[-12:]).strip()}. Correct that and run the command again: it "
                "resumes; `rclaude destroy --self-hosted` removes what is left",
                code="deploy_failed",
            )
        return "".join(lines)


class _TerraformCloud:
    needs_gateway = True
    prices: Prices
    cloud: str
    provider: str

    def __init__(self, answers: Answers, who: tuple[str, ...], account: str) -> None:
        self.answers = answers
        if not answers.region:
            raise CliError("no region is set: name one with --region", Exit.USAGE)
        if not answers.account:
            raise CliError(f"no {account} is set: name one with --account", Exit.USAGE)
        self.account = answers.account
        self.identity = f"{account} {answers.account} ({_said(*who)})"
        self._terraform = Terraform(self.cloud, self._variables(account))

    def _variables(self, account: str) -> dict[str, Any]:
        answers = self.answers
        return {
            account: answers.account,
            "region": answers.region,
            "name": answers.name,
            "gateway_url": answers.gateway_url,
            "gateway_cidr": answers.gateway_cidr,
            "gateway_port": answers.gateway_port,
            "image": answers.image,
        }

    def checks(self) -> list[CloudCheck]:
        return [self._terraform.check()]

    def plan(self) -> dict[str, int]:
        return self._terraform.plan()

    def deploy(self, say: Say) -> Deployed:
        outputs = self._terraform.apply(say)
        repository = outputs.get("repository")
        steps = (
            (f"docker tag remote-claude/worker {repository}:latest", f"docker push {repository}:latest")
            if repository and not self.answers.image
            else ()
        )
        return Deployed(self.provider, dict(outputs["runner_settings"]), steps)

    def resources(self) -> list[tuple[str, str]]:
        return self._terraform.resources()

    def destroy(self, say: Say) -> None:
        self._terraform.destroy(say)


class Gcp(_TerraformCloud):
    """A project of Google Cloud, with the credentials of `gcloud auth application-default login`."""

    cloud, provider = "gcp", "cloud_run"
    prices = Prices(fixed=1.1, task_hour=2 * 0.0648 + 4 * 0.0072)
    """Source: cloud.google.com/run/pricing, tier 1; the fixed part is the address of Cloud NAT and the image."""

    def __init__(self, answers: Answers) -> None:
        super().__init__(answers, ("gcloud", "config", "get-value", "account"), "project")


class Azure(_TerraformCloud):
    """A subscription of Azure, with the credentials of `az login`."""

    cloud, provider = "azure", "container_instances"
    prices = Prices(fixed=36.5, task_hour=2 * 0.0405 + 4 * 0.00445)
    """Source: azure.microsoft.com/pricing, East US; the fixed part is the NAT gateway with its address."""

    def __init__(self, answers: Answers) -> None:
        if not answers.image:
            raise CliError(
                "no image of the worker is set: name one that Azure can pull with --image", Exit.USAGE
            )
        super().__init__(
            answers, ("az", "account", "show", "--query", "user.name", "--output", "tsv"), "subscription"
        )


def _said(*command: str) -> str:
    """Who one is, as the vendor's tool says. Raises `CliError` where it is missing or nobody is signed in."""
    tool = command[0]
    sign_in = {"gcloud": "gcloud auth application-default login", "az": "az login"}[tool]
    if shutil.which(tool) is None:
        raise CliError(f"{tool} is not installed, and it is what signs in", Exit.USAGE, code="tool_missing")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or not (who := done.stdout.strip()) or who == "(unset)":
        raise CliError(f"nobody is signed in: `{sign_in}`", Exit.REFUSED, code="credentials_missing")
    return who
