"""The hosted product as `deploy/k8s` has it: rendered, held against Kubernetes' schemas and our policy.

No cluster runs here. The broker's configuration and secrets do: as three processes on this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from kubernetes_manifests import (
    K8S,
    OVERLAYS,
    SERVICES,
    TOOLS,
    Manifest,
    matches,
    of_kind,
    pods,
    printed_secrets,
    rendered,
    values_of,
)
from nats_cluster import free_ports
from remote_claude.auth.settings import PREFIX as AUTH
from remote_claude.auth.settings import AuthSettings
from remote_claude.billing.settings import BillingSettings
from remote_claude.gateway.api.proxy import Routes
from remote_claude.gateway.settings import PREFIX as GATEWAY
from remote_claude.gateway.settings import GatewaySettings
from remote_claude.runner.providers.kubernetes import KubernetesSettings
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.broker.connection import BrokerUntrusted, connect_nats
from remote_claude.runtime.embedded.nats import find_nats
from remote_claude.runtime.host import connected, installed
from remote_claude.runtime.purpose import Purpose
from remote_claude.runtime.settings import BrokerSettings, RuntimeSettings
from remote_claude.runtime.telemetry.logs_and_metrics import Metrics
from remote_claude.scheduler.settings import SchedulerSettings
from servers import running_nats, running_postgres, settings_for


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, set[str]]]:
    """The folder that `secrets.sh` fills, and the keys of each Secret that it prints."""
    folder = tmp_path_factory.mktemp("secrets")
    return folder, printed_secrets(folder)


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    """The services of an overlay."""
    return rendered(f"overlays/{request.param}/services")


def test_every_object_fits_its_schema(manifests: list[Manifest]) -> None:
    version = kubernetes_validate.latest_version()

    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_each_service_is_a_deployment_with_a_service_and_an_account_of_its_own(
    manifests: list[Manifest],
) -> None:
    deployments = of_kind(manifests, "Deployment")
    assert set(SERVICES) <= set(deployments)
    for name in SERVICES:
        assert name in of_kind(manifests, "Service")
        assert name in of_kind(manifests, "ServiceAccount")
        assert pods(manifests)[name]["spec"]["serviceAccountName"] == name
    assert of_kind(manifests, "StatefulSet")["nats"]["spec"]["replicas"] == 3


def test_everything_is_in_one_namespace_that_enforces_restricted_pods(manifests: list[Manifest]) -> None:
    [(name, namespace)] = of_kind(manifests, "Namespace").items()

    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {m["metadata"]["namespace"] for m in manifests if m is not namespace} == {name}


def test_every_container_is_restricted(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is (name == "runner"), name  # it asks for Jobs
        # Otherwise RCLAUDE_GATEWAY_... of a Service's address would be taken for an unknown setting.
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] == (999 if name == "postgres" else 10001), name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert container.get("imagePullPolicy") == "IfNotPresent" or name == "postgres", name
            assert "memory" in container["resources"]["limits"], name
        assert not [v for v in spec["volumes"] if "hostPath" in v], name


def test_every_long_lived_container_is_probed_and_drained(manifests: list[Manifest]) -> None:
    workloads = of_kind(manifests, "Deployment", "StatefulSet")
    assert workloads.pop("admin")["spec"]["replicas"] == 0  # people run commands in it, at need
    for name, workload in workloads.items():
        spec = workload["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= 60, name
        for container in spec["containers"]:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), name
            if workload["kind"] == "Deployment":
                assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
                assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
                assert container["lifecycle"]["preStop"], name


def test_what_runs_several_times_survives_the_drain_of_a_node(manifests: list[Manifest]) -> None:
    budgets = [b["spec"]["selector"] for b in of_kind(manifests, "PodDisruptionBudget").values()]
    workloads = of_kind(manifests, "Deployment", "StatefulSet")

    for name in (*SERVICES, "nats"):
        template = workloads[name]["spec"]["template"]
        assert [s for s in budgets if matches(s, template["metadata"]["labels"])], name
        assert template["spec"]["topologySpreadConstraints"], name
    # The autoscaler alone decides: a number in the manifest would undo its work at each `apply`.
    assert "replicas" not in workloads["gateway"]["spec"]
    scaler = of_kind(manifests, "HorizontalPodAutoscaler")["gateway"]
    assert scaler["spec"]["scaleTargetRef"]["name"] == "gateway"


def test_nothing_may_talk_unless_a_policy_allows_it(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")

    assert policies.pop("default-deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, pod in pods(manifests).items():
        applied = [
            p for p in policies.values() if matches(p["spec"]["podSelector"], pod["metadata"]["labels"])
        ]
        assert [p for p in applied if p["spec"]["podSelector"] and p["metadata"]["name"] != "names"], name
    for policy in policies.values():
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule.get("ports"), policy["metadata"]["name"]
            assert rule.get("from") or rule.get("to"), policy["metadata"]["name"]


def test_no_pod_reaches_the_metadata_addresses(manifests: list[Manifest]) -> None:
    for policy in of_kind(manifests, "NetworkPolicy").values():
        peers = [p for rule in policy["spec"].get("egress", []) for p in rule["to"]]
        blocks = [p["ipBlock"] for p in peers if "ipBlock" in p]
        for block in blocks:
            if block["cidr"] == "0.0.0.0/0":
                assert "169.254.0.0/16" in block["except"]
            if block["cidr"] == "::/0":
                assert "fc00::/7" in block["except"]


def test_every_service_selects_a_pod_that_has_its_port(manifests: list[Manifest]) -> None:
    templates = pods(manifests).values()

    for name, service in of_kind(manifests, "Service").items():
        if name == "no-backend":
            assert "selector" not in service["spec"]
            continue
        selected = [
            p for p in templates if service["spec"]["selector"].items() <= p["metadata"]["labels"].items()
        ]
        assert selected, name
        wanted = {port["targetPort"] for port in service["spec"]["ports"]}
        for pod in selected:
            assert wanted <= {p["name"] for c in pod["spec"]["containers"] for p in c["ports"]}, name


def test_the_ingress_serves_the_public_name_and_no_page_of_operators(manifests: list[Manifest]) -> None:
    ingress = of_kind(manifests, "Ingress")["gateway"]["spec"]
    [settings] = [c["data"] for n, c in of_kind(manifests, "ConfigMap").items() if n.startswith("settings")]

    [rule] = ingress["rules"]
    assert settings["RCLAUDE_PUBLIC_URL"] == f"https://{rule['host']}"
    assert ingress["tls"][0]["hosts"] == [rule["host"]]
    to = {path["path"]: path["backend"]["service"]["name"] for path in rule["http"]["paths"]}
    assert to == {"/": "gateway", "/healthz": "no-backend", "/readyz": "no-backend", "/metrics": "no-backend"}


def test_secrets_are_named_and_never_written_down(
    manifests: list[Manifest], secrets: tuple[Path, dict[str, set[str]]]
) -> None:
    _, made = secrets

    assert not of_kind(manifests, "Secret")
    for name, pod in pods(manifests).items():
        for reference in values_of(pod, "secretKeyRef"):
            assert reference["key"] in made[reference["name"]], name
        for volume in values_of(pod, "secret"):
            keys = {item["key"] for item in volume.get("items", [])}
            assert keys <= made[volume.get("name") or volume["secretName"]], name
        for reference in values_of(pod, "secretRef"):
            assert reference["optional"], name
        plain = {
            e["name"]
            for c in pod["spec"]["containers"]
            for e in c.get("env", [])
            if not e.get("value", "/").startswith("/")  # a path to a file is no secret
        }
        assert not [n for n in plain if n.endswith(("KEY", "SECRET", "TOKEN", "PASSWORD", "DSN"))], name


def test_each_service_has_its_own_broker_credential_only(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests).items():
        seeds = [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if v["name"] == "seed"]
        expected = {
            "nats": [],
            "postgres": [],
            "archive": ["seed-scheduler"],
            "broker-init": ["seed-admin"],
            "admin": ["seed-admin"],
        }
        assert seeds == expected.get(name, [f"seed-{name}"])


def test_every_setting_exists(manifests: list[Manifest]) -> None:
    classes = (RuntimeSettings, SchedulerSettings, BillingSettings, RunnerSettings, KubernetesSettings)
    known = {
        str(one.model_config.get("env_prefix")) + field.upper()
        for one in classes
        for field in one.model_fields
    }
    known |= {GATEWAY + field.upper() for field in GatewaySettings.model_fields}
    known |= {AUTH + field.upper() for field in AuthSettings.model_fields}

    used = {name for c in of_kind(manifests, "ConfigMap").values() for name in c["data"]}
    used |= {one["name"] for env in values_of(list(pods(manifests).values()), "env") for one in env}
    ours = {name for name in used if name.startswith("RCLAUDE_")}
    assert ours
    assert ours <= known
    required = {
        "RCLAUDE_" + name.upper() for name, f in RuntimeSettings.model_fields.items() if f.is_required()
    }
    assert required <= ours


async def test_the_gateway_knows_the_owner_of_every_path(tmp_path: Path) -> None:
    [routes] = [
        c["data"]
        for n, c in of_kind(rendered("overlays/production/services"), "ConfigMap").items()
        if n.startswith("routes")
    ]
    owners = Routes(GatewaySettings.from_environment(routes).routes)

    with running_nats() as broker, running_postgres() as database, database.fresh() as dsn:
        metrics = Metrics("kubernetes")
        async with connected(settings_for(broker, dsn, tmp_path), {}, metrics, Purpose.MAINTAIN) as runtime:
            services = {s.name: s for s in (build(runtime) for build in installed())}
    for name in ("auth", "users", "billing", "runner"):
        router = services[name].router
        assert router is not None
        paths = [getattr(route, "path", "") for route in router.routes]
        assert paths
        assert {path: owners.owner(path) for path in paths} == dict.fromkeys(paths, f"http://{name}:8080")


@pytest.fixture
def cluster(secrets: tuple[Path, dict[str, set[str]]], tmp_path: Path) -> Iterator[list[int]]:
    """The broker as the StatefulSet runs it, with the paths and ports of this machine; its ports for clients."""
    folder, _ = secrets
    clients, routes = free_ports(6)[:3], free_ports(3)
    others = json.dumps([f"nats-route://localhost:{port}" for port in routes])
    nodes = []
    try:
        for n, (client, route) in enumerate(zip(clients, routes, strict=True)):
            text = (K8S / "base/nats.conf").read_text()
            own = [line for line in text.splitlines() if line.strip().startswith("routes:")]
            for old, new in {
                own[0].strip(): f"routes: {others}",
                '"0.0.0.0:4222"': f'"127.0.0.1:{client}"',
                '"0.0.0.0:6222"': f'"127.0.0.1:{route}"',
                'http: "0.0.0.0:8222"': "",
                "/tmp/nats.pid": str(tmp_path / f"{n}.pid"),
                '"/data"': json.dumps(str(tmp_path / f"data-{n}")),
                "/run/secrets/tls.crt": str(folder / "nats.pem"),
                "/run/secrets/tls.key": str(folder / "nats.key"),
                "/run/secrets/ca.pem": str(folder / "ca.pem"),
                "./accounts.conf": os.path.relpath(folder / "accounts.conf", tmp_path),
            }.items():
                assert old in text, old
                text = text.replace(old, new)
            (config := tmp_path / f"{n}.conf").write_text(text)
            nodes.append(
                subprocess.Popen(
                    [find_nats(), "--config", config, "--log", tmp_path / f"{n}.log"],
                    env={"NATS_NAME": f"nats-{n}", "PATH": os.defpath},
                )
            )
        yield clients
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(30)


@pytest.mark.timeout(180)
async def test_the_job_makes_streams_on_three_nodes_that_trust_one_another(
    cluster: list[int], secrets: tuple[Path, dict[str, set[str]]]
) -> None:
    folder, _ = secrets
    [settings] = [
        c["data"]
        for n, c in of_kind(rendered("overlays/production/services"), "ConfigMap").items()
        if n.startswith("settings")
    ]
    job = pods(rendered("overlays/production/services"))["broker-init"]["spec"]["containers"][0]

    environment = settings | {
        "PATH": os.defpath,
        "RCLAUDE_NATS_URL": ",".join(f"tls://localhost:{port}" for port in cluster),
        "RCLAUDE_NATS_CA": str(folder / "ca.pem"),
        "RCLAUDE_NATS_CREDENTIALS": str(folder / "seeds/admin.nk"),
        "RCLAUDE_NATS_CERTIFICATE": str(folder / "client-admin.pem"),
        "RCLAUDE_NATS_KEY": str(folder / "client-admin.key"),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [TOOLS / "rclaude-admin", *job["args"]],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    broker = BrokerSettings(
        nats_url=environment["RCLAUDE_NATS_URL"],
        nats_ca=folder / "ca.pem",
        nats_credentials=folder / "seeds/admin.nk",
    )
    with pytest.raises(BrokerUntrusted, match="RCLAUDE_NATS_CERTIFICATE"):
        await connect_nats(broker)
    own = {"nats_certificate": folder / "client-admin.pem", "nats_key": folder / "client-admin.key"}
    broker = broker.model_copy(update=own)
    client = await connect_nats(broker, patience=30)
    try:
        answer = json.loads((await client.request("$JS.API.STREAM.INFO.EVENTS", timeout=5)).data)
    finally:
        await client.close()
    assert answer["config"]["num_replicas"] == 3
    assert {answer["cluster"]["leader"], *(r["name"] for r in answer["cluster"]["replicas"])} == {
        "nats-0",
        "nats-1",
        "nats-2",
    }
