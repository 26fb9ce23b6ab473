"""The composition root of users."""

from fastapi import APIRouter

from remote_claude.eventsourcing.jetstream.streams import check_keys
from remote_claude.runtime import owner
from remote_claude.runtime.service import Runtime, Service
from remote_claude.users import api, ticket_mails
from remote_claude.users.consumers import Registrations
from remote_claude.users.erasures import Erasures
from remote_claude.users.handlers import Directory
from remote_claude.users.mailer import Mailer
from remote_claude.users.projections.audit import AuditView
from remote_claude.users.projections.directory import DirectoryView
from remote_claude.users.settings import UsersSettings


def build(runtime: Runtime) -> Service:
    """Wire users to what its process shares."""
    directory = Directory(runtime.log, runtime.keyring, runtime.clock)
    settings = UsersSettings.from_environment(runtime.environment)
    erasures = Erasures(runtime, directory)
    registrations = Registrations(runtime.log, runtime.tail, runtime.verifier, directory)

    async def register_owner() -> None:
        await check_keys(runtime.nats)  # otherwise new keys would be made where the bucket was lost
        if runtime.settings.owner_file is not None:
            local = owner.load(runtime.settings.owner_file)
            await directory.register(local.user, local.name)
            await directory.create_org(local.org, f"{local.name}'s organisation", local.user, personal=True)

    router = APIRouter()
    api.add_routes(router, runtime, directory, Mailer(settings))
    mails = ticket_mails.outbox(runtime, settings)
    return Service(
        name="users",
        router=router,
        views=(DirectoryView(), AuditView(), mails.view),
        outboxes=(mails,),
        on_start=register_owner,
        background={"registrations": registrations.run, "erasures": erasures.run},
    )
