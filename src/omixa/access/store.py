"""Workspaces, keys and the audit log in the database: functions of an open transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Literal

import msgspec
from sqlalchemy import bindparam, null, select, update

from omixa.domain.access import Constraints, Mode, Principal, RateLimits, ResponseFormat, Scope
from omixa.domain.ids import new_id
from omixa.storage.chain import AUDIT_COLUMNS, GENESIS_HASH, row_hash
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import account, api_key, audit_log, person, workspace

KeyState = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as its owner may see it: everything but the secret. Times are Unix milliseconds.

    One with `scopes` acts for the `person` of that name.
    """

    id: str
    workspace: str
    mode: Mode
    name: str
    last4: str
    models: tuple[str, ...] | None
    requires_signature: bool
    limits: RateLimits
    created_at_ms: int
    revoked_at_ms: int | None
    expires_at_ms: int | None
    scopes: tuple[Scope, ...]
    person: str | None

    def state(self, now_ms: int) -> KeyState:
        """Tell whether it is good at a time."""
        if self.revoked_at_ms is not None:
            return "revoked"
        return "expired" if self.expires_at_ms is not None and self.expires_at_ms <= now_ms else "active"


@dataclass(frozen=True, slots=True)
class WorkspaceRow:
    """A workspace, what it pays above the price lists in parts per million, and since when it may not spend.

    How long its results are kept is None where that is as usual, and 0 where they are kept until they are delivered.
    `keep_prompts` is what was set.
    """

    id: str
    name: str
    markup_ppm: int
    limits: RateLimits
    created_at_ms: int
    suspended_at_ms: int | None
    result_retention_ms: int | None
    response_format: ResponseFormat
    keep_prompts: bool
    constraints: Constraints


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Which workspace an active key belongs to, and in which mode."""

    workspace_id: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class AccountRow:
    """The account of a workspace in one mode."""

    account_id: str
    workspace: str
    mode: Mode


_workspaces = select(workspace).order_by(workspace.c.name)
_whole_workspace = select(workspace).where(workspace.c.name == bindparam("name"))
_workspace_by_name = select(workspace.c.id).where(workspace.c.name == bindparam("name"))
_insert_workspace = insert_into(workspace, "id", "name", "markup_ppm", "created_at_ms")


def find_workspace(tx: Transaction, name: str) -> str | None:
    """Return a workspace's id."""
    row = tx.first(_workspace_by_name, name=name)
    return None if row is None else str(row["id"])


def insert_workspace(tx: Transaction, name: str) -> str:
    """Create a workspace and return its id."""
    identifier = new_id("ws")
    tx.execute(_insert_workspace, id=identifier, name=name, markup_ppm=0, created_at_ms=tx.now_ms())
    return identifier


def list_workspaces(tx: Transaction) -> list[WorkspaceRow]:
    """Return all workspaces in the order of the alphabet."""
    return [_workspace_row(row) for row in tx.all(_workspaces)]


def read_workspace(tx: Transaction, name: str) -> WorkspaceRow | None:
    """Return a workspace with what is set for it."""
    row = tx.first(_whole_workspace, name=name)
    return None if row is None else _workspace_row(row)


def _workspace_row(row: Row) -> WorkspaceRow:
    return WorkspaceRow(
        id=row["id"],
        name=row["name"],
        markup_ppm=row["markup_ppm"],
        limits=_limits(row),
        created_at_ms=row["created_at_ms"],
        suspended_at_ms=row["suspended_at_ms"],
        result_retention_ms=row["result_retention_ms"],
        response_format=row["response_format"],
        keep_prompts=bool(row["keep_prompts"]),
        constraints=_constraints(row),
    )


_set_markup = update(workspace).where(workspace.c.id == bindparam("workspace_id")).values(markup_ppm=bindparam("ppm"))
_markup = select(workspace.c.markup_ppm).where(workspace.c.id == bindparam("workspace_id"))


def set_markup(tx: Transaction, workspace_id: str, markup_ppm: int) -> int:
    """Set what a workspace pays above the price lists and return what it was. Holds that exist keep theirs."""
    row = tx.first(_markup, workspace_id=workspace_id)
    assert row is not None, "the workspace was found in this transaction"
    tx.execute(_set_markup, workspace_id=workspace_id, ppm=markup_ppm)
    return int(row["markup_ppm"])


_resume = (
    update(workspace)
    .where(workspace.c.id == bindparam("workspace_id"), workspace.c.suspended_at_ms.is_not(None))
    .values(suspended_at_ms=null())
)
_suspended_at = select(workspace.c.suspended_at_ms).where(workspace.c.id == bindparam("workspace_id"))


