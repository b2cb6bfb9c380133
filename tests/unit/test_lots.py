"""Credit in lots: burn order, pins, expiry, and a model of all of it that random operations are compared with."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from omixa.billing import ledger, lots
from omixa.billing.ledger import Balance, Capture, Posting, Release
from omixa.billing.lots import REFUND_GRACE_MS, Lot, LotKind, LotTerms
from omixa.domain.ids import new_id
from omixa.errors import InsufficientFunds, ReferenceUsed
from omixa.storage.database import Transaction
from omixa.storage.tables import grant_lot
from omixa.usage import records
from omixa.usage.records import StartedAttempt
from tests.support.ledger import ONE_PICTURE as USAGE
from tests.support.ledger import (
    DirectLedger,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    adjust,
    disk_ledger,
    failed,
    refund,
    succeeded,
)
from tests.support.places import START_MS, Place

log = logging.getLogger(__name__)

PRICE = 33_900
DAY_MS = 86_400_000

_lot_of_transfer = select(grant_lot.c.id).where(grant_lot.c.transfer_id == bindparam("transfer_id"))


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place) as opened:
        yield opened
        assert opened.verify().findings == ()


def grant(disk: DiskLedger, amount: int, *, reference: str | None = None, **terms: object) -> None:
    customer = disk.customer
    disk.write(
        lambda tx: ledger.grant(
            tx,
            account_id=customer.account_id,
            mode=customer.mode,
            amount_micro_usd=amount,
            reason="test",
            terms=LotTerms(**terms),  # type: ignore[arg-type]
            reference=reference,
        )
    )


def lots_of(disk: DiskLedger) -> list[Lot]:
    return disk.read(lambda tx: lots.list_lots(tx, disk.customer.workspace_id, disk.customer.mode))


def left(disk: DiskLedger) -> list[tuple[int, int, int]]:
    """Return what each open lot was, has remaining and has pinned, in burn order."""
    return [(lot.amount, lot.remaining, lot.pinned) for lot in lots_of(disk)]


def release(disk: DiskLedger, request_id: str, call: StartedAttempt | None = None) -> None:
    disk.call(disk.settlement.release(request_id, "provider_timeout", [failed(call)] if call else []))


# ------------------------------------------------------------------------------------------------------------- burn order


def test_credit_burns_by_priority_then_expiry_then_promotions_first(disk: DiskLedger) -> None:
    soon, late = START_MS + DAY_MS, START_MS + 2 * DAY_MS
    for amount, terms in {
        7: LotTerms("paid"),
        6: LotTerms("promo"),
        5: LotTerms("paid", 0, late),
        4: LotTerms("promo", 0, late),
        3: LotTerms("paid", 0, soon),
        1: LotTerms("paid", -1),
        2: LotTerms("promo", -1, late),
        9: LotTerms("promo", 1, soon),
    }.items():
        grant(disk, amount, **{field.name: getattr(terms, field.name) for field in dataclasses.fields(terms)})
    assert [lot.amount for lot in lots_of(disk)] == [2, 1, 3, 4, 5, 6, 7, 9]


def test_a_hold_pins_one_lot_where_one_is_enough(disk: DiskLedger) -> None:
    grant(disk, 100_000)
    grant(disk, 50_000, kind="promo")
    request_id, call = disk.hold(40_000)
    assert left(disk) == [(50_000, 50_000, 40_000), (100_000, 100_000, 0)]
    release(disk, request_id, call)
    assert left(disk) == [(50_000, 50_000, 0), (100_000, 100_000, 0)]


def test_a_hold_that_no_single_lot_covers_pins_several_and_its_charge_burns_them_in_order(disk: DiskLedger) -> None:
    grant(disk, 20_000, priority=1)
    grant(disk, 10_000, priority=2)
    grant(disk, 100_000, priority=3)
    request_id, call = disk.hold(50_000)
    assert left(disk) == [(20_000, 20_000, 20_000), (10_000, 10_000, 10_000), (100_000, 100_000, 20_000)]
    record = a_record(disk.customer, request_id, USAGE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert record.amount_micro_usd == PRICE
    assert left(disk) == [(100_000, 96_100, 0)]


def test_requests_of_one_moment_share_lots_in_the_order_in_which_they_came(disk: DiskLedger) -> None:
    grant(disk, 25, kind="promo")
    grant(disk, 1_000)
    ids = [new_id("req") for _ in range(3)]
    holds = [a_hold(disk.customer, identifier, 10, disk.node) for identifier in ids]
    assert disk.write(lambda tx: ledger.hold(tx, holds)) == [None] * 3
    assert left(disk) == [(25, 25, 25), (1_000, 1_000, 5)]
    disk.write(lambda tx: ledger.capture(tx, [Capture(ids[2], disk.node.epoch, 0, a_result(ids[2]))]))
    assert left(disk) == [(25, 25, 20), (1_000, 1_000, 0)]
    for request_id in ids[:2]:
        release(disk, request_id)
    # A capture without a usage record is not sound, so it gets one of zero.
    free = dataclasses.replace(a_record(disk.customer, ids[2], USAGE, 0), usages=(), exact_pico_usd=0)
    disk.write(lambda tx: records.record_usage(tx, [free]))


def test_an_account_of_very_many_small_lots_can_be_held_as_a_whole(disk: DiskLedger) -> None:
    def grant_many(tx: Transaction) -> None:
        customer = disk.customer
        for _ in range(300):
            ledger.grant(
                tx, account_id=customer.account_id, mode=customer.mode, amount_micro_usd=3, reason="small change"
            )

    disk.write(grant_many)
    request_id, call = disk.hold(899)
    assert left(disk) == [(3, 3, 3)] * 299 + [(3, 3, 2)]
    assert disk.verify().findings == ()
    release(disk, request_id, call)


def test_what_is_taken_otherwise_burns_what_nothing_has_pinned(disk: DiskLedger) -> None:
    grant(disk, 30, kind="promo")
    grant(disk, 100)
    request_id, call = disk.hold(20)
    account, cash = disk.customer.account_id, ledger.system_account("live", "cash")
    disk.write(lambda tx: ledger.post(tx, account, [Posting(account, cash, 25, "withdrawal")]))
    assert left(disk) == [(30, 20, 20), (100, 85, 0)]
    release(disk, request_id, call)


# ----------------------------------------------------------------------------------------------------------------- expiry


def test_what_nothing_has_pinned_expires_at_its_time(disk: DiskLedger) -> None:
    grant(disk, 1_000, kind="promo", expires_at_ms=START_MS + DAY_MS)
    grant(disk, 50)
    disk.clock.now_ms += DAY_MS - 1
    disk.sweep()
    assert disk.balance() == Balance(1_050, 0)
    disk.clock.now_ms += 1
    disk.sweep()
    assert disk.balance() == Balance(50, 0)
    assert left(disk) == [(50, 50, 0)]


def test_a_hold_never_takes_credit_whose_time_has_come(disk: DiskLedger) -> None:
    grant(disk, 1_000, expires_at_ms=START_MS + DAY_MS)
    grant(disk, 50)
    disk.clock.now_ms += DAY_MS
    with pytest.raises(InsufficientFunds, match=r"has \$0\.000050 available"):
        disk.hold(51)
    request_id, call = disk.hold(50)
    assert disk.balance() == Balance(50, 50)
    release(disk, request_id, call)


def test_what_is_pinned_is_spent_past_its_time_and_the_rest_expires_with_the_settlement(disk: DiskLedger) -> None:
    grant(disk, 100_000, expires_at_ms=START_MS + 1_000)
    charged, call = disk.hold(50_000)
    released, other_call = disk.hold(20_000)
    disk.clock.now_ms += 1_000
    disk.sweep()
    assert disk.balance() == Balance(70_000, 70_000)
    record = a_record(disk.customer, charged, USAGE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(charged), [succeeded(call)]))
    assert disk.balance() == Balance(20_000, 20_000)
    release(disk, released, other_call)
    assert disk.balance() == Balance(0, 0)
    assert left(disk) == []


# ---------------------------------------------------------------------------------------------------------------- refunds


def test_a_refund_comes_back_on_the_terms_of_what_was_burned_last_with_a_grace(disk: DiskLedger) -> None:
    expires = START_MS + 100 * DAY_MS
    grant(disk, 10_000, kind="promo", expires_at_ms=START_MS + DAY_MS)
    grant(disk, 50_000, priority=2, expires_at_ms=expires)
    request_id = disk.settle(40_000)
    assert left(disk) == [(50_000, 60_000 - PRICE, 0)]
    disk.clock.now_ms += 2 * DAY_MS
    disk.write(lambda tx: refund(tx, request_id, 20_000))
    disk.write(lambda tx: refund(tx, request_id, None))
    back = {(lot.amount, lot.terms) for lot in lots_of(disk) if lot.amount != 50_000}
    promotion = LotTerms("promo", 0, START_MS + 2 * DAY_MS + REFUND_GRACE_MS)
    paid = LotTerms("paid", 2, expires + REFUND_GRACE_MS)
    assert back == {(20_000, paid), (PRICE - 30_000, paid), (10_000, promotion)}
    assert disk.balance() == Balance(60_000, 0)


def test_what_an_adjustment_gave_back_is_not_given_back_again(disk: DiskLedger) -> None:
    grant(disk, PRICE, kind="promo", expires_at_ms=START_MS + DAY_MS)
    request_id = disk.settle(PRICE)
    disk.write(lambda tx: adjust(tx, request_id, PRICE - 900))
    disk.write(lambda tx: refund(tx, request_id, None))
    terms = LotTerms("promo", 0, START_MS + DAY_MS + REFUND_GRACE_MS)
    assert [(lot.amount, lot.terms) for lot in lots_of(disk)] == [(900, terms), (PRICE - 900, terms)]


def test_an_adjustment_burns_what_nothing_has_pinned(disk: DiskLedger) -> None:
    grant(disk, 40_000)
    request_id = disk.settle(PRICE)
    other, call = disk.hold(6_000)
    disk.write(lambda tx: adjust(tx, request_id, PRICE + 100))
    assert left(disk) == [(40_000, 6_000, 6_000)]
    release(disk, other, call)


# ------------------------------------------------------------------------------------------------------------- references


def test_a_grant_with_a_reference_is_booked_once(disk: DiskLedger) -> None:
    for _ in range(3):
        grant(disk, 500, reference="invoice-7")
    assert disk.balance() == Balance(500, 0)
    grant(disk, 500, reference="invoice-8")
    assert disk.balance() == Balance(1_000, 0)


@pytest.mark.parametrize("terms", [{"kind": "promo"}, {"priority": 1}, {"expires_at_ms": START_MS + 1}])
def test_a_reference_cannot_stand_for_two_different_grants(disk: DiskLedger, terms: dict[str, object]) -> None:
    grant(disk, 500, reference="invoice-7")
    with pytest.raises(ReferenceUsed, match="invoice-7"):
        grant(disk, 500, reference="invoice-7", **terms)
    with pytest.raises(ReferenceUsed, match=r"\$0\.000500"):
        grant(disk, 501, reference="invoice-7")
    assert disk.balance() == Balance(500, 0)


# ------------------------------------------------------------------------------------------------------------------ model


@dataclasses.dataclass
class ModelLot:
    terms: LotTerms
    id: str
    remaining: int
    pins: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def free(self) -> int:
        return self.remaining - sum(self.pins.values())

    def burns_before(self) -> tuple[object, ...]:
        expires = self.terms.expires_at_ms
        return self.terms.priority, expires is None, expires or 0, self.terms.kind == "paid", self.id


class Model:
    """What lots must do, one micro-USD at a time where that is simplest."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.lots: list[ModelLot] = []
        self.held: dict[str, int] = {}

    def grant(self, lot_id: str, amount: int, terms: LotTerms) -> None:
        self.lots.append(ModelLot(terms, lot_id, amount))

    def expire(self) -> None:
        for lot in self.lots:
            if lot.terms.expires_at_ms is not None and lot.terms.expires_at_ms <= self.now_ms:
                lot.remaining -= lot.free

    def in_order(self) -> list[ModelLot]:
        return sorted(self.lots, key=ModelLot.burns_before)

    def hold(self, request_id: str, amount: int) -> bool:
        self.expire()
        if amount > sum(lot.free for lot in self.lots):
            return False
        self.held[request_id] = amount
        for lot in self.in_order():
            if taken := min(amount, lot.free):
                lot.pins[request_id] = taken
                amount -= taken
        return True

    def settle(self, request_id: str, charge: int) -> None:
        del self.held[request_id]
        touched = [lot for lot in self.in_order() if request_id in lot.pins]
        for lot in touched:
            burned = min(charge, lot.pins.pop(request_id))
            lot.remaining -= burned
            charge -= burned
            expires = lot.terms.expires_at_ms
            if expires is not None and expires <= self.now_ms:
                lot.remaining -= lot.free

    def state(self) -> list[tuple[int, int]]:
        return [(lot.remaining, sum(lot.pins.values())) for lot in self.in_order() if lot.remaining]

    def balance(self) -> Balance:
        return Balance(sum(lot.remaining for lot in self.lots), sum(self.held.values()))


