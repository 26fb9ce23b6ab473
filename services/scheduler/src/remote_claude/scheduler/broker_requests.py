"""Answers requests over the broker: renewals of leases, and why tasks wait. Only the leader answers."""

from __future__ import annotations

import time

from remote_claude.contracts.leases import HeldAttempt, LeaseAnswer, LeaseRequest
from remote_claude.contracts.waiting import WaitingAnswer, WaitingRequest
from remote_claude.eventsourcing.log import LogUnavailable
from remote_claude.scheduler.consumers import LogFold
from remote_claude.scheduler.domain.known_leases import Leases
from remote_claude.scheduler.domain.tasks import Attempted
from remote_claude.scheduler.domain.waiting import explain
from remote_claude.scheduler.handlers import Monotonic
from remote_claude.scheduler.terms import LeaderTerms


class Requests:
    """Each answer is None while this process does not lead."""

    def __init__(
        self, fold: LogFold, terms: LeaderTerms, leases: Leases, monotonic: Monotonic = time.monotonic
    ) -> None:
        self._fold, self._terms, self._leases, self._monotonic = fold, terms, leases, monotonic

    async def renew(self, request: LeaseRequest) -> LeaseAnswer | None:
        """Which of a runner's attempts it may go on with; None also when the log can't be read to its end."""
        self._leases.renew(request, self._monotonic())
        leader = self._terms.leader
        if leader is None:
            return None
        answer = self._renewal(request)
        if (
            not answer.known or answer.revoked
        ):  # the runner may have read further in the log than is folded here
            try:
                await self._fold.reached_end()
            except LogUnavailable:
                return None
            if self._terms.leader is not leader:
                return None
            answer = self._renewal(request)
        leader.wake()
        return answer

    async def explain(self, request: WaitingRequest) -> WaitingAnswer | None:
        """Why tasks wait."""
        state = self._fold.state
        if self._terms.leader is None:
            return None
        organisation = state.organisations.get(request.org)
        if organisation is None:
            return WaitingAnswer()
        now = self._monotonic()
        renewing = {id for id in state.runners if self._leases.seen(id, now)}
        return WaitingAnswer(waiting=tuple(explain(organisation, request.tasks, state.runners, renewing)))

    def _renewal(self, request: LeaseRequest) -> LeaseAnswer:
        runner = self._fold.state.runners.get(request.runner)
        revoked = tuple(held for held in request.attempts if not self._holds(request.runner, held))
        return LeaseAnswer(known=runner is not None and runner.joined, revoked=revoked)

    def _holds(self, runner: str, held: HeldAttempt) -> bool:
        task = self._fold.state.task(held.org, held.task)
        return isinstance(task, Attempted) and (task.attempt, task.runner) == (held.attempt, runner)
