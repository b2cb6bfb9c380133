"""Usage by day or month, split by model, key or route: as bars, as a table, as a file; and what it comes to."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args
from urllib.parse import urlencode

import msgspec
from msgspec import UnsetType

from omixa.access import store
from omixa.api.queries import RollupQuery, parse_query
from omixa.domain.money import MICRO_PER_USD, format_usd
from omixa.domain.times import utc_date
from omixa.errors import InvalidRequest
from omixa.gateway.exports import csv_lines, direction
from omixa.gateway.outlook import Outlook, read_outlook
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import Grouping, PeriodType, Rollup
from omixa.web.console.charts import Chart, chart, share
from omixa.web.console.keys import key_names
from omixa.web.console.visit import Visit

_COLUMNS = (
    *("period", "model", "key_id", "key_name", "route", "requests", "images", "input_tokens", "output_tokens"),
    # A spreadsheet takes what begins with a minus for a formula, so the direction is a word.
    *("billed_amount", "refunded_amount", "adjustment", "adjusted_amount"),
)
# What a table shows, the last ones: a month of four models. A file has all.
_ROWS = 125
# Bars beside each other that can still be told apart.
_BARS = 93


@dataclass(frozen=True, slots=True)
class Group:
    """All periods of a model, key or route. `share` is how much of the whole was spent on it, in per mille."""

    name: str
    shade: int
    requests: int
    images: int
    spent_micro_usd: int
    share: int


async def show_usage(visit: Visit) -> None:
    """Send the page; by default the days of this month, split by model."""
    asked = parse_query(visit.exchange, RollupQuery, blank_is_missing=True)
    if not visit.exchange.scope["query_string"]:
        asked = msgspec.structs.replace(asked, group_by="model")
    query, sums, names, outlook = await _read(visit, asked)
    amounts: dict[str, dict[str, int]] = {period: {} for period in _periods(query)}
    groups: dict[str, list[Rollup]] = {}
    for one in sums:
        name = _group_of(one, query)
        groups.setdefault(name, []).append(one)
        if one.period in amounts:
            amounts[one.period][name] = one.spent_micro_usd
    totals = {name: sum(one.spent_micro_usd for one in of_group) for name, of_group in groups.items()}
    drawn = chart(amounts, _expected(query, outlook), totals) if sums else None
    total = sum(totals.values())
    given = {name: str(value) for name, value in msgspec.to_builtins(query).items()}
    await visit.send(
        "console/usage.html",
        "Usage",
        section="usage",
        rows=sums[-_ROWS:],
        is_cut=len(sums) > _ROWS,
        total=total,
        requests=sum(one.requests for one in sums),
        images=sum(one.images for one in sums),
        chart=drawn,
        groups=[] if drawn is None or not given.get("group_by") else _groups(groups, totals, total, drawn),
        key_names=names,
        query=given,
        periods=get_args(PeriodType),
        groupings=get_args(Grouping),
        csv=urlencode(given),
        now_ms=outlook.as_of_ms,
        outlook=outlook,
        expected=_about(outlook.month_expected_micro_usd),
        per_day=_about(outlook.per_day_micro_usd),
        budgets=[(one, share(one.budget.spent_micro_usd, one.budget.limit_micro_usd)) for one in outlook.budgets],
        calls=[visit.call("usage/rollups", **given), visit.call("usage/forecast")],
    )


def _group_of(one: Rollup, query: RollupQuery) -> str:
    """Return of what a sum is: a model, the id of a key or a route; nothing of everything, and where no route was kept."""
    known = {"model": one.model, "key": one.key_id, "route": one.route}
    return (known.get(query.group_by) if isinstance(query.group_by, str) else None) or ""


def _groups(groups: Mapping[str, Sequence[Rollup]], totals: Mapping[str, int], total: int, drawn: Chart) -> list[Group]:
    """Return what was spent on each, the most first."""
    shades: Mapping[str | None, int] = {name: number for number, name in enumerate(drawn.shades)}
    return [
        Group(
            name,
            shades.get(name, len(drawn.shades) - 1),
            sum(one.requests for one in groups[name]),
            sum(one.images for one in groups[name]),
            totals[name],
            share(totals[name], total),
        )
        for name in sorted(totals, key=lambda name: (-totals[name], name))
    ]


def _expected(query: RollupQuery, outlook: Outlook) -> dict[str, int]:
    """Return the days of this month that are still to come, with what is spent a day lately, where days until now are shown."""
    today = utc_date(outlook.as_of_ms)
    if query.period_type != "day" or query.until != today or not outlook.per_day_micro_usd:
        return {}
    days = range(1, 32 - today.day)
    later = (today + datetime.timedelta(days=number) for number in days)
    return {day.isoformat(): outlook.per_day_micro_usd for day in later if day.month == today.month}


def _about(micro_usd: int) -> int:
    """Return an amount that nobody knows exactly, to the cent, or where it is less than a dollar to a hundredth of that."""
    unit = 10_000 if micro_usd >= MICRO_PER_USD else 100
    return micro_usd // unit * unit


async def usage_csv(visit: Visit) -> None:
    """Send the same sums as a file."""
    asked = parse_query(visit.exchange, RollupQuery, blank_is_missing=True)
    query, sums, names, _ = await _read(visit, asked)
    lines = [
        (
            one.period,
            one.model or "",
            one.key_id or "",
            names.get(one.key_id or "", ""),
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


async def _read(visit: Visit, asked: RollupQuery) -> tuple[RollupQuery, Sequence[Rollup], Mapping[str, str], Outlook]:
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
        names = key_names(keys, visit.mode)
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
