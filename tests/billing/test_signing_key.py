"""The seller's signing key: made for a new installation, and never a second time beside invoices."""

from pathlib import Path

import pytest

from event_examples import EXAMPLES
from product import Product
from remote_claude.billing.invoice_signing import SigningKey, SigningKeyLost, make_unless_lost
from remote_claude.contracts import REGISTRY
from remote_claude.contracts.billing import InvoiceIssued
from remote_claude.eventsourcing.events import NewEvent
from remote_claude.eventsourcing.memory import InMemoryEventLog


async def test_a_lost_signing_key_is_not_made_again_beside_invoices(tmp_path: Path) -> None:
    log, key = InMemoryEventLog(REGISTRY), SigningKey(tmp_path / "billing_key")
    await make_unless_lost(key, log)
    first = key.public
    issued = next(event for event in EXAMPLES if isinstance(event, InvoiceIssued))
    new = NewEvent(event=issued, event_id="1", occurred_at="2026-12-01T00:00:00.000000Z")
    await log.append(f"ev.billing.{issued.org}.account.{issued.org}", [new], expected_position=0)
    await make_unless_lost(SigningKey(key.path), log)
    key.path.unlink()
    with pytest.raises(SigningKeyLost, match="new-signing-key"):
        await make_unless_lost(SigningKey(key.path), log)

    done = Product(tmp_path).admin("billing", "new-signing-key")
    assert done.code == 0, done.err
    await make_unless_lost(SigningKey(key.path), log)
    assert SigningKey(key.path).public == key.public_path.read_text() != first
    assert Product(tmp_path).admin("billing", "new-signing-key").code != 0
