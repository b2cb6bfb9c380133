"""What happened: one row per call to a provider, one usage record per charge, sums per day.

Functions of an open transaction, so that they commit together with the money they describe.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import bindparam, case, func, select, update

from omixa.domain.access import Mode
from omixa.domain.ids import new_id
from omixa.domain.images import Usage
from omixa.storage.database import Transaction
from omixa.storage.statements import among, insert_into
from omixa.storage.tables import attempt, correction_day, usage_day, usage_record

AttemptState = Literal["ok", "failed_free", "failed_billed", "unknown", "superseded"]
CostBasis = Literal["reported", "estimated", "none"]


@dataclass(frozen=True, slots=True)
class StartedAttempt:
    """A call that is about to be sent. `n` counts the calls of a request from 1, `image_index` its pictures from 0."""

    id: str
    request_id: str
    n: int
    image_index: int
    provider: str
    deployment: str


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """How a call ended and what it costs the operator, in pico-USD."""

    id: str
    state: AttemptState
    provider_request_id: str | None
    upstream_status: int | None
    error_code: str | None
    diagnostics: str | None
    usage: Usage | None
    cost_pico_usd: int
    cost_basis: CostBasis


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Enough to compute a charge again: usage, price version, markup, the exact price and the charge.

    `usages` has one entry for each picture that arrived, because each is priced by its own rule. `route` is the deployment that
    made the first of them.
    """

    request_id: str
    workspace_id: str
    key_id: str
    mode: Mode
    model: str
    usages: tuple[Usage, ...]
    exact_pico_usd: int
    amount_micro_usd: int
    markup_ppm: int
    price_version_id: str
    route: str


def new_attempt_id() -> str:
    """Return an id for a call."""
    return new_id("att")


_insert_attempt = insert_into(
    attempt, "id", "request_id", "n", "image_index", "provider", "deployment", "state", "sent_at_ms"
)
_end_attempt = (
    update(attempt)
    .where(attempt.c.id == bindparam("attempt_id"), attempt.c.state == "sent")
    .values(
        {
            name: bindparam(name)
            for name in (
                "state",
                "provider_request_id",
                "upstream_status",
                "error_code",
                "diagnostics",
                "usage_json",
                "cost_pico_usd",
                "cost_basis",
                "ended_at_ms",
            )
        }
    )
)


def start_attempts(tx: Transaction, attempts: Sequence[StartedAttempt]) -> None:
    """Record calls before their bytes leave the house."""
    now = tx.now_ms()
    tx.execute_many(
        _insert_attempt,
        [
            {
                "id": started.id,
                "request_id": started.request_id,
                "n": started.n,
                "image_index": started.image_index,
                "provider": started.provider,
                "deployment": started.deployment,
                "state": "sent",
                "sent_at_ms": now,
            }
            for started in attempts
        ],
    )


def end_attempts(tx: Transaction, attempts: Sequence[EndedAttempt]) -> None:
    """Record how calls ended; one that has ended before stays as it is."""
    now = tx.now_ms()
    tx.execute_many(
        _end_attempt,
        [
            {
                "attempt_id": ended.id,
                "state": ended.state,
                "provider_request_id": ended.provider_request_id,
                "upstream_status": ended.upstream_status,
                "error_code": ended.error_code,
                "diagnostics": ended.diagnostics,
                "usage_json": None if ended.usage is None else msgspec.json.encode(ended.usage).decode(),
                "cost_pico_usd": ended.cost_pico_usd,
                "cost_basis": ended.cost_basis,
                "ended_at_ms": now,
            }
            for ended in attempts
        ],
    )


_answer_late = (
    update(attempt)
    .where(
        attempt.c.id == bindparam("attempt_id"),
        among(attempt.c.state, "unknown", "superseded"),
        attempt.c.explained_at_ms.is_(None),
        attempt.c.late_at_ms.is_(None),
    )
    .values(
        # That another call was quicker stays true.
        state=case((attempt.c.state == "superseded", "superseded"), else_=bindparam("new_state")),
        provider_request_id=func.coalesce(bindparam("named"), attempt.c.provider_request_id),
        upstream_status=func.coalesce(bindparam("status"), attempt.c.upstream_status),
        diagnostics=func.coalesce(bindparam("said"), attempt.c.diagnostics),
        usage_json=bindparam("used"),
        cost_pico_usd=bindparam("cost"),
        cost_basis=bindparam("basis"),
        late_at_ms=bindparam("came_at"),
    )
    .returning(attempt.c.request_id)
)


def answer_late(tx: Transaction, ended: EndedAttempt, *, came_ago_ms: int) -> str | None:
    """Record what came of a call that was given up, and return its request; None where reconciliation has explained it.

    What callers were told of it stays as it is, and so does when it was given up.
    """
    row = tx.first(
        _answer_late,
        attempt_id=ended.id,
        new_state=ended.state,
        named=ended.provider_request_id,
        status=ended.upstream_status,
        said=ended.diagnostics,
        used=None if ended.usage is None else msgspec.json.encode(ended.usage).decode(),
        cost=ended.cost_pico_usd,
        basis=ended.cost_basis,
        came_at=tx.now_ms() - came_ago_ms,
    )
    return None if row is None else str(row["request_id"])


