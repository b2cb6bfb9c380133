"""Accounts, holds and transfers: every decision about money, each as a function of one open transaction.

A request first holds the highest price it can reach, then captures what it really costs or releases the hold. No balance is
read first and written later: each step is one guarded UPDATE, and the tables' constraints refuse whatever a bug would
break. A transfer row is both legs, is never changed, and continues a chain of hashes for each workspace account.

Holds, captures and releases come in groups, so that an account that a hundred requests share at the same moment is updated
once for all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from sqlalchemy import bindparam, exists, or_, select, update

from omixa.billing import alerts, budgets, lots, refusals
from omixa.billing.budgets import EndedHold
from omixa.billing.lots import PAID, LotTerms, NewLot, Settled, Share
from omixa.domain.access import Mode
from omixa.domain.ids import new_id
from omixa.domain.money import format_usd
from omixa.errors import (
    BudgetExceeded,
    InsufficientFunds,
    InternalError,
    OmixaError,
    PriceChanged,
    ReferenceUsed,
    RefusalLimit,
    SettlementUnavailable,
    Unauthenticated,
    WorkspaceSuspended,
)
from omixa.storage.chain import GENESIS_HASH, TRANSFER_COLUMNS, row_hash
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import account, api_key, grant_lot, request, transfer, workspace

CURRENCY = "USD"

# A hold outlives the last moment at which its owner may still answer by this much.
HOLD_MARGIN_MS = 120_000

SystemAccount = Literal[
    "cash", "revenue", "absorbed_cost", "provider_payable", "breakage", "tax", "promotion", "receivable"
]
SYSTEM_ACCOUNTS: tuple[SystemAccount, ...] = get_args(SystemAccount)


@dataclass(frozen=True, slots=True)
class Hold:
    """Everything that is known of a request when its money is held. `deadline_ms` counts from now.

    `fingerprint` is by what a retry is recognised, `parked_from` the request whose result this one charges for.
    `refusal_limit_pico_usd` is what refusals may cost the operator in a day before this workspace has to stop.
    """

    request_id: str
    workspace_id: str
    account_id: str
    key_id: str
    mode: Mode
    model: str
    operation: str
    parameters_json: str
    amount_micro_usd: int
    price_version_id: str
    markup_ppm: int
    owner_node: str
    owner_epoch: int
    deadline_ms: int
    fingerprint: str | None = None
    parked_from: str | None = None
    refusal_limit_pico_usd: int = refusals.NO_LIMIT


@dataclass(frozen=True, slots=True)
class StoredResult:
    """Where a captured request's pictures are and until when they are kept, in milliseconds from the capture.

    A small result has its `data` here, and is stored together with its charge.
    """

    ref: str
    digest: str
    retention_ms: int
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Capture:
    """What a hold becomes: the charge, 0 for a free request. `epoch` is the one under which the request was held."""

    request_id: str
    epoch: int
    charge_micro_usd: int
    result: StoredResult


@dataclass(frozen=True, slots=True)
class Release:
    """What a hold becomes when its request fails: nothing. `outcome` is the error's code."""

    request_id: str
    epoch: int
    outcome: str


@dataclass(frozen=True, slots=True)
class Posting:
    """A movement of money between a workspace's account and another one; `amount_micro_usd` is above 0.

    `reason` is for people, `reverses_id` the charge that a refund gives back. `external_ref` is unique among all transfers, so
    that nothing from outside is booked twice. What credits a workspace becomes `into` lots, and paid credit as far as those do
    not say; what debits it burns `from_lot`, or else lots in their order.
    """

    debit: str
    credit: str
    amount_micro_usd: int
    kind: str
    reason: str = ""
    request_id: str | None = None
    reverses_id: str | None = None
    external_ref: str | None = None
    into: tuple[NewLot, ...] = ()
    from_lot: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """The transfer of a grant. `is_new` is False when it was booked before."""

    transfer_id: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money in micro-USD."""

    posted: int
    held: int

    @property
    def available(self) -> int:
        """Return what a new request may hold."""
        return self.posted - self.held


# --------------------------------------------------------------------------------------------------------------- accounts

_insert_account = insert_into(
    account, "id", "workspace_id", "mode", "kind", "currency", "posted", "held", "seq", "head_hash"
)
_account_by_id = select(account).where(account.c.id == bindparam("id"))
_balance_of = select(account.c.posted, account.c.held).where(account.c.id == bindparam("id"))
_account_of_workspace = select(account.c.id).where(
    account.c.workspace_id == bindparam("workspace_id"), account.c.mode == bindparam("mode")
)


def system_account(mode: Mode, kind: SystemAccount) -> str:
    """Return the id of one of the system's own accounts. Play money and real money never meet."""
    return f"system_{mode}_{kind}"


