"""Prompts that a workspace wants kept: written with the charge, gone with the pictures, found by their words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from omixa.billing.ledger import StoredResult
from omixa.domain.access import Secret
from omixa.domain.ids import first_id
from omixa.gateway import workspaces as workspaces_module
from omixa.gateway.deletion import Deletion
from omixa.gateway.idempotency import PARKED_RETENTION_MS, Remains
from omixa.gateway.workspaces import ResultChanges, Workspaces
from omixa.jobs import sweeper as sweeper_module
from omixa.jobs.sweeper import RETENTION_SETTLES_MS
from omixa.storage import prompts, retention
from omixa.storage.tables import prompt
from omixa.usage import search
from omixa.usage.analytics import RequestFilter, RequestPage
from omixa.usage.search import search_requests, words_of
from tests.support.ledger import (
    HOUR_MS,
    MODEL,
    ONE_PICTURE,
    Customer,
    DiskLedger,
    a_record,
    a_result,
    add_customer,
    disk_ledger,
    succeeded,
)
from tests.support.places import Place

CREDIT = 10_000_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        keep(opened, True)
        yield opened
        assert opened.verify().findings == ()


def keep(disk: DiskLedger, wanted: bool) -> None:
    """Say whether prompts are kept, and leave those that are there."""
    disk.write(lambda tx: retention.set_keep_prompts(tx, disk.customer.workspace_id, wanted))


def set_results(disk: DiskLedger, **changes: Any) -> None:
    """Do what the pages, the API and the command line do."""
    workspaces = Workspaces(disk.database, Secret("5e" * 32))
    wanted: ResultChanges = changes  # type: ignore[assignment]
    disk.call(workspaces.set_results("customer", wanted, actor="test"))


def settle(disk: DiskLedger, text: str, *, request_id: str = "") -> str:
    """Charge for a request with a prompt, as one does that began while its workspace wanted prompts kept."""
    request_id, call = disk.hold(50_000, request_id=request_id)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)], prompt=text))
    return request_id


def kept(disk: DiskLedger) -> dict[str, str]:
    rows = disk.read(lambda tx: tx.all(select(prompt)))
    assert {(row["workspace_id"], row["mode"]) for row in rows} <= {(disk.customer.workspace_id, disk.customer.mode)}
    return {row["request_id"]: row["text"] for row in rows}


# ---------------------------------------------------------------------------------------------------------------- keeping


def test_a_prompt_is_written_with_the_charge(disk: DiskLedger) -> None:
    request_id = settle(disk, "A red kite")
    running, _ = disk.hold(50_000)
    assert kept(disk) == {request_id: "A red kite"}
    assert disk.read(lambda tx: prompts.find(tx, [running, request_id, "req_unheardof"])) == {request_id: "A red kite"}


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_one_without_words_is_none(disk: DiskLedger, text: str) -> None:
    settle(disk, text)
    assert kept(disk) == {}


def test_any_text_can_be_kept_and_no_more_than_some_of_it(disk: DiskLedger) -> None:
    hostile = "</p><script>\u202e\u2067 %_\\ '\" \U0001f98a e\u0301"
    wide = "\U0001f98a" * (prompts.MAX_CHARS + 1)
    first, second, third = settle(disk, hostile), settle(disk, wide), settle(disk, "before\0after")
    found = kept(disk)
    assert (found[first], found[second]) == (hostile, wide[:-1])
    assert found[third].replace("\0", "").startswith("before")


def test_a_workspace_that_does_not_want_it_has_none(disk: DiskLedger) -> None:
    """Whatever a request thought that began before."""
    keep(disk, False)
    settle(disk, "A red kite")
    keep(disk, True)
    disk.write(lambda tx: retention.set_retention(tx, disk.customer.workspace_id, 0))
    settle(disk, "A red kite")
    assert kept(disk) == {}
    disk.write(lambda tx: retention.set_retention(tx, disk.customer.workspace_id, HOUR_MS))
    settle(disk, "A red kite")
    assert len(kept(disk)) == 1


def test_a_request_that_was_not_charged_leaves_none(disk: DiskLedger) -> None:
    """Its result may wait for a repeat; the prompt then belongs to the one that is charged."""
    request_id, call = disk.hold(50_000)
    disk.call(disk.blobs.put(a_result(request_id).ref, lambda: [b"never charged"]))
    parked = Remains(parked=StoredResult(a_result(request_id).ref, "d" * 64, PARKED_RETENTION_MS))
    disk.call(disk.settlement.release(request_id, "settlement_unavailable", [succeeded(call)], parked))
    assert kept(disk) == {}


# --------------------------------------------------------------------------------------------------------------- deletion


def test_a_prompt_goes_when_the_time_of_its_result_has_passed(disk: DiskLedger) -> None:
    settle(disk, "A red kite")
    disk.clock.now_ms += HOUR_MS
    young = settle(disk, "A red fox")
    disk.clock.now_ms += 71 * HOUR_MS
    disk.sweep()
    assert kept(disk) == {young: "A red fox"}


def test_a_prompt_goes_when_its_result_is_deleted(disk: DiskLedger) -> None:
    gone, other = settle(disk, "A red kite"), settle(disk, "A red fox")
    one = disk.customer
    deletion = Deletion(disk.database, disk.blobs)
    disk.call(deletion.delete(gone, owner=(one.workspace_id, one.mode), actor=one.key_id))
    assert kept(disk) == {other: "A red fox"}


@pytest.mark.parametrize("changes", [{"keep_prompts": False}, {"retention_hours": 0}], ids=["off", "nothing"])
@pytest.mark.parametrize("count", [0, 2, 5])
def test_all_of_them_go_when_they_are_not_wanted_any_more(
    disk: DiskLedger, changes: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspaces_module, "_PROMPT_BATCH", 2)
    other = disk.write(lambda tx: add_customer(tx, name="other", credit=CREDIT))
    for _ in range(count):
        settle(disk, "A red kite")
    mine, disk.customer = disk.customer, other
    keep(disk, True)
    theirs = settle(disk, "A red fox")
    disk.customer = mine
    set_results(disk, retention_hours=2, response_format="url")
    assert len(disk.read(lambda tx: tx.all(select(prompt)))) == count + 1, (
        "what has nothing to do with them leaves them"
    )
    set_results(disk, **changes)
    disk.customer = other
    assert list(kept(disk)) == [theirs]


def test_what_was_left_over_is_found_by_the_sweeper(disk: DiskLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one who turned it off may have been cut short, and another server may have written at the same moment."""
    monkeypatch.setattr(sweeper_module, "BATCH", 2)
    for _ in range(5):
        settle(disk, "A red kite")
    keep(disk, False)
    disk.sweep()
    assert kept(disk) == {}
    disk.clock.now_ms += RETENTION_SETTLES_MS + 1
    disk.sweep()
    assert disk.read(retention.changed) == []


