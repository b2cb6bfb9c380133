"""What must be true of everything recorded around the money: results, usage, calls, owners and sums."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import groupby

import msgspec
from sqlalchemy import bindparam, case, func, literal_column, or_, select

from omixa.billing import margins
from omixa.billing.invariants import Checked, Snapshot, fault_unless
from omixa.billing.prices import load_prices
from omixa.billing.pricing import rate
from omixa.billing.reconciliation import TOLERANCE_PICO_USD
from omixa.domain.images import Usage
from omixa.domain.models import PriceList
from omixa.domain.times import DAY_MS
from omixa.errors import InternalError
from omixa.storage.database import Row, Transaction
from omixa.storage.small_results import IN_DATABASE
from omixa.storage.statements import among
from omixa.storage.tables import (
    account,
    api_key,
    attempt,
    correction_day,
    is_correction,
    parked_result,
    provider_statement,
    request,
    small_result,
    transfer,
    usage_day,
    usage_record,
)

# A hold may be this much older than its time before the sweeper has released it.
SWEEP_MARGIN_MS = 60_000
# A result this close to its end may be deleted while the verification runs.
RETENTION_MARGIN_MS = 3_600_000
_EPOCH = datetime.date(1970, 1, 1)

# ----------------------------------------------------------------------------------------------------------- I7: results

_kept_results = (
    select(request.c.id, request.c.result_ref, request.c.result_digest, small_result.c.request_id.label("small"))
    .outerjoin(small_result, small_result.c.request_id == request.c.id)
    .where(request.c.state == "captured", request.c.result_expires_at_ms > bindparam("until"))
)


_parked_results = select(parked_result).where(parked_result.c.expires_at_ms > bindparam("until"))


def kept_results_exist(at: Snapshot) -> Checked:
    """Check that the result of a captured request, and one that was parked, is there until its time has passed."""
    if at.result_exists is None:
        return
    for row in at.tx.each(_kept_results, until=at.now_ms + RETENTION_MARGIN_MS):
        ref = row["result_ref"]
        there = row["small"] is not None if ref == IN_DATABASE else ref is not None and at.result_exists(ref)
        right = there and row["result_digest"] is not None
        yield row["id"], fault_unless(right, f"the result {ref} is missing")
    for row in at.tx.each(_parked_results, until=at.now_ms + RETENTION_MARGIN_MS):
        yield row["request_id"], fault_unless(at.result_exists(row["ref"]), f"the result {row['ref']} is missing")


_kept_result = _kept_results.where(request.c.id == bindparam("of_request"))
_parked_result = _parked_results.where(parked_result.c.request_id == bindparam("of_request"))


def expects_result(tx: Transaction, request_id: str) -> bool:
    """Tell whether `kept_results_exist` still has to find the result of a request."""
    until = tx.now_ms() + RETENTION_MARGIN_MS
    return any(tx.first(query, of_request=request_id, until=until) for query in (_kept_result, _parked_result))


# ------------------------------------------------------------------------------------------------------------ I8: prices

_rated = select(
    usage_record,
    request.c.hold_amount,
    request.c.price_version_id.label("held_version"),
    request.c.markup_ppm.label("held_markup"),
).join(request, request.c.id == usage_record.c.request_id)


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
    if row["markup_ppm"] != row["held_markup"]:
        return f"held at a markup of {row['held_markup']} ppm and charged at {row['markup_ppm']}"
    try:
        if version not in versions:
            versions[version] = load_prices(tx, version)
        charge = rate(_usages(row), versions[version], markup_ppm=row["markup_ppm"])
    except (ValueError, InternalError) as error:
        return f"cannot be rated again: {error}"
    expected = (charge.exact_pico_usd, min(charge.amount_micro_usd, row["hold_amount"]))
    actual = (row["exact_pico_usd"], row["amount"])
    return fault_unless(actual == expected, f"exact price and charge are {actual}, rated again {expected}")


# ------------------------------------------------------------------------------------------------------ I9, I10: attempts

_held_requests = select(request.c.id, request.c.expires_at_ms).where(request.c.state == literal_column("'held'"))
_attempts = select(
    attempt.c.id,
    attempt.c.state,
    attempt.c.cost_basis,
    attempt.c.cost_pico_usd,
    attempt.c.late_at_ms,
    request.c.state.label("request_state"),
).join(request, request.c.id == attempt.c.request_id)
_COST_OF_SUCCESS = frozenset({"reported", "estimated"})
# States of a call whose answer cannot have come late.
_HEARD_IN_TIME = frozenset({"sent", "ok"})


def nothing_is_forgotten(at: Snapshot) -> Checked:
    """Check that no request is held past its time, and that no call is open on a request that has ended."""
    for row in at.tx.each(_held_requests):
        late_ms = at.now_ms - row["expires_at_ms"]
        yield row["id"], fault_unless(late_ms <= SWEEP_MARGIN_MS, f"held {late_ms} ms past its time")
    for row in at.tx.each(_attempts):
        right = row["state"] != "sent" or row["request_state"] == "held"
        yield row["id"], fault_unless(right, f"open, yet its request is {row['request_state']}")


def every_cost_is_explained(at: Snapshot) -> Checked:
    """Check that a call that has ended says what it cost the operator and how that is known, and a success what it cost.

    An answer that came late belongs to a call that was given up.
    """
    for row in at.tx.each(_attempts):
        basis, cost = row["cost_basis"], row["cost_pico_usd"]
        if row["state"] == "sent":
            right = basis is None and cost is None
        else:
            right = basis is not None and cost is not None and cost >= 0
            right = right and (row["state"] != "ok" or basis in _COST_OF_SUCCESS)
        right = right and (row["late_at_ms"] is None or row["state"] not in _HEARD_IN_TIME)
        late = "" if row["late_at_ms"] is None else ", answered late"
        yield row["id"], fault_unless(right, f"{row['state']}, cost {cost}, basis {basis}{late}")


_billed_calls = (
    select(
        attempt.c.id,
        attempt.c.cost_pico_usd,
        attempt.c.cost_basis,
        attempt.c.provider,
        func.sum(provider_statement.c.amount_pico_usd).label("billed"),
        func.max(case((provider_statement.c.provider != attempt.c.provider, 1), else_=0)).label("mixed"),
    )
    .join(provider_statement, provider_statement.c.attempt_id == attempt.c.id)
    .where(attempt.c.explained_at_ms.is_not(None))
    .group_by(attempt.c.id, attempt.c.cost_pico_usd, attempt.c.cost_basis, attempt.c.provider)
)
_unexplained = select(func.count().label("calls")).where(
    attempt.c.explained_at_ms.is_not(None), among(attempt.c.state, "unknown", "sent")
)


def explained_costs_are_as_billed(at: Snapshot) -> Checked:
    """Check that a call which a provider's file explains costs what the file bills, and that no explained call is unknown."""
    for row in at.tx.each(_billed_calls):
        difference = abs(row["cost_pico_usd"] - max(row["billed"], 0))
        right = difference <= TOLERANCE_PICO_USD and not row["mixed"]
        yield row["id"], fault_unless(right, f"costs {row['cost_pico_usd']}, {row['provider']} bills {row['billed']}")
    found = at.tx.first(_unexplained)
    count = 0 if found is None else found["calls"]
    yield "attempt", fault_unless(not count, f"{count} calls are explained and yet unknown")


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
        yield (
            row["id"],
            fault_unless(not row["mixed"], "its account, key or usage belongs to another workspace or mode"),
        )
    for row in at.tx.each(_sides):
        right = row["one_workspace"] and row["debit_mode"] == row["credit_mode"]
        right = right and row["workspace_side"] == row["chain_account_id"]
        yield row["id"], fault_unless(right, "moves money between workspaces, between modes, or along a foreign chain")


