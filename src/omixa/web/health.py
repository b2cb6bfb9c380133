"""GET /docs/models/{id}/health: how the routes of a model did lately. It tells shares and times, never numbers of calls."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Literal

import msgspec

from omixa.domain.access import Mode
from omixa.domain.models import Model
from omixa.domain.money import format_percent
from omixa.services import Services
from omixa.usage.health import RouteHealth, route_health

# However many readers there are, the calls are read this often.
KEPT_S = 10.0
# A route that answers fewer than these of a hundred calls is in trouble, or does not work.
_TROUBLE_BELOW, _BROKEN_BELOW = 95, 50

State = Literal["ok", "warn", "bad", "quiet"]


class Route(msgspec.Struct):
    """One route. `answered` is in percent, times in seconds; None where there were no calls in the last day."""

    route: str
    keys: list[Mode]
    state: State
    answered: str | None
    p50: str | None
    p95: str | None


class Health(msgspec.Struct):
    """The answer."""

    routes: list[Route]


class Board:
    """What is known of all routes, read again when it is old."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._known: Mapping[str, RouteHealth] = {}
        self._read_at_s: float | None = None

    async def health(self, model: Model) -> Health:
        """Return how a model's routes did. Raises LedgerUnavailable."""
        now_s = time.monotonic()
        if self._read_at_s is None or now_s - self._read_at_s > KEPT_S:
            self._known = await self._services.database.read(route_health)
            self._read_at_s = now_s
        return Health(
            [
                _route(deployment.id, sorted(deployment.modes), self._known.get(deployment.id))
                for deployment in self._services.router.deployments
                if deployment.model.lower() == model.id.lower()
            ]
        )


def _route(name: str, keys: list[Mode], health: RouteHealth | None) -> Route:
    if health is None:
        return Route(name, keys, "quiet", None, None, None)
    percent = 100 * health.answered // health.calls
    state: State = "ok" if percent >= _TROUBLE_BELOW else "warn" if percent >= _BROKEN_BELOW else "bad"
    return Route(
        name,
        keys,
        state,
        format_percent(health.answered, health.calls),
        _seconds(health.p50_ms),
        _seconds(health.p95_ms),
    )


def _seconds(duration_ms: int | None) -> str | None:
    return None if duration_ms is None else f"{duration_ms // 1000}.{duration_ms % 1000 // 100}"
