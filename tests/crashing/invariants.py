"""The twelve invariants of `tests/faults/README.md`, checked from outside on an installation that has come to rest.

It reads the raw log, the raw output, the tables and the answers of the API, and shares no fold with any service.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crashing.workload import LINES, ROOM_MIB, Client, Workload
from product import TERMINAL
from remote_claude.contracts import REGISTRY
from remote_claude.eventsourcing.events import RecordedEvent, parse_timestamp
from remote_claude.eventsourcing.jetstream import JetStreamEventLog
from remote_claude.eventsourcing.postgres.rebuild import rebuild
from remote_claude.eventsourcing.postgres.schemas import connect
from remote_claude.eventsourcing.views import View
from remote_claude.runtime.admin.verification import Checker
from remote_claude.runtime.archive.verify import verify as verify_archive
from remote_claude.runtime.host import installed
from remote_claude.runtime.service import Runtime

METERS = ("vcpu_ms", "gib_ms", "egress_bytes", "model_nano_usd")
COMPUTE = METERS[:3]
ENDS = ("TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskTimedOut", "TaskRejected")
SILENCE_S = 0.9
ARCHIVED_WITHIN = 100
"""Looks, ten a second, after which the archive has to have what the log has."""
"""An attempt whose runner has said something so shortly before is not given up for its lease."""

RULES = {
    "a task is submitted once": 8,
    "a task ends once": 3,
    "samples are numbered without a gap": 4,
    "cumulative use never falls": 4,
    "no more is admitted than the plan allows": 6,
    "no more runs at one time than the plan allows": 6,
    "use stays within limits and time": 4,
    "an organisation's events are in its own streams": 9,
    "a task stays with its organisation": 9,
}
"""Which invariant a rule of `rclaude-admin verify` is; the others are the second."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What does not hold: the number of the invariant, and what was seen."""

    invariant: int
    detail: str


async def broken(work: Workload) -> list[Broken]:
    """Everything that does not hold of an installation at rest."""
    facts = Facts(work, [recorded async for batch in work.runtime.log.read() for recorded in batch])
    return [
        *facts.reader(),
        *facts.nothing_lost(),
        *facts.leases(),
        *facts.memory(),
        *facts.told(),
        *await facts.bills(),
        *await facts.rebuilt(),
        *await facts.output(),
        *await facts.tenancy(),
        *await facts.archive(),
        *await facts.states(),
    ]


async def asked_again(work: Workload) -> list[Broken]:
    """The same key: the same answer, or an error where the body is another."""
    found = []
    for asked in work.asked:
        if not asked.answer:
            continue
        client, headers = work.clients[asked.org], {"Idempotency-Key": asked.key}
        again = await client.ask("POST", "/v1/tasks", json=asked.body, headers=headers)
        if again.json().get("id") != asked.id or (again.status_code == 402) != (asked.status == 402):
            found.append(
                Broken(8, f"{asked.name} was answered {asked.status}, then {again.status_code} {again.text}")
            )
        other = await client.ask(
            "POST", "/v1/tasks", json={**asked.body, "prompt": "another"}, headers=headers
        )
        if other.status_code != 409:
            found.append(
                Broken(8, f"another body under the key of {asked.name} is answered {other.status_code}")
            )
    return found


