"""Money on a real database: holds never overdraw, a request is settled once, and nothing that was written changes."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from omixa.access import store
from omixa.billing import ledger
from omixa.billing.ledger import Balance, Posting
from omixa.billing.prices import load_prices, publish_prices
from omixa.domain.ids import new_id
from omixa.domain.images import Usage
from omixa.domain.times import utc_date
from omixa.errors import InsufficientFunds, InternalError, PriceChanged, PublishedPriceChanged, SettlementUnavailable
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.storage.database import Transaction
from omixa.storage.tables import attempt, metadata, request
from omixa.usage import records
from tests.support import processes
from tests.support.ledger import (
    CATALOGUE,
    HOUR_MS,
    MODEL,
    NODE,
    ONE_PICTURE,
    PRICES,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    add_customer,
    capture,
    disk_ledger,
    failed,
    release,
    succeeded,
)
from tests.support.places import REFUSED, Place

CREDIT = 1_000_000
PRICE = 33_900

_requests = select(request).where(request.c.id == bindparam("request_id"))
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id")).order_by(attempt.c.n)


def attempts_of(disk: DiskLedger, request_id: str) -> list[str]:
    return [row["state"] for row in disk.read(lambda tx: tx.all(_attempts, request_id=request_id))]


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify().findings == ()


# ------------------------------------------------------------------------------------------------------------------ holds


@pytest.mark.parametrize("admitted", [0, 1, 37, 200])
def test_of_200_concurrent_holds_exactly_those_are_admitted_that_the_credit_covers(
    tmp_path: Path, place: Place, admitted: int
) -> None:
    amount = 1_000
    with disk_ledger(tmp_path, place, credit=admitted * amount + amount - 1) as disk:
        ids = [new_id("req") for _ in range(200)]

        async def hold_all() -> list[object]:
            holds = (a_hold(disk.customer, identifier, amount, disk.node) for identifier in ids)
            return await asyncio.gather(
                *(disk.settlement.authorise(hold, []) for hold in holds), return_exceptions=True
            )

        outcomes = disk.call(hold_all())
        refused = [outcome for outcome in outcomes if outcome is not None]
        assert len(refused) == 200 - admitted
        assert all(isinstance(outcome, InsufficientFunds) for outcome in refused)
        assert disk.balance() == Balance(admitted * amount + amount - 1, admitted * amount)


def test_two_processes_cannot_overdraw_together(tmp_path: Path, place: Place) -> None:
    context = processes.context()
    with disk_ledger(tmp_path, place, credit=60_500) as disk:
        pipes = [context.Pipe() for _ in range(2)]
        children = [
            context.Process(target=processes.hold_many, args=(place, disk.customer, 100, 1_000, theirs))
            for _, theirs in pipes
        ]
        for child, (_, theirs) in zip(children, pipes, strict=True):
            child.start()
            # A child that dies is then noticed at once.
            theirs.close()
        for ours, _ in pipes:
            assert ours.recv() == "ready"
        for ours, _ in pipes:
            ours.send("go")
        admitted = [ours.recv() for ours, _ in pipes]
        for child in children:
            child.join()
        assert sum(admitted) == 60
        assert disk.balance() == Balance(60_500, 60_000)
        assert disk.verify().findings == ()


def test_the_last_micro_can_be_held_and_not_one_more(disk: DiskLedger) -> None:
    disk.hold(CREDIT)
    with pytest.raises(InsufficientFunds, match=r"up to \$0.000001 and the workspace has \$0.000000"):
        disk.hold(1)
    disk.hold(0)


def test_a_refused_hold_leaves_no_trace(disk: DiskLedger) -> None:
    with pytest.raises(InsufficientFunds):
        disk.hold(CREDIT + 1, request_id="req_refused")
    assert disk.read(lambda tx: tx.all(_requests, request_id="req_refused")) == []
    assert attempts_of(disk, "req_refused") == []


# ------------------------------------------------------------------------------------------------------------- settlement


def test_a_capture_charges_the_price_and_gives_the_rest_back(disk: DiskLedger) -> None:
    disk.settle(50_000)
    assert disk.balance() == Balance(CREDIT - PRICE, 0)


def test_a_free_capture_has_a_usage_record_and_no_transfer(disk: DiskLedger) -> None:
    disk.settle(50_000, Usage())
    assert disk.balance() == Balance(CREDIT, 0)
    assert disk.verify().checked["I8"] == 1


def test_of_many_captures_of_one_request_exactly_one_charges(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)

    async def capture_often() -> list[object]:
        captures = (disk.settlement.capture(record, a_result(request_id), [succeeded(call)]) for _ in range(20))
        return await asyncio.gather(*captures, return_exceptions=True)

    outcomes = disk.call(capture_often())
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, SettlementUnavailable) for outcome in outcomes) == 19
    assert disk.balance() == Balance(CREDIT - PRICE, 0)


@pytest.mark.parametrize("first", ["capture", "release"])
def test_of_a_capture_and_a_release_that_race_one_wins(disk: DiskLedger, first: str) -> None:
    requests = [disk.hold(20_000) for _ in range(10)]

    async def race() -> list[object]:
        steps = []
        for request_id, call in requests:
            record = a_record(disk.customer, request_id, ONE_PICTURE, 20_000)
            capturing = disk.settlement.capture(record, a_result(request_id), [succeeded(call)])
            releasing = disk.settlement.release(request_id, "provider_error", [failed(call)])
            steps += [capturing, releasing] if first == "capture" else [releasing, capturing]
        return await asyncio.gather(*steps, return_exceptions=True)

    outcomes = disk.call(race())
    captures = outcomes[::2] if first == "capture" else outcomes[1::2]
    charged = captures.count(None)
    assert sum(isinstance(outcome, SettlementUnavailable) for outcome in captures) == 10 - charged
    assert charged == (10 if first == "capture" else 0)
    assert disk.balance() == Balance(CREDIT - charged * 20_000, 0)


def test_a_capture_after_a_release_is_refused(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    disk.call(disk.settlement.release(request_id, "provider_timeout", [failed(call)]))
    with pytest.raises(SettlementUnavailable):
        disk.write(lambda tx: capture(tx, a_record(disk.customer, request_id, ONE_PICTURE, 50_000), disk.node.epoch))
    assert disk.balance() == Balance(CREDIT, 0)


def test_a_release_after_a_capture_does_nothing(disk: DiskLedger) -> None:
    request_id = disk.settle()
    assert not disk.write(lambda tx: release(tx, request_id, disk.node.epoch, "provider_timeout"))
    disk.call(disk.settlement.release(request_id, "provider_timeout", []))
    assert disk.balance() == Balance(CREDIT - PRICE, 0)


def test_a_charge_above_its_hold_is_refused_by_the_table(disk: DiskLedger) -> None:
    request_id, call = disk.hold(PRICE - 1)
    record = a_record(disk.customer, request_id, ONE_PICTURE, PRICE)
    with pytest.raises(REFUSED, match="charge_within_hold"):
        disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert disk.balance() == Balance(CREDIT, PRICE - 1)


def test_an_overdraft_is_refused_by_the_table(disk: DiskLedger) -> None:
    def take_too_much(tx: Transaction) -> None:
        account = disk.customer.account_id
        cash = ledger.system_account("live", "cash")
        ledger.post(tx, account, [Posting(account, cash, CREDIT + 1, "refund")])

    with pytest.raises(REFUSED, match="account_never_overdrawn"):
        disk.write(take_too_much)


def test_one_request_cannot_have_two_charges(disk: DiskLedger) -> None:
    request_id = disk.settle()

    def charge_again(tx: Transaction) -> None:
        account, revenue = disk.customer.account_id, ledger.system_account("live", "revenue")
        ledger.post(tx, account, [Posting(account, revenue, PRICE, "charge", request_id=request_id)])

    with pytest.raises(REFUSED, match=r"transfer\.request_id|one_charge_per_request"):
        disk.write(charge_again)


def test_a_grant_is_in_the_balance_at_once(disk: DiskLedger) -> None:
    account = disk.customer.account_id
    disk.write(lambda tx: ledger.grant(tx, account_id=account, mode="live", amount_micro_usd=7, reason="seven"))
    assert disk.balance() == Balance(CREDIT + 7, 0)


def test_unknown_accounts_are_bugs(disk: DiskLedger) -> None:
    for operation in (
        lambda tx: ledger.balance(tx, "acc_none"),
        lambda tx: ledger.workspace_account(tx, "ws_none", "live"),
        lambda tx: ledger.grant(tx, account_id="acc_none", mode="live", amount_micro_usd=1, reason=""),
    ):
        with pytest.raises(InternalError, match="no"):
            disk.write(operation)


def test_play_money_and_real_money_have_accounts_of_their_own(disk: DiskLedger) -> None:
    test_customer = disk.write(lambda tx: add_customer(tx, name="other", mode="test", credit=5))
    with pytest.raises(InternalError, match="has no live account"):
        disk.read(lambda tx: ledger.workspace_account(tx, test_customer.workspace_id, "live"))
    assert disk.read(lambda tx: ledger.workspace_account(tx, test_customer.workspace_id, "test")) == (
        test_customer.account_id
    )


# ---------------------------------------------------------------------------------------------------------------- fencing


def test_a_predecessor_cannot_settle_what_its_successor_released(disk: DiskLedger) -> None:
    before = disk.settlement
    request_id, call = disk.hold(50_000)
    assert disk.restart().epoch == before.node.epoch + 1
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    with pytest.raises(SettlementUnavailable):
        disk.call(before.capture(record, a_result(request_id), [succeeded(call)]))
    with pytest.raises(SettlementUnavailable):
        disk.call(before.next_attempt(failed(call), a_call(request_id, 2)))
    disk.call(before.release(request_id, "provider_timeout", [failed(call)]))
    assert disk.balance() == Balance(CREDIT, 0)


@pytest.mark.parametrize("step", [-1, 1])
def test_only_the_owning_epoch_settles(disk: DiskLedger, step: int) -> None:
    request_id, call = disk.hold(50_000)
    other = Settlement(disk.database, NodeIdentity(NODE, disk.node.epoch + step))
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    with pytest.raises(SettlementUnavailable):
        disk.call(other.capture(record, a_result(request_id), []))
    assert not disk.write(lambda tx: release(tx, request_id, other.node.epoch, "x"))
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))


def test_a_next_attempt_needs_the_hold(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    following = a_call(request_id, 2)
    disk.call(disk.settlement.next_attempt(failed(call), following))
    assert attempts_of(disk, request_id) == ["failed_free", "sent"]
    disk.call(disk.settlement.release(request_id, "provider_error", [failed(following)]))
    with pytest.raises(SettlementUnavailable):
        disk.call(disk.settlement.next_attempt(failed(following), a_call(request_id, 3)))


def test_a_settlement_that_cannot_be_written_promises_nothing(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    settlement = disk.settlement
    disk.database.close()
    with pytest.raises(SettlementUnavailable, match="could not be confirmed"):
        disk.call(
            settlement.capture(
                a_record(disk.customer, request_id, ONE_PICTURE, 50_000), a_result(request_id), [succeeded(call)]
            )
        )
    disk.reopen()
    assert disk.balance() == Balance(CREDIT, 0)


# -------------------------------------------------------------------------------------------------------- what cannot change


@pytest.mark.parametrize("table", ["transfer", "price_version", "usage_record", "audit_log"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = '1'", "DELETE FROM {}"])
def test_history_cannot_be_changed(disk: DiskLedger, table: str, statement: str) -> None:
    disk.settle()
    disk.write(lambda tx: store.audit(tx, actor="a", action="b", target="c", details={}))
    with pytest.raises(REFUSED, match="append-only"):
        disk.tamper(statement.format(table, metadata.tables[table].columns.keys()[-1]))


def test_a_hold_is_refused_when_the_markup_is_no_longer_the_workspaces(disk: DiskLedger) -> None:
    old = a_hold(disk.customer, new_id("req"), 1_000, disk.node)
    disk.write(lambda tx: store.set_markup(tx, disk.customer.workspace_id, 50_000))
    with pytest.raises(PriceChanged) as caught:
        disk.call(disk.settlement.authorise(old, []))
    assert caught.value.markup_ppm == 50_000
    assert disk.balance().held == 0
    # Of several at the same moment, those with the right markup are held.
    new = dataclasses.replace(old, request_id=new_id("req"), markup_ppm=50_000)
    refused = disk.write(lambda tx: ledger.hold(tx, [old, new, old]))
    assert [type(one) for one in refused] == [PriceChanged, type(None), PriceChanged]
    assert disk.balance().held == 1_000


@pytest.mark.parametrize("markup_ppm", [-1_000_001, 100_000_001])
def test_the_table_itself_refuses_absurd_markups(disk: DiskLedger, markup_ppm: int) -> None:
    with pytest.raises(REFUSED, match="markup_within_bounds"):
        disk.write(lambda tx: store.set_markup(tx, disk.customer.workspace_id, markup_ppm))


def test_a_price_version_is_written_once_and_read_back_whole(disk: DiskLedger) -> None:
    disk.write(lambda tx: publish_prices(tx, CATALOGUE.models.values()))
    assert disk.read(lambda tx: load_prices(tx, PRICES.version)) == PRICES
    dearer = dataclasses.replace(PRICES.fallback, unit_price_pico_usd=PRICES.fallback.unit_price_pico_usd + 1)
    changed = dataclasses.replace(PRICES, fallback=dearer)
    with pytest.raises(PublishedPriceChanged, match="another content"):
        disk.write(lambda tx: publish_prices(tx, [dataclasses.replace(MODEL, price_lists=(changed,))]))
    with pytest.raises(InternalError, match="no price version"):
        disk.read(lambda tx: load_prices(tx, "nothing@2026-01-01#00000000"))


def test_a_price_list_can_be_corrected_until_its_day_begins(disk: DiskLedger) -> None:
    tomorrow = utc_date(disk.clock.now_ms) + datetime.timedelta(days=1)

    def publish(digest: str) -> None:
        later = dataclasses.replace(PRICES, version=f"v@{tomorrow}#{digest}", effective_from=tomorrow)
        changed = dataclasses.replace(MODEL, price_lists=(PRICES, later))
        disk.write(lambda tx: publish_prices(tx, [changed]))

    publish("1")
    disk.clock.now_ms += 1
    publish("2")
    disk.clock.now_ms += 24 * HOUR_MS
    publish("2")
    with pytest.raises(PublishedPriceChanged, match=f"from {tomorrow} was published as v@{tomorrow}#2 and is now"):
        publish("3")


def test_a_request_needs_a_known_price_version(disk: DiskLedger) -> None:
    hold = dataclasses.replace(a_hold(disk.customer, "req_1", 1, disk.node), price_version_id="unknown")
    with pytest.raises(REFUSED, match=r"(?i)foreign key"):
        disk.call(disk.settlement.authorise(hold, []))


# --------------------------------------------------------------------------------------------------------------- attempts


def test_a_call_ends_once(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    disk.write(lambda tx: records.end_attempts(tx, [failed(call)]))
    disk.write(lambda tx: records.end_attempts(tx, [succeeded(call)]))
    assert attempts_of(disk, request_id) == ["failed_free"]
