"""May a deployment be called now? What its failures say.

A breaker is closed while all is well. Failures open it: the deployment is left alone for a time that doubles with each failure in
a row (cooling). After that it is half open: one call, and one only, tries it. A success closes it. A refused credential disables
it until the operator acts. The clock is the caller's, in nanoseconds, so that tests can set it.
"""

from __future__ import annotations

import random
from typing import Literal

from omixa.domain.routes import Memory
from omixa.errors import UpstreamError

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
BASE_COOLDOWN_S = 5
MAX_COOLDOWN_S = 300
# A cooldown is shortened by up to this part, so that servers do not all try again at the same moment.
_JITTER = 0.2
# The last deployment that is left serves until it has failed so often in a row: one that answers sometimes is better than none.
LAST_STRIKES = 5
# Further doubling would only run into the cap.
_MAX_DOUBLINGS = 10

State = Literal["closed", "cooling", "half_open", "disabled"]


class Breaker:
    """The health of one deployment. Not thread-safe: it belongs to the event loop."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        # Why the credential is out of use, if it is.
        self.disabled: str | None = None
        # Out of use because the account has no credit left.
        self.is_spent = False
        # Left alone because it could not be reached.
        self.is_unreachable = False
        self.strikes = 0
        # How often in a row it was left out.
        self.ejections = 0
        self._until_ns: int | None = None
        self._is_probed = False

    def state(self, now_ns: int) -> State:
        """Return where the breaker stands."""
        if self.disabled is not None:
            return "disabled"
        if self._until_ns is None:
            return "closed"
        return "cooling" if now_ns < self._until_ns else "half_open"

    def admits(self, now_ns: int) -> bool:
        """Tell whether a call may begin."""
        state = self.state(now_ns)
        return state == "closed" or (state == "half_open" and not self._is_probed)

    def cooling_ns(self, now_ns: int) -> int:
        """Return how long it is still left alone; 0 when it is not."""
        return max(0, self._until_ns - now_ns) if self._until_ns is not None else 0

    def begin(self, now_ns: int) -> bool:
        """Note that a call begins, which `admits` allows; return whether it is the probe."""
        is_probe = self.state(now_ns) == "half_open"
        self._is_probed = self._is_probed or is_probe
        return is_probe

    def give_up_probe(self) -> None:
        """Note that the probe ended without an answer of the provider: another one may follow."""
        self._is_probed = False

    def succeeded(self, *, is_probe: bool) -> None:
        """Note that a call went well. While it is left alone, only the probe says something: other calls began before."""
        if is_probe:
            self._until_ns, self._is_probed, self.ejections, self.is_unreachable = None, False, 0, False
        if self._until_ns is None:
            self.strikes = 0

    def failed(self, error: UpstreamError, now_ns: int, *, is_probe: bool, is_last: bool) -> bool:
        """Note that a call failed; return whether the deployment is left out from now on and was not before.

        `is_last` says that no other deployment could serve in its place.
        """
        was = self.state(now_ns)
        if is_probe:
            self._is_probed = False
        if error.disables:
            if was == "disabled":
                return False
            self.disabled = error.code if error.upstream_code is None else error.upstream_code
            self.is_spent = error.exhausted
            return True
        if not error.strikes and not error.limits_rate:
            return False
        if error.retry_after_s is not None:
            # The provider knows best, and its own time does not grow.
            until_ns = now_ns + min(error.retry_after_s, MAX_COOLDOWN_S) * NS_PER_S
            self._until_ns = max(until_ns, self._until_ns or 0)
            self.is_unreachable = False
            return was == "closed" or is_probe
        if was == "closed":
            self.strikes += error.strikes
            if not error.limits_rate and self.strikes < (LAST_STRIKES if is_last else 1):
                return False
        elif not is_probe:
            # The call began before the deployment was left out and says nothing new.
            return False
        self._eject(now_ns)
        self.is_unreachable = error.never_arrived
        return True

    def enable(self) -> None:
        """Forget everything: the operator has acted."""
        self.disabled, self._until_ns, self._is_probed, self.strikes, self.ejections = None, None, False, 0, 0
        self.is_spent = self.is_unreachable = False

    def try_again(self, now_ns: int) -> None:
        """Let one call try a credential that was out of use."""
        self.enable()
        self._until_ns = now_ns

    @property
    def mark(self) -> tuple[object, ...]:
        """Return what is another one whenever there is something new to remember."""
        return self._until_ns, self.is_unreachable, self.strikes, self.ejections

    def remember(self, now_ns: int) -> Memory:
        """Return what is to be kept beyond this process. A credential that is out of use is not part of it."""
        cooling_ms = None if self._until_ns is None else (self._until_ns - now_ns) // NS_PER_MS
        return Memory(cooling_ms, self.is_unreachable, self.strikes, self.ejections)

    def recall(self, memory: Memory, now_ns: int) -> None:
        """Go on from what was kept. Where the time has passed for which it was to be left alone, one call tries it."""
        self.strikes, self.ejections, self.is_unreachable = memory.strikes, memory.ejections, memory.unreachable
        if memory.cooling_ms is not None:
            cooling_ms = min(max(memory.cooling_ms, 0), MAX_COOLDOWN_S * 1000)
            self._until_ns = now_ns + cooling_ms * NS_PER_MS

    def _eject(self, now_ns: int) -> None:
        cooldown_s = min(BASE_COOLDOWN_S << min(self.ejections, _MAX_DOUBLINGS), MAX_COOLDOWN_S)
        self.ejections += 1
        self.strikes = 0
        self._until_ns = now_ns + round(cooldown_s * NS_PER_S * (1.0 - _JITTER * self._draw.random()))
