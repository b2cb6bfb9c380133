"""How often may somebody try to sign in? Counted by name and by address, in memory of a fixed size."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from omixa.errors import RateLimited

# Tries at once, and how long one more takes after that.
NAME_BURST, NAME_PAUSE_S = 10, 60
ADDRESS_BURST, ADDRESS_PAUSE_S = 40, 6
# Names and addresses that are remembered, some hundred bytes each.
MAX_SUBJECTS = 20_000

_NS = 1_000_000_000
# When memory is full, all further ones are counted as one: nobody gets more tries by filling it, nor is locked out for good.
_ALL_OTHERS = ""


class Tries:
    """Counts tries. `clock_ns` never goes back."""

    def __init__(self, *, clock_ns: Callable[[], int] = time.monotonic_ns, max_subjects: int = MAX_SUBJECTS) -> None:
        self._clock_ns = clock_ns
        self._names = _Counter(NAME_BURST, NAME_PAUSE_S, max_subjects)
        self._addresses = _Counter(ADDRESS_BURST, ADDRESS_PAUSE_S, max_subjects)

    def count(self, name: str | None, address: str) -> None:
        """Count a try, without a name where none is tried. Raises RateLimited, and then it does not count."""
        now, place = self._clock_ns(), _place(address)
        wait_ns = self._addresses.wait_ns(place, now)
        if name is not None:
            wait_ns = max(wait_ns, self._names.wait_ns(name, now))
        if wait_ns > 0:
            seconds = -(-wait_ns // _NS)
            raise RateLimited(
                f"Too many tries to sign in. Try again in {seconds} seconds.", retry_after_ms=seconds * 1000
            )
        if name is not None:
            self._names.add(name, now)
        self._addresses.add(place, now)

    @property
    def subjects(self) -> int:
        """Return how many names and addresses are remembered."""
        return len(self._names) + len(self._addresses)

    def succeeded(self, name: str | None, address: str) -> None:
        """Forget the tries of a name that has signed in, and count none for its address."""
        if name is not None:
            self._names.forget(name)
        self._addresses.give_back(_place(address), self._clock_ns())


class _Counter:
    """For each subject the time at which it has all its tries again; those that have are not kept."""

    def __init__(self, burst: int, pause_s: int, max_subjects: int) -> None:
        self._pause_ns = pause_s * _NS
        self._allowance_ns = burst * self._pause_ns
        self._max_subjects = max_subjects
        # The one that was counted last stands last.
        self._full_at_ns: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at_ns)

    def wait_ns(self, subject: str, now_ns: int) -> int:
        """Return how long the next try has to wait; zero or less when it need not."""
        full_at_ns = max(self._full_at_ns.get(self._kept_as(subject, now_ns), 0), now_ns)
        return full_at_ns + self._pause_ns - now_ns - self._allowance_ns

    def add(self, subject: str, now_ns: int) -> None:
        """Count a try."""
        kept = self._kept_as(subject, now_ns)
        self._full_at_ns[kept] = max(self._full_at_ns.get(kept, 0), now_ns) + self._pause_ns
        self._full_at_ns.move_to_end(kept)

    def give_back(self, subject: str, now_ns: int) -> None:
        """Count one try less."""
        kept = self._kept_as(subject, now_ns)
        if kept in self._full_at_ns:
            self._full_at_ns[kept] -= self._pause_ns

    def forget(self, subject: str) -> None:
        """Give all tries back."""
        self._full_at_ns.pop(subject, None)

    def _kept_as(self, subject: str, now_ns: int) -> str:
        while self._full_at_ns and next(iter(self._full_at_ns.values())) <= now_ns:
            self._full_at_ns.popitem(last=False)
        is_known = subject in self._full_at_ns or len(self._full_at_ns) < self._max_subjects
        return subject if is_known else _ALL_OTHERS


def _place(address: str) -> str:
    """Return whose address it is: with IPv6 a customer has a whole network of them."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
