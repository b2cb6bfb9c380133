"""What was charged beside what the providers charge: the operator's margin, by month, model and provider.

A request belongs to the month in which it ended, with all its calls, and to the provider that made its first picture. Refunds
and adjustments belong to the month in which they were made. The database adds up by days; large and small digits apart, because a
sum of pico-USD can be larger than its integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, func, literal_column, select

from omixa.domain.access import Mode
from omixa.domain.money import PICO_PER_MICRO
from omixa.domain.times import DAY_MS, utc_date
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import attempt, is_correction, request, transfer

# What stands for the provider of requests that no provider was called for.
NO_PROVIDER = ""

# Of what amounts are cut into: sums of either part fit in 64 bits for some 10^13 requests.
_PART = 1_000_000


def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value), BigInteger)


def _sum(amount: ColumnElement[Any]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """Return the sum of an amount in two parts, see `_whole`."""
    return (
        func.sum(amount // _number(_PART)).label("millions"),
        func.sum(amount % _number(_PART)).label("ones"),
    )


def _whole(row: Row) -> int:
    return int(row["millions"] or 0) * _PART + int(row["ones"] or 0)


_day = (request.c.ended_at_ms // _number(DAY_MS)).label("day")
_ended = (
    request.c.mode == bindparam("mode"),
    request.c.ended_at_ms >= bindparam("since_ms", type_=BigInteger),
    request.c.ended_at_ms < bindparam("until_ms", type_=BigInteger),
)

_calls = (
    select(attempt.c.provider)
    .where(attempt.c.request_id == request.c.id)
    .order_by(attempt.c.image_index, attempt.c.n)
    .limit(literal_column("1"))
)
_first_provider = _calls.where(attempt.c.state == literal_column("'ok'")).scalar_subquery()
_made_by = func.coalesce(_first_provider, _calls.scalar_subquery(), literal_column("''")).label("made_by")
_charges = (
    select(_day, request.c.model, _made_by, func.count().label("requests"), *_sum(request.c.charge_amount))
    .where(*_ended, request.c.state == literal_column("'captured'"))
    .group_by(_day, request.c.model, _made_by)
)
_cost_of = (request.c.state.label("request_state"), attempt.c.state, attempt.c.cost_basis)
_costs = (
    select(
        _day,
        request.c.model,
        attempt.c.provider,
        *_cost_of,
        func.count().label("calls"),
        *_sum(attempt.c.cost_pico_usd),
    )
    .join(attempt, attempt.c.request_id == request.c.id)
    .where(*_ended)
    .group_by(_day, request.c.model, attempt.c.provider, request.c.state, attempt.c.state, attempt.c.cost_basis)
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


def margins(tx: Transaction, mode: Mode, since_ms: int, until_ms: int) -> list[Margin]:
    """Return the margins of the requests that ended in a time, by month, model and provider."""
    found: dict[tuple[str, str, str], Margin] = {}
    time: Mapping[str, Any] = {"mode": mode, "since_ms": since_ms, "until_ms": until_ms}

    def margin(at_ms: int, model: str, provider: str | None) -> Margin:
        key = f"{utc_date(at_ms):%Y-%m}", model, provider or NO_PROVIDER
        return found.setdefault(key, Margin(*key))

    for row in tx.each(_charges, **time):
        charged = margin(row["day"] * DAY_MS, row["model"], row["made_by"])
        charged.requests += row["requests"]
        charged.charged_micro_usd += _whole(row)
    for row in tx.each(_costs, **time):
        _add_cost(margin(row["day"] * DAY_MS, row["model"], row["provider"]), row)
    for row in tx.each(_corrections, **time):
        corrected = margin(row["at_ms"], row["model"], row["provider"])
        credited = row["amount"] if row["credit_account_id"] == row["chain_account_id"] else -row["amount"]
        if row["kind"] == "refund":
            corrected.refunded_micro_usd += credited
        else:
            corrected.adjusted_micro_usd -= credited
    return [found[key] for key in sorted(found)]


def _add_cost(margin: Margin, row: Row) -> None:
    cost = _whole(row)
    if row["state"] == "unknown":
        margin.unknown_calls += row["calls"]
    if not (row["request_state"] == "captured" and row["state"] == "ok"):
        margin.absorbed_pico_usd += cost
    elif row["cost_basis"] == "reported":
        margin.reported_pico_usd += cost
    else:
        margin.estimated_pico_usd += cost
