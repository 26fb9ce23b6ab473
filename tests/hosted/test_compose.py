"""The hosted product as `deploy/compose` has it: built, brought up, used through its edge, scaled, upgraded, restored."""

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
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from docker_host import ROOT, base_image, docker, docker_engine
from nats_cluster import free_ports
from product import BIN, Product, repository
from servers import until

INFRASTRUCTURE = ("nats", "postgres", "caddy", "prometheus")
SERVICES = ("auth", "users", "gateway", "scheduler", "billing", "runner")


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

    def trust_edge(self, file: Path) -> None:
        """Write the edge's own authority into the file, once the edge has its certificate and answers."""

        def answers() -> bool:
            try:
                file.write_text(
                    self("exec", "-T", "edge", "cat", "/data/caddy/pki/authorities/local/root.crt")
                )
                context = ssl.create_default_context(cafile=str(file))
                return httpx2.get(f"{self.url}/healthz", verify=context, timeout=10).is_success
            except (AssertionError, ssl.SSLError, httpx2.HTTPError):
                return False

        until(answers, "the edge answers", 60, pause=0.5)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The whole product in its development profile, up and healthy. Nothing of it is left afterwards."""
    with docker_engine() as engine:
        images = engine | _images(engine)
        folder = tmp_path_factory.mktemp("compose") / "compose"
        shutil.copytree(ROOT / "deploy/compose", folder, ignore=shutil.ignore_patterns("secrets", ".env"))
        shutil.copytree(ROOT / "deploy/observability", folder.parent / "observability")
        https, identity, stripe, prometheus = free_ports(4)
        files = ("compose.yaml", "compose.development.yaml", "compose.observability.yaml")
        environment = images | {
            "COMPOSE_PROJECT_NAME": f"rclaude-test-{uuid.uuid4().hex[:8]}",
            "COMPOSE_FILE": ":".join(str(folder / name) for name in files),
            "RCLAUDE_HTTPS_PORT": str(https),
            "RCLAUDE_IDENTITY_PORT": str(identity),
            "RCLAUDE_STRIPE_PORT": str(stripe),
            "RCLAUDE_PROMETHEUS_PORT": str(prometheus),
            "DOCKER_SOCKET": (engine.get("DOCKER_HOST") or "unix:///var/run/docker.sock").removeprefix(
                "unix://"
            ),
        }
        with TemporaryDirectory(prefix="rclaude-sandboxes-") as sandboxes:
            environment["RCLAUDE_SANDBOX_FOLDER"] = sandboxes
            project = Compose(folder, environment, f"https://localhost:{https}")
            try:
                project("up", "--detach", "--wait", "--wait-timeout", "240", *STACK)
                yield project
            finally:
                project("down", "--volumes", "--timeout", "5")


STACK = (*SERVICES, "edge", "identity", "mail", "stripe", "prometheus")
"""Without Grafana and the collector, whose images only a registry has."""


def _images(engine: dict[str, str]) -> dict[str, str]:
    """Build the product's images, and those of the servers on the same base; no registry is asked."""
    base = base_image(engine)
    docker(
        engine | {"WORKER_AGENTS": ""},
        "bash", str(ROOT / "deploy/images/build.sh"), *SERVICES, "admin", "worker", "development",
        timeout_s=900,
    )  # fmt: skip
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
def browser(compose: Compose, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    """What a browser does, for a person who has signed in as `ada` with the issuer of the development profile."""
    authority = tmp_path_factory.mktemp("edge") / "edge.pem"
    compose.trust_edge(authority)
    context = ssl.create_default_context(cafile=str(authority))
    with httpx2.Client(base_url=compose.url, verify=context, timeout=60) as client:
        begun = client.get("/auth/sign-in/oidc")
        assert begun.status_code == httpx2.codes.SEE_OTHER, begun.text
        # Browsers know that names below localhost are this machine; the library has to be told.
        issuer = urlsplit(begun.headers["location"])
        assert issuer.netloc == f"identity.localhost:{compose.environment['RCLAUDE_IDENTITY_PORT']}"
        agreed = httpx2.post(
            f"http://127.0.0.1:{issuer.port}{issuer.path}?{issuer.query}",
            headers={"Host": issuer.netloc},
            data={"sub": "ada"},
        )
        back = urlsplit(agreed.headers["location"])
        signed_in = client.get(f"{back.path}?{back.query}")
        assert signed_in.status_code == httpx2.codes.SEE_OTHER, signed_in.text
        session = client.get("/v1/session")
        assert session.is_success, (session.text, signed_in.headers, [*client.cookies.jar])
        client.headers["X-CSRF-Token"] = session.json()["csrf_token"]
        client.headers["Origin"] = compose.url
        yield client


@pytest.fixture(scope="module")
def client(compose: Compose, browser: httpx2.Client, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The command line of the same person, with a key made in the browser, who trusts the edge's own authority."""
    folder = tmp_path_factory.mktemp("client")
    authority = folder / "edge.pem"
    compose.trust_edge(authority)
    made = browser.post("/v1/keys", json={"name": "laptop"})
    assert made.status_code == httpx2.codes.CREATED, made.text
    key = made.json()["secret"]
    reached = {"RCLAUDE_URL": compose.url, "RCLAUDE_API_KEY": key, "SSL_CERT_FILE": str(authority)}
    return Product(folder / "home", reached)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return repository(tmp_path / "repo", {"README.md": "a repository\n"})


@pytest.mark.timeout(1200)
def test_a_person_signs_in_and_a_task_runs_in_a_container_and_is_billed(
    browser: httpx2.Client, client: Product, repo: Path
) -> None:
    assert browser.get("/v1/me").json()["name"] == "Ada"

    done = client.run("run", "--agent", "shell", "--json", "id -u > who.txt; cat who.txt", cwd=repo)

    assert done.code == 0, done.err
    assert done.json["state"] == "succeeded"
    task = str(done.json["id"])
    assert client.ok("show", task, "--json").json["attempts"][0]["provider"] == "docker"
    assert "1000" in client.ok("logs", task).out
    assert "+1000" in client.ok("diff", task).out
    assert client.ok("usage", "--json").json["executions"]["used"] == 1


@pytest.mark.timeout(900)
def test_an_operator_suspends_an_organisation_and_lets_it_go_on(compose: Compose, client: Product) -> None:
    org = str(client.ok("whoami", "--json").json["org"])
    run = ("run", "--agent", "noop", "--no-repo", "--json", "hello")

    compose.admin("org", "suspend", org, "--reason", "unpaid for 60 days")
    refused = client.run(*run)
    assert refused.code != 0
    assert "unpaid for 60 days" in refused.out + refused.err
    compose.admin("org", "resume", org)
    assert client.run(*run).code == 0


@pytest.mark.timeout(900)
def test_each_service_answers_apart_and_a_gateway_more_serves_too(compose: Compose, client: Product) -> None:
    compose("up", "--detach", "--wait", "--no-recreate", "--scale", "gateway=2", *STACK)

    running = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    by_service = [one["Service"] for one in running if one["State"] == "running"]
    assert by_service.count("gateway") == 2
    assert {"auth", "users", "scheduler", "billing", "runner", "nats", "postgres", "edge"} <= set(by_service)
    assert client.run("run", "--agent", "noop", "--no-repo", "hello").code == 0


@pytest.mark.timeout(900)
def test_nothing_of_the_product_but_the_edge_is_published_and_no_service_runs_as_root(
    compose: Compose,
) -> None:
    running = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]

    published = {
        one["Service"] for one in running if any(p["PublishedPort"] for p in one["Publishers"] or [])
    }
    assert published == {"edge", "identity", "stripe", "prometheus"}, (
        "the last three on loopback, for development"
    )
    for service in SERVICES:
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


def test_prometheus_scrapes_every_service_and_every_panel_and_alert_can_be_asked(compose: Compose) -> None:
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{compose.environment['RCLAUDE_PROMETHEUS_PORT']}", timeout=30
    ) as http:

        def asked(expression: str) -> list[Any]:
            answer = http.get("/api/v1/query", params={"query": expression})
            assert answer.is_success, (expression, answer.text)
            found: list[Any] = answer.json()["data"]["result"]
            return found

        until(
            lambda: {one["metric"]["service"] for one in asked("up == 1")} == set(SERVICES),
            "every service is scraped",
            60,
            pause=1,
        )
        for path in (ROOT / "deploy/observability/dashboards").glob("*.json"):
            for panel in json.loads(path.read_text())["panels"]:
                for target in panel["targets"]:
                    asked(target["expr"])
        rules = http.get("/api/v1/rules").json()["data"]["groups"]
        assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}


