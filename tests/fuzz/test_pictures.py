"""A small share of the fuzzing, with a new seed each time, which a failure names: all of it is `tests.fuzz.pictures`."""

from __future__ import annotations

import random

from omixa.imaging.inspect import look
from tests.fuzz.pictures import MAX_GROWTH_BYTES, mutated, run
from tests.fuzz.seeds import seeds


def test_broken_pictures_are_described_or_refused() -> None:
    found = run(4_000, random.SystemRandom().randrange(2**32), decode_every=40)
    assert sum(found.outcomes.values()) == 4_000
    assert found.growth_bytes <= MAX_GROWTH_BYTES
    # Otherwise the inputs are all so broken that nothing behind the first look is tried.
    assert {"accepted", "needs decoding", "truncated_image", "invalid_image", "animated_image"} <= set(found.outcomes)


def test_the_same_seed_is_the_same_damage() -> None:
    one, other = ([mutated(chance, seeds()) for _ in range(50)] for chance in (random.Random(5), random.Random(5)))
    assert one == other
    assert len(set(one)) > 40


def test_what_is_begun_with_is_whole() -> None:
    assert len(seeds()) >= 30
    for name, data in seeds().items():
        if "animated" not in name:
            assert look(data)[1].width > 0, name
