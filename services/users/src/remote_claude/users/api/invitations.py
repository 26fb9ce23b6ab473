"""Invitations to an organisation: made, sent again, revoked, accepted."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

from fastapi import APIRouter, Response
from starlette.requests import Request

from remote_claude.access import credential_secrets
from remote_claude.access.plans import Plans
from remote_claude.access.principal import Principal
from remote_claude.contracts.contexts import email_context, name_context
from remote_claude.contracts.users import Role
from remote_claude.edge.caller import Caller, Person, own_origin
from remote_claude.edge.models import problems
from remote_claude.edge.rate_limits import guess
from remote_claude.eventsourcing.events import timestamp
from remote_claude.runtime.ids import is_id
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.models import (
    AcceptedInvitation,
    InvitationCreated,
    NewInvitation,
    OrgChanged,
)
from remote_claude.users.api.support import TAGS, Support
from remote_claude.users.domain.commands import (
    AcceptInvitation,
    Invite,
    RevokeInvitation,
    SendInvitationAgain,
)
from remote_claude.users.domain.organisation import InvitationNotFound
from remote_claude.users.handlers import Directory
from remote_claude.users.mailer import Mailer
from remote_claude.users.projections import directory as view

INVITATION_LASTS = timedelta(days=7)


def add_routes(
    api: APIRouter, runtime: Runtime, directory: Directory, support: Support, mailer: Mailer
) -> None:
    """The routes below `/v1/org/invitations` and `/v1/invitations`."""
    plans = Plans(runtime.log, runtime.clock)

    async def seats(org: str) -> int | None:
        """How many members the plan allows; None: any number, as without a plan."""
        allowed = await plans.of(org)
        return allowed.members if allowed is not None else None

    @api.post(
        "/v1/org/invitations",
        tags=TAGS,
        status_code=HTTPStatus.CREATED,
        responses=problems(403, 404, 409, 422, 503),
    )
    async def invite_member(principal: Caller, body: NewInvitation, request: Request) -> InvitationCreated:
        """Invite a person, by a link that works once, for seven days. It is mailed if a mail server is set up."""
        key = await runtime.keyring.get(principal.org)
        invitation, secret = (
            runtime.new_id("invitation"),
            credential_secrets.generate(credential_secrets.INVITATION),
        )
        command = Invite(
            org=principal.org,
            by=principal.user,
            invitation=invitation,
            email=key.seal(body.email, email_context(invitation)) if body.email else None,
            role=body.role,
            hash=credential_secrets.digest(secret),
            expires_at=timestamp(runtime.clock() + INVITATION_LASTS),
            now=timestamp(runtime.clock()),
            seats=await seats(principal.org),
        )
        await directory.handle(command)
        return await sent(principal, request, invitation, secret, body.email, body.role, command.expires_at)

    @api.post(
        "/v1/org/invitations/{invitation}/send",
        tags=TAGS,
        responses=problems(403, 404, 503),
    )
    async def send_invitation_again(
        principal: Caller, invitation: str, request: Request
    ) -> InvitationCreated:
        """Send an invitation again, with a new link and seven more days. The earlier link stops working."""
        secret = credential_secrets.generate(credential_secrets.INVITATION)
        command = SendInvitationAgain(
            org=principal.org,
            by=principal.user,
            invitation=invitation,
            hash=credential_secrets.digest(secret),
            expires_at=timestamp(runtime.clock() + INVITATION_LASTS),
        )
        again = await directory.invite_again(command)
        email = await support.open(again.email, email_context(invitation))
        return await sent(principal, request, invitation, secret, email, again.role, command.expires_at)

    async def sent(
        principal: Principal,
        request: Request,
        invitation: str,
        secret: str,
        email: str | None,
        role: Role,
        expires_at: str,
    ) -> InvitationCreated:
        url = f"{own_origin(request)}/join?token={principal.org}.{invitation}.{secret}"
        mailed = False
        if email is not None:
            person = await view.person(runtime.pool, principal.user)
            inviter = await support.open(person[0] if person else None, name_context(principal.user))
            name = await view.organisation_name(runtime.pool, principal.org)
            org = await support.open(name, name_context(principal.org))
            mailed = await mailer.invite(
                email,
                org=org or principal.org,
                inviter=inviter or principal.user,
                role=role,
                url=url,
                expires_at=expires_at,
            )
        return InvitationCreated(id=invitation, url=url, expires_at=expires_at, mailed=mailed)

    @api.delete(
        "/v1/org/invitations/{invitation}",
        tags=TAGS,
        status_code=HTTPStatus.NO_CONTENT,
        responses=problems(403, 404, 503),
    )
    async def revoke_invitation(principal: Caller, invitation: str) -> Response:
        """Revoke an invitation: its link stops working."""
        command = RevokeInvitation(org=principal.org, by=principal.user, invitation=invitation)
        await directory.handle(command)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.post("/v1/invitations/accept", tags=TAGS, responses=problems(403, 404, 422, 503))
    async def accept_invitation(identity: Person, body: AcceptedInvitation, request: Request) -> OrgChanged:
        """Join the organisation of an invitation, as the caller."""
        guess(request, "accept_invitation", identity.user)
        org, _, rest = body.token.partition(".")
        invitation, _, secret = rest.partition(".")
        if not is_id("org", org) or not credential_secrets.is_well_formed(
            secret, credential_secrets.INVITATION
        ):
            raise InvitationNotFound
        command = AcceptInvitation(
            org=org,
            invitation=invitation,
            hash=credential_secrets.digest(secret),
            user=identity.user,
            now=timestamp(runtime.clock()),
            seats=await seats(org),
        )
        return await support.changed(org, await directory.handle(command))