def open_system_accounts(tx: Transaction) -> None:
    """Create the system's accounts where they are missing."""
    modes: tuple[Mode, ...] = ("live", "test")
    for mode in modes:
        for kind in SYSTEM_ACCOUNTS:
            identifier = system_account(mode, kind)
            if tx.first(_account_by_id, id=identifier) is None:
                _open_account(tx, identifier, None, mode, kind, None)


def open_workspace_account(tx: Transaction, workspace_id: str, mode: Mode) -> str:
    """Create the account that holds a workspace's money in one mode and return its id."""
    identifier = new_id("acc")
    _open_account(tx, identifier, workspace_id, mode, "workspace", 0)
    return identifier


def _open_account(
    tx: Transaction, identifier: str, workspace_id: str | None, mode: Mode, kind: str, opening: int | None
) -> None:
    tx.execute(
        _insert_account,
        id=identifier,
        workspace_id=workspace_id,
        mode=mode,
        kind=kind,
        currency=CURRENCY,
        posted=opening,
        held=opening,
        seq=0,
        head_hash=GENESIS_HASH,
    )


def workspace_account(tx: Transaction, workspace_id: str, mode: Mode) -> str:
    """Return the id of a workspace's account in one mode."""
    row = tx.first(_account_of_workspace, workspace_id=workspace_id, mode=mode)
    if row is None:
        raise InternalError(f"workspace {workspace_id} has no {mode} account")
    return str(row["id"])


def balance(tx: Transaction, account_id: str) -> Balance:
    """Return an account's balance as of this transaction."""
    row = tx.first(_balance_of, id=account_id)
    if row is None:
        raise InternalError(f"there is no account {account_id}")
    return Balance(row["posted"], row["held"])


# ------------------------------------------------------------------------------------------------------------------ holds

_key_lives = or_(api_key.c.expires_at_ms.is_(None), api_key.c.expires_at_ms > bindparam("now"))
# The key may spend, at the markup that the amount was computed with.
_terms_hold = exists().where(
    api_key.c.id == bindparam("key_id"),
    api_key.c.revoked_at_ms.is_(None),
    workspace.c.id == api_key.c.workspace_id,
    workspace.c.markup_ppm == bindparam("markup_ppm"),
    workspace.c.suspended_at_ms.is_(None),
    _key_lives,
)
_take = (
    update(account)
    .where(
        account.c.id == bindparam("account_id"),
        account.c.posted - account.c.held >= bindparam("amount"),
        refusals.within_limit(),
        _terms_hold,
    )
    .values(held=account.c.held + bindparam("amount"))
    .returning(account.c.has_budgets)
)
_take_back = (
    update(account).where(account.c.id == bindparam("account_id")).values(held=account.c.held - bindparam("amount"))
)
_active_key = (
    select(workspace.c.markup_ppm, workspace.c.suspended_at_ms)
    .join(api_key, api_key.c.workspace_id == workspace.c.id)
    .where(
        api_key.c.id == bindparam("key_id"),
        api_key.c.revoked_at_ms.is_(None),
        _key_lives,
    )
)
_insert_request = insert_into(
    request,
    *("id", "workspace_id", "account_id", "key_id", "mode", "model", "operation", "parameters_json", "state", "lot_id"),
    *("hold_amount", "price_version_id", "markup_ppm", "owner_node", "owner_epoch", "created_at_ms", "expires_at_ms"),
    *("fingerprint", "parked_from"),
)
_owned = (
    request.c.id == bindparam("request_id"),
    request.c.state == "held",
    request.c.owner_epoch == bindparam("epoch"),
)
# What is known of a hold when it ends.
_ENDED = tuple(request.c[name] for name in ("account_id", "key_id", "mode", "created_at_ms", "hold_amount", "lot_id"))
_capture = (
    update(request)
    .where(*_owned)
    .values(
        state="captured",
        outcome="ok",
        charge_amount=bindparam("charge"),
        result_ref=bindparam("ref"),
        result_digest=bindparam("digest"),
        result_expires_at_ms=bindparam("result_expires"),
        ended_at_ms=bindparam("now"),
    )
    .returning(*_ENDED)
)
_release = (
    update(request)
    .where(*_owned)
    .values(state="released", outcome=bindparam("code"), ended_at_ms=bindparam("now"))
    .returning(*_ENDED)
)
_is_owned = select(request.c.id).where(*_owned)
_is_captured = select(request.c.id).where(
    request.c.id == bindparam("request_id"), request.c.state == "captured", request.c.owner_epoch == bindparam("epoch")
)


