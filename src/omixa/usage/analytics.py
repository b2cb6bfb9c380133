"""What a workspace may read about its requests: one in detail, many in a list, sums by day or month.

Everything is scoped to a workspace and a mode. Amounts are micro-USD, times Unix milliseconds. What a call cost the operator
is none of the customer's business and is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, Integer, Select, Table, Text, and_, bindparam, func, literal_column, null, select

from omixa.domain.access import Mode
from omixa.domain.ids import first_id
from omixa.domain.images import Usage
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import attempt, correction_day, is_correction, request, transfer, usage_day, usage_record
from omixa.usage.records import add_up, decode_usages

RequestState = Literal["held", "captured", "released"]
PeriodType = Literal["day", "month"]
Grouping = Literal["model", "key", "route"]
CorrectionKind = Literal["refund", "adjustment"]

# An id begins with the time of the machine that made it, which may be this far from the database's.
_CLOCK_MARGIN_MS = 600_000
# Bounds for sums without a first or a last day.
_FIRST_DAY = "0000-01-01"
_LAST_DAY = "9999-12-31"


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """A request in a list. A request that is not captured has charged nothing and has no usage.

    `outcome` is "ok", an error's code, or None while the request runs. What was refunded and adjusted leaves the charge as it
    was; an adjustment below zero is in the customer's favour. `usages` has one entry for each picture that arrived.
    `result_expires_at_ms` is None without a result, `result_deleted_at_ms` where nobody had it deleted. `joined_requests` counts
    the retries that were answered by it, `parked_from` is the request whose result it charged for, where no provider was called.
    """

    id: str
    key_id: str
    model: str
    operation: str
    state: RequestState
    outcome: str | None
    held_micro_usd: int
    charged_micro_usd: int
    refunded_micro_usd: int
    adjusted_micro_usd: int
    usages: tuple[Usage, ...]
    result_expires_at_ms: int | None
    result_deleted_at_ms: int | None
    created_at_ms: int
    ended_at_ms: int | None
    joined_requests: int
    parked_from: str | None

    @property
    def usage(self) -> Usage | None:
        """Return what all pictures used together, None when nothing was captured."""
        return add_up(self.usages) if self.usages else None


@dataclass(frozen=True, slots=True)
class AttemptStep:
    """One call to a provider: `n` counts from 1 within the request, `image_index` from 0.

    `late_at_ms` is when its answer came after it had been given up.
    """

    n: int
    image_index: int
    provider: str
    deployment: str
    state: str
    upstream_status: int | None
    error_code: str | None
    sent_at_ms: int
    ended_at_ms: int | None
    late_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Correction:
    """A refund or an adjustment of a charge. `credited_micro_usd` is below zero where the customer paid more."""

    id: str
    kind: CorrectionKind
    credited_micro_usd: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class RequestDetails:
    """All that is known of a request. `exact_pico_usd` is None where nothing was charged.

    Attempts and corrections are in their order.
    """

    summary: RequestSummary
    mode: Mode
    parameters: Mapping[str, Any]
    price_version: str
    exact_pico_usd: int | None
    markup_ppm: int
    expires_at_ms: int
    attempts: tuple[AttemptStep, ...]
    corrections: tuple[Correction, ...]


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests, newest first. `next_after` is the cursor of the following page, None on the last one.

    `cut_after` is how many prompts a search had looked through when it stopped because that is as much as it may, so that the
    page may be short. It is None where it came to its end.
    """

    requests: tuple[RequestSummary, ...]
    next_after: str | None
    cut_after: int | None = None


@dataclass(frozen=True, slots=True)
class Rollup:
    """Sums of a period: a UTC day as 2026-11-23 or a month as 2026-11. Of `model`, `key_id` and `route`, those are None that were
    not asked for.

    A request counts for the deployment that made its first picture; `route` is empty for charges from before that was kept.
    Corrections count in the period in which they were made, whenever their request was charged.
    """

    period: str
    model: str | None
    key_id: str | None
    route: str | None
    requests: int = 0
    images: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    amount_micro_usd: int = 0
    refunded_micro_usd: int = 0
    adjusted_micro_usd: int = 0

    @property
    def spent_micro_usd(self) -> int:
        """Return what the period cost in the end."""
        return self.amount_micro_usd + self.adjusted_micro_usd - self.refunded_micro_usd


