"""Verify the ledger: every promise about money, recomputed from the rows alone, on one consistent snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omixa.billing import budget_evidence, evidence, invariants, repeated
from omixa.billing.invariants import Invariant, Snapshot
from omixa.storage.database import Transaction

# Findings kept of one invariant: past that it is clear that something is wrong.
MAX_FINDINGS = 100

INVARIANTS: Mapping[str, Invariant] = {
    "I1": invariants.balances_follow_from_transfers_and_holds,
    "I2": invariants.no_account_is_overdrawn,
    "I3": invariants.each_capture_is_one_charge,
    "I4": invariants.no_charge_without_a_capture,
    "I4 parked": repeated.parked_results_are_charged_once,
    "I5": invariants.no_charge_above_its_hold,
    "I5 lots": invariants.lots_are_what_accounts_have,
    "I5 pins": invariants.holds_are_pinned_to_lots,
    "top-ups": invariants.topups_are_paid_once,
    "statements": invariants.statements_are_what_moved,
    "I6": invariants.transfers_form_unbroken_chains,
    "I6 audit": invariants.audit_log_is_an_unbroken_chain,
    "I7": evidence.kept_results_exist,
    "I8": evidence.usage_rates_to_the_same_charge,
    "I9": evidence.nothing_is_forgotten,
    "I10": evidence.every_cost_is_explained,
    "costs as billed": evidence.explained_costs_are_as_billed,
    "I11": evidence.workspaces_never_meet,
    "I11 repeats": repeated.repeats_stay_in_their_workspace,
    "corrections": invariants.corrections_stay_within_their_charge,
    "budgets": budget_evidence.budgets_count_every_request,
    "sums": evidence.days_add_up,
    "sums of corrections": evidence.days_of_corrections_add_up,
    "sums of margins": evidence.days_of_margins_add_up,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant: its name, the row concerned, and what is wrong."""

    invariant: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.subject}: {self.message}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found, and how many rows each invariant looked at. `complete` is False when it was stopped early."""

    findings: tuple[Finding, ...]
    checked: Mapping[str, int]
    complete: bool = True

    @property
    def clean(self) -> bool:
        """Tell whether every invariant holds."""
        return self.complete and not self.findings


def _never() -> bool:
    return False


def verify(
    tx: Transaction,
    *,
    now_ms: int | None = None,
    result_exists: Callable[[str], bool] | None = None,
    stopping: Callable[[], bool] = _never,
) -> Verification:
    """Check every invariant on one snapshot, row by row, so that the size of the tables does not matter.

    `now_ms` is the database's time by default. `result_exists` tells whether a result's file is there; without it I7 is left
    out. `stopping` is asked at every row and ends the verification early. At most MAX_FINDINGS are kept of each invariant.
    """
    snapshot = Snapshot(tx, tx.now_ms() if now_ms is None else now_ms, result_exists)
    findings: list[Finding] = []
    checked: dict[str, int] = {}
    for name, invariant in INVARIANTS.items():
        count = found = 0
        for subject, fault in invariant(snapshot):
            if stopping():
                return Verification(tuple(findings), checked, complete=False)
            count += 1
            if fault is not None and found < MAX_FINDINGS:
                found += 1
                findings.append(Finding(name, subject, fault))
        checked[name] = count
    return Verification(tuple(findings), checked)
