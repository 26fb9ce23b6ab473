"""The composition root of auth."""

from fastapi import APIRouter

from remote_claude.access.scopes import ALL_SCOPES
from remote_claude.auth.api import keys as key_routes
from remote_claude.auth.api import sessions as session_routes
from remote_claude.auth.api.oauth import OAuth
from remote_claude.auth.api.sign_in import SignIn
from remote_claude.auth.consumers import IdentityErasures
from remote_claude.auth.handlers import ApiKeys, Devices, Identities, Sessions
from remote_claude.auth.projections.credentials import CredentialsView
from remote_claude.auth.providers import configured
from remote_claude.auth.settings import AuthSettings
from remote_claude.auth.tickets import Tickets
from remote_claude.auth.token_signing import SigningKeys
from remote_claude.contracts.requests import REPORT_USED_KEYS
from remote_claude.eventsourcing.jetstream.streams import check_keys
from remote_claude.runtime import owner
from remote_claude.runtime.broker.request_handlers import answer_requests
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire auth to what its process shares."""
    keys = ApiKeys(runtime.log, runtime.clock)
    sessions = Sessions(runtime.log, runtime.keyring, runtime.clock)
    tickets = Tickets(runtime.keyring, runtime.clock)
    settings = AuthSettings.from_environment(runtime.environment)
    identities = Identities(runtime.log, runtime.keyring, tickets, runtime.clock, runtime.new_id)
    signing = SigningKeys(runtime.log, tickets, runtime.clock)

    async def start() -> None:
        await check_keys(runtime.nats)  # otherwise a new key would be made where the bucket was lost
        await tickets.create_key()
        await signing.rotate()
        if runtime.settings.owner_file is not None:
            local = owner.load(runtime.settings.owner_file)
            await keys.issue(
                key=local.key, org=local.org, user=local.user, secret=local.api_key, scopes=ALL_SCOPES
            )

    api = APIRouter()
    session_routes.add_routes(api, runtime, sessions, tickets)
    key_routes.add_routes(api, runtime, keys, sessions, identities)
    providers = configured(settings, runtime.clock)
    devices = Devices(runtime.log, runtime.clock)
    SignIn(runtime, providers, identities, sessions, tickets).add_routes(api)
    OAuth(runtime, providers, identities, sessions, devices, tickets, signing).add_routes(api)
    return Service(
        name="auth",
        router=api,
        views=(CredentialsView(),),
        on_start=start,
        background={
            "signing keys": signing.run,
            "used keys": lambda: answer_requests(runtime.nats, {REPORT_USED_KEYS: keys.note_uses}),
            "erasures": IdentityErasures(runtime.log, runtime.tail, identities).run,
        },
    )
