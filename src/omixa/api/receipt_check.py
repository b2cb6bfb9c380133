"""Is a receipt from somebody's files what the ledger says? Its hashes are computed again from its own fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from omixa.api import shapes
from omixa.billing.ledger import chain_hash
from omixa.domain.money import parse_usd
from omixa.domain.times import parse_iso_time


def transfer_hash(transfer: shapes.ReceiptTransfer) -> str:
    """Return the hash that follows from a transfer's fields as they stand on a receipt. Raises ValueError for impossible ones."""
    return chain_hash(
        {
            "id": transfer.id,
            "debit_account_id": transfer.debit_account,
            "credit_account_id": transfer.credit_account,
            "amount": parse_usd(transfer.amount),
            "kind": transfer.kind,
            "request_id": transfer.request_id,
            "reverses_id": transfer.reverses,
            "external_ref": transfer.external_ref,
            "reason": transfer.reason,
            "chain_account_id": transfer.chain_account,
            "chain_seq": transfer.chain_seq,
            "prev_hash": transfer.prev_hash,
            "at_ms": parse_iso_time(transfer.recorded_at),
        }
    )


def differences(receipt: shapes.RequestReceipt, stored: shapes.RequestReceipt) -> Iterator[str]:
    """Yield each field in which a receipt differs from the one that the ledger's rows make."""
    return _differences("", msgspec.to_builtins(receipt), msgspec.to_builtins(stored))


def _differences(place: str, one: Any, other: Any) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in other:
            yield from _differences(f"{place}.{name}".lstrip("."), one.get(name), other[name])
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differences(f"{place}[{number}]", mine, theirs)
    elif one != other:
        yield f"{place} is {_short(one)} on the receipt and {_short(other)} in the ledger"


def _short(value: Any) -> str:
    return f"{len(value)} entries" if isinstance(value, list) else repr(value)