@pytest.mark.nightly  # `end_to_end/test_backup.py` restores an installation in `make test`
@pytest.mark.timeout(1200)
def test_an_upgrade_keeps_what_was_done_and_a_backup_brings_it_back_into_an_empty_installation(
    compose: Compose, client: Product, tmp_path: Path
) -> None:
    task = str(client.run("run", "--agent", "noop", "--no-repo", "--json", "before").json["id"])
    for name in (*SERVICES, "admin", "worker", "development"):
        docker(compose.environment, "docker", "tag", f"remote-claude/{name}", f"remote-claude/{name}:next")
    compose.environment["RCLAUDE_TAG"] = "next"
    compose("up", "--detach", "--wait", *STACK)
    assert client.ok("show", task, "--json").json["state"] == "succeeded"

    docker(compose.environment, str(compose.folder / "backup.sh"), str(tmp_path / "backup"))
    compose("down", "--volumes", "--timeout", "5")
    shutil.rmtree(compose.folder / "secrets")
    compose.environment["COMPOSE_FILE"] = str(compose.folder / "compose.yaml")
    docker(compose.environment, str(compose.folder / "restore.sh"), str(tmp_path / "backup"))

    compose.trust_edge(Path(client.environment["SSL_CERT_FILE"]))
    assert client.ok("show", task, "--json").json["state"] == "succeeded"
    done = client.run("run", "--agent", "shell", "--no-repo", "--json", "echo again")
    assert done.json["state"] == "succeeded", done.err
