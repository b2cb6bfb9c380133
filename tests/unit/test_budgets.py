"""Budgets on a real database: nobody passes them, whoever asks at the same moment, and their counters are the requests' own."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import bindparam, func, select

from omixa.access import store
from omixa.billing import budgets
from omixa.billing.budgets import PERIODS, Budget, Period, Subject
from omixa.billing.ledger import Balance
from omixa.domain.ids import first_id, new_id
from omixa.domain.images import Usage
from omixa.domain.times import DAY_MS, start_of
from omixa.errors import BudgetExceeded, InsufficientFunds, Unauthenticated
from omixa.storage.tables import attempt, budget_window, request
from tests.support import processes
from tests.support.ledger import (
    ONE_PICTURE,
    Customer,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    disk_ledger,
    failed,
    refund,
    succeeded,
)
from tests.support.places import Place

log = logging.getLogger(__name__)

CREDIT = 100_000_000
PRICE = 33_900
HOUR_MS = 3_600_000
PICTURES = (ONE_PICTURE, Usage(output_image_tokens=300, images=1), Usage())

_rows = select(func.count().label("count")).select_from(request)
_attempts = select(func.count().label("count")).select_from(attempt)
_windows = select(budget_window).where(budget_window.c.subject_id == bindparam("subject_id"))


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify().findings == ()


def key(disk: DiskLedger) -> Subject:
    return Subject(disk.customer.account_id, disk.customer.key_id)


def workspace(disk: DiskLedger) -> Subject:
    return Subject(disk.customer.account_id)


def limit(disk: DiskLedger, subject: Subject, period: Period, amount: int | None) -> int | None:
    return disk.write(lambda tx: budgets.set_limit(tx, subject, period, amount))


def now(disk: DiskLedger, subject: Subject | None = None) -> Budget:
    """Return the only budget there is, or that of a subject."""
    found = disk.read(lambda tx: budgets.list_budgets(tx, disk.customer.account_id))
    (one,) = [one for one in found if subject in {None, one.subject}]
    return one


def counted(one: Budget) -> tuple[int, int]:
    return one.spent_micro_usd, one.held_micro_usd


def second_key(disk: DiskLedger) -> Customer:
    """Add another key to the customer's workspace."""
    customer = disk.customer
    key_id = disk.write(
        lambda tx: store.insert_key(
            tx,
            workspace_id=customer.workspace_id,
            mode=customer.mode,
            name="",
            digest=new_id("digest"),
            last4="abcd",
            models=None,
        )
    )
    return replace(customer, key_id=key_id)


def hold_together(disk: DiskLedger, customers: list[Customer], amount: int) -> list[BaseException | None]:
    """Hold for a request of each customer at the same moment."""

    async def hold_all() -> list[BaseException | None]:
        asked = []
        for customer in customers:
            request_id = new_id("req")
            asked.append(
                disk.settlement.authorise(a_hold(customer, request_id, amount, disk.node), [a_call(request_id)])
            )
        return await asyncio.gather(*asked, return_exceptions=True)

    return disk.call(hold_all())


# ------------------------------------------------------------------------------------------------------------------ holds


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("subject", [key, workspace])
@pytest.mark.parametrize("admitted", [0, 1, 37, 200])
def test_of_200_concurrent_holds_exactly_those_are_admitted_that_the_budget_covers(
    disk: DiskLedger, subject: object, period: Period, admitted: int
) -> None:
    whose = key(disk) if subject is key else workspace(disk)
    limit(disk, whose, period, admitted * 1_000 + 999)
    outcomes = hold_together(disk, [disk.customer] * 200, 1_000)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) == 200 - admitted
    assert all(isinstance(outcome, BudgetExceeded) for outcome in refused)
    assert counted(now(disk)) == (0, admitted * 1_000)
    assert disk.balance() == Balance(CREDIT, admitted * 1_000)
    for table in (_rows, _attempts):
        (row,) = disk.read(lambda tx, table=table: tx.all(table))
        assert row["count"] == admitted, "a refused request leaves nothing"


