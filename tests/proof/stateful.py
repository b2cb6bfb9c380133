"""Random operations on the ledger and on a model of it: they agree after every step, whatever happens in whatever order."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tests.proof.part import Backend, Part, Result, Task
from tests.support.ledger import BatchedLedger
from tests.support.model import Walk, random_step

CREDIT = 100_000
# A ledger of this many operations is given up for a new one, so that verifying it takes the same time from first to last.
OPERATIONS_OF_A_LEDGER = 2_000
STEPS_BETWEEN_VERIFICATIONS = 1_000
# PostgreSQL keeps each version of a row until the transaction that wrote it has ended, and reads through all of them.
STEPS_BETWEEN_COMMITS = 200


def run_on(backend: Backend, task: Task) -> Result:
    """Do random operations. The balance is compared after every step, the invariants are checked every 1,000."""
    chance = task.chance()
    done = charges = refunds = verifications = 0
    while done < task.size:
        steps = min(OPERATIONS_OF_A_LEDGER, task.size - done)
        with task.place(backend) as (directory, place):
            walk = Walk(BatchedLedger(directory, place, credit=CREDIT), CREDIT)
            for number in range(1, steps + 1):
                random_step(walk, chance)
                walk.check()
                if number % STEPS_BETWEEN_COMMITS == 0:
                    walk.ledger.commit()
                if number % STEPS_BETWEEN_VERIFICATIONS == 0 or number == steps:
                    walk.ledger.commit()
                    walk.check_all()
                    verifications += 1
            walk.ledger.close()
        charges += len(walk.charges)
        refunds += sum(amount > 0 for amount in walk.refunded.values())
        done += steps
        task.progress(done)
    assert charges > done // 20
    return Result({"operations": done, "charges": charges, "refunded": refunds, "verifications": verifications})


def run_sqlite(task: Task) -> Result:
    """Run on SQLite."""
    return run_on("sqlite", task)


def run_postgresql(task: Task) -> Result:
    """Run on PostgreSQL."""
    return in_a_thread(functools.partial(run_on, "postgresql"), task)


def in_a_thread(run: Callable[[Task], Result], task: Task) -> Result:
    """Run a task outside of the main thread, where an event loop takes over all signals each time it turns.

    That is a quarter of what a short statement costs there, and no gateway pays it: it has a thread for its database.
    """
    interrupted = threading.Event()

    def progress(done: int) -> None:
        task.progress(done)
        assert not interrupted.is_set()

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run, replace(task, progress=progress))
        try:
            return running.result()
        finally:
            interrupted.set()


TITLE = "Random operations against a model"
PASSES_WHEN = (
    "model and balance agree after every step, every invariant holds every 1,000 steps and at the end, drift 0"
)
SQLITE = Part(
    name="model-sqlite",
    title=f"{TITLE}, SQLite",
    passes_when=PASSES_WHEN,
    run=run_sqlite,
    unit="operations",
    size=10_000_000,
    share=500_000,
    small=4_000,
)
POSTGRESQL = Part(
    name="model-postgresql",
    title=f"{TITLE}, PostgreSQL",
    passes_when=PASSES_WHEN,
    run=run_postgresql,
    unit="operations",
    size=1_000_000,
    share=100_000,
    small=1_000,
    needs_postgres=True,
)
