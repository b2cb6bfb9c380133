"""Verify the ledger beside whatever else goes on with results."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from omixa.billing import evidence
from omixa.billing.verify import Verification, verify
from omixa.storage.blobs import Blobs
from omixa.storage.database import Database

# The invariant that looks outside of the snapshot.
_RESULTS = "I7"


async def verify_all(database: Database, blobs: Blobs, *, stopping: Callable[[], bool] = lambda: False) -> Verification:
    """Verify everything, results included. Raises StorageUnavailable when they cannot be looked for.

    A result may be deleted while the snapshot still has it, so what is missing is looked for once more.
    """
    exists = await asyncio.to_thread(blobs.lookup)
    found = await database.read(lambda tx: verify(tx, result_exists=exists, stopping=stopping))
    missing = [finding for finding in found.findings if finding.invariant == _RESULTS]
    if not missing:
        return found
    expected = await database.read(
        lambda tx: {finding.subject for finding in missing if evidence.expects_result(tx, finding.subject)}
    )
    findings = [one for one in found.findings if one.invariant != _RESULTS or one.subject in expected]
    return dataclasses.replace(found, findings=tuple(findings))
