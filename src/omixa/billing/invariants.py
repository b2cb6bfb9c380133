"""What must be true of the ledger at any moment, one small function for each invariant. docs/money.md explains them.

A function yields every row that it looks at as (subject, fault), where fault is None when the row is as it must be. Rows are
streamed; sums are the database's. Nothing here trusts the code that wrote the rows: each figure is computed from others.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import msgspec
from sqlalchemy import bindparam, case, func, literal_column, or_, select

from omixa.billing.ledger import chain_hash
from omixa.billing.prices import load_prices
from omixa.billing.pricing import rate
from omixa.domain.images import Usage
from omixa.domain.models import PriceList
from omixa.errors import InternalError
from omixa.storage.chain import AUDIT_COLUMNS, GENESIS_HASH, row_hash
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import (
    account,
    api_key,
    attempt,
    audit_log,
    request,
    transfer,
    usage_day,
    usage_record,
)

# A hold may be this much older than its time before the sweeper has released it.
SWEEP_MARGIN_MS = 60_000
# A result this close to its end may be deleted while the verification runs.
RETENTION_MARGIN_MS = 3_600_000
_DAY_MS = 86_400_000
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What invariants look at: an open transaction, the time, and whether a result's file exists (None: not asked)."""

    tx: Transaction
    now_ms: int
    result_exists: Callable[[str], bool] | None


Checked = Iterator[tuple[str, str | None]]
Invariant = Callable[[Snapshot], Checked]


def _unless(right: bool, fault: str) -> str | None:
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
        yield row["id"], _unless(actual == expected, f"posted and held are {actual}, the rows say {expected}")


