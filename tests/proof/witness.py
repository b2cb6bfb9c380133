"""Requests as a gateway takes them, with the ledger and the storage rooms alone, and witnesses of what became of them.

A worker tells what a provider and a client would have seen, at the moment in which they would. Whoever hears it keeps three
accounts apart: the provider's log, the client's log and the ledger. `Witness.check` compares them.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import bindparam, func, select

from omixa.domain.ids import new_id
from omixa.domain.images import Image, ImageInfo
from omixa.errors import OmixaError
from omixa.gateway.results import Results, Settling
from omixa.gateway.settlement import Settlement
from omixa.storage.blobs import BlobStore
from omixa.storage.database import Database, Row, Transaction
from omixa.storage.tables import attempt, request, transfer
from tests.support.ledger import (
    HOUR_MS,
    ONE_PICTURE,
    Customer,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    failed,
    succeeded,
)

HOLD = 50_000
RETENTION_MS = 72 * HOUR_MS
# Some results are stored with their charge, the others as files; see SMALL_RESULT_BYTES.
PICTURE_BYTES = (2_000, 70_000)
# How often the provider of a worker fails.
FAILURES = 0.2
# How long a capture waits for a ledger that is away.
WAIT_S = 0.2
# Requests of a worker at a time.
TOGETHER = 4

# "called" is what the provider knows, the others are what a client was told: the answer, an error instead of it, or
# that nothing was begun.
Told = Literal["called", "answered", "failed", "turned_away"]
Word = tuple[Told, str, str]


def picture_of(request_id: str) -> bytes:
    """Return the picture that a request gets: its own, and the same whenever one asks."""
    seed = hashlib.sha256(request_id.encode()).digest()
    return seed * (PICTURE_BYTES[seed[0] % 2] // len(seed))


def an_image(data: bytes) -> Image:
    """Return a picture of these bytes."""
    return Image(data, ImageInfo("png", 1024, 1024, len(data), has_alpha=False))


def tell(listener: Callable[[Word], None], kind: Told, request_id: str, detail: str = "") -> None:
    """Tell what a provider or a client sees at this moment."""
    listener((kind, request_id, detail))


class Worker:
    """Takes requests through all their steps and tells what others see of them."""

    def __init__(
        self,
        settlement: Settlement,
        results: Results,
        customer: Customer,
        chance: random.Random,
        listener: Callable[[Word], None],
    ) -> None:
        self._settlement = settlement
        self._results = results
        self._customer = customer
        self._chance = chance
        self._listener = listener

    async def take(self) -> None:
        """Take one request from its hold to its answer or its error."""
        request_id = new_id("req")
        call = a_call(request_id)
        node = self._settlement.node
        try:
            await self._settlement.authorise(a_hold(self._customer, request_id, HOLD, node), [call])
        except OmixaError as error:
            tell(self._listener, "turned_away", request_id, error.code)
            return
        tell(self._listener, "called", request_id)
        try:
            if self._chance.random() < FAILURES:
                await self._settlement.release(request_id, "provider_error", [failed(call)])
                tell(self._listener, "failed", request_id, "provider_error")
                return
            image = an_image(picture_of(request_id))
            ended = [succeeded(call)]
            settling = Settling((ONE_PICTURE,), tuple(ended))
            stored = await self._results.keep(request_id, node.epoch, {"created": int(time.time())}, [image], settling)
            record = a_record(self._customer, request_id, ONE_PICTURE, HOLD)
            await self._settlement.capture(
                record,
                stored,
                ended,
                # A reply waits for a ledger that is away; most clients would wait longer than this.
                until=asyncio.get_running_loop().time() + WAIT_S,
                secure=lambda: self._results.secure(request_id, stored),
            )
        except OmixaError as error:
            tell(self._listener, "failed", request_id, error.code)
        else:
            tell(self._listener, "answered", request_id, stored.digest)

    async def take_for_ever(self) -> None:
        """Take request after request, several at a time."""

        async def one_by_one() -> None:
            while True:
                await self.take()

        await asyncio.gather(*(one_by_one() for _ in range(TOGETHER)))


def results_of(database: Database, blobs: BlobStore) -> Results:
    """Return the store of results, as a gateway opens it."""
    return Results(database, blobs, retention_ms=RETENTION_MS)


_request = select(request).where(request.c.id == bindparam("request_id"))
_of_account = select(request.c.id, request.c.state, request.c.charge_amount).where(
    request.c.account_id == bindparam("account_id")
)
_charges = select(transfer.c.request_id, transfer.c.amount).where(
    transfer.c.kind == "charge", transfer.c.chain_account_id == bindparam("account_id")
)
_open_calls = (
    select(func.count().label("n"))
    .select_from(attempt.join(request, request.c.id == attempt.c.request_id))
    .where(attempt.c.state == "sent", request.c.state != "held")
)


@dataclass
class Witness:
    """What was told of the requests of one customer, who began with `credit`."""

    credit: int
    called: set[str] = field(default_factory=set)
    answered: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    turned_away: dict[str, str] = field(default_factory=dict)
    # Charged, and the answer never arrived: it waits under the request's id.
    waiting: set[str] = field(default_factory=set)
    # The provider was called, nothing was charged, and nobody was told how it ended.
    interrupted: set[str] = field(default_factory=set)
    _checked: set[str] = field(default_factory=set)

    def hear(self, word: Word) -> None:
        """Remember what was told. Nothing may be told twice, and nothing else after an end."""
        kind, request_id, detail = word
        assert request_id not in self.answered
        assert request_id not in self.failed
        assert request_id not in self.turned_away
        if kind == "called":
            assert request_id not in self.called
            self.called.add(request_id)
        else:
            ends = {"answered": self.answered, "failed": self.failed, "turned_away": self.turned_away}
            ends[kind][request_id] = detail

    def check(self, disk: DiskLedger, *, verify: bool = True) -> None:
        """Compare what was told with a ledger whose workers are gone and whose sweeper has cleaned up.

        All invariants are checked where `verify` is set; what was told is compared each time.
        """
        if verify:
            findings = disk.verify(with_results=True).findings
            assert not findings, findings
        rows, charges, open_calls = disk.read(lambda tx: _read(tx, disk.customer))
        states = {row["id"]: row["state"] for row in rows}
        captured = {row["id"]: row["charge_amount"] for row in rows if row["state"] == "captured"}
        # Nothing is lost: what was answered is charged. Nothing is double: by one row each.
        lost = self.answered.keys() - captured.keys()
        assert not lost, f"answered and not charged: {lost}"
        charged = Counter(row["request_id"] for row in charges)
        assert not charged or max(charged.values()) == 1, f"charged more than once: {charged.most_common(5)}"
        amounts = {row["request_id"]: row["amount"] for row in charges}
        assert amounts == captured, f"charges and captures differ: {amounts.items() ^ captured.items()}"
        # Nothing is charged that failed, that was turned away, or that no provider was asked for.
        failed = captured.keys() & (self.failed.keys() | self.turned_away.keys())
        assert not failed, f"charged and told as a failure: {[(one, self.failed.get(one)) for one in failed]}"
        unasked = captured.keys() - self.called
        assert not unasked, f"charged, and no provider was asked: {unasked}"
        # Each call of the provider is known and has ended.
        unknown = self.called - states.keys()
        assert not unknown, f"the provider was called, and the ledger does not know of it: {unknown}"
        assert open_calls == 0, f"{open_calls} calls are open on requests that have ended"
        assert "held" not in states.values()
        # No drift.
        balance = disk.balance()
        expected = self.credit - sum(captured.values())
        assert (balance.posted, balance.held) == (expected, 0), f"{balance}, and {expected} should be left"
        self.waiting = captured.keys() - self.answered.keys()
        self.interrupted = self.called - captured.keys() - self.failed.keys()
        disk.call(self._check_results(disk, captured.keys() - self._checked))

    async def _check_results(self, disk: DiskLedger, charged: AbstractSet[str]) -> None:
        """Read charged results again, equal to the byte."""
        rows = await disk.database.read(lambda tx: [tx.first(_request, request_id=one) for one in charged])
        results = results_of(disk.database, disk.blobs)
        for row in rows:
            assert row is not None
            request_id, digest = row["id"], row["result_digest"]
            assert self.answered.get(request_id, digest) == digest
            answer = await results.load(request_id, row["result_ref"], digest)
            assert [image.data for image in answer.images] == [picture_of(request_id)]
            self._checked.add(request_id)

    def figures(self) -> dict[str, int]:
        """Return what has happened, as counts."""
        return {
            "answered and charged": len(self.answered),
            "charged, waiting under their id": len(self.waiting),
            "failed": len(self.failed) + len(self.turned_away),
            "interrupted": len(self.interrupted),
        }


def _read(tx: Transaction, customer: Customer) -> tuple[list[Row], list[Row], int]:
    rows = tx.all(_of_account, account_id=customer.account_id)
    charges = tx.all(_charges, account_id=customer.account_id)
    open_calls = tx.first(_open_calls)
    assert open_calls is not None
    return list(rows), list(charges), int(open_calls["n"])
