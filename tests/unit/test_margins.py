"""Margins and price comparisons on both databases, from rows whose figures are known."""

from __future__ import annotations

import dataclasses
import datetime
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from omixa.billing import margins as margins_module
from omixa.billing.margins import Margin, add_up, changing_cost, margins, next_portion
from omixa.billing.rerating import PriceComparison, compare_prices
from omixa.domain.ids import first_id
from omixa.domain.images import Usage
from omixa.domain.models import PriceComponent
from omixa.domain.times import month_after, month_before, start_of, utc_date
from omixa.storage.database import Transaction
from omixa.storage.tables import attempt, margin_progress
from omixa.usage.records import EndedAttempt
from tests.support.ledger import (
    MODEL,
    ONE_PICTURE,
    PRICES,
    DiskLedger,
    a_record,
    a_result,
    adjust,
    disk_ledger,
    refund,
    succeeded,
)
from tests.support.places import Place

CHARGE = 33_900
# What a successful call of these tests costs the operator, in pico-USD.
COST = 1_000_000
DAY_MS = 86_400_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=10_000_000) as opened:
        yield opened
        assert not [one for one in opened.verify().findings if one.invariant == "sums of margins"]


def read(
    disk: DiskLedger, since: datetime.date = datetime.date.min, until: datetime.date = datetime.date.max
) -> list[Margin]:
    return disk.read(lambda tx: margins(tx, "live", since, until))


def add_all_up(disk: DiskLedger) -> int:
    """Add up what there is, as the sweeper does, and return in how many portions."""
    count = 0
    while (portion := disk.read(next_portion)) is not None:
        assert disk.write(lambda tx, portion=portion: add_up(tx, portion))
        count += 1
    return count


def lose(disk: DiskLedger, state: str, cost: int, basis: str) -> None:
    """Let a request fail whose call cost the operator something."""
    request_id, call = disk.hold(1_000)
    ended = EndedAttempt(call.id, state, None, None, "provider_error", None, None, cost, basis)  # type: ignore[arg-type]
    disk.call(disk.settlement.release(request_id, "provider_error", [ended]))


def test_charges_less_costs(disk: DiskLedger) -> None:
    first = disk.settle()
    disk.settle()
    lose(disk, "unknown", 7, "estimated")
    lose(disk, "failed_billed", 5, "reported")
    lose(disk, "failed_free", 0, "none")
    disk.write(lambda tx: refund(tx, first, 900))
    disk.write(lambda tx: adjust(tx, first, CHARGE + 400))
    (row,) = read(disk)
    month = f"{utc_date(disk.clock.now_ms):%Y-%m}"
    assert row == Margin(
        month=month,
        model=MODEL.id,
        provider="foundry",
        requests=2,
        charged_micro_usd=2 * CHARGE,
        refunded_micro_usd=900,
        adjusted_micro_usd=400,
        reported_pico_usd=2 * COST,
        estimated_pico_usd=0,
        absorbed_pico_usd=12,
        unknown_calls=1,
    )
    assert row.earned_micro_usd == 2 * CHARGE - 500
    assert row.margin_pico_usd == (2 * CHARGE - 500) * 10**6 - 2 * COST - 12


def test_each_month_has_what_ended_and_what_was_corrected_in_it(disk: DiskLedger) -> None:
    first = disk.settle()
    this = utc_date(disk.clock.now_ms).replace(day=1)
    following = month_after(this)
    disk.clock.now_ms = start_of(following)
    disk.settle()
    disk.write(lambda tx: refund(tx, first))
    before, after = read(disk)
    assert (before.month, before.requests, before.refunded_micro_usd) == (f"{this:%Y-%m}", 1, 0)
    assert (after.month, after.requests, after.refunded_micro_usd) == (f"{following:%Y-%m}", 1, CHARGE)
    assert read(disk, this, following) == [before]
    assert read(disk, following, month_after(following)) == [after]
    assert read(disk, month_before(this), this) == []


def an_id(disk: DiskLedger, n: int) -> str:
    return first_id("req", disk.clock.now_ms)[:-4] + f"{n:04}"


@pytest.mark.parametrize("batch", [1, 3, 500])
def test_sums_by_days_say_the_same_as_the_requests(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(margins_module, "BATCH", batch)
    chance = random.Random(batch)
    ids: list[str] = []
    for n in range(24):
        disk.clock.now_ms += chance.choice((1_000, DAY_MS))
        ids.append(an_id(disk, n))
        request_id, call = disk.hold(50_000, request_id=ids[-1])
        state = chance.choice(("ok", "ok", "failed_free", "failed_billed", "unknown"))
        basis = chance.choice(("reported", "estimated"))
        ended = EndedAttempt(call.id, state, None, None, None, None, None, chance.randrange(9), basis)  # type: ignore[arg-type]
        if state == "ok" and chance.random() < 0.8:
            record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
            disk.call(disk.settlement.capture(record, a_result(request_id), [ended]))
        else:
            disk.call(disk.settlement.release(request_id, "provider_error", [ended]))
    expected = read(disk)
    assert sum(one.absorbed_pico_usd for one in expected) > 0
    # The last ones are too young, and are read as they are.
    portions = add_all_up(disk)
    assert read(disk) == expected
    assert portions >= 20 // batch
    disk.clock.now_ms += DAY_MS
    add_all_up(disk)
    assert add_all_up(disk) == 0
    assert read(disk) == expected
    assert disk.read(lambda tx: tx.all(select(margin_progress)))[0]["until_id"] == ids[-1]


def test_what_runs_holds_up_what_comes_behind_it(disk: DiskLedger) -> None:
    running, call = disk.hold(50_000, request_id=an_id(disk, 1))
    disk.clock.now_ms += 1_000
    disk.settle()
    disk.clock.now_ms += DAY_MS
    assert add_all_up(disk) == 0
    assert [one.requests for one in read(disk)] == [1]
    record = a_record(disk.customer, running, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(running), [succeeded(call)]))
    assert add_all_up(disk) == 1
    assert [one.requests for one in read(disk)] == [2]


