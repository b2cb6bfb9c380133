"""Every deliberate bug can still be put into the code, and breaks a promise that is named."""

from __future__ import annotations

import pytest

from tests.proof.mutants import Mutant, check_applies, mutants


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_a_mutant_still_applies(mutant: Mutant) -> None:
    check_applies(mutant)
    assert mutant.breaks
    assert mutant.caught_by


def test_there_are_enough_mutants() -> None:
    assert len(mutants()) >= 30
