"""Months close by the database's time, add up to the micro, and never change."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from omixa.billing import ledger, months
from omixa.billing.lots import LotTerms
from omixa.billing.months import CLOSE_AFTER_MS, Line, Statement
from omixa.domain.times import start_of
from omixa.storage.tables import statement
from tests.support.ledger import DiskLedger, disk_ledger, refund
from tests.support.places import REFUSED, START_MS, Place

CREDIT = 1_000_000
PRICE = 33_900
# The clock of these tests starts in November.
DECEMBER, JANUARY, FEBRUARY = (start_of(datetime.date(*day)) for day in ((2026, 12, 1), (2027, 1, 1), (2027, 2, 1)))


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify().findings == ()


def close(disk: DiskLedger) -> int:
    return disk.write(lambda tx: months.close_months(tx, disk.customer.account_id))


def closed(disk: DiskLedger) -> list[Statement]:
    return disk.read(lambda tx: months.list_statements(tx, disk.customer.account_id, limit=100))


def test_a_month_is_closed_when_the_database_says_that_it_has_been_over_for_a_while(disk: DiskLedger) -> None:
    assert START_MS < DECEMBER
    disk.clock.now_ms = DECEMBER + CLOSE_AFTER_MS - 1
    assert close(disk) == 0
    disk.clock.now_ms += 1
    assert [close(disk) for _ in range(3)] == [1, 0, 0]
    (november,) = closed(disk)
    assert (november.month, november.opening, november.closing) == ("2026-11", 0, CREDIT)
    assert november.lines == (Line("topup", 1, CREDIT),)


def test_a_statement_opens_where_the_last_one_closed_and_its_lines_add_up(disk: DiskLedger) -> None:
    first = disk.settle()
    expires = LotTerms("promo", 0, DECEMBER + 1_000)
    customer = disk.customer
    disk.write(
        lambda tx: ledger.grant(
            tx, account_id=customer.account_id, mode="live", amount_micro_usd=70_000, reason="test", terms=expires
        )
    )
    disk.settle()
    disk.clock.now_ms = DECEMBER
    disk.settle()
    disk.write(lambda tx: refund(tx, first, 900))
    disk.clock.now_ms += 60_000
    disk.sweep()
    disk.clock.now_ms = JANUARY
    disk.settle()
    disk.clock.now_ms = FEBRUARY + CLOSE_AFTER_MS
    assert close(disk) == 3
    january, december, november = closed(disk)
    assert november.lines == (Line("charge", 2, -2 * PRICE), Line("topup", 2, CREDIT + 70_000))
    assert december.lines == (
        Line("charge", 1, -PRICE),
        Line("expiry", 1, -(70_000 - 2 * PRICE)),
        Line("refund", 1, 900),
    )
    assert january.lines == (Line("charge", 1, -PRICE),)
    assert (november.closing, december.closing) == (december.opening, january.opening)
    assert january.closing == disk.balance().posted
    assert january.last_seq == sum(line.transfers for one in (january, december, november) for line in one.lines)


def test_an_idle_month_has_a_statement_too(disk: DiskLedger) -> None:
    disk.clock.now_ms = FEBRUARY + CLOSE_AFTER_MS
    assert close(disk) == 3
    assert [(one.month, one.lines, one.closing) for one in closed(disk)][:2] == [
        ("2027-01", (), CREDIT),
        ("2026-12", (), CREDIT),
    ]


def test_what_a_clock_set_back_posts_into_a_closed_month_falls_into_the_open_one(disk: DiskLedger) -> None:
    disk.clock.now_ms = DECEMBER + CLOSE_AFTER_MS
    close(disk)
    before = closed(disk)
    disk.clock.now_ms = DECEMBER - 1_000
    disk.settle()
    disk.clock.now_ms = JANUARY + CLOSE_AFTER_MS
    close(disk)
    december, november = closed(disk)
    assert [november] == before
    assert december.lines == (Line("charge", 1, -PRICE),)


def test_the_sweeper_closes_the_months_of_all_accounts(disk: DiskLedger) -> None:
    disk.clock.now_ms = JANUARY + CLOSE_AFTER_MS
    disk.sweep()
    assert [one.month for one in closed(disk)] == ["2026-12", "2026-11"]
    assert disk.read(lambda tx: months.unclosed_accounts(tx, limit=10)) == []


@pytest.mark.parametrize("change", [update(statement).values(closing=0), delete(statement)])
def test_a_closed_month_never_changes(disk: DiskLedger, change: object) -> None:
    disk.clock.now_ms = DECEMBER + CLOSE_AFTER_MS
    close(disk)
    with pytest.raises(REFUSED, match="append-only"):
        disk.write(lambda tx: tx.execute(change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE statement SET opening = 1, closing = closing + 1",
        "UPDATE statement SET closing = closing + 1",
        "UPDATE statement SET lines_json = replace(lines_json, '1000000', '1000001'), closing = closing + 1",
        "UPDATE statement SET last_hash = 'x'",
        "UPDATE statement SET last_seq = 0",
        "UPDATE statement SET month = '2026-10' WHERE month = '2026-11'",
    ],
)
def test_the_verification_finds_what_was_changed(tmp_path: Path, place: Place, lie: str) -> None:
    with disk_ledger(tmp_path, place, credit=CREDIT) as disk:
        disk.clock.now_ms = JANUARY + CLOSE_AFTER_MS
        close(disk)
        assert disk.verify().findings == ()
        disk.tamper(lie, without=["TRIGGER statement_no_update"])
        assert {finding.invariant for finding in disk.verify().findings} == {"statements"}
