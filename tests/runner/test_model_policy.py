"""What a sandbox may ask of the model's service, and what would lead further than the model."""

from __future__ import annotations

from typing import Any

import pytest

from remote_claude.runner.model_proxy.call_policy import CallPolicy, NotAllowed
from remote_claude.runner.settings import RunnerSettings

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
ORDINARY: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 100,
    "stream": True,
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "Bash", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, IMAGE]}],
    "mcp_servers": [],
}


def with_content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def test_what_stays_between_sandbox_and_model_passes() -> None:
    CallPolicy().check(ORDINARY)


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"mcp_servers": [{"type": "url", "url": "https://evil.example"}]}, "field:mcp_servers"),
        ({"container": {"skills": [{"type": "custom"}]}}, "field:container"),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, "tool:web_fetch_20250910"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tool:web_search_20250305"),
        ({"tools": [{"type": "code_execution_20250825", "name": "x"}]}, "tool:code_execution_20250825"),
        ({"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}, "tool:mcp_toolset"),
        (with_content({"type": "image", "source": {"type": "url", "url": "http://10.0.0.1/"}}), "source:url"),
        (with_content({"type": "document", "source": {"type": "file", "file_id": "file_1"}}), "source:file"),
        (with_content({"type": "container_upload", "file_id": "file_1"}), "source:file"),
        (
            with_content(
                {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}
            ),
            "source:url",
        ),
    ],
)
def test_what_reaches_other_hosts_or_files_is_refused_until_a_rule_allows_it(
    asked: dict[str, Any], rule: str
) -> None:
    with pytest.raises(NotAllowed, match=rule):
        CallPolicy().check(ORDINARY | asked)
    CallPolicy([rule]).check(ORDINARY | asked)


def test_features_that_no_rule_allows_are_left_out_of_the_header() -> None:
    asked = "claude-code-20250219, files-api-2025-04-14,mcp-client-2025-04-04,interleaved-thinking-2025-05-14"
    assert CallPolicy().betas(asked) == "claude-code-20250219,interleaved-thinking-2025-05-14"
    assert CallPolicy(["beta:files-api-*"]).betas("files-api-2025-04-14") == "files-api-2025-04-14"


def test_rules_come_from_a_setting_and_a_wrong_one_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLAUDE_RUNNER_MODEL_ALLOW", "tool:web_search_*, beta:web-search-*")
    assert RunnerSettings().model_allow == ("tool:web_search_*", "beta:web-search-*")
    monkeypatch.setenv("RCLAUDE_RUNNER_MODEL_ALLOW", "web_search")
    with pytest.raises(ValueError, match="KIND:PATTERN"):
        RunnerSettings()