def hold(tx: Transaction, wanted: Sequence[Hold]) -> list[OmixaError | None]:
    """Set aside the highest price of each request and record the requests. Returns None for each, or why it may not start.

    The reason is InsufficientFunds, BudgetExceeded, RefusalLimit, WorkspaceSuspended, Unauthenticated when the key was revoked
    a moment ago, or PriceChanged when the amount was computed with a markup that is no longer the workspace's; then nothing is
    written for it.
    """
    refused: dict[str, OmixaError] = {}
    expired = lots.with_expired(tx, sorted({one.account_id for one in wanted}))
    for together in _decided_together(wanted):
        if together[0].account_id in expired:
            expire_lots(tx, together[0].account_id)
        if not _taken(tx, together):
            # Not all of them fit, so each is decided alone, in the order in which they came.
            is_alone = len(together) == 1
            refused |= {one.request_id: _not_held(tx, one) for one in together if is_alone or not _taken(tx, [one])}
    admitted = [one for one in wanted if one.request_id not in refused]
    pins = _pinned(tx, admitted)
    now = tx.now_ms()
    tx.execute_many(_insert_request, [_held_row(one, pins[one.request_id], now) for one in admitted])
    lots.record_pins(tx, pins)
    return [refused.get(one.request_id) for one in wanted]


def _decided_together(wanted: Sequence[Hold]) -> list[list[Hold]]:
    """Return holds that one statement can decide, in an order that is the same everywhere, so that no two writers deadlock."""
    groups: defaultdict[tuple[str, str, int], list[Hold]] = defaultdict(list)
    for one in wanted:
        groups[one.account_id, one.key_id, one.markup_ppm].append(one)
    return [groups[key] for key in sorted(groups)]


def _taken(tx: Transaction, together: Sequence[Hold]) -> bool:
    first, amount = together[0], sum(one.amount_micro_usd for one in together)
    row = tx.first(
        _take,
        account_id=first.account_id,
        key_id=first.key_id,
        markup_ppm=first.markup_ppm,
        amount=amount,
        now=tx.now_ms(),
        today=refusals.day_of(tx.now_ms()),
        refusal_limit=first.refusal_limit_pico_usd,
    )
    if row is None:
        return False
    if not row["has_budgets"] or budgets.take(tx, first.account_id, first.key_id, amount):
        return True
    tx.execute(_take_back, account_id=first.account_id, amount=amount)
    return False


def _pinned(tx: Transaction, admitted: Sequence[Hold]) -> dict[str, list[Share]]:
    """Pin the lots of each account's holds and return them by request."""
    by_account: defaultdict[str, list[Hold]] = defaultdict(list)
    for one in admitted:
        by_account[one.account_id].append(one)
    pins: dict[str, list[Share]] = {}
    for account_id, holds in by_account.items():
        shares = lots.pin(tx, account_id, [one.amount_micro_usd for one in holds])
        pins |= zip((one.request_id for one in holds), shares, strict=True)
    return pins


def _held_row(wanted: Hold, pinned: Sequence[Share], now_ms: int) -> dict[str, object]:
    return {
        "id": wanted.request_id,
        "workspace_id": wanted.workspace_id,
        "account_id": wanted.account_id,
        "key_id": wanted.key_id,
        "mode": wanted.mode,
        "model": wanted.model,
        "operation": wanted.operation,
        "parameters_json": wanted.parameters_json,
        "state": "held",
        "hold_amount": wanted.amount_micro_usd,
        "lot_id": lots.only_lot(pinned),
        "price_version_id": wanted.price_version_id,
        "markup_ppm": wanted.markup_ppm,
        "owner_node": wanted.owner_node,
        "owner_epoch": wanted.owner_epoch,
        "created_at_ms": now_ms,
        "expires_at_ms": now_ms + wanted.deadline_ms + HOLD_MARGIN_MS,
        "fingerprint": wanted.fingerprint,
        "parked_from": wanted.parked_from,
    }