def test_two_processes_cannot_overshoot_a_budget_together(tmp_path: Path, place: Place) -> None:
    context = processes.context()
    with disk_ledger(tmp_path, place, credit=CREDIT) as disk:
        limit(disk, key(disk), "month", 60_500)
        pipes = [context.Pipe() for _ in range(2)]
        children = [
            context.Process(target=processes.hold_many, args=(place, disk.customer, 100, 1_000, theirs))
            for _, theirs in pipes
        ]
        for child, (_, theirs) in zip(children, pipes, strict=True):
            child.start()
            theirs.close()
        for ours, _ in pipes:
            assert ours.recv() == "ready"
        for ours, _ in pipes:
            ours.send("go")
        admitted = [ours.recv() for ours, _ in pipes]
        for child in children:
            child.join()
        assert sum(admitted) == 60
        assert disk.balance() == Balance(CREDIT, 60_000)
        assert disk.verify().findings == ()


def test_the_last_micro_of_a_budget_can_be_held_and_not_one_more(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 70_000)
    disk.hold(70_000)
    with pytest.raises(
        BudgetExceeded, match=r"daily budget of this key: of \$0.070000, \$0.000000 are spent and \$0.070000"
    ):
        disk.hold(1)
    disk.hold(0)


def test_the_tightest_of_all_budgets_decides_and_nothing_stays_held_of_the_others(disk: DiskLedger) -> None:
    for subject in (key(disk), workspace(disk)):
        for period in PERIODS:
            limit(disk, subject, period, 1_000_000)
    limit(disk, workspace(disk), "month", 10_000)
    with pytest.raises(BudgetExceeded, match="monthly budget of this workspace"):
        disk.hold(10_001)
    found = disk.read(lambda tx: budgets.list_budgets(tx, disk.customer.account_id))
    assert [counted(one) for one in found] == [(0, 0)] * 4
    assert disk.balance() == Balance(CREDIT, 0)
    disk.hold(10_000)
    found = disk.read(lambda tx: budgets.list_budgets(tx, disk.customer.account_id))
    assert [counted(one) for one in found] == [(0, 10_000)] * 4


def test_an_exhausted_key_does_not_stop_its_neighbours(disk: DiskLedger) -> None:
    other = second_key(disk)
    limit(disk, key(disk), "day", 0)
    outcomes = hold_together(disk, [disk.customer, other] * 20, 1_000)
    assert [type(outcome) for outcome in outcomes] == [BudgetExceeded, type(None)] * 20


def test_money_is_short_before_a_budget_is_looked_at(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 1_000)
    with pytest.raises(InsufficientFunds):
        disk.hold(CREDIT + 1)


def test_a_revoked_key_is_told_so(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 0)
    disk.write(lambda tx: store.revoke_key(tx, disk.customer.key_id))
    with pytest.raises(Unauthenticated):
        disk.hold(1_000)


def test_a_key_past_its_last_day_is_told_so(disk: DiskLedger) -> None:
    ends = disk.clock.now_ms + 1_000
    disk.write(lambda tx: store.set_key_expiry(tx, disk.customer.key_id, ends))
    disk.hold(1_000)
    disk.clock.now_ms = ends
    with pytest.raises(Unauthenticated):
        disk.hold(1_000)
    disk.write(lambda tx: store.set_key_expiry(tx, disk.customer.key_id, None))
    disk.hold(1_000)


# ---------------------------------------------------------------------------------------------------------------- settling


def test_a_capture_spends_its_price_and_frees_the_rest(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 50_000 + PRICE)
    disk.settle(50_000)
    assert counted(now(disk)) == (PRICE, 0)
    disk.hold(50_000)
    assert counted(now(disk)) == (PRICE, 50_000)
    with pytest.raises(BudgetExceeded):
        disk.hold(1)


def test_a_release_frees_all(disk: DiskLedger) -> None:
    limit(disk, workspace(disk), "month", 50_000)
    request_id, call = disk.hold(50_000)
    disk.call(disk.settlement.release(request_id, "provider_timeout", [failed(call)]))
    assert counted(now(disk)) == (0, 0)
    disk.hold(50_000)


def test_the_sweeper_frees_what_a_dead_process_held(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 50_000)
    disk.hold(50_000)
    disk.restart()
    assert counted(now(disk)) == (0, 0)


