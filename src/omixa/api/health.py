"""Is the process alive, and does it admit requests? For load balancers and supervisors."""

from __future__ import annotations

import msgspec

from omixa.access.store import find_workspace
from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.domain.access import DEFAULT_WORKSPACE
from omixa.errors import OmixaError
from omixa.services import Services


async def get_health(exchange: Exchange, services: Services) -> None:
    """Say that the process answers. Nothing else is asked, so that a restart never follows from a slow disk."""
    await exchange.respond_json(shapes.Health(status="ok"))


async def get_readiness(exchange: Exchange, services: Services) -> None:
    """Say whether requests are admitted: 200, or 503 with the reason."""
    reason = services.fail_stop.reason or await _unreadable(services)
    if reason is None:
        await exchange.respond_json(shapes.Readiness(status="ready"))
    else:
        failed = shapes.Readiness(status="failed", reason=reason)
        await exchange.respond(503, b"application/json", msgspec.json.encode(failed), [])


async def _unreadable(services: Services) -> str | None:
    """Return why the database cannot be read, if so."""
    try:
        await services.database.read(lambda tx: find_workspace(tx, DEFAULT_WORKSPACE))
    except OmixaError as error:
        return error.message
    return None
