"""What is known of requests that may be repeated: keys, fingerprints, refusals as they were told, results never charged.

Functions of an open transaction. What they mean for a repeat is decided in gateway/idempotency.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    and_,
    bindparam,
    delete,
    exists,
    func,
    null,
    or_,
    select,
    update,
)

from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import idempotency, parked_result, refusal, request

# Requests with one fingerprint that are looked at, the newest first.
MAX_CANDIDATES = 16


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a key is unique."""

    workspace_id: str
    mode: str
    endpoint: str
    key: str


@dataclass(frozen=True, slots=True)
class ParkedResult:
    """A result that was made for `request_id` and never charged."""

    request_id: str
    ref: str
    digest: str


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """What became of a request. Times are Unix milliseconds.

    `ref` is None without a result and when its time has passed or it was `deleted`. `error_json` is a refusal as it was told.
    `parked` is what can be charged for instead of calling a provider.
    """

    id: str
    state: str
    charged_micro_usd: int
    ref: str | None
    digest: str | None
    kept_until_ms: int
    deleted: bool
    ended_at_ms: int | None
    left_at_ms: int | None
    error_json: str | None
    parked: ParkedResult | None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The last request under a key. `expired` says that the key's time has passed and its request has ended."""

    fingerprint: str
    expired: bool
    request: EarlierRequest


_parked_for = func.coalesce(request.c.parked_from, request.c.id)
_OUTCOME = (
    request.c.id.label("request_id"),
    request.c.state,
    request.c.charge_amount,
    request.c.result_ref,
    request.c.result_digest,
    request.c.result_expires_at_ms,
    request.c.result_deleted_at_ms,
    request.c.ended_at_ms,
    request.c.left_at_ms,
    refusal.c.error_json,
    parked_result.c.request_id.label("parked_id"),
    parked_result.c.ref.label("parked_ref"),
    parked_result.c.digest.label("parked_digest"),
    parked_result.c.expires_at_ms.label("parked_expires_at_ms"),
)


def _with_outcome(*columns: ColumnElement[Any], source: Any = request) -> Any:
    joined = source.outerjoin(refusal, refusal.c.request_id == request.c.id)
    return select(*columns, *_OUTCOME).select_from(
        joined.outerjoin(parked_result, parked_result.c.request_id == _parked_for)
    )


