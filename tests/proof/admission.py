"""Money for k of n requests that come at the same moment: exactly k are admitted, whoever asks and however many they are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection

from omixa.domain.ids import new_id
from omixa.errors import InsufficientFunds
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.storage.database import Database
from tests.proof.children import answers, helpers
from tests.proof.part import Backend, Part, Result, Task
from tests.support.ledger import NODE, Customer, DiskLedger, a_call, a_hold, add_customer, disk_ledger, new_database
from tests.support.places import Place

# Requests of a round.
REQUESTS = 1_000
HOLD = 50_000
THREADS = 8
PROCESSES = 3


async def _admitted(database: Database, customer: Customer, count: int) -> int:
    """Try so many holds at once and return how many were admitted."""
    settlement = Settlement(database, NodeIdentity(NODE, 1))

    async def one() -> int:
        request_id = new_id("req")
        try:
            await settlement.authorise(a_hold(customer, request_id, HOLD, settlement.node), [a_call(request_id)])
        except InsufficientFunds:
            return 0
        return 1

    return sum(await asyncio.gather(*(one() for _ in range(count))))


def hold_when_asked(place: Place, pipe: Connection) -> None:
    """Try holds for whoever is named, as many as are asked for, until nobody asks any more. Runs in a child."""
    database = new_database(place, None, print)
    database.open()
    while (asked := pipe.recv()) is not None:
        pipe.send(asyncio.run(_admitted(database, *asked)))
    database.close()


def rounds(requests: int) -> Iterator[tuple[int, int]]:
    """Give the number of requests of each round, and how many there were up to its end."""
    for start in range(0, requests, REQUESTS):
        end = min(start + REQUESTS, requests)
        yield end - start, end


def _shares(chance: random.Random, requests: int, of: int) -> list[int]:
    """Divide requests at random."""
    cuts = sorted(chance.randrange(requests + 1) for _ in range(of - 1))
    return [end - start for start, end in zip([0, *cuts], [*cuts, requests], strict=True)]


def _by_threads(disk: DiskLedger, threads: ThreadPoolExecutor, customer: Customer, shares: Sequence[int]) -> int:
    def in_a_thread(count: int) -> int:
        return asyncio.run(_admitted(disk.database, customer, count))

    return sum(threads.map(in_a_thread, shares))


def _by_processes(pipes: Sequence[Connection], customer: Customer, shares: Sequence[int]) -> int:
    for pipe, count in zip(pipes, shares, strict=True):
        pipe.send((customer, count))
    return sum(answers(pipes))


def run_on(backend: Backend, task: Task) -> Result:
    """Ask by threads of one process and by several processes, each round with money for another number of requests."""
    chance = task.chance()
    covered_in_all = 0
    with ExitStack() as stack:
        directory, place = stack.enter_context(task.place(backend))
        disk = stack.enter_context(disk_ledger(directory, place))
        pipes = stack.enter_context(helpers(hold_when_asked, [(place,)] * PROCESSES))
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))
        for requests, done in rounds(task.size):
            for way in ("threads", "processes"):
                covered = chance.randint(0, requests)
                credit = covered * HOLD + chance.randrange(HOLD)
                name = f"{way}-{done}"
                customer = disk.write(lambda tx, credit=credit, name=name: add_customer(tx, credit=credit, name=name))
                admitted = (
                    _by_threads(disk, threads, customer, _shares(chance, requests, THREADS))
                    if way == "threads"
                    else _by_processes(pipes, customer, _shares(chance, requests, PROCESSES))
                )
                disk.customer = customer
                held = disk.balance().held
                assert (admitted, held) == (covered, covered * HOLD), f"{admitted} of {covered} admitted, {held} held"
                covered_in_all += covered
            task.progress(done)
        assert disk.verify().findings == ()
    return Result({"requests": task.size, "asked in both ways": 2 * task.size, "covered and admitted": covered_in_all})


def run_sqlite(task: Task) -> Result:
    """Run on SQLite."""
    return run_on("sqlite", task)


def run_postgresql(task: Task) -> Result:
    """Run on PostgreSQL."""
    return run_on("postgresql", task)


TITLE = "Money for k of 1,000 requests at the same moment"
PASSES_WHEN = "exactly k are admitted, and what is held is exactly theirs"
SQLITE = Part(
    name="admission-sqlite",
    title=f"{TITLE}: by threads, and by processes; SQLite",
    passes_when=PASSES_WHEN,
    run=run_sqlite,
    unit="requests",
    size=100_000,
    share=25_000,
    small=2_000,
)
POSTGRESQL = Part(
    name="admission-postgresql",
    title=f"{TITLE}: by threads, and by processes; PostgreSQL",
    passes_when=PASSES_WHEN,
    run=run_postgresql,
    unit="requests",
    size=100_000,
    share=25_000,
    small=500,
    needs_postgres=True,
)