def test_a_refund_is_money_and_not_budget(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 100_000)
    request_id = disk.settle(50_000)
    disk.write(lambda tx: refund(tx, request_id, 1_000))
    assert counted(now(disk)) == (PRICE, 0)


# ----------------------------------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("period", "late", "next_window"),
    [
        ("day", datetime.datetime(2026, 11, 23, 23, 59, 59, 999_000, datetime.UTC), datetime.date(2026, 11, 24)),
        ("month", datetime.datetime(2026, 11, 30, 23, 59, 59, 999_000, datetime.UTC), datetime.date(2026, 12, 1)),
        ("month", datetime.datetime(2026, 12, 31, 23, 59, 59, 999_000, datetime.UTC), datetime.date(2027, 1, 1)),
        ("month", datetime.datetime(2028, 2, 29, 23, 59, 59, 999_000, datetime.UTC), datetime.date(2028, 3, 1)),
    ],
)
def test_a_request_counts_in_the_period_in_which_it_was_held(
    disk: DiskLedger, period: Period, late: datetime.datetime, next_window: datetime.date
) -> None:
    disk.clock.now_ms = int(late.timestamp() * 1000)
    limit(disk, key(disk), period, 50_000)
    request_id, call = disk.hold(50_000)
    assert now(disk).resets_at_ms == start_of(next_window) == disk.clock.now_ms + 1
    disk.clock.now_ms += 1
    assert counted(now(disk)) == (0, 0)
    second, _ = disk.hold(50_000)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert counted(now(disk)) == (0, 50_000), f"{second} alone counts in the new one"
    windows = disk.read(lambda tx: tx.all(_windows, subject_id=disk.customer.key_id))
    assert sorted((row["spent"], row["held"]) for row in windows) == [(0, 50_000), (PRICE, 0)]


def test_a_clock_that_is_set_back_opens_no_second_budget(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 50_000)
    disk.hold(50_000)
    disk.clock.now_ms += DAY_MS
    disk.hold(50_000)
    disk.clock.now_ms -= DAY_MS
    with pytest.raises(BudgetExceeded):
        disk.hold(1)


# ------------------------------------------------------------------------------------------------------------------ setting


def test_a_new_budget_counts_what_its_period_has_seen(disk: DiskLedger) -> None:
    disk.clock.now_ms -= DAY_MS
    disk.settle(50_000)
    disk.clock.now_ms += DAY_MS
    disk.settle(50_000)
    disk.hold(10_000)
    other = second_key(disk)
    assert hold_together(disk, [other], 7_000) == [None]
    limit(disk, key(disk), "day", 100_000)
    limit(disk, workspace(disk), "day", 100_000)
    assert counted(now(disk, key(disk))) == (PRICE, 10_000)
    assert counted(now(disk, workspace(disk))) == (PRICE, 17_000)
    limit(disk, key(disk), "day", None)
    limit(disk, key(disk), "month", 100_000)
    assert counted(now(disk, key(disk))) == (2 * PRICE, 10_000)


def test_requests_in_progress_count_when_a_budget_comes_and_settle_when_it_has_gone(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    assert limit(disk, key(disk), "day", 60_000) is None
    with pytest.raises(BudgetExceeded):
        disk.hold(10_001)
    assert limit(disk, key(disk), "day", None) == 60_000
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert disk.balance() == Balance(CREDIT - PRICE, 0)
    disk.hold(CREDIT - PRICE)


def test_a_limit_below_what_is_spent_admits_nothing_and_a_higher_one_goes_on(disk: DiskLedger) -> None:
    limit(disk, key(disk), "day", 100_000)
    disk.settle(50_000)
    assert limit(disk, key(disk), "day", 10) == 100_000
    assert (now(disk).available, counted(now(disk))) == (0, (PRICE, 0))
    with pytest.raises(BudgetExceeded):
        disk.hold(1)
    limit(disk, key(disk), "day", PRICE + 5)
    disk.hold(5)


# ------------------------------------------------------------------------------------------------------------ verification


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE budget_window SET spent = spent + 1",
        "UPDATE budget_window SET held = held - 1",
        "DELETE FROM budget_window WHERE held > 0",
        "UPDATE budget_window SET starts_at_ms = starts_at_ms + 86400000 WHERE held > 0",
        "UPDATE account SET has_budgets = 0 WHERE held > 0",
        "DELETE FROM budget",
    ],
)
def test_a_changed_counter_is_found(tmp_path: Path, place: Place, change: str) -> None:
    with disk_ledger(tmp_path, place, credit=CREDIT) as disk:
        limit(disk, key(disk), "day", 1_000_000)
        disk.settle(50_000)
        disk.clock.now_ms += DAY_MS
        disk.hold(50_000)
        assert disk.verify().findings == ()
        disk.tamper(change)
        assert {finding.invariant for finding in disk.verify().findings} == {"budgets"}


