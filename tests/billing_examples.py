"""One example of every published event of billing, every field filled in."""

from remote_claude.contracts import Event, Sealed
from remote_claude.contracts.billing import (
    AdjustmentPosted,
    CouponAssigned,
    CouponCreated,
    CouponRedeemed,
    CouponTerms,
    CreditGranted,
    CreditNoteIssued,
    CustomerDetailsChanged,
    Entitlements,
    InvoiceIssued,
    InvoiceNumberAssigned,
    InvoicePaid,
    MailFailed,
    MailSent,
    MeteredQuantity,
    ModelPricesPublished,
    PaymentFailed,
    PeriodClosed,
    PeriodOpened,
    Plan,
    PlanChanged,
    PlanChangeScheduled,
    PlansPublished,
    QuotaThresholdReached,
    Seller,
    StorageMeasured,
)
from remote_claude.contracts.model_prices import LongPrompt, ModelPrice, ModelPrices, TokenPrices
from remote_claude.contracts.payments import (
    CreditNoteMirrored,
    InvoiceMirrored,
    MirroringFailed,
    ReconciliationDrift,
    StripeObjectObserved,
    WebhookHandled,
    WebhookReceived,
)
from remote_claude.contracts.prices import (
    Allowance,
    Flat,
    Graduated,
    Minimum,
    PerUnit,
    PriceBook,
    Tier,
    Volume,
)

ORG, INVOICE = "org_01", "inv_01"
AT = "2026-12-01T00:00:00.000000Z"
SHA256 = "a" * 64
SEALED = Sealed(key="invoice_01", box="bm9uY2UgYW5kIGNpcGhlcnRleHQ=")
TOKENS = TokenPrices(input=5_000, output=25_000, cache_write_5m=6_250, cache_write_1h=10_000, cache_read=500)
ALLOWED = Entitlements(
    executions_per_month=100,
    vcpu_millis=2000,
    memory_mib=4096,
    duration_s=1800,
    concurrency=2,
    members=5,
    storage_bytes=2**30,
    model_nano_usd=10**11,
    overage=True,
    weight=4,
)
TIERS = (Tier(up_to=1000, price="11"), Tier(up_to=None, price="7.5"))
BOOK = PriceBook(
    version="pro-1",
    currency="usd",
    components=(
        Flat(amount="29000000000"),
        PerUnit(meter="executions", price="1000000"),
        Allowance(meter="executions", quantity=100),
        Graduated(meter="vcpu_ms", tiers=TIERS),
        Volume(meter="gib_ms", tiers=TIERS),
        PerUnit(meter="model_tokens", model="claude-opus-4", token="input", price="15000"),
        Minimum(amount="5000000000"),
    ),
)
DOCUMENT = {
    "org": ORG,
    "number": "INV-000001",
    "seller": "default",
    "currency": "usd",
    "total": 3451,
    "issued_at": AT,
    "json_sha256": SHA256,
    "pdf_sha256": SHA256,
    "renderer": "typst 0.15.0 invoice 1",
}

