"""Write the chart's template from the kustomizations, which are its only source: `python deploy/k8s/chart/generate.py`.

Each object is as kustomize renders it, with expressions of Helm in the places that `values.yaml` names.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent
TEMPLATE = CHART / "templates/all.yaml"
NAMESPACE = "{{ .Release.Namespace }}"
TASKS = '{{ .Values.tasks.namespace | default (printf "%s-tasks" .Release.Namespace) }}'
CONFIG_NAME = re.compile(r"^(settings|routes|nats|tasks)-[a-z0-9]{10}$")
ONLY_WITH = {
    "ScaledObject": ".Values.keda.enabled",
    "PodMonitor": ".Values.keda.enabled",
    "HorizontalPodAutoscaler": "not .Values.keda.enabled",
    "ExternalSecret": ".Values.externalSecrets.enabled",
}
"""Kinds that are rendered on a condition."""

SETTINGS = {"settings": ".Values.settings", "tasks": ".Values.tasks.settings"}
"""ConfigMaps that values may override, setting by setting."""

Manifest = dict[str, Any]


def kustomized(folder: str) -> list[Manifest]:
    kubectl = shutil.which("kubectl", path=Path(sys.executable).parent) or "kubectl"
    done = subprocess.run([kubectl, "kustomize", CHART.parent / folder], check=True, capture_output=True)
    return list(yaml.safe_load_all(done.stdout))


def template() -> str:
    """The template's text."""
    plain = kustomized("overlays/production")
    autoscalers = [one for one in plain if one["kind"] == "HorizontalPodAutoscaler"]
    tasks = kustomized("overlays/production/tasks")
    services = [one for one in kustomized("chart/source") if one["kind"] != "Namespace"]
    objects = [_general(one, TASKS) for one in tasks]
    objects += [_general(one, NAMESPACE) for one in services + autoscalers]
    head = "{{- /* Written by generate.py from the kustomizations: change those. */ -}}\n"
    return head + "".join(_document(one) for one in objects)


