"""People, organisations and their secrets over HTTP."""

from fastapi import APIRouter

from remote_claude.runtime.service import Runtime
from remote_claude.users.api import (
    audit,
    forges,
    invitations,
    members,
    operator_tickets,
    operators,
    organisations,
    policy,
    signing_key,
    teams,
    tickets,
    vault,
)
from remote_claude.users.api.support import Support
from remote_claude.users.handlers import Directory, TicketHandlers
from remote_claude.users.mailer import Mailer


def add_routes(api: APIRouter, runtime: Runtime, directory: Directory, mailer: Mailer) -> None:
    """Every route of users."""
    support = Support(runtime)
    organisations.add_routes(api, runtime, directory, support)
    operators.add_routes(api, runtime, directory, support)
    members.add_routes(api, runtime, directory, support)
    teams.add_routes(api, runtime, directory, support)
    audit.add_routes(api, runtime, support)
    policy.add_routes(api, runtime, support)
    invitations.add_routes(api, runtime, directory, support, mailer)
    vault.add_routes(api, runtime)
    forges.add_routes(api, runtime)
    signing_key.add_routes(api, runtime)
    ticket_handlers = TicketHandlers(runtime.log, runtime.clock)
    tickets.add_routes(api, runtime, ticket_handlers, support)
    operator_tickets.add_routes(api, runtime, ticket_handlers, support)
