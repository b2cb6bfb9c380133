"""Retries that carry no key, at the surface of the ledger: which request they join."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from omixa.domain.ids import new_id
from omixa.gateway.idempotency import Earlier, RequestIdentity
from tests.support.ledger import (
    ONE_PICTURE,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    disk_ledger,
)
from tests.support.places import Place

HOLD = 50_000
FINGERPRINT = "f" * 64
RETRY = RequestIdentity("/images/generations", FINGERPRINT, key=None, is_retry=True, retention_ms=1)


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=10**6) as opened:
        yield opened


def ask(disk: DiskLedger, request_id: str) -> str | None:
    """Send a retry; return the request that answers it, or None where it holds money for itself."""
    hold = replace(a_hold(disk.customer, request_id, HOLD, disk.node), fingerprint=FINGERPRINT)
    found = disk.call(disk.settlement.authorise(hold, [a_call(request_id)], RETRY))
    return found.request_id if isinstance(found, Earlier) else None


def fail(disk: DiskLedger, request_id: str) -> None:
    disk.call(disk.settlement.release(request_id, "provider_error", []))


def settle(disk: DiskLedger, request_id: str) -> None:
    record = a_record(disk.customer, request_id, ONE_PICTURE, HOLD)
    disk.call(disk.settlement.capture(record, a_result(request_id), []))


def test_a_retry_joins_the_request_that_runs(disk: DiskLedger) -> None:
    first = new_id("req")
    assert ask(disk, first) is None
    assert ask(disk, new_id("req")) == first


def test_a_retry_of_a_failure_asks_anew(disk: DiskLedger) -> None:
    first = new_id("req")
    assert ask(disk, first) is None
    fail(disk, first)
    disk.clock.now_ms += 1
    assert ask(disk, new_id("req")) is None


@pytest.mark.parametrize("is_settled", [False, True], ids=["running", "charged"])
def test_of_two_that_race_the_one_that_was_held_last_is_joined_whatever_their_ids(
    disk: DiskLedger, is_settled: bool
) -> None:
    """The first to come was held after the other one had failed; a third one must not be charged as well."""
    came_first, came_second = sorted((new_id("req"), new_id("req")))
    assert ask(disk, came_second) is None
    fail(disk, came_second)
    assert ask(disk, came_first) is None
    if is_settled:
        settle(disk, came_first)
    assert ask(disk, new_id("req")) == came_first
