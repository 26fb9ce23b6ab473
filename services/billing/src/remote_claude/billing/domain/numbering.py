"""The numbers of a seller's invoices and credit notes: each document has one, without gaps."""

from __future__ import annotations

from typing import Any

from remote_claude.contracts.billing import InvoiceNumberAssigned
from remote_claude.eventsourcing import Decider


def _assign(command: InvoiceNumberAssigned, state: tuple[int, dict[str, int]]) -> list[InvoiceNumberAssigned]:
    last, known = state
    if command.document in known:
        return []
    return [command.model_copy(update={"number": last + 1})]


def _numbered(state: tuple[int, dict[str, int]], event: InvoiceNumberAssigned) -> tuple[int, dict[str, int]]:
    return event.number, {**state[1], event.document: event.number}


NUMBERS = Decider[Any, Any]((0, {}), _assign, _numbered)
"""The numbers of one seller: (the last one, number by document)."""