BILLING_EXAMPLES: tuple[Event, ...] = (
    PlansPublished(
        catalog="2026-11",
        plans=(
            Plan(
                plan="pro",
                version="pro-1",
                entitlements=ALLOWED,
                price_book=BOOK,
                upgrade_to="enterprise",
                self_service=True,
            ),
        ),
        seller=Seller(
            id="default",
            legal_name="Remote Claude",
            address=("1 Some Street", "Some Town"),
            tax_id="DE123456789",
            prefix="INV-",
            due_days=14,
            tax_percent={"DE": "19"},
        ),
        actor="operator",
    ),
    ModelPricesPublished(
        prices=ModelPrices(
            version="2026-12-own",
            web_search=10_000_000,
            models={
                "claude-opus-5": ModelPrice(
                    standard=TOKENS, fast=TOKENS, long=LongPrompt(above=100_000, prices=TOKENS)
                )
            },
        ),
        actor="operator",
    ),
    PlanChanged(
        org=ORG,
        plan="pro",
        plan_version="pro-1",
        anchor="2026-11-15T09:30:00.000000Z",
        entitlements=ALLOWED,
        price_book=BOOK,
        effective_at="2026-11-15T09:30:00.000000Z",
        proration="seconds",
        actor="user_01",
        reason="checkout",
        contract="C-17",
        upgrade="Ask for a larger plan.",
    ),
    PlanChangeScheduled(org=ORG, plan="free", effective_at=AT, actor="user_01", reason="cancelled"),
    PeriodOpened(
        org=ORG,
        period="2026-11",
        starts_at="2026-11-01T00:00:00.000000Z",
        ends_at=AT,
        plan="pro",
        plan_version="pro-1",
        price_book=BOOK,
        currency="usd",
        seller="default",
        customer=ORG,
    ),
    StorageMeasured(org=ORG, day="2026-11-24", size=2**30, measured_at=AT),
    PeriodClosed(org=ORG, period="2026-11", position=4711, actor="operator"),
    AdjustmentPosted(
        org=ORG,
        adjustment="adj_01",
        period="2026-10",
        position=4700,
        amount_nano=-1100,
        quantities=(
            MeteredQuantity(
                meter="model_tokens", model="claude-opus-4", token="input", segment=1, quantity=-100
            ),
        ),
        reason="late_usage",
        actor="billing",
    ),
    CouponCreated(
        coupon="welcome-20",
        terms=CouponTerms(percent="20", periods=3),
        redeem_by="2026-12-31T23:59:59.999999Z",
        max_redemptions=100,
        actor="operator",
    ),
    CouponAssigned(coupon="ten-dollars", customer=ORG),
    CouponRedeemed(
        org=ORG, coupon="ten-dollars", terms=CouponTerms(amount_nano=10_000_000_000), actor="user_01"
    ),
    CreditGranted(
        org=ORG,
        credit="credit_01",
        amount_nano=10**10,
        currency="usd",
        expires_at=AT,
        reason="goodwill",
        actor="operator",
    ),
    CustomerDetailsChanged(org=ORG, details=SEALED, country="DE", mailed=True, actor="user_01"),
    InvoiceNumberAssigned(seller="default", number=1, customer=ORG, document=INVOICE),
    InvoiceIssued(
        **DOCUMENT,
        invoice=INVOICE,
        period="2026-11",
        closed_at=4712,
        due_at="2026-12-15T00:00:00.000000Z",
        subtotal=2900,
        tax=551,
        credits_used={"credit_01": 10**9},
        coupons_used={"welcome-20": 10**9},
        adjustments=("adj_01",),
        carried_nano=5,
        customer=SEALED,
    ),
    CreditNoteIssued(
        **DOCUMENT,
        invoice="inv_02",
        corrects=INVOICE,
        tax=551,
        refund="stripe",
        reason="charged twice",
        actor="operator",
    ),
    InvoicePaid(
        org=ORG,
        invoice=INVOICE,
        amount=3451,
        currency="usd",
        method="stripe",
        reference="in_1",
        paid_at=AT,
        actor="billing",
    ),
    PaymentFailed(org=ORG, invoice=INVOICE, attempt=1, reason="card_declined", reference="in_1", retry_at=AT),
    WebhookReceived(
        webhook="hook_01",
        provider="stripe",
        provider_event="evt_1",
        kind="invoice.paid",
        object="in_1",
        api_version="2026-10-28.endive",
        payload_sha256=SHA256,
    ),
    WebhookHandled(webhook="hook_01", outcome="observed"),
    StripeObjectObserved(
        org=ORG,
        kind="invoice",
        object="in_1",
        status="paid",
        customer="cus_1",
        plan="pro",
        invoice=INVOICE,
        attempt=1,
        amount=3451,
        observed_at=AT,
    ),
    InvoiceMirrored(org=ORG, invoice=INVOICE, object="in_1", status="open", page="https://invoice.example/1"),
    CreditNoteMirrored(org=ORG, invoice="inv_02", object="cn_1", status="issued"),
    QuotaThresholdReached(org=ORG, period="2026-11", meter="executions", percent=80, used=80, limit=100),
    MailSent(org=ORG, about="invoice", reference=INVOICE),
    MailFailed(org=ORG, about="invoice", reference=INVOICE, reason="refused"),
    MirroringFailed(org=ORG, invoice=INVOICE, reason="refused"),
    ReconciliationDrift(org=ORG, invoice=INVOICE, object="in_1", field="total", ours="3451", theirs="3450"),
)
