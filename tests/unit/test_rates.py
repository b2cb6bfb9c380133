"""Rate limits in memory: what is admitted is counted by a model, and no trick gets anybody more."""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from fractions import Fraction

import pytest

from omixa.api.rate_headers import rate_headers
from omixa.domain.access import Principal, RateLimits
from omixa.errors import InvalidRequest, Overloaded, RateLimited
from omixa.limits.rates import SLOT_RETRY_MS, Caller, Rates

log = logging.getLogger(__name__)

MS = 1_000_000
SECOND = 1000 * MS
NONE, USUAL = RateLimits(0, 0, 0), RateLimits()


@dataclass
class Clock:
    now_ns: int = 5 * SECOND

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class Nodes:
    count: int = 1

    def __call__(self) -> int:
        return self.count


class Place:
    """Limits with a clock and a number of servers that the test moves."""

    def __init__(
        self, keys: RateLimits = NONE, workspaces: RateLimits = NONE, *, max_buckets: int = 1000, nodes: int = 1
    ) -> None:
        self.clock, self.nodes = Clock(), Nodes(nodes)
        self.rates = Rates(keys, workspaces, nodes=self.nodes, clock_ns=self.clock, max_buckets=max_buckets)

    def caller(
        self, key: str = "key", account: str = "acc", own: RateLimits = USUAL, all_: RateLimits = USUAL
    ) -> Caller:
        return self.rates.of(Principal("ws", "w", account, key, "test", None, key_limits=own, workspace_limits=all_))

    def headers(self, caller: Caller) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in rate_headers(caller.standings())}


def admitted(caller: Caller, tries: int) -> int:
    return sum(_admits(caller) for _ in range(tries))


def _admits(caller: Caller) -> bool:
    try:
        caller.count_request()
    except RateLimited:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------- per minute


def test_a_minutes_worth_at_once_and_then_one_after_the_other() -> None:
    place = Place(RateLimits(requests_per_minute=60))
    caller = place.caller()
    assert admitted(caller, 100) == 60
    with pytest.raises(RateLimited, match="This key may make 60 requests per minute") as refused:
        caller.count_request()
    assert (refused.value.retry_after_ms, refused.value.retry_after_s) == (1000, 1)
    place.clock.now_ns += 1000 * MS - 1
    assert admitted(caller, 1) == 0
    place.clock.now_ns += 1
    assert admitted(caller, 2) == 1
    place.clock.now_ns += 30 * SECOND
    assert admitted(caller, 100) == 30
    place.clock.now_ns += 10_000 * SECOND
    assert admitted(caller, 100) == 60


def test_the_time_that_is_told_is_the_first_at_which_it_works() -> None:
    place = Place(RateLimits(requests_per_minute=7))
    caller = place.caller()
    admitted(caller, 7)
    for _ in range(50):
        with pytest.raises(RateLimited) as refused:
            caller.count_request()
        place.clock.now_ns += (refused.value.retry_after_ms - 1) * MS
        assert not _admits(caller)
        place.clock.now_ns += MS
        caller.count_request()


def test_a_refused_request_does_not_count() -> None:
    place = Place(RateLimits(requests_per_minute=1))
    caller = place.caller()
    assert admitted(caller, 50) == 1
    place.clock.now_ns += 60 * SECOND
    assert admitted(caller, 50) == 1


def test_key_and_workspace_both_count_and_neither_when_one_refuses() -> None:
    place = Place(RateLimits(requests_per_minute=10), RateLimits(requests_per_minute=15))
    first, second = place.caller("a"), place.caller("b")
    assert admitted(first, 100) == 10
    assert admitted(second, 100) == 5
    with pytest.raises(RateLimited, match="This workspace may make 15 requests"):
        second.count_request()
    place.clock.now_ns += 4 * SECOND
    assert admitted(second, 100) == 1
    assert admitted(place.caller("c", "other"), 100) == 10


def test_own_limits_go_before_the_usual_ones_and_0_is_none() -> None:
    place = Place(RateLimits(requests_per_minute=10))
    assert admitted(place.caller("a", own=RateLimits(requests_per_minute=3)), 100) == 3
    assert admitted(place.caller("b", own=RateLimits(requests_per_minute=0)), 100) == 100
    assert admitted(place.caller("c", all_=RateLimits(requests_per_minute=2)), 100) == 2
    assert place.headers(place.caller("d", own=NONE)) == {}


def test_a_changed_limit_holds_at_once() -> None:
    place = Place()
    assert admitted(place.caller(own=RateLimits(requests_per_minute=100)), 50) == 50
    assert admitted(place.caller(own=RateLimits(requests_per_minute=5)), 50) == 5
    place.clock.now_ns += 60 * SECOND
    assert admitted(place.caller(own=RateLimits(requests_per_minute=100)), 500) == 100


def test_images_count_by_their_number() -> None:
    place = Place(RateLimits(images_per_minute=10))
    caller = place.caller()
    for count in (4, 4):
        with caller.images(count):
            pass
    with pytest.raises(RateLimited, match="10 images per minute") as refused, caller.images(4):
        pass
    assert refused.value.retry_after_ms == 12_000
    with caller.images(2):
        pass
    with pytest.raises(InvalidRequest, match="10 images at most at once; got n=11") as wrong, caller.images(11):
        pass
    assert wrong.value.param == "n"


