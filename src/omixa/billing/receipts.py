"""What a receipt says, read from stored rows alone: the same today, after a restart and in ten years."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import bindparam, literal_column, select

from omixa.billing.ledger import chain_hash
from omixa.billing.prices import load_prices
from omixa.billing.pricing import Charge, rate
from omixa.domain.access import Mode
from omixa.domain.images import Usage
from omixa.domain.models import PriceList
from omixa.storage.chain import GENESIS_HASH
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, attempt, is_correction, request, transfer, usage_record, workspace


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a provider. `cost_pico_usd` is what it costs the operator, as far as `cost_basis` knows.

    `late_at_ms` is when its answer came after it had been given up.
    """

    n: int
    image_index: int
    deployment: str
    state: str
    error_code: str | None
    cost_pico_usd: int | None
    cost_basis: Literal["reported", "estimated", "none"] | None
    sent_at_ms: int
    ended_at_ms: int | None
    late_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A request that has ended. Amounts are micro-USD, times Unix milliseconds.

    `charge` is None for a request that was released: it cost nothing. `billed` is the charge or, if lower, the hold.
    `transfers` are the rows of the ledger that moved money for it: the charge, none where there is nothing to pay, then
    refunds and adjustments in their order.
    """

    request_id: str
    workspace: str
    mode: Mode
    key_id: str
    model: str
    operation: Literal["generation", "edit"]
    parameters: Mapping[str, Any]
    state: Literal["captured", "released"]
    outcome: str
    created_at_ms: int
    ended_at_ms: int
    held: int
    billed: int
    prices: PriceList
    usages: tuple[Usage, ...]
    charge: Charge | None
    calls: tuple[Call, ...]
    transfers: tuple[Row, ...]

    @property
    def refunded(self) -> int:
        """Return what was given back of the charge."""
        return sum(row["amount"] for row in self.transfers if row["kind"] == "refund")

    @property
    def adjusted(self) -> int:
        """Return what re-ratings added to the charge; below zero it was credited."""
        adjustments = [row for row in self.transfers if row["kind"] == "adjustment"]
        return sum(
            row["amount"] if row["debit_account_id"] == row["chain_account_id"] else -row["amount"]
            for row in adjustments
        )

    def as_of(self, transfers: int) -> Receipt:
        """Return the receipt as it was when there were only so many transfers; a charge is there from the beginning."""
        return replace(self, transfers=self.transfers[: max(transfers, 1)])

    @property
    def absorbed(self) -> int:
        """Return what the pictures cost beyond the hold: the operator bears it."""
        return 0 if self.charge is None else self.charge.amount_micro_usd - self.billed


_request = (
    select(
        request,
        workspace.c.name.label("workspace"),
        usage_record.c.usage_json,
    )
    .join(workspace, workspace.c.id == request.c.workspace_id)
    .outerjoin(usage_record, usage_record.c.request_id == request.c.id)
    .where(request.c.id == bindparam("request_id"))
)
_CALL_COLUMNS = tuple(Call.__dataclass_fields__)
_calls = (
    select(*(attempt.c[name] for name in _CALL_COLUMNS))
    .where(attempt.c.request_id == bindparam("request_id"))
    .order_by(attempt.c.n)
)
# Two queries, written out, because each kind has its index.
_charge = select(transfer).where(
    transfer.c.request_id == bindparam("request_id"), transfer.c.kind == literal_column("'charge'")
)
_corrections = (
    select(transfer)
    .where(transfer.c.request_id == bindparam("request_id"), is_correction)
    .order_by(transfer.c.chain_seq)
)


def read_receipt(tx: Transaction, request_id: str) -> Receipt | None:
    """Return the receipt of a request, or None when there is no such request or it still runs."""
    row = tx.first(_request, request_id=request_id)
    if row is None or row["state"] == "held":
        return None
    prices = load_prices(tx, row["price_version_id"])
    usages = () if row["usage_json"] is None else msgspec.json.decode(row["usage_json"], type=tuple[Usage, ...])
    return Receipt(
        request_id=row["id"],
        workspace=row["workspace"],
        mode=row["mode"],
        key_id=row["key_id"],
        model=row["model"],
        operation=row["operation"],
        parameters=msgspec.json.decode(row["parameters_json"]),
        state=row["state"],
        outcome=row["outcome"],
        created_at_ms=row["created_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        held=row["hold_amount"],
        billed=row["charge_amount"] or 0,
        prices=prices,
        usages=usages,
        charge=rate(usages, prices, markup_ppm=row["markup_ppm"]) if usages else None,
        calls=tuple(
            Call(**{name: call[name] for name in _CALL_COLUMNS}) for call in tx.all(_calls, request_id=request_id)
        ),
        transfers=(*tx.all(_charge, request_id=request_id), *tx.all(_corrections, request_id=request_id)),
    )


# ---------------------------------------------------------------------------------------------------------------- chains

_head = select(account.c.seq, account.c.head_hash).where(account.c.id == bindparam("account_id"))
_chain = select(transfer).where(transfer.c.chain_account_id == bindparam("account_id")).order_by(transfer.c.chain_seq)


def chain_faults(tx: Transaction, account_ids: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with accounts' chains of hashes, from the first transfer to the head; nothing when they are whole."""
    for account_id in account_ids:
        seq, previous = 0, GENESIS_HASH
        for row in tx.each(_chain, account_id=account_id):
            seq += 1
            if (row["chain_seq"], row["prev_hash"], row["hash"]) != (seq, previous, chain_hash(row)):
                yield f"transfer {seq} of account {account_id} was changed, or does not continue the one before it"
                break
            previous = row["hash"]
        head = tx.first(_head, account_id=account_id)
        if head is None or (head["seq"], head["head_hash"]) != (seq, previous):
            yield f"the chain of account {account_id} does not reach its head"