@dataclass(frozen=True, slots=True)
class ResultPlace:
    """Where a request's answer is stored. `ref` is None when there never was one, when it has expired or when it was deleted."""

    state: RequestState
    outcome: str | None
    charged_micro_usd: int
    ref: str | None
    digest: str | None
    expires_at_ms: int | None
    deleted_at_ms: int | None = None


# --------------------------------------------------------------------------------------------------------------- requests

_of_workspace = (request.c.workspace_id == bindparam("workspace_id"), request.c.mode == bindparam("mode"))
_every_with_usage = select(
    request,
    usage_record.c.usage_json,
    usage_record.c.exact_pico_usd,
).outerjoin(usage_record, usage_record.c.request_id == request.c.id)
_with_usage = _every_with_usage.where(*_of_workspace)
_one = _with_usage.where(request.c.id == bindparam("request_id"))
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id")).order_by(attempt.c.n)


_corrections = (
    select(transfer)
    .where(is_correction, transfer.c.request_id == bindparam("request_id"))
    .order_by(transfer.c.chain_seq)
)


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests of a log are meant; None takes all.

    `outcome` is "ok" or the code of an error, `since_ms` and `until_ms` are when a request was held, from the first until before
    the second.
    """

    model: str | None = None
    state: RequestState | None = None
    outcome: str | None = None
    key_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def ids(self, after: str | None) -> tuple[str, str]:
        """Return from which id on and before which one all requests lie that are meant and older than `after`."""
        first = "" if self.since_ms is None else first_id("req", max(self.since_ms - _CLOCK_MARGIN_MS, 0))
        last = _LAST_ID if self.until_ms is None else first_id("req", self.until_ms + _CLOCK_MARGIN_MS)
        return first, last if after is None else min(after, last)


_EVERYTHING = RequestFilter()
# By what of a filter an index finds requests. What else is given is checked on each row that this finds.
_Leading = Literal["failure", "released", "held", "key_id", "model", "all"]


def _optional(name: str) -> Any:
    """Return a condition that holds for every row when the parameter is None."""
    value = bindparam(name, type_=Text)
    return value.is_(None) | (request.c[name] == value)


# States are written into the statements, so that the indexes of one state alone serve them.
_released = request.c.state == literal_column("'released'")
_any = request.alias("any")
_held_ids = select(_any.c.id).where(_any.c.state == literal_column("'held'"))
# What is held is few, whosever it is. Wrapped like this, no index over the workspace's whole history is thought a better way.
_checked_workspace = (
    func.coalesce(request.c.workspace_id, "") == bindparam("workspace_id"),
    request.c.mode == bindparam("mode"),
)
_LED_BY: Mapping[_Leading, Sequence[Any]] = {
    "failure": (_released, request.c.outcome == bindparam("outcome"), _optional("key_id"), _optional("model")),
    "released": (_released, _optional("key_id"), _optional("model")),
    "held": (request.c.id.in_(_held_ids), _optional("key_id"), _optional("model")),
    "key_id": (request.c.key_id == bindparam("key_id"), _optional("model"), _optional("state")),
    "model": (request.c.model == bindparam("model"), _optional("state")),
    "all": (_optional("state"),),
}
_PAGES: Mapping[_Leading, Select[Any]] = {
    leading: _every_with_usage.where(
        *(_checked_workspace if leading == "held" else _of_workspace),
        *conditions,
        request.c.id < bindparam("before"),
        request.c.id >= bindparam("first"),
        request.c.created_at_ms >= bindparam("since_ms", type_=BigInteger),
        request.c.created_at_ms < bindparam("until_ms", type_=BigInteger),
    )
    .order_by(request.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
    for leading, conditions in _LED_BY.items()
}
# Behind every time and every id.
NEVER_MS = 1 << 47
_LAST_ID = "req_~"


def find_request(tx: Transaction, workspace_id: str, mode: Mode, request_id: str) -> RequestDetails | None:
    """Return what happened to a request, or None when the workspace has no such request in this mode."""
    row = tx.first(_one, workspace_id=workspace_id, mode=mode, request_id=request_id)
    if row is None:
        return None
    return RequestDetails(
        summary=_summary(row),
        mode=row["mode"],
        parameters=msgspec.json.decode(row["parameters_json"]),
        price_version=row["price_version_id"],
        exact_pico_usd=row["exact_pico_usd"],
        markup_ppm=row["markup_ppm"],
        expires_at_ms=row["expires_at_ms"],
        attempts=tuple(_step(step) for step in tx.all(_attempts, request_id=request_id)),
        corrections=tuple(_correction(made) for made in tx.all(_corrections, request_id=request_id)),
    )


def summarise(tx: Transaction, workspace_id: str, mode: Mode, request_ids: Sequence[str]) -> list[RequestSummary]:
    """Return requests of a workspace by their ids, in that order, without those that it does not have in this mode."""
    owner = {"workspace_id": workspace_id, "mode": mode}
    rows = tx.first_of_each(_one, [{"request_id": request_id, **owner} for request_id in request_ids])
    return [_summary(row) for row in rows if row is not None]


def list_requests(
    tx: Transaction,
    workspace_id: str,
    mode: Mode,
    *,
    limit: int,
    after: str | None = None,
    only: RequestFilter = _EVERYTHING,
) -> RequestPage:
    """Return up to `limit` requests that a filter lets through, newest first, older than the request `after`."""
    state = _state(only)
    if state == "none":
        return RequestPage((), None)
    first, before = only.ids(after)
    rows = tx.all(
        _PAGES[_leading(only, state)],
        workspace_id=workspace_id,
        mode=mode,
        model=only.model,
        state=state,
        outcome=only.outcome,
        key_id=only.key_id,
        before=before,
        first=first,
        since_ms=only.since_ms or 0,
        until_ms=NEVER_MS if only.until_ms is None else only.until_ms,
        # One more than asked for tells whether there is a next page.
        limit=limit + 1,
    )
    page = tuple(_summary(row) for row in rows[:limit])
    return RequestPage(page, page[-1].id if page and len(rows) > limit else None)


def _state(only: RequestFilter) -> RequestState | Literal["none"] | None:
    """Return in which state requests are that a filter means, "none" where it contradicts itself: an outcome tells a state."""
    if only.outcome is None:
        return only.state
    told: RequestState = "captured" if only.outcome == "ok" else "released"
    return told if only.state in (None, told) else "none"


def _leading(only: RequestFilter, state: RequestState | None) -> _Leading:
    if state == "released":
        return "released" if only.outcome is None else "failure"
    if state == "held":
        return "held"
    return "key_id" if only.key_id is not None else "model" if only.model is not None else "all"


def _summary(row: Row) -> RequestSummary:
    return RequestSummary(
        id=row["id"],
        key_id=row["key_id"],
        model=row["model"],
        operation=row["operation"],
        state=row["state"],
        outcome=row["outcome"],
        held_micro_usd=row["hold_amount"],
        charged_micro_usd=row["charge_amount"] or 0,
        refunded_micro_usd=row["refunded_amount"],
        adjusted_micro_usd=row["adjusted_amount"],
        usages=() if row["usage_json"] is None else decode_usages(row["usage_json"]),
        result_expires_at_ms=row["result_expires_at_ms"],
        result_deleted_at_ms=row["result_deleted_at_ms"],
        created_at_ms=row["created_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        joined_requests=row["joined_requests"],
        parked_from=row["parked_from"],
    )


def _step(row: Row) -> AttemptStep:
    return AttemptStep(
        n=row["n"],
        image_index=row["image_index"],
        provider=row["provider"],
        deployment=row["deployment"],
        state=row["state"],
        upstream_status=row["upstream_status"],
        error_code=row["error_code"],
        sent_at_ms=row["sent_at_ms"],
        ended_at_ms=row["ended_at_ms"],
        late_at_ms=row["late_at_ms"],
    )


def _correction(row: Row) -> Correction:
    return Correction(row["id"], row["kind"], _credited(row), row["at_ms"])


def _credited(row: Row) -> int:
    """Return what a transfer adds to the workspace's account."""
    amount: int = row["amount"]
    return amount if row["credit_account_id"] == row["chain_account_id"] else -amount


