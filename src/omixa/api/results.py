"""GET and DELETE /requests/{id}/result: a request's answer once more, or never again."""

from __future__ import annotations

from msgspec import UnsetType

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.images import send_answer
from omixa.api.queries import ResultQuery, parse_query
from omixa.api.stored import require_stored
from omixa.gateway.replay import load_answer
from omixa.services import Services
from omixa.usage import analytics


async def get_result(exchange: Exchange, services: Services) -> None:
    """Send a request's answer once more. Raises ResultNotFound, RequestInProgress or Gone."""
    query, request_id, principal = (
        parse_query(exchange, ResultQuery),
        exchange.path_parameters["request"],
        exchange.principal,
    )
    place = await services.database.read(
        lambda tx: analytics.find_result(tx, principal.workspace_id, principal.mode, request_id)
    )
    stored = require_stored(place, request_id)
    answer = await load_answer(services.results, request_id, stored.ref, stored.digest, stored.kept_until_ms)
    wanted = None if isinstance(query.response_format, UnsetType) else query.response_format
    await send_answer(exchange, services, answer, wanted)


async def delete_result(exchange: Exchange, services: Services) -> None:
    """Delete a request's result for good. Raises ResultNotFound, RequestInProgress or StorageUnavailable."""
    request_id, principal = exchange.path_parameters["request"], exchange.principal
    await services.deletion.delete(request_id, owner=(principal.workspace_id, principal.mode), actor=principal.key_id)
    services.thumbnails.forget(request_id)
    await exchange.respond_json(shapes.DeletedResult(id=request_id, deleted=True))
