"""Tries to sign in: so many at once, then one now and then, in memory of a fixed size."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.errors import RateLimited
from omixa.limits.tries import ADDRESS_BURST, ADDRESS_PAUSE_S, NAME_BURST, NAME_PAUSE_S, Tries

SECOND = 1_000_000_000


@dataclass
class Clock:
    now_ns: int = 7 * SECOND

    def __call__(self) -> int:
        return self.now_ns


def admitted(tries: Tries, name: str | None, addresses: list[str]) -> int:
    count = 0
    for address in addresses:
        try:
            tries.count(name, address)
        except RateLimited:
            continue
        count += 1
    return count


def addresses(count: int) -> list[str]:
    return [f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}" for number in range(count)]


def test_a_name_has_so_many_tries_from_all_addresses_together_and_then_one_now_and_then() -> None:
    clock = Clock()
    tries = Tries(clock_ns=clock)
    assert admitted(tries, "ada", addresses(50)) == NAME_BURST
    with pytest.raises(RateLimited) as limited:
        tries.count("ada", "10.9.9.9")
    assert limited.value.retry_after_ms == NAME_PAUSE_S * 1000
    clock.now_ns += NAME_PAUSE_S * SECOND - 1
    assert admitted(tries, "ada", addresses(50)) == 0
    clock.now_ns += 1
    assert admitted(tries, "ada", addresses(50)) == 1
    assert admitted(tries, "grace", addresses(50)) == NAME_BURST


def test_an_address_has_so_many_tries_with_all_names_together() -> None:
    clock = Clock()
    tries = Tries(clock_ns=clock)
    names = [f"somebody-{number}" for number in range(3 * ADDRESS_BURST)]
    assert sum(admitted(tries, name, ["192.0.2.1"]) for name in names) == ADDRESS_BURST
    clock.now_ns += 3 * ADDRESS_PAUSE_S * SECOND
    assert sum(admitted(tries, name, ["192.0.2.1"]) for name in names) == 3
    assert admitted(tries, None, ["192.0.2.1", "192.0.2.2"]) == 1


def test_a_network_of_ipv6_is_one_address() -> None:
    tries = Tries(clock_ns=Clock())
    names = [f"somebody-{number}" for number in range(3 * ADDRESS_BURST)]
    found = sum(admitted(tries, name, [f"2001:db8:1:2::{number:x}"]) for number, name in enumerate(names))
    assert found == ADDRESS_BURST
    assert admitted(tries, None, ["2001:db8:1:3::1", "not an address"]) == 2


def test_who_has_signed_in_has_all_tries_again() -> None:
    tries = Tries(clock_ns=Clock())
    assert admitted(tries, "ada", addresses(9)) == 9
    tries.succeeded("ada", "10.0.0.0")
    assert admitted(tries, "ada", addresses(50)) == NAME_BURST


def test_tries_that_succeed_do_not_count_for_their_address() -> None:
    tries = Tries(clock_ns=Clock())
    for number in range(10 * ADDRESS_BURST):
        tries.count(f"somebody-{number}", "192.0.2.1")
        tries.succeeded(f"somebody-{number}", "192.0.2.1")
    # Whoever has a password of their own gets no tries for those of others by it.
    assert sum(admitted(tries, f"victim-{number}", ["192.0.2.1"]) for number in range(90)) == ADDRESS_BURST


def test_full_memory_gives_nobody_more_tries() -> None:
    clock = Clock()
    tries = Tries(clock_ns=clock, max_subjects=4)
    assert admitted(tries, "ada", addresses(1)) == 1
    # Others fill the memory of names and of addresses, then share one place.
    flood = sum(
        admitted(tries, f"somebody-{number}", [address]) for number, address in enumerate(addresses(5000)[1:], start=1)
    )
    assert flood <= 4 * ADDRESS_BURST + 4 * NAME_BURST
    assert tries.subjects <= 2 * 5
    # Who was there before is still counted alone.
    assert admitted(tries, "ada", ["10.0.0.0"] * 50) == NAME_BURST - 1
    clock.now_ns += 3600 * SECOND
    assert admitted(tries, "linus", ["198.51.100.7"]) == 1


@given(st.lists(st.tuples(st.integers(0, 90), st.sampled_from("abc")), max_size=200))
def test_in_no_stretch_of_time_are_there_more_than_promised(moves: list[tuple[int, str]]) -> None:
    clock = Clock()
    tries = Tries(clock_ns=clock, max_subjects=3)
    taken: dict[str, list[int]] = {}
    for number, (wait_s, name) in enumerate(moves):
        clock.now_ns += wait_s * SECOND
        try:
            tries.count(name, f"10.0.{number >> 8}.{number & 255}")
        except RateLimited:
            continue
        taken.setdefault(name, []).append(clock.now_ns)
    for times in taken.values():
        for first in range(len(times)):
            for last in range(first, len(times)):
                seconds = (times[last] - times[first]) // SECOND
                assert last - first + 1 <= NAME_BURST + seconds // NAME_PAUSE_S + 1
