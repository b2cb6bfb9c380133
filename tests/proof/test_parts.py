"""A small share of every part of the proof, by another seed each time."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from tests.proof.part import Part, Task
from tests.proof.parts import PARTS

log = logging.getLogger(__name__)


@pytest.mark.parametrize("part", [part for part in PARTS if part.small], ids=lambda part: part.name)
def test_a_small_share(part: Part, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    seed = random.SystemRandom().randrange(2**32)
    # Shown when the test fails.
    log.warning("python -m tests.proof %s --size %d --seed %d", part.name, part.small, seed)
    cluster = request.getfixturevalue("cluster") if part.needs_postgres else None
    done: list[int] = []
    result = part.run(Task(part.small, seed, tmp_path, done.append, cluster))
    assert any(result.figures.values())
    assert done
