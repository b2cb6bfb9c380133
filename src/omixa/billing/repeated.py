"""What must be true of requests that were repeated: no result is paid for twice, and no key answers for a stranger."""

from __future__ import annotations

from sqlalchemy import case, func, literal_column, select

from omixa.billing.invariants import Checked, Snapshot, fault_unless
from omixa.storage.tables import idempotency, parked_result, request

_source, _reissue = request.alias("source"), request.alias("reissue")
_captures = func.sum(case((_reissue.c.state == literal_column("'captured'"), 1), else_=0))
_reissued = (
    select(
        _source.c.id,
        _source.c.state,
        _captures.label("captures"),
        func.count(parked_result.c.request_id).label("parked"),
        func.min(_reissue.c.workspace_id).label("first_workspace"),
        func.max(_reissue.c.workspace_id).label("last_workspace"),
        _source.c.workspace_id,
        func.min(_reissue.c.mode).label("first_mode"),
        func.max(_reissue.c.mode).label("last_mode"),
        _source.c.mode,
    )
    .join(_reissue, _reissue.c.parked_from == _source.c.id)
    .outerjoin(parked_result, parked_result.c.request_id == _source.c.id)
    .group_by(_source.c.id, _source.c.state, _source.c.workspace_id, _source.c.mode)
)
_parked = select(parked_result.c.request_id, request.c.state).join(request, request.c.id == parked_result.c.request_id)
_keys = select(
    idempotency.c.request_id,
    ((idempotency.c.workspace_id != request.c.workspace_id) | (idempotency.c.mode != request.c.mode)).label("mixed"),
).join(request, request.c.id == idempotency.c.request_id)


def parked_results_are_charged_once(at: Snapshot) -> Checked:
    """Check that a result is parked by a released request, charged by at most one other, and no longer parked then."""
    for row in at.tx.each(_parked):
        yield row["request_id"], fault_unless(row["state"] == "released", f"parked its result, yet is {row['state']}")
    for row in at.tx.each(_reissued):
        captures = row["captures"]
        right = row["state"] == "released" and (captures == 0 or (captures == 1 and not row["parked"]))
        yield row["id"], fault_unless(right, f"{row['state']}, and {captures} requests were charged for its result")


def repeats_stay_in_their_workspace(at: Snapshot) -> Checked:
    """Check that no key and no parked result joins two workspaces, or live and test money."""
    for row in at.tx.each(_keys):
        yield row["request_id"], fault_unless(not row["mixed"], "answers to a key of another workspace or mode")
    for row in at.tx.each(_reissued):
        right = row["first_workspace"] == row["last_workspace"] == row["workspace_id"]
        right = right and row["first_mode"] == row["last_mode"] == row["mode"]
        yield row["id"], fault_unless(right, "its result was charged to another workspace or mode")
