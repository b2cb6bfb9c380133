"""PostgreSQL that fails under load: connections killed, a server that stops at once, commits or their answers lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import get_args
from unittest.mock import patch

from omixa.errors import LedgerUnavailable
from omixa.storage import postgres
from tests.proof.part import Part, Result, Task
from tests.proof.witness import TOGETHER, Witness, Word, Worker, results_of
from tests.support.ledger import DiskLedger, disk_ledger
from tests.support.places import PostgresPlace, postgres_place
from tests.support.postgres import Cluster, running_cluster
from tests.support.relay import Fault, running_relay

CREDIT = 10**12
# A ledger that has seen so many faults is given up for a new one.
FAULTS_OF_A_LEDGER = 25
MAX_MOMENT_S = 0.02
# Between two faults so many requests are answered, so that each meets a ledger that works.
ANSWERS_BETWEEN = 2
PATIENCE_S = 120
PAUSE_S = 0.005

# The address of a ledger, and what makes it fail once.
Arranged = Iterator[tuple[str, Callable[[], None]]]
Arrange = Callable[[Cluster, PostgresPlace, random.Random], AbstractContextManager[tuple[str, Callable[[], None]]]]

_KILL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def _meet_faults(
    disk: DiskLedger, witness: Witness, chance: random.Random, fault: Callable[[], None], times: int
) -> None:
    """Take requests while faults happen at random instants, each after the last one is over."""
    over, heard = asyncio.Event(), asyncio.Event()

    def hear(word: Word) -> None:
        witness.hear(word)
        heard.set()

    worker = Worker(disk.settlement, results_of(disk.database, disk.blobs), disk.customer, chance, hear)

    async def client() -> None:
        while not over.is_set():
            await worker.take()
            # Who is turned away at once must not keep the loop from turning.
            await asyncio.sleep(PAUSE_S)

    clients = [asyncio.create_task(client()) for _ in range(TOGETHER)]
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(times):
            enough = len(witness.answered) + ANSWERS_BETWEEN
            while len(witness.answered) < enough:
                heard.clear()
                await heard.wait()
            await asyncio.sleep(chance.random() * MAX_MOMENT_S)
            await asyncio.to_thread(fault)
    over.set()
    await asyncio.gather(*clients)


def _run(task: Task, cluster: Cluster, unit: str, arrange: Arrange) -> Result:
    """Do faults on one ledger after another. `arrange` gives a context with the address to use and the fault."""
    chance = task.chance()
    figures: Counter[str] = Counter()
    done = 0
    while done < task.size:
        times = min(FAULTS_OF_A_LEDGER, task.size - done)
        directory = task.directory / f"ledger-{done}"
        directory.mkdir()
        with ExitStack() as stack:
            place = stack.enter_context(postgres_place(cluster))
            address, fault = stack.enter_context(arrange(cluster, place, chance))
            disk = stack.enter_context(disk_ledger(directory, PostgresPlace(address), credit=CREDIT))
            witness = Witness(CREDIT)
            disk.call(_meet_faults(disk, witness, chance, fault, times))
            _restart(disk)
            witness.check(disk)
            assert disk.fatal == []
        figures.update(witness.figures())
        done += times
        task.progress(done)
    assert figures["answered and charged"]
    return Result({unit: done, **figures})


def _restart(disk: DiskLedger) -> None:
    """Start anew, which releases what nobody could release; the connections may have to come back first."""
    for _ in range(100):
        try:
            disk.restart()
        except LedgerUnavailable:
            disk.call(asyncio.sleep(PAUSE_S * 20))
        else:
            return
    raise AssertionError("the database did not come back")


@contextmanager
def _killed_backends(cluster: Cluster, place: PostgresPlace, chance: random.Random) -> Arranged:
    database = _name(place)

    def kill() -> None:
        cluster.execute(_KILL_OTHERS, database)

    yield place.address, kill


@contextmanager
def _stopped_servers(cluster: Cluster, place: PostgresPlace, chance: random.Random) -> Arranged:
    def stop_and_start() -> None:
        cluster.stop("immediate")
        cluster.start()

    yield place.address, stop_and_start


@contextmanager
def _lost_commits(cluster: Cluster, place: PostgresPlace, chance: random.Random) -> Arranged:
    with running_relay(cluster.port) as relay:
        # A commit that arrives late does so at once here: the relay has closed the client's side before.
        relay.let_arrive.set()
        yield (
            cluster.address(_name(place), relay.port),
            lambda: relay.faults.append(chance.choice(get_args(Fault))),
        )


def _name(place: PostgresPlace) -> str:
    return place.address.rpartition("/")[2].partition("?")[0]


def run_killed_backends(task: Task) -> Result:
    """Kill every connection of a ledger."""
    assert task.cluster is not None
    return _run(task, task.cluster, "kills", _killed_backends)


def run_stopped_servers(task: Task) -> Result:
    """Stop the server as a power cut does, but for the disk's cache, and start it again."""
    # One of its own: others use the one that is shared.
    with running_cluster() as cluster, patch.object(postgres, "MAX_RECONNECT_S", postgres.MIN_RECONNECT_S):
        return _run(task, cluster, "stops", _stopped_servers)


def run_lost_commits(task: Task) -> Result:
    """Lose the connection while a commit is under way: it never arrives, its answer does not, or it arrives late."""
    assert task.cluster is not None
    return _run(task, task.cluster, "losses", _lost_commits)


PASSES_WHEN = "callers are told the truth: 0 lost, 0 double, drift 0, nothing charged that was told as a failure"
KILLED_BACKENDS = Part(
    name="pg-kills",
    title="PostgreSQL: every connection killed under load",
    passes_when=PASSES_WHEN,
    run=run_killed_backends,
    unit="kills",
    size=1_000,
    share=250,
    small=6,
    needs_postgres=True,
)
STOPPED_SERVERS = Part(
    name="pg-stops",
    title="PostgreSQL: immediate stop under load",
    passes_when=PASSES_WHEN,
    run=run_stopped_servers,
    unit="stops",
    size=1_000,
    share=250,
    small=2,
    needs_postgres=True,
)
LOST_COMMITS = Part(
    name="pg-commits",
    title="PostgreSQL: connection lost in COMMIT",
    passes_when=PASSES_WHEN,
    run=run_lost_commits,
    unit="losses",
    size=1_000,
    share=250,
    small=10,
    needs_postgres=True,
)
