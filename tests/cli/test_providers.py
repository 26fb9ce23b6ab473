"""`rclaude provider`: which providers a home uses, and where their credentials are."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from product import Product
from remote_claude.cli.self_hosted import providers

TOKEN = "made-up-token-of-the-tests"


@pytest.fixture
def rclaude(tmp_path: Path) -> Product:
    return Product(tmp_path, {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"})


def test_a_provider_is_added_listed_and_removed(
    rclaude: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = rclaude.run(
        "provider", "add", "fly", "--set", "app=tasks", "--secret", "token", "--json", stdin=TOKEN.encode()
    )
    assert added.json == {"name": "fly", "settings": {"app": "tasks"}, "secrets": ["token"], "store": "file"}
    listed = rclaude.ok("provider", "list")
    assert "app=tasks" in listed.out
    assert TOKEN not in added.out + added.err + listed.out + listed.err

    monkeypatch.setenv("RCLAUDE_HOME", str(tmp_path))
    assert providers.runner_settings({"RCLAUDE_RUNNER_PROVIDERS": "local,ecs"}) == {
        "RCLAUDE_RUNNER_PROVIDERS": "local,ecs,fly",
        "RCLAUDE_RUNNER_FLY_APP": "tasks",
        "RCLAUDE_RUNNER_FLY_TOKEN": TOKEN,
    }
    holders = [path for path in tmp_path.rglob("*.json") if TOKEN in path.read_text()]
    assert [path.name for path in holders] == ["provider-fly.json"]
    assert stat.S_IMODE(os.stat(holders[0]).st_mode) == 0o600

    rclaude.ok("provider", "remove", "fly")
    assert not holders[0].exists()
    assert providers.runner_settings({}) == {}
    assert json.loads((tmp_path / "providers.json").read_text()) == {}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("add", "no-such-cloud"), "there is no compute provider"),
        (("add", "fly", "--set", "colour=blue"), "fly has no setting colour"),
        (("add", "fly", "--set", "token=x"), "is a secret"),
        (("add", "fly", "--secret", "token"), "no value for token"),
        (("remove", "fly"), "does not use fly"),
        (("check", "fly"), "there is no token for Fly"),
    ],
)
def test_what_can_not_be_done_says_why(rclaude: Product, args: tuple[str, ...], said: str) -> None:
    refused = rclaude.run("provider", *args)
    assert refused.code != 0
    assert said in refused.err


def test_local_sandboxes_can_be_checked(rclaude: Product) -> None:
    assert rclaude.ok("provider", "check", "local", "--json").json == {"name": "local", "ok": True}
