"""What a workspace reads about itself: its own requests only, page by page, and sums that agree with them."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any, get_args

import pytest

from omixa.domain.ids import first_id
from omixa.domain.images import Usage
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import Grouping, RequestFilter, RequestPage, ResultPlace, Rollup
from tests.support.ledger import (
    HOUR_MS,
    MODEL,
    ONE_PICTURE,
    PRICES,
    DiskLedger,
    a_call,
    a_record,
    a_result,
    add_customer,
    disk_ledger,
    failed,
    succeeded,
)
from tests.support.places import Place

DAY_MS = 24 * HOUR_MS
NOON_MS = int(datetime.datetime(2026, 11, 29, 12, tzinfo=datetime.UTC).timestamp()) * 1000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=10**8) as opened:
        opened.clock.now_ms = NOON_MS
        yield opened


def page(disk: DiskLedger, *, limit: int = 100, after: str | None = None, **only: Any) -> RequestPage:
    customer, wanted = disk.customer, RequestFilter(**only)
    return disk.read(
        lambda tx: analytics.list_requests(
            tx, customer.workspace_id, customer.mode, limit=limit, after=after, only=wanted
        )
    )


def ids(found: RequestPage) -> list[str]:
    return [summary.id for summary in found.requests]


# ------------------------------------------------------------------------------------------------------------ one request


def test_a_captured_request_in_detail(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    following = a_call(request_id, 2)
    disk.clock.now_ms += 5
    disk.call(disk.settlement.next_attempt(failed(call), following))
    disk.clock.now_ms += 7
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(following)]))
    found = find(disk, request_id)
    assert found is not None
    summary = found.summary
    assert (summary.id, summary.model, summary.operation) == (request_id, MODEL.id, "generation")
    assert (summary.state, summary.outcome) == ("captured", "ok")
    assert (summary.held_micro_usd, summary.charged_micro_usd, found.exact_pico_usd) == (50_000, 33_900, 33_867_000_000)
    assert summary.usage == ONE_PICTURE
    assert (summary.created_at_ms, summary.ended_at_ms) == (NOON_MS, NOON_MS + 12)
    assert summary.result_expires_at_ms == NOON_MS + 12 + 72 * HOUR_MS
    assert (found.mode, found.parameters, found.price_version) == ("live", {"n": 1}, PRICES.version)
    assert [(step.n, step.state, step.error_code, step.upstream_status) for step in found.attempts] == [
        (1, "failed_free", "rate_limited", 429),
        (2, "ok", None, 200),
    ]
    assert [
        (step.sent_at_ms - NOON_MS, step.ended_at_ms and step.ended_at_ms - NOON_MS) for step in found.attempts
    ] == [
        (0, 5),
        (5, 12),
    ]


def find(disk: DiskLedger, request_id: str) -> analytics.RequestDetails | None:
    customer = disk.customer
    return disk.read(lambda tx: analytics.find_request(tx, customer.workspace_id, customer.mode, request_id))


def test_a_running_and_a_released_request_charge_nothing(disk: DiskLedger) -> None:
    request_id, call = disk.hold(50_000)
    running = find(disk, request_id)
    disk.call(disk.settlement.release(request_id, "provider_timeout", [failed(call)]))
    released = find(disk, request_id)
    assert running is not None
    assert released is not None
    assert (running.summary.state, running.summary.outcome, running.summary.ended_at_ms) == ("held", None, None)
    assert running.attempts[0].ended_at_ms is None
    assert (released.summary.state, released.summary.outcome) == ("released", "provider_timeout")
    for found in (running, released):
        assert (found.summary.charged_micro_usd, found.exact_pico_usd, found.summary.usage) == (0, None, None)


def test_what_calls_cost_the_operator_is_not_told() -> None:
    for kind in (analytics.RequestSummary, analytics.AttemptStep, analytics.RequestDetails):
        assert not [field.name for field in dataclasses.fields(kind) if "cost" in field.name]


def test_nobody_sees_the_requests_of_others(disk: DiskLedger) -> None:
    request_id = disk.settle()
    other = disk.write(lambda tx: add_customer(tx, name="other"))

    def look(tx: Transaction, workspace_id: str, mode: str) -> list[object]:
        return [
            analytics.find_request(tx, workspace_id, mode, request_id),  # type: ignore[arg-type]
            analytics.find_result(tx, workspace_id, mode, request_id),  # type: ignore[arg-type]
            analytics.list_requests(tx, workspace_id, mode, limit=10).requests or None,  # type: ignore[arg-type]
            analytics.rollups(tx, workspace_id, mode, period_type="day") or None,  # type: ignore[arg-type]
        ]

    mine = disk.customer.workspace_id
    assert disk.read(lambda tx: look(tx, other.workspace_id, "live")) == [None] * 4
    assert disk.read(lambda tx: look(tx, mine, "test")) == [None] * 4
    assert None not in disk.read(lambda tx: look(tx, mine, "live"))


# ----------------------------------------------------------------------------------------------------------------- lists


def test_pages_hold_every_request_once_and_the_newest_first(disk: DiskLedger) -> None:
    requests = [disk.hold(1, request_id=f"req_{number:03}")[0] for number in range(25)]
    seen: list[str] = []
    after: str | None = None
    sizes = []
    while True:
        found = page(disk, limit=10, after=after)
        seen += ids(found)
        sizes.append(len(found.requests))
        after = found.next_after
        if after is None:
            break
    assert seen == sorted(requests, reverse=True)
    assert sizes == [10, 10, 5]


def test_a_full_last_page_has_no_next(disk: DiskLedger) -> None:
    for number in range(10):
        disk.hold(1, request_id=f"req_{number:03}")
    assert page(disk, limit=10).next_after is None
    assert page(disk, limit=9).next_after == "req_001"
    assert page(disk, after="req_000") == RequestPage((), None)


def test_filters(disk: DiskLedger) -> None:
    # Ids have the time of this machine in them.
    now_ms = disk.clock.now_ms = time.time_ns() // 1_000_000
    captured = disk.settle()
    refused, call = disk.hold(1)
    disk.call(disk.settlement.release(refused, "provider_timeout", [failed(call)]))
    disk.clock.now_ms += DAY_MS
    held, _ = disk.hold(1, request_id=first_id("req", disk.clock.now_ms))
    every = {
        captured: ("captured", "ok", now_ms),
        refused: ("released", "provider_timeout", now_ms),
        held: ("held", None, now_ms + DAY_MS),
    }
    assert ids(page(disk)) == sorted(every, reverse=True)
    # Every filter together with every other one says what it says on each row alone.
    for model, state, outcome, key_id, since_ms, until_ms in product(
        (None, MODEL.id, "other"),
        (None, "held", "captured", "released"),
        (None, "ok", "provider_timeout", "other"),
        (None, disk.customer.key_id, "other"),
        (None, now_ms, now_ms + 1),
        (None, now_ms + DAY_MS),
    ):
        expected = [
            request_id
            for request_id, (its_state, its_outcome, at_ms) in every.items()
            if model in (None, MODEL.id)
            and key_id in (None, disk.customer.key_id)
            and state in (None, its_state)
            and outcome in (None, its_outcome)
            and (since_ms is None or since_ms <= at_ms)
            and (until_ms is None or at_ms < until_ms)
        ]
        wanted = {
            "model": model,
            "state": state,
            "outcome": outcome,
            "key_id": key_id,
            "since_ms": since_ms,
            "until_ms": until_ms,
        }
        assert sorted(ids(page(disk, **wanted))) == sorted(expected), wanted


# ------------------------------------------------------------------------------------------------------------------- sums


def sums(disk: DiskLedger, **options: object) -> list[Rollup]:
    customer = disk.customer
    return disk.read(lambda tx: analytics.rollups(tx, customer.workspace_id, customer.mode, **options))  # type: ignore[arg-type]


def test_sums_by_day_and_month_agree_with_the_requests(disk: DiskLedger) -> None:
    for number in range(5):
        disk.settle(50_000, Usage(10, 20, 100 * number, 1))
        disk.clock.now_ms += DAY_MS
    days = sums(disk, period_type="day")
    assert [day.period for day in days] == ["2026-11-29", "2026-11-30", "2026-12-01", "2026-12-02", "2026-12-03"]
    assert [(day.requests, day.images, day.input_tokens, day.output_tokens) for day in days] == [
        (1, 1, 30, 100 * number) for number in range(5)
    ]
    months = sums(disk, period_type="month")
    assert [(month.period, month.requests, month.output_tokens) for month in months] == [
        ("2026-11", 2, 100),
        ("2026-12", 3, 900),
    ]
    charged = sum(summary.charged_micro_usd for summary in page(disk).requests)
    assert sum(day.amount_micro_usd for day in days) == sum(month.amount_micro_usd for month in months) == charged
    assert {(day.model, day.key_id) for day in days} == {(None, None)}


def test_both_ends_of_a_range_belong_to_it(disk: DiskLedger) -> None:
    for _ in range(5):
        disk.settle()
        disk.clock.now_ms += DAY_MS
    periods = [day.period for day in sums(disk, period_type="day", since="2026-11-30", until="2026-12-02")]
    assert periods == ["2026-11-30", "2026-12-01", "2026-12-02"]
    assert [month.requests for month in sums(disk, period_type="month", since="2026-11-30", until="2026-12-02")] == [
        1,
        2,
    ]
    assert sums(disk, period_type="day", since="2027-01-01") == []


def test_sums_by_model_key_and_route(disk: DiskLedger) -> None:
    disk.settle()
    disk.settle()
    own = {"model": MODEL.id, "key": disk.customer.key_id, "route": "simulator/MAI-Image-2.5"}
    for count in range(len(own) + 1):
        for by in combinations(get_args(Grouping), count):
            (row,) = sums(disk, period_type="day", by=frozenset(by))
            found = {"model": row.model, "key": row.key_id, "route": row.route}
            assert found == {name: value if name in by else None for name, value in own.items()}
            assert row.requests == 2


# ---------------------------------------------------------------------------------------------------------------- results


def place(disk: DiskLedger, request_id: str) -> ResultPlace | None:
    customer = disk.customer
    return disk.read(lambda tx: analytics.find_result(tx, customer.workspace_id, customer.mode, request_id))


def test_a_result_has_a_place_until_its_time_has_passed(disk: DiskLedger) -> None:
    request_id = disk.settle(stored=True)
    expires_at_ms = NOON_MS + 72 * HOUR_MS
    kept = ResultPlace("captured", "ok", 33_900, f"20261123/{request_id}", "d" * 64, expires_at_ms)
    assert place(disk, request_id) == kept
    disk.clock.now_ms = expires_at_ms - 1
    assert place(disk, request_id) == kept
    disk.clock.now_ms = expires_at_ms
    assert place(disk, request_id) == dataclasses.replace(kept, ref=None)
    disk.sweep()
    assert place(disk, request_id) == dataclasses.replace(kept, ref=None)


def test_a_request_without_a_result_has_no_place(disk: DiskLedger) -> None:
    request_id, _ = disk.hold(1)
    assert place(disk, request_id) == ResultPlace("held", None, 0, None, None, None)
    assert place(disk, "req_none") is None
    assert find(disk, "req_none") is None
