"""What servers have learned of deployments, in the database: functions of an open transaction.

A row of `route_memory` is one server's: another one may reach what this one does not. A refused credential is refused for all.
Credentials are known by keyed digests alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, select

from omixa.domain.routes import Memory
from omixa.storage.database import Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import refused_credential, route_memory

_memories = select(route_memory).where(route_memory.c.node_id == bindparam("of_node"))
_forget = delete(route_memory).where(
    route_memory.c.node_id == bindparam("of_node"), route_memory.c.deployment == bindparam("of_deployment")
)
_remember = insert_into(route_memory)


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment, with the digest of where its calls go and of its credential."""

    deployment: str
    digest: str


def remember(tx: Transaction, node_id: str, memories: Mapping[Place, Memory]) -> None:
    """Keep what a server knows now of some deployments, in the place of what it knew."""
    now = tx.now_ms()
    for place, memory in memories.items():
        tx.execute(_forget, of_node=node_id, of_deployment=place.deployment)
        tx.execute(
            _remember,
            node_id=node_id,
            deployment=place.deployment,
            digest=place.digest,
            cooling_ms=memory.cooling_ms,
            unreachable=int(memory.unreachable),
            strikes=memory.strikes,
            ejections=memory.ejections,
            calls_json=msgspec.json.encode(memory.calls).decode(),
            saved_at_ms=now,
        )


def recall(tx: Transaction, node_id: str) -> Mapping[Place, Memory]:
    """Return what a server knew, and what is left of it by now."""
    now = tx.now_ms()
    return {
        Place(row["deployment"], row["digest"]): Memory(
            cooling_ms=row["cooling_ms"],
            unreachable=bool(row["unreachable"]),
            strikes=row["strikes"],
            ejections=row["ejections"],
            calls=msgspec.json.decode(row["calls_json"], type=tuple[tuple[int, int], ...]),
        ).after(now - row["saved_at_ms"])
        for row in tx.all(_memories, of_node=node_id)
    }


_refused = select(refused_credential)
_is_refused = select(refused_credential.c.digest).where(refused_credential.c.digest == bindparam("of_digest"))
_refuse = insert_into(refused_credential)
_accept = delete(refused_credential).where(refused_credential.c.digest == bindparam("of_digest"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a credential is out of use. `spent` says that its account has no credit left, which a free check may find mended."""

    reason: str
    spent: bool = False


def refused(tx: Transaction) -> Mapping[str, Refusal]:
    """Return the digests of all credentials that are out of use."""
    return {row["digest"]: Refusal(row["reason"], bool(row["spent"])) for row in tx.all(_refused)}


def refuse(tx: Transaction, digest: str, refusal: Refusal) -> None:
    """Note that a credential is out of use, for all servers; the first reason stays."""
    if tx.first(_is_refused, of_digest=digest) is None:
        tx.execute(_refuse, digest=digest, reason=refusal.reason, spent=int(refusal.spent), refused_at_ms=tx.now_ms())


def accept(tx: Transaction, digest: str) -> None:
    """Note that a credential is in use again."""
    tx.execute(_accept, of_digest=digest)
