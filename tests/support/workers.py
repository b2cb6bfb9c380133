"""Workers that are stopped in the middle of a picture, as if it took them long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass

from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import JOB_TIMEOUT_S, Workers


@dataclass(frozen=True)
class Held:
    """A picture whose worker stands still."""

    pid: int
    picture: asyncio.Future[bytes]


async def wait_for_processes(workers: Workers, number: int) -> None:
    """Wait until so many processes live."""
    while len(workers.pids) != number:  # noqa: ASYNC110 - processes have no event
        await asyncio.sleep(0.01)


async def hold(workers: Workers, number: int, *, timeout_s: float = JOB_TIMEOUT_S) -> list[Held]:
    """Occupy workers with a picture each and stop their processes."""
    held: list[Held] = []
    for index in range(number):
        started = asyncio.Event()
        picture = asyncio.ensure_future(_paint(workers, index, started, timeout_s))
        known = {one.pid for one in held}
        waiting = asyncio.ensure_future(started.wait())
        await asyncio.wait({waiting, picture}, return_when=asyncio.FIRST_COMPLETED)
        assert started.is_set(), picture.exception()
        (pid,) = workers.pids - known
        os.kill(pid, signal.SIGSTOP)
        held.append(Held(pid, picture))
    return held


def release(held: Iterable[Held]) -> None:
    """Let workers go on."""
    for one in held:
        os.kill(one.pid, signal.SIGCONT)


async def _paint(workers: Workers, index: int, started: asyncio.Event, timeout_s: float) -> bytes:
    # Large enough that the picture is still being painted when its preview has come.
    commission = Commission("a fox in a forest", (2048, 2048), variant=index, previews=1)
    last = b""
    async for picture in workers.run(Illustrator, commission, timeout_s=timeout_s):
        started.set()
        last = picture
    return last
