"""How often may a key and its workspace ask, and for how many pictures at a time? Decided in memory, before any money is held.

Requests and pictures per minute are token buckets that hold a minute's worth: whoever was quiet may use it at once, and then
goes on at the rate of the limit. Everything is integers of a clock that never goes back. Several servers on one database
know of each other by their heartbeats alone; each admits its share of every limit.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

from omixa.domain.access import Principal, RateLimits
from omixa.errors import InvalidRequest, OmixaError, Overloaded, RateLimited

WINDOW_S = 60
# Buckets that are not full, each some hundred bytes. A full one is as good as none and makes room.
MAX_BUCKETS = 100_000
# Callers whose limits are worked out already.
MAX_CALLERS = 10_000
# What a refused picture waits for: that another one is finished, which nobody can foretell.
SLOT_RETRY_MS = 2_000

_NS_PER_MS = 1_000_000
# In a nanosecond a bucket regains as many parts as its limit says, so that this many are one token.
_TOKEN = WINDOW_S * 1000 * _NS_PER_MS

Owner = Literal["key", "workspace"]
Kind = Literal["requests", "images", "concurrent-images"]
# In the order of the fields of RateLimits.
KINDS: tuple[Kind, ...] = ("requests", "images", "concurrent-images")


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit of a caller: `share` is what this server admits of `limit`, `subject` whose use counts."""

    owner: Owner
    kind: Kind
    subject: str
    limit: int
    share: int
    # What headers call it.
    name: str

    def __str__(self) -> str:
        unit = "images at a time" if self.kind == "concurrent-images" else f"{self.kind} per minute"
        shared = "" if self.share == self.limit else f", {self.share} of them at this server"
        return f"{self.limit} {unit}{shared}"


class Standing(NamedTuple):
    """How much of a limit is left. Times are in nanoseconds: until there is one more, and until nothing is used any more."""

    policy: Policy
    remaining: int
    next_ns: int = 0
    full_ns: int = 0


class _Level(NamedTuple):
    """What a bucket held at a time, in parts of a token; below zero after a request for more than a share."""

    parts: int
    at_ns: int
    full_at_ns: int


