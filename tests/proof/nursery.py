"""What children are forked from: a process in which everything is imported, and every statement of their work is compiled.

A child lives for milliseconds, in which it would otherwise do little but that. Importing this module does it, since names of
modules are all that multiprocessing's fork server takes; nothing else may import it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
from pathlib import Path

from tests.proof import admission, crash_points, kills, storm  # noqa: F401 - what is run in children
from tests.proof.witness import Worker, results_of
from tests.support.ledger import disk_ledger
from tests.support.postgres import fast_directory

# Enough for a success, a failure and a result of either size.
REQUESTS = 40


def _practise() -> None:
    """Do once what children do: recover, take requests, and recover what was interrupted."""
    with (
        tempfile.TemporaryDirectory(dir=fast_directory()) as directory,
        disk_ledger(Path(directory), credit=10**9) as disk,
    ):
        results = results_of(disk.database, disk.blobs)
        worker = Worker(disk.settlement, results, disk.customer, random.Random(1), lambda word: None)

        async def take() -> None:
            await asyncio.gather(*(worker.take() for _ in range(REQUESTS)))

        disk.call(take())
        disk.hold(1)
        disk.restart()


_practise()
# Whatever a child's garbage collector would look at, it would have to copy first.
gc.freeze()
