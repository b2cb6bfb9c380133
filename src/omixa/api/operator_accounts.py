"""Accounts at providers, for the operator's programs: what the page of accounts does. A key goes in here and never comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import UnsetType

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.fields import read_fields
from omixa.domain.access import Secret
from omixa.domain.accounts import ENTRA_SCOPE, ProviderAccount
from omixa.domain.times import iso_time
from omixa.gateway.accounts import AccountChanges, AccountView
from omixa.services import Services

# A token may have 16,384 characters.
_MAX_BODY_BYTES = 64 * 1024


async def list_accounts(exchange: Exchange, services: Services) -> None:
    """Send the accounts at providers that are stored, without their keys."""
    data = [_shape(one) for one in await services.accounts.list()]
    await exchange.respond_json(shapes.ProviderAccountList(data=data))


async def get_account(exchange: Exchange, services: Services) -> None:
    """Send one of them. Raises AccountNotFound."""
    await _send(exchange, services, _name(exchange))


async def add_account(exchange: Exchange, services: Services) -> None:
    """Store an account with its key; it serves from now on. Raises InvalidRequest."""
    given = await read_fields(exchange, services, shapes.NewAccount, most_bytes=_MAX_BODY_BYTES)
    account = replace(ProviderAccount(given.name, entra_scope=ENTRA_SCOPE), **_changes(given))
    await services.accounts.add(account, actor=exchange.operator)
    await _send(exchange, services, given.name)


async def change_account(exchange: Exchange, services: Services) -> None:
    """Change what is given of an account. Raises AccountNotFound, InvalidRequest, Conflict."""
    name = _name(exchange)
    given = await read_fields(exchange, services, shapes.AccountChange, most_bytes=_MAX_BODY_BYTES)
    await services.accounts.change(name, _changes(given), actor=exchange.operator)
    await _send(exchange, services, name)


async def enable_account(exchange: Exchange, services: Services) -> None:
    """Let an account serve again. Raises AccountNotFound."""
    await services.accounts.enable(_name(exchange), actor=exchange.operator)
    await _send(exchange, services, _name(exchange))


async def disable_account(exchange: Exchange, services: Services) -> None:
    """Let an account serve nothing for now. Raises AccountNotFound."""
    await services.accounts.disable(_name(exchange), actor=exchange.operator)
    await _send(exchange, services, _name(exchange))


async def remove_account(exchange: Exchange, services: Services) -> None:
    """Forget an account and its key. Raises AccountNotFound."""
    await services.accounts.remove(_name(exchange), actor=exchange.operator)
    await exchange.respond_json(shapes.RemovedAccount(name=_name(exchange), removed=True))


async def _send(exchange: Exchange, services: Services, name: str) -> None:
    await exchange.respond_json(_shape(await services.accounts.show(name)))


def _name(exchange: Exchange) -> str:
    name: str = exchange.path_parameters["account"]
    return name.replace("\0", "")


def _changes(given: shapes.NewAccount | shapes.AccountChange) -> AccountChanges:
    """Return what a body says of an account, without its name."""
    values: dict[str, Any] = {
        name: value
        for name, value in msgspec.structs.asdict(given).items()
        if name != "name" and not isinstance(value, UnsetType)
    }
    if "models" in values:
        values["models"] = tuple(values["models"])
    if "endpoint" in values:
        values["endpoint"] = values["endpoint"].rstrip("/")
    if values.get("credential") is not None:
        values["credential"] = Secret(values["credential"])
    return cast("AccountChanges", values)


def _shape(view: AccountView) -> shapes.ProviderAccount:
    account = view.account
    return shapes.ProviderAccount(
        name=account.name,
        provider=account.provider,
        endpoint=account.endpoint or None,
        auth=account.auth,
        key_fingerprint=view.fingerprint or None,
        is_enabled=view.enabled,
        problem=view.problem,
        models=list(account.models),
        deployment=account.deployment or None,
        region=account.region or None,
        weight=account.weight,
        priority=account.priority,
        requests_per_minute=account.requests_per_minute or None,
        images_per_minute=account.images_per_minute or None,
        concurrency=account.concurrency or None,
        created_at=iso_time(view.created_at_ms),
        updated_at=iso_time(view.updated_at_ms),
    )
