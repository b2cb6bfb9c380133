"""GET /usage/export: the usage or the transfers of a period as a file."""

from __future__ import annotations

from msgspec import UnsetType

from omixa.api.exchange import Exchange
from omixa.api.queries import ExportQuery, parse_query
from omixa.domain.times import end_of, start_of, utc_today
from omixa.errors import InvalidRequest
from omixa.gateway.exports import export
from omixa.services import Services
from omixa.usage.exports import Period

CSV = "text/csv"


async def export_usage(exchange: Exchange, services: Services) -> None:
    """Send the file while it is made."""
    query, principal = parse_query(exchange, ExportQuery), exchange.principal
    today = utc_today()
    since = today.replace(day=1) if isinstance(query.since, UnsetType) else query.since
    until = today if isinstance(query.until, UnsetType) else query.until
    if until < since:
        raise InvalidRequest("until must not lie before since.", param="until")
    period = Period(principal.workspace_id, principal.mode, start_of(since), end_of(until))
    name = f"{query.what}-{since}-{until}.{query.format}"
    media_type = f"{CSV}; charset=utf-8; header=present" if query.format == "csv" else "application/json"
    await exchange.start(
        200,
        [
            (b"content-type", media_type.encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"x-request-id", exchange.id.encode()),
        ],
    )
    async for piece in export(services.database, query.what, period, query.format):
        await exchange.send(piece, more=True)
    await exchange.send(b"", more=False)
