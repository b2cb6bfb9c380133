"""How the calls of each route went lately, from the rows that are there anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from omixa.domain.ids import first_id
from omixa.errors import UpstreamRefused, UpstreamRejected
from omixa.storage.database import Transaction
from omixa.storage.tables import attempt

WINDOW_MS = 24 * 3_600_000
# Of a busy gateway, the last calls say enough, and reading them takes a millisecond.
MAX_CALLS = 1000

# A refusal is an answer too: the provider was there, and the caller asked for what it does not make.
_ANSWERS = frozenset({UpstreamRefused.default_code, UpstreamRejected.default_code})

_last_calls = (
    select(attempt.c.deployment, attempt.c.state, attempt.c.error_code, attempt.c.sent_at_ms, attempt.c.ended_at_ms)
    # Ids sort by time.
    .where(attempt.c.id >= bindparam("since"))
    .order_by(attempt.c.id.desc())
    .limit(MAX_CALLS)
)


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """The calls of a deployment: how many of how many were answered, and in how many milliseconds those that made a picture.

    The times are None where none did.
    """

    calls: int
    answered: int
    p50_ms: int | None
    p95_ms: int | None


def route_health(tx: Transaction) -> Mapping[str, RouteHealth]:
    """Return how the last calls of the last day went, by deployment, without those that run and those whose end nobody saw."""
    ended: dict[str, list[tuple[bool, int | None]]] = {}
    for row in tx.all(_last_calls, since=first_id("att", tx.now_ms() - WINDOW_MS)):
        if row["state"] in ("sent", "superseded"):
            continue
        made = row["state"] == "ok"
        duration_ms = row["ended_at_ms"] - row["sent_at_ms"] if made else None
        ended.setdefault(row["deployment"], []).append((made or row["error_code"] in _ANSWERS, duration_ms))
    return {deployment: _summary(calls) for deployment, calls in ended.items()}


def _summary(calls: Sequence[tuple[bool, int | None]]) -> RouteHealth:
    durations = sorted(duration for _, duration in calls if duration is not None)
    return RouteHealth(
        calls=len(calls),
        answered=sum(answered for answered, _ in calls),
        p50_ms=_rank(durations, 50),
        p95_ms=_rank(durations, 95),
    )


def _rank(durations: Sequence[int], percent: int) -> int | None:
    """Return the least duration that so many percent do not exceed."""
    return durations[-(-len(durations) * percent // 100) - 1] if durations else None