# ---------------------------------------------------------------------------------------------------------------- results

_result = select(
    request.c.state,
    request.c.outcome,
    request.c.charge_amount,
    request.c.result_ref,
    request.c.result_digest,
    request.c.result_expires_at_ms,
    request.c.result_deleted_at_ms,
).where(request.c.id == bindparam("request_id"))
_result_of_workspace = _result.where(*_of_workspace)


def find_result(tx: Transaction, workspace_id: str, mode: Mode, request_id: str) -> ResultPlace | None:
    """Return where a request's answer is, or None when the workspace has no such request in this mode.

    A captured request whose result has passed its time has no `ref`, even before the file is deleted.
    """
    row = tx.first(_result_of_workspace, workspace_id=workspace_id, mode=mode, request_id=request_id)
    return None if row is None else _place(tx, row)


def find_linked_result(tx: Transaction, request_id: str) -> ResultPlace | None:
    """Return where the answer of any workspace's request is. Only for whoever has a signed link to it."""
    row = tx.first(_result, request_id=request_id)
    return None if row is None else _place(tx, row)


def _place(tx: Transaction, row: Row) -> ResultPlace:
    expires_at_ms = row["result_expires_at_ms"]
    kept = expires_at_ms is not None and expires_at_ms > tx.now_ms()
    return ResultPlace(
        state=row["state"],
        outcome=row["outcome"],
        charged_micro_usd=row["charge_amount"] or 0,
        ref=row["result_ref"] if kept else None,
        digest=row["result_digest"],
        expires_at_ms=expires_at_ms,
        deleted_at_ms=row["result_deleted_at_ms"],
    )


