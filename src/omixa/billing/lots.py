"""Credit as lots: what was granted together, is burned in one order and may expire. Functions of an open transaction.

Whoever changes an account's lots has updated the account's row before, in the same transaction: that row's lock is what makes
it safe to read lots and then change them. Every change is guarded by the table's constraint 0 <= pinned <= remaining <= amount
all the same.

A hold pins the lots it will be charged to. Nearly always that is one lot, and the request's own row names it in `lot_id`; only
a hold that no single lot covers has rows in hold_lot. docs/decisions/0005 tells why.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Integer, bindparam, literal_column, select, update

from omixa.domain.ids import new_id
from omixa.errors import InternalError
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import account, grant_lot, hold_lot, request

LotKind = Literal["paid", "promo"]

# What operators may give as a priority; the smallest burns first.
MIN_PRIORITY, MAX_PRIORITY = -100, 100

# How much longer credit lasts that comes back.
REFUND_GRACE_MS = 7 * 86_400_000

# Lots that are read at first; only an account of very small lots ever needs more.
_FIRST_LOTS = 16


@dataclass(frozen=True, slots=True)
class LotTerms:
    """How credit is burned: smaller priorities first; from `expires_at_ms` on, what nothing has pinned is gone."""

    kind: LotKind = "paid"
    priority: int = 0
    expires_at_ms: int | None = None


PAID = LotTerms()


@dataclass(frozen=True, slots=True)
class NewLot:
    """Credit of some terms, in micro-USD."""

    amount: int
    terms: LotTerms


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one lot, in micro-USD."""

    lot_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Settled:
    """A hold that has ended, and its charge; 0 for a release."""

    request_id: str
    lot_id: str | None
    held: int
    charged: int


@dataclass(frozen=True, slots=True)
class Lot:
    """A lot as operators see it."""

    id: str
    amount: int
    remaining: int
    pinned: int
    terms: LotTerms
    effective_at_ms: int


# The kind is in it by its name: promo comes after paid in the alphabet and burns before it.
BURN_ORDER = (
    grant_lot.c.priority,
    grant_lot.c.expires_at_ms.nulls_last(),
    grant_lot.c.kind.desc(),
    grant_lot.c.id,
)
# The constant is written into the statements, so that the indexes over open lots alone serve them.
_open = grant_lot.c.remaining > literal_column("0")
_free = grant_lot.c.remaining - grant_lot.c.pinned
_has_free = (_open, grant_lot.c.remaining > grant_lot.c.pinned)

_insert_lot = insert_into(grant_lot)
_free_lots = (
    select(grant_lot.c.id, _free.label("free"))
    .where(grant_lot.c.account_id == bindparam("account_id"), *_has_free)
    .order_by(*BURN_ORDER)
    .limit(bindparam("limit", type_=Integer))
)
_pin = (
    update(grant_lot)
    .where(grant_lot.c.id == bindparam("lot_id"))
    .values(pinned=grant_lot.c.pinned + bindparam("amount"))
)
_free_of_transfer = (
    select(grant_lot.c.id, _free.label("free"))
    .where(grant_lot.c.transfer_id == bindparam("transfer_id"), *_has_free)
    .order_by(*BURN_ORDER)
)
_insert_pin = insert_into(hold_lot)
_pins_of_request = (
    select(hold_lot.c.lot_id, hold_lot.c.amount)
    .join(grant_lot, grant_lot.c.id == hold_lot.c.lot_id)
    .where(hold_lot.c.request_id == bindparam("request_id"))
    .order_by(*BURN_ORDER)
)
_settle = (
    update(grant_lot)
    .where(grant_lot.c.id == bindparam("lot_id"))
    .values(remaining=grant_lot.c.remaining - bindparam("consumed"), pinned=grant_lot.c.pinned - bindparam("unpinned"))
    .returning(grant_lot.c.id, _free.label("free"), grant_lot.c.expires_at_ms)
)
_burn = (
    update(grant_lot)
    .where(grant_lot.c.id == bindparam("lot_id"), grant_lot.c.remaining - grant_lot.c.pinned >= bindparam("amount"))
    .values(remaining=grant_lot.c.remaining - bindparam("amount"))
)
_expired = (*_has_free, grant_lot.c.expires_at_ms <= bindparam("now"))
_accounts_with_expired = (
    select(grant_lot.c.account_id)
    .where(*_expired)
    .distinct()
    .order_by(grant_lot.c.account_id)
    .limit(bindparam("limit", type_=Integer))
)
_expired_lots = (
    select(grant_lot.c.id, grant_lot.c.account_id, _free.label("free"))
    .where(grant_lot.c.account_id == bindparam("account_id"), *_expired)
    .order_by(*BURN_ORDER)
)
_given_back = select(
    request.c.lot_id,
    request.c.hold_amount,
    request.c.charge_amount,
    request.c.refunded_amount,
    request.c.adjusted_amount,
).where(request.c.id == bindparam("request_id"))
_terms_of = select(grant_lot.c.kind, grant_lot.c.priority, grant_lot.c.expires_at_ms).where(
    grant_lot.c.id == bindparam("lot_id")
)
_lots_of_workspace = (
    select(grant_lot)
    .join(account, account.c.id == grant_lot.c.account_id)
    .where(account.c.workspace_id == bindparam("workspace_id"), account.c.mode == bindparam("mode"), _open)
    .order_by(*BURN_ORDER)
)