def _not_held(tx: Transaction, wanted: Hold) -> OmixaError:
    key = tx.first(_active_key, key_id=wanted.key_id, now=tx.now_ms())
    if key is None:
        return Unauthenticated("The API key is unknown, revoked or past its time.")
    if key["suspended_at_ms"] is not None:
        return suspended()
    if key["markup_ppm"] != wanted.markup_ppm:
        return PriceChanged(
            "The prices of this workspace were changed a moment ago. Nothing was held. Send the request again.",
            markup_ppm=key["markup_ppm"],
        )
    money = balance(tx, wanted.account_id)
    try:
        refusals.require_within(tx, wanted.account_id, wanted.refusal_limit_pico_usd)
        require_available(money, wanted.amount_micro_usd, wanted.mode)
        budgets.require_within(budgets.list_budgets(tx, wanted.account_id, wanted.key_id), wanted.amount_micro_usd)
    except (RefusalLimit, InsufficientFunds, BudgetExceeded) as refusal:
        return refusal
    # Somebody gave money back since the statement that found too little.
    return _insufficient(money, wanted.amount_micro_usd, wanted.mode)


def require_available(balance: Balance, amount_micro_usd: int, mode: Mode) -> None:
    """Raise InsufficientFunds when a balance does not cover an amount. For estimates: only `hold` decides."""
    if balance.available < amount_micro_usd:
        raise _insufficient(balance, amount_micro_usd, mode)


def suspended() -> WorkspaceSuspended:
    """Return what a workspace hears that may not spend."""
    return WorkspaceSuspended("This workspace is suspended: a payment of it was taken back. Ask the operator.")


def _insufficient(balance: Balance, amount_micro_usd: int, mode: Mode) -> InsufficientFunds:
    return InsufficientFunds(
        f"This request can cost up to ${format_usd(amount_micro_usd)} and the workspace has "
        f"${format_usd(balance.available)} available in {mode} mode. Add credit, or ask for less."
    )


def require_owned(tx: Transaction, request_id: str, epoch: int) -> None:
    """Raise SettlementUnavailable when a request is no longer held by this epoch: a sweeper took it away."""
    if tx.first(_is_owned, request_id=request_id, epoch=epoch) is None:
        raise _lost(request_id)


def was_captured(tx: Transaction, request_id: str, epoch: int) -> bool:
    """Tell whether this epoch has charged a request: what a commit did whose answer was lost."""
    return tx.first(_is_captured, request_id=request_id, epoch=epoch) is not None


def capture(tx: Transaction, wanted: Sequence[Capture]) -> list[OmixaError | None]:
    """Turn holds into charges, or into nothing for free requests. Returns None for each, or SettlementUnavailable.

    That means that the hold is gone; then nothing is written for it. A charge must not exceed its hold: a constraint of the
    table refuses it, and with it the whole group.
    """
    now = tx.now_ms()
    rows = tx.first_of_each(_capture, [_captured_row(one, now) for one in wanted])
    _settle(
        tx,
        [(one.request_id, one.charge_micro_usd, row) for one, row in zip(wanted, rows, strict=True) if row is not None],
    )
    return [_lost(one.request_id) if row is None else None for one, row in zip(wanted, rows, strict=True)]


def _settle(tx: Transaction, ended: Sequence[tuple[str, int, Row]]) -> None:
    """Give holds back and take their charges: (request, charge, row of the request that has just ended)."""
    by_account: defaultdict[tuple[str, Mode], list[Settled]] = defaultdict(list)
    budgeted: defaultdict[str, list[EndedHold]] = defaultdict(list)
    for request_id, charge, row in ended:
        account_id, held = row["account_id"], row["hold_amount"]
        by_account[account_id, row["mode"]].append(Settled(request_id, row["lot_id"], held, charge))
        budgeted[account_id].append(EndedHold(row["key_id"], row["created_at_ms"], held, charge))
    for account_id, mode in sorted(by_account):
        settlements = by_account[account_id, mode]
        revenue = system_account(mode, "revenue")
        charges = [
            Posting(account_id, revenue, one.charged, "charge", request_id=one.request_id)
            for one in settlements
            if one.charged
        ]
        released = sum(one.held for one in settlements)
        _move(tx, account_id, charges, released_micro_usd=released, ended=budgeted[account_id])
        _post_expiry(tx, account_id, mode, lots.settle(tx, settlements))


