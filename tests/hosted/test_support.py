"""`rclaude support bundle`: it helps with a fault, and a planted secret is not in it."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from product import product
from remote_claude.cli.commands.support import redacted

CANARIES = {
    "model key": "sk-ant-api03-canaryCANARYcanaryCANARY",
    "database": "canary-db-password",
    "mail": "canary-mail-password",
    "prompt": "canary-prompt-of-a-task",
    "output": "canary-output-of-a-task",
    "secret": "canary-secret-of-the-vault-0123456789",
    "address": "canary@example.com",
}


def test_no_planted_secret_is_in_the_bundle(tmp_path: Path) -> None:
    environment = {
        "ANTHROPIC_API_KEY": CANARIES["model key"],
        "RCLAUDE_USERS_SMTP_URL": f"smtp://canary:{CANARIES['mail']}@mail.example.com:587",
    }
    with product(environment) as one:
        one.ended(one.submit(f"echo {CANARIES['output']} # {CANARIES['prompt']}"))
        one.ok("secret", "set", "CANARY", "--host", "api.example.com", stdin=CANARIES["secret"].encode())
        with (one.home / "log/services.log").open("a") as log:
            log.write(
                f'{{"url": "postgresql://u:{CANARIES["database"]}@db/x", "to": "{CANARIES["address"]}"}}\n'
            )
        key = (one.home / "api_key").read_text().strip()
        done = one.ok("support", "bundle", str(tmp_path / "bundle.tar.gz"))
        assert "checks.json" in done.out
    with tarfile.open(tmp_path / "bundle.tar.gz") as archive:
        files = {m.name: f.read().decode() for m in archive.getmembers() if (f := archive.extractfile(m))}
    assert {"versions.json", "checks.json", "status.json", "settings.json", "log/services.log"} <= set(files)
    assert "ready to serve" in files["log/services.log"]
    whole = "\n".join(files.values())
    for name, canary in {**CANARIES, "API key": key}.items():
        assert canary not in whole, name


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer CANARY.token-0123",
        '{"password": "CANARY with a space"}',
        "RCLAUDE_AUTH_GITHUB_CLIENT_SECRET=CANARY",
        "https://user:CANARY@example.com/path",
        "https://example.com/callback?code=CANARY&x=1",
        "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----",
        "rck_CANARY0123456789",
        "token ghp_CANARY0123456789abcdef",
        "'api_key': 'CANARY'",
        "SUACANARY0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF",
    ],
)
def test_what_looks_like_a_credential_is_removed(text: str) -> None:
    assert "CANARY" not in redacted(text)


def test_ids_numbers_and_words_stay() -> None:
    text = "task_01hx5y3n8w2q4r6t8v0a2c4e6g failed after 30 s at position 1234 with lease_lost"
    assert redacted(text) == text
