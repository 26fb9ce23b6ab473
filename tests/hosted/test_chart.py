"""The chart of `deploy/k8s`, what it and kustomize have beyond the plain overlays, and where tasks run."""

from __future__ import annotations

import json
import os
import re
import runpy
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml
from jsonschema import ValidationError

from docker_host import ROOT
from kubernetes_manifests import (
    CUSTOM_RESOURCES,
    K8S,
    OVERLAYS,
    Manifest,
    check_custom_resource,
    matches,
    of_kind,
    pods,
    printed_secrets,
    rendered,
    values_of,
)

PARTS = ("overlays/production/services", "components/backup")


@pytest.fixture(scope="module", params=OVERLAYS)
def both(request: pytest.FixtureRequest) -> tuple[list[Manifest], list[Manifest]]:
    """The services of an overlay, and where its tasks run."""
    return tuple(rendered(f"overlays/{request.param}/{part}") for part in ("services", "tasks"))  # type: ignore[return-value]  # two


def test_the_runner_may_start_jobs_where_tasks_run_and_nothing_more(
    both: tuple[list[Manifest], list[Manifest]],
) -> None:
    services, tasks = both
    [(inside, namespace)] = of_kind(tasks, "Namespace").items()
    [outside] = of_kind(services, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {m["metadata"]["namespace"] for m in tasks if m is not namespace} == {inside}
    [settings] = [c["data"] for n, c in of_kind(services, "ConfigMap").items() if n.startswith("tasks")]
    assert settings["RCLAUDE_RUNNER_KUBERNETES_NAMESPACE"] == inside

    assert of_kind(tasks, "RoleBinding")["runner"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "runner", "namespace": outside}
    ]
    assert not of_kind(services + tasks, "ClusterRole", "ClusterRoleBinding", "Role").keys() - {"runner"}
    granted = {
        (resource, verb)
        for rule in of_kind(tasks, "Role")["runner"]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == {
        *product(["jobs"], ["create", "get", "list", "delete"]),
        ("pods", "list"),
        ("pods/log", "get"),
    }

    policies = of_kind(tasks, "NetworkPolicy")
    assert policies.pop("default-deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    [way_out] = policies.values()
    [peer] = way_out["spec"]["egress"][0]["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": outside}
    assert matches(peer["podSelector"], pods(services)["runner"]["metadata"]["labels"])
    way_in = of_kind(services, "NetworkPolicy")["runner"]["spec"]["ingress"][0]["from"]
    assert way_in == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": inside}}}]


def test_what_scales_follows_metrics_that_are_served_and_alone_decides() -> None:
    objects = rendered("chart/source")
    documented = (ROOT / "docs/guides/observability.md").read_text()
    services = {"auth", "users", "gateway", "scheduler", "billing", "runner"}

    scaled = of_kind(objects, "ScaledObject")
    assert set(scaled) == {"gateway", "runner"}
    assert not of_kind(objects, "HorizontalPodAutoscaler")
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"] == {"name": name}
        assert "replicas" not in of_kind(objects, "Deployment")[name]["spec"]
        for trigger in one["spec"]["triggers"]:
            query = trigger["metadata"].get("query", "")
            assert all(f"`{metric}`" in documented for metric in re.findall(r"rclaude_\w+", query))
            assert set(re.findall(r'service="(\w+)"', query)) <= services
    settings = next(c["data"] for n, c in of_kind(objects, "ConfigMap").items() if n.startswith("tasks"))
    [queue] = scaled["runner"]["spec"]["triggers"]
    assert queue["metadata"]["threshold"] == settings["RCLAUDE_RUNNER_SLOTS"]


def test_a_store_of_secrets_has_all_that_pods_name(tmp_path: Path) -> None:
    objects = rendered("chart/source")
    stored = set(of_kind(objects, "ExternalSecret"))

    assert stored <= set(printed_secrets(tmp_path))
    for name, pod in pods(objects).items():
        needed = {v.get("name") or v["secretName"] for v in values_of(pod, "secret")}
        needed |= {reference["name"] for reference in values_of(pod, "secretKeyRef")}
        assert needed <= stored, name


def test_a_backup_runs_each_night_with_commands_that_exist(tmp_path: Path) -> None:
    services, component = (os.path.relpath(K8S / part, tmp_path.resolve()) for part in PARTS)
    kustomization = {"namespace": "remote-claude", "resources": [services], "components": [component]}
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization))
    objects = rendered(str(tmp_path.resolve()))

    cron = of_kind(objects, "CronJob")["backup"]
    for one in (cron, of_kind(objects, "PersistentVolumeClaim")["backups"]):
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]
    admin = pods(objects)["admin"]
    assert pod["metadata"]["labels"].items() <= admin["metadata"]["labels"].items()
    assert pod["spec"]["securityContext"].items() <= admin["spec"]["securityContext"].items()
    [container], [known] = pod["spec"]["containers"], admin["spec"]["containers"]
    for same in ("securityContext", "envFrom", "env"):
        assert container[same] == known[same]
    documented = (ROOT / "docs/reference/cli.md").read_text()
    for command in re.findall(r"rclaude-admin \w+ [\w-]+", container["args"][0]):
        assert f"### {command}" in documented


