"""Usage by day or month, split by model, key or route: as bars, as a table, as a file; and what it comes to."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlencode

import msgspec
from msgspec import UnsetType

from omixa.access import store
from omixa.api.queries import RollupQuery, parse_query
from omixa.domain.money import format_usd
from omixa.domain.times import utc_date
from omixa.errors import InvalidRequest
from omixa.gateway.exports import csv_lines, direction
from omixa.gateway.outlook import Outlook, read_outlook
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import Grouping, PeriodType, Rollup
from omixa.web.console.charts import bars, share
from omixa.web.console.visit import Visit

_COLUMNS = (
    *("period", "model", "key_id", "key_name", "route", "requests", "images", "input_tokens", "output_tokens"),
    # A spreadsheet takes what begins with a minus for a formula, so the direction is a word.
    *("billed_amount", "refunded_amount", "adjustment", "adjusted_amount"),
)
# What a table shows, the last ones; a file has all.
_ROWS = 200
# Bars beside each other that can still be told apart.
_BARS = 93


async def show_usage(visit: Visit) -> None:
    """Send the page; by default the days of this month."""
    query, sums, key_names, outlook = await _read(visit)
    by_period: Counter[str] = Counter()
    for one in sums:
        by_period[one.period] += one.spent_micro_usd
    given = {name: str(value) for name, value in msgspec.to_builtins(query).items()}
    await visit.send(
        "console/usage.html",
        "Usage",
        section="usage",
        rows=sums[-_ROWS:],
        is_cut=len(sums) > _ROWS,
        total=sum(by_period.values()),
        requests=sum(one.requests for one in sums),
        images=sum(one.images for one in sums),
        bars=bars({period: by_period[period] for period in _periods(query)}) if sums else (),
        key_names=key_names,
        query=given,
        periods=get_args(PeriodType),
        groups=get_args(Grouping),
        csv=urlencode(given),
        now_ms=outlook.as_of_ms,
        outlook=outlook,
        budgets=[(one, share(one.budget.spent_micro_usd, one.budget.limit_micro_usd)) for one in outlook.budgets],
        calls=[visit.call("usage/rollups", **given), visit.call("usage/forecast")],
    )


async def usage_csv(visit: Visit) -> None:
    """Send the same sums as a file."""
    query, sums, key_names, _ = await _read(visit)
    lines = [
        (
            one.period,
            one.model or "",
            one.key_id or "",
            key_names.get(one.key_id or "", ""),
            one.route or "",
            one.requests,
            one.images,
            one.input_tokens,
            one.output_tokens,
            format_usd(one.amount_micro_usd),
            format_usd(one.refunded_micro_usd),
            direction(one.adjusted_micro_usd, "dearer", "cheaper"),
            format_usd(abs(one.adjusted_micro_usd)),
        )
        for one in sums
    ]
    name = f"usage-{visit.member.workspace}-{visit.mode}-{query.since}-{query.until}.csv"
    await visit.send_csv(name, csv_lines([_COLUMNS, *lines]))


async def _read(visit: Visit) -> tuple[RollupQuery, Sequence[Rollup], Mapping[str, str], Outlook]:
    asked = parse_query(visit.exchange, RollupQuery, blank_is_missing=True)

    def operation(tx: Transaction) -> tuple[RollupQuery, Sequence[Rollup], Mapping[str, str], Outlook]:
        query = _with_days(asked, utc_date(tx.now_ms()))
        by: frozenset[Grouping] = frozenset() if isinstance(query.group_by, UnsetType) else frozenset({query.group_by})
        sums = analytics.rollups(
            tx,
            visit.member.workspace_id,
            visit.mode,
            period_type=query.period_type,
            since=str(query.since),
            until=str(query.until),
            by=by,
        )
        keys = store.list_keys(tx, visit.member.workspace)
        names = {key.id: key.name or key.id for key in keys if key.mode == visit.mode}
        return query, sums, names, read_outlook(tx, visit.member.workspace_id, visit.mode)

    return await visit.services.database.read(operation)


def _periods(query: RollupQuery) -> list[str]:
    """Return the last days or months of a range, also those without usage, so that bars stand where they belong."""
    assert isinstance(query.since, datetime.date), "the range is known"
    assert isinstance(query.until, datetime.date), "the range is known"
    found: list[str] = []
    day = query.until
    while day >= query.since and len(found) < _BARS:
        found.append(f"{day:%Y-%m}" if query.period_type == "month" else day.isoformat())
        if day.toordinal() == 1:
            break
        day = (day.replace(day=1) if query.period_type == "month" else day) - datetime.timedelta(days=1)
    return found[::-1]


def _with_days(query: RollupQuery, today: datetime.date) -> RollupQuery:
    """Return which days are meant where the address does not say: this month's, or this year's months."""
    first = today.replace(day=1) if query.period_type == "day" else today.replace(month=1, day=1)
    until = today if isinstance(query.until, UnsetType) else query.until
    since = min(first, until) if isinstance(query.since, UnsetType) else query.since
    if until < since:
        raise InvalidRequest("until must not lie before since.", param="until")
    given: dict[str, Any] = {"since": since, "until": until}
    return msgspec.structs.replace(query, **given)
