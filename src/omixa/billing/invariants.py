"""What must be true of the money at any moment, one small function for each invariant. docs/money.md explains them.

A function yields every row that it looks at as (subject, fault), where fault is None when the row is as it must be. Rows are
streamed; sums are the database's. Nothing here trusts the code that wrote the rows: each figure is computed from others.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, case, func, literal_column, or_, select, union_all

from omixa.billing.ledger import chain_hash
from omixa.billing.months import Line, read_lines
from omixa.domain.times import month_after
from omixa.storage.chain import AUDIT_COLUMNS, GENESIS_HASH, row_hash
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import (
    account,
    audit_log,
    grant_lot,
    hold_lot,
    is_correction,
    request,
    statement,
    topup,
    topup_reversal,
    transfer,
    usage_record,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What invariants look at: an open transaction, the time, and whether a result's file exists (None: not asked)."""

    tx: Transaction
    now_ms: int
    result_exists: Callable[[str], bool] | None


Checked = Iterator[tuple[str, str | None]]
Invariant = Callable[[Snapshot], Checked]


def fault_unless(right: bool, fault: str) -> str | None:
    """Return the fault, or None when the row is right."""
    return None if right else fault


# -------------------------------------------------------------------------------------------------------- I1, I2: balances

_credits = (
    select(transfer.c.credit_account_id.label("id"), func.sum(transfer.c.amount).label("total"))
    .group_by(transfer.c.credit_account_id)
    .subquery()
)
_debits = (
    select(transfer.c.debit_account_id.label("id"), func.sum(transfer.c.amount).label("total"))
    .group_by(transfer.c.debit_account_id)
    .subquery()
)
_holds = (
    select(request.c.account_id.label("id"), func.sum(request.c.hold_amount).label("total"))
    .where(request.c.state == literal_column("'held'"))
    .group_by(request.c.account_id)
    .subquery()
)
_balances = (
    select(
        account.c.id,
        account.c.posted,
        account.c.held,
        (func.coalesce(_credits.c.total, 0) - func.coalesce(_debits.c.total, 0)).label("moved"),
        func.coalesce(_holds.c.total, 0).label("on_hold"),
    )
    .outerjoin(_credits, _credits.c.id == account.c.id)
    .outerjoin(_debits, _debits.c.id == account.c.id)
    .outerjoin(_holds, _holds.c.id == account.c.id)
    .where(account.c.workspace_id.is_not(None))
)


def balances_follow_from_transfers_and_holds(at: Snapshot) -> Checked:
    """Check that each workspace account's posted balance is credits less debits, and held the sum of its holds."""
    for row in at.tx.each(_balances):
        expected = (row["moved"], row["on_hold"])
        actual = (row["posted"], row["held"])
        yield row["id"], fault_unless(actual == expected, f"posted and held are {actual}, the rows say {expected}")


def no_account_is_overdrawn(at: Snapshot) -> Checked:
    """Check that nothing held is below zero and no more is held than posted."""
    for row in at.tx.each(_balances):
        right = 0 <= row["held"] <= row["posted"]
        yield row["id"], fault_unless(right, f"{row['held']} held of {row['posted']}")


# --------------------------------------------------------------------------------------------------- I3, I4, I5: charges

_charges = (
    select(
        transfer.c.request_id,
        func.count().label("charges"),
        func.sum(transfer.c.amount).label("total"),
        func.min(transfer.c.debit_account_id).label("payer"),
    )
    .where(transfer.c.kind == literal_column("'charge'"))
    .group_by(transfer.c.request_id)
    .subquery()
)
_settled = (
    select(
        request.c.id,
        request.c.state,
        request.c.account_id,
        request.c.charge_amount,
        request.c.outcome,
        request.c.result_ref,
        usage_record.c.amount.label("rated"),
        func.coalesce(_charges.c.charges, 0).label("charges"),
        func.coalesce(_charges.c.total, 0).label("charged"),
        _charges.c.payer,
    )
    .outerjoin(usage_record, usage_record.c.request_id == request.c.id)
    .outerjoin(_charges, _charges.c.request_id == request.c.id)
)
_captured = _settled.where(request.c.state == "captured")
_not_captured = _settled.where(request.c.state != "captured")
_amounts = select(request.c.id, request.c.hold_amount, request.c.charge_amount).where(request.c.state == "captured")
_stray_charges = (
    select(transfer.c.id)
    .outerjoin(request, request.c.id == transfer.c.request_id)
    .where(transfer.c.kind == literal_column("'charge'"), request.c.id.is_(None))
)


