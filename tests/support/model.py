"""What the ledger must do, as a few dictionaries, and the steps that drive the ledger and the model together."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from omixa.billing import ledger
from omixa.billing.ledger import HOLD_MARGIN_MS, Balance
from omixa.domain.ids import new_id
from omixa.domain.images import Usage
from omixa.errors import Conflict, InsufficientFunds, InvalidRequest, SettlementUnavailable
from omixa.gateway.settlement import NodeIdentity
from omixa.storage.database import Transaction
from omixa.usage import records
from omixa.usage.records import StartedAttempt
from tests.support.ledger import (
    DEADLINE_MS,
    DirectLedger,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    adjust,
    capture,
    failed,
    hold,
    refund,
    release,
    succeeded,
)
from tests.support.places import REFUSED


@dataclass
class Held:
    """A request in progress, and the call that is open for it."""

    id: str
    amount: int
    epoch: int
    call: StartedAttempt


@dataclass
class Walk:
    """A ledger and its model. Every step does the same to both and says what the ledger must answer."""

    ledger: DiskLedger | DirectLedger
    posted: int
    held: list[Held] = field(default_factory=list)
    ended: list[Held] = field(default_factory=list)
    charges: dict[str, int] = field(default_factory=dict)
    # What each captured request costs after re-ratings, and what of that was refunded.
    paid: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)

    def hold(self, amount: int, calls: int = 1) -> None:
        request_id = new_id("req")
        started = [a_call(request_id, n + 1) for n in range(calls)]

        def operation(tx: Transaction) -> None:
            hold(tx, a_hold(self.ledger.customer, request_id, amount, self.ledger.node))
            records.start_attempts(tx, started)

        if amount > self.balance.available:
            with pytest.raises(InsufficientFunds):
                self.ledger.attempt(operation)
            return
        self.ledger.write(operation)
        self.held.append(Held(request_id, amount, self.ledger.node.epoch, started[-1]))
        if calls > 1:
            self.ledger.write(lambda tx: records.end_attempts(tx, [failed(call) for call in started[:-1]]))

    def next_attempt(self, pick: int) -> None:
        request = self.held[pick % len(self.held)]
        following = a_call(request.id, request.call.n + 1)

        def operation(tx: Transaction) -> None:
            ledger.require_owned(tx, request.id, request.epoch)
            records.end_attempts(tx, [failed(request.call)])
            records.start_attempts(tx, [following])

        self.ledger.write(operation)
        request.call = following

    def capture(self, pick: int, usage: Usage) -> None:
        request = self.held.pop(pick % len(self.held))
        record = a_record(self.ledger.customer, request.id, usage, request.amount)
        self.ledger.write(lambda tx: capture(tx, record, request.epoch, [succeeded(request.call, usage)]))
        self.posted -= record.amount_micro_usd
        self.charges[request.id] = self.paid[request.id] = record.amount_micro_usd
        self.refunded[request.id] = 0
        self.ended.append(request)

    def charge_too_much(self, pick: int) -> None:
        request = self.held[pick % len(self.held)]
        record = a_record(
            self.ledger.customer, request.id, Usage(output_image_tokens=10**6), request.amount * 2 + 10**6
        )
        with pytest.raises(REFUSED, match="charge_within_hold"):
            self.ledger.attempt(lambda tx: capture(tx, record, request.epoch))

    def capture_again(self, pick: int) -> None:
        """Settle a request that has ended: nothing may happen."""
        request = self.ended[pick % len(self.ended)]
        record = a_record(self.ledger.customer, request.id, Usage(output_image_tokens=1), request.amount)
        with pytest.raises(SettlementUnavailable):
            self.ledger.attempt(lambda tx: capture(tx, record, request.epoch))

    def release(self, pick: int) -> None:
        request = self.held.pop(pick % len(self.held))

        def operation(tx: Transaction) -> bool:
            records.end_attempts(tx, [failed(request.call)])
            return release(tx, request.id, request.epoch, "provider_error")

        assert self.ledger.write(operation)
        self.ended.append(request)

    def release_again(self, pick: int) -> None:
        request = self.ended[pick % len(self.ended)]
        assert not self.ledger.write(lambda tx: release(tx, request.id, request.epoch, "provider_error"))

    def settle_for_another_epoch(self, pick: int) -> None:
        """Try to settle what another epoch of the node holds."""
        request = self.held[pick % len(self.held)]
        record = a_record(self.ledger.customer, request.id, Usage(output_image_tokens=1), request.amount)
        epoch = request.epoch + (1 if pick % 2 else -1)
        with pytest.raises(SettlementUnavailable):
            self.ledger.attempt(lambda tx: capture(tx, record, epoch))
        assert not self.ledger.write(lambda tx: release(tx, request.id, epoch, "x"))

    def grant(self, amount: int) -> None:
        customer = self.ledger.customer
        self.ledger.write(
            lambda tx: ledger.grant(
                tx, account_id=customer.account_id, mode=customer.mode, amount_micro_usd=amount, reason="test"
            )
        )
        self.posted += amount

    def refund(self, pick: int, amount: int) -> None:
        request_id = list(self.charges)[pick % len(self.charges)]
        left = min(self.charges[request_id], self.paid[request_id]) - self.refunded[request_id]
        if not self.charges[request_id]:
            with pytest.raises(InvalidRequest):
                self.ledger.attempt(lambda tx: refund(tx, request_id, amount))
            return
        if amount > left:
            with pytest.raises(Conflict):
                self.ledger.attempt(lambda tx: refund(tx, request_id, amount))
            return
        key = new_id("key")
        for _ in range(2):
            made = self.ledger.write(lambda tx: refund(tx, request_id, amount, key))
        assert made.repeated
        self.refunded[request_id] += amount
        self.posted += amount

    def rerate(self, pick: int, amount: int) -> None:
        """Make a request cost another amount, twice under the same reference."""
        request_id = list(self.charges)[pick % len(self.charges)]
        difference = amount - self.paid[request_id]
        expected = "posted" if difference else "unchanged"
        if difference and amount < self.refunded[request_id]:
            expected = "refunded"
        elif difference > self.balance.available:
            expected = "uncovered"
        reference = new_id("ref")
        assert self.ledger.write(lambda tx: adjust(tx, request_id, amount, reference)).verdict == expected
        if expected == "posted":
            assert self.ledger.write(lambda tx: adjust(tx, request_id, amount + 1, reference)).verdict == "repeated"
            self.paid[request_id] = amount
            self.posted -= difference

    def restart(self) -> NodeIdentity:
        node = self.ledger.restart()
        self.lose_all()
        return node

    def reopen(self) -> None:
        self.ledger.reopen()
        self.lose_all()

    def wait_past_every_deadline(self) -> None:
        """Let the owners sleep for too long, and the sweeper find their holds."""
        self.ledger.clock.now_ms += DEADLINE_MS + HOLD_MARGIN_MS + 1
        self.ledger.sweep()
        self.lose_all()

    def lose_all(self) -> None:
        self.ended += self.held
        self.held = []

    @property
    def balance(self) -> Balance:
        """What the model says."""
        return Balance(self.posted, sum(request.amount for request in self.held))

    def check(self) -> None:
        found = self.ledger.balance()
        assert found == self.balance, f"the ledger says {found}, the model {self.balance}"

    def check_all(self) -> None:
        self.check()
        findings = self.ledger.verify().findings
        assert not findings, findings


@dataclass(frozen=True)
class Step:
    """What may happen, how often compared with others, and when it can."""

    weight: float
    do: Callable[[Walk, random.Random, int], object]
    possible: Callable[[Walk], object] = lambda walk: True


def _some_usage(chance: random.Random) -> Usage:
    return Usage(chance.randrange(100), chance.randrange(1057), chance.randrange(1100), 1, chance.random() < 0.1)


def _has_held(walk: Walk) -> object:
    return walk.held


def _has_charges(walk: Walk) -> object:
    return walk.charges


def _has_ended(walk: Walk) -> object:
    return walk.ended


# Grants bring a little less than requests would spend, so that every third hold finds too little.
STEPS = (
    Step(30, lambda walk, chance, pick: walk.hold(chance.randrange(60_000), chance.choice((1, 1, 1, 2, 3)))),
    Step(8, lambda walk, chance, pick: walk.grant(chance.randrange(1, 50_000))),
    # These end everything that is held, and to open a database takes as long as a hundred other steps.
    Step(0.5, lambda walk, chance, pick: walk.restart()),
    Step(0.5, lambda walk, chance, pick: walk.wait_past_every_deadline()),
    Step(0.1, lambda walk, chance, pick: walk.reopen()),
    Step(25, lambda walk, chance, pick: walk.capture(pick, _some_usage(chance)), _has_held),
    Step(8, lambda walk, chance, pick: walk.release(pick), _has_held),
    Step(5, lambda walk, chance, pick: walk.next_attempt(pick), _has_held),
    Step(3, lambda walk, chance, pick: walk.charge_too_much(pick), _has_held),
    Step(3, lambda walk, chance, pick: walk.settle_for_another_epoch(pick), _has_held),
    Step(4, lambda walk, chance, pick: walk.refund(pick, chance.randrange(1, 40_000)), _has_charges),
    Step(4, lambda walk, chance, pick: walk.rerate(pick, chance.randrange(60_000)), _has_charges),
    Step(3, lambda walk, chance, pick: walk.capture_again(pick), _has_ended),
    Step(3, lambda walk, chance, pick: walk.release_again(pick), _has_ended),
)
_UP_TO = tuple(itertools.accumulate(step.weight for step in STEPS))


def random_step(walk: Walk, chance: random.Random) -> None:
    """Do one of the steps that are possible now."""
    while True:
        (step,) = chance.choices(STEPS, cum_weights=_UP_TO)
        if step.possible(walk):
            step.do(walk, chance, chance.randrange(1_000))
            return
