"""The ledger against a model of it: whatever happens in whatever order, balances agree and every invariant holds."""

from __future__ import annotations

import logging
import random
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omixa.domain.images import Usage
from tests.support.ledger import DirectLedger, DiskLedger
from tests.support.model import Walk, random_step
from tests.support.places import Place

log = logging.getLogger(__name__)

CREDIT = 100_000
# Below this some holds are refused, and it is time for a grant.
POOR = 80_000
# One picture costs up to about 35,000 micro-USD, so that holds are sometimes too small for the price and charges are capped.
AMOUNTS = st.integers(0, 60_000)
GRANTS = st.integers(1, 150_000)
PICKS = st.integers(0, 100)
USAGES = st.builds(Usage, st.integers(0, 100), st.integers(0, 1056), st.integers(0, 1100), st.just(1), st.booleans())

holding = precondition(lambda machine: machine.walk.held)
charged = precondition(lambda machine: machine.walk.charges)
ended = precondition(lambda machine: machine.walk.ended)


class LedgerMachine(RuleBasedStateMachine):
    walk: Walk

    @initialize()
    def start(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.walk = Walk(DirectLedger(Path(self.directory.name), credit=CREDIT), CREDIT)

    @rule(amount=AMOUNTS, calls=st.integers(1, 3))
    def hold(self, amount: int, calls: int) -> None:
        self.walk.hold(amount, calls)

    @precondition(lambda machine: machine.walk.balance.available < POOR)
    @rule(amount=GRANTS)
    def grant(self, amount: int) -> None:
        self.walk.grant(amount)

    @holding
    @rule(pick=PICKS)
    def next_attempt(self, pick: int) -> None:
        self.walk.next_attempt(pick)

    @holding
    @rule(pick=PICKS, usage=USAGES)
    def capture(self, pick: int, usage: Usage) -> None:
        self.walk.capture(pick, usage)

    @holding
    @rule(pick=PICKS)
    def charge_too_much(self, pick: int) -> None:
        self.walk.charge_too_much(pick)

    @holding
    @rule(pick=PICKS)
    def settle_for_another_epoch(self, pick: int) -> None:
        self.walk.settle_for_another_epoch(pick)

    @holding
    @rule(pick=PICKS)
    def release(self, pick: int) -> None:
        self.walk.release(pick)

    @ended
    @rule(pick=PICKS)
    def capture_again(self, pick: int) -> None:
        self.walk.capture_again(pick)

    @ended
    @rule(pick=PICKS)
    def release_again(self, pick: int) -> None:
        self.walk.release_again(pick)

    @charged
    @rule(pick=PICKS, amount=st.integers(1, 40_000))
    def refund(self, pick: int, amount: int) -> None:
        self.walk.refund(pick, amount)

    @charged
    @rule(pick=PICKS, amount=st.integers(0, 60_000))
    def rerate(self, pick: int, amount: int) -> None:
        self.walk.rerate(pick, amount)

    @holding
    @rule()
    def restart(self) -> None:
        self.walk.restart()

    @holding
    @rule()
    def wait_past_every_deadline(self) -> None:
        self.walk.wait_past_every_deadline()

    @holding
    @rule()
    def reopen(self) -> None:
        self.walk.reopen()

    @invariant()
    def balances_agree(self) -> None:
        self.walk.check()

    def teardown(self) -> None:
        if hasattr(self, "walk"):
            try:
                self.walk.check_all()
            finally:
                self.walk.ledger.close()
                self.directory.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_random_operations_through_the_writer(tmp_path: Path, place: Place) -> None:
    """With the threads and groups of a server; `tests/proof/stateful.py` does many more without them."""
    seed = random.SystemRandom().randrange(2**32)
    # Shown when the test fails.
    log.warning("seed %d", seed)
    chance = random.Random(seed)
    walk = Walk(DiskLedger(tmp_path, place, credit=CREDIT), CREDIT)
    for _ in range(300):
        random_step(walk, chance)
        walk.check()
    walk.check_all()
    assert walk.charges
    walk.ledger.close()
