"""What others are to be told: written with what it tells of, in one transaction, and delivered at least once afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Integer, bindparam, delete, select, update

from omixa.domain.ids import new_id
from omixa.storage.database import Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import outbox

# After this many attempts a message is given up; it stays in the table.
MAX_ATTEMPTS = 10
# Before the second attempt; each further pause is twice as long, up to the longest.
FIRST_PAUSE_MS = 30_000
LONGEST_PAUSE_MS = 3_600_000
# How long delivered messages are kept.
RETENTION_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell. `attempts` counts those that were begun before, `created_at_ms` is when it happened."""

    id: str
    topic: str
    payload: Mapping[str, str]
    attempts: int
    created_at_ms: int


_insert = insert_into(outbox, "id", "topic", "payload_json", "attempts", "next_at_ms", "created_at_ms")
_waiting = (outbox.c.delivered_at_ms.is_(None), outbox.c.attempts < MAX_ATTEMPTS)
_due = (
    select(outbox.c.id, outbox.c.topic, outbox.c.payload_json, outbox.c.attempts, outbox.c.created_at_ms)
    .where(*_waiting, outbox.c.next_at_ms <= bindparam("now"))
    .order_by(outbox.c.next_at_ms)
    .limit(bindparam("limit", type_=Integer))
)
_claim = (
    update(outbox)
    .where(outbox.c.id == bindparam("message_id"), outbox.c.attempts == bindparam("seen"), *_waiting)
    .values(attempts=outbox.c.attempts + 1, next_at_ms=bindparam("next_at"))
)
_delivered = update(outbox).where(outbox.c.id == bindparam("message_id")).values(delivered_at_ms=bindparam("now"))
_forget = delete(outbox).where(outbox.c.delivered_at_ms < bindparam("before"))


def put(tx: Transaction, topic: str, payload: Mapping[str, str], *, message_id: str | None = None) -> str:
    """Write a message that is delivered when the transaction has committed, and return its id, which may be given."""
    identifier, now = message_id or new_id("evt"), tx.now_ms()
    tx.execute(
        _insert,
        id=identifier,
        topic=topic,
        payload_json=msgspec.json.encode(payload).decode(),
        attempts=0,
        next_at_ms=now,
        created_at_ms=now,
    )
    return identifier


def due(tx: Transaction, *, limit: int) -> Sequence[Message]:
    """Return messages whose time has come, those that wait longest first."""
    return [
        Message(
            row["id"],
            row["topic"],
            msgspec.json.decode(row["payload_json"], type=dict[str, str]),
            row["attempts"],
            row["created_at_ms"],
        )
        for row in tx.all(_due, now=tx.now_ms(), limit=limit)
    ]


def claim(tx: Transaction, message: Message) -> bool:
    """Begin an attempt and set the time of the next. Returns False when somebody else has begun one."""
    pause = min(FIRST_PAUSE_MS << message.attempts, LONGEST_PAUSE_MS)
    return bool(tx.execute(_claim, message_id=message.id, seen=message.attempts, next_at=tx.now_ms() + pause))


def mark_delivered(tx: Transaction, message: Message) -> None:
    """Record that a message has arrived, and forget those that arrived long ago."""
    now = tx.now_ms()
    tx.execute(_delivered, message_id=message.id, now=now)
    tx.execute(_forget, before=now - RETENTION_MS)
