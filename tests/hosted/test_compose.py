"""The hosted product as `deploy/compose` has it: built, brought up, used through its edge, scaled, taken down."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
import pytest

from docker_host import ROOT, base_image, docker, docker_engine
from nats_cluster import free_ports
from product import BIN, Product

INFRASTRUCTURE = ("nats", "postgres", "caddy")


@dataclass
class Compose:
    """One project of Docker Compose, in a folder of its own."""

    folder: Path
    environment: dict[str, str]
    url: str

    def __call__(self, *arguments: str, timeout_s: float = 300) -> str:
        return docker(
            self.environment,
            "docker", "compose", "--project-directory", str(self.folder), *arguments,
            timeout_s=timeout_s,
        )  # fmt: skip

    def admin(self, *arguments: str) -> list[str]:
        """The words that `rclaude-admin` prints."""
        return self("run", "--rm", "--no-TTY", "admin", *arguments).split()


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The whole product, up and healthy. Nothing of it is left afterwards."""
    with docker_engine() as engine:
        images = engine | _images(engine)
        folder = tmp_path_factory.mktemp("compose") / "compose"
        shutil.copytree(ROOT / "deploy/compose", folder, ignore=shutil.ignore_patterns("secrets", ".env"))
        [port] = free_ports(1)
        environment = images | {
            "COMPOSE_PROJECT_NAME": f"rclaude-test-{uuid.uuid4().hex[:8]}",
            "RCLAUDE_HTTPS_PORT": str(port),
        }
        project = Compose(folder, environment, f"https://localhost:{port}")
        try:
            project("up", "--detach", "--wait", "--wait-timeout", "240")
            yield project
        finally:
            project("down", "--volumes", "--timeout", "5")


def _images(engine: dict[str, str]) -> dict[str, str]:
    """Build the product's images, and those of the servers on the same base; no registry is asked."""
    base = base_image(engine)
    docker(engine | {"WORKER_AGENTS": ""}, "bash", str(ROOT / "deploy/images/build.sh"))
    with TemporaryDirectory() as context:
        shutil.copytree(ROOT / "tests/containers", context, dirs_exist_ok=True)
        shutil.copy2(BIN / "nats-server", context)
        for name in INFRASTRUCTURE:
            docker(
                engine | {"DOCKER_BUILDKIT": "0"},
                "docker", "build", "--quiet", "--network", "host", "--build-arg", f"BASE={base}",
                "--tag", f"remote-claude-test/{name}", "--file", f"{context}/{name}.Dockerfile", context,
            )  # fmt: skip
    return {f"{name.upper()}_IMAGE": f"remote-claude-test/{name}" for name in INFRASTRUCTURE}


@pytest.fixture(scope="module")
def client(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The command line of somebody in a new organisation, who trusts the edge's own authority."""
    folder = tmp_path_factory.mktemp("client")
    authority = folder / "edge.pem"
    authority.write_text(compose("exec", "-T", "edge", "cat", "/data/caddy/pki/authorities/local/root.crt"))
    org, user = compose.admin("org", "create", "Acme")
    key = compose.admin("key", "issue", org, user)[-1]
    reached = {"RCLAUDE_URL": compose.url, "RCLAUDE_API_KEY": key, "SSL_CERT_FILE": str(authority)}
    return Product(folder / "home", reached)


@pytest.mark.timeout(900)
def test_a_task_runs_through_the_edge_and_is_billed(client: Product) -> None:
    done = client.run("run", "--agent", "noop", "--no-repo", "--json", "hello")

    assert done.code == 0, done.err
    assert done.json["state"] == "succeeded"
    assert client.ok("usage", "--json").json["executions"]["used"] == 1


@pytest.mark.timeout(900)
def test_each_service_answers_apart_and_a_gateway_more_serves_too(compose: Compose, client: Product) -> None:
    compose("up", "--detach", "--wait", "--no-recreate", "--scale", "gateway=2")

    running = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    by_service = [one["Service"] for one in running if one["State"] == "running"]
    assert by_service.count("gateway") == 2
    assert {"auth", "users", "scheduler", "billing", "runner", "nats", "postgres", "edge"} <= set(by_service)
    assert client.run("run", "--agent", "noop", "--no-repo", "hello").code == 0


@pytest.mark.timeout(900)
def test_nothing_but_the_edge_is_published_and_no_service_runs_as_root(compose: Compose) -> None:
    running = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]

    published = {
        one["Service"] for one in running if any(p["PublishedPort"] for p in one["Publishers"] or [])
    }
    assert published == {"edge"}
    for service in ("auth", "users", "gateway", "scheduler", "billing", "runner"):
        assert compose("exec", "-T", service, "id", "-u").strip() == "10001"


@pytest.mark.timeout(900)
def test_operations_pages_are_not_served_at_the_edge(compose: Compose, client: Product) -> None:
    context = ssl.create_default_context(cafile=client.environment["SSL_CERT_FILE"])
    with httpx2.Client(base_url=compose.url, verify=context, timeout=30) as http:
        assert http.get("/healthz").status_code == httpx2.codes.OK
        assert http.get("/metrics").text == ""
        assert http.get("/v1/tasks").status_code == httpx2.codes.UNAUTHORIZED


@pytest.mark.timeout(900)
def test_secrets_are_files_that_only_their_service_can_read(compose: Compose) -> None:
    secrets = compose.folder / "secrets"

    readable_by_all = [
        path.name for path in secrets.rglob("*") if path.is_file() and path.stat().st_mode & 0o004
    ]
    assert sorted(readable_by_all) == ["ca.pem", "nats.pem", "postgres.pem"]
    assert all(os.access(secrets / f"seeds/{service}.nk", os.F_OK) for service in ("auth", "runner"))
