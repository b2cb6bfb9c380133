"""The audit log as operators read it: newest first, by who did it, what it was and to what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import msgspec
from sqlalchemy import Integer, Select, bindparam, select

from omixa.access import people
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import audit_log

_FILTERS = ("actor", "action", "target")


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What was done. `seq` is its place in the log; `actor_name` is what a person is called, where it was one."""

    seq: int
    at_ms: int
    actor: str
    actor_name: str | None
    action: str
    target: str
    details: Mapping[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first. `next_before` is the cursor of the following page, None on the last one."""

    entries: tuple[AuditEntry, ...]
    next_before: int | None


def _query(filters: frozenset[str], *, is_first: bool) -> Select[Any]:
    conditions = [audit_log.c[name] == bindparam(name) for name in sorted(filters)]
    if not is_first:
        conditions.append(audit_log.c.seq < bindparam("before"))
    found = select(audit_log).where(*conditions) if conditions else select(audit_log)
    return found.order_by(audit_log.c.seq.desc()).limit(bindparam("limit", type_=Integer))


# A query of its own for each way to filter, so that each finds its index.
_QUERIES = {
    (filters, is_first): _query(filters, is_first=is_first)
    for filters in {frozenset(given) - {""} for given in product(*(("", name) for name in _FILTERS))}
    for is_first in (True, False)
}


def list_entries(
    tx: Transaction,
    *,
    limit: int,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
) -> AuditPage:
    """Return up to `limit` entries, newest first, older than the place `before`; None as a filter takes all."""
    values = {"actor": actor, "action": action, "target": target}
    given: dict[str, object] = {name: value for name, value in values.items() if value is not None}
    query = _QUERIES[frozenset(given), before is None]
    if before is not None:
        given["before"] = before
    # One more than asked for tells whether there is a next page.
    rows = tx.all(query, limit=limit + 1, **given)
    shown = rows[:limit]
    names = people.names(tx, {row["actor"] for row in shown if row["actor"].startswith("usr_")})
    entries = tuple(_entry(row, names) for row in shown)
    return AuditPage(entries, entries[-1].seq if entries and len(rows) > limit else None)


def _entry(row: Row, names: Mapping[str, str]) -> AuditEntry:
    return AuditEntry(
        seq=row["seq"],
        at_ms=row["at_ms"],
        actor=row["actor"],
        actor_name=names.get(row["actor"]),
        action=row["action"],
        target=row["target"],
        details=msgspec.json.decode(row["details_json"]),
        hash=row["hash"],
    )
