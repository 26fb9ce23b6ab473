"""What the gateway takes from the log and from the output, besides its view: one reader of each per process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import structlog

from remote_claude.access.plans import Plans
from remote_claude.contracts import UndecodableEvent, UnknownVersion
from remote_claude.contracts.auth import ApiKeyIssued, ApiKeyRevoked, SessionOpened, SessionRevoked
from remote_claude.contracts.billing import PlanChanged
from remote_claude.contracts.runner import RunnerDrained, RunnerJoined, RunnerUndrained
from remote_claude.contracts.scheduler import TaskAdmitted, TaskAssigned, TaskRejected
from remote_claude.contracts.users import (
    MemberRemoved,
    ModelChosen,
    MonthlyBudgetSet,
    OrgPolicySet,
    SecretRemoved,
    SecretStored,
)
from remote_claude.eventsourcing.events import RecordedEvent
from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.tail import Tail
from remote_claude.gateway.domain.offers import Offers
from remote_claude.gateway.domain.policies import Policies
from remote_claude.gateway.handlers import Decision, Decisions
from remote_claude.gateway.live_tasks import LiveTasks
from remote_claude.gateway.projections.batches import BatchesView
from remote_claude.gateway.projections.contents import ContentsView
from remote_claude.gateway.projections.shares import SharesView
from remote_claude.gateway.projections.starters import StartersView
from remote_claude.gateway.projections.tasks import TasksView
from remote_claude.gateway.projections.webhooks import WebhooksView
from remote_claude.gateway.sockets import Sockets
from remote_claude.gateway.watchers import Watchers
from remote_claude.runtime.agent_output import OutputStream
from remote_claude.runtime.broker.uses import Use

log = structlog.get_logger(__name__)

READS = (
    TasksView.handles
    | WebhooksView.handles
    | SharesView.handles
    | StartersView.handles
    | BatchesView.handles
    | ContentsView.handles
    | {PlanChanged.type}
    | {
        event.type
        for event in (RunnerJoined, RunnerDrained, RunnerUndrained, SecretStored, SecretRemoved, ModelChosen)
    }
    | {OrgPolicySet.type, MonthlyBudgetSet.type}
    | {event.type for event in (ApiKeyIssued, ApiKeyRevoked, SessionOpened, SessionRevoked, MemberRemoved)}
)

USES: frozenset[Use] = frozenset({Use.READ_KEYS, Use.READ_OUTPUT, Use.ASK_WHY_TASKS_WAIT, Use.ASK_MONTH})
"""What the gateway uses of the broker besides the log."""
RUNNERS = "ev.runner._.runner.>"
POLICIES = "ev.users.*.policy.>"


class LogConsumer:
    """Passes the log's events on to the requests of this process that wait for them."""

    def __init__(
        self,
        log: EventLog,
        tail: Tail,
        decisions: Decisions,
        offers: Offers,
        policies: Policies,
        live: LiveTasks,
        watchers: Watchers,
        sockets: Sockets,
        plans: Plans,
    ) -> None:
        self._plans = plans
        self._log, self._tail = log, tail
        self._decisions, self._offers, self._policies = decisions, offers, policies
        self._live, self._watchers, self._sockets = live, watchers, sockets
        self._position = 0

    async def load(self) -> None:
        """Learn which runners have joined so far, and what organisations allow. Nobody here waits for a decision of before: the view has those."""
        self._position = self._decisions.position = await self._log.last_position()
        self._live.reach(self._position)
        for subjects, handle in ((RUNNERS, self._handle_runner), (POLICIES, self._handle_policy)):
            async for batch in self._log.read(until=self._position, subjects=subjects):
                for recorded in batch:
                    self._pass_on(recorded, handle)

    async def run(self) -> None:
        """Pass on what comes; never ends by itself."""
        async for batch in self._tail.subscribe(after=self._position):
            for recorded in batch:
                self._position = recorded.position
                self._pass_on(recorded, self._handle)
            self._decisions.position = self._position
            self._live.reach(self._position)
            self._watchers.on_batch()

    def _pass_on(self, recorded: RecordedEvent, handle: Callable[[RecordedEvent], None]) -> None:
        try:
            handle(recorded)
        except (UnknownVersion, UndecodableEvent) as error:
            log.warning("an event can't be read here", recorded=repr(recorded), error=str(error))
            self._live.on_unreadable(recorded)

    def _handle(self, recorded: RecordedEvent) -> None:
        self._live.on_event(recorded)
        match recorded.type:
            case TaskAssigned.type if recorded.event.admission is None:
                pass
            case TaskAdmitted.type | TaskAssigned.type:
                decision = Decision(position=recorded.position)
                self._decisions.resolve(recorded.event.task, decision)
            case TaskRejected.type:
                event: TaskRejected = recorded.event
                decision = Decision(position=recorded.position, code=event.code, detail=event.detail)
                self._decisions.resolve(event.task, decision)
            case RunnerJoined.type | RunnerDrained.type | RunnerUndrained.type:
                self._handle_runner(recorded)
            case OrgPolicySet.type | MonthlyBudgetSet.type:
                self._handle_policy(recorded)
            case PlanChanged.type:
                self._plans.forget(recorded.event.org)
            case ApiKeyRevoked.type | SessionRevoked.type:
                self._sockets.revoke(recorded.aggregate_id)
            case MemberRemoved.type:
                removed: MemberRemoved = recorded.event
                self._sockets.remove_member(removed.org, removed.user)
        self._watchers.on_event(recorded)

    def _handle_runner(self, recorded: RecordedEvent) -> None:
        if recorded.type in (RunnerJoined.type, RunnerDrained.type, RunnerUndrained.type):
            self._offers.evolve(recorded.event)

    def _handle_policy(self, recorded: RecordedEvent) -> None:
        self._policies.evolve(recorded.event)


class OutputConsumer:
    """Passes output on to those who watch it."""

    def __init__(self, output: OutputStream, watchers: Watchers) -> None:
        self._output, self._watchers = output, watchers

    async def run(self) -> None:
        """Pass on what comes. Raises what the broker's client raises; started again, it misses nothing."""
        try:
            async with aclosing(self._output.follow()) as chunks:
                async for chunk in chunks:
                    if chunk is None:
                        self._watchers.on_connect()
                    else:
                        self._watchers.on_output(chunk)
        finally:
            self._watchers.on_disconnect()
