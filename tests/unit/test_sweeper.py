"""What a crash leaves is cleaned up, what is alive is left alone, and the loops start and stop cleanly."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from omixa.billing import recovery
from omixa.billing.ledger import HOLD_MARGIN_MS, Balance, StoredResult
from omixa.gateway.settlement import NodeIdentity
from omixa.jobs import sweeper as sweeper_module
from omixa.jobs.sweeper import INTERRUPTED, SILENCE_MS, Sweeper
from omixa.storage import small_results
from omixa.storage.small_results import IN_DATABASE
from omixa.storage.tables import attempt, request
from tests.support.ledger import (
    DEADLINE_MS,
    HOUR_MS,
    NODE,
    ONE_PICTURE,
    DiskLedger,
    a_record,
    a_result,
    disk_ledger,
    succeeded,
)
from tests.support.places import Place

CREDIT = 1_000_000
_request = select(request).where(request.c.id == bindparam("request_id"))
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id"))


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify(with_results=True).findings == ()


def state(disk: DiskLedger, request_id: str) -> tuple[str, str | None]:
    row = disk.read(lambda tx: tx.first(_request, request_id=request_id))
    assert row is not None
    return row["state"], row["outcome"]


def other_node(disk: DiskLedger, name: str = "node-b") -> NodeIdentity:
    return NodeIdentity(name, disk.write(lambda tx: recovery.register_node(tx, name)))


# ------------------------------------------------------------------------------------------------------------------ nodes


def test_every_start_is_a_new_epoch_of_its_node(disk: DiskLedger) -> None:
    assert disk.node == NodeIdentity(NODE, 1)
    assert disk.restart() == NodeIdentity(NODE, 2)
    assert other_node(disk) == NodeIdentity("node-b", 1)
    disk.reopen()
    assert disk.node == NodeIdentity(NODE, 3)


def test_a_superseded_node_is_told(disk: DiskLedger, caplog: pytest.LogCaptureFixture) -> None:
    disk.call(disk.sweeper.beat())
    assert caplog.records == []
    disk.call(Sweeper(disk.database, disk.blobs, node_id=NODE).recover())
    disk.call(disk.sweeper.beat())
    assert [record.message for record in caplog.records] == ["node.superseded"]


# ------------------------------------------------------------------------------------------------------------------ holds


def test_a_start_releases_what_the_last_run_held_and_ends_its_calls(disk: DiskLedger) -> None:
    requests = [disk.hold(10_000)[0] for _ in range(5)]
    captured = disk.settle(stored=True)
    assert disk.balance().held == 50_000
    disk.reopen()
    assert [state(disk, request_id) for request_id in requests] == [("released", INTERRUPTED)] * 5
    assert state(disk, captured) == ("captured", "ok")
    assert disk.balance() == Balance(CREDIT - 33_900, 0)
    (call,) = disk.read(lambda tx: tx.all(_attempts, request_id=requests[0]))
    assert (call["state"], call["error_code"], call["cost_basis"]) == ("unknown", INTERRUPTED, "none")


def test_many_lost_holds_are_released_in_batches(disk: DiskLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "BATCH", 4)
    for _ in range(8):
        disk.hold(1)
    disk.restart()
    assert disk.balance() == Balance(CREDIT, 0)


def test_a_living_node_keeps_its_holds(disk: DiskLedger) -> None:
    neighbour = other_node(disk)
    requests = [disk.hold(10_000)[0], disk.hold(10_000, node=neighbour)[0]]
    disk.sweep()
    assert [state(disk, request_id)[0] for request_id in requests] == ["held", "held"]


def test_a_silent_node_loses_its_holds(disk: DiskLedger) -> None:
    neighbour = other_node(disk)
    mine, _ = disk.hold(10_000)
    theirs, _ = disk.hold(10_000, node=neighbour)
    disk.clock.now_ms += SILENCE_MS
    disk.call(disk.sweeper.beat())
    disk.sweep()
    assert state(disk, theirs)[0] == "held"
    disk.clock.now_ms += 1
    disk.sweep()
    assert (state(disk, mine)[0], state(disk, theirs)[0]) == ("held", "released")


def test_every_node_knows_how_many_share_the_database(disk: DiskLedger) -> None:
    assert disk.sweeper.live_nodes == 1
    other = Sweeper(disk.database, disk.blobs, node_id="node-b")
    disk.call(other.recover())
    assert (disk.sweeper.live_nodes, other.live_nodes) == (1, 2)
    disk.call(disk.sweeper.beat())
    assert disk.sweeper.live_nodes == 2
    disk.clock.now_ms += SILENCE_MS + 1
    disk.call(disk.sweeper.beat())
    assert disk.sweeper.live_nodes == 1


def test_a_node_that_wakes_up_keeps_what_it_holds_from_then_on(disk: DiskLedger) -> None:
    neighbour = other_node(disk)
    before, _ = disk.hold(10_000, node=neighbour)
    disk.clock.now_ms += SILENCE_MS
    disk.call(disk.sweeper.beat())
    disk.clock.now_ms += 1
    after, _ = disk.hold(10_000, node=neighbour)
    disk.sweep()
    assert (state(disk, before)[0], state(disk, after)[0]) == ("released", "held")


def test_after_an_outage_silence_is_counted_anew(disk: DiskLedger) -> None:
    """A sweeper that could not beat could not hear the others either."""
    neighbour = other_node(disk)
    theirs, _ = disk.hold(10_000, node=neighbour, deadline_ms=HOUR_MS)
    disk.clock.now_ms += 10 * SILENCE_MS
    disk.call(disk.sweeper.beat())
    disk.sweep()
    assert state(disk, theirs)[0] == "held"
    disk.clock.now_ms += SILENCE_MS
    disk.call(disk.sweeper.beat())
    disk.sweep()
    assert state(disk, theirs)[0] == "released"


def test_the_holds_of_an_unknown_node_are_lost(disk: DiskLedger) -> None:
    request_id, _ = disk.hold(10_000, node=NodeIdentity("nobody", 1))
    disk.sweep()
    assert state(disk, request_id) == ("released", INTERRUPTED)


def test_a_hold_past_its_time_is_lost_even_when_its_node_lives(disk: DiskLedger) -> None:
    request_id, _ = disk.hold(10_000)
    disk.clock.now_ms += DEADLINE_MS + HOLD_MARGIN_MS
    disk.call(disk.sweeper.beat())
    disk.sweep()
    assert state(disk, request_id)[0] == "held"
    disk.clock.now_ms += 1
    disk.sweep()
    assert state(disk, request_id) == ("released", INTERRUPTED)


# ---------------------------------------------------------------------------------------------------------------- results


def test_results_past_their_time_are_deleted_and_others_stay(disk: DiskLedger) -> None:
    old = disk.settle(stored=True)
    disk.clock.now_ms += HOUR_MS
    young = disk.settle(stored=True)
    disk.clock.now_ms += 71 * HOUR_MS
    disk.sweep()
    assert disk.blobs.names() == [a_result(young).ref]
    row = disk.read(lambda tx: tx.first(_request, request_id=old))
    assert row is not None
    assert (row["result_ref"], row["result_digest"]) == (None, "d" * 64)


def settle_small(disk: DiskLedger) -> str:
    """Settle a request whose result is kept in the database."""
    request_id, call = disk.hold(50_000)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    result = StoredResult(IN_DATABASE, "d" * 64, 72 * HOUR_MS, b"a small picture")
    disk.call(disk.settlement.capture(record, result, [succeeded(call)]))
    return request_id


def test_a_small_result_is_stored_with_its_charge_and_deleted_when_its_time_has_passed(disk: DiskLedger) -> None:
    old = settle_small(disk)
    disk.clock.now_ms += HOUR_MS
    young = settle_small(disk)
    assert disk.read(lambda tx: small_results.find(tx, old)) == b"a small picture"
    disk.clock.now_ms += 71 * HOUR_MS
    disk.sweep()
    assert disk.read(lambda tx: small_results.find(tx, old)) is None
    assert disk.read(lambda tx: small_results.find(tx, young)) == b"a small picture"


def test_a_small_result_that_is_missing_is_found(disk: DiskLedger) -> None:
    request_id = settle_small(disk)
    disk.write(lambda tx: small_results.forget(tx, [request_id]))
    assert [finding.invariant for finding in disk.verify(with_results=True).findings] == ["I7"]
    disk.clock.now_ms += 72 * HOUR_MS


def test_a_crash_between_row_and_file_leaves_an_orphan_that_the_next_start_removes(disk: DiskLedger) -> None:
    request_id = disk.settle(stored=True)
    disk.clock.now_ms += 72 * HOUR_MS
    assert disk.write(lambda tx: recovery.forget_expired_results(tx, limit=10)) == [a_result(request_id).ref]
    assert disk.blobs.has(a_result(request_id).ref)
    disk.restart()
    assert disk.blobs.names() == []


def test_files_that_no_captured_request_refers_to_are_removed_at_the_start(disk: DiskLedger) -> None:
    captured = disk.settle(stored=True)
    interrupted, _ = disk.hold(10_000)
    for request_id in (interrupted, "req_unheardof"):
        disk.call(disk.blobs.put(a_result(request_id).ref, lambda: [b"never charged"]))
    disk.call(disk.blobs.put(f"20250101/{captured}", lambda: [b"not where the request says"]))
    half = disk.directory / "results" / "20261123" / ".req_1.unfinished"
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    disk.restart()
    assert disk.blobs.names() == [a_result(captured).ref]
    assert not list((disk.directory / "results").glob("*/.*"))


def test_the_file_of_a_request_in_progress_is_left_alone(disk: DiskLedger) -> None:
    request_id, _ = disk.hold(10_000)
    disk.call(disk.blobs.put(a_result(request_id).ref, lambda: [b"about to be charged"]))
    assert disk.call(disk.sweeper.remove_orphans()) == 0
    assert disk.blobs.has(a_result(request_id).ref)


def test_files_that_omixa_did_not_name_are_left_alone(disk: DiskLedger) -> None:
    foreign = disk.directory / "results" / "backup" / "Copy of omixa.db"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"precious")
    disk.restart()
    assert foreign.read_bytes() == b"precious"


# ------------------------------------------------------------------------------------------------------------------ loops


def test_the_sweeper_wants_to_recover_first(disk: DiskLedger) -> None:
    async def enter() -> None:
        async with Sweeper(disk.database, disk.blobs, node_id="new"):
            pass

    with pytest.raises(RuntimeError, match="recover"):
        disk.call(enter())


def test_the_loops_sweep_and_verify_until_the_sweeper_is_left(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SWEEP_INTERVAL_S", "VERIFY_INTERVAL_S", "FIRST_VERIFY_S"):
        monkeypatch.setattr(sweeper_module, name, 0.001)
    request_id, _ = disk.hold(10_000, node=NodeIdentity("nobody", 1))
    swept, verified = asyncio.Event(), asyncio.Event()
    sweep, check = disk.sweeper.sweep, disk.sweeper.check

    async def sweep_and_tell() -> None:
        await sweep()
        swept.set()

    async def check_and_tell() -> None:
        assert (await check()).clean
        verified.set()

    monkeypatch.setattr(disk.sweeper, "sweep", sweep_and_tell)
    monkeypatch.setattr(disk.sweeper, "check", check_and_tell)

    async def serve() -> int:
        async with disk.sweeper:
            await swept.wait()
            await verified.wait()
        return len(asyncio.all_tasks())

    assert disk.call(serve()) == 1
    assert state(disk, request_id)[0] == "released"


def test_leaving_does_not_wait_for_the_next_round(disk: DiskLedger) -> None:
    async def enter_and_leave() -> None:
        async with disk.sweeper:
            pass

    disk.call(asyncio.wait_for(enter_and_leave(), sweeper_module.FIRST_VERIFY_S / 2))


def test_a_round_that_fails_is_logged_and_followed_by_the_next(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeper_module, "SWEEP_INTERVAL_S", 0.001)
    rounds = 0
    twice = asyncio.Event()

    async def fail() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            twice.set()
        raise RuntimeError("no luck")

    monkeypatch.setattr(disk.sweeper, "sweep", fail)

    async def serve() -> None:
        async with disk.sweeper:
            await twice.wait()

    disk.call(serve())
    assert "sweeper.round_failed" in {record.message for record in caplog.records}


def test_what_verification_finds_is_logged(tmp_path: Path, place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with disk_ledger(tmp_path, place, credit=CREDIT) as disk:
        disk.tamper("UPDATE account SET posted = posted + 1 WHERE posted > 0")
        with caplog.at_level(logging.ERROR):
            assert not disk.call(disk.sweeper.check()).clean
    (record,) = caplog.records
    assert record.message == "ledger.verify_failed"
    assert "I1 " in record.findings[0]  # type: ignore[attr-defined]