def random_terms(chance: random.Random, now_ms: int) -> LotTerms:
    kinds: tuple[LotKind, ...] = ("paid", "promo")
    expires = now_ms + chance.randrange(1, 20_000) if chance.random() < 0.6 else None
    return LotTerms(chance.choice(kinds), chance.randrange(-2, 3), expires)


def test_random_operations_leave_what_the_model_says(tmp_path: Path, place: Place) -> None:
    seed = random.SystemRandom().randrange(2**32)
    # Shown when the test fails.
    log.warning("seed %d", seed)
    chance = random.Random(seed)
    direct = DirectLedger(tmp_path, place)
    model = Model(direct.clock.now_ms)
    customer = direct.customer
    for number in range(600):
        direct.clock.now_ms += chance.randrange(300)
        model.now_ms = direct.clock.now_ms
        step = chance.random()
        if step < 0.2:
            amount, terms = chance.randrange(1, 60_000), random_terms(chance, model.now_ms)
            model.grant(grant_directly(direct, amount, terms), amount, terms)
        elif step < 0.65 or not model.held:
            hold_several(direct, model, [chance.randrange(40_000) for _ in range(chance.randint(1, 4))])
        elif step < 0.85:
            capture_one(direct, model, chance.choice(list(model.held)))
        elif step < 0.97:
            request_id = chance.choice(list(model.held))
            direct.write(
                lambda tx, request_id=request_id: ledger.release(tx, [Release(request_id, direct.node.epoch, "x")])
            )
            model.settle(request_id, 0)
        else:
            direct.write(lambda tx: ledger.expire_lots(tx, customer.account_id))
            model.expire()
        assert direct.balance() == model.balance()
        state = direct.write(lambda tx: lots.list_lots(tx, customer.workspace_id, customer.mode))
        assert [(lot.remaining, lot.pinned) for lot in state] == model.state()
        if number % 100 == 0:
            assert direct.verify().findings == ()
    assert direct.verify().findings == ()
    direct.close()


