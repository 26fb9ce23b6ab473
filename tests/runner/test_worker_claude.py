"""The real Claude Code in a real worker, its model calls through the proxy, against a local Messages API."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from messages_api import MODEL, MessagesApi, Turn, messages_api, text, thinking, tool, usage
from remote_claude.contracts.model_prices import list_prices
from remote_claude.runner.model_proxy import ModelProxy, Upstream
from remote_claude.worker import agents
from remote_claude.worker.agents import AgentInfo
from workers import Stored, Worker, task, worker

KEY = "sk-ant-made-up-for-this-test"


@asynccontextmanager
async def claude(
    prompt: str,
    stored: Stored,
    *turns: Turn,
    bundle: Path | None = None,
    session: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> AsyncIterator[tuple[Worker, ModelProxy, MessagesApi]]:
    given = task(prompt, agent="claude", model=MODEL, lease_s=30.0, agent_options=dict(options or {}))
    async with messages_api(*turns, **more) as api:
        upstream = Upstream.from_environment({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.base_url})
        assert upstream
        with tempfile.TemporaryDirectory(prefix="rc-") as folder:
            socket = Path(folder) / "model.sock"
            streams = {"model": lambda: asyncio.open_unix_connection(str(socket))}
            async with (
                ModelProxy(socket, upstream) as proxy,
                worker(given, stored, bundle=bundle, streams=streams, **(session or {})) as one,
            ):
                yield one, proxy, api


def git(*args: str, cwd: Path) -> str:
    done = subprocess.run(["git", *args], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git("init", "-q", "-b", "main", cwd=folder)
    git("config", "user.name", "Ada", cwd=folder)
    git("config", "user.email", "ada@example.test", cwd=folder)
    (folder / "add.py").write_text("def add(a, b):\n    return a - b\n")
    git("add", ".", cwd=folder)
    git("commit", "-qm", "start", cwd=folder)
    return folder


@pytest.fixture
def bundle(repository: Path, tmp_path: Path) -> Path:
    """The repository as it is sent."""
    return bundle_of(repository, tmp_path)


def bundle_of(repository: Path, tmp_path: Path) -> Path:
    path = tmp_path / "source.bundle"
    git("update-ref", "refs/rclaude/base", "HEAD", cwd=repository)
    git("update-ref", "refs/rclaude/sent", "HEAD", cwd=repository)
    git("bundle", "create", "-q", str(path), "refs/rclaude/base", "refs/rclaude/sent", cwd=repository)
    return path


async def test_real_binary_edits_a_file_in_a_real_repository(
    repository: Path, bundle: Path, tmp_path: Path
) -> None:
    stored = Stored()
    edit = {"old_string": "a - b", "new_string": "a + b"}
    async with claude(
        "fix add\nit subtracts",
        stored,
        [thinking("It subtracts."), text("I will read it."), tool("Read", file_path="add.py")],
        [tool("Edit", file_path="add.py", **edit)],
        [
            tool(
                "Bash",
                command="python3 -c 'import add; print(add.add(20, 22))'; env; tr '\\0' '\\n' < /proc/$PPID/environ",
                description="Test",
            )
        ],
        [text("It adds now.")],
        bundle=bundle,
    ) as (one, proxy, api):
        for turn in api.turns:
            for block in turn:
                if "file_path" in block.get("input", {}):
                    block["input"]["file_path"] = str(one.folder / "workspace" / "add.py")
        environment = psutil.Process(one.process.pid).environ()
        result = await one.result()
        assert await one.exit_code() == 0
        measured = proxy.usage()
        assert result.bundle
        fetched = tmp_path / "result.bundle"
        fetched.write_bytes(result.bundle.read_bytes())

    assert (result.outcome, result.reason, result.summary) == ("succeeded", None, "It adds now.")

    # The commit.
    assert result.sent == git("rev-parse", "HEAD", cwd=repository)
    git("fetch", "-q", str(fetched), "refs/heads/rclaude/task_1:refs/heads/rclaude/task_1", cwd=repository)
    assert git("rev-parse", "rclaude/task_1", cwd=repository) == result.commit
    assert git("show", "rclaude/task_1:add.py", cwd=repository) == "def add(a, b):\n    return a + b"
    assert (
        git("log", "-1", "--format=%s %an", "rclaude/task_1", cwd=repository) == "It adds now Remote Claude"
    )

    # The frames.
    assert [f["phase"] for f in stored.of("status")] == ["preparing", "running", "committing"]
    assert [f["text"] for f in stored.of("thinking")] == ["It subtracts."]
    assert [f["text"] for f in stored.of("text")] == ["I will read it.", "It adds now."]
    assert [f["name"] for f in stored.of("tool_call")] == ["Read", "Edit", "Bash"]
    assert stored.of("tool_call")[1]["input"]["new_string"] == "a + b"
    results = stored.of("tool_result")
    assert [f["id"] for f in results] == [f["id"] for f in stored.of("tool_call")]
    assert not any(f["is_error"] for f in results)
    assert "42" in results[2]["content"]

    # Tokens and cost: the agent's own estimate, and what was measured, agree with what the API said.
    turns = [usage(n) for n in range(4)]
    tokens = {
        "input": sum(u["input_tokens"] for u in turns),
        "output": sum(u["output_tokens"] for u in turns),
        "cache_read": sum(u["cache_read_input_tokens"] for u in turns),
        "cache_write_5m": sum(u["cache_creation"]["ephemeral_5m_input_tokens"] for u in turns),
        "cache_write_1h": sum(u["cache_creation"]["ephemeral_1h_input_tokens"] for u in turns),
    }
    [used] = measured.cumulative.model_use
    assert (used.model, used.quantities, used.calls) == (MODEL, tokens, 4)
    assert measured.cumulative.model_nano_usd == list_prices().price(MODEL).of(tokens)
    [estimate] = stored.of("usage")
    assert estimate["cost_nano_usd"] == measured.cumulative.model_nano_usd
    assert {kind: estimate["tokens"][MODEL][kind] for kind in ("input", "output", "cache_read")} == {
        kind: tokens[kind] for kind in ("input", "output", "cache_read")
    }

    # The key.
    assert {r["headers"]["x-api-key"] for r in api.requests} == {KEY}
    assert KEY not in json.dumps(stored.frames)
    assert KEY not in str(environment)
    assert {r["path"] for r in api.requests} == {"/v1/messages?beta=true"}


async def test_failure_that_says_success_has_failed() -> None:
    stored = Stored()
    async with claude("hello", stored, statuses=[400] * 20) as (one, proxy, _):
        result = await one.result()
        assert proxy.usage().cumulative.model_use == ()
    assert (result.outcome, result.reason) == ("failed", "agent_failed")
    assert "400" in result.summary


async def test_refused_key_ends_at_once() -> None:
    stored = Stored()
    async with claude("hello", stored, key=("x-api-key", "sk-ant-another")) as (one, proxy, api):
        result = await one.result()
        assert len(api.requests) == 1
        assert proxy.failure is not None
        assert proxy.failure.reason == "model_key_refused"
    assert (result.outcome, result.reason) == ("failed", "agent_failed")


async def test_settings_of_the_repository_do_not_lead_away_from_the_model(
    repository: Path, tmp_path: Path
) -> None:
    away = {"ANTHROPIC_BASE_URL": "https://gateway.corp.example", "CLAUDE_CODE_USE_BEDROCK": "1"}
    (repository / ".claude").mkdir()
    (repository / ".claude" / "settings.json").write_text(json.dumps({"env": away, "apiKeyHelper": "true"}))
    servers = {"lint": {"command": "/bin/false"}}
    (repository / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    git("add", ".", cwd=repository)
    git("commit", "-qm", "settings", cwd=repository)
    sent = bundle_of(repository, tmp_path)
    stored = Stored()
    async with claude("hello", stored, [text("Hello.")], bundle=sent) as (one, _, _api):
        result = await one.result()
    assert result.outcome == "succeeded", result.summary
    said = stored.text("stderr")
    for name in ("env.ANTHROPIC_BASE_URL", "env.CLAUDE_CODE_USE_BEDROCK", "apiKeyHelper"):
        assert f".claude/settings.json: {name} of the repository is not used here" in said
    assert "the MCP server lint of .mcp.json did not start" in said


async def test_an_overloaded_model_is_reported_and_tried_again() -> None:
    stored = Stored()
    async with claude("hello", stored, [text("Hello.")], statuses=[529]) as (one, _, api):
        result = await one.result()
        assert len(api.requests) == 2
    assert result.outcome == "succeeded"
    assert "529" in stored.text("stderr")


async def test_stop_ends_claude_and_the_command_it_runs() -> None:
    stored = Stored()
    turn = [tool("Bash", command="setsid sleep 1239", description="Wait", timeout=600_000)]
    async with claude("wait", stored, turn) as (one, _, _):

        async def sleeping() -> list[psutil.Process]:
            while True:
                children = psutil.Process(one.process.pid).children(recursive=True)
                if any(child.name() == "sleep" for child in children):
                    return children
                await asyncio.sleep(0.05)

        async with asyncio.timeout(60):
            children = await sleeping()
        await one.session.stop("cancelled")
        assert (await one.result()).reason == "stopped"
        assert await one.exit_code() == 0
        for child in children:
            assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


async def test_result_of_a_tool_longer_than_a_frame_arrives_in_pieces() -> None:
    stored = Stored()
    content = "0123456789abcdef" * 8_000
    async with claude("write", stored) as (one, _, api):
        path = str(one.folder / "workspace" / "long.txt")
        api.turns = [[tool("Write", file_path=path, content=content)], [text("Written.")]]
        result = await one.result()
        assert len((one.folder / "workspace" / "long.txt").read_text()) == len(content)
    assert result.outcome == "succeeded"
    [call] = stored.of("tool_call")
    assert call["truncated"]
    assert call["input"]["file_path"] == path
    assert call["input"]["content"].startswith("0123456789abcdef")


def test_agents_say_how_to_set_a_key() -> None:
    without = {info.name: info for info in agents.available({})}
    assert without["claude"].available, "with a key of one's own"
    assert "ANTHROPIC_API_KEY" in without["claude"].reason
    assert without["shell"].available
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        assert AgentInfo("claude", available=True) in agents.available({name: KEY})
    assert [info.name for info in agents.available({})] == list(agents.NAMES)


def bundle_with(repository: Path, bundle: Path, files: dict[str, str]) -> None:
    """The repository as it is sent, with these files in a second commit."""
    for name, content in files.items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(content)
    git("add", ".", cwd=repository)
    git("commit", "-qm", "more", cwd=repository)
    for ref in ("base", "sent"):
        git("update-ref", f"refs/rclaude/{ref}", "HEAD", cwd=repository)
    git("bundle", "create", "-q", str(bundle), "refs/rclaude/base", "refs/rclaude/sent", cwd=repository)


async def test_modules_of_the_repository_are_not_imported_by_the_worker(
    repository: Path, bundle: Path, tmp_path: Path
) -> None:
    """They would run in process 1 of the sandbox, before the agent."""
    mark = tmp_path / "imported"
    names = ("claude_agent_sdk.py", "mcp/__init__.py", "anyio/__init__.py", "decimal.py", "sitecustomize.py")
    bundle_with(repository, bundle, {n: f"open({str(mark)!r}, 'a').write({n!r})\n" for n in names})
    async with claude("say done", Stored(), [text("It is done.")], bundle=bundle) as (one, _, _):
        result = await one.result()
        assert await one.exit_code() == 0
    assert (result.outcome, result.summary) == ("succeeded", "It is done.")
    assert not mark.exists()


async def test_a_prompt_may_begin_with_a_dash() -> None:
    prompt = "--help me, says the user"
    async with claude(prompt, Stored(), [text("It is done.")]) as (one, _, api):
        assert (await one.result()).outcome == "succeeded"
    assert prompt.encode() in api.requests[-1]["body"]


MCP_SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    answers = {
        "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}},
        "tools/list": {"tools": [{"name": "magic", "description": "magic", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": "the magic word"}]},
    }
    if "id" in asked:
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": answers.get(asked["method"], {})}), flush=True)
"""


