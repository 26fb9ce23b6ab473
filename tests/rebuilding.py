"""What holds for every view."""

from remote_claude.eventsourcing.log import EventLog
from remote_claude.eventsourcing.postgres.rebuild import RebuildResult, rebuild
from remote_claude.eventsourcing.postgres.schemas import Pool
from remote_claude.eventsourcing.views import View


async def assert_rebuild_equals_live(view: View, pool: Pool, log: EventLog) -> RebuildResult:
    """Fold the log again up to where the live view is, and compare byte for byte. The live view stays as it is."""
    result = await rebuild(view, pool, log, swap=False)
    assert result.equal, f"{view.name} at {result.position}: {result.difference or 'nothing to compare with'}"
    return result
