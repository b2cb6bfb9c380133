"""Stored accounts at providers in the database: functions of an open transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, select, update

from omixa.access.envelopes import Sealed
from omixa.domain.accounts import ProviderAccount, Quality
from omixa.domain.ids import new_id
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import provider_account


@dataclass(frozen=True, slots=True)
class StoredAccount:
    """An account with its credential as it is stored, in `sealed`; `account` has none. Times are Unix milliseconds.

    `revision` is another one after each change that servers have to know.
    """

    account: ProviderAccount
    enabled: bool
    sealed: Sealed
    fingerprint: str
    revision: str
    created_at_ms: int
    updated_at_ms: int


# What is written when an account is stored or changed, all but its name and when it was made.
_FIELDS = tuple(
    column.name for column in provider_account.columns if column.name not in {"name", "enabled", "created_at_ms"}
)

_all = select(provider_account).order_by(provider_account.c.name)
_one = select(provider_account).where(provider_account.c.name == bindparam("of_name"))
_locked = _all.with_for_update()
_insert = insert_into(provider_account)
_of_name = provider_account.c.name == bindparam("of_name")
_update = update(provider_account).where(_of_name).values({name: bindparam(name) for name in _FIELDS})
_enable = (
    update(provider_account)
    .where(_of_name)
    .values(enabled=bindparam("now_enabled"), revision=bindparam("revision"), updated_at_ms=bindparam("now"))
)
_rewrap = (
    update(provider_account)
    .where(_of_name, provider_account.c.key_id == bindparam("old_key_id"))
    .values(key_id=bindparam("new_key_id"), wrapped_key=bindparam("wrapped_key"))
)
_delete = delete(provider_account).where(_of_name)


def list_accounts(tx: Transaction) -> list[StoredAccount]:
    """Return all stored accounts in the order of the alphabet."""
    return [_stored(row) for row in tx.all(_all)]


def lock_accounts(tx: Transaction) -> list[StoredAccount]:
    """Return all stored accounts; nobody else changes them until the transaction ends."""
    return [_stored(row) for row in tx.all(_locked)]


def find_account(tx: Transaction, name: str) -> StoredAccount | None:
    """Return the stored account of a name."""
    row = tx.first(_one, of_name=name)
    return None if row is None else _stored(row)


def insert_account(tx: Transaction, account: ProviderAccount, sealed: Sealed, fingerprint: str) -> None:
    """Store a new account, which serves from now on. No other one has its name."""
    now = tx.now_ms()
    values = _values(tx, account, sealed, fingerprint)
    tx.execute(_insert, name=account.name, enabled=1, created_at_ms=now, **values)


def update_account(tx: Transaction, account: ProviderAccount, sealed: Sealed, fingerprint: str) -> None:
    """Store what an account, which exists, is from now on."""
    tx.execute(_update, of_name=account.name, **_values(tx, account, sealed, fingerprint))


def enable_account(tx: Transaction, name: str, *, enabled: bool) -> None:
    """Say whether an account, which exists, serves."""
    tx.execute(_enable, of_name=name, now_enabled=int(enabled), revision=new_id("rev"), now=tx.now_ms())


def rewrap_account(tx: Transaction, name: str, old_key_id: str, sealed: Sealed) -> bool:
    """Store the data key of an account under another master key. Servers that have it open need not know, so it has its revision.

    Returns False when the account is not under the old key any more.
    """
    return bool(
        tx.execute(
            _rewrap, of_name=name, old_key_id=old_key_id, new_key_id=sealed.key_id, wrapped_key=sealed.wrapped_key
        )
    )


def delete_account(tx: Transaction, name: str) -> bool:
    """Forget an account and its credential. Returns False when there is none of that name."""
    return bool(tx.execute(_delete, of_name=name))


def _values(tx: Transaction, account: ProviderAccount, sealed: Sealed, fingerprint: str) -> dict[str, object]:
    return {
        "provider": account.provider,
        "endpoint": account.endpoint,
        "auth": account.auth,
        "entra_scope": account.entra_scope,
        "models_json": _json(account.models),
        "deployment": account.deployment,
        "region": account.region,
        "weight": account.weight,
        "priority": account.priority,
        "qualities_json": _json(account.qualities),
        "requests_per_minute": account.requests_per_minute,
        "images_per_minute": account.images_per_minute,
        "concurrency": account.concurrency,
        "key_id": sealed.key_id,
        "wrapped_key": sealed.wrapped_key,
        "ciphertext": sealed.ciphertext,
        "fingerprint": fingerprint,
        "revision": new_id("rev"),
        "updated_at_ms": tx.now_ms(),
    }


def _stored(row: Row) -> StoredAccount:
    return StoredAccount(
        account=ProviderAccount(
            name=row["name"],
            provider=row["provider"],
            endpoint=row["endpoint"],
            auth=row["auth"],
            entra_scope=row["entra_scope"],
            models=msgspec.json.decode(row["models_json"], type=tuple[str, ...]),
            deployment=row["deployment"],
            region=row["region"],
            weight=row["weight"],
            priority=row["priority"],
            qualities=msgspec.json.decode(row["qualities_json"], type=tuple[Quality, ...]),
            requests_per_minute=row["requests_per_minute"],
            images_per_minute=row["images_per_minute"],
            concurrency=row["concurrency"],
        ),
        enabled=bool(row["enabled"]),
        sealed=Sealed(row["key_id"], bytes(row["wrapped_key"]), bytes(row["ciphertext"])),
        fingerprint=row["fingerprint"],
        revision=row["revision"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _json(words: Sequence[str]) -> str:
    return msgspec.json.encode(words).decode()