class Facts:
    """The log as it is, and who asked for what."""

    def __init__(self, work: Workload, log: list[RecordedEvent]) -> None:
        self.work, self.runtime, self.log = work, work.runtime, log
        self.data = [json.loads(recorded.data) for recorded in log]
        self.owners = {
            data["task"]: recorded.organisation or ""
            for recorded, data in zip(log, self.data, strict=True)
            if recorded.type == "TaskSubmitted"
        }

    def of(self, *types: str) -> Iterator[tuple[RecordedEvent, dict[str, Any]]]:
        return ((r, d) for r, d in zip(self.log, self.data, strict=True) if r.type in types)

    def reader(self) -> Iterator[Broken]:
        """What `rclaude-admin verify` finds."""
        checker = Checker()
        for recorded in self.log:
            checker.check(recorded)
        for found in checker.report.violations:
            yield Broken(RULES.get(found.rule, 2), f"{found.rule}: {found.detail} at {found.position}")

    def nothing_lost(self) -> Iterator[Broken]:
        for asked in self.work.asked:
            if asked.answer and asked.id not in self.owners:
                yield Broken(1, f"{asked.name} was answered {asked.status}, and is not in the log")

    def leases(self) -> Iterator[Broken]:
        """Nobody is given up for a lease who has just spoken."""
        spoke: dict[tuple[str, int], RecordedEvent] = {}
        for recorded, data in self.of("TaskStarted", "UsageRecorded", "RunnerLost"):
            attempt = data["task"], data["attempt"]
            if recorded.type != "RunnerLost":
                spoke[attempt] = recorded
            elif data["reason"] in ("runner_lost", "attempt_lost") and attempt in spoke:
                at, before = (parse_timestamp(e.occurred_at) for e in (recorded, spoke[attempt]))
                if (at - before).total_seconds() < SILENCE_S:
                    yield Broken(2, f"{attempt} was given up {at - before} after its runner had spoken")

    def memory(self) -> Iterator[Broken]:
        if self.work.grown > ROOM_MIB * 1024 * 1024:
            yield Broken(11, f"the services have grown by {self.work.grown >> 20} MiB")

    def told(self) -> Iterator[Broken]:
        """The webhook is told of each end since it was added, under one id however often; the outcome is said once."""
        told, outcomes = (
            defaultdict[str, set[str]](set),
            Counter(d["task"] for _, d in self.of("WebhookDelivered")),
        )
        for heard in self.work.receiver.heard:
            told[heard.body["data"]["task"]].add(heard.id)
        for added, hook in self.of("WebhookAdded"):
            for recorded, data in self.of(*ENDS):
                if data["org"] != hook["org"] or recorded.position < added.position:
                    continue
                task = data["task"]
                if not told[task] or not outcomes[task]:
                    yield Broken(
                        1,
                        f"the end of {task} was told {len(told[task])} times, which {outcomes[task]} events say",
                    )
                elif len(told[task]) > 1 or outcomes[task] > 1:
                    yield Broken(
                        8, f"the end of {task} was told as {told[task]}, which {outcomes[task]} events say"
                    )

    async def bills(self) -> list[Broken]:
        """Each organisation's bill is the sum of its attempts' last samples, but for the compute of lost ones."""
        last: dict[tuple[str, str, int], dict[str, Any]] = {}
        lost, started = set(), defaultdict[str, set[str]](set)
        for recorded, data in self.of(
            "UsageRecorded", "AttemptFinished", "RunnerLost", "TaskStarted", "TaskFailed"
        ):
            key = data["org"], data["task"], data["attempt"]
            if recorded.type == "TaskStarted" or data.get("started_at") is not None:
                started[data["org"]].add(data["task"])
            match recorded.type:
                case "UsageRecorded" | "AttemptFinished":
                    sample = data if recorded.type == "UsageRecorded" else data["usage"]
                    if sample and sample["sequence"] > last.get(key, {"sequence": 0})["sequence"]:
                        last[key] = sample
                case "RunnerLost" if not data["charge"]:
                    lost.add(key)
        found = []
        for client in self.work.clients.values():
            wanted = Counter({"executions": len(started[client.org])})
            for key, data in last.items():
                for meter in METERS:
                    if key[0] == client.org and not (key in lost and meter in COMPUTE):
                        wanted[meter] += int(data["cumulative"][meter])
            bill = await client.get("/v1/bill", min_position=self.log[-1].position)
            billed = {line["meter"]: line["quantity"] for line in bill["lines"]}
            found += [
                Broken(4, f"{client.org}: {meter} is billed {billed.get(meter, 0)}, used {wanted[meter]}")
                for meter in ("executions", *METERS)
                if billed.get(meter, 0) != wanted[meter]
            ]
        return found

    async def rebuilt(self) -> list[Broken]:
        found = []
        for view in views(self.runtime):
            result = await rebuild(view, self.runtime.pool, self.runtime.log, swap=False)
            if result.equal is not True or result.parked:
                found.append(
                    Broken(
                        5, f"{view.name}: equal {result.equal}, {result.parked} parked, {result.difference}"
                    )
                )
        return found

    async def output(self) -> list[Broken]:
        """Chunks of an attempt follow each other without a gap, and the API shows every line of a success once."""
        found = []
        finished = {(d["task"], d["attempt"]): d for _, d in self.of("AttemptFinished")}
        for (task, attempt), data in finished.items():
            frames: list[Any] = []
            async for chunk in self.runtime.output.read(data["org"], task, attempt):
                if chunk.first != len(frames) + 1:
                    found.append(Broken(7, f"{task}-{attempt}: frame {chunk.first} after {len(frames)}"))
                frames += chunk.frames
            if (sealed := data.get("output")) is not None:
                lines = (await self.runtime.objects.get(data["org"], sealed["sha256"])).splitlines()
                if sealed["frames"] != len(frames) or [json.loads(line) for line in lines] != frames:
                    found.append(
                        Broken(
                            7, f"{task}-{attempt}: {len(lines)} frames sealed, {len(frames)} in the stream"
                        )
                    )
        for asked in self.work.asked:
            if asked.name != "prints" or not asked.answer:
                continue
            attempts = [attempt for task, attempt in finished if task == asked.id]
            frames = await self.work.clients[asked.org].output(asked.id)
            said = "".join(
                f.get("text", "")
                for f in frames
                if f["cursor"].startswith(f"{max(attempts, default=1)}.") and f["kind"] == "output"
            )
            if said.splitlines() != [f"line {n}" for n in range(1, LINES + 1)]:
                found.append(Broken(7, f"{asked.name} has put out {said!r}"))
        return found

    async def tenancy(self) -> list[Broken]:
        """What an organisation asked for stands in its own streams, and no row of its own names another or its tasks."""
        found = [
            Broken(9, f"{asked.name} was asked for by {asked.org} and is {self.owners[asked.id]}'s")
            for asked in self.work.asked
            if asked.answer and self.owners.get(asked.id, asked.org) != asked.org
        ]
        for view in views(self.runtime):
            async with connect(self.runtime.pool, view.name) as connection:
                for table in view.tables.sorted_tables:
                    if "org" not in table.columns:
                        continue
                    rows = await connection.execute(
                        f"SELECT org, to_jsonb(t)::text FROM {table.name} t".encode()
                    )
                    async for org, text in rows:
                        theirs = [i for i in self._others(org) if i in text]
                        found += [
                            Broken(9, f"a row of {org} in {view.name}.{table.name} has {id}") for id in theirs
                        ]
        for client in self.work.clients.values():
            found += [
                Broken(9, f"{client.org} is shown {id}")
                for id in await _shown(client)
                if self.owners.get(id) != client.org
            ]
        return found

    def _others(self, org: str) -> list[str]:
        return [
            *(set(self.work.clients) - {org}),
            *(task for task, owner in self.owners.items() if owner != org),
        ]

    async def archive(self) -> list[Broken]:
        log = JetStreamEventLog(self.runtime.nats, REGISTRY)
        for _ in range(ARCHIVED_WITHIN):  # it is written in paces, behind everything else
            report = await verify_archive(log, self.runtime.pool, self.runtime.heads)
            if not report.unarchived:
                break
            await asyncio.sleep(0.1)
        found = [Broken(10, str(finding)) for finding in report.findings]
        if report.unarchived or report.archive[1] < self.log[-1].position:
            found.append(Broken(10, f"the archive ends at {report.archive[1]} of {self.log[-1].position}"))
        return found

    async def states(self) -> list[Broken]:
        """Each task has become what it can become, in the log as in the API."""
        ends = Counter(d["task"] for _, d in self.of(*ENDS))
        found = [Broken(3, f"{task} has ended {ends[task]} times") for task in self.owners if ends[task] > 1]
        found += [Broken(12, f"{task} has not ended") for task in self.owners if not ends[task]]
        for asked in self.work.asked:
            if not asked.answer:
                continue
            answer = await self.work.clients[asked.org].ask("GET", f"/v1/tasks/{asked.id}")
            state = answer.json().get("state")
            if state in TERMINAL and state not in asked.may_become:
                found.append(Broken(1, f"{asked.name} has {state}"))
        return found


async def _shown(client: Client) -> list[str]:
    page = await client.get("/v1/tasks", limit=200)
    return [task["id"] for task in page["tasks"]]


def views(runtime: Runtime) -> list[View]:
    """Every view of every service."""
    return [view for build in installed() for view in build(runtime).views]