# --------------------------------------------------------------------------------------------------------- against a model


@dataclass
class Request:
    """What the model knows of a request."""

    id: str
    customer: Customer
    at_ms: int
    held: int
    charged: int = 0


@dataclass
class Model:
    """Budgets as a list of requests that is added up anew for every question."""

    limits: dict[tuple[str, Period], int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def used(self, subject_id: str, period: Period, at_ms: int) -> int:
        return sum(
            one.held + one.charged
            for one in self.requests
            if subject_id in {one.customer.key_id, one.customer.account_id}
            and _label(period, one.at_ms) == _label(period, at_ms)
        )

    def admits(self, customer: Customer, amount: int, at_ms: int) -> bool:
        return all(
            self.used(subject_id, period, at_ms) + amount <= most
            for (subject_id, period), most in self.limits.items()
            if subject_id in {customer.key_id, customer.account_id}
        )

    @property
    def open(self) -> list[Request]:
        return [one for one in self.requests if one.held]


def _label(period: Period, at_ms: int) -> str:
    day = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC).date().isoformat()
    return day if period == "day" else day[:7]


def test_random_holds_captures_releases_and_limits_agree_with_a_model(disk: DiskLedger) -> None:
    seed = random.SystemRandom().randrange(2**32)
    log.warning("seed %d", seed)
    chance, model, numbers = random.Random(seed), Model(), itertools.count()
    customers = [disk.customer, second_key(disk)]
    subjects = [workspace(disk), *(Subject(one.account_id, one.key_id) for one in customers)]
    refused = 0

    def hold() -> None:
        nonlocal refused
        customer, amount = chance.choice(customers), chance.randrange(1, 60_000)
        # Ids begin with their time, and here time goes as the clock of the test does.
        request_id = f"{first_id('req', disk.clock.now_ms)[:-6]}{next(numbers):06d}"
        asked = disk.settlement.authorise(a_hold(customer, request_id, amount, disk.node, 10**12), [])
        if model.admits(customer, amount, disk.clock.now_ms):
            disk.call(asked)
            model.requests.append(Request(request_id, customer, disk.clock.now_ms, amount))
        else:
            with pytest.raises(BudgetExceeded):
                disk.call(asked)
            refused += 1

    def end() -> None:
        if not model.open:
            return
        one, usage = chance.choice(model.open), chance.choice(PICTURES)
        if chance.random() < 0.3:
            disk.call(disk.settlement.release(one.id, "provider_error", []))
        else:
            record = a_record(one.customer, one.id, usage, one.held)
            disk.call(disk.settlement.capture(record, a_result(one.id), []))
            one.charged = record.amount_micro_usd
        one.held = 0

    def set_limit() -> None:
        subject, period = chance.choice(subjects), chance.choice(PERIODS)
        amount = chance.choice([None, chance.randrange(400_000), chance.randrange(2_000_000)])
        assert limit(disk, subject, period, amount) == model.limits.pop((subject.id, period), None)
        if amount is not None:
            model.limits[subject.id, period] = amount

    def wait() -> None:
        disk.clock.now_ms += chance.randrange(HOUR_MS, 60 * HOUR_MS)

    for number in range(400):
        chance.choices([hold, end, set_limit, wait], [60, 30, 4, 3])[0]()
        if number % 20 == 0:
            found = disk.read(lambda tx: budgets.list_budgets(tx, disk.customer.account_id))
            assert {(one.subject.id, one.period): one.limit_micro_usd for one in found} == model.limits
            for one in found:
                assert sum(counted(one)) == model.used(one.subject.id, one.period, disk.clock.now_ms)
            assert disk.verify().findings == ()
    assert refused
    assert len(model.requests) > 20