def _captured_row(wanted: Capture, now_ms: int) -> dict[str, object]:
    return {
        "request_id": wanted.request_id,
        "epoch": wanted.epoch,
        "charge": wanted.charge_micro_usd,
        "ref": wanted.result.ref,
        "digest": wanted.result.digest,
        "result_expires": now_ms + wanted.result.retention_ms,
        "now": now_ms,
    }


def release(tx: Transaction, wanted: Sequence[Release]) -> list[bool]:
    """Give holds back in full. Returns for each whether that happened; False means that somebody else has ended the request."""
    now = tx.now_ms()
    rows = tx.first_of_each(
        _release,
        [{"request_id": one.request_id, "epoch": one.epoch, "code": one.outcome, "now": now} for one in wanted],
    )
    _settle(tx, [(one.request_id, 0, row) for one, row in zip(wanted, rows, strict=True) if row is not None])
    return [row is not None for row in rows]


def _lost(request_id: str) -> SettlementUnavailable:
    return SettlementUnavailable(
        f"Request {request_id} took longer than its hold lasts and was released. Nothing was charged. Try again.",
        retry_after_s=1,
    )


# -------------------------------------------------------------------------------------------------------------- transfers

# What an alert depends on.
_WATCHED = (account.c.posted, account.c.alert_below, account.c.alerted)
_advance_chain = (
    update(account)
    .where(account.c.id == bindparam("account_id"))
    .values(
        posted=account.c.posted + bindparam("delta"),
        held=account.c.held - bindparam("released"),
        seq=account.c.seq + bindparam("count"),
    )
    .returning(account.c.seq, account.c.head_hash, account.c.has_budgets, *_WATCHED)
)
_set_head = update(account).where(account.c.id == bindparam("account_id")).values(head_hash=bindparam("head"))
_insert_transfer = insert_into(transfer)


def post(
    tx: Transaction, account_id: str, postings: Sequence[Posting], *, released_micro_usd: int = 0
) -> Sequence[str]:
    """Move money between a workspace's account and others and return the transfers' ids.

    The account's balance, its chain of hashes and its lots advance together. `released_micro_usd` of what it holds is given back
    in the same statement, of what no request has pinned. An overdraft is refused by a constraint of the table.
    """
    ids = _move(tx, account_id, postings, released_micro_usd=released_micro_usd)
    for transfer_id, one in zip(ids, postings, strict=True):
        if one.credit == account_id:
            lots.add(tx, account_id, transfer_id, one.amount_micro_usd, one.into)
        elif one.from_lot is None:
            lots.burn(tx, account_id, one.amount_micro_usd)
        else:
            lots.burn_lot(tx, Share(one.from_lot, one.amount_micro_usd))
    return ids


def _move(
    tx: Transaction,
    account_id: str,
    postings: Sequence[Posting],
    *,
    released_micro_usd: int,
    ended: Sequence[EndedHold] = (),
) -> Sequence[str]:
    """Post transfers and give back `released_micro_usd` of what the account holds; the caller does the same to its lots.

    Where that is of holds that have `ended`, budgets hear of them.
    """
    delta = sum(one.amount_micro_usd if one.credit == account_id else -one.amount_micro_usd for one in postings)
    head = tx.first(
        _advance_chain, account_id=account_id, delta=delta, released=released_micro_usd, count=len(postings)
    )
    if head is None:
        raise InternalError(f"there is no account {account_id}")
    if head["has_budgets"]:
        budgets.settle(tx, account_id, ended)
    if not postings:
        return ()
    alerts.consider(tx, account_id, head)
    rows = _chained(account_id, postings, head["seq"] - len(postings), head["head_hash"], tx.now_ms())
    tx.execute_many(_insert_transfer, rows)
    tx.execute(_set_head, account_id=account_id, head=rows[-1]["hash"])
    return [str(row["id"]) for row in rows]