def each_capture_is_one_charge(at: Snapshot) -> Checked:
    """Check that each capture has one usage record and, above zero, one charge of the same amount, and no charge stands alone."""
    for row in at.tx.each(_captured):
        amounts = {row["charge_amount"], row["charged"], row["rated"]}
        one = row["charges"] == (1 if row["charge_amount"] else 0)
        payer = row["payer"] in {None, row["account_id"]}
        right = len(amounts) == 1 and one and payer
        yield (
            row["id"],
            fault_unless(
                right,
                f"captured {row['charge_amount']}, usage record {row['rated']}, "
                f"{row['charges']} charges of {row['charged']} paid by {row['payer']}",
            ),
        )
    for row in at.tx.each(_stray_charges):
        yield row["id"], "a charge without a request"


def no_charge_without_a_capture(at: Snapshot) -> Checked:
    """Check that a request that is held or released has no charge, no usage record, no success and no result."""
    for row in at.tx.each(_not_captured):
        free = not row["charges"] and row["charge_amount"] is None and row["rated"] is None
        silent = row["outcome"] != "ok" and row["result_ref"] is None
        yield row["id"], fault_unless(free and silent, f"{row['state']}, yet charged {row['charged']} or answered")


def no_charge_above_its_hold(at: Snapshot) -> Checked:
    """Check that a charge is at most what was held for it."""
    for row in at.tx.each(_amounts):
        right = 0 <= row["charge_amount"] <= row["hold_amount"]
        yield row["id"], fault_unless(right, f"charged {row['charge_amount']} of a hold of {row['hold_amount']}")


# ------------------------------------------------------------------------------------------------------------ corrections

_refunded_charge = transfer.alias("refunded_charge")
_is_refund = transfer.c.kind == literal_column("'refund'")
_by_request = (
    select(
        transfer.c.request_id,
        func.sum(case((_is_refund, transfer.c.amount), else_=0)).label("refunded"),
        func.sum(
            case(
                (_is_refund, 0),
                (transfer.c.debit_account_id == transfer.c.chain_account_id, transfer.c.amount),
                else_=-transfer.c.amount,
            )
        ).label("adjusted"),
        func.sum(
            case(
                (_is_refund & (transfer.c.credit_account_id != transfer.c.chain_account_id), 1),
                (_is_refund & _refunded_charge.c.id.is_(None), 1),
                else_=0,
            )
        ).label("unbound"),
        func.min(transfer.c.chain_account_id).label("first_account"),
        func.max(transfer.c.chain_account_id).label("last_account"),
    )
    .select_from(transfer)
    .outerjoin(
        _refunded_charge,
        (_refunded_charge.c.id == transfer.c.reverses_id)
        & (_refunded_charge.c.kind == literal_column("'charge'"))
        & (_refunded_charge.c.request_id == transfer.c.request_id),
    )
    .where(is_correction)
    .group_by(transfer.c.request_id)
    .subquery()
)
_corrections = (
    select(
        request.c.id,
        request.c.account_id,
        request.c.refunded_amount,
        request.c.adjusted_amount,
        func.coalesce(request.c.charge_amount, 0).label("charged"),
        func.coalesce(_by_request.c.refunded, 0).label("refunded"),
        func.coalesce(_by_request.c.adjusted, 0).label("adjusted"),
        func.coalesce(_by_request.c.unbound, 0).label("unbound"),
        func.coalesce(_by_request.c.first_account, request.c.account_id).label("first_account"),
        func.coalesce(_by_request.c.last_account, request.c.account_id).label("last_account"),
    )
    .outerjoin(_by_request, _by_request.c.request_id == request.c.id)
    .where(
        or_(request.c.refunded_amount != 0, request.c.adjusted_amount != 0, _by_request.c.request_id.is_not(None)),
    )
)
_stray_corrections = select(transfer.c.id).where(is_correction, transfer.c.request_id.is_(None))


def corrections_stay_within_their_charge(at: Snapshot) -> Checked:
    """Check that refunds and adjustments are the sums of their transfers, and that nobody got back more than was charged."""
    for row in at.tx.each(_corrections):
        said, rows = (row["refunded_amount"], row["adjusted_amount"]), (row["refunded"], row["adjusted"])
        charged, refunded, adjusted = row["charged"], row["refunded"], row["adjusted"]
        right = said == rows and 0 <= refunded <= min(charged, charged + adjusted)
        bound = not row["unbound"] and row["first_account"] == row["last_account"] == row["account_id"]
        fault = f"charged {charged}, refunded and adjusted {said}, the transfers say {rows}, {row['unbound']} unbound"
        yield row["id"], fault_unless(right and bound, fault)
    for row in at.tx.each(_stray_corrections):
        yield row["id"], "a correction without a request"


# -------------------------------------------------------------------------------------------------------------- I5: lots

