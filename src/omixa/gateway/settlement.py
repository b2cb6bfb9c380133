"""The four durable steps of a request, each one transaction: authorise, next attempt, capture, release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omixa.billing import ledger
from omixa.billing.ledger import Hold, StoredResult
from omixa.errors import LedgerUnavailable, SettlementUnavailable
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

        def operation(tx: Transaction) -> None:
            ledger.hold(tx, hold)
            records.start_attempts(tx, attempts)

        await self._database.write(operation)

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

        def operation(tx: Transaction) -> None:
            ledger.capture(tx, record.request_id, self.node.epoch, record.amount_micro_usd, result)
            records.end_attempts(tx, attempts)
            records.record_usage(tx, record)

        try:
            await self._database.write(operation)
        except LedgerUnavailable as error:
            raise SettlementUnavailable(
                f"The picture was made, but its charge could not be confirmed. Ask for /requests/{record.request_id} later:"
                " it is charged only if its result is there.",
                retry_after_s=5,
            ) from error

    async def release(self, request_id: str, outcome: str, attempts: Sequence[EndedAttempt]) -> None:
        """Give the hold back. When the ledger cannot be written, the sweeper does it later."""

        def operation(tx: Transaction) -> None:
            ledger.release(tx, request_id, self.node.epoch, outcome)
            records.end_attempts(tx, attempts)

        await self._database.write(operation)
