"""The key that signs access tokens is replaced, and what the one before it signed stays good meanwhile."""

from datetime import timedelta

import pytest

from identity_stack import Installation
from remote_claude.auth.tickets import Tickets
from remote_claude.auth.token_signing import ROTATED_AFTER, SigningKeys

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_tokens_of_both_keys_are_good_while_one_replaces_the_other(installation: Installation) -> None:
    runtime = installation.host.runtime
    browser = await installation.browser()
    session = (await browser.get("/v1/session")).json()["session"]
    ahead = timedelta(0)
    keys = SigningKeys(runtime.log, Tickets(runtime.keyring, runtime.clock), lambda: runtime.clock() + ahead)

    async def published() -> list[str]:
        answer = await browser.get("/.well-known/jwks.json")
        return [key["kid"] for key in answer.json()["keys"]]

    await keys.rotate()
    [first] = await published()
    before = keys.token(installation.owner.user, session)
    ahead = ROTATED_AFTER + timedelta(minutes=1)
    await keys.rotate()
    ahead = timedelta(0)
    after = keys.token(installation.owner.user, session)
    assert await runtime.verifier.wait_for(await runtime.log.last_position(), 30)
    both = await published()
    assert (both[0], len(both)) == (first, 2)
    for token in (before, after):
        assert (await installation.client(token).get("/v1/me")).status_code == 200
