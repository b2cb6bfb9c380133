"""GET /keys: the keys of a workspace without their secrets.

Keys are made, changed, rolled and revoked by people, in the console or on the command line: a key that could make keys would go
on after it was revoked.
"""

from __future__ import annotations

from omixa.access import store
from omixa.access.store import KeyRow
from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.domain.access import Principal
from omixa.domain.times import iso_time
from omixa.errors import KeyNotFound
from omixa.services import Services
from omixa.storage.database import Transaction


async def list_keys(exchange: Exchange, services: Services) -> None:
    """Send the keys of the workspace in the mode of the key, newest first."""
    principal = exchange.principal

    def read(tx: Transaction) -> list[shapes.Key]:
        now_ms = tx.now_ms()
        found = store.list_keys(tx, principal.workspace)
        return [_shape(one, now_ms) for one in reversed(found) if one.mode == principal.mode]

    await exchange.respond_json(shapes.KeyList(data=await services.database.read(read)))


async def get_key(exchange: Exchange, services: Services) -> None:
    """Send one of them. Raises KeyNotFound."""
    key_id, principal = exchange.path_parameters["key"], exchange.principal
    await exchange.respond_json(await services.database.read(lambda tx: _find(tx, principal, key_id)))


def _find(tx: Transaction, principal: Principal, key_id: str) -> shapes.Key:
    # No database keeps this character.
    found = None if "\0" in key_id else store.find_key(tx, principal.workspace_id, principal.mode, key_id)
    if found is None:
        raise KeyNotFound(f"There is no key {key_id[:80]}.", param="key")
    return _shape(found, tx.now_ms())


def _shape(one: KeyRow, now_ms: int) -> shapes.Key:
    return shapes.Key(
        id=one.id,
        name=one.name,
        mode=one.mode,
        last4=one.last4,
        state=one.state(now_ms),
        models=None if one.models is None else list(one.models),
        requires_signature=one.requires_signature,
        requests_per_minute=one.limits.requests_per_minute,
        images_per_minute=one.limits.images_per_minute,
        concurrent_images=one.limits.concurrent_images,
        created_at=iso_time(one.created_at_ms),
        expires_at=_time_or_none(one.expires_at_ms),
        revoked_at=_time_or_none(one.revoked_at_ms),
    )


def _time_or_none(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_time(at_ms)