def grant_directly(direct: DirectLedger, amount: int, terms: LotTerms) -> str:
    """Grant credit and return its lot: of equal lots the one with the smaller id burns first."""
    customer = direct.customer

    def operation(tx: Transaction) -> str:
        granted = ledger.grant(
            tx,
            account_id=customer.account_id,
            mode=customer.mode,
            amount_micro_usd=amount,
            reason="test",
            terms=terms,
        )
        row = tx.first(_lot_of_transfer, transfer_id=granted.transfer_id)
        assert row is not None
        return str(row["id"])

    return direct.write(operation)


def hold_several(direct: DirectLedger, model: Model, amounts: list[int]) -> None:
    wanted = [a_hold(direct.customer, new_id("req"), amount, direct.node) for amount in amounts]
    verdicts = direct.write(lambda tx: ledger.hold(tx, wanted))
    admitted = [model.hold(one.request_id, one.amount_micro_usd) for one in wanted]
    assert [verdict is None for verdict in verdicts] == admitted
    assert all(verdict is None or isinstance(verdict, InsufficientFunds) for verdict in verdicts)


def capture_one(direct: DirectLedger, model: Model, request_id: str) -> None:
    record = a_record(direct.customer, request_id, USAGE, model.held[request_id])
    call = a_call(request_id)

    def operation(tx: Transaction) -> None:
        records.start_attempts(tx, [call])
        wanted = Capture(request_id, direct.node.epoch, record.amount_micro_usd, a_result(request_id))
        assert ledger.capture(tx, [wanted]) == [None]
        records.end_attempts(tx, [succeeded(call)])
        records.record_usage(tx, [record])

    direct.write(operation)
    model.settle(request_id, record.amount_micro_usd)