_abandon_attempts = (
    update(attempt)
    .where(attempt.c.request_id == bindparam("of_request"), attempt.c.state == "sent")
    .values(
        state="unknown",
        error_code=bindparam("code"),
        cost_pico_usd=0,
        cost_basis="none",
        ended_at_ms=bindparam("now"),
    )
)


def abandon_attempts(tx: Transaction, request_id: str, error_code: str) -> int:
    """End the calls of a request that nobody waits for any more and return how many; what they cost is not known."""
    return tx.execute(_abandon_attempts, of_request=request_id, code=error_code, now=tx.now_ms())


_insert_usage = insert_into(usage_record)
_day = (
    usage_day.c.workspace_id == bindparam("key_workspace"),
    usage_day.c.mode == bindparam("key_mode"),
    usage_day.c.day == bindparam("key_day"),
    usage_day.c.model == bindparam("key_model"),
    usage_day.c.key_id == bindparam("key_key"),
    usage_day.c.route == bindparam("key_route"),
)
_SUMS = ("requests", "images", "input_tokens", "output_tokens", "amount")
_add_to_day = update(usage_day).where(*_day).values({name: usage_day.c[name] + bindparam(name) for name in _SUMS})
_insert_day = insert_into(usage_day)


def record_usage(tx: Transaction, records: Sequence[UsageRecord]) -> None:
    """Keep charges' usage and add it to its day. The caller's transaction holds the workspaces' account rows."""
    now = tx.now_ms()
    tx.execute_many(_insert_usage, [_usage_row(record, now) for record in records])
    for key, sums in _sums_by_day(records, day_of(now)).items():
        workspace_id, mode, day, model, key_id, route = key
        changed = tx.execute(
            _add_to_day,
            key_workspace=workspace_id,
            key_mode=mode,
            key_day=day,
            key_model=model,
            key_key=key_id,
            key_route=route,
            **sums,
        )
        if not changed:
            tx.execute(
                _insert_day,
                workspace_id=workspace_id,
                mode=mode,
                day=day,
                model=model,
                key_id=key_id,
                route=route,
                **sums,
            )


def _usage_row(record: UsageRecord, now_ms: int) -> dict[str, object]:
    return {
        "request_id": record.request_id,
        "workspace_id": record.workspace_id,
        "mode": record.mode,
        "key_id": record.key_id,
        "model": record.model,
        "usage_json": encode_usages(record.usages),
        "exact_pico_usd": record.exact_pico_usd,
        "amount": record.amount_micro_usd,
        "markup_ppm": record.markup_ppm,
        "price_version_id": record.price_version_id,
        "at_ms": now_ms,
        "route": record.route,
    }


# Workspace, mode, day, model, key and route.
_DayKey = tuple[str, str, str, str, str, str]


def _sums_by_day(records: Sequence[UsageRecord], day: str) -> Mapping[_DayKey, Mapping[str, int]]:
    """Return what is to be added to each row of `usage_day`, in an order that is the same for every writer."""
    sums: defaultdict[_DayKey, Counter[str]] = defaultdict(Counter)
    for record in records:
        usage = add_up(record.usages)
        sums[record.workspace_id, record.mode, day, record.model, record.key_id, record.route].update(
            requests=1,
            images=usage.images,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            amount=record.amount_micro_usd,
        )
    return dict(sorted(sums.items()))


_of_day = tuple(
    correction_day.c[name] == bindparam(f"key_{name}")
    for name in ("workspace_id", "mode", "day", "model", "key_id", "route")
)
_add_correction = (
    update(correction_day)
    .where(*_of_day)
    .values(
        refunded=correction_day.c.refunded + bindparam("more_refunded"),
        adjusted=correction_day.c.adjusted + bindparam("more_adjusted"),
    )
)
_insert_correction_day = insert_into(correction_day)
# What was charged has a record.
_corrected_request = select(
    usage_record.c.workspace_id,
    usage_record.c.mode,
    usage_record.c.model,
    usage_record.c.key_id,
    usage_record.c.route,
).where(usage_record.c.request_id == bindparam("request_id"))


def record_correction(tx: Transaction, request_id: str, *, refunded: int = 0, adjusted: int = 0) -> None:
    """Add a refund or an adjustment to today's sums. The caller's transaction holds the request's row."""
    owner = tx.first(_corrected_request, request_id=request_id)
    assert owner is not None, "what was corrected exists"
    day = {**owner, "day": day_of(tx.now_ms())}
    keys = {f"key_{name}": value for name, value in day.items()}
    if not tx.execute(_add_correction, more_refunded=refunded, more_adjusted=adjusted, **keys):
        tx.execute(_insert_correction_day, refunded=refunded, adjusted=adjusted, **day)


def encode_usages(usages: Sequence[Usage]) -> str:
    """Return what the pictures of a request used as it is stored."""
    return msgspec.json.encode(usages).decode()


def decode_usages(text: str) -> tuple[Usage, ...]:
    """Return what the pictures of a request used from what is stored."""
    return msgspec.json.decode(text, type=tuple[Usage, ...])


def add_up(usages: Iterable[Usage]) -> Usage:
    """Return what several pictures used together."""
    return sum(usages, Usage())


def day_of(at_ms: int) -> str:
    """Return the UTC day of a time, as 2026-11-23."""
    return datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC).strftime("%Y-%m-%d")
