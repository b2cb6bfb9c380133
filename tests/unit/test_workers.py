"""The pool of workers: bounded, and a worker that dies takes one picture along and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import Workers
from omixa.errors import EngineBroke, EngineBusy, EngineTimeout, InvalidRequest
from tests.support.workers import hold, release, wait_for_processes

SMALL = Commission("a red fox", (64, 64))


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Workers of this test alone."""
    with Workers(2, waiting=1) as opened:
        yield opened


async def test_pictures_are_the_illustrators_own(workers: Workers) -> None:
    assert await workers.finished(Illustrator, SMALL) == Illustrator().paint("a red fox", width=64, height=64)


async def test_previews_come_before_the_picture(workers: Workers) -> None:
    made = [picture async for picture in workers.run(Illustrator, Commission("a red fox", (64, 64), previews=3))]
    assert len(made) == len(set(made)) == 4
    assert made[-1] == await workers.finished(Illustrator, SMALL)


async def test_a_reference_that_cannot_be_read_is_the_callers_fault_and_harms_nobody(workers: Workers) -> None:
    await workers.finished(Illustrator, SMALL)
    before = workers.pids
    with pytest.raises(InvalidRequest):
        await workers.finished(Illustrator, Commission("night", (64, 64), references=(b"no picture",)))
    assert await workers.finished(Illustrator, SMALL)
    assert workers.pids == before


async def test_more_than_may_wait_are_refused_at_once_and_later_served(workers: Workers) -> None:
    held = await hold(workers, 2)
    waiting = asyncio.ensure_future(workers.finished(Illustrator, SMALL))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy) as caught:
        await workers.finished(Illustrator, SMALL)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "overloaded", 2)
    release(held)
    assert await waiting
    assert await workers.finished(Illustrator, SMALL)


async def test_a_killed_worker_fails_one_picture_and_is_replaced(workers: Workers) -> None:
    first, second = await hold(workers, 2)
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(EngineBroke):
        await first.picture
    release([second])
    assert await second.picture
    assert await workers.finished(Illustrator, SMALL)
    assert first.pid not in workers.pids


async def test_a_worker_that_died_while_idle_fails_nothing(workers: Workers) -> None:
    await workers.finished(Illustrator, SMALL)
    (pid,) = workers.pids
    os.kill(pid, signal.SIGKILL)
    await wait_for_processes(workers, 0)
    assert await workers.finished(Illustrator, SMALL)


async def test_one_that_is_too_slow_is_ended(workers: Workers) -> None:
    (held,) = await hold(workers, 1, timeout_s=5.0)
    with pytest.raises(EngineTimeout):
        await held.picture
    await wait_for_processes(workers, 0)
    assert await workers.finished(Illustrator, SMALL)


async def test_waiting_counts_towards_the_deadline(workers: Workers) -> None:
    held = await hold(workers, 2)
    late = asyncio.ensure_future(anext(workers.run(Illustrator, SMALL, timeout_s=0.0)))
    await asyncio.sleep(0)
    release(held)
    with pytest.raises(EngineTimeout, match="turn"):
        await late


async def test_one_that_needs_too_much_memory_fails_alone(workers: Workers) -> None:
    with pytest.raises(EngineBroke):
        await workers.finished(Illustrator, Commission("a fox", (30_000, 30_000)))
    assert await workers.finished(Illustrator, SMALL)
