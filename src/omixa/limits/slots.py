"""How many of something may go on at the same time?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omixa.errors import Overloaded


class Slots:
    """Places for `limit` of something at a time; `what` names it in the sentence of a refusal."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._what = what
        self._taken = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Have a place for as long as the block lasts. Raises Overloaded when there is none."""
        if self._taken >= self._limit:
            raise Overloaded(f"{self._limit} {self._what} already. Try again shortly.", retry_after_s=1)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