_of_scope = (
    idempotency.c.workspace_id == bindparam("of_workspace"),
    idempotency.c.mode == bindparam("of_mode"),
    idempotency.c.endpoint == bindparam("of_endpoint"),
    idempotency.c.key == bindparam("of_key"),
)
_holder = _with_outcome(
    idempotency.c.fingerprint,
    idempotency.c.expires_at_ms,
    source=idempotency.join(request, request.c.id == idempotency.c.request_id),
).where(*_of_scope)
_by_id = _with_outcome().where(request.c.id == bindparam("of_request"))
_by_fingerprint = (
    _with_outcome()
    .where(request.c.fingerprint == bindparam("of_fingerprint"), request.c.key_id == bindparam("of_api_key"))
    .order_by(request.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)


def holders(tx: Transaction, scopes: Sequence[Scope]) -> list[KeyHolder | None]:
    """Return the last request under each key, or None."""
    now = tx.now_ms()
    return [
        None
        if row is None
        else KeyHolder(row["fingerprint"], row["expires_at_ms"] <= now and row["state"] != "held", _earlier(row, now))
        for row in tx.first_of_each(_holder, [_parameters(scope) for scope in scopes])
    ]


def find(tx: Transaction, request_id: str) -> EarlierRequest | None:
    """Return what became of a request, or None when there is none of that id."""
    row = tx.first(_by_id, of_request=request_id)
    return None if row is None else _earlier(row, tx.now_ms())


def with_fingerprint(tx: Transaction, key_id: str, fingerprint: str) -> list[EarlierRequest]:
    """Return the latest requests of an API key that asked for the same, the newest first."""
    now = tx.now_ms()
    rows = tx.all(_by_fingerprint, of_fingerprint=fingerprint, of_api_key=key_id, limit=MAX_CANDIDATES)
    return [_earlier(row, now) for row in rows]


def _parameters(scope: Scope) -> dict[str, object]:
    return {
        "of_workspace": scope.workspace_id,
        "of_mode": scope.mode,
        "of_endpoint": scope.endpoint,
        "of_key": scope.key,
    }


def _earlier(row: Row, now_ms: int) -> EarlierRequest:
    is_kept = row["result_ref"] is not None and row["result_expires_at_ms"] > now_ms
    is_parked = row["parked_id"] is not None and row["parked_expires_at_ms"] > now_ms
    return EarlierRequest(
        id=row["request_id"],
        state=row["state"],
        charged_micro_usd=row["charge_amount"] or 0,
        ref=row["result_ref"] if is_kept else None,
        digest=row["result_digest"],
        kept_until_ms=row["result_expires_at_ms"] or 0,
        deleted=row["result_deleted_at_ms"] is not None,
        ended_at_ms=row["ended_at_ms"],
        left_at_ms=row["left_at_ms"],
        error_json=row["error_json"],
        parked=ParkedResult(row["parked_id"], row["parked_ref"], row["parked_digest"]) if is_parked else None,
    )


# ------------------------------------------------------------------------------------------------------------------- keys

_insert_key = insert_into(idempotency)
_hand_over = (
    update(idempotency)
    .where(*_of_scope, idempotency.c.request_id == bindparam("from_request"))
    .values(
        fingerprint=bindparam("to_fingerprint"), request_id=bindparam("to_request"), expires_at_ms=bindparam("until")
    )
)


def take_key(tx: Transaction, scope: Scope, fingerprint: str, request_id: str, retention_ms: int) -> None:
    """Put a request under a key that nobody has. Two who do so at the same moment meet at the table's primary key."""
    tx.execute(
        _insert_key,
        workspace_id=scope.workspace_id,
        mode=scope.mode,
        endpoint=scope.endpoint,
        key=scope.key,
        fingerprint=fingerprint,
        request_id=request_id,
        expires_at_ms=tx.now_ms() + retention_ms,
    )


def take_over_key(
    tx: Transaction, scope: Scope, fingerprint: str, request_id: str, retention_ms: int, *, from_request_id: str
) -> bool:
    """Put a request under a key in the place of an earlier one. Returns False when another one was first."""
    return bool(
        tx.execute(
            _hand_over,
            **_parameters(scope),
            from_request=from_request_id,
            to_fingerprint=fingerprint,
            to_request=request_id,
            until=tx.now_ms() + retention_ms,
        )
    )


# ---------------------------------------------------------------------------------------------------------------- retries

_join = (
    update(request)
    .where(request.c.id == bindparam("of_request"))
    .values(joined_requests=request.c.joined_requests + 1, left_at_ms=null())
)
_leave = (
    update(request)
    .where(
        request.c.id == bindparam("of_request"),
        request.c.fingerprint.is_not(None),
        request.c.state != "released",
    )
    .values(left_at_ms=bindparam("now"))
)


def join(tx: Transaction, request_id: str) -> None:
    """Count a retry that is answered by a request; from now on somebody waits for its answer again."""
    tx.execute(_join, of_request=request_id)


def leave(tx: Transaction, request_id: str) -> None:
    """Note that the client of a request has left without its whole answer."""
    tx.execute(_leave, of_request=request_id, now=tx.now_ms())


# ------------------------------------------------------------------------------------------------------ refusals, parking

_insert_refusal = insert_into(refusal)
_insert_parked = insert_into(parked_result)
_delete_parked = delete(parked_result).where(parked_result.c.request_id == bindparam("of_request"))
_parked_ref = select(parked_result.c.ref).where(parked_result.c.request_id == bindparam("of_request"))
_reissue = select(request.c.id).where(request.c.id == bindparam("of_request"), request.c.parked_from.is_not(None))


def keep_refusal(tx: Transaction, request_id: str, error_json: str, retention_ms: int) -> None:
    """Keep what a request was refused with."""
    tx.execute(_insert_refusal, request_id=request_id, error_json=error_json, expires_at_ms=tx.now_ms() + retention_ms)


def park(tx: Transaction, parked: ParkedResult, retention_ms: int) -> None:
    """Keep a result whose request was released before it could be charged."""
    tx.execute(
        _insert_parked,
        request_id=parked.request_id,
        ref=parked.ref,
        digest=parked.digest,
        expires_at_ms=tx.now_ms() + retention_ms,
    )


def unpark(tx: Transaction, request_id: str) -> bool:
    """Take a parked result away. Returns False when somebody else did."""
    return bool(tx.execute(_delete_parked, of_request=request_id))


def is_reissue(tx: Transaction, request_id: str) -> bool:
    """Tell whether a request charges for the parked result of another one."""
    return tx.first(_reissue, of_request=request_id) is not None


def is_parked(tx: Transaction, request_id: str, ref: str) -> bool:
    """Tell whether a file is a request's parked result."""
    row = tx.first(_parked_ref, of_request=request_id)
    return row is not None and row["ref"] == ref


# ----------------------------------------------------------------------------------------------------------------- expiry

_passed: BindParameter[Any] = bindparam("now")
_request_of_key = and_(request.c.id == idempotency.c.request_id)
_waits = or_(
    request.c.state == "held",
    exists().where(parked_result.c.request_id == _parked_for, parked_result.c.expires_at_ms > _passed),
)
_expire_keys = delete(idempotency).where(
    idempotency.c.expires_at_ms <= _passed, ~exists().where(_request_of_key, _waits)
)
_expire_refusals = delete(refusal).where(refusal.c.expires_at_ms <= _passed)
_expired_parked = select(parked_result.c.request_id, parked_result.c.ref).where(
    parked_result.c.expires_at_ms <= _passed
)


def forget_expired(tx: Transaction) -> Sequence[str]:
    """Delete keys, refusals and parked results past their time, and return the files of the latter, which are left to the caller.

    A key stays while its request runs or has a parked result.
    """
    now = tx.now_ms()
    parked = tx.all(_expired_parked, now=now)
    tx.execute_many(_delete_parked, [{"of_request": row["request_id"]} for row in parked])
    tx.execute(_expire_keys, now=now)
    tx.execute(_expire_refusals, now=now)
    return [str(row["ref"]) for row in parked]