def resume(tx: Transaction, workspace_id: str) -> bool:
    """Let a suspended workspace spend again. Returns False when it was not suspended."""
    return bool(tx.execute(_resume, workspace_id=workspace_id))


def is_suspended(tx: Transaction, workspace_id: str) -> bool:
    """Tell whether a workspace may not spend."""
    row = tx.first(_suspended_at, workspace_id=workspace_id)
    return row is not None and row["suspended_at_ms"] is not None


_result_settings = select(workspace.c.result_retention_ms, workspace.c.response_format, workspace.c.keep_prompts).where(
    workspace.c.id == bindparam("of_workspace")
)
_set_response_format = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"))
    .values(response_format=bindparam("response_format_now"))
)


@dataclass(frozen=True, slots=True)
class ResultSettings:
    """How results of a workspace are kept and come back. The retention is None where it is as usual.

    `keep_prompts` is what was set.
    """

    retention_ms: int | None
    response_format: ResponseFormat
    keep_prompts: bool

    @property
    def keeps_prompts(self) -> bool:
        """Tell whether prompts are kept. Where results are kept only until they are delivered they are not."""
        return self.keep_prompts and self.retention_ms != 0


def result_settings(tx: Transaction, workspace_id: str) -> ResultSettings:
    """Return how results of a workspace, which exists, are kept and come back."""
    row = tx.first(_result_settings, of_workspace=workspace_id)
    assert row is not None, "the workspace was found in this transaction"
    return ResultSettings(row["result_retention_ms"], row["response_format"], bool(row["keep_prompts"]))


def set_response_format(tx: Transaction, workspace_id: str, response_format: ResponseFormat) -> None:
    """Set how pictures come back where a request does not say."""
    tx.execute(_set_response_format, of_workspace=workspace_id, response_format_now=response_format)


_route_settings = select(workspace.c.providers_json, workspace.c.regions_json).where(
    workspace.c.id == bindparam("of_workspace")
)
_set_constraints = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"))
    .values(providers_json=bindparam("providers_now"), regions_json=bindparam("regions_now"))
)


def constraints(tx: Transaction, workspace_id: str) -> Constraints:
    """Return where requests of a workspace, which exists, may go."""
    row = tx.first(_route_settings, of_workspace=workspace_id)
    assert row is not None, "the workspace was found in this transaction"
    return _constraints(row)


def set_constraints(tx: Transaction, workspace_id: str, allowed: Constraints) -> None:
    """Set where requests of a workspace may go."""
    tx.execute(
        _set_constraints,
        of_workspace=workspace_id,
        providers_now=_names_json(allowed.providers),
        regions_now=_names_json(allowed.regions),
    )


_insert_key = insert_into(
    api_key,
    *("id", "workspace_id", "mode", "name", "digest", "last4", "models_json", "requires_signature", "created_at_ms"),
    *("expires_at_ms", "scopes_json", "person_id"),
)
_LIMITS = tuple(field.name for field in fields(RateLimits))
_key_columns = (
    api_key.c.id,
    workspace.c.name.label("workspace"),
    api_key.c.mode,
    api_key.c.name,
    api_key.c.last4,
    api_key.c.models_json,
    api_key.c.requires_signature,
    *(api_key.c[name] for name in _LIMITS),
    api_key.c.created_at_ms,
    api_key.c.revoked_at_ms,
    api_key.c.expires_at_ms,
    api_key.c.scopes_json,
    person.c.name.label("person"),
)
_keys = (
    select(*_key_columns)
    .join(workspace, workspace.c.id == api_key.c.workspace_id)
    .outerjoin(person, person.c.id == api_key.c.person_id)
    .order_by(api_key.c.id)
)
_keys_of_workspace = _keys.where(workspace.c.name == bindparam("workspace"))
_key_of_workspace = _keys.where(
    api_key.c.workspace_id == bindparam("workspace_id"),
    api_key.c.mode == bindparam("mode"),
    api_key.c.id == bindparam("key_id"),
)
_revoke = (
    update(api_key)
    .where(api_key.c.id == bindparam("key_id"), api_key.c.revoked_at_ms.is_(None))
    .values(revoked_at_ms=bindparam("now"))
)
_principal = (
    select(
        api_key.c.id,
        api_key.c.workspace_id,
        workspace.c.name.label("workspace"),
        account.c.id.label("account_id"),
        api_key.c.mode,
        api_key.c.models_json,
        api_key.c.requires_signature,
        api_key.c.expires_at_ms,
        api_key.c.scopes_json,
        api_key.c.person_id,
        workspace.c.markup_ppm,
        workspace.c.result_retention_ms,
        workspace.c.response_format,
        workspace.c.keep_prompts,
        workspace.c.providers_json,
        workspace.c.regions_json,
        *(api_key.c[name] for name in _LIMITS),
        *(workspace.c[name].label(f"workspace_{name}") for name in _LIMITS),
    )
    .join(workspace, workspace.c.id == api_key.c.workspace_id)
    .join(account, (account.c.workspace_id == api_key.c.workspace_id) & (account.c.mode == api_key.c.mode))
    .where(api_key.c.digest == bindparam("digest"), api_key.c.revoked_at_ms.is_(None))
)