@pytest.mark.parametrize("limit", [1, 7, 60, 1000, 999_983])
def test_over_any_time_the_rate_is_the_limits(limit: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    log.warning("seed %d", seed)
    chance, place = random.Random(seed), Place(RateLimits(requests_per_minute=limit))
    caller, level, at_ns = place.caller(), Fraction(limit), place.clock.now_ns
    for _ in range(3000):
        place.clock.now_ns += chance.randrange(3 * 60 * SECOND // limit + 2)
        level = min(level + Fraction((place.clock.now_ns - at_ns) * limit, 60 * SECOND), Fraction(limit))
        at_ns = place.clock.now_ns
        assert _admits(caller) == (level >= 1)
        if level >= 1:
            level -= 1


# ------------------------------------------------------------------------------------------------------------ at a time


def test_places_are_held_until_they_are_given_back_and_only_once() -> None:
    place = Place(RateLimits(concurrent_images=4), RateLimits(concurrent_images=5))
    caller, other = place.caller("a"), place.caller("b")
    with caller.images(3) as slots:
        slots.hand_on()
    with pytest.raises(RateLimited, match="This key may make 4 images at a time") as refused, caller.images(2):
        pass
    assert refused.value.retry_after_ms == SLOT_RETRY_MS
    with pytest.raises(RateLimited, match="This workspace may make 5 images at a time"), other.images(3):
        pass
    with caller.images(1):
        assert place.rates.in_progress == {"a": 4, "acc": 4}
    slots.release()
    slots.release()
    assert not place.rates.in_progress
    with pytest.raises(ZeroDivisionError), caller.images(4):
        raise ZeroDivisionError
    assert not place.rates.in_progress
    with pytest.raises(InvalidRequest), caller.images(5):
        pass


def test_what_is_refused_for_one_reason_uses_nothing_up_for_the_others() -> None:
    place = Place(RateLimits(images_per_minute=10, concurrent_images=2))
    caller = place.caller()
    with caller.images(2) as slots:
        slots.hand_on()
    for _ in range(20):
        with pytest.raises(RateLimited, match="at a time"), caller.images(2):
            pass
    slots.release()
    for _ in range(4):
        with caller.images(2):
            pass
    with pytest.raises(RateLimited, match="per minute"), caller.images(2):
        pass
    assert not place.rates.in_progress


# ------------------------------------------------------------------------------------------------------------- memory


def test_buckets_that_have_filled_make_room_and_no_other_does() -> None:
    place = Place(RateLimits(requests_per_minute=60), max_buckets=100)
    for number in range(100):
        assert admitted(place.caller(f"key{number}", f"acc{number}"), 60) == 60
    for newcomer in range(300):
        with pytest.raises(Overloaded):
            place.caller(f"new{newcomer}", f"acc{newcomer}").count_request()
    assert len(place.rates.buckets) == 100
    assert not any(_admits(place.caller(f"key{number}", f"acc{number}")) for number in range(100)), "nobody gained"
    place.clock.now_ns += 60 * SECOND
    for newcomer in range(300):
        place.caller(f"new{newcomer % 100}", f"acc{newcomer}").count_request()
    assert len(place.rates.buckets) == 100


# ------------------------------------------------------------------------------------------------------- several servers


@pytest.mark.parametrize(("limit", "nodes", "share"), [(60, 1, 60), (60, 2, 30), (61, 2, 31), (1, 3, 1), (10, 4, 3)])
def test_each_server_admits_its_share(limit: int, nodes: int, share: int) -> None:
    place = Place(RateLimits(requests_per_minute=limit), nodes=nodes)
    assert admitted(place.caller(), 100) == share


def test_the_share_follows_the_number_of_servers() -> None:
    place = Place(RateLimits(requests_per_minute=60))
    assert admitted(place.caller(), 100) == 60
    place.nodes.count = 2
    place.clock.now_ns += 60 * SECOND
    assert admitted(place.caller(), 100) == 30


def test_a_request_for_more_than_a_share_is_taken_and_paid_for_in_time() -> None:
    place = Place(RateLimits(images_per_minute=8, concurrent_images=8), nodes=4)
    caller = place.caller()
    with caller.images(6), pytest.raises(RateLimited), caller.images(1):
        pass
    with pytest.raises(RateLimited) as refused, caller.images(1):
        pass
    # Two are its share of a minute; six were taken, and one more is there after five have come back.
    assert refused.value.retry_after_ms == 150_000
    place.clock.now_ns += 150 * SECOND
    with caller.images(1):
        pass
    assert "r=0" in place.headers(caller)["ratelimit"]


# ------------------------------------------------------------------------------------------------------------- headers


def test_both_families_of_headers_tell_the_same() -> None:
    place = Place(
        RateLimits(requests_per_minute=60, images_per_minute=20, concurrent_images=4), RateLimits(images_per_minute=10)
    )
    caller = place.caller()
    caller.count_request()
    with caller.images(3):
        assert place.headers(caller) == {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-limit-images": "10",
            "x-ratelimit-remaining-images": "7",
            "x-ratelimit-reset-images": "18s",
            "ratelimit-policy": '"key-requests";q=60;w=60, "key-images";q=20;qu="images";w=60,'
            ' "key-concurrent-images";q=4;qu="concurrent-images", "workspace-images";q=10;qu="images";w=60',
            "ratelimit": '"key-requests";r=59;t=1, "key-images";r=17;t=3, "key-concurrent-images";r=1,'
            ' "workspace-images";r=7;t=6',
        }


@pytest.mark.parametrize(
    ("limit", "taken", "told"),
    [(60, 0, "0ms"), (1000, 2, "120ms"), (600_000, 1, "1ms"), (7, 1, "8.572s"), (1, 1, "1m0s"), (3, 3, "1m0s")],
)
def test_times_are_written_as_openai_writes_them(limit: int, taken: int, told: str) -> None:
    place = Place(RateLimits(requests_per_minute=limit))
    caller = place.caller()
    assert admitted(caller, taken) == taken
    assert place.headers(caller)["x-ratelimit-reset-requests"] == told