# ----------------------------------------------------------------------------------------------------------------- search


def find(
    disk: DiskLedger,
    words: str,
    *,
    limit: int = 100,
    after: str | None = None,
    customer: Customer | None = None,
    **only: Any,
) -> RequestPage:
    one = customer or disk.customer
    return disk.read(
        lambda tx: search_requests(
            tx, one.workspace_id, one.mode, words_of(words), limit=limit, after=after, only=RequestFilter(**only)
        )
    )


def ids(page: RequestPage) -> list[str]:
    return [one.id for one in page.requests]


@pytest.mark.parametrize(
    ("text", "words", "is_found"),
    [
        ("A Red Kite over stubble", "kite RED", True),
        ("A red kite over stubble", "red fox", False),
        ("A red kite over stubble", "stubb", True),
        ("Ein Fuchs auf der STRASSE", "stra\u00dfe", True),
        ("Caf\u00e9 am Abend", "cafe\u0301", True),
        ("\u0391\u0398\u0397\u039d\u0391", "\u03b1\u03b8\u03b7\u03bd\u03b1", True),
        ("\u6771\u4eac\u306e\u591c", "\u4eac", True),
        ("50% off", "50%", True),
        ("500 percent off", "50%", False),
        ("a_b", "a_b", True),
        ("axb", "a_b", False),
        ("a\\b", "\\", True),
        ("a b", "\\", False),
        ("it's a kite", "' OR '1'='1", False),
        ("A red kite", "", True),
    ],
)
def test_all_words_have_to_occur_and_every_character_is_plain(
    disk: DiskLedger, text: str, words: str, is_found: bool
) -> None:
    request_id = settle(disk, text)
    assert ids(find(disk, words)) == ([request_id] if is_found else [])