def _chained(
    account_id: str, postings: Sequence[Posting], seq: int, previous_hash: str, now_ms: int
) -> list[dict[str, object]]:
    """Return the transfers' rows, each with its place behind the one before it."""
    rows: list[dict[str, object]] = []
    for place, one in enumerate(postings, seq + 1):
        row: dict[str, object] = {
            "id": new_id("tr"),
            "debit_account_id": one.debit,
            "credit_account_id": one.credit,
            "amount": one.amount_micro_usd,
            "kind": one.kind,
            "request_id": one.request_id,
            "reverses_id": one.reverses_id,
            "external_ref": one.external_ref,
            "reason": one.reason,
            "chain_account_id": account_id,
            "chain_seq": place,
            "prev_hash": previous_hash,
            "at_ms": now_ms,
        }
        row["hash"] = previous_hash = chain_hash(row)
        rows.append(row)
    return rows


def chain_hash(row: Row) -> str:
    """Return the SHA-256 over everything a transfer says, including the hash before it, in hexadecimal."""
    return row_hash(row, TRANSFER_COLUMNS)


# ----------------------------------------------------------------------------------------------------------------- credit

_lock_account = select(account.c.mode).where(account.c.id == bindparam("account_id")).with_for_update()
_transfer_by_reference = (
    select(
        transfer.c.id,
        transfer.c.credit_account_id,
        transfer.c.amount,
        grant_lot.c.kind,
        grant_lot.c.priority,
        grant_lot.c.expires_at_ms,
    )
    .join(grant_lot, grant_lot.c.transfer_id == transfer.c.id)
    .where(transfer.c.external_ref == bindparam("reference"))
)


def grant(
    tx: Transaction,
    *,
    account_id: str,
    mode: Mode,
    amount_micro_usd: int,
    reason: str,
    terms: LotTerms = PAID,
    reference: str | None = None,
) -> Granted:
    """Credit a workspace account with a new lot and return the transfer.

    Paid credit comes from the operator's cash account, promotional credit from one of its own. A grant with a `reference` that
    was booked before is that grant; ReferenceUsed is raised when it says something else.
    """
    external_ref = None if reference is None else f"grant/{reference}"
    if external_ref is not None:
        booked = tx.first(_transfer_by_reference, reference=external_ref)
        if booked is not None:
            return Granted(_same_grant(booked, account_id, amount_micro_usd, terms, reference or ""), is_new=False)
    source: SystemAccount = "cash" if terms.kind == "paid" else "promotion"
    credit = Posting(
        system_account(mode, source),
        account_id,
        amount_micro_usd,
        "topup",
        reason,
        external_ref=external_ref,
        into=(NewLot(amount_micro_usd, terms),),
    )
    (transfer_id,) = post(tx, account_id, [credit])
    return Granted(transfer_id, is_new=True)


def _same_grant(booked: Row, account_id: str, amount_micro_usd: int, terms: LotTerms, reference: str) -> str:
    before = (booked["credit_account_id"], booked["amount"])
    terms_before = LotTerms(booked["kind"], booked["priority"], booked["expires_at_ms"])
    if before != (account_id, amount_micro_usd) or terms_before != terms:
        raise ReferenceUsed(
            f'The reference "{reference}" belongs to another grant, of ${format_usd(booked["amount"])}.',
            param="reference",
        )
    return str(booked["id"])


def lock_account(tx: Transaction, account_id: str) -> None:
    """Wait until nobody else changes an account, and keep it so until the transaction ends."""
    if tx.first(_lock_account, account_id=account_id) is None:
        raise InternalError(f"there is no account {account_id}")


def expire_lots(tx: Transaction, account_id: str) -> None:
    """Take what nothing has pinned out of an account's lots whose time has come. What is pinned follows when it settles."""
    row = tx.first(_lock_account, account_id=account_id)
    if row is not None:
        _post_expiry(tx, account_id, row["mode"], lots.expired(tx, account_id))


def _post_expiry(tx: Transaction, account_id: str, mode: Mode, shares: Sequence[Share]) -> None:
    breakage = system_account(mode, "breakage")
    postings = [
        Posting(account_id, breakage, share.amount, "expiry", f"{share.lot_id} expired", from_lot=share.lot_id)
        for share in shares
    ]
    if postings:
        post(tx, account_id, postings)
