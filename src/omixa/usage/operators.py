"""What an operator may read about requests and calls: those that failed, how they failed lately, and one with its costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Integer, Select, bindparam, func, select

from omixa.domain.access import Mode
from omixa.domain.ids import first_id
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import attempt, has_failed, parked_result, request, workspace
from omixa.usage.analytics import RequestState

# Of a busy gateway the last calls of a time say enough, and reading so many takes a few milliseconds.
MAX_CALLS = 5_000


@dataclass(frozen=True, slots=True)
class ProviderCallRow:
    """One call to a provider. `cost_pico_usd` is what it costs the operator, as far as `cost_basis` knows.

    `late_at_ms` is when its answer came after it had been given up.
    """

    n: int
    image_index: int
    deployment: str
    state: str
    provider_request_id: str | None
    upstream_status: int | None
    error_code: str | None
    diagnostics: str | None
    cost_pico_usd: int | None
    cost_basis: str | None
    sent_at_ms: int
    ended_at_ms: int | None
    late_at_ms: int | None


@dataclass(frozen=True, slots=True)
class OperatorView:
    """A request and its calls. Amounts are micro-USD, times Unix milliseconds."""

    id: str
    workspace: str
    mode: Mode
    key_id: str
    model: str
    operation: Literal["generation", "edit"]
    state: RequestState
    outcome: str | None
    hold_amount: int
    charge_amount: int | None
    refunded_amount: int
    adjusted_amount: int
    created_at_ms: int
    ended_at_ms: int | None
    calls: tuple[ProviderCallRow, ...]


_REQUEST_COLUMNS = tuple(name for name in OperatorView.__dataclass_fields__ if name not in ("workspace", "calls"))
_CALL_COLUMNS = tuple(ProviderCallRow.__dataclass_fields__)
_request = (
    select(*(request.c[name] for name in _REQUEST_COLUMNS), workspace.c.name.label("workspace"))
    .join(workspace, workspace.c.id == request.c.workspace_id)
    .where(request.c.id == bindparam("request_id"))
)
_calls = (
    select(*(attempt.c[name] for name in _CALL_COLUMNS))
    .where(attempt.c.request_id == bindparam("request_id"))
    .order_by(attempt.c.n)
)


def find_for_operator(tx: Transaction, request_id: str) -> OperatorView | None:
    """Return a request of any workspace with all that is kept for the operator, or None."""
    row = tx.first(_request, request_id=request_id)
    if row is None:
        return None
    calls = tuple(
        ProviderCallRow(**{name: call[name] for name in _CALL_COLUMNS})
        for call in tx.all(_calls, request_id=request_id)
    )
    return OperatorView(**{name: row[name] for name in (*_REQUEST_COLUMNS, "workspace")}, calls=calls)


# ------------------------------------------------------------------------------------------------------------ many calls


@dataclass(frozen=True, slots=True)
class CallMix:
    """How the calls of a deployment ended: how many there were, and how many with each error, the most frequent one first."""

    calls: int
    errors: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Return how many brought no picture."""
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True)
class FailedCall:
    """A call that brought no picture. Times are Unix milliseconds."""

    id: str
    request_id: str
    workspace: str
    mode: Mode
    model: str
    deployment: str
    state: Literal["failed_free", "failed_billed", "unknown"]
    upstream_status: int | None
    error_code: str | None
    sent_at_ms: int
    ended_at_ms: int


@dataclass(frozen=True, slots=True)
class FailedPage:
    """Calls, newest first. `next_after` is the cursor of the following page, None on the last one."""

    calls: tuple[FailedCall, ...]
    next_after: str | None


_lately = (
    select(attempt.c.deployment, attempt.c.state, attempt.c.error_code)
    # Ids sort by time.
    .where(attempt.c.id >= bindparam("since"), attempt.c.state != "sent")
    .order_by(attempt.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
    .subquery()
)
_mix = (
    select(_lately.c.deployment, _lately.c.state, _lately.c.error_code, func.count().label("calls"))
    .group_by(_lately.c.deployment, _lately.c.state, _lately.c.error_code)
    .order_by(func.count().desc(), _lately.c.error_code)
)


def call_mix(tx: Transaction, *, since_ms: int) -> Mapping[str, CallMix]:
    """Return how the last calls since a time ended, MAX_CALLS at most, by deployment. Calls that run are left out."""
    calls: dict[str, int] = {}
    errors: dict[str, dict[str, int]] = {}
    for row in tx.all(_mix, since=first_id("att", since_ms), limit=MAX_CALLS):
        name = row["deployment"]
        calls[name] = calls.get(name, 0) + row["calls"]
        own = errors.setdefault(name, {})
        if row["state"] not in ("ok", "superseded"):
            code = row["error_code"] or row["state"]
            own[code] = own.get(code, 0) + row["calls"]
    return {name: CallMix(calls[name], errors[name]) for name in calls}


def _failed_query(*, of_one: bool, is_first: bool) -> Select[Any]:
    # The index alone says which calls these are, so that none but those of the page is looked up.
    ids = select(attempt.c.id).where(has_failed).order_by(attempt.c.id.desc()).limit(bindparam("limit", type_=Integer))
    if of_one:
        ids = ids.where(attempt.c.deployment == bindparam("deployment"))
    if not is_first:
        ids = ids.where(attempt.c.id < bindparam("after"))
    page = ids.subquery()
    return (
        select(
            *(attempt.c[name] for name in ("id", "request_id", "deployment", "state", "upstream_status", "error_code")),
            *(attempt.c.sent_at_ms, attempt.c.ended_at_ms, request.c.mode, request.c.model),
            workspace.c.name.label("workspace"),
        )
        .select_from(page)
        .join(attempt, attempt.c.id == page.c.id)
        .join(request, request.c.id == attempt.c.request_id)
        .join(workspace, workspace.c.id == request.c.workspace_id)
        .order_by(attempt.c.id.desc())
    )


_FAILED = {
    (of_one, is_first): _failed_query(of_one=of_one, is_first=is_first)
    for of_one in (True, False)
    for is_first in (True, False)
}


def failed_calls(tx: Transaction, *, limit: int, after: str | None = None, deployment: str | None = None) -> FailedPage:
    """Return up to `limit` calls that failed, newest first, older than the call `after`; of all deployments, or of one."""
    given = {} if deployment is None else {"deployment": deployment}
    if after is not None:
        given["after"] = after
    rows = tx.all(_FAILED[deployment is not None, after is None], limit=limit + 1, **given)
    calls = tuple(_failed(row) for row in rows[:limit])
    return FailedPage(calls, calls[-1].id if calls and len(rows) > limit else None)


def _failed(row: Row) -> FailedCall:
    return FailedCall(**{name: row[name] for name in FailedCall.__dataclass_fields__})


# ------------------------------------------------------------------------------------------------- what waits for somebody

_parked = select(func.count().label("parked")).where(parked_result.c.expires_at_ms > bindparam("now"))


def count_parked(tx: Transaction) -> int:
    """Return how many results were made, never charged, and wait for a repeat of their request."""
    row = tx.first(_parked, now=tx.now_ms())
    assert row is not None, "a count is one row"
    return int(row["parked"])
