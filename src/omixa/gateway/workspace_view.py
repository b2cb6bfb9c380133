"""A workspace as operators see it: what is set for it, what it has and may spend, and who belongs to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from omixa.access import people, store
from omixa.access.people import PersonRow
from omixa.access.store import WorkspaceRow
from omixa.billing import budgets, ledger, lots
from omixa.billing.budgets import Budget, Period
from omixa.billing.ledger import Balance, workspace_account
from omixa.billing.lots import Lot
from omixa.domain.access import Mode
from omixa.storage.database import Transaction

_MODES: Sequence[Mode] = get_args(Mode)


@dataclass(frozen=True, slots=True)
class Wallet:
    """What a workspace has in one mode, and what all of its keys together may spend."""

    mode: Mode
    balance: Balance
    lots: Sequence[Lot]
    budgets: Mapping[Period, Budget]


@dataclass(frozen=True, slots=True)
class WorkspaceView:
    """A workspace with a wallet for each mode, its members, and how many keys it has that are not revoked."""

    workspace: WorkspaceRow
    wallets: Sequence[Wallet]
    members: Sequence[PersonRow]
    keys: int


def read_workspace(tx: Transaction, name: str) -> WorkspaceView | None:
    """Return the workspace of a name."""
    workspace = store.read_workspace(tx, name)
    if workspace is None:
        return None
    keys = sum(key.revoked_at_ms is None for key in store.list_keys(tx, name))
    wallets = [_wallet(tx, workspace.id, mode) for mode in _MODES]
    return WorkspaceView(workspace, wallets, people.list_people(tx, name), keys)


def _wallet(tx: Transaction, workspace_id: str, mode: Mode) -> Wallet:
    account_id = workspace_account(tx, workspace_id, mode)
    own = [one for one in budgets.list_budgets(tx, account_id) if one.subject.key_id is None]
    return Wallet(
        mode,
        ledger.balance(tx, account_id),
        lots.list_lots(tx, workspace_id, mode),
        {one.period: one for one in own},
    )
