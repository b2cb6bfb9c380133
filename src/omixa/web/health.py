"""GET /docs/models/{id}/health: how the routes of a model did lately. It tells shares and times, for anybody who asks.

Neither numbers of calls nor the names of an operator's accounts are anybody's business, so routes are told together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from omixa.domain.access import Mode
from omixa.domain.models import Model
from omixa.domain.money import format_percent
from omixa.services import Services
from omixa.usage.health import Call, health, last_calls
from omixa.web.models import routes_by_keys

# However many readers there are, the calls are read this often.
KEPT_S = 10.0
# A route that answers fewer than these of a hundred calls is in trouble, or does not work.
_TROUBLE_BELOW, _BROKEN_BELOW = 95, 50

State = Literal["ok", "warn", "bad", "quiet"]


class Routes(msgspec.Struct):
    """The routes for the same keys. `answered` is in percent, times are in seconds; None without calls in the last day."""

    keys: list[Mode]
    count: int
    state: State
    answered: str | None
    p50: str | None
    p95: str | None


class HealthAnswer(msgspec.Struct):
    """The answer."""

    routes: list[Routes]


class Board:
    """What is known of all calls, read again when it is old."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Mapping[str, Sequence[Call]] = {}
        self._read_at_s: float | None = None

    async def health(self, model: Model) -> HealthAnswer:
        """Return how a model's routes did. Raises LedgerUnavailable."""
        now_s = time.monotonic()
        if self._read_at_s is None or now_s - self._read_at_s > KEPT_S:
            self._known = await self._services.database.read(last_calls)
            self._read_at_s = now_s
        return HealthAnswer(
            [
                _routes(keys, [call for name in names for call in self._known.get(name, ())], len(names))
                for keys, names in routes_by_keys(model, self._services).items()
                # The simulator fails when it is told to, which says nothing of the model.
                if "live" in keys
            ]
        )


def _routes(keys: Sequence[Mode], calls: Sequence[Call], count: int) -> Routes:
    if not calls:
        return Routes(list(keys), count, "quiet", None, None, None)
    found = health(calls)
    percent = 100 * found.answered // found.calls
    state: State = "ok" if percent >= _TROUBLE_BELOW else "warn" if percent >= _BROKEN_BELOW else "bad"
    return Routes(
        keys=list(keys),
        count=count,
        state=state,
        answered=format_percent(found.answered, found.calls),
        p50=_seconds(found.p50_ms),
        p95=_seconds(found.p95_ms),
    )


def _seconds(duration_ms: int | None) -> str | None:
    return None if duration_ms is None else f"{duration_ms // 1000}.{duration_ms % 1000 // 100}"
