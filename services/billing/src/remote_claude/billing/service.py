"""The composition root of billing."""

from remote_claude.billing import api
from remote_claude.billing.consumers import AccountOpener
from remote_claude.billing.handlers import Accounts
from remote_claude.billing.metrics import Audit
from remote_claude.billing.projections.usage import UsageView
from remote_claude.billing.settings import BillingSettings
from remote_claude.contracts.billing import Entitlements
from remote_claude.runtime import owner
from remote_claude.runtime.service import Runtime, Service


def build(runtime: Runtime) -> Service:
    """Wire billing to what its process shares."""
    settings = BillingSettings.from_environment()
    accounts = Accounts(runtime.log, runtime.clock)
    opener = AccountOpener(runtime.log, runtime.tail, runtime.clock, accounts, settings.default_plan)

    async def open_owners_account() -> None:
        if runtime.settings.owner_file is not None:
            allowed = Entitlements(
                executions_per_month=None,
                vcpu_millis=settings.owner_vcpu_millis,
                memory_mib=settings.owner_memory_mib,
                duration_s=settings.owner_duration_s,
            )
            await accounts.open_account(owner.load(runtime.settings.owner_file).org, "self-hosted", allowed)

    return Service(
        name="billing",
        router=api.router(runtime),
        views=(UsageView(),),
        on_start=open_owners_account,
        background={
            "open accounts": opener.open_accounts,
            "roll periods": opener.roll_periods,
            "add up": Audit(runtime).run,
        },
    )
