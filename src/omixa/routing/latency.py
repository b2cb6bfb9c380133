"""How long a deployment takes for a picture, learned from its last calls that made one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from omixa.routing.health import NS_PER_MS, NS_PER_S

# Of the last so many calls the slowest twentieth is left out.
CALLS = 64
LEAST_CALLS = 5
# What was learned longer ago is forgotten, so that a deployment that was slow gets another chance.
MEMORY_S = 600


class Latency:
    """The last durations of one deployment. Not thread-safe: it belongs to the event loop."""

    def __init__(self) -> None:
        # When a call ended and how long it took, in nanoseconds.
        self._calls: deque[tuple[int, int]] = deque(maxlen=CALLS)
        # How often it has learned something.
        self.mark = 0

    def learn(self, took_ns: int, now_ns: int) -> None:
        """Note that a call made a picture."""
        self._calls.append((now_ns, took_ns))
        self.mark += 1

    def p95_ns(self, now_ns: int) -> int | None:
        """Return how long 95 of 100 calls take at most, None while too little is known."""
        while self._calls and self._calls[0][0] <= now_ns - MEMORY_S * NS_PER_S:
            self._calls.popleft()
        durations = sorted(took_ns for _, took_ns in self._calls)
        if len(durations) < LEAST_CALLS:
            return None
        return durations[-(-95 * len(durations) // 100) - 1]

    def remember(self, now_ns: int) -> tuple[tuple[int, int], ...]:
        """Return how long ago each picture came and how long it had taken, in milliseconds, the oldest first."""
        return tuple(((now_ns - at_ns) // NS_PER_MS, took_ns // NS_PER_MS) for at_ns, took_ns in self._calls)

    def recall(self, calls: Sequence[tuple[int, int]], now_ns: int) -> None:
        """Go on from what `remember` returned."""
        for ago_ms, took_ms in calls:
            self._calls.append((now_ns - ago_ms * NS_PER_MS, took_ms * NS_PER_MS))
