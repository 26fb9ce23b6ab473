"""The composition root of users."""

from remote_claude.eventsourcing.jetstream.streams import check_keys
from remote_claude.runtime import owner
from remote_claude.runtime.service import Runtime, Service
from remote_claude.users.handlers import Directory
from remote_claude.users.projections.directory import DirectoryView


def build(runtime: Runtime) -> Service:
    """Wire users to what its process shares."""
    directory = Directory(runtime.log, runtime.keyring, runtime.clock)

    async def welcome_owner() -> None:
        await check_keys(runtime.nats)  # or new ones would be made for those who have some
        if runtime.settings.owner_file is not None:
            local = owner.load(runtime.settings.owner_file)
            await directory.register(local.user, local.name)
            await directory.create_org(local.org, f"{local.name}'s organisation", local.user)

    return Service(name="users", views=(DirectoryView(),), on_start=welcome_owner)
