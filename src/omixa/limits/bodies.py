"""How many bytes of requests may be in memory at the same time?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omixa.errors import Overloaded


class ByteBudget:
    """Bytes of request bodies that may be in memory together."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    @property
    def used(self) -> int:
        """Return the bytes taken now."""
        return self._used

    def take(self, size: int) -> None:
        """Take bytes. Raises Overloaded when they do not fit now."""
        if self._used + size > self._limit:
            raise Overloaded("Too many large requests are in progress. Try again shortly.", retry_after_s=2)
        self._used += size

    def give_back(self, size: int) -> None:
        """Return bytes taken before."""
        self._used -= size

    @contextmanager
    def lease(self) -> Iterator[ByteLease]:
        """Take bytes bit by bit and return all of them at the end, unless the lease is handed on."""
        lease = ByteLease(self)
        try:
            yield lease
        finally:
            if not lease.handed_on:
                lease.release()


class ByteLease:
    """Bytes that one request has taken."""

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self._size = 0
        self.handed_on = False

    def take(self, size: int) -> None:
        """Take more bytes. Raises Overloaded."""
        self._budget.take(size)
        self._size += size

    def hand_on(self) -> ByteLease:
        """Keep the bytes beyond the `with` block; whoever takes the lease calls `release`."""
        self.handed_on = True
        return self

    def release(self) -> None:
        """Return all bytes."""
        self._budget.give_back(self._size)
        self._size = 0