# ----------------------------------------------------------------------------------------------------------------- credit


def add(tx: Transaction, account_id: str, transfer_id: str, amount: int, into: Sequence[NewLot] = ()) -> None:
    """Open lots for credit that a transfer brought; what `into` leaves of the amount is paid credit without an end."""
    rest = amount - sum(new.amount for new in into)
    now = tx.now_ms()
    tx.execute_many(
        _insert_lot,
        [
            {
                "id": new_id("lot"),
                "account_id": account_id,
                "transfer_id": transfer_id,
                "amount": new.amount,
                "remaining": new.amount,
                "pinned": 0,
                "kind": new.terms.kind,
                "priority": new.terms.priority,
                "effective_at_ms": now,
                "expires_at_ms": new.terms.expires_at_ms,
            }
            for new in (*into, NewLot(rest, PAID))
            if new.amount
        ],
    )


def refill(tx: Transaction, request_id: str, amount: int) -> tuple[NewLot, ...]:
    """Return the lots that give back a part of a request's charge: on the terms of those that it burned, the last one first.

    What had to expire by then, or does soon, gets REFUND_GRACE_MS more, so that it can be spent. Requests from before there
    were lots, and what was paid for by an adjustment, come back as paid credit.
    """
    row = tx.first(_given_back, request_id=request_id)
    if row is None:
        return ()
    burned, _ = _cut(pins_of(tx, request_id, row["lot_id"], row["hold_amount"]), row["charge_amount"])
    _, unspent = _cut(burned[::-1], row["refunded_amount"] - min(row["adjusted_amount"], 0))
    back, _ = _cut(unspent, amount)
    return tuple(NewLot(share.amount, _graced(tx, share.lot_id)) for share in back)


def _graced(tx: Transaction, lot_id: str) -> LotTerms:
    row = tx.first(_terms_of, lot_id=lot_id)
    if row is None:
        return PAID
    expires = row["expires_at_ms"]
    return LotTerms(
        row["kind"],
        row["priority"],
        None if expires is None else max(expires, tx.now_ms()) + REFUND_GRACE_MS,
    )


def burn(tx: Transaction, account_id: str, amount: int) -> None:
    """Take an amount out of what nothing has pinned, in burn order."""
    (shares,) = _spread(_free_of(tx, account_id, amount), [amount])
    for share in shares:
        burn_lot(tx, share)


def burn_lot(tx: Transaction, share: Share) -> None:
    """Take an amount out of one lot, of what nothing has pinned there."""
    if tx.execute(_burn, lot_id=share.lot_id, amount=share.amount) != 1:
        raise InternalError(f"lot {share.lot_id} has less than {share.amount} to burn")


def list_lots(tx: Transaction, workspace_id: str, mode: str) -> list[Lot]:
    """Return what a workspace has to spend, in burn order."""
    return [
        Lot(
            row["id"],
            row["amount"],
            row["remaining"],
            row["pinned"],
            LotTerms(row["kind"], row["priority"], row["expires_at_ms"]),
            row["effective_at_ms"],
        )
        for row in tx.all(_lots_of_workspace, workspace_id=workspace_id, mode=mode)
    ]


def free_of_transfer(tx: Transaction, transfer_id: str) -> list[Share]:
    """Return what nothing has pinned of the lots that a transfer brought."""
    return [Share(row["id"], row["free"]) for row in tx.all(_free_of_transfer, transfer_id=transfer_id)]


# ------------------------------------------------------------------------------------------------------------------- pins


def pin(tx: Transaction, account_id: str, amounts: Sequence[int]) -> list[list[Share]]:
    """Set aside parts of an account's lots for holds, in burn order, and return the parts of each.

    What the account has available is what its lots have free, so there is enough for every hold that the account admitted.
    """
    shares = _spread(_free_of(tx, account_id, sum(amounts)), amounts)
    pinned = _total(share for part in shares for share in part)
    tx.execute_many(_pin, [{"lot_id": lot_id, "amount": amount} for lot_id, amount in pinned.items()])
    return shares


def only_lot(shares: Sequence[Share]) -> str | None:
    """Return the lot that pays for a hold alone; None for a hold of several lots, or of nothing."""
    return shares[0].lot_id if len(shares) == 1 else None


