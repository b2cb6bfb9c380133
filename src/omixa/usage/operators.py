"""What an operator may read about a request: every call to a provider with its diagnostics and its cost."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from omixa.storage.database import Transaction
from omixa.storage.tables import attempt, request, workspace


@dataclass(frozen=True, slots=True)
class ProviderCallRow:
    """One call to a provider. `cost_pico_usd` is what it costs the operator, as far as `cost_basis` knows."""

    n: int
    image_index: int
    deployment: str
    state: str
    provider_request_id: str | None
    upstream_status: int | None
    error_code: str | None
    diagnostics: str | None
    cost_pico_usd: int | None
    cost_basis: str | None
    sent_at_ms: int
    ended_at_ms: int | None


@dataclass(frozen=True, slots=True)
class OperatorView:
    """A request and its calls. Amounts are micro-USD, times Unix milliseconds."""

    id: str
    workspace: str
    mode: str
    key_id: str
    model: str
    operation: str
    state: str
    outcome: str | None
    hold_amount: int
    charge_amount: int | None
    refunded_amount: int
    adjusted_amount: int
    created_at_ms: int
    ended_at_ms: int | None
    calls: tuple[ProviderCallRow, ...]


_REQUEST_COLUMNS = tuple(name for name in OperatorView.__dataclass_fields__ if name not in ("workspace", "calls"))
_CALL_COLUMNS = tuple(ProviderCallRow.__dataclass_fields__)
_request = (
    select(*(request.c[name] for name in _REQUEST_COLUMNS), workspace.c.name.label("workspace"))
    .join(workspace, workspace.c.id == request.c.workspace_id)
    .where(request.c.id == bindparam("request_id"))
)
_calls = (
    select(*(attempt.c[name] for name in _CALL_COLUMNS))
    .where(attempt.c.request_id == bindparam("request_id"))
    .order_by(attempt.c.n)
)


def find_for_operator(tx: Transaction, request_id: str) -> OperatorView | None:
    """Return a request of any workspace with all that is kept for the operator, or None."""
    row = tx.first(_request, request_id=request_id)
    if row is None:
        return None
    calls = tuple(
        ProviderCallRow(**{name: call[name] for name in _CALL_COLUMNS})
        for call in tx.all(_calls, request_id=request_id)
    )
    return OperatorView(**{name: row[name] for name in (*_REQUEST_COLUMNS, "workspace")}, calls=calls)
