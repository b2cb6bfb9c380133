"""Cleans up after crashes and keeps time: lost holds go back, credit and results past their time go away.

It also verifies the ledger, every hour.

What a crash can leave is a request that is still held, or a file of a result that was never charged; nothing else. A whole
result whose request is released is parked: it waits for a repeat of the request, which is then charged for it. Every
release is guarded by the request's state and its owner's epoch, so the sweeper may meet the owner at any moment: one of them
ends the request, the other finds that it has ended.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, ClassVar

from omixa.billing import ledger, lots, margins, months, recovery
from omixa.billing.ledger import Release
from omixa.billing.recovery import OwnedRequest
from omixa.billing.verify import Verification, verify
from omixa.errors import StorageUnavailable
from omixa.gateway import idempotency
from omixa.gateway.idempotency import Remains
from omixa.gateway.results import UNDELIVERED_MS, find_unsettled
from omixa.gateway.settlement import NodeIdentity
from omixa.gateway.verification import verify_all
from omixa.jobs.job import Job
from omixa.storage import prompts, repeats, retention
from omixa.storage.blobs import Blobs
from omixa.storage.database import Database, Transaction
from omixa.storage.small_results import IN_DATABASE
from omixa.usage import records

log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 30.0
VERIFY_INTERVAL_S = 3600.0
# The first verification waits until the rush of a start is over.
FIRST_VERIFY_S = 10.0
# A node that is silent for three rounds is dead.
SILENCE_MS = int(3 * SWEEP_INTERVAL_S * 1000)
# No request that began under an earlier retention still runs after so long.
RETENTION_SETTLES_MS = 3_600_000
# Requests, results or files in one transaction.
BATCH = 200
# Expired results in one: where they are small they are in the database, which overwrites them, while requests wait.
EXPIRED_BATCH = 20
# Findings in one line of the log.
MAX_LOGGED_FINDINGS = 20
# What a request and its calls say when nobody was left to end them.
INTERRUPTED = "interrupted"

# Files that Omixa named: the day and the request. Nothing else in the directory is touched.
_RESULT_FILE = re.compile(r"\d{8}/req_[0-9a-z]+")


class Sweeper(Job):
    """Call `recover` once before serving, then keep it entered while serving: `async with sweeper`."""

    name: ClassVar[str] = "sweeper"

    def __init__(self, database: Database, blobs: Blobs, *, node_id: str) -> None:
        self._database = database
        self._blobs = blobs
        self._node_id = node_id
        self._epoch = 0
        # The database's times of the first and of the last beat in a row of beats without a gap.
        self._listening_since_ms = 0
        self._last_beat_ms = 0
        # Serving processes that share the database, this one among them, as of the last beat.
        self.live_nodes = 1
        # What the last verification of this process found, and the database's time of it.
        self.last_verified: tuple[Verification, int] | None = None
        self._stopping = threading.Event()

    async def recover(self) -> NodeIdentity:
        """Clean up what the last run of this node left, and return who this process is from now on.

        Requests of earlier epochs are released before this returns, and their processes can no longer settle them.
        """
        self._epoch, now_ms, self.live_nodes = await self._database.write(
            lambda tx: (recovery.register_node(tx, self._node_id), tx.now_ms(), _live_nodes(tx))
        )
        self._listening_since_ms = self._last_beat_ms = now_ms
        await asyncio.to_thread(self._blobs.remove_unfinished)
        await self.sweep()
        await self.remove_orphans()
        return NodeIdentity(self._node_id, self._epoch)

    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the sweeping, the adding up and the verifying."""
        if not self._epoch:
            raise RuntimeError("recover() comes first: it says who this node is")
        return (
            self._every(self._beat_and_sweep, SWEEP_INTERVAL_S, first_s=SWEEP_INTERVAL_S),
            self._every(self.add_up_margins, SWEEP_INTERVAL_S, first_s=SWEEP_INTERVAL_S),
            self._every(self.check, VERIFY_INTERVAL_S, first_s=FIRST_VERIFY_S),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        await super().__aexit__(kind, error, traceback)

    async def beat(self) -> None:
        """Say that this node is alive."""
        alive, now_ms, self.live_nodes = await self._database.write(
            lambda tx: (recovery.beat(tx, self._node_id, self._epoch), tx.now_ms(), _live_nodes(tx))
        )
        if now_ms - self._last_beat_ms > SILENCE_MS:
            self._listening_since_ms = now_ms
        self._last_beat_ms = now_ms
        if not alive:
            log.critical("node.superseded", extra={"node": self._node_id, "epoch": self._epoch})

    async def _beat_and_sweep(self) -> None:
        # In this order: who could not beat has not heard the others either.
        await self.beat()
        await self.sweep()

    async def sweep(self) -> None:
        """Release holds whose owner is gone, expire credit, close months, and delete results and keys past their time."""
        await self._release_lost_holds()
        await self._expire_credit()
        await self._close_months()
        await self._shorten_retention()
        await self._delete_expired_results()
        for place in await self._database.write(repeats.forget_expired):
            await self._delete_file(place)

    async def add_up_margins(self) -> None:
        """Add up what requests brought and cost that have ended, a portion at a time."""
        while (portion := await self._database.read(margins.next_portion)) is not None:
            if not await self._database.write(functools.partial(margins.add_up, portion=portion)):
                return

    async def check(self) -> Verification:
        """Verify the ledger, log what is wrong, and delete files of results that were never charged.

        While the store of results is away, its money is verified all the same.
        """
        try:
            await asyncio.to_thread(self._blobs.remove_unfinished)
            await self.remove_orphans()
            found = await verify_all(self._database, self._blobs, stopping=self._stopping.is_set)
        except StorageUnavailable as error:
            log.warning("results.not_verified", extra={"reason": str(error.__cause__ or error)})
            found = await self._database.read(lambda tx: verify(tx, stopping=self._stopping.is_set))
        self.last_verified = found, await self._database.read(lambda tx: tx.now_ms())
        if found.findings:
            shown = [str(finding) for finding in found.findings[:MAX_LOGGED_FINDINGS]]
            log.error("ledger.verify_failed", extra={"count": len(found.findings), "findings": shown})
        return found

    async def remove_orphans(self) -> int:
        """Delete files of results that no captured request refers to and none in progress can, and return how many."""
        names = await asyncio.to_thread(self._blobs.names)
        ours = [name for name in names if _RESULT_FILE.fullmatch(name)]
        removed = 0
        for start in range(0, len(ours), BATCH):
            removed += await self._remove_orphans_among(ours[start : start + BATCH])
        if removed:
            log.warning("results.orphans_removed", extra={"count": removed})
        return removed

    async def _remove_orphans_among(self, names: list[str]) -> int:
        orphans = await self._database.read(lambda tx: [name for name in names if recovery.is_orphan(tx, name)])
        for name in orphans:
            await self._blobs.delete(name)
        return len(orphans)

    async def _release_lost_holds(self) -> None:
        while True:
            lost = await self._database.read(
                lambda tx: recovery.lost_holds(
                    tx, silence_ms=SILENCE_MS, limit=BATCH, listening_since_ms=self._listening_since_ms
                )
            )
            released = await asyncio.gather(*map(self._release, lost))
            # Those that could not be released are looked at again in the next round.
            if len(lost) < BATCH or not any(released):
                return

    async def _release(self, lost: OwnedRequest) -> bool:
        """Release a request. A whole result of it is parked: what it cost is known, and a repeat may still pay for it."""
        try:
            unsettled = await find_unsettled(self._blobs, lost.id, lost.owner_epoch)
        except StorageUnavailable as error:
            # Released now, a result that waits in the store could not be charged any more.
            log.warning("request.not_released", extra={"request_id": lost.id, "reason": str(error.__cause__ or error)})
            return False

        def operation(tx: Transaction) -> bool:
            if not recovery.claim(tx, lost):
                return False
            (released,) = ledger.release(tx, [Release(lost.id, lost.owner_epoch, INTERRUPTED)])
            if released and unsettled is not None:
                result, attempts = unsettled
                records.end_attempts(tx, attempts)
                idempotency.keep(tx, lost.id, Remains(parked=result))
            if released:
                records.abandon_attempts(tx, lost.id, INTERRUPTED)
            return released

        released = await self._database.write(operation)
        if released:
            facts = {"request_id": lost.id, "owner": lost.owner_node, "parked": unsettled is not None}
            log.warning("request.released", extra=facts)
        return released

    async def _expire_credit(self) -> None:
        while True:
            accounts = await self._database.read(lambda tx: lots.accounts_with_expired(tx, limit=BATCH))
            for account_id in accounts:
                await self._database.write(functools.partial(ledger.expire_lots, account_id=account_id))
            if len(accounts) < BATCH:
                return

    async def _close_months(self) -> None:
        while True:
            accounts = await self._database.read(functools.partial(months.unclosed_accounts, limit=BATCH))
            for account_id in accounts:
                await self._database.write(functools.partial(months.close_months, account_id=account_id))
            if len(accounts) < BATCH:
                return

    async def _delete_file(self, name: str) -> None:
        """Delete the file of a result that no row refers to any more. Where that fails, it is found later as an orphan."""
        try:
            await self._blobs.delete(name)
        except StorageUnavailable as error:
            log.warning("result.not_deleted", extra={"ref": name, "reason": str(error.__cause__ or error)})

    async def _shorten_retention(self) -> None:
        """Hold results to the retention that their workspace has got since they were stored, and prompts to its wish."""
        now_ms, changes = await self._database.read(lambda tx: (tx.now_ms(), retention.changed(tx)))
        for change in changes:
            own = change.retention_ms
            if own is not None:
                work = functools.partial(
                    retention.shorten, workspace_id=change.workspace_id, retention_ms=own or UNDELIVERED_MS, limit=BATCH
                )
                while await self._database.write(work) == BATCH:
                    pass
            forget = functools.partial(prompts.forget_unwanted, workspace_id=change.workspace_id, limit=BATCH)
            while await self._database.write(forget) == BATCH:
                pass
            # Requests that began before may still store under what they knew.
            if change.set_at_ms < now_ms - RETENTION_SETTLES_MS:
                await self._database.write(functools.partial(retention.settle, change=change))

    async def _delete_expired_results(self) -> None:
        while True:
            places = await self._database.write(lambda tx: recovery.forget_expired_results(tx, limit=EXPIRED_BATCH))
            for place in places:
                if place != IN_DATABASE:
                    await self._delete_file(place)
            if len(places) < EXPIRED_BATCH:
                return

    async def _every(self, work: Callable[[], Awaitable[object]], interval_s: float, *, first_s: float) -> None:
        wait_s = first_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = interval_s
            try:
                await work()
            except Exception:
                log.exception("sweeper.round_failed", extra={"round": getattr(work, "__name__", "")})


def _live_nodes(tx: Transaction) -> int:
    return recovery.live_nodes(tx, silence_ms=SILENCE_MS)
