"""Results that are deleted: what is parked and never charged, what still runs, and what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from omixa.billing.ledger import Balance, StoredResult
from omixa.errors import RequestInProgress, ResultNotFound
from omixa.gateway.deletion import Deletion
from omixa.gateway.idempotency import JOIN_WINDOW_MS, PARKED_RETENTION_MS, Remains
from omixa.gateway.results import UNDELIVERED_MS
from omixa.jobs.sweeper import RETENTION_SETTLES_MS
from omixa.storage import retention
from omixa.storage.tables import parked_result, workspace
from tests.support.ledger import HOUR_MS, DiskLedger, a_result, disk_ledger, succeeded
from tests.support.places import Place

CREDIT = 1_000_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened


def delete(disk: DiskLedger, request_id: str) -> None:
    one = disk.customer
    deletion = Deletion(disk.database, disk.blobs)
    disk.call(deletion.delete(request_id, owner=(one.workspace_id, one.mode), actor=one.key_id))


def park(disk: DiskLedger) -> str:
    """Store a result, release its request and keep the result for a repeat."""
    request_id, call = disk.hold(50_000)
    disk.call(disk.blobs.put(a_result(request_id).ref, lambda: [b"never charged"]))
    parked = Remains(parked=StoredResult(a_result(request_id).ref, "d" * 64, PARKED_RETENTION_MS))
    disk.call(disk.settlement.release(request_id, "settlement_unavailable", [succeeded(call)], parked))
    return request_id


def waits_ms(disk: DiskLedger) -> int:
    (row,) = disk.read(lambda tx: tx.all(select(parked_result)))
    return int(row["expires_at_ms"] - disk.clock.now_ms)


def test_a_result_that_was_never_charged_can_be_deleted(disk: DiskLedger) -> None:
    request_id = park(disk)
    delete(disk, request_id)
    assert disk.blobs.names() == []
    assert disk.read(lambda tx: tx.all(select(parked_result))) == []
    assert disk.balance() == Balance(CREDIT, 0)
    assert disk.verify(with_results=True).clean
    with pytest.raises(ResultNotFound):
        delete(disk, request_id)


def test_a_request_that_runs_keeps_what_it_is_about_to_charge(disk: DiskLedger) -> None:
    request_id, _ = disk.hold(50_000)
    disk.call(disk.blobs.put(a_result(request_id).ref, lambda: [b"about to be charged"]))
    with pytest.raises(RequestInProgress):
        delete(disk, request_id)
    assert disk.blobs.has(a_result(request_id).ref)


def test_every_file_of_a_request_goes(disk: DiskLedger) -> None:
    request_id, other = disk.settle(stored=True), disk.settle(stored=True)
    disk.call(disk.blobs.put(f"20250101/{request_id}", lambda: [b"stored before the ledger came back"]))
    delete(disk, request_id)
    assert disk.blobs.names() == [a_result(other).ref]
    assert disk.verify(with_results=True).clean


def test_a_deletion_that_was_cut_short_is_finished_by_the_next_start(disk: DiskLedger) -> None:
    request_id = disk.settle(stored=True)
    disk.write(lambda tx: retention.delete(tx, request_id, owner=None))
    assert disk.blobs.names() == [a_result(request_id).ref]
    disk.restart()
    assert disk.blobs.names() == []
    assert disk.verify(with_results=True).clean


def test_what_is_parked_waits_no_longer_than_others_are_kept(disk: DiskLedger) -> None:
    set_retention(disk, 2 * HOUR_MS)
    park(disk)
    assert waits_ms(disk) == 2 * HOUR_MS
    set_retention(disk, HOUR_MS)
    disk.sweep()
    assert waits_ms(disk) == HOUR_MS
    set_retention(disk, 0)
    disk.sweep()
    assert waits_ms(disk) == UNDELIVERED_MS == JOIN_WINDOW_MS


def set_retention(disk: DiskLedger, retention_ms: int | None) -> None:
    disk.write(lambda tx: retention.set_retention(tx, disk.customer.workspace_id, retention_ms))


def test_results_of_requests_that_began_before_are_found_too(disk: DiskLedger) -> None:
    """A server may not have heard of the new retention yet; for an hour, what it stores is looked at."""
    before = [disk.settle(stored=True) for _ in range(3)]
    set_retention(disk, HOUR_MS)
    disk.sweep()
    late = disk.settle(stored=True)
    disk.sweep()
    disk.clock.now_ms += HOUR_MS
    disk.sweep()
    assert disk.blobs.names() == []
    assert len({*before, late}) == 4
    disk.clock.now_ms += RETENTION_SETTLES_MS
    disk.sweep()
    assert disk.read(lambda tx: retention.changed(tx)) == []
    (row,) = disk.read(lambda tx: tx.all(select(workspace.c.result_retention_ms)))
    assert row["result_retention_ms"] == HOUR_MS


def test_a_delivered_result_is_never_kept_for_longer(disk: DiskLedger) -> None:
    request_id = disk.settle(stored=True)
    disk.write(lambda tx: retention.end_in(tx, request_id, 100 * HOUR_MS))
    disk.clock.now_ms += 72 * HOUR_MS
    disk.sweep()
    assert disk.blobs.names() == []
