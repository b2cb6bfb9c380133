"""Pairs of processes that send the same request at the same moment: one charge, and the same bytes for both."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from sqlalchemy import func, select

from omixa.billing.ledger import Balance
from omixa.billing.pricing import rate
from omixa.domain.ids import new_id
from omixa.errors import IdempotencyInProgress
from omixa.gateway.idempotency import Earlier, RequestIdentity
from omixa.gateway.results import Results, Settling
from omixa.gateway.run import Answer
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.storage.blobs import BlobStore
from omixa.storage.repeats import EarlierRequest
from omixa.storage.tables import transfer
from omixa.usage.records import StartedAttempt
from tests.proof.children import answers, helpers
from tests.proof.part import Backend, Part, Result, Task
from tests.proof.witness import an_image, picture_of, results_of
from tests.support.ledger import (
    ONE_PICTURE,
    PRICES,
    Customer,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    disk_ledger,
    failed,
    new_database,
    succeeded,
)
from tests.support.places import Place

CREDIT = 10**12
HOLD = 50_000
PRICE = rate([ONE_PICTURE], PRICES).amount_micro_usd
# How many pairs carry a key of their own; the others are retries that do not.
WITH_KEY = 0.7
FAILURES = 0.1
# Pairs that race at a time. A ledger is given up for a new one after some of these groups.
PAIRS = 20
PAIRS_OF_A_LEDGER = 500
NODES = ("node-a", "node-b")
MAX_DELAY_S = 0.003
PAUSE_S = 0.002
RETENTION_MS = 3_600_000

_charges = (
    select(transfer.c.request_id, func.count().label("n"))
    .where(transfer.c.kind == "charge")
    .group_by(transfer.c.request_id)
)


@dataclass(frozen=True)
class Asked:
    """A request of a pair: under the client's own key, or as a retry that carries none. `delay_s` is when it begins."""

    number: int
    with_key: bool
    delay_s: float


@dataclass(frozen=True)
class Got:
    """What came of it: whether this process made the picture, the request that answered, and a digest of the answer's bytes."""

    made: bool
    request_id: str
    digest: str


class Racer:
    """Asks as a gateway does, with the ledger and the storage rooms alone. A provider's failure is asked again."""

    def __init__(self, settlement: Settlement, results: Results, customer: Customer, chance: random.Random) -> None:
        self._settlement = settlement
        self._results = results
        self._customer = customer
        self._chance = chance

    async def ask(self, asked: Asked) -> Got:
        """Ask until there is an answer."""
        await asyncio.sleep(asked.delay_s)
        while True:
            try:
                got = await self._try(asked)
            except IdempotencyInProgress:
                got = None
            if got is not None:
                return got
            await asyncio.sleep(PAUSE_S)

    async def _try(self, asked: Asked) -> Got | None:
        name = f"pair-{asked.number}"
        identity = RequestIdentity(
            endpoint="/images/generations",
            fingerprint=hashlib.sha256(name.encode()).hexdigest(),
            key=name if asked.with_key else None,
            is_retry=not asked.with_key,
            retention_ms=RETENTION_MS,
        )
        request_id = new_id("req")
        call = a_call(request_id)
        hold = replace(
            a_hold(self._customer, request_id, HOLD, self._settlement.node),
            fingerprint=None if asked.with_key else identity.fingerprint,
        )
        found = await self._settlement.authorise(hold, [call], identity)
        if found is None:
            return await self._make(request_id, call)
        assert isinstance(found, Earlier), "nothing is parked here"
        return await self._earlier(found)

    async def _make(self, request_id: str, call: StartedAttempt) -> Got | None:
        """Let the provider make the picture, and charge for it."""
        if self._chance.random() < FAILURES:
            await self._settlement.release(request_id, "provider_error", [failed(call)])
            return None
        ended = [succeeded(call)]
        images = [an_image(picture_of(request_id))]
        envelope = {"created": int(time.time()), "omixa": {"request_id": request_id}}
        settling = Settling((ONE_PICTURE,), tuple(ended))
        stored = await self._results.keep(request_id, self._settlement.node.epoch, envelope, images, settling)
        await self._settlement.capture(a_record(self._customer, request_id, ONE_PICTURE, HOLD), stored, ended)
        return Got(True, request_id, _digest(Answer(request_id, envelope, tuple(images))))

    async def _earlier(self, found: Earlier | EarlierRequest | None) -> Got | None:
        """Read the answer of the request that was first, when it has one; None when it failed."""
        while isinstance(found, EarlierRequest) or (found is not None and found.ref is None):
            await asyncio.sleep(PAUSE_S)
            found = await self._settlement.outcome(_id_of(found))
        if found is None:
            return None
        assert found.ref is not None
        assert found.digest is not None
        answer = await self._results.load(found.request_id, found.ref, found.digest)
        return Got(False, found.request_id, _digest(answer))


