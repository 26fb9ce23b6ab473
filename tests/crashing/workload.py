"""What is asked of an installation while its services die: a bit of everything, by clients that ask again."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psutil
from websockets.asyncio.client import connect

from crashing.points import ASK_AGAIN
from crashing.stack import Installation
from product import TERMINAL
from receiver import Receiver
from remote_claude.access import credential_secrets
from remote_claude.auth.handlers import ApiKeys
from remote_claude.billing.handlers import Accounts
from remote_claude.cli.repository import bundle, find
from remote_claude.contracts.billing import Entitlements
from remote_claude.gateway.handlers import WebhookHandlers
from remote_claude.gateway.projections.webhooks import webhooks
from remote_claude.runtime import owner
from remote_claude.runtime.ids import new_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.handlers import Directory

PATIENCE_S = 60.0
LINES = 20
FLOOD_MIB, ROOM_MIB = 48, 32
FLOOD = f"yes {'x' * 999} | head -c {FLOOD_MIB * 1024 * 1024}"
PRINTS = f"for i in $(seq 1 {LINES}); do echo line $i; sleep 0.01; done"


@dataclass(kw_only=True)
class Asked:
    """A submission, and what was answered: nothing is believed to be recorded before it was."""

    name: str
    org: str
    key: str
    body: dict[str, Any]
    may_become: set[str]
    status: int | None = None
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.answer["id"])


class Lost(Exception):
    """What was acknowledged is not there."""


@dataclass(kw_only=True)
class Client:
    """Somebody of an organisation, who asks until an answer comes."""

    org: str
    http: httpx2.AsyncClient

    async def ask(self, method: str, path: str, **how: Any) -> httpx2.Response:
        """The answer, however often the services die meanwhile."""
        until, last = asyncio.get_running_loop().time() + PATIENCE_S, ""
        while asyncio.get_running_loop().time() < until:
            try:
                answer = await self.http.request(method, path, **how)
                if answer.status_code not in ASK_AGAIN:  # 401: this process has yet to read of the key
                    return answer
                last = answer.text
            except httpx2.TransportError as error:
                last = repr(error)
            await asyncio.sleep(0.1)
        raise AssertionError(f"{method} {path} got no answer: {last}")

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def submit(self, asked: Asked) -> Asked:
        """Submit, and note the answer."""
        answer = await self.ask("POST", "/v1/tasks", json=asked.body, headers={"Idempotency-Key": asked.key})
        assert answer.status_code in (201, 202, 402), answer.text
        asked.status, asked.answer = answer.status_code, answer.json()
        return asked

    async def shown(self, asked: Asked) -> Any:
        """The task as of its submission or later; raises `Lost`."""
        query = {"min_position": asked.answer["position"]}
        answer = await self.ask("GET", f"/v1/tasks/{asked.id}", params=query)
        if answer.status_code == 404:
            raise Lost(f"{asked.name} was answered {asked.status}, and is not known")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, asked: Asked, *states: str) -> None:
        """Wait until the task is in one of these states, or has ended."""
        while (await self.shown(asked))["state"] not in TERMINAL.union(states):  # noqa: ASYNC110  another process does it
            await asyncio.sleep(0.1)

    async def cancel(self, asked: Asked) -> None:
        answer = await self.ask("POST", f"/v1/tasks/{asked.id}/cancel")
        assert answer.status_code in (202, 409), answer.text  # 409: it has ended meanwhile

    async def output(self, task: str) -> list[dict[str, Any]]:
        """Every frame, page by page."""
        frames: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self.get(
                f"/v1/tasks/{task}/output", limit=200, **({"after": cursor} if cursor else {})
            )
            frames += page["frames"]
            if not page["frames"] or page.get("next") in (None, cursor):
                return frames
            cursor = page["next"]


class Workload:
    """The tasks of two organisations: the owner's, and one with a plan that is too small for it."""

    LIMIT = 2

    def __init__(self, one: Installation, runtime: Runtime, receiver: Receiver) -> None:
        local = owner.load(one.home / "owner.json")
        self.one, self.runtime, self.receiver = one, runtime, receiver
        self.asked: list[Asked] = []
        self.grown = 0  # bytes of memory
        self.owner = self._client(local.org, local.api_key)
        self._secret = credential_secrets.generate()
        self.other = self._client(new_id("org"), self._secret)
        self.clients = {self.owner.org: self.owner}
        """Those who have a key by now, by organisation."""

    def _client(self, org: str, secret: str) -> Client:
        headers = {"Authorization": f"Bearer {secret}"}
        return Client(org=org, http=httpx2.AsyncClient(base_url=self.one.url, headers=headers, timeout=20))

    async def close(self) -> None:
        for client in (self.owner, self.other):
            await client.http.aclose()

    async def found_other(self) -> None:
        """The second organisation: founded, its key issued; billing opens its account, then its plan is changed."""
        org, user = self.other.org, new_id("user")
        runtime = self.runtime
        await Directory(runtime.log, runtime.keyring, runtime.clock).create_org(org, "the others", user)
        await ApiKeys(runtime.log, runtime.clock).issue(
            key=new_id("key"), org=org, user=user, secret=self._secret
        )
        async with asyncio.timeout(PATIENCE_S):
            while not await runtime.log.read_stream(f"ev.billing.{org}.account.{org}"):  # noqa: ASYNC110  as above
                await asyncio.sleep(0.02)
        small = Entitlements(
            executions_per_month=self.LIMIT, vcpu_millis=1000, memory_mib=1024, duration_s=60, concurrency=1
        )
        await Accounts(runtime.log, runtime.clock).set_plan(org, "free", small)
        self.clients[org] = self.other

    async def add_webhook(self) -> None:
        """From here on the receiver hears of the owner's tasks."""
        await self.owner.get("/v1/status")  # the organisation is there, and its data key
        runtime = self.runtime
        handlers = WebhookHandlers(runtime.log, runtime.keyring, runtime.clock)
        await handlers.add(new_id("hook"), self.owner.org, self.receiver.url)

    async def submit(self, client: Client, name: str, prompt: str, *may_become: str, **body: Any) -> Asked:
        """One task of a client, remembered with what was answered."""
        asked = Asked(
            name=name,
            org=client.org,
            key=f"key-{name}",
            body={"agent": "shell", "prompt": prompt, "max_attempts": 5, **body},
            may_become=set(may_become),
        )
        self.asked.append(asked)
        return await client.submit(asked)

    async def until(self, asked: Asked, *states: str) -> None:
        """Wait until a task is in one of these states, or has ended."""
        await self.clients[asked.org].until(asked, *states)

    async def all_ended(self) -> None:
        await asyncio.gather(*(self.until(asked) for asked in self.asked))

    async def run(self) -> None:
        """A bit of everything; every task has ended afterwards."""
        await self.add_webhook()
        await asyncio.gather(self._owners(), self._others(), self._with_a_repository(), self._renewed())
        await self.one.rebuild()
        stopped = await self.submit(
            self.owner, "stopped", "echo begun; sleep 0.7; echo finished", "succeeded"
        )
        await self.until(stopped, "running")
        await self.one.end(signal.SIGTERM)
        await self.all_ended()

    async def run_told(self) -> None:
        """A task that a webhook hears of."""
        await self.add_webhook()
        await self.submit(self.owner, "told", "nothing", "succeeded", agent="noop")
        await self.all_ended()

    async def run_noops(self) -> None:
        """What runs nothing: tasks of both organisations, one more than fits into the other's plan."""
        await self.found_other()
        mine = [self.submit(self.owner, f"noop-{n}", "nothing", "succeeded", agent="noop") for n in range(3)]
        await asyncio.gather(*mine, self._too_many())
        await self.all_ended()

    async def _too_many(self) -> None:
        for n in range(self.LIMIT + 1):
            labels = {"org": self.owner.org}  # which a service that believes it would take for the truth
            may_become = ("succeeded", "rejected")
            asked = await self.submit(
                self.other, f"other-{n}", "nothing", *may_become, agent="noop", labels=labels
            )
            await self.until(asked)

    async def run_shells(self) -> None:
        """Two sandboxes: one prints, one takes long enough to be measured more than once."""
        await asyncio.gather(
            self.submit(self.owner, "prints", PRINTS, "succeeded"),
            self.submit(self.owner, "sleeps", "sleep 1", "succeeded"),
        )
        await self.all_ended()

    async def run_without_its_runner(self) -> None:
        """The machine of a runner is lost in the middle of an attempt: what comes up is another runner."""
        asked = await self.submit(self.owner, "orphaned", "echo begun; sleep 1", "succeeded")
        await self.until(asked, "running")
        (self.one.home / "runner" / "id").unlink()
        await self.one.end(signal.SIGKILL)
        await self.all_ended()

    async def run_flood(self) -> None:
        """A task that somebody watches puts out more than may be kept in memory."""
        asked = await self.submit(self.owner, "floods", FLOOD, "succeeded")
        services = psutil.Process(self.one.pid)
        before = services.memory_info().rss
        url = f"ws://127.0.0.1:{self.one.ground.port}/v1/stream"
        headers = {"Authorization": self.owner.http.headers["authorization"]}
        async with connect(url, additional_headers=headers, max_size=None, proxy=None) as socket:
            await socket.send(json.dumps({"type": "subscribe", "task": asked.id}))
            while json.loads(await socket.recv())["type"] != "end":
                self.grown = max(self.grown, services.memory_info().rss - before)
        await self.all_ended()

    async def _owners(self) -> None:
        running = await self.submit(self.owner, "cancelled", "echo begun; sleep 60", "cancelled")
        await asyncio.gather(
            self.submit(self.owner, "prints", PRINTS, "succeeded"),
            self.submit(self.owner, "fails", "echo no; exit 3", "failed"),
            self.submit(self.owner, "noop", "nothing", "succeeded", agent="noop"),
            self._cancel_once_running(running),
        )

    async def _cancel_once_running(self, asked: Asked) -> None:
        await self.until(asked, "running")
        await self.clients[asked.org].cancel(asked)
        await self.until(asked)

    async def _renewed(self) -> None:
        """A sandbox that runs until its lease is renewed, after a third of it."""
        asked = await self.submit(self.owner, "renewed", "sleep 2", "succeeded")
        await self.until(asked)

    async def _others(self) -> None:
        await self.found_other()
        first = await self.submit(self.other, "occupies", "sleep 0.3", "succeeded")
        queued = await self.submit(self.other, "queued", "echo late", "cancelled", "succeeded")
        await self.other.cancel(queued)
        await asyncio.gather(self.until(queued), self.until(first))
        for name in ("fits", "too-many"):
            await self.submit(self.other, name, "nothing", "succeeded", "rejected", agent="noop")

    async def _with_a_repository(self) -> None:
        folder = self.one.home.parent / "repository"
        sent, content = await asyncio.to_thread(_repository, folder)
        for _ in range(2):  # as one does whose first answer was lost: 201, then 200
            answer = await self.owner.ask("PUT", f"/v1/blobs/{sent}", content=content)
            assert answer.status_code in (200, 201), answer.text
        await self.submit(self.owner, "mends", "echo mended > b.txt", "succeeded", repo={"bundle": sent})

    async def quiet(self) -> int:
        """Wait until nothing moves: views and archive have all that the log has, and webhooks were told of it.

        Returns the log's last position.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                status = await self.owner.get("/v1/status")
                last = await self.runtime.log.last_position()
                behind = [status["archive"]["position"] != last, status["position"] != last]
                for service in status["services"].values():
                    behind += [view["position"] < last for view in service["views"].values()]
                    behind.append(bool(service.get("attempts")))
                if not any(behind) and not any(hook.pending for hook in await webhooks(self.runtime.pool)):
                    return last
                await asyncio.sleep(0.1)


def _repository(folder: Path) -> tuple[str, bytes]:
    """A repository with one commit, as a bundle: its SHA-256, and itself."""
    folder.mkdir()
    (folder / "a.txt").write_text("hello\n")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for command in (("init", "-q", "-b", "main"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    repository = find(folder)
    assert repository is not None
    out = folder.with_suffix(".bundle")
    return bundle(repository, out).sha256, out.read_bytes()
