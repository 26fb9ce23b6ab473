"""A secret that is planted wherever something can be typed is nowhere in plaintext afterwards."""

import base64
from pathlib import Path
from typing import Any

import psycopg

from collector import collecting
from messages_api import serving_in_a_thread
from product import product

CANARY = "canary-8f2e-made-up"
KEEPS_SECRETS = {"kek", "api_key", "owner.json"}
OPERATORS = {
    "RCLAUDE_USERS_SMTP_URL": f"smtp+plain://mailer:{CANARY}@127.0.0.1:1",
    "RCLAUDE_AUTH_OIDC_ISSUER": "http://127.0.0.1:1",
    "RCLAUDE_AUTH_OIDC_CLIENT_ID": "rclaude",
    "RCLAUDE_AUTH_OIDC_CLIENT_SECRET": CANARY,
    "RCLAUDE_AUTH_GITHUB_CLIENT_ID": "rclaude",
    "RCLAUDE_AUTH_GITHUB_CLIENT_SECRET": CANARY,
    "ANTHROPIC_API_KEY": f"sk-ant-{CANARY}",
    "FLY_API_TOKEN": CANARY,
    "AWS_SECRET_ACCESS_KEY": CANARY,
}
"""Secrets of the operator, out of the environment: mail and sign-in that fail, a model's key, credentials of clouds."""


def planted(client: Any, refusals: list[str], model: str) -> tuple[set[str], set[str]]:
    """Plant it; the paths at which it was taken, and the secrets that answers had. Refusals are kept in `refusals`."""
    task = {"prompt": f"echo {CANARY}", "agent": "noop"}
    labelled = task | {
        "labels": {CANARY: CANARY},
        "repo": {"url": f"https://x:{CANARY}@git.example.com/a.git"},
    }
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/v1/tasks", task | {"labels": {CANARY: CANARY}}),
        ("POST", "/v1/tasks", labelled),
        (
            "POST",
            "/v1/tasks",
            task | {"continues": CANARY, "image": CANARY, "network": CANARY},
        ),
        ("PUT", "/v1/me/secrets/CANARY", {"value": CANARY, "hosts": ["api.example.com"]}),
        ("PUT", "/v1/org/secrets/CANARY", {"value": CANARY, "hosts": ["api.example.com"]}),
        ("PUT", "/v1/me/secrets/ABSENT", {"value": [CANARY]}),
        ("PUT", "/v1/org/models/bad", {"value": CANARY, "base_url": model}),
        ("PUT", "/v1/org/forges/github", {"value": f"ghp_{CANARY}"}),
        ("POST", "/v1/webhooks", {"url": f"https://hooks.example.com/{CANARY}?token={CANARY}"}),
        ("POST", "/v1/webhooks", {"url": f"ftp://{CANARY}"}),
        ("POST", "/v1/schedules", {"cron": "0 3 * * *", "task": task}),
        ("POST", "/v1/orgs", {"name": CANARY}),
        ("POST", "/v1/org/invitations", {"role": "member", "email": f"{CANARY}@example.com"}),
        ("POST", "/v1/keys", {"name": CANARY}),
        ("POST", "/v1/org/service-accounts", {"name": CANARY}),
        ("POST", "/v1/invitations/accept", {"token": CANARY}),
        ("PUT", "/v1/billing/address", {"name": CANARY, "address": [CANARY], "country": "DE"}),
    ]
    taken, given = set(), set()
    trigger = {"allow": ["ada"], "repositories": ["ada/calc"], "task": {"agent": "noop"}}
    bodies.append(("POST", "/v1/triggers", trigger))
    for method, path, body in bodies:
        answer = client.request(method, path, json=body)
        assert answer.status_code < 500, answer.text
        if answer.is_success:
            taken.add(path)
            if isinstance(secret := answer.json().get("secret") if answer.content else None, str):
                given.add(secret)
            if link := (answer.json().get("url") if path == "/v1/org/invitations" else None):
                given.add(link.rpartition("token=")[2])
        else:
            refusals.append(answer.text)
    refusals.append(client.get("/auth/sign-in/oidc").text)
    given.add(client.post("/v1/session/links").json()["url"].rpartition("=")[2])
    refusals.append(client.get("/v1/me", headers={"Authorization": f"Bearer rck_{CANARY}"}).text)
    refusals.append(
        client.post("/oauth/token", data={"grant_type": "refresh_token", "refresh_token": CANARY}).text
    )
    refusals.append(client.post("/v1/tasks", content=f'{{"prompt": {CANARY}').text)
    return taken, given


def test_a_planted_secret_is_nowhere_in_plaintext(tmp_path: Path) -> None:
    refusals: list[str] = []
    with (
        serving_in_a_thread(key=("x-api-key", f"sk-ant-{CANARY}")) as model,
        collecting() as collector,
        product(
            {
                **OPERATORS,
                **collector.environment,
                "RCLAUDE_OUTBOUND_ALLOW": model.base_url.removeprefix("http://"),
            }
        ) as one,
    ):
        with one.client() as client:
            taken, given = planted(client, refusals, model.base_url)
        one.ok("model", "add", "own", "--base-url", model.base_url, stdin=f"sk-ant-{CANARY}".encode())
        shown = one.ok("run", "--agent", "shell", "--no-repo", "env; true").out
        assert "PATH=" in shown
        assert CANARY not in shown
        assert taken >= {
            "/v1/tasks", "/v1/me/secrets/CANARY", "/v1/org/secrets/CANARY", "/v1/org/forges/github",
            "/v1/schedules", "/v1/orgs", "/v1/keys", "/v1/org/service-accounts", "/v1/billing/address",
            "/v1/webhooks", "/v1/triggers",
        }  # fmt: skip
        assert len(given) >= 4  # an API key, the secrets of a webhook and a trigger, a link that signs in
        assert len(refusals) > 5
        assert not [text for text in refusals if CANARY in text], "an error repeats what was sent"
        with psycopg.connect(one.stack_file()["postgres_dsn"]) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            assert len(tables) > 20
            likes = [f"%{secret}%" for secret in (CANARY, *given)]
            for (table,) in tables:
                found = connection.execute(
                    f"SELECT t::text FROM {table} t WHERE t::text LIKE ANY (%s)", [likes]
                )
                assert found.fetchone() is None, table
        spans = repr(collector.spans)
        assert collector.spans
        secrets = [secret.encode() for secret in (CANARY, *given)]
        assert not [secret for secret in secrets if secret.decode() in spans]
        forms = [form for secret in secrets for form in (secret, base64.b64encode(secret))]
        for file in one.home.rglob("*"):
            if file.is_file() and file.name not in KEEPS_SECRETS:
                content = file.read_bytes()
                assert not [form for form in forms if form in content], file