def _id_of(found: Earlier | EarlierRequest) -> str:
    return found.id if isinstance(found, EarlierRequest) else found.request_id


def _digest(answer: Answer) -> str:
    """Return a digest of everything that an answer is written from."""
    pictures = [bytes(image.data) for image in answer.images]
    return hashlib.sha256(msgspec.json.encode([answer.request_id, answer.envelope, pictures])).hexdigest()


def race(directory: Path, place: Place, customer: Customer, node: str, seed: int, pipe: Connection) -> None:
    """Ask what is asked for, all of a group at the same moment, until nobody asks any more. Runs in a child."""
    database = new_database(place, None, print)
    database.open()
    blobs = BlobStore(directory / "results", on_fatal=print)
    settlement = Settlement(database, NodeIdentity(node, 1))
    racer = Racer(settlement, results_of(database, blobs), customer, random.Random(seed))

    async def all_of(group: Sequence[Asked]) -> Sequence[Got]:
        return await asyncio.gather(*map(racer.ask, group))

    with asyncio.Runner() as runner:
        while (group := pipe.recv()) is not None:
            pipe.send(runner.run(all_of(group)))
    database.close()
    blobs.close()


def run_on(backend: Backend, task: Task) -> Result:
    """Let pairs race, and look at every answer and at the ledger."""
    chance = task.chance()
    figures: Counter[str] = Counter()
    done = 0
    while done < task.size:
        pairs = min(PAIRS_OF_A_LEDGER, task.size - done)
        with task.place(backend) as (directory, place), disk_ledger(directory, place, credit=CREDIT) as disk:
            answered: list[tuple[Got, Got]] = []
            where = (directory, place, disk.customer)
            with helpers(race, [(*where, node, chance.getrandbits(32)) for node in NODES]) as pipes:
                while len(answered) < pairs:
                    answered += _race(pipes, range(len(answered), min(len(answered) + PAIRS, pairs)), chance)
            figures["charges"] += _check(disk, answered)
        done += pairs
        task.progress(done)
    return Result({"pairs": done, **figures})


def _race(pipes: Sequence[Connection], numbers: range, chance: random.Random) -> list[tuple[Got, Got]]:
    kinds = [(number, chance.random() < WITH_KEY) for number in numbers]
    for pipe in pipes:
        pipe.send([Asked(number, with_key, chance.random() * MAX_DELAY_S) for number, with_key in kinds])
    ours, theirs = answers(pipes)
    return list(zip(ours, theirs, strict=True))


def _check(disk: DiskLedger, answered: Sequence[tuple[Got, Got]]) -> int:
    """Check that each pair was charged once and that both got the same bytes, and return the number of charges."""
    for ours, theirs in answered:
        assert (ours.request_id, ours.digest) == (theirs.request_id, theirs.digest), (ours, theirs)
        assert ours.made + theirs.made == 1
    charges = {row["request_id"]: row["n"] for row in disk.read(lambda tx: tx.all(_charges))}
    assert charges == {ours.request_id: 1 for ours, _ in answered}
    assert disk.balance() == Balance(CREDIT - PRICE * len(answered), 0)
    assert disk.verify(with_results=True).findings == ()
    return len(charges)


def run_sqlite(task: Task) -> Result:
    """Run on SQLite."""
    return run_on("sqlite", task)


def run_postgresql(task: Task) -> Result:
    """Run on PostgreSQL."""
    return run_on("postgresql", task)


TITLE = "Idempotency storm: two processes send the same request at the same moment"
PASSES_WHEN = "each pair is charged once, and both get the same answer, equal to the byte"
SQLITE = Part(
    name="storm-sqlite",
    title=f"{TITLE}, SQLite",
    passes_when=PASSES_WHEN,
    run=run_sqlite,
    unit="pairs",
    size=10_000,
    share=2_500,
    small=100,
)
POSTGRESQL = Part(
    name="storm-postgresql",
    title=f"{TITLE}, PostgreSQL",
    passes_when=PASSES_WHEN,
    run=run_postgresql,
    unit="pairs",
    size=1_000,
    share=1_000,
    small=40,
    needs_postgres=True,
)