class Buckets:
    """Token buckets by policy and subject. One that is full is not kept."""

    def __init__(self, clock_ns: Callable[[], int], max_buckets: int) -> None:
        self._clock_ns = clock_ns
        self._max_buckets = max_buckets
        # The least recently used one comes first.
        self._kept: OrderedDict[tuple[str, str], _Level] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, policies: Sequence[Policy], count: int) -> None:
        """Take tokens of every policy, or raise what `require` raises and take none."""
        now_ns, left = self._clock_ns(), self.require(policies, count)
        for policy, parts in zip(policies, left, strict=True):
            key = (policy.name, policy.subject)
            rest = parts - count * _TOKEN
            self._kept[key] = _Level(rest, now_ns, now_ns + _divided(policy.share * _TOKEN - rest, policy.share))
            self._kept.move_to_end(key)

    def require(self, policies: Sequence[Policy], count: int) -> list[int]:
        """Return what the buckets hold. Raises RateLimited when one has too little, Overloaded when one could not be kept.

        A full bucket is enough for any number: otherwise no server would ever take a request for more than its share.
        """
        now_ns = self._clock_ns()
        held = [self._parts(policy, now_ns) for policy in policies]
        wait_ns, scarcest = 0, None
        for policy, parts in zip(policies, held, strict=True):
            missing = min(count, policy.share) * _TOKEN - parts
            if missing > wait_ns * policy.share:
                wait_ns, scarcest = _divided(missing, policy.share), policy
        if scarcest is not None:
            raise _limited(scarcest, _divided(wait_ns, _NS_PER_MS))
        for policy in policies:
            self._make_room(policy, now_ns)
        return held

    def standing(self, policy: Policy) -> Standing:
        """Return how much is left."""
        share, parts = policy.share, self._parts(policy, self._clock_ns())
        missing = share * _TOKEN - parts
        if not missing:
            return Standing(policy, share)
        remaining = max(parts // _TOKEN, 0)
        return Standing(policy, remaining, _divided((remaining + 1) * _TOKEN - parts, share), _divided(missing, share))

    def _parts(self, policy: Policy, now_ns: int) -> int:
        """Return what a bucket holds now."""
        full = policy.share * _TOKEN
        level = self._kept.get((policy.name, policy.subject))
        return full if level is None else min(level.parts + (now_ns - level.at_ns) * policy.share, full)

    def _make_room(self, policy: Policy, now_ns: int) -> None:
        """Drop buckets that have filled, where room is needed. No other is dropped, for that would be a gift."""
        while len(self._kept) >= self._max_buckets and (policy.name, policy.subject) not in self._kept:
            oldest, level = next(iter(self._kept.items()))
            if level.full_at_ns > now_ns:
                raise Overloaded("Too many keys are in use at this server. Try again shortly.", retry_after_s=1)
            del self._kept[oldest]


class Rates:
    """All limits of all callers of this process. `nodes` tells how many servers share them now."""

    def __init__(
        self,
        of_keys: RateLimits,
        of_workspaces: RateLimits,
        *,
        nodes: Callable[[], int],
        clock_ns: Callable[[], int] = time.monotonic_ns,
        max_buckets: int = MAX_BUCKETS,
    ) -> None:
        self._defaults = (of_keys, of_workspaces)
        self._nodes = nodes
        self.buckets = Buckets(clock_ns, max_buckets)
        self.in_progress: Counter[str] = Counter()
        self._callers: dict[str, Caller] = {}

    def of(self, principal: Principal) -> Caller:
        """Return what limits a caller now."""
        nodes = max(self._nodes(), 1)
        caller = self._callers.get(principal.key_id)
        if caller is None or caller.principal is not principal or caller.nodes != nodes:
            if len(self._callers) >= MAX_CALLERS:
                self._callers.clear()
            caller = self._callers[principal.key_id] = Caller(self, principal, nodes, self._policies(principal, nodes))
        return caller

    def _policies(self, principal: Principal, nodes: int) -> list[Policy]:
        of_keys, of_workspaces = self._defaults
        owners: tuple[tuple[Owner, str, RateLimits], ...] = (
            ("key", principal.key_id, principal.key_limits.or_else(of_keys)),
            ("workspace", principal.account_id, principal.workspace_limits.or_else(of_workspaces)),
        )
        return [
            Policy(owner, kind, subject, limit, _divided(limit, nodes), f"{owner}-{kind}")
            for owner, subject, limits in owners
            for kind, limit in zip(KINDS, astuple(limits), strict=True)
            if limit
        ]


class Caller:
    """The limits of one key and its workspace, of which `nodes` servers have a share each."""

    def __init__(self, rates: Rates, principal: Principal, nodes: int, policies: Sequence[Policy]) -> None:
        self.principal = principal
        self.nodes = nodes
        self._rates = rates
        self._policies = policies
        self._requests, self._images, self._places = (
            [policy for policy in policies if policy.kind == kind] for kind in KINDS
        )

    def count_request(self) -> None:
        """Count a request that has come. Raises RateLimited, and then it does not count."""
        self._rates.buckets.take(self._requests, 1)

    @contextmanager
    def images(self, count: int) -> Iterator[Slots]:
        """Count pictures that are to be made, and hold their places until the end, unless these are handed on.

        Raises RateLimited, or InvalidRequest for more pictures than can ever be made at once; then nothing counts.
        """
        self._require_places(count)
        self._rates.buckets.take(self._images, count)
        slots = Slots(self._rates.in_progress, [policy.subject for policy in self._places], count)
        try:
            yield slots
        finally:
            if not slots.handed_on:
                slots.release()

    def require_images(self, count: int) -> None:
        """Raise what `images` would raise, and count nothing."""
        self._require_places(count)
        self._rates.buckets.require(self._images, count)

    def _require_places(self, count: int) -> None:
        for policy in (*self._images, *self._places):
            if count > policy.limit:
                raise InvalidRequest(
                    f"This {policy.owner} may make {policy.limit} images at most at once; got n={count}.", param="n"
                )
        for policy in self._places:
            busy = self._rates.in_progress[policy.subject]
            # The first request may be for more than a share, as with buckets.
            if busy and busy + count > policy.share:
                raise _limited(policy, SLOT_RETRY_MS)

    def standings(self) -> list[Standing]:
        """Return how much is left of each limit."""
        rates = self._rates
        return [
            Standing(policy, max(policy.share - rates.in_progress[policy.subject], 0))
            if policy.kind == "concurrent-images"
            else rates.buckets.standing(policy)
            for policy in self._policies
        ]


class Slots:
    """Places of pictures that are being made."""

    def __init__(self, in_progress: Counter[str], subjects: Sequence[str], count: int) -> None:
        self._in_progress = in_progress
        self._subjects = subjects
        self._count = count
        self.handed_on = False
        for subject in subjects:
            in_progress[subject] += count

    def hand_on(self) -> None:
        """Keep the places beyond the `with` block; whoever takes them calls `release`."""
        self.handed_on = True

    def release(self) -> None:
        """Give all places back."""
        for subject in self._subjects:
            self._in_progress[subject] -= self._count
            if not self._in_progress[subject]:
                del self._in_progress[subject]
        self._subjects = ()


def _limited(policy: Policy, retry_after_ms: int) -> OmixaError:
    return RateLimited(
        f"This {policy.owner} may make {policy}. Try again in {retry_after_ms / 1000:.1f} seconds.",
        retry_after_ms=retry_after_ms,
    )


def _divided(amount: int, by: int) -> int:
    """Divide and round up."""
    return -(-amount // by)