_remaining = (
    select(grant_lot.c.account_id.label("id"), func.sum(grant_lot.c.remaining).label("total"))
    .group_by(grant_lot.c.account_id)
    .subquery()
)
_spendable = (
    select(account.c.id, account.c.posted, func.coalesce(_remaining.c.total, 0).label("remaining"))
    .outerjoin(_remaining, _remaining.c.id == account.c.id)
    .where(account.c.workspace_id.is_not(None))
)
_is_held = request.c.state == literal_column("'held'")
# Everything that open requests pin, whichever of the two places names the lot.
_pins = union_all(
    select(
        request.c.id.label("request_id"), request.c.account_id, request.c.lot_id, request.c.hold_amount.label("amount")
    ).where(_is_held, request.c.lot_id.is_not(None)),
    select(request.c.id, request.c.account_id, hold_lot.c.lot_id, hold_lot.c.amount)
    .join(hold_lot, hold_lot.c.request_id == request.c.id)
    .where(_is_held),
).subquery()
_pinned_of_lot = select(_pins.c.lot_id, func.sum(_pins.c.amount).label("total")).group_by(_pins.c.lot_id).subquery()
_lots = select(grant_lot, func.coalesce(_pinned_of_lot.c.total, 0).label("pins")).outerjoin(
    _pinned_of_lot, _pinned_of_lot.c.lot_id == grant_lot.c.id
)
# Of the account that the lots of a hold belong to, smallest and largest are the same when it is one.
_pinned_by_request = (
    select(
        _pins.c.request_id,
        func.sum(_pins.c.amount).label("total"),
        func.min(grant_lot.c.account_id).label("first_owner"),
        func.max(grant_lot.c.account_id).label("last_owner"),
        func.count(grant_lot.c.id).label("known"),
        func.count().label("pins"),
    )
    .outerjoin(grant_lot, grant_lot.c.id == _pins.c.lot_id)
    .group_by(_pins.c.request_id)
    .subquery()
)
_held_requests = (
    select(request.c.id, request.c.account_id, request.c.hold_amount, _pinned_by_request)
    .outerjoin(_pinned_by_request, _pinned_by_request.c.request_id == request.c.id)
    .where(_is_held)
)
_brought = (
    select(grant_lot.c.transfer_id.label("id"), func.sum(grant_lot.c.amount).label("total"))
    .where(grant_lot.c.transfer_id.is_not(None))
    .group_by(grant_lot.c.transfer_id)
    .subquery()
)
_credit_of_lots = select(transfer.c.id, transfer.c.amount, _brought.c.total).join(
    _brought, _brought.c.id == transfer.c.id
)


def lots_are_what_accounts_have(at: Snapshot) -> Checked:
    """Check that each account's lots have remaining what it has posted, and that each lot pins what open requests hold of it."""
    for row in at.tx.each(_spendable):
        right = row["posted"] == row["remaining"]
        yield row["id"], fault_unless(right, f"posted {row['posted']}, its lots have {row['remaining']}")
    for row in at.tx.each(_lots):
        right = row["pinned"] == row["pins"] and 0 <= row["pinned"] <= row["remaining"] <= row["amount"]
        yield (
            row["id"],
            fault_unless(
                right,
                f"pinned {row['pinned']} of {row['remaining']} of {row['amount']}, open requests pin {row['pins']}",
            ),
        )
    for row in at.tx.each(_credit_of_lots):
        right = row["amount"] == row["total"]
        yield row["id"], fault_unless(right, f"brought {row['amount']}, its lots were granted {row['total']}")


def holds_are_pinned_to_lots(at: Snapshot) -> Checked:
    """Check that the lots of each open request add up to its hold and belong to its account."""
    for row in at.tx.each(_held_requests):
        if row["pins"] is None:
            yield row["id"], fault_unless(row["hold_amount"] == 0, f"holds {row['hold_amount']} and pins no lot")
            continue
        owned = row["known"] == row["pins"] and row["first_owner"] == row["last_owner"] == row["account_id"]
        right = owned and row["total"] == row["hold_amount"]
        yield row["id"], fault_unless(right, f"holds {row['hold_amount']}, its own lots pin {row['total']}")


# --------------------------------------------------------------------------------------------------------------- top-ups

_bought = transfer.alias("bought")
_taken_back = (
    select(
        transfer.c.reverses_id.label("id"),
        func.sum(case((transfer.c.kind == "reversal", transfer.c.amount), else_=-transfer.c.amount)).label("total"),
    )
    .where(transfer.c.kind.in_([literal_column("'reversal'"), literal_column("'reinstatement'")]))
    .group_by(transfer.c.reverses_id)
    .subquery()
)
_reversals = (
    select(
        topup_reversal.c.payment_id.label("id"),
        func.sum(case((topup_reversal.c.state == "won", 0), else_=topup_reversal.c.amount)).label("total"),
    )
    .group_by(topup_reversal.c.payment_id)
    .subquery()
)
_topups = (
    select(
        topup.c.id,
        topup.c.amount,
        topup.c.account_id,
        topup.c.reversed_amount,
        topup.c.transfer_id,
        _bought.c.amount.label("credited"),
        _bought.c.credit_account_id.label("account_credited"),
        func.coalesce(_taken_back.c.total, 0).label("taken_back"),
        func.coalesce(_reversals.c.total, 0).label("told"),
    )
    .outerjoin(_bought, _bought.c.id == topup.c.transfer_id)
    .outerjoin(_taken_back, _taken_back.c.id == topup.c.transfer_id)
    .outerjoin(_reversals, _reversals.c.id == topup.c.payment_id)
)