def no_account_is_overdrawn(at: Snapshot) -> Checked:
    """Check that nothing held is below zero and no more is held than posted."""
    for row in at.tx.each(_balances):
        right = 0 <= row["held"] <= row["posted"]
        yield row["id"], _unless(right, f"{row['held']} held of {row['posted']}")


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
        request.c.hold_amount,
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
            _unless(
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
        yield row["id"], _unless(free and silent, f"{row['state']}, yet charged {row['charged']} or answered")


def no_charge_above_its_hold(at: Snapshot) -> Checked:
    """Check that a charge is at most what was held for it."""
    for row in at.tx.each(_captured):
        right = 0 <= row["charge_amount"] <= row["hold_amount"]
        yield row["id"], _unless(right, f"charged {row['charge_amount']} of a hold of {row['hold_amount']}")


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
        yield head["id"], _unless(right, f"the account's head is transfer {head['seq']}, its chain ends at {seq}")


def _broken_link(row: Row, seq: int, previous: str, head: Row) -> str | None:
    if row["hash"] != chain_hash(row):
        return "the row differs from its hash"
    if (row["chain_seq"], row["prev_hash"]) != (seq, previous):
        return f"transfer {row['chain_seq']} does not continue the one before it"
    return _unless(head["workspace_id"] is not None, "a system account has no chain")


def audit_log_is_an_unbroken_chain(at: Snapshot) -> Checked:
    """Check that every entry of the audit log continues the chain of hashes."""
    previous = GENESIS_HASH
    for row in at.tx.each(_audit_chain):
        right = row["hash"] == row_hash(row, AUDIT_COLUMNS) and row["prev_hash"] == previous
        yield str(row["seq"]), _unless(right, "the entry was changed or does not continue the one before it")
        previous = row["hash"]


# ----------------------------------------------------------------------------------------------------------- I7: results

_kept_results = select(
    request.c.id, request.c.result_ref, request.c.result_digest, request.c.result_expires_at_ms
).where(request.c.state == "captured", request.c.result_expires_at_ms > bindparam("until"))


def kept_results_exist(at: Snapshot) -> Checked:
    """Check that the result of a captured request is there until its time has passed."""
    if at.result_exists is None:
        return
    for row in at.tx.each(_kept_results, until=at.now_ms + RETENTION_MARGIN_MS):
        ref = row["result_ref"]
        right = ref is not None and row["result_digest"] is not None and at.result_exists(ref)
        yield row["id"], _unless(right, f"the result {ref} is missing")


# ------------------------------------------------------------------------------------------------------------ I8: prices

_rated = select(usage_record, request.c.hold_amount, request.c.price_version_id.label("held_version")).join(
    request, request.c.id == usage_record.c.request_id
)


def usage_rates_to_the_same_charge(at: Snapshot) -> Checked:
    """Check that usage, price version and markup give the stored price again; the charge is that or, if lower, the hold."""
    versions: dict[str, PriceList] = {}
    for row in at.tx.each(_rated):
        yield row["request_id"], _rating_fault(at.tx, versions, row)


def _usages(row: Row) -> tuple[Usage, ...]:
    return msgspec.json.decode(row["usage_json"], type=tuple[Usage, ...])


def _rating_fault(tx: Transaction, versions: dict[str, PriceList], row: Row) -> str | None:
    version = row["price_version_id"]
    if version != row["held_version"]:
        return f"held at {row['held_version']} and charged at {version}"
    try:
        if version not in versions:
            versions[version] = load_prices(tx, version)
        charge = rate(_usages(row), versions[version], markup_ppm=row["markup_ppm"])
    except (ValueError, InternalError) as error:
        return f"cannot be rated again: {error}"
    expected = (charge.exact_pico_usd, min(charge.amount_micro_usd, row["hold_amount"]))
    actual = (row["exact_pico_usd"], row["amount"])
    return _unless(actual == expected, f"exact price and charge are {actual}, rated again {expected}")


# ------------------------------------------------------------------------------------------------------ I9, I10: attempts

_held_requests = select(request.c.id, request.c.expires_at_ms).where(request.c.state == literal_column("'held'"))
_attempts = select(
    attempt.c.id, attempt.c.state, attempt.c.cost_basis, attempt.c.cost_pico_usd, request.c.state.label("request_state")
).join(request, request.c.id == attempt.c.request_id)
_COST_OF_SUCCESS = frozenset({"reported", "estimated"})


def nothing_is_forgotten(at: Snapshot) -> Checked:
    """Check that no request is held past its time, and that no call is open on a request that has ended."""
    for row in at.tx.each(_held_requests):
        late_ms = at.now_ms - row["expires_at_ms"]
        yield row["id"], _unless(late_ms <= SWEEP_MARGIN_MS, f"held {late_ms} ms past its time")
    for row in at.tx.each(_attempts):
        right = row["state"] != "sent" or row["request_state"] == "held"
        yield row["id"], _unless(right, f"open, yet its request is {row['request_state']}")


def every_cost_is_explained(at: Snapshot) -> Checked:
    """Check that a call that has ended says what it cost the operator and how that is known, and a success what it cost."""
    for row in at.tx.each(_attempts):
        basis, cost = row["cost_basis"], row["cost_pico_usd"]
        if row["state"] == "sent":
            right = basis is None and cost is None
        else:
            right = basis is not None and cost is not None and cost >= 0
            right = right and (row["state"] != "ok" or basis in _COST_OF_SUCCESS)
        yield row["id"], _unless(right, f"{row['state']}, cost {cost}, basis {basis}")


# -------------------------------------------------------------------------------------------------------- I11: isolation

_owners = (
    select(
        request.c.id,
        or_(
            account.c.workspace_id != request.c.workspace_id,
            account.c.mode != request.c.mode,
            api_key.c.workspace_id != request.c.workspace_id,
            api_key.c.mode != request.c.mode,
            func.coalesce(usage_record.c.workspace_id, request.c.workspace_id) != request.c.workspace_id,
            func.coalesce(usage_record.c.mode, request.c.mode) != request.c.mode,
            func.coalesce(usage_record.c.key_id, request.c.key_id) != request.c.key_id,
            func.coalesce(usage_record.c.model, request.c.model) != request.c.model,
        ).label("mixed"),
    )
    .outerjoin(account, account.c.id == request.c.account_id)
    .outerjoin(api_key, api_key.c.id == request.c.key_id)
    .outerjoin(usage_record, usage_record.c.request_id == request.c.id)
)
_debit, _credit = account.alias("debit"), account.alias("credit")
_sides = (
    select(
        transfer.c.id,
        transfer.c.chain_account_id,
        _debit.c.mode.label("debit_mode"),
        _credit.c.mode.label("credit_mode"),
        case((_debit.c.workspace_id.is_(None), _credit.c.id), else_=_debit.c.id).label("workspace_side"),
        (_debit.c.workspace_id.is_(None) != _credit.c.workspace_id.is_(None)).label("one_workspace"),
    )
    .join(_debit, _debit.c.id == transfer.c.debit_account_id)
    .join(_credit, _credit.c.id == transfer.c.credit_account_id)
)


def workspaces_never_meet(at: Snapshot) -> Checked:
    """Check that no request, usage record or transfer joins two workspaces, or live and test money."""
    for row in at.tx.each(_owners):
        yield row["id"], _unless(not row["mixed"], "its account, key or usage belongs to another workspace or mode")
    for row in at.tx.each(_sides):
        right = row["one_workspace"] and row["debit_mode"] == row["credit_mode"]
        right = right and row["workspace_side"] == row["chain_account_id"]
        yield row["id"], _unless(right, "moves money between workspaces, between modes, or along a foreign chain")


# ----------------------------------------------------------------------------------------------------------------- sums

_GROUP = ("workspace_id", "mode", "model", "key_id")
_by_day = select(usage_record).order_by(*(usage_record.c[name] for name in _GROUP), usage_record.c.at_ms)
_sum_of_day = select(usage_day).where(
    *(usage_day.c[name] == bindparam(name) for name in _GROUP), usage_day.c.day == bindparam("day")
)
_day_count = select(func.count().label("days")).select_from(usage_day)


def days_add_up(at: Snapshot) -> Checked:
    """Check that the sums of every day are the sums of its usage records, and that there are no others."""
    days = 0
    for (*group, number), rows in groupby(at.tx.each(_by_day), key=_day_key):
        days += 1
        keys = dict(zip(_GROUP, group, strict=True))
        day = (_EPOCH + datetime.timedelta(days=number)).isoformat()
        found = at.tx.first(_sum_of_day, day=day, **keys)
        expected = _sum(rows)
        actual = None if found is None else {name: found[name] for name in expected}
        yield f"{day} {' '.join(group)}", _unless(actual == expected, f"the day says {actual}, its records {expected}")
    count = at.tx.first(_day_count)
    stored = 0 if count is None else count["days"]
    yield "usage_day", _unless(stored == days, f"{stored} days are stored, the records make {days}")


def _day_key(row: Row) -> tuple[str, str, str, str, int]:
    return row["workspace_id"], row["mode"], row["model"], row["key_id"], row["at_ms"] // _DAY_MS


def _sum(rows: Iterator[Row]) -> dict[str, int]:
    requests = amount = 0
    total = Usage()
    for row in rows:
        requests += 1
        amount += row["amount"]
        total = sum(_usages(row), total)
    return {
        "requests": requests,
        "images": total.images,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_image_tokens,
        "amount": amount,
    }


INVARIANTS: Mapping[str, Invariant] = {
    "I1": balances_follow_from_transfers_and_holds,
    "I2": no_account_is_overdrawn,
    "I3": each_capture_is_one_charge,
    "I4": no_charge_without_a_capture,
    "I5": no_charge_above_its_hold,
    "I6": transfers_form_unbroken_chains,
    "I6 audit": audit_log_is_an_unbroken_chain,
    "I7": kept_results_exist,
    "I8": usage_rates_to_the_same_charge,
    "I9": nothing_is_forgotten,
    "I10": every_cost_is_explained,
    "I11": workspaces_never_meet,
    "sums": days_add_up,
}
