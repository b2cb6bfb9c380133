"""A process that ends at a named point: before or after a commit, a write, a sync, a rename or a reply, on both databases."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from omixa.storage import blobs, database
from omixa.storage.postgres import PostgresBackend
from omixa.storage.sqlite import SqliteBackend
from tests.proof import witness
from tests.proof.children import child, hear_rest, work
from tests.proof.part import Backend, Part, Result, Task
from tests.proof.witness import Witness
from tests.support.ledger import Customer, DiskLedger, disk_ledger
from tests.support.places import Place

CREDIT = 10**12
# The exit code of a child that has reached its point.
REACHED = 86
# A child ends when it comes to its point for at most the so-manieth time.
MAX_TIMES = 12

Moment = Literal["before", "after", "in the middle of"]


@dataclass(frozen=True)
class Point:
    """Where a process ends: before, after or in the middle of calling a function of its own."""

    name: str
    moment: Moment
    owner: Any
    function: str

    def arm(self, times: int) -> None:
        """Let this process end when it comes here for the so-manieth time."""
        wrapped = getattr(self.owner, self.function)
        left = times

        def ending(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return wrapped(*arguments, **named)
            if self.moment == "in the middle of":
                _half(wrapped, *arguments)
            if self.moment == "after":
                wrapped(*arguments, **named)
            os._exit(REACHED)

        setattr(self.owner, self.function, ending)


def _half(write: Callable[..., int], descriptor: int, pieces: list[memoryview]) -> None:
    """Write the first half of what was to be written."""
    whole = b"".join(pieces)
    write(descriptor, [whole[: len(whole) // 2]])


def _both(name: str, owner: Any, function: str) -> list[Point]:
    return [Point(name, "before", owner, function), Point(name, "after", owner, function)]


def points(backend: Backend) -> list[Point]:
    """Return every point of a backend."""
    driver = SqliteBackend if backend == "sqlite" else PostgresBackend
    return [
        *_both("the begin of a transaction", driver, "begin"),
        *_both("a commit", driver, "commit"),
        *_both("the outcome of a commit is told", database, "_deliver"),
        *_both("the write of a result", os, "writev"),
        Point("the write of a result", "in the middle of", os, "writev"),
        *_both("a sync", os, "fsync"),
        *_both("a rename", Path, "rename"),
        *_both("the sync of a directory", blobs, "sync_directory"),
        *_both("the outcome of a write is told", blobs, "_deliver"),
        *_both("a word to the provider or to the client", witness, "tell"),
    ]


def work_until(
    backend: Backend,
    number: int,
    times: int,
    directory: Path,
    place: Place,
    customer: Customer,
    seed: int,
    say: Connection,
) -> None:
    """Work, and end at a point. Runs in a child."""
    points(backend)[number].arm(times)
    work(directory, place, customer, seed, say)


def run_on(backend: Backend, task: Task) -> Result:
    """End at `size` points: at all of them in a random order, then at all of them again, each after a random number of steps."""
    chance = task.chance()
    all_points = points(backend)
    figures: Counter[str] = Counter()
    done = 0
    while done < task.size:
        order = chance.sample(range(len(all_points)), min(len(all_points), task.size - done))
        with task.place(backend) as (directory, place), disk_ledger(directory, place, credit=CREDIT) as disk:
            told = Witness(CREDIT)
            for number in order:
                _end_at(disk, backend, number, chance, told)
        figures.update(told.figures())
        done += len(order)
        task.progress(done)
    return Result({"points": done, **figures})


def _end_at(disk: DiskLedger, backend: Backend, number: int, chance: random.Random, told: Witness) -> None:
    times, seed = chance.randint(1, MAX_TIMES), chance.getrandbits(32)
    disk.close_database()
    arguments = (backend, number, times, disk.directory, disk.place, disk.customer, seed)
    with child(work_until, *arguments) as (process, said):
        hear_rest(said, told)
        process.join()
        point = points(backend)[number]
        assert process.exitcode == REACHED, f"{point.moment} {point.name}"
    disk.open()
    disk.restart()
    told.check(disk)


def run_sqlite(task: Task) -> Result:
    """Run on SQLite."""
    return run_on("sqlite", task)


def run_postgresql(task: Task) -> Result:
    """Run on PostgreSQL."""
    return run_on("postgresql", task)


TITLE = "A process that ends at named points"
PASSES_WHEN = (
    "before and after each commit, write, sync, rename and reply: every point is reached; "
    "0 lost, 0 double, drift 0, every gap explained"
)
SQLITE = Part(
    name="points-sqlite",
    title=f"{TITLE}, SQLite",
    passes_when=PASSES_WHEN,
    run=run_sqlite,
    unit="points",
    size=2 * len(points("sqlite")),
    share=2 * len(points("sqlite")),
    small=len(points("sqlite")),
)
POSTGRESQL = Part(
    name="points-postgresql",
    title=f"{TITLE}, PostgreSQL",
    passes_when=PASSES_WHEN,
    run=run_postgresql,
    unit="points",
    size=2 * len(points("postgresql")),
    share=2 * len(points("postgresql")),
    small=4,
    needs_postgres=True,
)
