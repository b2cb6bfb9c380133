"""What operators allow a workspace or a key: how much to spend and how often to ask.

Each change is one transaction, and the audit log names who made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from omixa.access import store
from omixa.access.store import KeyOwner
from omixa.billing import budgets, ledger, refusals
from omixa.billing.budgets import PERIODS, Budget, Period, Subject
from omixa.domain.access import Mode, Principal, RateLimits
from omixa.domain.money import MAX_AMOUNT_MICRO_USD, format_usd
from omixa.errors import InvalidRequest, KeyNotFound, RefusalLimit, WorkspaceNotFound
from omixa.storage.database import Database, Transaction

# A limit for each period that is to be changed, in micro-USD; None takes the budget away.
Limits = Mapping[Period, int | None]
# A number for each field of RateLimits that is to be changed.
LimitChanges = Mapping[str, int | None]
MAX_RATE = 10**9


@dataclass(frozen=True, slots=True)
class ListedBudget:
    """A budget with what people call its subject: the workspace's name, the mode and, for a key's, the key's id."""

    workspace: str
    mode: Mode
    budget: Budget


class Allowances:
    """Budgets and rate limits of workspaces and keys. `actor` in the methods is who the audit log names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, principal: Principal) -> list[Budget]:
        """Return the budgets that limit a key's requests: its workspace's first, then its own."""
        return await self._database.read(
            lambda tx: budgets.list_budgets(tx, principal.account_id, key_id=principal.key_id)
        )

    async def refusal(self, principal: Principal, limit_pico_usd: int) -> RefusalLimit | None:
        """Return why a workspace has to wait whose content refusals have cost so much today, or None."""
        try:
            await self._database.read(lambda tx: refusals.require_within(tx, principal.account_id, limit_pico_usd))
        except RefusalLimit as refusal:
            return refusal
        return None

    async def list_budgets(self, workspace: str | None) -> list[ListedBudget]:
        """Return all budgets of a workspace, or of all workspaces. Raises NotFound."""

        def operation(tx: Transaction) -> list[ListedBudget]:
            found = store.list_accounts(tx, workspace)
            if workspace is not None and not found:
                raise WorkspaceNotFound(f'There is no workspace "{workspace[:80]}".')
            return [
                ListedBudget(one.workspace, one.mode, budget)
                for one in found
                for budget in budgets.list_budgets(tx, one.account_id)
            ]

        return await self._database.read(operation)

    async def set_key_budget(
        self, key_id: str, limits: Limits, *, actor: str, owner: KeyOwner | None = None
    ) -> list[Budget]:
        """Set budgets of a key, with an `owner` of one of theirs, and return all that it has now.

        Raises NotFound, or InvalidRequest for a limit out of range and for a key that manages, which spends nothing.
        """
        require_limits(limits)

        def operation(tx: Transaction) -> list[Budget]:
            found = require_key(tx, key_id, owner)
            key = store.find_key(tx, found.workspace_id, found.mode, key_id)
            if key is not None and key.scopes and any(limit is not None for limit in limits.values()):
                raise InvalidRequest("A key with scopes makes no pictures, so it has no budgets.", param="budget")
            subject = Subject(ledger.workspace_account(tx, found.workspace_id, found.mode), key_id)
            changes = set_limits(tx, subject, limits)
            store.audit(tx, actor=actor, action="key.budget_set", target=key_id, details={"budgets": changes})
            return _of_subject(tx, subject)

        return await self._database.write(operation)

    async def set_key_limits(self, key_id: str, changes: LimitChanges, *, actor: str) -> RateLimits:
        """Change limits of a key and return all that were set for it. Raises NotFound, or InvalidRequest for one out of range.

        Servers obey within a few seconds.
        """
        require_rates(changes)

        def operation(tx: Transaction) -> RateLimits:
            require_key(tx, key_id)
            limits = store.change_key_limits(tx, key_id, changes)
            store.audit(tx, actor=actor, action="key.limits_set", target=key_id, details=asdict(limits))
            return limits

        return await self._database.write(operation)

    async def set_workspace_limits(self, workspace: str, changes: LimitChanges, *, actor: str) -> RateLimits:
        """Change limits of a workspace, for each of its modes apart, and return all that were set. As for keys."""
        require_rates(changes)

        def operation(tx: Transaction) -> RateLimits:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise WorkspaceNotFound(f'There is no workspace "{workspace[:80]}".')
            limits = store.change_workspace_limits(tx, workspace_id, changes)
            details = {"workspace": workspace, **asdict(limits)}
            store.audit(tx, actor=actor, action="workspace.limits_set", target=workspace_id, details=details)
            return limits

        return await self._database.write(operation)

    async def set_workspace_budget(self, workspace: str, mode: Mode, limits: Limits, *, actor: str) -> list[Budget]:
        """Set budgets of all keys of a workspace together, in one mode, and return all that it has now. Raises as for keys."""
        require_limits(limits)

        def operation(tx: Transaction) -> list[Budget]:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise WorkspaceNotFound(f'There is no workspace "{workspace[:80]}".')
            subject = Subject(ledger.workspace_account(tx, workspace_id, mode))
            changes = set_limits(tx, subject, limits)
            details = {"workspace": workspace, "mode": mode, "budgets": changes}
            store.audit(tx, actor=actor, action="workspace.budget_set", target=workspace_id, details=details)
            return _of_subject(tx, subject)

        return await self._database.write(operation)


def require_key(tx: Transaction, key_id: str, owner: KeyOwner | None = None) -> KeyOwner:
    """Return whose an active key is. Raises NotFound when there is none, or not of this owner."""
    found = store.find_key_owner(tx, key_id)
    if found is None or owner not in (None, found):
        raise KeyNotFound(f"There is no active key {key_id[:80]}.")
    return found


def require_rates(changes: LimitChanges) -> None:
    """Raise InvalidRequest unless every limit can be kept."""
    for name, limit in changes.items():
        if limit is not None and not 0 <= limit <= MAX_RATE:
            raise InvalidRequest(f"A limit must be from 0, which is none, to {MAX_RATE}.", param=name)


def require_limits(limits: Limits) -> None:
    """Raise InvalidRequest unless every limit can be kept."""
    for period, limit in limits.items():
        if limit is not None and not 0 <= limit <= MAX_AMOUNT_MICRO_USD:
            raise InvalidRequest(
                f"A budget must be from 0 to {format_usd(MAX_AMOUNT_MICRO_USD)}.", param=f"budget-{period}"
            )


def set_limits(tx: Transaction, subject: Subject, limits: Limits) -> dict[str, dict[str, str | None]]:
    """Set budgets and return what they were and are, for the audit log."""
    changes: dict[str, dict[str, str | None]] = {}
    for period in PERIODS:
        if period in limits:
            before, after = budgets.set_limit(tx, subject, period, limits[period]), limits[period]
            changes[period] = {"before": _usd_or_none(before), "after": _usd_or_none(after)}
    return changes


def _usd_or_none(micro: int | None) -> str | None:
    return None if micro is None else format_usd(micro)


def _of_subject(tx: Transaction, subject: Subject) -> list[Budget]:
    found: Sequence[Budget] = budgets.list_budgets(tx, subject.account_id, subject.key_id)
    return [one for one in found if one.subject == subject]
