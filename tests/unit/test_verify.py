"""Every invariant bites: a ledger that was tampered with is found out, and a sound one is not accused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from omixa.access import store
from omixa.billing import budgets, months, topups
from omixa.billing.budgets import Subject
from omixa.billing.verify import INVARIANTS, MAX_FINDINGS, Verification, verify
from omixa.domain.ids import new_id
from omixa.gateway.idempotency import Remains, RequestIdentity
from omixa.storage.chain import GENESIS_HASH
from omixa.storage.database import Transaction
from omixa.storage.tables import workspace
from tests.support.ledger import (
    HOUR_MS,
    DiskLedger,
    a_call,
    a_hold,
    a_result,
    add_customer,
    adjust,
    disk_ledger,
    failed,
    refund,
)
from tests.support.places import Place

CHANGE = "TRIGGER {}_no_update"
REMOVE = "TRIGGER {}_no_delete"


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    """A ledger with two captured requests, of which one was corrected, a released one, one in progress, and a second customer.

    The released one has parked its result, the one in progress has a key.
    """
    with disk_ledger(tmp_path, place, credit=1_000_000) as opened:
        corrected = opened.settle(stored=True)
        opened.settle(stored=True)
        opened.write(lambda tx: refund(tx, corrected, 1_000))
        opened.write(lambda tx: adjust(tx, corrected, 33_000))
        released, call = opened.hold(10_000)
        parked = a_result(released)
        opened.call(opened.blobs.put(parked.ref, lambda: [b"never charged"]))
        opened.call(
            opened.settlement.release(released, "settlement_unavailable", [failed(call)], Remains(parked=parked))
        )
        keyed = new_id("req")
        identity = RequestIdentity("/images", "f" * 64, "order-1", is_retry=False, retention_ms=HOUR_MS)
        hold = a_hold(opened.customer, keyed, 10_000, opened.node)
        opened.call(opened.settlement.authorise(hold, [a_call(keyed)], identity))
        other = opened.write(lambda tx: add_customer(tx, name="other", mode="test", credit=5))
        opened.write(lambda tx: budgets.set_limit(tx, Subject(other.account_id), "day", 1_000))
        for number in range(3):
            opened.write(
                lambda tx, number=number: store.audit(tx, actor="a", action="b", target=str(number), details={})
            )
        opened.write(lambda tx: top_up(tx, opened))
        opened.write(lambda tx: close_an_idle_month(tx, opened))
        yield opened


def close_an_idle_month(tx: Transaction, disk: DiskLedger) -> None:
    """Let the workspace have existed for two months, and close the first."""
    tx.execute(update(workspace).values(created_at_ms=disk.clock.now_ms - 31 * 86_400_000))
    assert months.close_months(tx, disk.customer.account_id) == 1


def top_up(tx: Transaction, disk: DiskLedger) -> None:
    """Buy 40,000 and have 30,000 of it taken back."""
    customer = disk.customer
    order = topups.order(
        tx,
        workspace_id=customer.workspace_id,
        account_id=customer.account_id,
        key_id=customer.key_id,
        amount_micro_usd=40_000,
    )
    topups.book(
        tx,
        order,
        workspace_id=customer.workspace_id,
        amount_micro_usd=40_000,
        session_id="cs_1",
        payment_id="pi_1",
    )
    topups.reverse(tx, topups.Reversal("ch_1", "pi_1", 30_000, "refunded"))


def broken(disk: DiskLedger) -> set[str]:
    return {finding.invariant for finding in disk.verify(with_results=True).findings}


def test_a_sound_ledger_has_no_findings_and_every_invariant_looks_at_rows(disk: DiskLedger) -> None:
    found = disk.verify(with_results=True)
    assert found.clean
    assert set(found.checked) == set(INVARIANTS)
    assert all(found.checked.values())


TAMPERED: dict[str, tuple[set[str], list[str], list[str]]] = {
    "a balance": ({"I1", "I5 lots"}, ["UPDATE account SET posted = posted + 1 WHERE posted > 5"], []),
    "what is held": ({"I1"}, ["UPDATE account SET held = held + 1 WHERE held > 0"], []),
    "an overdraft": ({"I1", "I2"}, ["UPDATE account SET held = posted + 1 WHERE posted > 5"], []),
    "a lost charge": (
        {"I1", "I3", "I6"},
        ["DELETE FROM transfer WHERE kind = 'charge' AND chain_seq = 3"],
        [REMOVE.format("transfer")],
    ),
    "a second charge": (
        {"I1", "I3", "I6"},
        [
            """INSERT INTO transfer SELECT 'tr_2', debit_account_id, credit_account_id, amount, kind, request_id, reverses_id,
            external_ref, reason, chain_account_id, 8, hash, hash, at_ms FROM transfer WHERE chain_seq = 3"""
        ],
        ["INDEX one_charge_per_request"],
    ),
    "a charge for another customer": (
        {"I1", "I3", "I6", "I11"},
        [
            """UPDATE transfer SET debit_account_id = (SELECT id FROM account WHERE mode = 'test' AND posted = 5)
            WHERE chain_seq = 3"""
        ],
        [CHANGE.format("transfer")],
    ),
    "a charge without a request": (
        {"I3", "I6"},
        ["UPDATE transfer SET request_id = 'req_none' WHERE chain_seq = 3"],
        [CHANGE.format("transfer")],
    ),
    "a charge of a released request": (
        {"I3", "I4", "I6"},
        [
            "UPDATE transfer SET request_id = (SELECT id FROM request WHERE state = 'released') WHERE chain_seq = 3",
        ],
        [CHANGE.format("transfer")],
    ),
    "a success of a released request": ({"I4"}, ["UPDATE request SET outcome = 'ok' WHERE state = 'released'"], []),
    "a charge above the hold": (
        {"I5", "I8"},
        ["UPDATE request SET hold_amount = 1 WHERE state = 'captured'"],
        [],
    ),
    "what a lot has": ({"I5 lots"}, ["UPDATE grant_lot SET remaining = remaining - 1 WHERE pinned > 0"], []),
    "what a lot was": ({"I5 lots"}, ["UPDATE grant_lot SET amount = amount + 1 WHERE amount = 5"], []),
    "a pin": ({"I5 lots"}, ["UPDATE grant_lot SET pinned = pinned + 1 WHERE pinned > 0"], []),
    "a lost pin": ({"I5 lots", "I5 pins"}, ["UPDATE request SET lot_id = NULL WHERE state = 'held'"], []),
    "a pin to a lot of another customer": (
        {"I5 lots", "I5 pins"},
        ["UPDATE request SET lot_id = (SELECT id FROM grant_lot WHERE amount = 5) WHERE state = 'held'"],
        [],
    ),
    "a second pin": (
        {"I5 lots", "I5 pins"},
        ["INSERT INTO hold_lot SELECT id, lot_id, 1 FROM request WHERE state = 'held'"],
        [],
    ),
    "what was bought": ({"top-ups"}, ["UPDATE topup SET amount = amount + 1"], []),
    "a payment that was not credited": ({"top-ups"}, ["UPDATE topup SET transfer_id = NULL"], []),
    "what was taken back": ({"top-ups"}, ["UPDATE topup SET reversed_amount = 0"], []),
    "what a payment provider took back": ({"top-ups"}, ["UPDATE topup_reversal SET amount = amount + 1"], []),
    "the price of a capture": (
        {"I3"},
        ["UPDATE request SET charge_amount = charge_amount - 1 WHERE state = 'captured'"],
        [],
    ),
    "the amount of a transfer": (
        {"I1", "I3", "I6"},
        ["UPDATE transfer SET amount = amount + 1 WHERE kind = 'charge'"],
        [CHANGE.format("transfer")],
    ),
    "the reason of a transfer": (
        {"I6"},
        ["UPDATE transfer SET reason = 'a better one' WHERE kind = 'topup'"],
        [CHANGE.format("transfer")],
    ),
    "the head of a chain": ({"I6"}, [f"UPDATE account SET head_hash = '{GENESIS_HASH}' WHERE posted > 5"], []),
    "an entry of the audit log": (
        {"I6 audit"},
        ["UPDATE audit_log SET actor = 'somebody else' WHERE seq = 2"],
        [CHANGE.format("audit_log")],
    ),
    "a missing entry of the audit log": (
        {"I6 audit"},
        ["DELETE FROM audit_log WHERE seq = 2"],
        [REMOVE.format("audit_log")],
    ),
    "a forgotten result": ({"I7"}, ["UPDATE request SET result_ref = NULL WHERE state = 'captured'"], []),
    "a result elsewhere": (
        {"I7"},
        ["UPDATE request SET result_ref = '20261123/req_none' WHERE state = 'captured'"],
        [],
    ),
    "usage": (
        {"I8", "sums"},
        ["UPDATE usage_record SET usage_json = replace(usage_json, 'image_tokens\":1024', 'image_tokens\":1025')"],
        [CHANGE.format("usage_record")],
    ),
    "usage that cannot be rated": (
        {"I8", "sums"},
        ["UPDATE usage_record SET usage_json = replace(usage_json, 'image_tokens\":1024', 'image_tokens\":-1')"],
        [CHANGE.format("usage_record")],
    ),
    "a markup": ({"I8"}, ["UPDATE usage_record SET markup_ppm = 500000"], [CHANGE.format("usage_record")]),
    "an unknown price version": (
        {"I8"},
        ["UPDATE usage_record SET price_version_id = 'none'", "UPDATE request SET price_version_id = 'none'"],
        [CHANGE.format("usage_record")],
    ),
    "another price version": (
        {"I8"},
        ["UPDATE usage_record SET price_version_id = 'none'"],
        [CHANGE.format("usage_record")],
    ),
    "a lost usage record": (
        {"I3", "sums", "sums of corrections"},
        ["DELETE FROM usage_record"],
        [REMOVE.format("usage_record")],
    ),
    "a hold past its time": ({"I9"}, ["UPDATE request SET expires_at_ms = 0 WHERE state = 'held'"], []),
    "a call that never ended": (
        {"I9", "I10"},
        ["UPDATE attempt SET state = 'sent', ended_at_ms = NULL WHERE state = 'ok'"],
        [],
    ),
    "a cost that nobody knows": ({"I10"}, ["UPDATE attempt SET cost_basis = NULL WHERE state = 'failed_free'"], []),
    "a success without a cost": ({"I10"}, ["UPDATE attempt SET cost_basis = 'none' WHERE state = 'ok'"], []),
    "a success that came late": ({"I10"}, ["UPDATE attempt SET late_at_ms = 1 WHERE state = 'ok'"], []),
    "a request with a foreign account": (
        {"I1", "I11", "I5 pins", "budgets"},
        ["UPDATE request SET account_id = (SELECT id FROM account WHERE posted = 5) WHERE state = 'held'"],
        [],
    ),
    "a key of another mode": ({"I11 repeats"}, ["UPDATE idempotency SET mode = 'test'"], []),
    "a parked result of a captured request": (
        {"I4 parked"},
        ["UPDATE parked_result SET request_id = (SELECT min(id) FROM request WHERE state = 'captured')"],
        [],
    ),
    "a parked result without its file": ({"I7"}, ["UPDATE parked_result SET ref = '20261123/req_0'"], []),
    "a parked result that two were charged for": (
        {"I4 parked"},
        ["UPDATE request SET parked_from = (SELECT request_id FROM parked_result) WHERE state = 'captured'"],
        ["INDEX one_charge_per_parked_result"],
    ),
    "a parked result that was charged and is still parked": (
        {"I4 parked"},
        ["UPDATE request SET parked_from = (SELECT request_id FROM parked_result) WHERE refunded_amount > 0"],
        [],
    ),
    "a parked result that another mode paid for": (
        {"I11", "I11 repeats"},
        [
            "UPDATE request SET parked_from = (SELECT request_id FROM parked_result) WHERE state = 'held'",
            "UPDATE request SET mode = 'test' WHERE state = 'released'",
        ],
        [],
    ),
    "a request with a foreign key": (
        {"I11"},
        ["UPDATE request SET key_id = (SELECT id FROM api_key WHERE mode = 'test') WHERE state = 'held'"],
        [],
    ),
    "what was refunded": (
        {"corrections"},
        ["UPDATE request SET refunded_amount = refunded_amount + 1 WHERE refunded_amount > 0"],
        [],
    ),
    "what was adjusted": ({"corrections"}, ["UPDATE request SET adjusted_amount = 0 WHERE adjusted_amount <> 0"], []),
    "a refund of more than the charge": (
        {"I1", "I5 lots", "I6", "corrections", "sums of corrections"},
        [
            "UPDATE transfer SET amount = 900000 WHERE kind = 'refund'",
            "UPDATE request SET refunded_amount = 900000 WHERE refunded_amount > 0",
        ],
        [CHANGE.format("transfer")],
    ),
    "a refund of another charge": (
        {"I6", "corrections"},
        [
            """UPDATE transfer SET reverses_id = (SELECT id FROM transfer WHERE kind = 'charge' AND chain_seq = 3)
            WHERE kind = 'refund'"""
        ],
        [CHANGE.format("transfer")],
    ),
    "a correction without a request": (
        {"I6", "corrections", "sums of corrections"},
        ["UPDATE transfer SET request_id = NULL WHERE kind = 'adjustment'"],
        [CHANGE.format("transfer")],
    ),
    "a day of corrections": ({"sums of corrections"}, ["UPDATE correction_day SET adjusted = adjusted + 1"], []),
    "a missing day of corrections": ({"sums of corrections"}, ["DELETE FROM correction_day"], []),
    "a day": ({"sums"}, ["UPDATE usage_day SET images = images + 1"], []),
    "a missing day": ({"sums"}, ["DELETE FROM usage_day"], []),
    "a day too many": (
        {"sums"},
        [
            """INSERT INTO usage_day SELECT workspace_id, mode, '2020-01-01', model, key_id, route, 1, 1, 1, 1, 1
            FROM usage_day"""
        ],
        [],
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_what_was_tampered_with_is_found(disk: DiskLedger, change: str) -> None:
    invariants, statements, without = TAMPERED[change]
    disk.tamper(*statements, without=without)
    assert broken(disk) == invariants


def test_a_missing_file_is_found_until_its_time_has_passed(disk: DiskLedger) -> None:
    for name in disk.blobs.names():
        disk.call(disk.blobs.delete(name))
    assert broken(disk) == {"I7"}
    assert not disk.verify().findings
    disk.clock.now_ms += 72 * 3_600_000
    assert "I7" not in broken(disk)


def test_findings_name_the_row_and_are_bounded(disk: DiskLedger) -> None:
    for number in range(MAX_FINDINGS + 5):
        disk.hold(0, request_id=f"req_{number}")
    disk.tamper("UPDATE request SET expires_at_ms = 0 WHERE state = 'held'")
    found = disk.verify()
    assert len(found.findings) == MAX_FINDINGS
    assert found.checked["I9"] > MAX_FINDINGS
    assert str(found.findings[0]).startswith(f"I9 {found.findings[0].subject}: held ")


def test_a_verification_can_be_stopped(disk: DiskLedger) -> None:
    rows = iter(range(10))
    found = disk.read(lambda tx: verify(tx, stopping=lambda: next(rows) == 9))
    assert found == Verification((), found.checked, complete=False)
    assert not found.clean
    assert set(found.checked) < set(INVARIANTS)
