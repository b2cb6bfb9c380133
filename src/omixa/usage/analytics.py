"""What a workspace may read about its requests: one in detail, many in a list, sums by day or month.

Everything is scoped to a workspace and a mode. Amounts are micro-USD, times Unix milliseconds. What a call cost the operator
is none of the customer's business and is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import Integer, Select, Table, Text, and_, bindparam, func, null, select

from omixa.domain.access import Mode
from omixa.domain.images import Usage
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import attempt, correction_day, is_correction, request, transfer, usage_day, usage_record
from omixa.usage.records import add_up, decode_usages

RequestState = Literal["held", "captured", "released"]
PeriodType = Literal["day", "month"]
Grouping = Literal["model", "key"]
CorrectionKind = Literal["refund", "adjustment"]

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
    """One call to a provider: `n` counts from 1 within the request, `image_index` from 0."""

    n: int
    image_index: int
    provider: str
    deployment: str
    state: str
    upstream_status: int | None
    error_code: str | None
    sent_at_ms: int
    ended_at_ms: int | None


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
    """Requests, newest first. `next_after` is the cursor of the following page, None on the last one."""

    requests: tuple[RequestSummary, ...]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Rollup:
    """Sums of a period: a UTC day as 2026-11-23 or a month as 2026-11. `model` and `key_id` are None where not asked for.

    Corrections count in the period in which they were made, whenever their request was charged.
    """

    period: str
    model: str | None
    key_id: str | None
    requests: int = 0
    images: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    amount_micro_usd: int = 0
    refunded_micro_usd: int = 0
    adjusted_micro_usd: int = 0


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
_with_usage = (
    select(
        request,
        usage_record.c.usage_json,
        usage_record.c.exact_pico_usd,
    )
    .outerjoin(usage_record, usage_record.c.request_id == request.c.id)
    .where(*_of_workspace)
)
_one = _with_usage.where(request.c.id == bindparam("request_id"))
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id")).order_by(attempt.c.n)


_corrections = (
    select(transfer)
    .where(is_correction, transfer.c.request_id == bindparam("request_id"))
    .order_by(transfer.c.chain_seq)
)


def _filter(name: str) -> Any:
    """Return a condition that holds for every row when the parameter is None."""
    value = bindparam(name, type_=Text)
    return value.is_(None) | (request.c[name] == value)


_newest = (
    _with_usage.where(_filter("model"), _filter("state"), _filter("key_id"))
    .order_by(request.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_older = _newest.where(request.c.id < bindparam("after"))


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


def list_requests(
    tx: Transaction,
    workspace_id: str,
    mode: Mode,
    *,
    limit: int,
    after: str | None = None,
    model: str | None = None,
    state: RequestState | None = None,
    key_id: str | None = None,
) -> RequestPage:
    """Return up to `limit` requests, newest first, older than the request `after`; None as a filter takes all."""
    # One more than asked for tells whether there is a next page.
    filters = {
        "workspace_id": workspace_id,
        "mode": mode,
        "model": model,
        "state": state,
        "key_id": key_id,
        "limit": limit + 1,
    }
    rows = tx.all(_newest, **filters) if after is None else tx.all(_older, after=after, **filters)
    page = tuple(_summary(row) for row in rows[:limit])
    return RequestPage(page, page[-1].id if page and len(rows) > limit else None)


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


def _sums(days: Table, names: Sequence[str], period_type: PeriodType, by_model: bool, by_key: bool) -> Select[Any]:
    period = func.substr(days.c.day, 1, _PERIOD_CHARS[period_type]).label("period")
    groups = [days.c.model] * by_model + [days.c.key_id] * by_key
    blank = [null().label("model")] * (not by_model) + [null().label("key_id")] * (not by_key)
    totals = [func.sum(days.c[name]).label(name) for name in names]
    condition = and_(
        days.c.workspace_id == bindparam("workspace_id"),
        days.c.mode == bindparam("mode"),
        days.c.day.between(bindparam("since"), bindparam("until")),
    )
    return select(period, *groups, *blank, *totals).where(condition).group_by(period, *groups).order_by(period, *groups)


def _every_way(days: Table, names: Sequence[str]) -> Mapping[tuple[PeriodType, bool, bool], Select[Any]]:
    """Return the sums of a table for every period and grouping."""
    return {
        (period_type, by_model, by_key): _sums(days, names, period_type, by_model, by_key)
        for period_type in _PERIOD_CHARS
        for by_model in (False, True)
        for by_key in (False, True)
    }


_SUMS = _every_way(usage_day, _TOTALS)
_CORRECTIONS = _every_way(correction_day, ("refunded", "adjusted"))
# Period, model and key of a sum.
_Group = tuple[str, str | None, str | None]


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
    """Return usage summed by UTC day or month, oldest first, and by model or key where asked for.

    `since` and `until` are days such as 2026-11-23; both belong to the range. A month that lies partly outside counts the
    days inside.
    """
    days = {"since": since or _FIRST_DAY, "until": until or _LAST_DAY}
    found: dict[_Group, Rollup] = {}
    for row in tx.all(_SUMS[period_type, "model" in by, "key" in by], workspace_id=workspace_id, mode=mode, **days):
        group = row["period"], row["model"], row["key_id"]
        found[group] = Rollup(
            *group,
            requests=int(row["requests"]),
            images=int(row["images"]),
            input_tokens=int(row["input_tokens"]),
            output_tokens=int(row["output_tokens"]),
            amount_micro_usd=int(row["amount"]),
        )
    for row in tx.all(
        _CORRECTIONS[period_type, "model" in by, "key" in by], workspace_id=workspace_id, mode=mode, **days
    ):
        group = row["period"], row["model"], row["key_id"]
        sums = found.get(group) or Rollup(*group)
        found[group] = replace(sums, refunded_micro_usd=int(row["refunded"]), adjusted_micro_usd=int(row["adjusted"]))
    return [found[group] for group in sorted(found, key=lambda group: (group[0], group[1] or "", group[2] or ""))]
