"""The composition root of auth."""

from remote_claude.access.scopes import ALL_SCOPES
from remote_claude.auth.handlers import ApiKeys
from remote_claude.runtime import owner
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire auth to what its process shares."""
    keys = ApiKeys(runtime.log, runtime.clock)

    async def issue_owners_key() -> None:
        if runtime.settings.owner_file is not None:
            local = owner.load(runtime.settings.owner_file)
            await keys.issue(
                key=local.key, org=local.org, user=local.user, secret=local.api_key, scopes=ALL_SCOPES
            )

    return Service(name="auth", on_start=issue_owners_key)
