"""kill -9 at random instants of a process with the ledger and the storage rooms, and what three witnesses say afterwards."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Literal

from tests.proof.children import READY, child, hear_rest, work
from tests.proof.part import Backend, Part, Result, Task
from tests.proof.witness import Witness
from tests.support.ledger import disk_ledger

CREDIT = 10**12
# A ledger that has seen so many kills is given up for a new one, so that verifying it takes the same time from first to last.
KILLS_OF_A_LEDGER = 20
KILLS_BETWEEN_VERIFICATIONS = 5
# A child is killed within this long after it was started, was ready to work, or gave its first answer.
Since = Literal["started", "ready", "answered"]
MOMENTS_S: Mapping[Since, float] = {"started": 0.06, "ready": 0.02, "answered": 0.02}
WEIGHTS = (15, 40, 45)


def run_on(backend: Backend, task: Task) -> Result:
    """Kill processes that work, and compare what was told with what is there after each."""
    chance = task.chance()
    figures: Counter[str] = Counter()
    done = 0
    while done < task.size:
        kills = min(KILLS_OF_A_LEDGER, task.size - done)
        with task.place(backend) as (directory, place), disk_ledger(directory, place, credit=CREDIT) as disk:
            witness = Witness(CREDIT)
            for number in range(kills):
                disk.close_database()
                with child(work, directory, place, disk.customer, chance.getrandbits(32)) as (process, said):
                    # The first one of a ledger has answered at least once, so that there is something to lose.
                    since = chance.choices(list(MOMENTS_S), WEIGHTS)[0] if number else "answered"
                    _wait(said, witness, since, chance.random() * MOMENTS_S[since])
                    process.kill()
                    hear_rest(said, witness)
                disk.open()
                disk.restart()
                witness.check(disk, verify=number % KILLS_BETWEEN_VERIFICATIONS == 0 or number == kills - 1)
        figures.update(witness.figures())
        done += kills
        task.progress(done)
    assert figures["answered and charged"]
    return Result({"kills": done, **figures})


def _wait(said: Connection, witness: Witness, since: Since, moment_s: float) -> None:
    """Hear what a child says until its end has come: a moment after it was started, was ready, or gave its first answer."""
    while since != "started":
        word = said.recv()
        if word != READY:
            witness.hear(word)
        if since in {word, word[0]}:
            break
    end = time.monotonic() + moment_s
    while said.poll(max(end - time.monotonic(), 0)):
        word = said.recv()
        if word != READY:
            witness.hear(word)
        if time.monotonic() > end:
            return


def run_sqlite(task: Task) -> Result:
    """Run on SQLite."""
    return run_on("sqlite", task)


def run_postgresql(task: Task) -> Result:
    """Run on PostgreSQL."""
    return run_on("postgresql", task)


TITLE = "kill -9 of a process with only the ledger and the storage"
PASSES_WHEN = (
    "provider's log, clients' log and ledger agree after every kill: 0 lost, 0 double, drift 0, every gap explained"
)
SQLITE = Part(
    name="kills-sqlite",
    title=f"{TITLE}, SQLite",
    passes_when=PASSES_WHEN,
    run=run_sqlite,
    unit="kills",
    size=10_000,
    share=1_000,
    small=12,
)
POSTGRESQL = Part(
    name="kills-postgresql",
    title=f"{TITLE}, PostgreSQL",
    passes_when=PASSES_WHEN,
    run=run_postgresql,
    unit="kills",
    size=100,
    share=100,
    small=4,
    needs_postgres=True,
)
