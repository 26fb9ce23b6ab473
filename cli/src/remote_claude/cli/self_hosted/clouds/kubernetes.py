"""Kubernetes: a namespace with a network policy, a quota and a role, put there by `kubectl`."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from importlib.resources import files
from typing import Any

import yaml

from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudCheck, Deployed, Prices, Say

RIGHTS = (
    ("create", "namespaces"), ("create", "networkpolicies.networking.k8s.io"), ("create", "resourcequotas"),
    ("create", "roles.rbac.authorization.k8s.io"), ("create", "jobs.batch"),
)  # fmt: skip


def manifests(answers: Answers) -> str:
    """The template with these answers in it."""
    text = (
        files("remote_claude.cli") / "self_hosted" / "templates" / "kubernetes" / "compute.yaml"
    ).read_text()
    places = {
        "NAME": answers.name,
        "GATEWAY_CIDR": answers.gateway_cidr,
        "GATEWAY_PORT": str(answers.gateway_port),
    }
    for name, value in places.items():
        text = text.replace(f"@{name}@", value)
    return text


class Kubernetes:
    """The cluster of a context of `kubectl`."""

    needs_gateway = True
    prices = Prices(0, 0)
    """The nodes are the user's: what they cost is not known here."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        if shutil.which("kubectl") is None:
            raise CliError(
                "kubectl is not installed, and it is what reaches the cluster",
                Exit.USAGE,
                code="tool_missing",
            )
        context = answers.account or self._kubectl("config", "current-context").strip()
        self.account = context
        self.identity = f"context {context}"

    def checks(self) -> list[CloudCheck]:
        found = [(verb, kind, self._may(verb, kind)) for verb, kind in RIGHTS]
        missing = [f"{verb} {kind}" for verb, kind, may in found if not may]
        if missing:
            return [
                CloudCheck(
                    "rights",
                    "failed",
                    f"you may not {', '.join(missing)} in this cluster: use another context",
                )
            ]
        return [CloudCheck("rights", "ok", f"all {len(RIGHTS)} that were asked for")]

    def plan(self) -> dict[str, int]:
        return dict(sorted(Counter(str(one["kind"]) for one in self._documents()).items()))

    def deploy(self, say: Say) -> Deployed:
        for line in self._kubectl("apply", "--filename", "-", given=manifests(self.answers)).splitlines():
            say(line)
        image = self.answers.image or "remote-claude/worker"
        context = {"RCLAUDE_RUNNER_KUBERNETES_CONTEXT": self.answers.account} if self.answers.account else {}
        return Deployed(
            "kubernetes",
            {
                "RCLAUDE_RUNNER_PROVIDERS": "local,kubernetes",
                "RCLAUDE_RUNNER_GATEWAY_URL": self.answers.gateway_url,
                "RCLAUDE_RUNNER_KUBERNETES_NAMESPACE": self.answers.name,
                "RCLAUDE_RUNNER_KUBERNETES_IMAGE": image,
                **context,
            },
        )

    def resources(self) -> list[tuple[str, str]]:
        said = self._kubectl("get", "namespace", self.answers.name, "--ignore-not-found", "--output", "name")
        return (
            [(str(one["kind"]), str(one["metadata"]["name"])) for one in self._documents()]
            if said.strip()
            else []
        )

    def destroy(self, say: Say) -> None:
        say(
            self._kubectl("delete", "namespace", self.answers.name, "--ignore-not-found").strip()
            or "nothing was there"
        )

    def _documents(self) -> list[Any]:
        return list(yaml.safe_load_all(manifests(self.answers)))

    def _may(self, verb: str, kind: str) -> bool:
        where = ("--all-namespaces",) if kind == "namespaces" else ("--namespace", self.answers.name)
        done = self._run("auth", "can-i", verb, kind, "--quiet", *where)
        if done.returncode not in (0, 1) or "connect" in done.stderr.lower():
            raise CliError(f"the cluster does not answer: {done.stderr.strip()}", Exit.UNREACHABLE)
        return done.returncode == 0

    def _kubectl(self, *arguments: str, given: str = "") -> str:
        done = self._run(*arguments, given=given)
        if done.returncode:
            raise CliError(
                f"kubectl {' '.join(arguments[:2])}: {done.stderr.strip()}", code="kubectl_refused"
            )
        return done.stdout

    def _run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        context = ("--context", self.answers.account) if self.answers.account else ()
        return subprocess.run(
            ["kubectl", *context, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
