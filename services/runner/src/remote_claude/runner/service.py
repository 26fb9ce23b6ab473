"""The composition root of the runner."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from remote_claude.runner import api
from remote_claude.runner.forges import api as repositories
from remote_claude.runner.forges import commenting, opening
from remote_claude.runner.handlers import Accesses
from remote_claude.runner.machines.registry import Machines, TaskRunner
from remote_claude.runner.projections.held import HeldView
from remote_claude.runner.relayed import RelayedWorkers
from remote_claude.runner.runner_lifecycle import machine_runner, provider_runner
from remote_claude.runner.sessions import WorkerListener, WorkerSession
from remote_claude.runner.settings import RunnerSettings
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire the runners, one for each provider, to what their process shares."""
    settings = RunnerSettings.from_environment()
    names = [name.strip() for name in settings.providers.split(",") if name.strip()]
    runners = {name: provider_runner(runtime, settings, name) for name in names}
    machines = Machines(lambda org, hello, provider: machine_runner(runtime, settings, org, hello, provider))
    first = next(iter(runners.values()))

    async def close() -> None:
        await asyncio.gather(*(runner.close() for runner in runners.values()), machines.close())

    def all_runners() -> list[TaskRunner]:
        return [*runners.values(), *machines.runners()]

    def session_of(org: str, task: str) -> WorkerSession | None:
        found = (runner.session_of(org, task) for runner in all_runners())
        return next((session for session in found if session is not None), None)

    def listener_of(id: str) -> WorkerListener | None:
        return next((one.listener for one in all_runners() if one.executor.runner == id), None)

    def status() -> Mapping[str, Any]:
        return {**first.status(), "runners": [runner.status() for runner in all_runners()]}

    background = {f"execute {name}": runner.run for name, runner in runners.items()}
    background |= {f"keep leases of {name}": runner.keep_leases for name, runner in runners.items()}
    if settings.relay_url is not None:
        background["relay"] = RelayedWorkers(settings.relay_url, settings.relay_token, listener_of).run
    pull_requests, comments = opening.outbox(runtime, settings), commenting.outbox(runtime, settings)
    routes = api.router(
        listener_of, runtime.verifier, session_of, machines, runtime.log, Accesses(runtime.log, runtime.clock)
    )
    repositories.add_routes(routes, runtime)
    return Service(
        name="runner",
        router=routes,
        views=(HeldView(), pull_requests.view, comments.view),
        outboxes=(pull_requests, comments),
        background=background,
        on_stop=close,
        ready=lambda: _unready([r.unready for r in runners.values()]),
        status=status,
    )


def _unready(reasons: list[str | None]) -> str | None:
    """None once one runner takes work: the others may wait for a cloud."""
    return None if None in reasons else next(iter(reasons), None)
