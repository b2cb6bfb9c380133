"""Top-ups: orders that are paid elsewhere, the credit they bring once, and what is taken back of it. Functions of a transaction.

Every event may come twice, late and in any order. A payment credits its order's account once: the order moves from open to
paid, and its transfer has a unique reference. Refunds and disputes are kept as states, not as steps: what is to be taken back
follows from all that is known of a payment, and only the difference to what was taken back before is posted. Events take the
lock of the cash account one after the other, so that none misses another. Play money is not for sale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import bindparam, case, func, select, update

from omixa.billing import lots
from omixa.billing.ledger import Posting, balance, lock_account, post, system_account
from omixa.domain.ids import new_id
from omixa.domain.money import format_usd
from omixa.errors import InvalidRequest
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import topup, topup_reversal, workspace

_CASH = system_account("live", "cash")

ReversalState = Literal["refunded", "open", "won", "lost"]


@dataclass(frozen=True, slots=True)
class Reversal:
    """What a payment provider says of money that it took back: the amount so far, of one refunded charge or one dispute."""

    id: str
    payment_id: str
    amount_micro_usd: int
    state: ReversalState


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken back of a top-up, or given again below zero. `owed_micro_usd` the workspace had spent already."""

    topup_id: str
    workspace_id: str
    amount_micro_usd: int
    owed_micro_usd: int


_insert_topup = insert_into(topup, "id", "workspace_id", "account_id", "key_id", "person_id", "amount", "created_at_ms")
_topup_by_id = select(topup).where(topup.c.id == bindparam("topup_id"))
_topup_by_payment = select(topup).where(topup.c.payment_id == bindparam("payment_id"))
_set_paid = (
    update(topup)
    .where(topup.c.id == bindparam("topup_id"), topup.c.transfer_id.is_(None))
    .values(transfer_id=bindparam("transfer_id"), payment_id=bindparam("payment_id"), paid_at_ms=bindparam("now"))
)
_set_reversed = (
    update(topup).where(topup.c.id == bindparam("topup_id")).values(reversed_amount=bindparam("reversed_amount"))
)
_reversal = select(topup_reversal).where(topup_reversal.c.id == bindparam("reversal_id"))
_insert_reversal = insert_into(topup_reversal)
_set_reversal = (
    update(topup_reversal)
    .where(topup_reversal.c.id == bindparam("reversal_id"))
    .values(amount=bindparam("amount"), state=bindparam("state"))
)
_reversed_of_payment = select(
    func.coalesce(func.sum(case((topup_reversal.c.state == "won", 0), else_=topup_reversal.c.amount)), 0).label("total")
).where(topup_reversal.c.payment_id == bindparam("payment_id"))
_suspend = (
    update(workspace)
    .where(workspace.c.id == bindparam("workspace_id"), workspace.c.suspended_at_ms.is_(None))
    .values(suspended_at_ms=bindparam("now"))
)


def order(
    tx: Transaction,
    *,
    workspace_id: str,
    account_id: str,
    amount_micro_usd: int,
    key_id: str | None = None,
    person_id: str | None = None,
) -> str:
    """Record what somebody is about to pay, by a key or in person, and return the order's id."""
    identifier = new_id("top")
    tx.execute(
        _insert_topup,
        id=identifier,
        workspace_id=workspace_id,
        account_id=account_id,
        key_id=key_id,
        person_id=person_id,
        amount=amount_micro_usd,
        created_at_ms=tx.now_ms(),
    )
    return identifier


