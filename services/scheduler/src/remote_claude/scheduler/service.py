"""The composition root of the scheduler."""

from remote_claude.contracts.requests import EXPLAIN_WAITING, RENEW_LEASES, Request
from remote_claude.runtime.broker.request_handlers import Handle, answer_requests
from remote_claude.runtime.service import Runtime, Service
from remote_claude.scheduler.leadership import PostgresElection
from remote_claude.scheduler.metrics import observe
from remote_claude.scheduler.process import Scheduler
from remote_claude.scheduler.projections.snapshots import PostgresSnapshots
from remote_claude.scheduler.settings import SchedulerSettings


def build(runtime: Runtime) -> Service:
    """Wire the scheduler to what its process shares."""
    settings = SchedulerSettings.from_environment()
    scheduler = Scheduler(
        runtime.log,
        runtime.tail,
        runtime.clock,
        settings,
        PostgresElection(runtime.settings.postgres_dsn, check_s=settings.lease_s / 3),
        PostgresSnapshots(runtime.pool),
    )
    requests: dict[Request, Handle] = {
        RENEW_LEASES: scheduler.requests.renew,
        EXPLAIN_WAITING: scheduler.requests.explain,
    }
    observe(runtime.meter, scheduler)
    return Service(
        name="scheduler",
        background={
            "schedule": scheduler.run,
            "answer requests": lambda: answer_requests(runtime.nats, requests),
        },
        on_stop=scheduler.stop,
        ready=scheduler.ready,
        status=scheduler.status,
    )
