"""How long results are kept: what deletes one before its time, and what makes that time shorter. Functions of a transaction.

Rows come first and files after them: a file that is left over belongs to nothing and is found, while a row that points to a
deleted file would be a broken promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, bindparam, case, null, select, update

from omixa.domain.access import Mode
from omixa.storage import prompts, repeats, small_results
from omixa.storage.database import Transaction
from omixa.storage.tables import parked_result, request, workspace

# ---------------------------------------------------------------------------------------------------------------- deletion


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion found. `request_ids` are those whose files belonged to the result, `is_new` says that there was one."""

    state: str
    request_ids: tuple[str, ...]
    is_new: bool


_find = select(request.c.workspace_id, request.c.mode, request.c.state, request.c.parked_from).where(
    request.c.id == bindparam("of_request")
)
_delete = (
    update(request)
    .where(
        request.c.id == bindparam("of_request"),
        request.c.state == "captured",
        request.c.result_deleted_at_ms.is_(None),
    )
    .values(
        result_ref=null(),
        result_deleted_at_ms=bindparam("now"),
        # A time that has passed already stays.
        result_expires_at_ms=case(
            (request.c.result_expires_at_ms < bindparam("now"), request.c.result_expires_at_ms), else_=bindparam("now")
        ),
    )
)


def delete(tx: Transaction, request_id: str, *, owner: tuple[str, Mode] | None) -> Deleted | None:
    """Delete what is kept of a request's result, or return None when there is no such request, or it is not its owner's.

    The owner is a workspace's id and a mode; None takes anybody's. The charge and everything that it follows from stay. A
    request that still runs is left alone. The files are the caller's.
    """
    row = tx.first(_find, of_request=request_id)
    if row is None or (owner is not None and owner != (row["workspace_id"], row["mode"])):
        return None
    ids = tuple(one for one in (request_id, row["parked_from"]) if one is not None)
    if row["state"] == "held":
        return Deleted("held", ids, is_new=False)
    marked = tx.execute(_delete, of_request=request_id, now=tx.now_ms())
    small_results.forget(tx, [request_id])
    prompts.forget(tx, [request_id])
    unparked = repeats.unpark(tx, request_id)
    return Deleted(row["state"], ids, is_new=bool(marked or unparked))


_shorten_one = (
    update(request)
    .where(
        request.c.id == bindparam("of_request"),
        request.c.result_ref.is_not(None),
        request.c.result_expires_at_ms > bindparam("until"),
    )
    .values(result_expires_at_ms=bindparam("until"))
)


def end_in(tx: Transaction, request_id: str, remaining_ms: int) -> None:
    """Keep a result for so long from now, or until its time where that comes first."""
    tx.execute(_shorten_one, of_request=request_id, until=tx.now_ms() + remaining_ms)


# --------------------------------------------------------------------------------------------------------------- retention

_set = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"))
    .values(result_retention_ms=bindparam("retention"), retention_set_at_ms=bindparam("now"))
)
_set_keep_prompts = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"))
    .values(keep_prompts=bindparam("keeps"), retention_set_at_ms=bindparam("now"))
)
_own = select(workspace.c.result_retention_ms).join(request, request.c.workspace_id == workspace.c.id)
_of_request = _own.where(request.c.id == bindparam("of_request"))
_changed = select(workspace.c.id, workspace.c.result_retention_ms, workspace.c.retention_set_at_ms).where(
    workspace.c.retention_set_at_ms.is_not(None)
)
_settled = (
    update(workspace)
    .where(workspace.c.id == bindparam("of_workspace"), workspace.c.retention_set_at_ms == bindparam("set_at"))
    .values(retention_set_at_ms=null())
)
_too_long = (
    select(request.c.id, request.c.ended_at_ms)
    .where(
        request.c.result_ref.is_not(None),
        request.c.workspace_id == bindparam("of_workspace"),
        request.c.result_expires_at_ms > bindparam("now"),
        request.c.result_expires_at_ms > request.c.ended_at_ms + bindparam("retention"),
    )
    .order_by(request.c.result_expires_at_ms)
    .limit(bindparam("limit", type_=Integer))
)
_parked_too_long = (
    select(parked_result.c.request_id, request.c.ended_at_ms)
    .join(request, request.c.id == parked_result.c.request_id)
    .where(
        request.c.workspace_id == bindparam("of_workspace"),
        parked_result.c.expires_at_ms > request.c.ended_at_ms + bindparam("retention"),
    )
)
_shorten = (
    update(request).where(request.c.id == bindparam("of_request")).values(result_expires_at_ms=bindparam("until"))
)
_shorten_parked = (
    update(parked_result)
    .where(parked_result.c.request_id == bindparam("of_request"))
    .values(expires_at_ms=bindparam("until"))
)


@dataclass(frozen=True, slots=True)
class ChangedRetention:
    """A workspace whose retention was set, at a time in Unix milliseconds. `retention_ms` is None where it is as usual now."""

    workspace_id: str
    retention_ms: int | None
    set_at_ms: int


def set_retention(tx: Transaction, workspace_id: str, retention_ms: int | None) -> None:
    """Set how long results of a workspace are kept; 0 is until they are delivered, None as usual."""
    tx.execute(_set, of_workspace=workspace_id, retention=retention_ms, now=tx.now_ms())


def set_keep_prompts(tx: Transaction, workspace_id: str, keep_prompts: bool) -> None:
    """Set whether prompts are kept beside the pictures. Those that are there are left to `prompts.forget_unwanted`."""
    tx.execute(_set_keep_prompts, of_workspace=workspace_id, keeps=int(keep_prompts), now=tx.now_ms())


def of_request(tx: Transaction, request_id: str) -> int | None:
    """Return how long results of a request's workspace are kept; None is as usual."""
    row = tx.first(_of_request, of_request=request_id)
    return None if row is None else row["result_retention_ms"]


def changed(tx: Transaction) -> Sequence[ChangedRetention]:
    """Return the workspaces whose results may have been stored under an earlier retention."""
    return [
        ChangedRetention(row["id"], row["result_retention_ms"], row["retention_set_at_ms"]) for row in tx.all(_changed)
    ]


def shorten(tx: Transaction, workspace_id: str, retention_ms: int, *, limit: int) -> int:
    """Give up to `limit` results of a workspace that are kept for longer this retention, and return how many those were.

    It counts from the end of their requests. No result is ever kept for longer than was said when it was made.
    """
    values = {"of_workspace": workspace_id, "retention": retention_ms}
    kept = tx.all(_too_long, **values, now=tx.now_ms(), limit=limit)
    tx.execute_many(_shorten, [_until(row["id"], row["ended_at_ms"], retention_ms) for row in kept])
    parked = tx.all(_parked_too_long, **values)
    tx.execute_many(_shorten_parked, [_until(row["request_id"], row["ended_at_ms"], retention_ms) for row in parked])
    return len(kept)


def _until(request_id: str, ended_at_ms: int, retention_ms: int) -> dict[str, object]:
    return {"of_request": request_id, "until": ended_at_ms + retention_ms}


def settle(tx: Transaction, change: ChangedRetention) -> None:
    """Say that no result is left that was stored under an earlier retention, unless it was set again meanwhile."""
    tx.execute(_settled, of_workspace=change.workspace_id, set_at=change.set_at_ms)