def book(
    tx: Transaction,
    topup_id: str,
    *,
    workspace_id: str | None,
    amount_micro_usd: int | None,
    session_id: str,
    payment_id: str | None,
) -> tuple[str | None, Taken | None]:
    """Credit an order that was paid. Returns the transfer, None for an order that was paid before, and what was already reversed.

    Raises InvalidRequest when there is no such order or it says something else: then nothing is credited.
    """
    row = tx.first(_topup_by_id, topup_id=topup_id)
    if row is None or (row["workspace_id"], row["amount"]) != (workspace_id, amount_micro_usd):
        raise InvalidRequest(
            f"The payment for {topup_id[:80]} names another workspace or amount than the order.",
            code="payment_mismatch",
        )
    lock_account(tx, _CASH)
    row = tx.first(_topup_by_id, topup_id=topup_id)
    assert row is not None, "orders are never deleted"
    if row["transfer_id"] is not None:
        return None, None
    credit = Posting(
        _CASH,
        row["account_id"],
        row["amount"],
        "topup",
        f"top-up {topup_id}",
        external_ref=f"topup/{session_id}",
    )
    (transfer_id,) = post(tx, row["account_id"], [credit])
    tx.execute(_set_paid, topup_id=topup_id, transfer_id=transfer_id, payment_id=payment_id, now=tx.now_ms())
    return transfer_id, None if payment_id is None else _take_back(tx, payment_id)


def reverse(tx: Transaction, reversal: Reversal) -> Taken | None:
    """Record a refund or the state of a dispute, and take back or give again what follows. None when nothing changes.

    A payment that is not known yet may become known later: what is recorded now counts then.
    """
    lock_account(tx, _CASH)
    known = tx.first(_reversal, reversal_id=reversal.id)
    if known is None:
        tx.execute(
            _insert_reversal,
            id=reversal.id,
            payment_id=reversal.payment_id,
            amount=reversal.amount_micro_usd,
            state=reversal.state,
        )
    else:
        amount, state = _later(known, reversal)
        tx.execute(_set_reversal, reversal_id=reversal.id, amount=amount, state=state)
    return _take_back(tx, reversal.payment_id)


def _later(known: Row, reversal: Reversal) -> tuple[int, str]:
    """Return the later one of two states of the same reversal, whichever came first: refunds grow, disputes end once."""
    ended = known["state"] in {"won", "lost"}
    return max(known["amount"], reversal.amount_micro_usd), known["state"] if ended else reversal.state


def _take_back(tx: Transaction, payment_id: str) -> Taken | None:
    row = tx.first(_topup_by_payment, payment_id=payment_id)
    total = tx.first(_reversed_of_payment, payment_id=payment_id)
    if row is None or total is None:
        return None
    wanted = min(total["total"], row["amount"])
    difference = wanted - row["reversed_amount"]
    if not difference:
        return None
    tx.execute(_set_reversed, topup_id=row["id"], reversed_amount=wanted)
    owed = _give_again(tx, row, -difference) if difference < 0 else _debit(tx, row, difference)
    if owed:
        tx.execute(_suspend, workspace_id=row["workspace_id"], now=tx.now_ms())
    return Taken(row["id"], row["workspace_id"], difference, owed)


def _give_again(tx: Transaction, row: Row, amount: int) -> int:
    account_id = row["account_id"]
    reason = f"top-up {row['id']} given again"
    post(tx, account_id, [Posting(_CASH, account_id, amount, "reinstatement", reason, reverses_id=row["transfer_id"])])
    return 0


def _debit(tx: Transaction, row: Row, amount: int) -> int:
    """Take an amount back, of the top-up's own lot first, and return how much of it had been spent.

    That part is lent: a transfer from the receivables covers it, so that the account goes down to what is on hold and no further.
    """
    account_id = row["account_id"]
    lock_account(tx, account_id)
    owed = max(amount - balance(tx, account_id).available, 0)
    reason = f"top-up {row['id']} taken back"
    if owed:
        receivable = system_account("live", "receivable")
        text = f"${format_usd(owed)} of top-up {row['id']} had been spent"
        post(tx, account_id, [Posting(receivable, account_id, owed, "receivable", text)])
    own = lots.free_of_transfer(tx, row["transfer_id"])
    postings = []
    for share in own:
        taken = min(share.amount, amount)
        amount -= taken
        if taken:
            postings.append(
                Posting(
                    account_id, _CASH, taken, "reversal", reason, reverses_id=row["transfer_id"], from_lot=share.lot_id
                )
            )
    if amount:
        postings.append(Posting(account_id, _CASH, amount, "reversal", reason, reverses_id=row["transfer_id"]))
    post(tx, account_id, postings)
    return owed
