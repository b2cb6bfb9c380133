"""Corrections of charges: refunds and adjustments, each a transfer of today; no charge is ever changed.

What was refunded and adjusted stands on the request, where constraints bound it: refunds are at most the charge and at most what
the request costs after its adjustments. A correction first locks its request and then its account, everywhere in this order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import bindparam, literal_column, select, update

from omixa.billing import lots
from omixa.billing.ledger import Posting, post, system_account
from omixa.domain.money import format_usd
from omixa.errors import Conflict, InvalidRequest, RequestNotFound
from omixa.storage import outbox
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, request, transfer

REFUND_CREATED = "refund.created"

# "posted" and "unchanged" are as it should be, "repeated" was posted before. The others are left to people: "uncovered" is dearer
# than what the workspace has available, "refunded" is cheaper than what was already given back.
Verdict = Literal["posted", "unchanged", "repeated", "uncovered", "refunded"]


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund of a charge, in micro-USD. `repeated` says that it was made before, under the same key."""

    transfer_id: str
    request_id: str
    amount_micro_usd: int
    refunded_micro_usd: int
    charged_micro_usd: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What became of one request in a re-rating. Amounts are micro-USD; the difference is new less old."""

    request_id: str
    verdict: Verdict
    old_micro_usd: int
    new_micro_usd: int

    @property
    def difference_micro_usd(self) -> int:
        """Return how much more the request costs now."""
        return self.new_micro_usd - self.old_micro_usd


# An UPDATE that changes nothing is the lock that every database has.
_lock = (
    update(request)
    .where(request.c.id == bindparam("request_id"))
    .values(refunded_amount=request.c.refunded_amount)
    .returning(
        request.c.account_id,
        request.c.mode,
        request.c.state,
        request.c.charge_amount,
        request.c.refunded_amount,
        request.c.adjusted_amount,
    )
)
_corrected = select(request.c.charge_amount, request.c.refunded_amount, request.c.adjusted_amount).where(
    request.c.id == bindparam("request_id")
)
_add_refund = (
    update(request)
    .where(
        request.c.id == bindparam("request_id"),
        request.c.state == "captured",
        request.c.refunded_amount + bindparam("amount") <= request.c.charge_amount,
        request.c.refunded_amount + bindparam("amount") <= request.c.charge_amount + request.c.adjusted_amount,
    )
    .values(refunded_amount=request.c.refunded_amount + bindparam("amount"))
    .returning(request.c.account_id, request.c.mode, request.c.refunded_amount, request.c.charge_amount)
)
_add_adjustment = (
    update(request)
    .where(
        request.c.id == bindparam("request_id"),
        request.c.state == "captured",
        request.c.refunded_amount <= request.c.charge_amount + request.c.adjusted_amount + bindparam("difference"),
    )
    .values(adjusted_amount=request.c.adjusted_amount + bindparam("difference"))
)
_set_aside = (
    update(account)
    .where(account.c.id == bindparam("account_id"), account.c.posted - account.c.held >= bindparam("amount"))
    .values(held=account.c.held + bindparam("amount"))
)
# The kind stands in the statement itself, so that the index over charges alone serves it whatever the database plans.
_charge = select(transfer.c.id).where(
    transfer.c.request_id == bindparam("request_id"), transfer.c.kind == literal_column("'charge'")
)
_by_reference = select(transfer.c.id, transfer.c.amount).where(transfer.c.external_ref == bindparam("reference"))


def refund(
    tx: Transaction, request_id: str, amount_micro_usd: int | None, *, reason: str, key: str | None = None
) -> Refund:
    """Give back a part of a charge, or with None all that is left of it.

    The same `key` for the same request refunds once. Raises RequestNotFound, InvalidRequest when the request was not charged, and
    Conflict when less is left than asked for, or when the key was used for another amount.
    """
    row = tx.first(_lock, request_id=request_id)
    if row is None:
        raise RequestNotFound(f"There is no request {request_id[:80]}.")
    if not row["charge_amount"]:
        raise InvalidRequest(f"{request_id} was not charged: there is nothing to refund.", param="request")
    reference = None if key is None else f"refund:{request_id}:{key}"
    made = None if reference is None else tx.first(_by_reference, reference=reference)
    if made is not None:
        return _repeated(row, request_id, made, amount_micro_usd)
    left = _refundable(row)
    amount = left if amount_micro_usd is None else amount_micro_usd
    into = lots.refill(tx, request_id, amount)
    added = tx.first(_add_refund, request_id=request_id, amount=amount) if amount > 0 else None
    if added is None:
        raise Conflict(
            f"{request_id} was charged ${format_usd(row['charge_amount'])}, and ${format_usd(left)} of that can still be"
            " refunded."
        )
    charge = tx.first(_charge, request_id=request_id)
    assert charge is not None, "a charge above zero has its transfer"
    posting = Posting(
        debit=system_account(row["mode"], "revenue"),
        credit=row["account_id"],
        amount_micro_usd=amount,
        kind="refund",
        reason=reason,
        request_id=request_id,
        reverses_id=charge["id"],
        external_ref=reference,
        into=into,
    )
    (transfer_id,) = post(tx, row["account_id"], [posting])
    facts = {
        "request_id": request_id,
        "mode": row["mode"],
        "amount": format_usd(amount),
        "refunded": format_usd(added["refunded_amount"]),
        "billed": format_usd(row["charge_amount"]),
        "reason": reason,
    }
    outbox.put(tx, REFUND_CREATED, facts, message_id=transfer_id)
    return Refund(transfer_id, request_id, amount, added["refunded_amount"], row["charge_amount"], repeated=False)


def _refundable(row: Row) -> int:
    paid = row["charge_amount"] + min(row["adjusted_amount"], 0)
    return max(int(paid - row["refunded_amount"]), 0)


def _repeated(row: Row, request_id: str, made: Row, amount_micro_usd: int | None) -> Refund:
    if amount_micro_usd not in {None, made["amount"]}:
        raise Conflict(f"this key was used before, for a refund of ${format_usd(made['amount'])}")
    return Refund(made["id"], request_id, made["amount"], row["refunded_amount"], row["charge_amount"], repeated=True)


def adjust(tx: Transaction, request_id: str, new_micro_usd: int, *, reference: str, reason: str) -> Adjustment:
    """Make a captured request cost another amount, from now on, once for each reference.

    What the workspace paid too much is credited. What it paid too little is debited if that is available; nothing is posted that
    would touch what other requests hold.
    """
    row = tx.first(_lock, request_id=request_id)
    assert row is not None, "its usage was read from a captured request"
    wanted = _wanted(tx, row, request_id, new_micro_usd, reference)
    difference = wanted.difference_micro_usd
    if wanted.verdict != "posted":
        return wanted
    if difference > 0 and not tx.execute(_set_aside, account_id=row["account_id"], amount=difference):
        return replace(wanted, verdict="uncovered")
    into = lots.refill(tx, request_id, -difference) if difference < 0 else ()
    changed = tx.execute(_add_adjustment, request_id=request_id, difference=difference)
    assert changed, "the request is locked"
    revenue = system_account(row["mode"], "revenue")
    posting = Posting(
        debit=row["account_id"] if difference > 0 else revenue,
        credit=revenue if difference > 0 else row["account_id"],
        amount_micro_usd=abs(difference),
        kind="adjustment",
        reason=reason,
        request_id=request_id,
        external_ref=reference,
        into=into,
    )
    # What was set aside becomes the debit.
    post(tx, row["account_id"], [posting], released_micro_usd=max(difference, 0))
    return wanted


def foresee(tx: Transaction, request_id: str, new_micro_usd: int, *, reference: str, available: int) -> Adjustment:
    """Return what `adjust` would do when the workspace has this much available. Writes nothing."""
    row = tx.first(_corrected, request_id=request_id)
    assert row is not None, "its usage was read from a captured request"
    wanted = _wanted(tx, row, request_id, new_micro_usd, reference)
    uncovered = wanted.verdict == "posted" and wanted.difference_micro_usd > available
    return replace(wanted, verdict="uncovered") if uncovered else wanted


def _wanted(tx: Transaction, row: Row, request_id: str, new_micro_usd: int, reference: str) -> Adjustment:
    """Return what is to be done about a request, if only its account has the money."""
    wanted = Adjustment(request_id, "posted", row["charge_amount"] + row["adjusted_amount"], new_micro_usd)
    if tx.first(_by_reference, reference=reference) is not None:
        return replace(wanted, verdict="repeated")
    if not wanted.difference_micro_usd:
        return replace(wanted, verdict="unchanged")
    if new_micro_usd < row["refunded_amount"]:
        return replace(wanted, verdict="refunded")
    return wanted
