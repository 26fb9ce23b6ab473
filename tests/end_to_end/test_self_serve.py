"""`rclaude init --self-hosted` and the providers of each cloud, to a task that runs there: each cloud is a double of its API."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from clouds.cloud_run_jobs import CloudRun
from clouds.cluster import Cluster
from clouds.codespaces import Codespaces
from clouds.container_groups import ContainerGroups
from clouds.fly_machines import Fly
from clouds.machines import Processes
from docker_host import ROOT
from product import Product, clean_environment, product
from remote_claude.runtime.embedded.home import free_port
from servers import until

TOKEN = "made-up-token-of-fly"
OTHERS = ("kubernetes", "cloud_run", "container_instances", "codespaces")


class Vendors:
    """All doubles at one address, on processes of this machine."""

    def __init__(self, home: Path) -> None:
        self.processes = Processes(home)
        self.fly = Fly(self.processes)
        self.cluster, self.codespaces = Cluster(self.processes), Codespaces(self.processes)
        self.app = Starlette(
            routes=[
                Mount("/fly", self.fly.app),
                Mount("/kubernetes", self.cluster.app),
                Mount("/google", CloudRun(self.processes).app),
                Mount("/azure", ContainerGroups(self.processes).app),
                Mount("/github", self.codespaces.github),
                Mount("/ports/{name}", self.codespaces.port),
                Route("/token", token, methods=["POST"]),
                Route("/identity", token),
            ]
        )


async def token(request: Request) -> Response:
    """What Google and Azure give who shows credentials."""
    found = {"access_token": "made-up", "expires_in": 3600, "expires_on": "4070908800"}
    return JSONResponse({**found, "token_type": "Bearer", "resource": "made-up"})


@pytest.fixture
def vendors(tmp_path: Path) -> Iterator[tuple[Vendors, str]]:
    found = Vendors(tmp_path)
    server = uvicorn.Server(uvicorn.Config(found.app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the doubles", 20, pause=0.02)
    yield found, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


def settings(url: str, folder: Path) -> dict[str, dict[str, str]]:
    """Of each provider beside Fly, as a user gives them to `rclaude provider add`."""
    config = {
        "current-context": "tests",
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "clusters": [{"name": "tests", "cluster": {"server": f"{url}/kubernetes"}}],
        "users": [{"name": "tests", "user": {"token": "made-up"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    return {
        "kubernetes": {"kubeconfig": str(folder / "kubeconfig")},
        "cloud_run": {
            "project": "made-up",
            "image": "made-up/worker",
            "api": f"{url}/google",
            "logging_api": f"{url}/google",
        },
        "container_instances": {"subscription": "0", "image": "made-up/worker", "api": f"{url}/azure"},
        "codespaces": {
            "repository": "ada/tasks",
            "api": f"{url}/github",
            "ports": f"{url}/ports/{{name}}",
        },
    }


def of_fly(url: str) -> dict[str, str]:
    return {
        "FLY_API_TOKEN": TOKEN,
        "RCLAUDE_RUNNER_FLY_API": f"{url}/fly",
        "RCLAUDE_RUNNER_FLY_LOGS_API": f"{url}/fly",
    }


def fly(gateway: str) -> tuple[str, ...]:
    named = ("--name", "mine", "--image", "made-up/worker", "--gateway-url", gateway)
    return ("init", "--self-hosted", "fly", *named, "--gateway-cidr", "203.0.113.7/32")


def test_fly_is_planned_made_resumed_upgraded_and_removed(
    vendors: tuple[Vendors, str], tmp_path: Path
) -> None:
    doubles, url = vendors
    one, init = Product(tmp_path / "home", of_fly(url)), fly("wss://rclaude.example.com")
    plan = one.ok(*init, "--dry-run", "--json").json
    assert (plan["resources"], doubles.fly.apps) == ({"app": 1, "network": 1}, {})
    assert plan["monthly"]["total_usd"] > 0
    refused = Product(tmp_path / "other", {**of_fly(url), "FLY_API_TOKEN": "wrong"}).run(
        *init, "--yes", "--json"
    )
    assert (refused.lines[-1]["error"]["code"], doubles.fly.apps) == ("checks_failed", {})
    relayed = Product(tmp_path / "laptop", of_fly(url))
    by_relay = ["--relay-url" if argument == "--gateway-url" else argument for argument in init]
    said = relayed.ok(*by_relay, "--yes", "--json").json
    assert said["settings"]["RCLAUDE_RUNNER_RELAY_URL"] == "wss://rclaude.example.com"
    assert "RCLAUDE_RUNNER_GATEWAY_URL" not in said["settings"]
    assert "RCLAUDE_RUNNER_RELAY_TOKEN" in said["next"][0]
    made = one.ok(*init, "--yes", "--json").json
    place = one.home / "self_hosted.json"
    place.write_text(
        json.dumps({**json.loads(place.read_text()), "settings": {}})
    )  # as an interruption leaves it
    assert one.ok("init", "--self-hosted", "--yes", "--json").json["settings"] == made["settings"]
    assert one.ok("upgrade", "--self-hosted", "--yes", "--json").json["settings"] == made["settings"]
    assert TOKEN not in place.read_text()
    assert one.ok("destroy", "--self-hosted", "--yes", "--json").json["resources"] == 1
    assert (doubles.fly.apps, place.exists()) == ({}, False)


def test_a_suite_for_the_real_vendor_passes_on_its_double_and_fails_without_credentials(
    vendors: tuple[Vendors, str],
) -> None:
    doubles, url = vendors
    command = [sys.executable, "-m", "vendors", "fly"]
    environment = {
        **clean_environment(),
        "PYTHONPATH": str(ROOT / "tests"),
        "RCLAUDE_RUNNER_FLY_POLL_S": "0.2",
        "TEST_DEADLINE_S": "1",
    }
    environment.pop("FLY_API_TOKEN", None)
    bare = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (bare.returncode, "nothing was tested" in bare.stderr) == (2, True)
    done = subprocess.run(
        command, env={**environment, **of_fly(url)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (doubles.processes.started, doubles.fly.machines) == (4, {})
    assert TOKEN not in done.stdout + done.stderr


def offers(one: Product, provider: str) -> bool:
    joined = [event["data"] for event in one.events("--type", "RunnerJoined")]
    return any(data["provider"] == provider and "shell" in data["agents"] for data in joined)


@pytest.mark.nightly  # a stack, and a task on each of five clouds: a minute
@pytest.mark.timeout(300)
def test_from_nothing_to_a_task_on_fly_and_on_four_other_clouds_and_back(
    vendors: tuple[Vendors, str], tmp_path: Path, repo: Path
) -> None:
    """One home: Fly by the wizard, the others by `rclaude provider add`. Workers dial the gateway, as from the outside."""
    doubles, url = vendors
    port = free_port()
    credentials = {
        "type": "service_account",
        "client_email": "runner@made-up.iam.gserviceaccount.com",
        "private_key": private_key(),
        "token_uri": f"{url}/token",
    }
    (tmp_path / "google.json").write_text(json.dumps(credentials))
    environment = {
        **of_fly(url),
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "google.json"),
        "IDENTITY_ENDPOINT": f"{url}/identity",
        "IDENTITY_HEADER": "made-up",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        **{f"RCLAUDE_RUNNER_{name.upper()}_POLL_S": "0.3" for name in ("fly", *OTHERS)},
    }
    init = fly(f"ws://127.0.0.1:{port}")
    with product(environment, up=False) as one:
        for name, given in settings(url, tmp_path).items():
            pairs = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
            secret = ("--secret", "token") if name == "codespaces" else ()
            one.ok("provider", "add", name, *pairs, *secret, stdin=TOKEN.encode())
        made = one.ok(*init, "--yes", "--json")
        assert (list(doubles.fly.apps), doubles.fly.tokens) == (["mine"], {f"Bearer {TOKEN}"})
        one.ok("up", "--detach", "--port", str(port))
        for name in ("fly", *OTHERS):
            until(partial(offers, one, name), f"a runner with {name}", 60, pause=0.3)
            task = one.ok(
                "run",
                "--provider",
                name,
                "--agent",
                "shell",
                "--json",
                "cat README.md; echo new > b.txt",
                cwd=repo,
            ).json
            assert task["state"] == "succeeded", task
            assert [attempt["provider"] for attempt in task["attempts"]] == [name]
            assert "+new" in one.ok("diff", task["id"], cwd=repo).out
        held = [
            path for path in one.home.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()
        ]
        assert [path.name for path in held] == ["provider-codespaces.json"], (
            "a token is kept in one place only"
        )
        removed = one.ok("destroy", "--self-hosted", "--yes")
        assert doubles.fly.apps == {}
        one.ok("down")
    assert (doubles.fly.machines, doubles.cluster.jobs, doubles.codespaces.codespaces) == ({}, {}, {})
    assert TOKEN not in made.out + made.err + removed.out + removed.err


def private_key() -> str:
    """A key that signs for a service account."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
