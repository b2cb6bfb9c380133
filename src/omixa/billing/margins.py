"""What was charged beside what the providers charge: the operator's margin, by month, model and provider.

A request belongs to the month in which it ended, with all its calls, and to the provider that made its first picture. Refunds
and adjustments belong to the month in which they were made. Sums are made here and not by the database, because a sum of
pico-USD can be larger than its integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import BigInteger, bindparam, literal_column, select

from omixa.domain.access import Mode
from omixa.domain.money import PICO_PER_MICRO
from omixa.domain.times import utc_date
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import attempt, is_correction, request, transfer

# What stands for the provider of requests that no provider was called for.
NO_PROVIDER = ""

_ended = (
    select(
        request.c.id,
        request.c.model,
        request.c.state.label("request_state"),
        request.c.charge_amount,
        request.c.ended_at_ms.label("at_ms"),
        attempt.c.image_index,
        attempt.c.provider,
        attempt.c.state,
        attempt.c.cost_pico_usd,
        attempt.c.cost_basis,
    )
    .outerjoin(attempt, attempt.c.request_id == request.c.id)
    .where(
        request.c.mode == bindparam("mode"),
        request.c.ended_at_ms >= bindparam("since_ms", type_=BigInteger),
        request.c.ended_at_ms < bindparam("until_ms", type_=BigInteger),
    )
    .order_by(request.c.id, attempt.c.image_index, attempt.c.n)
)


_first_provider = (
    select(attempt.c.provider)
    .where(attempt.c.request_id == request.c.id, attempt.c.state == literal_column("'ok'"))
    .order_by(attempt.c.image_index, attempt.c.n)
    .limit(literal_column("1"))
    .scalar_subquery()
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

    def margin(row: Row, provider: str) -> Margin:
        key = f"{utc_date(row['at_ms']):%Y-%m}", row["model"], provider
        return found.setdefault(key, Margin(*key))

    for calls in _requests(tx, mode, since_ms, until_ms):
        captured = calls[0]["request_state"] == "captured"
        if captured:
            first = next((call for call in calls if call["state"] == "ok"), calls[0])
            charged = margin(first, first["provider"] or NO_PROVIDER)
            charged.requests += 1
            charged.charged_micro_usd += calls[0]["charge_amount"]
        for call in calls:
            if call["provider"] is not None:
                _add_cost(margin(call, call["provider"]), call, captured=captured)
    for row in tx.each(_corrections, mode=mode, since_ms=since_ms, until_ms=until_ms):
        corrected = margin(row, row["provider"] or NO_PROVIDER)
        credited = row["amount"] if row["credit_account_id"] == row["chain_account_id"] else -row["amount"]
        if row["kind"] == "refund":
            corrected.refunded_micro_usd += credited
        else:
            corrected.adjusted_micro_usd -= credited
    return [found[key] for key in sorted(found)]


def _requests(tx: Transaction, mode: Mode, since_ms: int, until_ms: int) -> Iterator[Sequence[Row]]:
    rows = tx.each(_ended, mode=mode, since_ms=since_ms, until_ms=until_ms)
    for _, calls in groupby(rows, key=lambda row: row["id"]):
        yield list(calls)


def _add_cost(margin: Margin, call: Row, *, captured: bool) -> None:
    cost = call["cost_pico_usd"] or 0
    if call["state"] == "unknown":
        margin.unknown_calls += 1
    if not (captured and call["state"] == "ok"):
        margin.absorbed_pico_usd += cost
    elif call["cost_basis"] == "reported":
        margin.reported_pico_usd += cost
    else:
        margin.estimated_pico_usd += cost