def insert_key(
    tx: Transaction,
    *,
    workspace_id: str,
    mode: Mode,
    name: str,
    digest: str,
    last4: str,
    models: Sequence[str] | None,
    requires_signature: bool = False,
    expires_at_ms: int | None = None,
    scopes: Sequence[Scope] = (),
    person_id: str | None = None,
) -> str:
    """Store a new key's digest and return the key's id."""
    identifier = new_id("key")
    tx.execute(
        _insert_key,
        id=identifier,
        workspace_id=workspace_id,
        mode=mode,
        name=name,
        digest=digest,
        last4=last4,
        models_json=None if models is None else msgspec.json.encode(models).decode(),
        requires_signature=int(requires_signature),
        created_at_ms=tx.now_ms(),
        expires_at_ms=expires_at_ms,
        scopes_json=msgspec.json.encode(scopes).decode() if scopes else None,
        person_id=person_id,
    )
    return identifier


def find_principal(tx: Transaction, digest: str) -> Principal | None:
    """Return who a key belongs to, or None when it is unknown, revoked or past its time."""
    row = tx.first(_principal, digest=digest)
    if row is None or (row["expires_at_ms"] is not None and row["expires_at_ms"] <= tx.now_ms()):
        return None
    models = _models(row)
    return Principal(
        workspace_id=row["workspace_id"],
        workspace=row["workspace"],
        account_id=row["account_id"],
        key_id=row["id"],
        mode=row["mode"],
        models=None if models is None else frozenset(model.lower() for model in models),
        markup_ppm=row["markup_ppm"],
        requires_signature=bool(row["requires_signature"]),
        key_limits=_limits(row),
        workspace_limits=_limits(row, "workspace_"),
        result_retention_ms=row["result_retention_ms"],
        response_format=row["response_format"],
        keep_prompts=bool(row["keep_prompts"]),
        constraints=_constraints(row),
        scopes=frozenset(_scopes(row)),
        person_id=row["person_id"],
    )


def list_keys(tx: Transaction, workspace_name: str | None) -> list[KeyRow]:
    """Return the keys of one workspace, or of all, oldest first."""
    rows = tx.all(_keys) if workspace_name is None else tx.all(_keys_of_workspace, workspace=workspace_name)
    return [_key_row(row) for row in rows]


def find_key(tx: Transaction, workspace_id: str, mode: Mode, key_id: str) -> KeyRow | None:
    """Return a key, or None when the workspace has no such key in this mode."""
    row = tx.first(_key_of_workspace, workspace_id=workspace_id, mode=mode, key_id=key_id)
    return None if row is None else _key_row(row)


def _key_row(row: Row) -> KeyRow:
    return KeyRow(
        id=row["id"],
        workspace=row["workspace"],
        mode=row["mode"],
        name=row["name"],
        last4=row["last4"],
        models=_models(row),
        requires_signature=bool(row["requires_signature"]),
        limits=_limits(row),
        created_at_ms=row["created_at_ms"],
        revoked_at_ms=row["revoked_at_ms"],
        expires_at_ms=row["expires_at_ms"],
        scopes=_scopes(row),
        person=row["person"],
    )


_set_key_expiry = (
    update(api_key).where(api_key.c.id == bindparam("of_key")).values(expires_at_ms=bindparam("expires_at"))
)


def set_key_expiry(tx: Transaction, key_id: str, expires_at_ms: int | None) -> None:
    """Set when a key, which exists, is as good as revoked; None for never."""
    tx.execute(_set_key_expiry, of_key=key_id, expires_at=expires_at_ms)


_key_owner = select(api_key.c.workspace_id, api_key.c.mode).where(
    api_key.c.id == bindparam("key_id"), api_key.c.revoked_at_ms.is_(None)
)
_accounts = (
    select(account.c.id, workspace.c.name.label("workspace"), account.c.mode)
    .join(workspace, workspace.c.id == account.c.workspace_id)
    .order_by(workspace.c.name, account.c.mode)
)
_accounts_of_workspace = _accounts.where(workspace.c.name == bindparam("workspace"))