# ----------------------------------------------------------------------------------------------------------------- sums

_GROUP = ("workspace_id", "mode", "model", "key_id", "route")
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
        yield (
            f"{day} {' '.join(group)}",
            fault_unless(actual == expected, f"the day says {actual}, its records {expected}"),
        )
    count = at.tx.first(_day_count)
    stored = 0 if count is None else count["days"]
    yield "usage_day", fault_unless(stored == days, f"{stored} days are stored, the records make {days}")


_corrections_by_day = (
    select(transfer, *(usage_record.c[name] for name in _GROUP))
    .join(usage_record, usage_record.c.request_id == transfer.c.request_id)
    .where(is_correction)
    .order_by(*(usage_record.c[name] for name in _GROUP), transfer.c.at_ms)
)
_corrections_of_day = select(correction_day).where(
    *(correction_day.c[name] == bindparam(name) for name in _GROUP), correction_day.c.day == bindparam("day")
)
_correction_day_count = select(func.count().label("days")).select_from(correction_day)


def days_of_corrections_add_up(at: Snapshot) -> Checked:
    """Check that the sums of every day are the sums of its refunds and adjustments, and that there are no others."""
    days = 0
    for (*group, number), rows in groupby(at.tx.each(_corrections_by_day), key=_day_key):
        days += 1
        day = (_EPOCH + datetime.timedelta(days=number)).isoformat()
        found = at.tx.first(_corrections_of_day, day=day, **dict(zip(_GROUP, group, strict=True)))
        expected = {"refunded": 0, "adjusted": 0}
        for row in rows:
            name, credit = ("refunded", 1) if row["kind"] == "refund" else ("adjusted", -1)
            sign = credit if row["credit_account_id"] == row["chain_account_id"] else -credit
            expected[name] += sign * row["amount"]
        actual = None if found is None else {name: found[name] for name in expected}
        yield (
            f"{day} {' '.join(group)}",
            fault_unless(actual == expected, f"the day says {actual}, its transfers {expected}"),
        )
    count = at.tx.first(_correction_day_count)
    stored = 0 if count is None else count["days"]
    yield "correction_day", fault_unless(stored == days, f"{stored} days are stored, the transfers make {days}")


def days_of_margins_add_up(at: Snapshot) -> Checked:
    """Check that the sums behind margins are those of the requests that were added up, with what their calls cost now."""
    for day, stored, expected in margins.stored_and_expected(at.tx):
        yield day, fault_unless(stored == expected, f"the day says {stored}, its requests {expected}")
    yield (
        "margin_progress",
        fault_unless(margins.reaches_a_request(at.tx), "they have come to no request that has ended"),
    )


def _day_key(row: Row) -> tuple[str, str, str, str, str, int]:
    day = row["at_ms"] // DAY_MS
    return row["workspace_id"], row["mode"], row["model"], row["key_id"], row["route"], day


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
        "output_tokens": total.output_tokens,
        "amount": amount,
    }
