"""Keys: GET /keys without their secrets, and for keys with the scope manage_keys what the console's page does.

What such a key makes are keys for pictures. Scopes are given by people alone, so that nothing that manages goes on in a key that
it has made itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UnsetType

from omixa.access import store
from omixa.access.store import KeyOwner, KeyRow
from omixa.api import shapes
from omixa.api.budgets import budget_shape
from omixa.api.exchange import Exchange
from omixa.api.fields import read_budgets, read_fields, read_last_day
from omixa.billing import budgets
from omixa.billing.budgets import Budget
from omixa.domain.access import Principal, Secret
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.errors import InvalidRequest, KeyNotFound
from omixa.gateway.workspaces import HOUR_MS
from omixa.services import Services
from omixa.storage.database import Transaction


async def list_keys(exchange: Exchange, services: Services) -> None:
    """Send the keys of the workspace in the mode of the key, newest first."""
    principal = exchange.principal

    def read(tx: Transaction) -> list[shapes.Key]:
        now_ms = tx.now_ms()
        found = store.list_keys(tx, principal.workspace)
        limits = budgets.list_budgets(tx, principal.account_id)
        return [_shape(one, limits, now_ms) for one in reversed(found) if one.mode == principal.mode]

    await exchange.respond_json(shapes.KeyList(data=await services.database.read(read)))


async def get_key(exchange: Exchange, services: Services) -> None:
    """Send one of them. Raises KeyNotFound."""
    await exchange.respond_json(await _read(exchange, services, _key_id(exchange)))


# ---------------------------------------------------------------------------------------------------------------- changes


async def create_key(exchange: Exchange, services: Services) -> None:
    """Create a key for pictures in the mode of the one that asks, and send it with its secrets, this once."""
    given = await read_fields(exchange, services, shapes.NewKey)
    limits = read_budgets(given.budget_day, given.budget_month)
    key_id, secret = await services.workspaces.create_key(
        workspace=exchange.principal.workspace,
        mode=exchange.principal.mode,
        name=given.name,
        models=None if given.models is None else [services.catalogue.resolve(name).id for name in given.models],
        actor=exchange.member.actor,
        requires_signature=given.signed,
        budgets={period: amount for period, amount in limits.items() if amount is not None},
        expires_at_ms=read_last_day(given.expires),
    )
    await _send_created(exchange, services, key_id, secret)


async def change_key(exchange: Exchange, services: Services) -> None:
    """Set budgets of a key and its end; what is not given stays. Raises KeyNotFound, ScopeForbidden, InvalidRequest."""
    key_id, owner, actor = _key_id(exchange), _owner(exchange), exchange.member.actor
    given = await read_fields(exchange, services, shapes.KeyChange)
    limits = read_budgets(given.budget_day, given.budget_month)
    if not limits and isinstance(given.expires, UnsetType):
        raise InvalidRequest(
            "Give budget_day, budget_month or expires.", code="missing_required_parameter", param="budget_day"
        )
    if not isinstance(given.expires, UnsetType):
        await services.workspaces.set_key_expiry(
            key_id, read_last_day(given.expires), actor=actor, owner=owner, by=exchange.member
        )
    if limits:
        await services.allowances.set_key_budget(key_id, limits, actor=actor, owner=owner)
    await exchange.respond_json(await _read(exchange, services, key_id))


async def roll_key(exchange: Exchange, services: Services) -> None:
    """Create a key in the place of another one, which goes on for a while. Raises KeyNotFound, ScopeForbidden."""
    given = await read_fields(exchange, services, shapes.KeyRoll)
    new_id, secret = await services.workspaces.roll_key(
        _key_id(exchange),
        overlap_ms=given.overlap_hours * HOUR_MS,
        actor=exchange.member.actor,
        owner=_owner(exchange),
        by=exchange.member,
    )
    await _send_created(exchange, services, new_id, secret)


async def revoke_key(exchange: Exchange, services: Services) -> None:
    """Revoke a key at once. Raises KeyNotFound."""
    key_id = _key_id(exchange)
    await services.workspaces.revoke_key(key_id, actor=exchange.member.actor, owner=_owner(exchange))
    await exchange.respond_json(await _read(exchange, services, key_id))


def _key_id(exchange: Exchange) -> str:
    key_id: str = exchange.path_parameters["key"]
    if "\0" in key_id:
        # No database keeps this character.
        raise _no_key(key_id)
    return key_id


def _owner(exchange: Exchange) -> KeyOwner:
    return KeyOwner(exchange.principal.workspace_id, exchange.principal.mode)


# ---------------------------------------------------------------------------------------------------------------- answers


async def _send_created(exchange: Exchange, services: Services, key_id: str, secret: Secret) -> None:
    key = await _read(exchange, services, key_id)
    signing = services.workspaces.signing_secret(key_id).reveal() if key.requires_signature else None
    created = shapes.CreatedKey(key=key, secret=secret.reveal(), signing_secret=signing)
    await exchange.respond_json(created)


async def _read(exchange: Exchange, services: Services, key_id: str) -> shapes.Key:
    principal = exchange.principal
    return await services.database.read(lambda tx: _find(tx, principal, key_id))


def _find(tx: Transaction, principal: Principal, key_id: str) -> shapes.Key:
    found = store.find_key(tx, principal.workspace_id, principal.mode, key_id)
    if found is None:
        raise _no_key(key_id)
    return _shape(found, budgets.list_budgets(tx, principal.account_id, key_id), tx.now_ms())


def _no_key(key_id: str) -> KeyNotFound:
    return KeyNotFound(f"There is no key {key_id[:80]}.", param="key")


def _shape(one: KeyRow, limits: Sequence[Budget], now_ms: int) -> shapes.Key:
    return shapes.Key(
        id=one.id,
        name=one.name,
        mode=one.mode,
        last4=one.last4,
        state=one.state(now_ms),
        models=None if one.models is None else list(one.models),
        scopes=list(one.scopes),
        budgets=[budget_shape(limit) for limit in limits if limit.subject.key_id == one.id],
        requires_signature=one.requires_signature,
        requests_per_minute=one.limits.requests_per_minute,
        images_per_minute=one.limits.images_per_minute,
        concurrent_images=one.limits.concurrent_images,
        created_at=iso_time(one.created_at_ms),
        expires_at=iso_time_or_none(one.expires_at_ms),
        revoked_at=iso_time_or_none(one.revoked_at_ms),
    )
