"""Reconciliation on both databases, call by call, and what the ledger's verification says when its figures are changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from omixa.billing.reconciliation import Report
from omixa.billing.statements import StatementLine, read_lines
from omixa.domain.times import iso_time
from omixa.gateway.reconciliation import Imported, Reconciliation
from omixa.simulator.statement import COLUMNS, UsageFile
from omixa.storage.database import Row
from omixa.storage.tables import attempt
from omixa.usage.records import EndedAttempt
from tests.support.ledger import DiskLedger, disk_ledger
from tests.support.places import Place

# What a successful call of these tests costs, in pico-USD, and how it is called at the provider.
COST, CALLED = 1_000_000, "up-1"
MODEL = "MAI-Image-2.5"
HEADER = "provider_request_id,time,model,deployment,amount"


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=1_000_000) as opened:
        yield opened


def load(disk: DiskLedger, *lines: str, header: str = HEADER) -> Imported:
    path = disk.directory / "usage.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    work = Reconciliation(disk.database, "foundry", {"simulator/MAI-Image-2.5": "mine"})
    return disk.call(work.import_file(path, since=None, until=None, actor="test"))


def report(disk: DiskLedger) -> Report:
    return disk.call(Reconciliation(disk.database, "foundry", {}).report())


def unknown_call(disk: DiskLedger) -> str:
    """Let a call end without an answer and return it."""
    request_id, call = disk.hold(1_000)
    ended = EndedAttempt(call.id, "unknown", None, None, "provider_timeout", None, None, 7, "estimated")
    disk.call(disk.settlement.release(request_id, "provider_timeout", [ended]))
    return call.id


def call_of(disk: DiskLedger, attempt_id: str) -> Row:
    row = disk.read(lambda tx: tx.first(select(attempt).where(attempt.c.id == bindparam("call")), call=attempt_id))
    assert row is not None
    return row


def test_each_way_in_which_a_call_is_explained(disk: DiskLedger) -> None:
    disk.settle()
    first = unknown_call(disk)
    disk.clock.now_ms += 2 * 3_600_000
    second = unknown_call(disk)
    at = iso_time(disk.clock.now_ms - 2 * 3_600_000 + 5)
    load(
        disk,
        f"{CALLED},{at},{MODEL},mine,0.000001",
        f"cut,{at},{MODEL},mine,0.000002",
        f"other,{at},{MODEL},theirs,0.5",
        f"late,{iso_time(disk.clock.now_ms + 4 * 3_600_000)},{MODEL},mine,-0.25",
    )
    found = report(disk)
    assert {way: (lines.count, lines.amount_pico_usd) for way, lines in found.lines.items()} == {
        "request": (1, 1_000_000),
        "hour": (1, 2_000_000),
        "none": (2, 250_000_000_000),
    }
    assert found.calls == {"explained": 3, "open": 0}
    assert {(kind, state): count for (kind, state), count in found.findings.items()} == {
        ("no_attempt", "open"): 2,
        ("unknown_billed", "explained"): 1,
        ("unknown_free", "explained"): 1,
    }
    billed, free = call_of(disk, first), call_of(disk, second)
    assert (billed["state"], billed["cost_pico_usd"], billed["cost_basis"]) == ("failed_billed", 2_000_000, "reported")
    assert (free["state"], free["cost_pico_usd"], free["cost_basis"]) == ("failed_free", 0, "none")
    assert disk.verify().findings == ()
    # Nothing is found twice.
    work = Reconciliation(disk.database, "foundry", {})
    disk.call(work.reconcile())
    assert report(disk) == found


@pytest.mark.parametrize(("amount", "explained"), [("0.0000015", 1), ("0.000001500001", 0), ("0.0000005", 1), ("0", 0)])
def test_half_a_micro_is_rounding(disk: DiskLedger, amount: str, explained: int) -> None:
    disk.settle()
    load(disk, f"{CALLED},{iso_time(disk.clock.now_ms)},{MODEL},mine,{amount}")
    assert report(disk).calls["explained"] == explained
    assert disk.verify().findings == ()


def test_an_interrupted_import_goes_on(disk: DiskLedger) -> None:
    at = iso_time(disk.clock.now_ms)
    lines = [f"r{number},{at},{MODEL},,0.01" for number in range(500)]
    assert load(disk, *lines).new_lines == 500
    disk.tamper("UPDATE provider_file SET completed_at_ms = NULL", "DELETE FROM recon_finding")
    disk.tamper("DELETE FROM provider_statement WHERE provider_request_id LIKE 'r4%'")
    again = load(disk, *lines)
    assert (again.repeated, again.new_lines) == (False, 111)
    assert report(disk).lines["none"].count == report(disk).findings["no_attempt", "open"] == 500


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE attempt SET cost_pico_usd = 9000000 WHERE state = 'ok'",
        "UPDATE attempt SET state = 'unknown' WHERE state = 'ok'",
    ],
)
def test_a_cost_that_is_not_what_was_billed_is_found(disk: DiskLedger, change: str) -> None:
    disk.settle()
    load(disk, f"{CALLED},{iso_time(disk.clock.now_ms)},{MODEL},mine,0.000001")
    assert disk.verify().findings == ()
    disk.tamper(change)
    assert {finding.invariant for finding in disk.verify().findings} == {"costs as billed"}


def test_what_the_simulator_writes_is_read_to_the_last_digit(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    usage = {"num_input_text_tokens": 15, "num_input_image_tokens": 1024, "num_output_tokens": 1024}
    for _ in range(2):
        # Reopened, as by a simulator that was started again.
        UsageFile(path).bill(request_id="r-1", at_ms=1_795_400_000_250, model=MODEL, deployment='a,"b"', usage=usage)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    first, second = read_lines(path)
    assert first.key.partition(":")[0] == second.key.partition(":")[0]
    assert first == StatementLine(
        key=first.key,
        provider_request_id="r-1",
        at_ms=1_795_400_000_250,
        model=MODEL,
        deployment='a,"b"',
        resource="simulated-foundry",
        quantities={"input_text_tokens": 15, "input_image_tokens": 1024, "output_image_tokens": 1024, "images": 1},
        # 15 x 5 + 1,024 x 8 + 1,024 x 47 micro-USD
        amount_pico_usd=56_395_000_000,
    )
