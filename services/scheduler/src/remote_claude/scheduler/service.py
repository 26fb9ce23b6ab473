"""The composition root of the scheduler."""

from remote_claude.runtime.service import Runtime, Service
from remote_claude.scheduler.consumers import LeaseDesk, Scheduler
from remote_claude.scheduler.leadership import PostgresElection
from remote_claude.scheduler.metrics import observe
from remote_claude.scheduler.settings import SchedulerSettings
from remote_claude.scheduler.snapshots import PostgresSnapshots


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
    observe(runtime.meter, scheduler)
    return Service(
        name="scheduler",
        background={"schedule": scheduler.run, "answer leases": LeaseDesk(runtime.nats, scheduler).run},
        on_stop=scheduler.stop,
        ready=scheduler.ready,
        status=scheduler.status,
    )
