"""The manifests of `deploy/k8s` as kustomize renders them, and what a test asks of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from docker_host import ROOT

K8S = ROOT / "deploy/k8s"
TOOLS = Path(sys.executable).parent
OVERLAYS = ("development", "production", "dedicated")
SERVICES = ("auth", "users", "gateway", "scheduler", "billing", "runner")

Manifest = dict[str, Any]


@cache
def rendered(folder: str) -> list[Manifest]:
    """All objects of a kustomization; nothing changes them."""
    made = subprocess.run([TOOLS / "kubectl", "kustomize", K8S / folder], check=True, capture_output=True)
    return list(yaml.safe_load_all(made.stdout))


@cache
def printed_secrets(folder: Path) -> dict[str, set[str]]:
    """The keys of each Secret that `secrets.sh` prints, which fills the folder."""
    environment = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "HOME": str(folder)}
    made = subprocess.run(
        [K8S / "secrets.sh", folder, "remote-claude"], check=True, capture_output=True, env=environment
    )
    printed = [one for one in yaml.safe_load_all(made.stdout) if one]
    return {one["metadata"]["name"]: set(one["data"]) for one in printed}


CUSTOM_RESOURCES: dict[str, Manifest] = json.loads((ROOT / "tests/hosted/custom_resources.json").read_text())
"""By kind: what the custom resource definition of its `source` says of the fields that we use. Any other field is refused."""


def check_custom_resource(manifest: Manifest) -> None:
    """Raises `ValidationError` of jsonschema."""
    known = CUSTOM_RESOURCES[manifest["kind"]]
    assert manifest["apiVersion"] == known["apiVersion"]
    jsonschema.validate(manifest["spec"], known["schema"])


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates, by the name of their workload."""
    workloads = of_kind(manifests, "Deployment", "StatefulSet", "Job")
    return {name: workload["spec"]["template"] for name, workload in workloads.items()}


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", [])
    )


def values_of(value: Any, key: str) -> Iterator[Any]:
    """Every value under `key`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from values_of(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from values_of(inner, key)
