"""Painters that are stopped in the middle of a picture, as if it took them long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from omixa.engines.illustrator import Commission
from omixa.engines.painters import PAINT_TIMEOUT_S, Painters


@dataclass(frozen=True)
class Held:
    """A picture whose painter stands still."""

    pid: int
    picture: asyncio.Future[bytes]


async def wait_for_processes(painters: Painters, number: int) -> None:
    """Wait until so many processes live."""
    while len(painters.pids) != number:  # noqa: ASYNC110 - processes have no event
        await asyncio.sleep(0.01)


async def hold(painters: Painters, number: int, *, timeout_s: float = PAINT_TIMEOUT_S) -> list[Held]:
    """Occupy painters with a picture each and stop their processes."""
    held: list[Held] = []
    for index in range(number):
        started = asyncio.Event()
        picture = asyncio.ensure_future(_paint(painters, index, started, timeout_s))
        known = {one.pid for one in held}
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait({waiting, picture}, return_when=asyncio.FIRST_COMPLETED)
        assert started.is_set(), picture.exception()
        (pid,) = painters.pids - known
        os.kill(pid, signal.SIGSTOP)
        held.append(Held(pid, picture))
    return held


def release(held: Iterable[Held]) -> None:
    """Let painters go on."""
    for one in held:
        os.kill(one.pid, signal.SIGCONT)


async def _paint(painters: Painters, index: int, started: asyncio.Event, timeout_s: float) -> bytes:
    # Large enough that the picture is still being painted when its preview has come.
    commission = Commission("a fox in a forest", (2048, 2048), variant=index, previews=1)
    last = b""
    async for picture in painters.paint(commission, timeout_s=timeout_s):
        started.set()
        last = picture
    return last
