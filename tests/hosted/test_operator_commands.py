"""What an operator does with `rclaude-admin`: dedicated stacks, evidence for an audit."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from docker_host import ROOT
from product import BIN, Product, product


@pytest.fixture(scope="module")
def stack() -> Iterator[Product]:
    with product() as one:
        yield one


def test_a_dedicated_stack_is_rendered_recorded_upgraded_alone_and_removed(
    stack: Product, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "deploy/k8s", tmp_path / "k8s")
    org = stack.admin("org", "create", "Acme").out.split()[0]
    create = (
        "--org", org, "--objects", "s3://acme-remote-claude", "--registry", "registry.example.com/remote-claude",
    )  # fmt: skip
    folders = {name: tmp_path / "k8s/stacks" / name for name in ("acme", "other")}
    for name, folder in folders.items():
        done = stack.admin("stack", "create", name, str(folder), "--domain", f"{name}.example.com", *create)
        assert done.code == 0, done.err
    taken = stack.admin("stack", "create", "acme", str(tmp_path / "x"), "--domain", "a.example.com", *create)
    assert (taken.code, (tmp_path / "x").exists()) == (2, False)

    before = (folders["other"] / "services/kustomization.yaml").read_bytes()
    assert stack.admin("stack", "upgrade", "acme", str(folders["acme"]), "--release", "0.2.0").code == 0
    assert (folders["other"] / "services/kustomization.yaml").read_bytes() == before
    shown = {one["stack"]: one for one in stack.admin("stack", "list", "--json").json}
    assert {name: one["release"] for name, one in shown.items()} == {"acme": "0.2.0", "other": "0.1.0"}
    assert shown["acme"]["plan"] == "enterprise"

    made = subprocess.run([BIN / "kubectl", "kustomize", folders["acme"]], check=True, capture_output=True)
    objects = [one for one in yaml.safe_load_all(made.stdout) if one]
    for one in objects:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    assert {o["metadata"]["namespace"] for o in objects if o["kind"] != "Namespace"} == {
        "remote-claude-acme",
        "remote-claude-acme-tasks",
    }
    [binding] = [o for o in objects if o["kind"] == "RoleBinding"]
    assert binding["subjects"][0]["namespace"] == "remote-claude-acme"
    assert "0.1.0" not in made.stdout.decode()
    assert "registry.example.com/remote-claude/worker:0.2.0" in made.stdout.decode()
    [ingress] = [o for o in objects if o["kind"] == "Ingress"]
    assert ingress["spec"]["rules"][0]["host"] == "acme.example.com"
    images = {
        c["image"]
        for o in objects
        if o["kind"] == "Deployment"
        for c in o["spec"]["template"]["spec"]["containers"]
    }
    assert "registry.example.com/remote-claude/gateway:0.2.0" in images
    [settings] = [
        o["data"]
        for o in objects
        if o["kind"] == "ConfigMap" and o["metadata"]["name"].startswith("settings")
    ]
    assert settings["RCLAUDE_OBJECTS"] == "s3://acme-remote-claude"
    assert settings["RCLAUDE_BILLING_DEFAULT_PLAN"] == "enterprise"

    assert stack.admin("stack", "remove", "acme").code == 0
    assert [one["stack"] for one in stack.admin("stack", "list", "--json").json] == ["other"]


def test_the_service_levels_of_the_month_are_those_of_its_tasks(stack: Product) -> None:
    stack.ended(stack.submit("true"))
    month = datetime.now(UTC).strftime("%Y-%m")
    owner = stack.status()["org"]

    shown = {one["org"]: one for one in stack.admin("sla", "report", month, "--json").json}
    assert shown[owner]["tasks"] == 1
    assert shown[owner]["availability"] == 1
    assert 0 < shown[owner]["p50_seconds"] < 60
    early = stack.admin("sla", "report", month, "--grant")
    assert (early.code, "is not over" in early.err) == (2, True)


def test_what_the_plan_no_longer_keeps_is_removed_and_its_bill_stays(stack: Product) -> None:
    owner = stack.status()["org"]
    assert stack.admin("plan", "set", owner, "free").code == 0
    task = stack.submit("echo printed; echo file > $RCLAUDE_ARTIFACTS/a.txt")
    stack.ended(task)
    assert "output until" in stack.ok("show", task).out
    assert stack.admin("retention", "list").out == ""
    assert (
        f"{owner}  {task}  artifacts, checkpoints, output"
        in stack.admin("retention", "list", "--on", "2999-01-01").out
    )
    assert stack.admin("retention", "apply", "--on", "2999-01-01").code == 0

    assert "not kept  artifacts, checkpoints, output" in stack.ok("show", task).out
    assert "no longer kept" in stack.run("logs", task).err
    assert stack.ok("show", task, "--json").json["cost"] is not None
    assert stack.admin("verify").code == 0
    assert stack.admin("plan", "set", owner, "self-hosted").code == 0


def test_evidence_names_who_has_access_and_no_change_to_it_goes_unseen(
    stack: Product, tmp_path: Path
) -> None:
    org, user = stack.admin("org", "create", "Secret Name Ltd").out.split()
    kept, secret = stack.admin("key", "issue", org, user).out.split()
    revoked = stack.admin("key", "issue", org, user).out.split()[0]
    assert stack.admin("key", "revoke", org, revoked).code == 0
    file = tmp_path / "evidence.tar.gz"
    done = stack.admin("evidence", "collect", str(file))
    assert done.code == 0, done.err
    assert stack.admin("evidence", "verify", str(file)).code == 0

    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "x", filter="data")
    access = json.loads((tmp_path / "x/access.json").read_text())[org]
    assert access["members"][user]["role"] == "owner"
    assert [*access["keys"]] == [kept]
    changes = json.loads((tmp_path / "x/changes.json").read_text())
    assert {"ApiKeyRevoked", "OrgCreated"} <= {one["type"] for one in changes}
    assert json.loads((tmp_path / "x/log.json").read_text())["verification"]["findings"] == []
    whole = b"".join(path.read_bytes() for path in (tmp_path / "x").iterdir())
    assert b"Secret Name" not in whole
    assert secret.encode() not in whole

    (tmp_path / "x/access.json").write_text("{}")
    with tarfile.open(tmp_path / "changed.tar.gz", "w:gz") as archive:
        for path in (tmp_path / "x").iterdir():
            archive.add(path, path.name)
    changed = stack.admin("evidence", "verify", str(tmp_path / "changed.tar.gz"))
    assert changed.code == 1
    assert "access.json" in changed.err
