"""Refunds and re-ratings: bounded by the charge whatever happens at the same time, and never at the cost of a hold."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select, update

from omixa.billing.corrections import Refund
from omixa.billing.ledger import Balance
from omixa.billing.prices import publish_prices
from omixa.domain.ids import new_id
from omixa.domain.images import Usage
from omixa.domain.models import PriceComponent
from omixa.domain.times import utc_date
from omixa.errors import Conflict, InvalidRequest, RequestNotFound
from omixa.gateway.corrections import BATCH, Corrections, Rerating, ReratingReport
from omixa.storage.database import Row
from omixa.storage.tables import audit_log, request, transfer
from omixa.usage import analytics
from tests.support.ledger import MODEL, PRICES, DiskLedger, disk_ledger, failed
from tests.support.places import REFUSED, Place

CREDIT = 1_000_000
# What one picture costs: 15 x 5 + 1,024 x 33 = 33,867, rounded up to a hundredth of a cent.
CHARGE = 33_900
CHEAP, DEAR = "cheap@2027-01-01#1", "dear@2027-01-01#2"


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    """A ledger with credit, where a picture costs two cents by one further price list and five by another."""
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        for day, (version, usd, pico) in enumerate(((CHEAP, "0.02", 2 * 10**10), (DEAR, "0.05", 5 * 10**10)), 1):
            line = PriceComponent("image", "images", pico, usd, 1)
            prices = dataclasses.replace(
                PRICES,
                version=version,
                effective_from=datetime.date(2027, 1, day),
                components=(line,),
                fallback=line,
            )
            model = dataclasses.replace(MODEL, price_lists=(prices,))
            opened.write(lambda tx, model=model: publish_prices(tx, [model]))
        yield opened
        assert opened.verify().findings == ()


def refund(disk: DiskLedger, request_id: str, amount: int | None = None, key: str | None = None) -> Refund:
    corrections = Corrections(disk.database)
    return disk.call(
        corrections.refund(request_id, amount_micro_usd=amount, reason="it was blurred", key=key, actor="test")
    )


def rerating(disk: DiskLedger, version: str, label: str = "") -> Rerating:
    day = utc_date(disk.clock.now_ms)
    return Rerating(MODEL.id, "live", day, day, version, label)


def rerate(disk: DiskLedger, version: str, *, label: str = "", dry_run: bool = False) -> ReratingReport:
    wanted = rerating(disk, version, label)
    return disk.call(Corrections(disk.database).rerate(wanted, reason="wrong price", actor="test", dry_run=dry_run))


def transfers(disk: DiskLedger, kind: str) -> list[Row]:
    statement = select(transfer).where(transfer.c.kind == bindparam("kind")).order_by(transfer.c.chain_seq)
    return list(disk.read(lambda tx: tx.all(statement, kind=kind)))


def audited(disk: DiskLedger) -> list[tuple[str, str]]:
    rows = disk.read(lambda tx: tx.all(select(audit_log).order_by(audit_log.c.seq)))
    return [(row["action"], row["target"]) for row in rows]


# ---------------------------------------------------------------------------------------------------------------- refunds


def test_a_charge_is_given_back_in_parts_and_never_more_than_once(disk: DiskLedger) -> None:
    request_id = disk.settle()
    assert disk.balance() == Balance(CREDIT - CHARGE, 0)
    part = refund(disk, request_id, 10_000)
    assert (part.amount_micro_usd, part.refunded_micro_usd, part.charged_micro_usd) == (10_000, 10_000, CHARGE)
    with pytest.raises(Conflict, match=r"\$0\.023900 of that can still be refunded"):
        refund(disk, request_id, CHARGE - 10_000 + 1)
    rest = refund(disk, request_id)
    assert rest.refunded_micro_usd == CHARGE
    for amount in (None, 1):
        with pytest.raises(Conflict, match=r"\$0\.000000 of that can still be refunded"):
            refund(disk, request_id, amount)
    assert disk.balance() == Balance(CREDIT, 0)
    (charge,) = transfers(disk, "charge")
    made = transfers(disk, "refund")
    assert [row["amount"] for row in made] == [10_000, CHARGE - 10_000]
    assert {row["reverses_id"] for row in made} == {charge["id"]}
    assert {row["reason"] for row in made} == {"it was blurred"}
    assert audited(disk) == [("refund.created", part.transfer_id), ("refund.created", rest.transfer_id)]


def test_the_same_key_refunds_once(disk: DiskLedger) -> None:
    request_id, other = disk.settle(), disk.settle()
    first = refund(disk, request_id, 5_000, "ticket-7")
    again = [refund(disk, request_id, amount, "ticket-7") for amount in (5_000, None)]
    assert [one.repeated for one in again] == [True, True]
    assert {one.transfer_id for one in again} == {first.transfer_id}
    with pytest.raises(Conflict, match="this key was used before"):
        refund(disk, request_id, 6_000, "ticket-7")
    # A key belongs to its request.
    assert not refund(disk, other, 5_000, "ticket-7").repeated
    assert len(audited(disk)) == len(transfers(disk, "refund")) == 2


@pytest.mark.parametrize("keys", [[None] * 12, ["a", "b", "c"] * 4], ids=["without keys", "with keys"])
def test_concurrent_refunds_stay_within_the_charge(disk: DiskLedger, keys: list[str | None]) -> None:
    request_id = disk.settle()
    corrections = Corrections(disk.database)

    async def storm() -> list[object]:
        refunds = (
            corrections.refund(request_id, amount_micro_usd=CHARGE // 3, reason="test", key=key, actor="test")
            for key in keys
        )
        return await asyncio.gather(*refunds, return_exceptions=True)

    outcomes = disk.call(storm())
    assert all(isinstance(outcome, Conflict) or hasattr(outcome, "transfer_id") for outcome in outcomes)
    assert len(transfers(disk, "refund")) == 3
    assert disk.balance().posted == CREDIT


def test_what_was_not_charged_is_not_refunded(disk: DiskLedger) -> None:
    free, (running, _) = disk.settle(usage=Usage(images=1)), disk.hold(1_000)
    released, call = disk.hold(1_000)
    disk.call(disk.settlement.release(released, "provider_error", [failed(call)]))
    for request_id in (free, running, released):
        with pytest.raises(InvalidRequest, match="nothing to refund"):
            refund(disk, request_id)
    with pytest.raises(RequestNotFound):
        refund(disk, "req_none")
    assert transfers(disk, "refund") == []


@pytest.mark.parametrize(("amount", "key"), [(0, None), (-1, None), (1, ""), (1, "k" * 101)])
def test_absurd_refunds_are_refused(disk: DiskLedger, amount: int, key: str | None) -> None:
    request_id = disk.settle()
    with pytest.raises(InvalidRequest):
        refund(disk, request_id, amount, key)


@pytest.mark.parametrize(
    "values", [{"refunded_amount": CHARGE + 1}, {"refunded_amount": -1}, {"adjusted_amount": -CHARGE - 1}]
)
def test_the_table_itself_refuses_to_give_back_more_than_was_paid(disk: DiskLedger, values: dict[str, int]) -> None:
    request_id = disk.settle()
    statement = update(request).where(request.c.id == bindparam("request_id")).values(values)
    with pytest.raises(REFUSED, match="refunds_within_charge"):
        disk.write(lambda tx: tx.execute(statement, request_id=request_id))


# ------------------------------------------------------------------------------------------------------------- re-ratings


def test_a_cheaper_price_is_credited_once_for_each_request(disk: DiskLedger) -> None:
    requests = [disk.settle() for _ in range(3)]
    before = disk.balance()
    foreseen = rerate(disk, CHEAP, dry_run=True)
    assert disk.balance() == before
    assert transfers(disk, "adjustment") == audited(disk) == []
    report = rerate(disk, CHEAP)
    assert (foreseen.counts, foreseen.workspaces) == (report.counts, report.workspaces)
    sums = report.workspaces["customer"]
    assert (sums.requests, sums.old_micro_usd, sums.new_micro_usd) == (3, 3 * CHARGE, 60_000)
    assert disk.balance() == Balance(CREDIT - 60_000, 0)
    made = transfers(disk, "adjustment")
    assert [(row["request_id"], row["amount"]) for row in made] == [(one, CHARGE - 20_000) for one in requests]
    assert len({row["external_ref"] for row in made}) == 3
    again = rerate(disk, CHEAP)
    assert again.counts == rerate(disk, CHEAP, dry_run=True).counts == {"repeated": 3}
    assert disk.balance() == Balance(CREDIT - 60_000, 0)
    assert audited(disk) == [("charges.rerated", report.rerating.id)]


def test_prices_may_go_back_and_forth(disk: DiskLedger) -> None:
    disk.settle()
    for label, version, price in (
        ("", CHEAP, 20_000),
        ("", DEAR, 50_000),
        ("", PRICES.version, CHARGE),
        ("2", CHEAP, 20_000),
    ):
        assert rerate(disk, version, label=label).counts == {"posted": 1}
        assert disk.balance() == Balance(CREDIT - price, 0)
    assert rerate(disk, CHEAP, label="3").counts == {"unchanged": 1}


def test_a_dearer_price_never_touches_what_is_held(disk: DiskLedger) -> None:
    requests = [disk.settle() for _ in range(3)]
    # 20,000 stay available: one difference of 16,100 and no second one.
    running, call = disk.hold(disk.balance().available - 20_000)
    foreseen = rerate(disk, DEAR, dry_run=True)
    report = rerate(disk, DEAR)
    assert report.counts == foreseen.counts == {"posted": 1, "uncovered": 2}
    assert [one.request_id for one in report.left] == [one.request_id for one in foreseen.left] == requests[1:]
    assert disk.balance().available == 20_000 - (50_000 - CHARGE)
    disk.call(disk.settlement.release(running, "provider_error", [failed(call)]))
    assert rerate(disk, DEAR).counts == {"repeated": 1, "posted": 2}
    assert disk.balance() == Balance(CREDIT - 150_000, 0)


def test_what_was_refunded_is_not_credited_again(disk: DiskLedger) -> None:
    whole, part = disk.settle(), disk.settle()
    refund(disk, whole)
    refund(disk, part, 15_000)
    report = rerate(disk, CHEAP)
    assert report.counts == {"refunded": 1, "posted": 1}
    assert [one.request_id for one in report.left] == [whole]
    with pytest.raises(Conflict, match=r"\$0\.005000 of that can still be refunded"):
        refund(disk, part, 5_001)
    refund(disk, part)
    assert disk.balance() == Balance(CREDIT, 0)


def test_more_requests_than_fit_into_one_transaction(disk: DiskLedger) -> None:
    count = BATCH + 5
    for _ in range(count):
        disk.settle(amount=100, usage=Usage(input_text_tokens=1, images=1))
    report = rerate(disk, DEAR)
    posted = (CREDIT - 100 * count) // 49_900
    assert report.counts == {"posted": posted, "uncovered": count - posted}
    assert len(report.left) == count - posted


def test_only_the_named_days_mode_and_model_are_rated(disk: DiskLedger) -> None:
    disk.settle()
    wanted = rerating(disk, CHEAP)
    yesterday = wanted.since - datetime.timedelta(days=1)
    corrections = Corrections(disk.database)
    for other in (
        dataclasses.replace(wanted, mode="test"),
        dataclasses.replace(wanted, since=yesterday, until=yesterday),
    ):
        report = disk.call(corrections.rerate(other, reason="test", actor="test", dry_run=False))
        assert report.counts == {}
    for wrong in (
        dataclasses.replace(wanted, price_version="none"),
        dataclasses.replace(wanted, model="other"),
        dataclasses.replace(wanted, until=yesterday),
    ):
        with pytest.raises(InvalidRequest):
            disk.call(corrections.rerate(wrong, reason="test", actor="test", dry_run=False))
    with pytest.raises(InvalidRequest, match="reason"):
        disk.call(corrections.rerate(wanted, reason=" ", actor="test", dry_run=True))


def test_corrections_have_sums_of_their_own_in_the_day_in_which_they_were_made(disk: DiskLedger) -> None:
    request_id = disk.settle()
    charged_on = utc_date(disk.clock.now_ms).isoformat()
    disk.clock.now_ms += 86_400_000
    corrected_on = utc_date(disk.clock.now_ms).isoformat()
    refund(disk, request_id, 1_000)
    wanted = dataclasses.replace(rerating(disk, CHEAP), since=datetime.date.fromisoformat(charged_on))
    disk.call(Corrections(disk.database).rerate(wanted, reason="test", actor="test", dry_run=False))
    customer = disk.customer
    days = disk.read(
        lambda tx: analytics.rollups(tx, customer.workspace_id, "live", period_type="day", by=frozenset({"model"}))
    )
    assert [(row.period, row.requests, row.amount_micro_usd) for row in days] == [
        (charged_on, 1, CHARGE),
        (corrected_on, 0, 0),
    ]
    assert (days[1].refunded_micro_usd, days[1].adjusted_micro_usd) == (1_000, 20_000 - CHARGE)
    assert (days[1].model, days[1].key_id) == (MODEL.id, None)
    (month,) = disk.read(lambda tx: analytics.rollups(tx, customer.workspace_id, "live", period_type="month"))
    assert (month.requests, month.refunded_micro_usd, month.adjusted_micro_usd) == (1, 1_000, 20_000 - CHARGE)
    details = disk.read(lambda tx: analytics.find_request(tx, customer.workspace_id, "live", request_id))
    assert details is not None
    assert details.summary.charged_micro_usd == CHARGE
    assert [(one.kind, one.credited_micro_usd) for one in details.corrections] == [
        ("refund", 1_000),
        ("adjustment", CHARGE - 20_000),
    ]


def test_an_unknown_request_is_not_found_by_its_length(disk: DiskLedger) -> None:
    with pytest.raises(RequestNotFound) as caught:
        refund(disk, new_id("req") * 100)
    assert len(caught.value.message) < 200