async def test_tools_servers_and_prompts_of_the_task_and_the_memory_of_the_repository_reach_claude(
    repository: Path, bundle: Path
) -> None:
    """A tool that the task does not allow is denied; `CLAUDE.md` is read."""
    bundle_with(repository, bundle, {"CLAUDE.md": "Remember the word of the repository.\n"})
    stored = Stored()
    options = {
        "allowed_tools": ["mcp__helper__magic"],
        "mcp_servers": {"helper": {"type": "stdio", "command": "python3", "args": ["-c", MCP_SERVER]}},
        "system_prompt": "You are the one whom the task describes.",
        "append_system_prompt": "And this comes after it.",
    }
    turns = (
        [tool("mcp__helper__magic")],
        [tool("Bash", command="touch denied.txt", description="not allowed")],
        [text("It is done.")],
    )
    async with claude("use it", stored, *turns, bundle=bundle, options=options) as (one, _, api):
        result = await one.result()
        assert not (one.folder / "workspace" / "denied.txt").exists()
    assert (result.outcome, result.summary) == ("succeeded", "It is done.")
    magic, denied = stored.of("tool_result")
    assert ("the magic word" in magic["content"], denied["is_error"]) == (True, True)
    asked = next(request["body"] for request in api.requests if b"whom the task describes" in request["body"])
    assert b"And this comes after it." in asked
    assert b"Remember the word of the repository." in asked


def test_a_model_that_does_not_answer_is_said_in_one_sentence() -> None:
    from remote_claude.worker.agents.claude import _retry

    data = {"error_status": 502, "attempt": 2, "max_retries": 10, "retry_delay_ms": 1500}
    assert _retry(data) == "The model's service answered 502. Trying again in 1.5 s (2 of 10).\n"
    assert _retry({}) == "The model's service does not answer. Trying again.\n"
