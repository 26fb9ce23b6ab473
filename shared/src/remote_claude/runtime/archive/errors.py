"""What can be wrong between the log and its archive. Each error has a stable `code` and says what to do next."""

from __future__ import annotations

RESTORE = (
    "Stop every service, look at what is missing with `rclaude-admin log verify`, bring it back with "
    "`rclaude-admin log restore`, and start again."
)


class ArchiveError(Exception):
    """Base of what is refused because of the archive."""

    code = "archive_error"


class BrokerLostTail(ArchiveError):
    """The log ends before what has been read from it: the broker has lost events that it had acknowledged."""

    code = "log_lost_tail"

    def __init__(self, who: str, position: int, last: int) -> None:
        super().__init__(
            f"{who} up to position {position}, but the log ends at {last}: the broker has lost its tail. {RESTORE}"
        )
        self.position, self.last = position, last


class RolledBack(ArchiveError):
    """Broker and archive both end before what has been signed: older copies of both are in their place."""

    code = "log_rolled_back"

    def __init__(self, signed: int, last: int) -> None:
        super().__init__(
            f"the log was signed up to position {signed}, but broker and archive end at {last}: both are older copies. "
            "Stop every service, and put a newer copy of either back. If there is none, `rclaude-admin log restore` "
            "says what is lost, and how to go on without it"
        )


class BrokerLostEvents(ArchiveError):
    """The log has holes, or begins later than it should: the broker has lost events that it had acknowledged."""

    code = "log_lost_events"

    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count} positions of the log hold nothing, and nobody trimmed it: the broker's files were damaged. {RESTORE}"
        )


class LogContradictsArchive(ArchiveError):
    """The log and the archive hold different events at one position: they are not of the same log any more."""

    code = "log_contradicts_archive"


class LogInMaintenance(ArchiveError):
    """Restoring or trimming needs the log for itself, and this process would write to it, or another one does."""

    code = "log_in_maintenance"


class ArchiveIncomplete(ArchiveError):
    """What has been trimmed off the broker is not in the archive, so that nobody has it."""

    code = "archive_incomplete"

    def __init__(self, trimmed: int, archived: int) -> None:
        super().__init__(
            f"the broker's log begins after position {trimmed}, but the archive ends at {archived}: restore "
            "PostgreSQL from a backup, or `rclaude-admin log import` what was exported before the log was trimmed"
        )


class ArchiveDamaged(ArchiveError):
    """A row of the archive is not what was archived there, or is gone."""

    code = "archive_damaged"

    def __init__(self, position: int) -> None:
        super().__init__(
            f"the archive is damaged at position {position}: `rclaude-admin log verify` says how. "
            "Restore PostgreSQL from a backup; an export of before is imported into a new, empty database"
        )


class ArchiveEmpty(ArchiveError):
    """There is no archive that anything could be restored from."""

    code = "archive_empty"

    def __init__(self) -> None:
        super().__init__(
            "the archive is empty, so that nothing can be restored from it: `rclaude-admin log import FILE` brings back "
            "what was exported, `pg_restore` a dump of PostgreSQL. If there is neither, `rclaude-admin log restore "
            "--without-lost` goes on with what the broker has before the first hole, if that is anything"
        )


class HeadsOfAnotherKey(ArchiveError):
    """The archive's heads are signed with another key, and are elsewhere."""

    code = "heads_of_another_key"
