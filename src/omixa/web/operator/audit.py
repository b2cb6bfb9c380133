"""The audit log: who did what to whom, filtered in the address."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from omixa.access import audit
from omixa.access.audit import AuditEntry
from omixa.api.queries import AuditQuery, given, parse_query
from omixa.web.console.visit import Visit

_FILTERS = ("actor", "action", "target")


async def list_entries(visit: Visit) -> None:
    """Send a page of the log."""
    query = parse_query(visit.exchange, AuditQuery, blank_is_missing=True)
    before = given(query.before)
    filters = {name: value for name in _FILTERS if (value := given(getattr(query, name))) is not None}
    page = await visit.services.database.read(
        lambda tx: audit.list_entries(tx, limit=query.limit, before=before, **filters)
    )
    await visit.send(
        "operator/audit.html",
        "Audit log",
        section="audit",
        entries=[(one, _details(one)) for one in page.entries],
        filters=filters,
        is_first=before is None,
        first=urlencode(filters),
        older=None if page.next_before is None else urlencode({**filters, "before": page.next_before}),
        calls=[visit.operator_call("audit", before=before, **filters)],
        commands=["omixa ledger verify"],
    )


def _details(entry: AuditEntry) -> list[tuple[str, str]]:
    """Return what else is known, as text, without what says nothing."""
    return [
        (name, value if isinstance(value, str) else msgspec.json.encode(value).decode())
        for name, value in entry.details.items()
        if value not in (None, "", [], {})
    ]