def _general(one: Manifest, namespace: str) -> Manifest:
    """The object with expressions of Helm where values decide."""
    if "namespace" in one["metadata"]:
        one["metadata"]["namespace"] = namespace
    named, spec = one["metadata"]["name"], one.get("spec", {})
    match one["kind"]:
        case "Namespace":
            one["metadata"]["name"] = namespace
        case "RoleBinding":
            one["subjects"][0]["namespace"] = NAMESPACE
        case "ResourceQuota":
            spec["hard"] = {
                "count/jobs.batch": "{{ .Values.tasks.quota.jobs }}",
                "limits.cpu": "{{ .Values.tasks.quota.cpu }}",
                "limits.memory": "{{ .Values.tasks.quota.memory }}",
            }
        case "ConfigMap":
            _config(one)
        case "Ingress":
            one["metadata"]["annotations"]["cert-manager.io/cluster-issuer"] = "{{ .Values.clusterIssuer }}"
            spec["ingressClassName"] = "{{ .Values.ingressClass }}"
            spec["tls"][0]["hosts"] = ["{{ .Values.domain }}"]
            spec["rules"][0]["host"] = "{{ .Values.domain }}"
        case "NetworkPolicy" if named == "services":
            spec["egress"][1]["to"] = [{"ipBlock": {"cidr": "{{ .Values.databaseCidr }}"}}]
        case "NetworkPolicy" if named in ("runner", "to-runner"):
            peers = spec["ingress"][0]["from"] if named == "runner" else spec["egress"][0]["to"]
            other = TASKS if named == "runner" else NAMESPACE
            peers[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = other
        case "ScaledObject":
            for trigger in spec["triggers"]:
                if "serverAddress" in trigger["metadata"]:
                    trigger["metadata"]["serverAddress"] = "{{ .Values.keda.prometheus }}"
        case "ExternalSecret":
            spec["secretStoreRef"]["name"] = "{{ .Values.externalSecrets.store }}"
            key = f"{{{{ .Values.externalSecrets.prefix }}}}/{named}"
            spec["dataFrom"][0]["extract"]["key"] = key
        case "Deployment" | "StatefulSet" | "Job":
            _workload(one)
    return one


def _config(one: Manifest) -> None:
    """A ConfigMap without the hash in its name: a chart's pods are replaced by an annotation instead."""
    one["metadata"]["name"] = name = _unhashed(one["metadata"]["name"])
    if name == "settings":
        one["data"]["RCLAUDE_PUBLIC_URL"] = "https://{{ .Values.domain }}"
        one["data"]["RCLAUDE_OBJECTS"] = "{{ .Values.objects }}"
    if name == "tasks":
        one["data"]["RCLAUDE_RUNNER_KUBERNETES_NAMESPACE"] = TASKS
        one["data"]["RCLAUDE_RUNNER_KUBERNETES_IMAGE"] = _image("worker")
        one["data"]["RCLAUDE_RUNNER_KUBERNETES_RUNTIME_CLASS"] = "{{ .Values.tasks.runtimeClass }}"


def _workload(one: Manifest) -> None:
    named, pod = one["metadata"]["name"], one["spec"]["template"]
    if named in ("auth", "users", "scheduler", "billing", "runner"):
        one["spec"]["replicas"] = f"@@ int .Values.replicas.{named}"
    if one["kind"] == "StatefulSet":
        claim = one["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]
        claim["storage"] = "{{ .Values.broker.storage }}"
    if one["kind"] != "Job":  # a Job can't be changed
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations["checksum/values"] = (
            "{{ list .Values.settings .Values.tasks .Values.domain .Values.objects | toJson | sha256sum }}"
        )
    for container in pod["spec"]["containers"]:
        image = re.match(r"registry\.example\.com/remote-claude/(\w+):", container["image"])
        if image:
            container["image"] = _image(image[1])
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                source["configMapRef"]["name"] = _unhashed(source["configMapRef"]["name"])
    for volume in pod["spec"].get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            if "configMap" in source:
                source["configMap"]["name"] = _unhashed(source["configMap"]["name"])


def _image(name: str) -> str:
    return f"{{{{ .Values.images.registry }}}}/{name}:{{{{ .Values.images.tag }}}}"


def _unhashed(name: str) -> str:
    return found[1] if (found := CONFIG_NAME.match(name)) else name


def _document(one: Manifest) -> str:
    named = one["metadata"]["name"]
    data = one.pop("data") if one["kind"] == "ConfigMap" and named in SETTINGS else {}
    text = yaml.safe_dump(one, sort_keys=False, width=10_000)
    if data:
        text += _overridable(data, SETTINGS[named])
    # A plain number, unless KEDA decides.
    text = re.sub(
        r"^( *)replicas: '@@ int (\.Values\.replicas\.runner)'$",
        r"{{- if not .Values.keda.enabled }}\n\1replicas: {{ \2 }}\n{{- end }}",
        text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"'@@ int ([\w.]+)'", r"{{ \1 }}", text)
    condition = ONLY_WITH.get(one["kind"])
    if condition is None:
        return f"---\n{text}"
    return f"{{{{- if {condition} }}}}\n---\n{text}{{{{- end }}}}\n"


def _overridable(data: dict[str, str], values: str) -> str:
    """The data of a ConfigMap: what `values` names comes before what the kustomization has."""
    defaults = " ".join(
        f'"{name}" (tpl `{value}` $)' if "{{" in value else f'"{name}" `{value}`'
        for name, value in data.items()
    )
    return (
        f"data:\n{{{{- range $name, $value := merge (deepCopy {values}) (dict {defaults}) }}}}\n"
        "  {{ $name }}: {{ $value | toString | quote }}\n{{- end }}\n"
    )


if __name__ == "__main__":
    TEMPLATE.parent.mkdir(exist_ok=True)
    TEMPLATE.write_text(template())
