"""Processes with the ledger and the storage rooms alone, which the proof kills or stops. Each function runs in a child."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from omixa.gateway.settlement import Settlement
from omixa.jobs.sweeper import Sweeper
from omixa.storage.blobs import BlobStore
from omixa.storage.database import Database
from tests.proof.witness import Witness, Word, Worker, results_of
from tests.support.ledger import NODE, Customer
from tests.support.places import Place

# The first word of a child: it has recovered and begins to work.
READY = "ready"


def context() -> ForkServerContext:
    """Return a way to start processes that neither share this one's threads nor import everything anew."""
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["tests.proof.children", "tests.proof.full"])
    return started


def work(directory: Path, place: Place, customer: Customer, seed: int, say: Connection) -> None:
    """Recover, then take requests for ever."""
    database = Database(place.backend(), on_fatal=say.send)
    database.open()
    blobs = BlobStore(directory / "results", on_fatal=say.send)

    async def run() -> None:
        node = await Sweeper(database, blobs, node_id=NODE).recover()
        say.send(READY)
        worker = Worker(
            Settlement(database, node), results_of(database, blobs), customer, random.Random(seed), say.send
        )
        await worker.take_for_ever()

    asyncio.run(run())


@contextmanager
def child(target: Callable[..., None], *arguments: object) -> Iterator[tuple[BaseProcess, Connection]]:
    """Start a child that says what it sees on the connection given; it is dead afterwards, but what it said is still there."""
    started = context()
    ours, theirs = started.Pipe(duplex=False)
    process = started.Process(target=target, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        ours.close()


def hear_rest(said: Connection, witness: Witness) -> None:
    """Hear what a child has said before it died. A word that it was killed in the middle of was heard by nobody."""
    while (word := next_word(said)) is not None:
        if word != READY:
            witness.hear(word)


def next_word(said: Connection) -> Word | str | None:
    """Return the next word of a child, or None when it is dead and has said all."""
    try:
        word: Word | str = said.recv()
    except (EOFError, OSError):
        return None
    return word
