"""How the calls of deployments went lately, from the rows that are there anyway."""

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
class Call:
    """How a call ended. `duration_ms` is None where it made no picture."""

    is_answered: bool
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """How many of how many calls were answered, and in how many milliseconds those that made a picture.

    The times are None where none did.
    """

    calls: int
    answered: int
    p50_ms: int | None
    p95_ms: int | None


def last_calls(tx: Transaction) -> Mapping[str, Sequence[Call]]:
    """Return the last calls of the last day by deployment, without those that run and those whose end nobody saw."""
    ended: dict[str, list[Call]] = {}
    for row in tx.all(_last_calls, since=first_id("att", tx.now_ms() - WINDOW_MS)):
        if row["state"] in ("sent", "superseded"):
            continue
        made = row["state"] == "ok"
        duration_ms = row["ended_at_ms"] - row["sent_at_ms"] if made else None
        ended.setdefault(row["deployment"], []).append(Call(made or row["error_code"] in _ANSWERS, duration_ms))
    return ended


def health(calls: Sequence[Call]) -> Health:
    """Return how calls went."""
    durations = sorted(call.duration_ms for call in calls if call.duration_ms is not None)
    return Health(
        calls=len(calls),
        answered=sum(call.is_answered for call in calls),
        p50_ms=_rank(durations, 50),
        p95_ms=_rank(durations, 95),
    )


def _rank(durations: Sequence[int], percent: int) -> int | None:
    """Return the least duration that so many percent do not exceed."""
    return durations[-(-len(durations) * percent // 100) - 1] if durations else None
