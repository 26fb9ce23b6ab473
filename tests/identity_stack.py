"""Auth, users and the gateway in one process, with a local owner: real broker, real PostgreSQL, real HTTP."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from gateway_stack import eventually
from remote_claude.access import credential_secrets
from remote_claude.access.scopes import ALL_SCOPES
from remote_claude.auth.handlers import ApiKeys
from remote_claude.auth.service import build as build_auth
from remote_claude.gateway.service import build as build_gateway
from remote_claude.runtime import owner
from remote_claude.runtime.embedded.home import free_port
from remote_claude.runtime.host import Host, hosting
from remote_claude.runtime.owner import LocalOwner
from remote_claude.runtime.service import Build
from remote_claude.users.handlers import Directory
from remote_claude.users.service import build as build_users
from servers import Broker, settings_for

CSRF = "X-CSRF-Token"


@dataclass
class Installation:
    """Three services that identity is about, and the owner of the installation."""

    host: Host
    owner: LocalOwner
    clients: list[httpx2.AsyncClient] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.host.port}"

    def client(self, token: str | None = None) -> httpx2.AsyncClient:
        """A client of its own cookies; `token` is a key or an access token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        made = httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30)
        self.clients.append(made)
        return made

    @property
    def by_key(self) -> httpx2.AsyncClient:
        """The owner, by the owner's API key."""
        return self.client(self.owner.api_key)

    async def another(self, name: str) -> tuple[str, httpx2.AsyncClient]:
        """Another person, with a personal organisation: their id, and a browser that they are signed in with."""
        runtime = self.host.runtime
        user, org, key = runtime.new_id("user"), runtime.new_id("org"), credential_secrets.generate()
        directory = Directory(runtime.log, runtime.keyring, runtime.clock)
        await directory.register(user, name)
        await directory.create_org(org, f"{name}'s organisation", user, personal=True)
        issued = await ApiKeys(runtime.log, runtime.clock).issue(
            key=runtime.new_id("key"), org=org, user=user, secret=key, scopes=ALL_SCOPES
        )
        assert await runtime.verifier.wait_for(issued, 30)
        return user, await self.browser(self.client(key))

    async def browser(self, by: httpx2.AsyncClient | None = None) -> httpx2.AsyncClient:
        """A browser that the owner, or the person `by`, has signed in with a link; it sends the CSRF token along."""
        link = (await (by or self.by_key).post("/v1/session/links")).json()["url"]
        browser = self.client()
        answer = await browser.get(link)
        assert answer.status_code == 303, answer.text
        browser.headers[CSRF] = (await browser.get("/v1/session")).json()["csrf_token"]
        return browser


@asynccontextmanager
async def installed(
    broker: Broker,
    dsn: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    public_url: str = "",
    rate_limits: str = "",
    port: int | None = None,
    more: Sequence[Build] = (),
) -> AsyncIterator[Installation]:
    """Run it for as long as the context lasts."""
    local = owner.ensure(folder / "owner.json")
    settings = settings_for(broker, dsn, folder).model_copy(
        update={
            "owner_file": folder / "owner.json",
            "public_url": public_url,
            "rate_limits": rate_limits,
            "http_port": port or free_port(),
        }
    )
    async with hosting(
        [build_auth, build_users, build_gateway, *more], settings, environment or {}, name="identity"
    ) as host:
        installation = Installation(host, local)
        try:
            anonymous = installation.client()

            async def ready() -> bool:
                return (await anonymous.get("/readyz")).is_success

            await eventually(ready, "the services are ready", 60)
            yield installation
        finally:
            for client in installation.clients:
                await client.aclose()
