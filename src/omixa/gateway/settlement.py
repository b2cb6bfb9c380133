"""The four durable steps of a request, each one transaction: authorise, next attempt, capture, release.

Requests that are at the same step at the same moment take it together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omixa.billing import ledger
from omixa.billing.ledger import Capture, Hold, Release, StoredResult
from omixa.errors import LedgerUnavailable, OmixaError, SettlementUnavailable
from omixa.storage import small_results
from omixa.storage.database import Database, Transaction
from omixa.usage import records
from omixa.usage.records import EndedAttempt, StartedAttempt, UsageRecord


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which serving process owns a request. `epoch` grows at each start of a node."""

    id: str
    epoch: int


class Settlement:
    """Moves a request's money together with the record of what happened."""

    def __init__(self, database: Database, node: NodeIdentity) -> None:
        self._database = database
        self.node = node

    async def authorise(self, hold: Hold, attempts: Sequence[StartedAttempt]) -> None:
        """Hold the highest price and record the first calls, before anything is sent. Raises InsufficientFunds."""
        await self._database.write_together(_authorise, (hold, attempts))

    async def next_attempt(self, ended: EndedAttempt, started: StartedAttempt) -> None:
        """Record a failed call and the one that follows it. Raises SettlementUnavailable when the hold is gone."""

        def operation(tx: Transaction) -> None:
            ledger.require_owned(tx, started.request_id, self.node.epoch)
            records.end_attempts(tx, [ended])
            records.start_attempts(tx, [started])

        await self._database.write(operation)

    async def capture(self, record: UsageRecord, result: StoredResult, attempts: Sequence[EndedAttempt]) -> None:
        """Charge the request. After this returns, and not before, the answer may be sent.

        Raises SettlementUnavailable when the hold is gone or the ledger cannot be written: then no success may be told.
        """
        capture = Capture(record.request_id, self.node.epoch, record.amount_micro_usd, result)
        try:
            await self._database.write_together(_capture, (capture, record, attempts))
        except LedgerUnavailable as error:
            raise SettlementUnavailable(
                f"The picture was made, but its charge could not be confirmed. Ask for /requests/{record.request_id} later:"
                " it is charged only if its result is there.",
                retry_after_s=5,
            ) from error

    async def release(self, request_id: str, outcome: str, attempts: Sequence[EndedAttempt]) -> None:
        """Give the hold back. When the ledger cannot be written, the sweeper does it later."""
        await self._database.write_together(_release, (Release(request_id, self.node.epoch, outcome), attempts))


def _authorise(tx: Transaction, items: Sequence[tuple[Hold, Sequence[StartedAttempt]]]) -> Sequence[OmixaError | None]:
    verdicts = ledger.hold(tx, [hold for hold, _ in items])
    admitted = [attempts for (_, attempts), verdict in zip(items, verdicts, strict=True) if verdict is None]
    records.start_attempts(tx, [attempt for attempts in admitted for attempt in attempts])
    return verdicts


def _capture(
    tx: Transaction, items: Sequence[tuple[Capture, UsageRecord, Sequence[EndedAttempt]]]
) -> Sequence[OmixaError | None]:
    verdicts = ledger.capture(tx, [capture for capture, _, _ in items])
    captured = [item for item, verdict in zip(items, verdicts, strict=True) if verdict is None]
    small = {capture.request_id: capture.result.data for capture, _, _ in captured if capture.result.data is not None}
    small_results.keep(tx, small)
    records.end_attempts(tx, [attempt for _, _, attempts in captured for attempt in attempts])
    records.record_usage(tx, [record for _, record, _ in captured])
    return verdicts


def _release(tx: Transaction, items: Sequence[tuple[Release, Sequence[EndedAttempt]]]) -> Sequence[None]:
    ledger.release(tx, [release for release, _ in items])
    records.end_attempts(tx, [attempt for _, attempts in items for attempt in attempts])
    return [None] * len(items)
