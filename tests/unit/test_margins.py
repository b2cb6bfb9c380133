"""Margins and price comparisons on both databases, from rows whose figures are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from omixa.billing.margins import Margin, margins
from omixa.billing.rerating import PriceComparison, compare_prices
from omixa.domain.images import Usage
from omixa.domain.models import PriceComponent
from omixa.domain.times import month_after, month_before, start_of, utc_date
from omixa.usage.records import EndedAttempt
from tests.support.ledger import MODEL, PRICES, DiskLedger, adjust, disk_ledger, refund
from tests.support.places import Place

CHARGE = 33_900
# What a successful call of these tests costs the operator, in pico-USD.
COST = 1_000_000
DAY_MS = 86_400_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=10_000_000) as opened:
        yield opened


def read(disk: DiskLedger, since_ms: int = 0, until_ms: int = 2**62) -> list[Margin]:
    return disk.read(lambda tx: margins(tx, "live", since_ms, until_ms))


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
    assert read(disk, start_of(this), start_of(following)) == [before]
    assert read(disk, start_of(following), start_of(month_after(following))) == [after]
    assert read(disk, start_of(month_before(this)), start_of(this)) == []


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
