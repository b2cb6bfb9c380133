"""The four durable steps of a request, each one transaction: authorise, next attempt, capture, release.

Requests that are at the same step at the same moment take it together.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from omixa.billing import ledger, margins, refusals
from omixa.billing.ledger import Capture, Hold, Release, StoredResult
from omixa.errors import LedgerUnavailable, OmixaError, Overloaded, SettlementUnavailable, UpstreamRefused
from omixa.gateway import idempotency
from omixa.gateway.idempotency import Decision, Earlier, Remains, RequestIdentity
from omixa.gateway.pauses import LoopTime, pauses_until
from omixa.storage import prompts, repeats, small_results
from omixa.storage.database import Database, Transaction
from omixa.storage.repeats import EarlierRequest, ParkedResult
from omixa.usage import records
from omixa.usage.records import EndedAttempt, StartedAttempt, UsageRecord

log = logging.getLogger(__name__)


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

    async def authorise(
        self, hold: Hold, attempts: Sequence[StartedAttempt], identity: RequestIdentity | None = None
    ) -> Earlier | ParkedResult | None:
        """Hold the highest price and record the first calls, before anything is sent. Raises InsufficientFunds.

        Returns None when a provider is to be called. A repeat of an earlier request gets what that one brought, and then
        nothing is held; or its parked result, which is to be charged for and needs no call.
        """
        return await self._database.write_together(_authorise, _Asked(hold, attempts, identity))

    async def outcome(self, request_id: str) -> Earlier | EarlierRequest | None:
        """Return how a request that a retry has joined answers it, the request while it runs, or None when it failed."""
        return await self._database.read(lambda tx: idempotency.outcome(tx, request_id))

    async def leave(self, request_id: str) -> None:
        """Note that a client has left, so that its retry is known for one."""
        await self._database.write(lambda tx: repeats.leave(tx, request_id))

    async def forget_parked(self, request_id: str) -> None:
        """Give up a parked result that cannot be used."""
        await self._database.write(lambda tx: repeats.unpark(tx, request_id))

    async def next_attempt(self, ended: EndedAttempt | None, started: StartedAttempt) -> None:
        """Record a call that was not recorded with the hold, and how the one before it ended, if there was one.

        Raises SettlementUnavailable when the hold is gone.
        """

        def operation(tx: Transaction) -> None:
            ledger.require_owned(tx, started.request_id, self.node.epoch)
            if ended is not None:
                records.end_attempts(tx, [ended])
            records.start_attempts(tx, [started])

        await self._database.write(operation)

    async def answered_late(self, ended: EndedAttempt, *, came_ago_ms: int) -> None:
        """Correct the record of a call that was given up by what came of it after all; its request has been settled.

        What a content filter's refusal costs counts toward the limit of the day.
        """

        def operation(tx: Transaction) -> None:
            with margins.changing_cost(tx, ended.id):
                request_id = records.answer_late(tx, ended, came_ago_ms=came_ago_ms)
            if request_id is not None and ended.error_code == UpstreamRefused.default_code:
                refusals.absorb(tx, [(request_id, ended.cost_pico_usd)])

        await self._database.write(operation)

    async def capture(
        self,
        record: UsageRecord,
        result: StoredResult,
        attempts: Sequence[EndedAttempt],
        *,
        parked_from: str | None = None,
        prompt: str | None = None,
        until: LoopTime = 0,
        secure: Callable[[], Awaitable[StoredResult]] | None = None,
    ) -> None:
        """Charge the request. After this returns, and not before, the answer may be sent.

        While the ledger cannot be written, it is tried again until a time of the event loop; before that, `secure` makes a
        result durable that was to become so together with its charge. `parked_from` is the request whose parked result is
        charged for. A `prompt` is kept with the result, where the workspace still wants that. Raises SettlementUnavailable when
        the hold is gone or the time has passed: then no success may be told.
        """
        capture = Capture(record.request_id, self.node.epoch, record.amount_micro_usd, result)
        item = _Charged(capture, record, attempts, parked_from, prompt)
        try:
            await self._database.write_together(_capture, item)
        except (LedgerUnavailable, Overloaded) as error:
            log.warning("capture.waits", extra={"request_id": record.request_id})
            if secure is not None:
                secured = Capture(capture.request_id, capture.epoch, capture.charge_micro_usd, await secure())
                item = _Charged(secured, record, attempts, parked_from, prompt)
            if not await self._captured_later(item, until):
                raise SettlementUnavailable(
                    "The picture was made, but its charge could not be confirmed. Ask for"
                    f" /requests/{record.request_id} later: it is charged only if its result is there. The same request with"
                    " the same Idempotency-Key gets the picture once the ledger is back.",
                    retry_after_s=5,
                ) from error

    async def _captured_later(self, item: _Charged, until: LoopTime) -> bool:
        """Try to charge until a time of the event loop. An earlier try counts when it was committed after all."""
        async for _ in pauses_until(until):
            if self._database.is_closed:
                break
            try:
                await self._database.write_together(_capture_or_confirm, item)
            except (LedgerUnavailable, Overloaded):
                continue
            return True
        return False

    async def release(
        self, request_id: str, outcome: str, attempts: Sequence[EndedAttempt], remains: Remains | None = None
    ) -> None:
        """Give the hold back and keep what remains. When the ledger cannot be written, the sweeper does it later."""
        item = _Failed(Release(request_id, self.node.epoch, outcome), attempts, remains)
        await self._database.write_together(_release, item)


@dataclass(frozen=True, slots=True)
class _Asked:
    hold: Hold
    attempts: Sequence[StartedAttempt]
    identity: RequestIdentity | None


@dataclass(frozen=True, slots=True)
class _Charged:
    capture: Capture
    record: UsageRecord
    attempts: Sequence[EndedAttempt]
    parked_from: str | None
    prompt: str | None


@dataclass(frozen=True, slots=True)
class _Failed:
    release: Release
    attempts: Sequence[EndedAttempt]
    remains: Remains | None


def _authorise(tx: Transaction, items: Sequence[_Asked]) -> Sequence[OmixaError | Earlier | ParkedResult | None]:
    decisions = idempotency.decide(tx, [(item.hold, item.identity) for item in items])
    going_on = [(item, decision) for item, decision in zip(items, decisions, strict=True) if decision.goes_on]
    verdicts = ledger.hold(tx, [decision.hold for _, decision in going_on])
    refused = {
        item.hold.request_id: verdict
        for (item, _), verdict in zip(going_on, verdicts, strict=True)
        if verdict is not None
    }
    held = [(item, decision) for item, decision in going_on if item.hold.request_id not in refused]
    idempotency.claim(tx, [decision for _, decision in held])
    calling = [item for item, decision in held if decision.parked is None]
    records.start_attempts(tx, [attempt for item in calling for attempt in item.attempts])
    return [refused.get(decision.hold.request_id) or _told(decision) for decision in decisions]


def _told(decision: Decision) -> OmixaError | Earlier | ParkedResult | None:
    return decision.error or decision.earlier or decision.parked


def _capture(tx: Transaction, items: Sequence[_Charged]) -> Sequence[OmixaError | None]:
    idempotency.use_parked(tx, [item.parked_from for item in items if item.parked_from is not None])
    verdicts = ledger.capture(tx, [item.capture for item in items])
    for item, verdict in zip(items, verdicts, strict=True):
        if verdict is not None and item.parked_from is not None:
            # The result that it did not charge for must stay parked.
            raise verdict
    captured = [item for item, verdict in zip(items, verdicts, strict=True) if verdict is None]
    results = {item.capture.request_id: item.capture.result.data for item in captured}
    small_results.keep(tx, {request_id: data for request_id, data in results.items() if data is not None})
    prompts.keep(tx, {item.capture.request_id: item.prompt for item in captured if item.prompt is not None})
    records.end_attempts(tx, [attempt for item in captured for attempt in item.attempts])
    records.record_usage(tx, [item.record for item in captured])
    refusals.absorb(tx, _refused((item.capture.request_id, item.attempts) for item in captured))
    return verdicts


def _capture_or_confirm(tx: Transaction, items: Sequence[_Charged]) -> Sequence[OmixaError | None]:
    """Charge for requests whose charge was tried before: one that was committed, though its answer was lost, is confirmed."""
    confirmed = [ledger.was_captured(tx, item.capture.request_id, item.capture.epoch) for item in items]
    verdicts = iter(_capture(tx, [item for item, done in zip(items, confirmed, strict=True) if not done]))
    return [None if done else next(verdicts) for done in confirmed]


def _release(tx: Transaction, items: Sequence[_Failed]) -> Sequence[None]:
    released = ledger.release(tx, [item.release for item in items])
    records.end_attempts(tx, [attempt for item in items for attempt in item.attempts])
    ended = [item for item, is_released in zip(items, released, strict=True) if is_released]
    refusals.absorb(tx, _refused((item.release.request_id, item.attempts) for item in ended))
    for item in ended:
        if item.remains is not None:
            idempotency.keep(tx, item.release.request_id, item.remains)
    return [None] * len(items)


def _refused(ended: Iterable[tuple[str, Sequence[EndedAttempt]]]) -> Iterator[tuple[str, int]]:
    """Yield requests and the cost of each of their calls that failed and is billed all the same: a content refusal."""
    for request_id, attempts in ended:
        for attempt in attempts:
            if attempt.state == "failed_billed":
                yield request_id, attempt.cost_pico_usd
