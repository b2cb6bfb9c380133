"""Waiting for something that is away: longer and longer pauses, up to a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

MIN_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0

# A moment by the event loop's clock, in seconds.
LoopTime = float


async def pauses_until(end: LoopTime) -> AsyncIterator[None]:
    """Pause before each round of a loop, longer each time, and stop when a moment of the event loop has come."""
    now, pause_s = asyncio.get_running_loop().time, MIN_PAUSE_S
    while now() < end:
        await asyncio.sleep(min(pause_s, max(end - now(), 0)))
        pause_s = min(2 * pause_s, MAX_PAUSE_S)
        yield
