"""Processes with the ledger and the storage rooms alone, which the proof kills or stops. Each function runs in a child."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from omixa.gateway.settlement import Settlement
from omixa.jobs.sweeper import Sweeper
from omixa.storage.blobs import BlobStore
from tests.proof.witness import Witness, Word, Worker, results_of
from tests.support.ledger import NODE, Customer, new_database
from tests.support.places import Place

# The first word of a child: it has recovered and begins to work.
READY = "ready"
# A helper that says nothing for so long is stuck.
PATIENCE_S = 120


def context() -> ForkServerContext:
    """Return a way to start processes that neither share this one's threads nor do anew what all of them need."""
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["tests.proof.nursery"])
    return started


def work(directory: Path, place: Place, customer: Customer, seed: int, say: Connection) -> None:
    """Recover, then take requests for ever."""
    database = new_database(place, None, say.send)
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


@contextmanager
def helpers(target: Callable[..., None], arguments: Sequence[tuple[object, ...]]) -> Iterator[Sequence[Connection]]:
    """Start a child for each tuple of arguments. Each does what it is sent over its connection until that is None."""
    started = context()
    pipes: list[Connection] = []
    processes: list[BaseProcess] = []
    try:
        for each in arguments:
            ours, theirs = started.Pipe()
            process = started.Process(target=target, args=(*each, theirs))
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    except BaseException:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            process.join()


def answers(pipes: Sequence[Connection]) -> list[Any]:
    """Return what each helper says next. Raises EOFError when one has died, whom the others may wait for."""
    said: dict[Connection, Any] = {}
    while len(said) < len(pipes):
        ready = wait([pipe for pipe in pipes if pipe not in said], PATIENCE_S)
        assert ready, "a helper does not answer"
        said |= {pipe: pipe.recv() for pipe in ready if isinstance(pipe, Connection)}
    return [said[pipe] for pipe in pipes]