def record_pins(tx: Transaction, pins: Mapping[str, Sequence[Share]]) -> None:
    """Write down the lots of those requests that no single lot pays for. They stay, so that a refund knows what was burned."""
    tx.execute_many(
        _insert_pin,
        [
            {"request_id": request_id, "lot_id": share.lot_id, "amount": share.amount}
            for request_id, shares in pins.items()
            if len(shares) > 1
            for share in shares
        ],
    )


def settle(tx: Transaction, ended: Iterable[Settled]) -> list[Share]:
    """Unpin what holds of one account had pinned, and burn what they are charged.

    Returns what is now free of lots that have expired: the caller posts its expiry.
    """
    unpinned: defaultdict[str, int] = defaultdict(int)
    consumed: defaultdict[str, int] = defaultdict(int)
    for one in ended:
        pins = pins_of(tx, one.request_id, one.lot_id, one.held)
        for share in pins:
            unpinned[share.lot_id] += share.amount
        for share in _cut(pins, one.charged)[0]:
            consumed[share.lot_id] += share.amount
    rows = tx.first_of_each(
        _settle,
        [{"lot_id": lot_id, "consumed": consumed[lot_id], "unpinned": unpinned[lot_id]} for lot_id in sorted(unpinned)],
    )
    now = tx.now_ms()
    return [
        Share(row["id"], row["free"])
        for row in rows
        if row is not None and row["free"] and row["expires_at_ms"] is not None and row["expires_at_ms"] <= now
    ]


def pins_of(tx: Transaction, request_id: str, lot_id: str | None, held: int) -> Sequence[Share]:
    """Return what a hold pins, or pinned until it ended, in burn order: a charge took it from the front."""
    if lot_id is not None:
        return [Share(lot_id, held)]
    if not held:
        return []
    return [Share(row["lot_id"], row["amount"]) for row in tx.all(_pins_of_request, request_id=request_id)]


# ----------------------------------------------------------------------------------------------------------------- expiry


def accounts_with_expired(tx: Transaction, *, limit: int) -> list[str]:
    """Return accounts with something free in a lot whose time has come."""
    return [row["account_id"] for row in tx.all(_accounts_with_expired, now=tx.now_ms(), limit=limit)]


def with_expired(tx: Transaction, account_ids: Sequence[str]) -> set[str]:
    """Return those of some accounts that have something free in a lot whose time has come."""
    now = tx.now_ms()
    rows = tx.first_of_each(_expired_lots, [{"account_id": account_id, "now": now} for account_id in account_ids])
    return {row["account_id"] for row in rows if row is not None}


def expired(tx: Transaction, account_id: str) -> list[Share]:
    """Return what is free in an account's lots whose time has come."""
    rows = tx.all(_expired_lots, account_id=account_id, now=tx.now_ms())
    return [Share(row["id"], row["free"]) for row in rows]


# ---------------------------------------------------------------------------------------------------------------- amounts


def _free_of(tx: Transaction, account_id: str, needed: int) -> Sequence[Row]:
    """Return an account's lots in burn order, at least as many as cover an amount."""
    limit = _FIRST_LOTS
    while needed:
        rows = tx.all(_free_lots, account_id=account_id, limit=limit)
        if len(rows) < limit or sum(row["free"] for row in rows) >= needed:
            return rows
        limit *= _FIRST_LOTS
    return ()


def _spread(rows: Sequence[Row], amounts: Iterable[int]) -> list[list[Share]]:
    """Cut amounts one after the other out of what lots have free. Raises InternalError when that is not enough."""
    lots = iter(rows)
    lot_id, free = "", 0
    spread: list[list[Share]] = []
    for amount in amounts:
        shares: list[Share] = []
        left = amount
        while left:
            if not free:
                row = next(lots, None)
                if row is None:
                    raise InternalError("the lots of an account have less than the account")
                lot_id, free = row["id"], row["free"]
            taken = min(left, free)
            shares.append(Share(lot_id, taken))
            free -= taken
            left -= taken
        spread.append(shares)
    return spread


def _cut(shares: Sequence[Share], amount: int) -> tuple[list[Share], list[Share]]:
    """Cut shares into those that make up an amount, as far as they do, and the rest."""
    head: list[Share] = []
    tail: list[Share] = []
    for share in shares:
        taken = min(amount, share.amount)
        amount -= taken
        head += [Share(share.lot_id, taken)] if taken else []
        tail += [Share(share.lot_id, share.amount - taken)] if share.amount > taken else []
    return head, tail


def _total(shares: Iterable[Share]) -> dict[str, int]:
    total: defaultdict[str, int] = defaultdict(int)
    for share in shares:
        total[share.lot_id] += share.amount
    return total