@cache
def charted(**values: Any) -> list[Manifest]:
    """All objects of a release of the chart."""
    with helm.Chart.load(str(K8S / "chart")) as chart:
        made = chart.render(
            values={k: json.loads(v) for k, v in values.items()}, name="x", namespace="remote-claude"
        )
    return [one for text in made.values() for one in yaml.safe_load_all(text) if one]


def test_the_chart_is_written_from_the_kustomizations_and_renders_the_same() -> None:
    written = runpy.run_path(str(K8S / "chart/generate.py"))["template"]()
    assert (K8S / "chart/templates/all.yaml").read_text() == written, "run make docs"
    assert helm.lint(str(K8S / "chart"), strict=True, namespace="remote-claude")["errors"] == []

    def comparable(objects: list[Manifest]) -> dict[tuple[str, str, str], str]:
        text = re.sub(r"\b(settings|routes|nats|tasks)-[a-z0-9]{10}\b", r"\1", json.dumps(objects))
        found = {}
        for one in json.loads(text):
            metadata = one["metadata"]
            if one["kind"] in ("Deployment", "StatefulSet"):
                one["spec"]["template"]["metadata"].pop("annotations", None)
            key = (one["kind"], metadata.get("namespace", ""), metadata["name"])
            found[key] = json.dumps(one, sort_keys=True, indent=1)
        return found

    expected = comparable(rendered("overlays/production"))
    expected.pop(("Namespace", "", "remote-claude"))  # that of the release is there already
    assert comparable(charted()) == expected


def test_values_of_the_chart_decide() -> None:
    objects = charted(
        domain='"acme.example.com"', settings='{"RCLAUDE_LOG_LEVEL": "debug"}', replicas='{"billing": 5}',
        tasks='{"runtimeClass": "gvisor", "namespace": "sandboxes", "settings": {"RCLAUDE_RUNNER_SLOTS": 7}}',
        keda='{"enabled": true}', externalSecrets='{"enabled": true, "store": "vault"}',
    )  # fmt: skip
    for one in objects:
        if one["kind"] in CUSTOM_RESOURCES:
            check_custom_resource(one)
        else:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert {"ScaledObject", "ExternalSecret", "PodMonitor"} <= {one["kind"] for one in objects}
    [scaled, *_] = of_kind(objects, "ScaledObject").values()
    with pytest.raises(ValidationError, match="minReplicas"):
        check_custom_resource({**scaled, "spec": {**scaled["spec"], "minReplicas": 1}})

    configured = {n: c["data"] for n, c in of_kind(objects, "ConfigMap").items()}
    assert configured["settings"]["RCLAUDE_LOG_LEVEL"] == "debug"
    assert configured["settings"]["RCLAUDE_PUBLIC_URL"] == "https://acme.example.com"
    assert configured["tasks"]["RCLAUDE_RUNNER_SLOTS"] == "7"
    assert of_kind(objects, "Deployment")["billing"]["spec"]["replicas"] == 5
    assert set(of_kind(objects, "ScaledObject")) == {"gateway", "runner"}
    assert not of_kind(objects, "HorizontalPodAutoscaler")
    stores = {one["spec"]["secretStoreRef"]["name"] for one in of_kind(objects, "ExternalSecret").values()}
    assert stores == {"vault"}
    assert "sandboxes" in of_kind(objects, "Namespace")

    assert configured["tasks"]["RCLAUDE_RUNNER_KUBERNETES_NAMESPACE"] == "sandboxes"
    assert configured["tasks"]["RCLAUDE_RUNNER_KUBERNETES_RUNTIME_CLASS"] == "gvisor"
