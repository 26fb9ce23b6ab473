"""A secret that is planted wherever something can be typed is nowhere in plaintext afterwards."""

import base64
from pathlib import Path
from typing import Any

import psycopg

from collector import collecting
from product import product

CANARY = "canary-8f2e-made-up"
KEEPS_SECRETS = {"kek", "api_key", "owner.json"}
OPENED = 200
"""The lowest status of a request that was taken."""


def planted(client: Any, refusals: list[str]) -> set[str]:
    """Plant it; the paths at which it was taken. What is refused is kept in `refusals`."""
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
        ("PUT", "/v1/me/models/own", {"value": f"sk-ant-{CANARY}", "provider": "anthropic"}),
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
    taken = set()
    for method, path, body in bodies:
        answer = client.request(method, path, json=body)
        assert answer.status_code < 500, answer.text
        if answer.is_success:
            taken.add(path)
        else:
            refusals.append(answer.text)
    refusals.append(client.get("/v1/me", headers={"Authorization": f"Bearer rck_{CANARY}"}).text)
    refusals.append(
        client.post("/oauth/token", data={"grant_type": "refresh_token", "refresh_token": CANARY}).text
    )
    refusals.append(client.post("/v1/tasks", content=f'{{"prompt": {CANARY}').text)
    return taken


def test_a_planted_secret_is_nowhere_in_plaintext(tmp_path: Path) -> None:
    refusals: list[str] = []
    with collecting() as collector, product(collector.environment) as one:
        with one.client() as client:
            taken = planted(client, refusals)
        assert taken >= {
            "/v1/tasks", "/v1/me/secrets/CANARY", "/v1/org/secrets/CANARY", "/v1/org/forges/github",
            "/v1/schedules", "/v1/orgs", "/v1/keys", "/v1/org/service-accounts", "/v1/billing/address",
        }  # fmt: skip
        assert len(refusals) > 5
        assert not [text for text in refusals if CANARY in text], "an error repeats what was sent"
        with psycopg.connect(one.stack_file()["postgres_dsn"]) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            assert len(tables) > 20
            for (table,) in tables:
                found = connection.execute(
                    f"SELECT t::text FROM {table} t WHERE t::text LIKE %s", [f"%{CANARY}%"]
                )
                assert found.fetchone() is None, table
        spans = repr(collector.spans)
        assert collector.spans
        assert CANARY not in spans
        forms = [CANARY.encode(), base64.b64encode(CANARY.encode())]
        for file in one.home.rglob("*"):
            if file.is_file() and file.name not in KEEPS_SECRETS:
                content = file.read_bytes()
                assert not [form for form in forms if form in content], file
