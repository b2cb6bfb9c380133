"""May a deployment be called now without its provider finding that too often? May a failed call be repeated elsewhere?"""

from __future__ import annotations

from collections import deque

from omixa.domain.access import RateLimits

_NS_PER_S = 1_000_000_000
# A provider counts a call when it arrives, and that is a little after it was admitted here.
WINDOW_S = 61
_WINDOW_NS = WINDOW_S * _NS_PER_S

# Further attempts: a fifth of the requests and ten in a second, and no more than so many saved up.
RETRY_PART = 5
RETRIES_PER_S = 10
MAX_SAVED_RETRIES = 1000
STARTING_RETRIES = 100
# Second calls for pictures that take long: no more than so many saved up, so that a slow hour cannot spend a quick day's.
MAX_SAVED_HEDGES = 10


class Budget:
    """What one deployment may be asked for: calls in any minute, and calls at a time. Each call makes one picture."""

    def __init__(self, limits: RateLimits) -> None:
        # When the latest calls were admitted: never more than a minute may have.
        self._calls: deque[int] = deque()
        self.in_flight = 0
        self.allow(limits)

    def allow(self, limits: RateLimits) -> None:
        """Keep to these limits from now on. What was asked before counts."""
        per_minute = [limit for limit in (limits.requests_per_minute, limits.images_per_minute) if limit]
        self._per_minute = min(per_minute, default=0)
        self._at_a_time = limits.concurrent_images or 0
        while len(self._calls) > self._per_minute:
            self._calls.popleft()

    @property
    def is_full(self) -> bool:
        """Tell whether as many calls are in progress as may be."""
        return bool(self._at_a_time) and self.in_flight >= self._at_a_time

    def wait_ns(self, now_ns: int) -> int:
        """Return how long until a call may begin, as far as the rate goes."""
        if not self._per_minute or len(self._calls) < self._per_minute:
            return 0
        return max(0, self._calls[0] + _WINDOW_NS - now_ns)

    def admits(self, now_ns: int) -> bool:
        """Tell whether a call may begin."""
        return not self.is_full and not self.wait_ns(now_ns)

    def begin(self, now_ns: int) -> None:
        """Count a call, which `admits` allows."""
        self.in_flight += 1
        if self._per_minute:
            if len(self._calls) >= self._per_minute:
                self._calls.popleft()
            self._calls.append(now_ns)

    def end(self, began_ns: int, *, was_sent: bool) -> None:
        """Note that a call is over. One that was never sent has not counted."""
        self.in_flight -= 1
        if self._per_minute and not was_sent and began_ns in self._calls:
            self._calls.remove(began_ns)


class RetryBudget:
    """How many further attempts a provider may get: more of them would only make an outage worse."""

    def __init__(self, now_ns: int) -> None:
        # In parts of a retry, of which a request brings one and a second RETRIES_PER_S retries' worth.
        self._parts = STARTING_RETRIES * RETRY_PART
        self._at_ns = now_ns

    def count_request(self) -> None:
        """Note a request's first attempt."""
        self._parts = min(self._parts + 1, MAX_SAVED_RETRIES * RETRY_PART)

    def take(self, now_ns: int) -> bool:
        """Take one further attempt; return False when there is none left."""
        ns_per_part = _NS_PER_S // (RETRIES_PER_S * RETRY_PART)
        gained = (now_ns - self._at_ns) // ns_per_part
        self._at_ns += gained * ns_per_part
        self._parts = min(self._parts + gained, MAX_SAVED_RETRIES * RETRY_PART)
        if self._parts < RETRY_PART:
            return False
        self._parts -= RETRY_PART
        return True


class HedgeBudget:
    """How many pictures may be asked for twice: a part of all, and none before enough were asked for once."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        # In hundredths of a second call.
        self._parts = 0

    def count_picture(self) -> None:
        """Note a picture's first call."""
        self._parts = min(self._parts + self._percent, MAX_SAVED_HEDGES * 100)

    def take(self) -> bool:
        """Take one second call; return False when there is none left."""
        if self._parts < 100:
            return False
        self._parts -= 100
        return True