def test_nothing_is_added_up_twice_and_no_changed_cost_is_missed(disk: DiskLedger) -> None:
    request_id, call = disk.hold(1_000, request_id=an_id(disk, 1))
    ended = EndedAttempt(call.id, "unknown", None, None, "provider_error", None, None, 0, "none")
    disk.call(disk.settlement.release(request_id, "provider_error", [ended]))
    disk.clock.now_ms += DAY_MS
    portion = disk.read(next_portion)
    assert portion is not None

    def change(state: str, cost: int) -> None:
        def operation(tx: Transaction) -> None:
            with changing_cost(tx, call.id):
                tx.execute(update(attempt).where(attempt.c.id == call.id).values(state=state, cost_pico_usd=cost))

        disk.write(operation)

    change("failed_billed", 7)
    assert not disk.write(lambda tx: add_up(tx, portion)), "what it comes to was read before"
    assert add_all_up(disk) == 1
    assert not disk.write(lambda tx: add_up(tx, portion)), "others have done it"
    (row,) = read(disk)
    assert (row.absorbed_pico_usd, row.unknown_calls) == (7, 0)
    change("failed_billed", 5)
    change("failed_free", 0)
    change("failed_billed", 3)
    (row,) = read(disk)
    assert (row.absorbed_pico_usd, row.unknown_calls) == (3, 0)


def test_a_late_answer_counts_in_the_day_of_its_request(disk: DiskLedger) -> None:
    request_id, call = disk.hold(1_000, request_id=an_id(disk, 1))
    lost = EndedAttempt(call.id, "unknown", None, None, "provider_timeout", None, None, 4, "estimated")
    disk.call(disk.settlement.release(request_id, "provider_timeout", [lost]))
    disk.clock.now_ms += DAY_MS
    assert add_all_up(disk) == 1
    late = EndedAttempt(call.id, "failed_billed", None, 200, None, None, None, 9, "reported")
    disk.call(disk.settlement.answered_late(late, came_ago_ms=0))
    (row,) = read(disk)
    assert (row.absorbed_pico_usd, row.unknown_calls) == (9, 0)


def test_a_late_answer_counts_once_and_does_not_overrule_a_provider_s_file(disk: DiskLedger) -> None:
    calls: list[str] = []
    for n in (1, 2):
        request_id, call = disk.hold(1_000, request_id=an_id(disk, n))
        lost = EndedAttempt(call.id, "unknown", None, None, "provider_timeout", None, None, 9, "estimated")
        disk.call(disk.settlement.release(request_id, "provider_timeout", [lost]))
        calls.append(call.id)
    first, explained = calls
    disk.write(lambda tx: tx.execute(update(attempt).where(attempt.c.id == explained).values(explained_at_ms=1)))
    for call_id in calls:
        for cost in (7, 99):
            late = EndedAttempt(call_id, "failed_billed", "theirs-1", 200, None, None, ONE_PICTURE, cost, "reported")
            disk.call(disk.settlement.answered_late(late, came_ago_ms=1_500))
    rows = {row["id"]: row for row in disk.read(lambda tx: tx.all(select(attempt)))}
    assert (rows[first]["cost_pico_usd"], rows[first]["error_code"]) == (7, "provider_timeout")
    assert rows[first]["late_at_ms"] == disk.clock.now_ms - 1_500
    assert (rows[explained]["state"], rows[explained]["cost_pico_usd"], rows[explained]["late_at_ms"]) == (
        *("unknown", 9, None),
    )


def test_prices_are_compared_for_each_workspace(disk: DiskLedger) -> None:
    for _ in range(3):
        disk.settle()
    disk.settle(usage=Usage(images=1, estimated=True))
    line = PriceComponent("image", "images", 5 * 10**10, "0.05", 1)
    dearer = dataclasses.replace(PRICES, version="dearer", components=(line,), fallback=line)

    def compare(old: bool, new: bool, since_ms: int = 0) -> list[PriceComparison]:
        before, after = {MODEL.id: PRICES} if old else {}, {MODEL.id: dearer} if new else {}
        return disk.read(lambda tx: compare_prices(tx, before, after, mode="live", since_ms=since_ms, until_ms=2**62))

    charged = 3 * CHARGE + 33_000
    expected = PriceComparison("customer", MODEL.id, 4, charged, charged, 200_000)
    assert compare(old=True, new=True) == compare(old=False, new=True) == [expected]
    assert expected.difference_micro_usd == 200_000 - charged
    assert compare(old=True, new=False) == compare(old=True, new=True, since_ms=disk.clock.now_ms + DAY_MS) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE margin_day SET charged = charged + 1",
        "DELETE FROM margin_day",
        "UPDATE margin_progress SET until_id = ''",
        "UPDATE margin_progress SET until_id = until_id || 'x'",
        "UPDATE attempt SET cost_pico_usd = cost_pico_usd + 1",
    ],
)
def test_sums_that_are_not_those_of_the_requests_are_found(tmp_path: Path, place: Place, statement: str) -> None:
    with disk_ledger(tmp_path, place, credit=10_000_000) as disk:
        request_id, call = disk.hold(50_000, request_id=an_id(disk, 1))
        record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
        disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
        disk.clock.now_ms += DAY_MS
        assert add_all_up(disk) == 1
        disk.tamper(statement)
        found = {one.invariant for one in disk.verify().findings}
        assert "sums of margins" in found
