"""Secrets: the agent has a placeholder, the host gets the value, and nobody else does."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from messages_api import served_in_a_thread, serving_in_a_thread, text
from model_services import AWS_KEY, AWS_SECRET, REGION, BedrockService, OpenAiService
from product import Product, product
from tls_hosts import https_host

VALUE, READABLE = "made-up/value+1", "made-up readable value"


@pytest.mark.timeout(300)
def test_a_secret_goes_to_its_host_and_the_sandbox_has_a_placeholder(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with https_host(tmp_path) as host, https_host(tmp_path / "other", "127.0.0.3") as other:
        where, elsewhere = f"127.0.0.2:{host.port}", f"127.0.0.3:{other.port}"
        environment = {
            "RCLAUDE_OUTBOUND_ALLOW": f"{where},{elsewhere}",
            "SSL_CERT_FILE": str(host.authorities),
        }
        script = f"""
            set -e
            echo "have $API_TOKEN and $DEPLOY_KEY"
            curl -sSf -H "Authorization: Bearer $API_TOKEN" "https://{where}/path?key=$API_TOKEN"
            curl -sSf -u "me:$API_TOKEN" -d "key=$API_TOKEN" https://{where}/form
            curl -sSf -H "Content-Type: application/json" -H "Transfer-Encoding: chunked" -d "{{\\"key\\": \\"$API_TOKEN\\"}}" https://{where}/json
            python3 -c 'import os, urllib.request as u; print(u.urlopen(u.Request("https://{where}/python", headers={{"X-Key": os.environ["API_TOKEN"]}})).read())'
            curl -sSfk -H "X-Key: $API_TOKEN" https://{elsewhere}/other
        """
        with product(environment) as one:
            one.ok("secret", "set", "API_TOKEN", "--host", where, stdin=VALUE.encode() + b"\n")
            one.ok("secret", "set", "DEPLOY_KEY", "--as-env", "--org", stdin=READABLE.encode())
            shown = one.ok("secret", "list")
            assert "API_TOKEN" in shown.out
            assert "readable in the sandbox" in shown.out
            assert VALUE not in shown.out

            run = ("run", "--agent", "shell", "--no-repo", "--network", elsewhere)
            ended = one.run(*run, "--secret", "API_TOKEN", "--secret", "DEPLOY_KEY", script)
            assert ended.code == 0, ended.out + ended.err
            assert "have rclaude-api-token-" in ended.out
            assert READABLE in ended.out
            assert VALUE not in ended.out + ended.err
            seen = "\n".join(host.requests)
            assert f"Bearer {VALUE}" in seen
            assert "GET /path?key=made-up%2Fvalue%2B1" in seen
            assert "key=made-up%2Fvalue%2B1" in host.requests[1].splitlines()[-1]
            assert f'{{"key": "{VALUE}"}}' in seen
            assert base64.b64encode(f"me:{VALUE}".encode()).decode() in seen, "basic authentication too"
            assert f"X-Key: {VALUE}" in seen
            assert "rclaude-api-token-" not in seen
            assert "X-Key: rclaude-api-token-" in "\n".join(other.requests)
            assert VALUE not in "\n".join(other.requests)

            task = one.ok("show", "--json").json["id"]
            frames = one.ok("logs", task, "--json").lines
            used = [f for f in frames if f["kind"] == "connection" and f.get("secrets")]
            assert {(f["host"], *f["secrets"]) for f in used} == {("127.0.0.2", "API_TOKEN")}
            [started] = [e for e in one.events("--type", "TaskStarted") if e["data"]["task"] == task]
            assert started["data"]["secrets"] == ["API_TOKEN", "DEPLOY_KEY"]
            assert VALUE not in one.admin("log", "export", "-").out

            one.ok("secret", "remove", "API_TOKEN")
            refused = one.run(*run, "--secret", "API_TOKEN", "true")
            assert refused.code != 0
            assert "There is no secret 'API_TOKEN'" in refused.err
            one.verified()


@pytest.mark.timeout(300)
def test_a_model_key_of_ones_own_is_used_and_not_charged(stack: Product) -> None:
    key = "sk-ant-made-up-for-this-test"
    with serving_in_a_thread([text("Done.")]) as api:
        missing = stack.run("run", "--no-repo", "hello")
        assert missing.code != 0
        assert "rclaude model add" in missing.err
        stack.ok("model", "add", "anthropic", "--base-url", api.base_url, stdin=key.encode())
        assert stack.ok("model", "list", "--json").json[0]["used"] is True
        ended = stack.run("run", "--no-repo", "--json", "hello")
        assert ended.code == 0, ended.out + ended.err
        assert {request["headers"].get("x-api-key") for request in api.requests} == {key}
        usage = ended.json["usage"]
        assert usage["model_nano_usd"] == 0
        assert usage["customer_model_nano_usd"] > 0
        stack.ok("model", "use", "--none")
        assert "rclaude model add" in stack.run("run", "--no-repo", "hello").err
        stack.ok("model", "remove", "anthropic")
        assert stack.ok("model", "list", "--json").json == []


@pytest.mark.timeout(300)
def test_keys_of_other_services_are_checked_stored_and_used_by_the_agents_that_can(stack: Product) -> None:
    with served_in_a_thread(OpenAiService([])) as openai, served_in_a_thread(BedrockService([])) as bedrock:
        own = ("model", "add", "own", "--kind", "openai", "--base-url", f"{openai.base_url}/v1")
        refused = stack.run(*own, stdin=b"sk-another")
        assert "Incorrect API key" in refused.err
        stack.ok(*own, "--model", openai.model, stdin=b"sk-made-up-for-this-test")
        needed = stack.run("run", "--no-repo", "hello")
        assert "There is no key for the model of the agent 'claude'" in needed.err
        region = ("--region", REGION, "--base-url", bedrock.base_url)
        aws = ("model", "add", "aws", "--kind", "bedrock", *region)
        assert "needs `model`" in stack.run(*aws, stdin=b"x").err
        sonnet = "us.anthropic.claude-sonnet-5-20260101-v1:0"
        stack.ok(*aws, "--model", sonnet, stdin=f"{AWS_KEY}:{AWS_SECRET}".encode())
        shown = stack.ok("model", "list", "--json").json
        assert [(m["name"], m["provider"], m["model"], m["used"]) for m in shown] == [
            ("aws", "bedrock", sonnet, False),
            ("own", "openai", openai.model, True),
        ]
        ended = stack.run("run", "--no-repo", "--json", "hello")
        assert ended.code == 0, ended.out + ended.err
        assert ended.json["usage"]["customer_model_nano_usd"] > 0
        missing = stack.run("run", "--no-repo", "--agent", "codex", "hello")
        assert "npm @agentclientprotocol/codex-acp" in missing.err
        for name in ("own", "aws"):
            stack.ok("model", "remove", name)