def test_pages_have_every_match_once_and_the_newest_first(disk: DiskLedger) -> None:
    made = [settle(disk, "a kite" if n % 3 else "a fox", request_id=f"req_{n:03}") for n in range(20)]
    wanted = [request_id for n, request_id in enumerate(made) if n % 3][::-1]
    for limit in (1, 4, len(wanted), 100):
        seen: list[str] = []
        after: str | None = None
        while True:
            page = find(disk, "kite", limit=limit, after=after)
            assert page.cut_after is None
            seen += ids(page)
            after = page.next_after
            if after is None:
                break
            assert len(page.requests) == limit
        assert seen == wanted


def test_a_page_looks_through_so_many_and_the_next_one_goes_on(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 4)
    monkeypatch.setattr(search, "_CHUNK", 2)
    for n in range(9):
        settle(disk, "a kite" if n in (0, 7) else "a fox", request_id=f"req_{n:03}")
    pages = []
    after: str | None = None
    while not pages or after is not None:
        page = find(disk, "kite", after=after)
        pages.append((ids(page), page.next_after, page.cut_after))
        after = page.next_after
    assert pages == [(["req_007"], "req_005", 4), ([], "req_001", 4), (["req_000"], None, None)]


def test_long_prompts_are_fewer_on_a_page(disk: DiskLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_CHARS_LOOKED_THROUGH", 3_000)
    monkeypatch.setattr(search, "_CHUNK", 2)
    for n in range(7):
        settle(disk, "a kite " + "x" * 993, request_id=f"req_{n:03}")
    page = find(disk, "fox")
    assert (ids(page), page.next_after, page.cut_after) == ([], "req_003", 4)
    assert find(disk, "fox", after="req_003").next_after is None


def test_the_filters_of_the_log_count_too(disk: DiskLedger) -> None:
    old = settle(disk, "a kite", request_id=first_id("req", disk.clock.now_ms))
    disk.clock.now_ms += 48 * HOUR_MS
    young = settle(disk, "a kite", request_id=first_id("req", disk.clock.now_ms))
    since = disk.clock.now_ms - HOUR_MS
    assert ids(find(disk, "kite", model=MODEL.id, state="captured", key_id=disk.customer.key_id)) == [young, old]
    assert ids(find(disk, "kite", since_ms=since)) == [young]
    assert ids(find(disk, "kite", until_ms=since)) == [old]
    others: list[dict[str, Any]] = [
        {"model": "other"},
        {"state": "released"},
        {"outcome": "x"},
        {"key_id": "key_x"},
    ]
    for other in others:
        assert ids(find(disk, "kite", **other)) == []


def test_nobody_finds_what_is_of_others_and_what_is_past_its_time(disk: DiskLedger) -> None:
    settle(disk, "a kite")
    mine = disk.customer
    other = disk.write(lambda tx: add_customer(tx, name="other"))
    assert ids(find(disk, "kite", customer=other)) == []
    assert ids(find(disk, "kite", customer=Customer(mine.workspace_id, "", "", "test"))) == []
    assert len(ids(find(disk, "kite"))) == 1
    disk.clock.now_ms += 72 * HOUR_MS
    assert ids(find(disk, "kite")) == [], "the sweeper has not come yet"