def topups_are_paid_once(at: Snapshot) -> Checked:
    """Check that a paid order credited its amount to its account once, and that what the payment's states say was taken back."""
    for row in at.tx.each(_topups):
        paid = row["transfer_id"] is not None
        credited = (row["credited"], row["account_credited"]) == (row["amount"], row["account_id"])
        reversed_amount = min(row["told"], row["amount"]) if paid else 0
        taken = row["reversed_amount"] == row["taken_back"] == reversed_amount
        fault = f"credited {row['credited']} of {row['amount']}, taken back {row['taken_back']} of {reversed_amount}"
        yield row["id"], fault_unless(credited == paid and taken, fault)


# ------------------------------------------------------------------------------------------------------------- statements

_all_statements = select(statement).order_by(statement.c.account_id, statement.c.month)
_hash_at = select(transfer.c.hash).where(
    transfer.c.chain_account_id == bindparam("account_id"), transfer.c.chain_seq == bindparam("seq")
)


def statements_are_what_moved(at: Snapshot) -> Checked:
    """Check that each statement opens where the one before closed, and that its lines are its transfers, to the micro."""
    account_id, closing, last_seq, month = "", 0, 0, ""
    for row in at.tx.each(_all_statements):
        if row["account_id"] != account_id:
            account_id, closing, last_seq, month = row["account_id"], 0, 0, ""
        lines = msgspec.json.decode(row["lines_json"], type=tuple[Line, ...])
        moved = read_lines(at.tx, account_id, after_seq=last_seq, last_seq=row["last_seq"])
        follows = row["opening"] == closing and (not month or _next_month(month) == row["month"])
        adds_up = lines == moved and row["closing"] == row["opening"] + sum(line.amount for line in moved)
        end = at.tx.first(_hash_at, account_id=account_id, seq=row["last_seq"])
        in_place = row["last_hash"] == (GENESIS_HASH if end is None else end["hash"])
        right = follows and adds_up and in_place and row["last_seq"] >= last_seq
        closing, last_seq, month = row["closing"], row["last_seq"], row["month"]
        yield f"{account_id} {month}", fault_unless(right, f"says {lines}, the transfers say {moved}")


def _next_month(month: str) -> str:
    return f"{month_after(datetime.date.fromisoformat(f'{month}-01')):%Y-%m}"


# ------------------------------------------------------------------------------------------------------------ I6: chains

_heads = select(account.c.id, account.c.workspace_id, account.c.seq, account.c.head_hash)
_chain = select(transfer).where(transfer.c.chain_account_id == bindparam("account_id")).order_by(transfer.c.chain_seq)
_audit_chain = select(audit_log).order_by(audit_log.c.seq)


def transfers_form_unbroken_chains(at: Snapshot) -> Checked:
    """Check that the transfers of each account form a chain of hashes from the first to the head, without a gap or a change."""
    for head in at.tx.each(_heads):
        seq, previous = 0, GENESIS_HASH
        for row in at.tx.each(_chain, account_id=head["id"]):
            seq += 1
            yield row["id"], _broken_link(row, seq, previous, head)
            previous = row["hash"]
        right = (seq, previous) == (head["seq"], head["head_hash"])
        yield head["id"], fault_unless(right, f"the account's head is transfer {head['seq']}, its chain ends at {seq}")


def _broken_link(row: Row, seq: int, previous: str, head: Row) -> str | None:
    if row["hash"] != chain_hash(row):
        return "the row differs from its hash"
    if (row["chain_seq"], row["prev_hash"]) != (seq, previous):
        return f"transfer {row['chain_seq']} does not continue the one before it"
    return fault_unless(head["workspace_id"] is not None, "a system account has no chain")


def audit_log_is_an_unbroken_chain(at: Snapshot) -> Checked:
    """Check that every entry of the audit log continues the chain of hashes."""
    previous = GENESIS_HASH
    for row in at.tx.each(_audit_chain):
        right = row["hash"] == row_hash(row, AUDIT_COLUMNS) and row["prev_hash"] == previous
        yield str(row["seq"]), fault_unless(right, "the entry was changed or does not continue the one before it")
        previous = row["hash"]
