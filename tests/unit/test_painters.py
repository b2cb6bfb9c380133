"""The pool of painters: bounded, and a painter that dies takes one picture along and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.painters import Painters
from omixa.errors import EngineBroke, EngineBusy, EngineTimeout, InvalidRequest
from tests.support.painters import hold, release, wait_for_processes

SMALL = Commission("a red fox", (64, 64))


@pytest.fixture
def painters() -> Iterator[Painters]:
    """Painters of this test alone."""
    with Painters(2, waiting=1) as opened:
        yield opened


async def test_pictures_are_the_illustrators_own(painters: Painters) -> None:
    assert await painters.finished(SMALL) == Illustrator().paint("a red fox", width=64, height=64)


async def test_previews_come_before_the_picture(painters: Painters) -> None:
    made = [picture async for picture in painters.paint(Commission("a red fox", (64, 64), previews=3))]
    assert len(made) == len(set(made)) == 4
    assert made[-1] == await painters.finished(SMALL)


async def test_a_reference_that_cannot_be_read_is_the_callers_fault_and_harms_nobody(painters: Painters) -> None:
    await painters.finished(SMALL)
    before = painters.pids
    with pytest.raises(InvalidRequest):
        await painters.finished(Commission("night", (64, 64), references=(b"no picture",)))
    assert await painters.finished(SMALL)
    assert painters.pids == before


async def test_more_than_may_wait_are_refused_at_once_and_later_served(painters: Painters) -> None:
    held = await hold(painters, 2)
    waiting = asyncio.ensure_future(painters.finished(SMALL))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy) as caught:
        await painters.finished(SMALL)
    assert (caught.value.status, caught.value.code, caught.value.retry_after_s) == (503, "overloaded", 2)
    release(held)
    assert await waiting
    assert await painters.finished(SMALL)


async def test_a_killed_painter_fails_one_picture_and_is_replaced(painters: Painters) -> None:
    first, second = await hold(painters, 2)
    os.kill(first.pid, signal.SIGKILL)
    with pytest.raises(EngineBroke):
        await first.picture
    release([second])
    assert await second.picture
    assert await painters.finished(SMALL)
    assert first.pid not in painters.pids


async def test_a_painter_that_died_while_idle_fails_nothing(painters: Painters) -> None:
    await painters.finished(SMALL)
    (pid,) = painters.pids
    os.kill(pid, signal.SIGKILL)
    await wait_for_processes(painters, 0)
    assert await painters.finished(SMALL)


async def test_one_that_is_too_slow_is_ended(painters: Painters) -> None:
    (held,) = await hold(painters, 1, timeout_s=5.0)
    with pytest.raises(EngineTimeout):
        await held.picture
    await wait_for_processes(painters, 0)
    assert await painters.finished(SMALL)


async def test_waiting_counts_towards_the_deadline(painters: Painters) -> None:
    held = await hold(painters, 2)
    late = asyncio.ensure_future(anext(painters.paint(SMALL, timeout_s=0.0)))
    await asyncio.sleep(0)
    release(held)
    with pytest.raises(EngineTimeout, match="turn"):
        await late


async def test_one_that_needs_too_much_memory_fails_alone(painters: Painters) -> None:
    with pytest.raises(EngineBroke):
        await painters.finished(Commission("a fox", (30_000, 30_000)))
    assert await painters.finished(SMALL)
