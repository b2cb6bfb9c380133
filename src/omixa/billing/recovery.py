"""What a crash leaves behind: holds whose owner is gone and results past their time. Functions of an open transaction.

A node is a serving process under a name that lasts; its epoch grows at each start. Whoever owns a hold is named by both, so
that a predecessor that wakes up again cannot settle what its successor has released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Integer, and_, bindparam, func, literal_column, null, or_, select, update

from omixa.storage import prompts, repeats, small_results
from omixa.storage.database import Transaction
from omixa.storage.small_results import IN_DATABASE
from omixa.storage.statements import insert_into
from omixa.storage.tables import node, request

# ------------------------------------------------------------------------------------------------------------------ nodes

_next_epoch = (
    update(node)
    .where(node.c.id == bindparam("node_id"))
    .values(epoch=node.c.epoch + 1, heartbeat_at_ms=bindparam("now"))
    .returning(node.c.epoch)
)
_insert_node = insert_into(node)
_beat = (
    update(node)
    .where(node.c.id == bindparam("node_id"), node.c.epoch == bindparam("of_epoch"))
    .values(heartbeat_at_ms=bindparam("now"))
)


def register_node(tx: Transaction, node_id: str) -> int:
    """Start a new epoch of a node and return it, from 1. Earlier epochs of the node own nothing from here on."""
    now = tx.now_ms()
    row = tx.first(_next_epoch, node_id=node_id, now=now)
    if row is not None:
        return int(row["epoch"])
    tx.execute(_insert_node, id=node_id, epoch=1, heartbeat_at_ms=now)
    return 1


def beat(tx: Transaction, node_id: str, epoch: int) -> bool:
    """Say that a node is alive. Returns False when a later epoch has taken its place."""
    return bool(tx.execute(_beat, node_id=node_id, of_epoch=epoch, now=tx.now_ms()))


_live_nodes = select(func.count().label("nodes")).where(node.c.heartbeat_at_ms >= bindparam("silent_since"))


def live_nodes(tx: Transaction, *, silence_ms: int) -> int:
    """Return how many nodes have said within `silence_ms` that they are alive."""
    row = tx.first(_live_nodes, silent_since=tx.now_ms() - silence_ms)
    return 0 if row is None else int(row["nodes"])


# ------------------------------------------------------------------------------------------------------------------ holds


@dataclass(frozen=True, slots=True)
class OwnedRequest:
    """A held request and who owns it."""

    id: str
    owner_node: str
    owner_epoch: int


# The constant is written into the statement, so that the index over held requests alone serves it.
_is_held = request.c.state == literal_column("'held'")
_lost_holds = (
    select(request.c.id, request.c.owner_node, request.c.owner_epoch)
    .outerjoin(node, node.c.id == request.c.owner_node)
    .where(
        _is_held,
        or_(
            request.c.expires_at_ms < bindparam("now"),
            node.c.id.is_(None),
            node.c.epoch != request.c.owner_epoch,
            # A hold that is younger than its owner's silence shows that the owner lives.
            and_(
                node.c.heartbeat_at_ms < bindparam("silent_since"), request.c.created_at_ms < bindparam("silent_since")
            ),
        ),
    )
    .order_by(request.c.expires_at_ms)
    .limit(bindparam("limit", type_=Integer))
)


# A row that somebody works on is left for the next round: whoever works on it lives.
_claim = (
    select(request.c.id)
    .where(
        request.c.id == bindparam("request_id"), request.c.owner_epoch == bindparam("epoch"), request.c.state == "held"
    )
    .with_for_update(skip_locked=True)
)


def lost_holds(tx: Transaction, *, silence_ms: int, limit: int, listening_since_ms: int = 0) -> Sequence[OwnedRequest]:
    """Return held requests whose owner is gone, up to `limit`, the oldest first.

    An owner is gone when its time for the request has passed, when its node started again, or when its node has not said for
    `silence_ms` that it is alive. Silence counts for those alone who have been listening for as long: after an outage of
    the database, everybody was silent.
    """
    now = tx.now_ms()
    silent_since = now - silence_ms if listening_since_ms <= now - silence_ms else 0
    rows = tx.all(_lost_holds, now=now, silent_since=silent_since, limit=limit)
    return [OwnedRequest(row["id"], row["owner_node"], row["owner_epoch"]) for row in rows]


def claim(tx: Transaction, lost: OwnedRequest) -> bool:
    """Take a lost hold for this transaction. Returns False when it has ended or another transaction works on it right now."""
    return tx.first(_claim, request_id=lost.id, epoch=lost.owner_epoch) is not None


# ---------------------------------------------------------------------------------------------------------------- results

_has_result = request.c.result_ref.is_not(None)
_expired_results = (
    select(request.c.id, request.c.result_ref)
    .where(_has_result, request.c.result_expires_at_ms <= bindparam("now"))
    .order_by(request.c.result_expires_at_ms)
    .limit(bindparam("limit", type_=Integer))
)
_forget_result = update(request).where(request.c.id == bindparam("request_id")).values(result_ref=null())
_keeper = select(request.c.state, request.c.result_ref).where(request.c.id == bindparam("request_id"))


def forget_expired_results(tx: Transaction, *, limit: int) -> Sequence[str]:
    """Take up to `limit` results past their time out of their requests, with their prompts, and return where they are.

    Digest and time stay, so that it can be told that there was a result. Files are left to the caller, because rows come first: a
    file that is left over is found by `is_orphan`, while a row that points to a deleted file would be a broken promise.
    """
    rows = tx.all(_expired_results, now=tx.now_ms(), limit=limit)
    tx.execute_many(_forget_result, [{"request_id": row["id"]} for row in rows])
    small_results.forget(tx, [row["id"] for row in rows if row["result_ref"] == IN_DATABASE])
    prompts.forget(tx, [row["id"] for row in rows])
    return [str(row["result_ref"]) for row in rows]


def is_orphan(tx: Transaction, name: str) -> bool:
    """Tell whether a result's file belongs to nothing: its request is not running, does not refer to it, and has not parked it.

    A file is named after its request and written while that is held, so this can be asked at any time.
    """
    request_id = name.rpartition("/")[2]
    row = tx.first(_keeper, request_id=request_id)
    if row is None:
        return True
    return row["state"] != "held" and row["result_ref"] != name and not repeats.is_parked(tx, request_id, name)