# ------------------------------------------------------------------------------------------------------------------- sums

_TOTALS = ("requests", "images", "input_tokens", "output_tokens", "amount")
# How much of a day's name tells its period.
_PERIOD_CHARS: Mapping[PeriodType, int] = {"day": len("2026-11-23"), "month": len("2026-11")}


_GROUPS: Mapping[Grouping, str] = {"model": "model", "key": "key_id", "route": "route"}


def _sums(days: Table, names: Sequence[str], period_type: PeriodType, by: frozenset[Grouping]) -> Select[Any]:
    period = func.substr(days.c.day, 1, _PERIOD_CHARS[period_type]).label("period")
    groups = [days.c[column] for grouping, column in _GROUPS.items() if grouping in by]
    blank = [null().label(column) for grouping, column in _GROUPS.items() if grouping not in by]
    totals = [func.sum(days.c[name]).label(name) for name in names]
    condition = and_(
        days.c.workspace_id == bindparam("workspace_id"),
        days.c.mode == bindparam("mode"),
        days.c.day.between(bindparam("since"), bindparam("until")),
    )
    return select(period, *groups, *blank, *totals).where(condition).group_by(period, *groups).order_by(period, *groups)


_Sums = Mapping[tuple[PeriodType, frozenset[Grouping]], Select[Any]]


def _every_way(days: Table, names: Sequence[str]) -> _Sums:
    """Return the sums of a table for every period and grouping."""
    return {
        (period_type, frozenset(by)): _sums(days, names, period_type, frozenset(by))
        for period_type in _PERIOD_CHARS
        for count in range(len(_GROUPS) + 1)
        for by in combinations(_GROUPS, count)
    }


_SUMS = _every_way(usage_day, _TOTALS)
_CORRECTIONS = _every_way(correction_day, ("refunded", "adjusted"))
# Period, model, key and route of a sum.
_Group = tuple[str, str | None, str | None, str | None]


def rollups(
    tx: Transaction,
    workspace_id: str,
    mode: Mode,
    *,
    period_type: PeriodType,
    since: str | None = None,
    until: str | None = None,
    by: frozenset[Grouping] = frozenset(),
) -> list[Rollup]:
    """Return usage summed by UTC day or month, oldest first, and by model, key or route where asked for.

    `since` and `until` are days such as 2026-11-23; both belong to the range. A month that lies partly outside counts the
    days inside.
    """
    days = {"since": since or _FIRST_DAY, "until": until or _LAST_DAY}
    found: dict[_Group, Rollup] = {}
    for row in tx.all(_SUMS[period_type, by], workspace_id=workspace_id, mode=mode, **days):
        group = row["period"], row["model"], row["key_id"], row["route"]
        found[group] = Rollup(
            *group,
            requests=int(row["requests"]),
            images=int(row["images"]),
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            amount_micro_usd=int(row["amount"]),
        )
    for row in tx.all(_CORRECTIONS[period_type, by], workspace_id=workspace_id, mode=mode, **days):
        group = row["period"], row["model"], row["key_id"], row["route"]
        sums = found.get(group) or Rollup(*group)
        found[group] = replace(sums, refunded_micro_usd=int(row["refunded"]), adjusted_micro_usd=int(row["adjusted"]))
    return [found[group] for group in sorted(found, key=lambda group: tuple(name or "" for name in group))]