def find_key_owner(tx: Transaction, key_id: str) -> KeyOwner | None:
    """Return who a key belongs to, or None when there is no such key or it is revoked."""
    row = tx.first(_key_owner, key_id=key_id)
    return None if row is None else KeyOwner(row["workspace_id"], row["mode"])


def list_accounts(tx: Transaction, workspace_name: str | None) -> list[AccountRow]:
    """Return the accounts of one workspace, or of all, in the order of the alphabet."""
    rows = tx.all(_accounts) if workspace_name is None else tx.all(_accounts_of_workspace, workspace=workspace_name)
    return [AccountRow(row["id"], row["workspace"], row["mode"]) for row in rows]


def revoke_key(tx: Transaction, key_id: str) -> bool:
    """Revoke a key from this transaction on. Returns False when there is no such key or it is revoked already."""
    return bool(tx.execute(_revoke, key_id=key_id, now=tx.now_ms()))


_acting_for = select(api_key.c.id).where(
    api_key.c.workspace_id == bindparam("workspace_id"),
    api_key.c.person_id == bindparam("person_id"),
    api_key.c.revoked_at_ms.is_(None),
)


def keys_acting_for(tx: Transaction, workspace_id: str, person_id: str) -> list[str]:
    """Return the ids of the keys with scopes that act for a person in a workspace and are not revoked."""
    return [row["id"] for row in tx.all(_acting_for, workspace_id=workspace_id, person_id=person_id)]


_set_key_limits = (
    update(api_key).where(api_key.c.id == bindparam("of_key")).values({name: bindparam(name) for name in _LIMITS})
)
_set_workspace_limits = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"))
    .values({name: bindparam(name) for name in _LIMITS})
)
_key_limits = select(*(api_key.c[name] for name in _LIMITS)).where(api_key.c.id == bindparam("of_key"))
_workspace_limits = select(*(workspace.c[name] for name in _LIMITS)).where(workspace.c.id == bindparam("of_workspace"))


def change_key_limits(tx: Transaction, key_id: str, changes: Mapping[str, int | None]) -> RateLimits:
    """Change some limits of a key, which exists, and return all that it has now."""
    row = tx.first(_key_limits, of_key=key_id)
    assert row is not None, "the key was found in this transaction"
    limits = replace(_limits(row), **changes)
    tx.execute(_set_key_limits, of_key=key_id, **asdict(limits))
    return limits


def change_workspace_limits(tx: Transaction, workspace_id: str, changes: Mapping[str, int | None]) -> RateLimits:
    """Change some limits of a workspace, which exists, and return all that it has now."""
    row = tx.first(_workspace_limits, of_workspace=workspace_id)
    assert row is not None, "the workspace was found in this transaction"
    limits = replace(_limits(row), **changes)
    tx.execute(_set_workspace_limits, of_workspace=workspace_id, **asdict(limits))
    return limits


def _limits(row: Row, prefix: str = "") -> RateLimits:
    return RateLimits(*(row[prefix + name] for name in _LIMITS))


def _models(row: Row) -> tuple[str, ...] | None:
    return _names(row["models_json"])


def _scopes(row: Row) -> tuple[Scope, ...]:
    text = row["scopes_json"]
    return () if text is None else msgspec.json.decode(text, type=tuple[Scope, ...])


def _constraints(row: Row) -> Constraints:
    providers, regions = _names(row["providers_json"]), _names(row["regions_json"])
    return Constraints(
        None if providers is None else frozenset(providers), None if regions is None else frozenset(regions)
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


def _names_json(names: frozenset[str] | None) -> str | None:
    return None if names is None else msgspec.json.encode(sorted(names)).decode()


# Where several processes write, the first entry's lock is the whole log's: who has it reads the last entry and continues it.
_lock_audit = select(audit_log.c.seq).order_by(audit_log.c.seq).limit(1).with_for_update()
_audit_head = select(audit_log.c.hash).order_by(audit_log.c.seq.desc()).limit(1)
_insert_audit = insert_into(audit_log, "actor", "action", "target", "details_json", "prev_hash", "hash", "at_ms")


def audit(tx: Transaction, *, actor: str, action: str, target: str, details: Row) -> None:
    """Write down who did what, in the transaction that does it. Details must hold no secret."""
    tx.first(_lock_audit)
    head = tx.first(_audit_head)
    entry: dict[str, object] = {
        "actor": actor,
        "action": action,
        "target": target,
        "details_json": json.dumps(details, sort_keys=True),
        "prev_hash": GENESIS_HASH if head is None else head["hash"],
        "at_ms": tx.now_ms(),
    }
    entry["hash"] = row_hash(entry, AUDIT_COLUMNS)
    tx.execute(_insert_audit, **entry)
