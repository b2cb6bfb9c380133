"""What was charged beside what the providers charge: the operator's margin, by month, model and provider.

A request belongs to the month in which it ended, with all its calls, and to the provider that made its first picture. Refunds
and adjustments belong to the month in which they were made.

Requests are added up by days behind the work, in the order of their ids (`add_up`), and none twice: `margin_progress` says how
far that has come. What is younger is read as it is. Where a late answer or a provider's file changes what a call costs after its
request was added up, the difference is added to its day (`changing_cost`). Both write that row first, so none misses the other.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Integer, bindparam, func, literal_column, select, update

from omixa.domain.access import Mode
from omixa.domain.ids import first_id
from omixa.domain.money import PICO_PER_MICRO
from omixa.domain.times import DAY_MS, start_of, utc_date
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import attempt, is_correction, margin_day, margin_progress, request, transfer

# What stands for the provider of requests that no provider was called for.
NO_PROVIDER = ""
# Requests that are added up in one transaction.
BATCH = 500
# Younger requests wait: ids are made before a body is read, on machines whose clocks differ, and calls may still end. None of it
# takes nearly as long.
_SETTLED_MS: Final = 1_800_000
# Behind every id.
_LAST_ID: Final = "req_~"


# Of which sums are: mode, UTC day, model and provider.
_KEY: Final = ("mode", "day", "model", "provider")
_Key = tuple[str, str, str, str]
# Charges are micro-USD, costs pico-USD, as in `Margin`.
_SUMS: Final = (
    "requests",
    "charged",
    "reported_pico_usd",
    "estimated_pico_usd",
    "absorbed_pico_usd",
    "unknown_calls",
)
Sums = Counter[str]


@dataclass(slots=True)
class Margin:
    """One month of a model at a provider. Charges and their corrections are micro-USD, costs pico-USD.

    Costs of calls that made a picture for which a request was charged are apart by how they are known. All other costs are
    absorbed: failed and unknown calls, and pictures whose request was released. `unknown_calls` are those of which it is not
    known whether the provider charges for them.
    """

    month: str
    model: str
    provider: str
    requests: int = 0
    charged_micro_usd: int = 0
    refunded_micro_usd: int = 0
    adjusted_micro_usd: int = 0
    reported_pico_usd: int = 0
    estimated_pico_usd: int = 0
    absorbed_pico_usd: int = 0
    unknown_calls: int = 0

    @property
    def earned_micro_usd(self) -> int:
        """Return the charges after refunds and adjustments."""
        return self.charged_micro_usd - self.refunded_micro_usd + self.adjusted_micro_usd

    @property
    def margin_pico_usd(self) -> int:
        """Return what is left of that after all costs; below zero it is a loss."""
        costs = self.reported_pico_usd + self.estimated_pico_usd + self.absorbed_pico_usd
        return self.earned_micro_usd * PICO_PER_MICRO - costs


# ----------------------------------------------------------------------------------------------------------------- read


_first_call = (
    select(attempt.c.provider)
    .where(attempt.c.request_id == request.c.id)
    .order_by(attempt.c.image_index, attempt.c.n)
    .limit(literal_column("1"))
)
_first_provider = _first_call.where(attempt.c.state == literal_column("'ok'")).scalar_subquery()
_made_by = func.coalesce(_first_provider, _first_call.scalar_subquery(), literal_column("''")).label("made_by")
_between = (request.c.id > bindparam("after"), request.c.id <= bindparam("until"))
_day = (request.c.ended_at_ms // literal_column(str(DAY_MS), BigInteger)).label("day")
_charges = (
    select(
        request.c.mode,
        _day,
        request.c.model,
        _made_by,
        func.count().label("requests"),
        func.sum(request.c.charge_amount).label("charged"),
    )
    .where(*_between, request.c.state == literal_column("'captured'"))
    .group_by(request.c.mode, _day, request.c.model, _made_by)
)
_cost_of = (request.c.state.label("request_state"), attempt.c.state, attempt.c.cost_basis)
_costs = (
    select(
        request.c.mode,
        _day,
        request.c.model,
        attempt.c.provider,
        *_cost_of,
        func.count().label("calls"),
        func.sum(attempt.c.cost_pico_usd).label("cost_pico_usd"),
    )
    .join(attempt, attempt.c.request_id == request.c.id)
    .where(*_between, request.c.ended_at_ms.is_not(None))
    .group_by(
        request.c.mode,
        _day,
        request.c.model,
        attempt.c.provider,
        request.c.state,
        attempt.c.state,
        attempt.c.cost_basis,
    )
)
_of_days = select(margin_day).where(
    margin_day.c.mode == bindparam("of_mode"),
    margin_day.c.day >= bindparam("since"),
    margin_day.c.day < bindparam("until"),
)
_corrections = (
    select(transfer, request.c.model, _first_provider.label("provider"))
    .join(request, request.c.id == transfer.c.request_id)
    .where(
        is_correction,
        request.c.mode == bindparam("mode"),
        transfer.c.at_ms >= bindparam("since_ms", type_=BigInteger),
        transfer.c.at_ms < bindparam("until_ms", type_=BigInteger),
    )
)
_progress = select(margin_progress)


def margins(tx: Transaction, mode: Mode, since: datetime.date, until: datetime.date) -> list[Margin]:
    """Return the margins of the requests that ended from a UTC day on until before another, by month, model and provider."""
    found: dict[tuple[str, str, str], Margin] = {}

    def margin(day: str, model: str, provider: str) -> Margin:
        key = day[: len("2026-11")], model, provider
        return found.setdefault(key, Margin(*key))

    for row in tx.each(_of_days, of_mode=mode, since=since.isoformat(), until=until.isoformat()):
        _count(margin(row["day"], row["model"], row["provider"]), row)
    for (of_mode, day, model, provider), sums in _added_up(tx, _reached(tx)["until_id"], _LAST_ID).items():
        if of_mode == mode and since.isoformat() <= day < until.isoformat():
            _count(margin(day, model, provider), sums)
    for row in tx.each(_corrections, mode=mode, since_ms=start_of(since), until_ms=start_of(until)):
        corrected = margin(utc_date(row["at_ms"]).isoformat(), row["model"], row["provider"] or NO_PROVIDER)
        credited = row["amount"] if row["credit_account_id"] == row["chain_account_id"] else -row["amount"]
        if row["kind"] == "refund":
            corrected.refunded_micro_usd += credited
        else:
            corrected.adjusted_micro_usd -= credited
    return [found[key] for key in sorted(found)]


def _count(margin: Margin, sums: Mapping[str, int]) -> None:
    margin.requests += sums["requests"]
    margin.charged_micro_usd += sums["charged"]
    margin.reported_pico_usd += sums["reported_pico_usd"]
    margin.estimated_pico_usd += sums["estimated_pico_usd"]
    margin.absorbed_pico_usd += sums["absorbed_pico_usd"]
    margin.unknown_calls += sums["unknown_calls"]


def _added_up(tx: Transaction, after: str, until: str) -> dict[_Key, Sums]:
    """Return the sums of the requests behind one until another, as far as they have ended."""
    found: defaultdict[_Key, Sums] = defaultdict(Sums)
    for row in tx.each(_charges, after=after, until=until):
        found[(*_day_and_model(row), row["made_by"])].update(requests=row["requests"], charged=int(row["charged"]))
    for row in tx.each(_costs, after=after, until=until):
        found[(*_day_and_model(row), row["provider"])].update(_cost(row))
    return found


def _day_and_model(row: Row) -> tuple[str, str, str]:
    return row["mode"], utc_date(row["day"] * DAY_MS).isoformat(), row["model"]


def _cost(row: Row) -> Sums:
    """Return in which sum calls count."""
    kind = "absorbed_pico_usd"
    if row["request_state"] == "captured" and row["state"] == "ok":
        kind = "reported_pico_usd" if row["cost_basis"] == "reported" else "estimated_pico_usd"
    return Sums(
        {kind: int(row["cost_pico_usd"] or 0), "unknown_calls": row["calls"] if row["state"] == "unknown" else 0}
    )


# --------------------------------------------------------------------------------------------------------------- add up


@dataclass(frozen=True, slots=True)
class Portion:
    """Requests to be added up next: those behind `after` until `until`, and what they come to as of so many `changes`."""

    after: str
    until: str
    changes: int
    sums: Mapping[_Key, Sums]


_next = (
    select(request.c.id, request.c.state)
    .where(request.c.id > bindparam("after"), request.c.id < bindparam("before"))
    .order_by(request.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_advance = (
    update(margin_progress)
    .where(margin_progress.c.until_id == bindparam("after"), margin_progress.c.changes == bindparam("as_of"))
    .values(until_id=bindparam("until"))
)
_change = update(margin_progress).values(changes=margin_progress.c.changes + literal_column("1"))
_add_to_day = (
    update(margin_day)
    .where(*(margin_day.c[name] == bindparam(f"of_{name}") for name in _KEY))
    .values({name: margin_day.c[name] + bindparam(f"more_{name}") for name in _SUMS})
)
_insert_day = insert_into(margin_day)
_call = (
    select(
        attempt.c.request_id,
        request.c.mode,
        _day,
        request.c.model,
        attempt.c.provider,
        *_cost_of,
        literal_column("1").label("calls"),
        attempt.c.cost_pico_usd,
    )
    .join(request, request.c.id == attempt.c.request_id)
    .where(attempt.c.id == bindparam("attempt_id"))
)
_all_days = select(margin_day)
_ended = select(request.c.id).where(request.c.id == bindparam("request_id"), request.c.ended_at_ms.is_not(None))


def next_portion(tx: Transaction) -> Portion | None:
    """Return the oldest requests that were not added up, until the first that has not ended; None where there are none."""
    reached = _reached(tx)
    until = reached["until_id"]
    before = first_id("req", max(tx.now_ms() - _SETTLED_MS, 0))
    for row in tx.all(_next, after=until, before=before, limit=BATCH):
        if row["state"] == "held":
            break
        until = row["id"]
    if until == reached["until_id"]:
        return None
    return Portion(reached["until_id"], until, reached["changes"], _added_up(tx, reached["until_id"], until))


def add_up(tx: Transaction, portion: Portion) -> bool:
    """Add requests to their days and return whether that was done: not where somebody has done it or has changed a cost since."""
    if not tx.execute(_advance, after=portion.after, until=portion.until, as_of=portion.changes):
        return False
    for key, sums in sorted(portion.sums.items()):
        _add_to_day_of(tx, key, sums)
    return True


@contextmanager
def changing_cost(tx: Transaction, attempt_id: str) -> Iterator[None]:
    """Keep the sums right while inside it is written what a call costs after all, where its request has been added up."""
    tx.execute(_change)
    before = tx.first(_call, attempt_id=attempt_id)
    yield
    after = tx.first(_call, attempt_id=attempt_id)
    if before is None or after is None or before["request_id"] > _reached(tx)["until_id"]:
        return
    more = _cost(after)
    more.subtract(_cost(before))
    if any(more.values()):
        _add_to_day_of(tx, (*_day_and_model(after), after["provider"]), more)


def _add_to_day_of(tx: Transaction, key: _Key, sums: Sums) -> None:
    of = dict(zip(_KEY, key, strict=True))
    values = {f"of_{name}": value for name, value in of.items()} | {f"more_{name}": sums[name] for name in _SUMS}
    if not tx.execute(_add_to_day, **values):
        tx.execute(_insert_day, **of, **{name: sums[name] for name in _SUMS})


def _reached(tx: Transaction) -> Row:
    row = tx.first(_progress)
    assert row is not None, "the migration has put it there"
    return row


# --------------------------------------------------------------------------------------------------------------- verify


def reaches_a_request(tx: Transaction) -> bool:
    """Tell whether the sums have come to a request that has ended, or have not begun."""
    until = _reached(tx)["until_id"]
    return until == "" or tx.first(_ended, request_id=until) is not None


def stored_and_expected(tx: Transaction) -> Iterator[tuple[str, Mapping[str, int], Mapping[str, int]]]:
    """Give for each day, model and provider what is stored, and what the requests come to that were added up."""
    stored = {(row["mode"], row["day"], row["model"], row["provider"]): row for row in tx.each(_all_days)}
    expected = _added_up(tx, "", _reached(tx)["until_id"])
    for key in sorted({*stored, *expected}):
        row, sums = stored.get(key), expected.get(key, Sums())
        yield (
            " ".join(key),
            {name: 0 if row is None else int(row[name]) for name in _SUMS},
            {name: sums[name] for name in _SUMS},
        )
