"""Verify the ledger: every promise about money, recomputed from the rows alone, on one consistent snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omixa.billing.invariants import INVARIANTS, Snapshot
from omixa.storage.database import Transaction

# Findings kept of one invariant: past that it is clear that something is wrong.
MAX_FINDINGS = 100


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
