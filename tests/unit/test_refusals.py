"""What content refusals cost the operator: counted with the release, bounded by day, on both databases."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from omixa.billing import refusals
from omixa.domain.ids import new_id
from omixa.domain.times import DAY_MS
from omixa.errors import OmixaError, RefusalLimit
from omixa.usage.records import EndedAttempt, StartedAttempt
from tests.support.ledger import (
    ONE_PICTURE,
    Customer,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    add_customer,
    disk_ledger,
    failed,
    succeeded,
)
from tests.support.places import Place

LIMIT = 5_000
COST = 1_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=100_000_000) as opened:
        yield opened
        assert opened.verify().findings == ()


def refused(call: StartedAttempt, cost: int = COST) -> EndedAttempt:
    return EndedAttempt(
        call.id, "failed_billed", "up-1", 400, "content_policy_violation", None, None, cost, "estimated"
    )


def hold(disk: DiskLedger, customer: Customer | None = None, limit: int = LIMIT) -> tuple[str, StartedAttempt]:
    request_id = new_id("req")
    call = a_call(request_id)
    wanted = a_hold(customer or disk.customer, request_id, 50_000, disk.node)
    wanted = dataclasses.replace(wanted, refusal_limit_pico_usd=limit)
    disk.call(disk.settlement.authorise(wanted, [call]))
    return request_id, call


def refuse(disk: DiskLedger, cost: int = COST) -> None:
    request_id, call = hold(disk)
    disk.call(disk.settlement.release(request_id, "content_policy_violation", [refused(call, cost)]))


def test_past_the_limit_nothing_is_held_until_the_day_has_ended(disk: DiskLedger) -> None:
    for _ in range(5):
        refuse(disk)
    with pytest.raises(RefusalLimit, match=r"the limit is \$0.000000 a day") as limited:
        hold(disk)
    midnight = refusals.day_of(disk.clock.now_ms) + DAY_MS
    assert limited.value.retry_after_s == -(-(midnight - disk.clock.now_ms) // 1000)
    disk.clock.now_ms = midnight - 1
    with pytest.raises(RefusalLimit) as limited:
        hold(disk)
    assert limited.value.retry_after_s == 1
    disk.clock.now_ms = midnight
    refuse(disk)
    hold(disk)


def test_only_refusals_that_cost_something_count(disk: DiskLedger) -> None:
    refuse(disk, LIMIT - 1)
    refuse(disk, 0)
    request_id, call = hold(disk)
    disk.call(disk.settlement.release(request_id, "provider_timeout", [failed(call)]))
    hold(disk)
    refuse(disk, 1)
    with pytest.raises(RefusalLimit):
        hold(disk)


def test_refusals_beside_a_picture_that_was_made_count(disk: DiskLedger) -> None:
    request_id, call = hold(disk)
    other = a_call(request_id, 2)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    ended = [succeeded(call), refused(other, LIMIT)]
    disk.call(disk.settlement.capture(record, a_result(request_id), ended))
    with pytest.raises(RefusalLimit):
        hold(disk)


def test_what_the_sweeper_has_released_counts_once_at_most(disk: DiskLedger) -> None:
    request_id, call = hold(disk)
    late = disk.settlement
    disk.restart()
    disk.call(late.release(request_id, "content_policy_violation", [refused(call, LIMIT)]))
    hold(disk)


def test_another_workspace_is_not_concerned(disk: DiskLedger) -> None:
    other = disk.write(lambda tx: add_customer(tx, credit=1_000_000, name="other"))
    refuse(disk, LIMIT)
    hold(disk, other)
    with pytest.raises(RefusalLimit):
        hold(disk)


def test_refusals_of_the_same_moment_are_all_counted(disk: DiskLedger) -> None:
    held = [hold(disk) for _ in range(40)]

    async def refuse_all() -> list[object]:
        released = (
            disk.settlement.release(request_id, "content_policy_violation", [refused(call, 125)])
            for request_id, call in held
        )
        return await asyncio.gather(*released)

    disk.call(refuse_all())
    hold(disk, limit=LIMIT + 1)
    with pytest.raises(OmixaError) as limited:
        hold(disk, limit=LIMIT)
    assert isinstance(limited.value, RefusalLimit)
