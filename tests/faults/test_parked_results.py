"""Results that were made and could not be charged: they wait for a repeat, which is charged once and calls no provider."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import bindparam, select

from omixa.billing.ledger import Balance, StoredResult
from omixa.domain.ids import new_id
from omixa.domain.images import Image, ImageInfo
from omixa.errors import IdempotencyInProgress, SettlementUnavailable
from omixa.gateway.idempotency import PARKED_RETENTION_MS, Remains, RequestIdentity
from omixa.gateway.results import Results, Settling
from omixa.storage.repeats import ParkedResult
from omixa.storage.tables import attempt, idempotency, parked_result, request
from omixa.usage.records import StartedAttempt
from tests.support.document import events
from tests.support.faults import (
    CREATE,
    MODEL,
    PROMPT,
    Customer,
    customer,
    eventually,
    request_body,
    running_faulty_gateway,
)
from tests.support.ledger import (
    HOUR_MS,
    ONE_PICTURE,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    disk_ledger,
    failed,
    succeeded,
)
from tests.support.places import Place
from tests.support.servers import Simulator
from tests.support.serving import ServerProcess, findings, open_account, serving, simulating

PRICE, EDIT_PRICE = "0.033900", "0.039000"
PRICE_MICRO_USD = 33_900
KEY = {"idempotency-key": "order-1"}
KEEP_ALIVE = ": keep-alive\n\n"
_parked = select(parked_result)
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id"))
_request = select(request).where(request.c.id == bindparam("request_id"))
_keys = select(idempotency)


# ----------------------------------------------------------------------------------------------- a ledger that goes away


def ask(buyer: Customer, **fields: object) -> httpx.Response:
    return buyer.client.post(CREATE, json=request_body(**fields), headers=KEY)  # type: ignore[arg-type]


@contextlib.contextmanager
def ledger_away(path: Path) -> Iterator[None]:
    """Keep everybody else from writing."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("output_format", ["png", "webp"], ids=["large", "small"])
def test_a_reply_waits_until_the_ledger_is_back(
    several_deployments: Simulator, tmp_path: Path, output_format: str
) -> None:
    """Row 27, in time."""
    several_deployments.play("slow=0.3")
    with running_faulty_gateway(tmp_path, several_deployments) as faulty:
        faulty.set_busy_timeout(20)
        with customer(faulty.gateway, "default") as buyer, ThreadPoolExecutor(1) as pool:
            calls = len(several_deployments.log())
            asking = pool.submit(ask, buyer, output_format=output_format)
            eventually(lambda: len(several_deployments.log()) > calls)
            with ledger_away(tmp_path / "omixa.db"):
                # The result is durable before the charge is tried, or at the latest when that has failed.
                eventually(lambda: list((tmp_path / "results").glob("*/req_*")))
                assert not asking.done()
            answer = asking.result()
            assert answer.status_code == 200
            assert answer.json()["usage"]["billed_amount"] == PRICE
            assert buyer.spent_micro_usd == PRICE_MICRO_USD
            assert buyer.get(f"/requests/{answer.headers['x-request-id']}/result").content == answer.content
        assert faulty.findings() == []


@pytest.mark.parametrize("output_format", ["png", "webp"], ids=["large", "small"])
def test_a_result_that_could_not_be_charged_in_time_is_charged_when_it_is_asked_for_again(
    several_deployments: Simulator, tmp_path: Path, output_format: str
) -> None:
    """Row 27, too late."""
    several_deployments.play("slow=0.3")
    with running_faulty_gateway(tmp_path, several_deployments, run_deadline_s=2.0) as faulty:
        faulty.set_busy_timeout(20)
        with customer(faulty.gateway, "default") as buyer, ThreadPoolExecutor(1) as pool:
            key = buyer.client.headers["authorization"].removeprefix("Bearer ")
            calls = len(several_deployments.log())
            asking = pool.submit(ask, buyer, output_format=output_format)
            eventually(lambda: len(several_deployments.log()) > calls)
            with ledger_away(tmp_path / "omixa.db"):
                told = asking.result()
        assert (told.status_code, told.json()["error"]["code"]) == (503, "settlement_unavailable")
        assert faulty.findings() == []
    with running_faulty_gateway(tmp_path, several_deployments) as faulty, faulty.gateway.client(key) as client:
        buyer = Customer(client)
        assert buyer.spent_micro_usd == 0
        (call,) = faulty.attempts(told.headers["x-request-id"])
        assert (call["state"], call["cost_basis"]) == ("ok", "reported")
        answer = ask(buyer, output_format=output_format)
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers
        assert answer.json()["omixa"]["parked_from"] == told.headers["x-request-id"]
        request_id = answer.json()["omixa"]["request_id"]
        assert buyer.get(f"/requests/{request_id}").json()["parked_from"] == told.headers["x-request-id"]
        assert buyer.get(f"/requests/{request_id}/receipt").json()["billed_amount"] == PRICE
        assert ask(buyer, output_format=output_format).content == answer.content
        assert len(several_deployments.log()) == calls + 1
        assert buyer.spent_micro_usd == PRICE_MICRO_USD
        assert faulty.all(_parked) == []
        assert faulty.findings() == []


# ------------------------------------------------------------------------------------------------------ a server that dies


def _post(server: ServerProcess, key: str, body: dict[str, Any]) -> httpx.Response | None:
    headers = {"authorization": f"Bearer {key}", **KEY}
    try:
        return httpx.post(server.url + CREATE, json=body, headers=headers, timeout=60, trust_env=False, verify=False)
    except httpx.TransportError:
        return None


def _told(answer: httpx.Response) -> dict[str, Any]:
    """Return the answer, or the last event of one that is a stream."""
    streamed = answer.headers["content-type"].startswith("text/event-stream")
    found: dict[str, Any] = events(answer.text)[-1] if streamed else answer.json()
    return found


@pytest.mark.matrix("30")
@pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("moment", ["before send", "after send", "after bytes stored", "after the charge"])
def test_a_repeat_after_a_server_was_killed_is_charged_once(
    tmp_path: Path, square: str, moment: str, edit: bool, stream: bool
) -> None:
    key = open_account(tmp_path, 10_000_000)
    body = request_body(stream=stream, reference=square if edit else None)
    with simulating() as provider, ThreadPoolExecutor(1) as pool:
        # What paints is awake then, however busy the machine is.
        provider.paint(model=MODEL, prompt=PROMPT, width=1024, height=1024)
        before = len(provider.log())
        provider.play("slow=0.5")
        with serving(tmp_path, provider.url) as server, contextlib.ExitStack() as away:
            if moment == "before send":
                # Nothing can be held, so nothing is sent.
                away.enter_context(ledger_away(tmp_path / "omixa.db"))
            asking = pool.submit(_post, server, key, body)
            if moment != "before send":
                eventually(lambda: len(provider.log()) > before)
            if moment == "after bytes stored":
                away.enter_context(ledger_away(tmp_path / "omixa.db"))
                eventually(lambda: list((tmp_path / "results").glob("*/req_*")))
            elif moment == "after the charge":
                asking.result()
            server.kill()
            first = asking.result()
        assert (first is not None and first.status_code == 200 and "b64_json" in first.text) == (
            moment == "after the charge"
        )
        calls = len(provider.log())
        with serving(tmp_path, provider.url) as server:
            again = _post(server, key, body)
            assert again is not None
            assert again.status_code == 200
            told = _told(again)
            assert told["usage"]["billed_amount"] == (EDIT_PRICE if edit else PRICE)
            assert ("parked_from" in told["omixa"]) == (moment == "after bytes stored")
            if moment == "after the charge":
                assert first is not None
                assert again.headers["idempotency-replayed"] == "true"
                # Of a stream without the comments that kept the first one alive.
                assert again.text.replace(KEEP_ALIVE, "") == first.text.replace(KEEP_ALIVE, "")
        assert len(provider.log()) - calls == (moment in ("before send", "after send"))
        assert calls - before == (moment != "before send")
    assert findings(tmp_path) == ()


# ------------------------------------------------------------------------------------------------------------- the ledger

CREDIT = 1_000_000
BYTES = b"\x89PNG" + bytes(range(256)) * 400
IDENTITY = RequestIdentity("/images", "f" * 64, "order-1", is_retry=False, retention_ms=72 * HOUR_MS)
RETRY = dataclasses.replace(IDENTITY, key=None, is_retry=True)


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify(with_results=True).findings == ()


def authorise(disk: DiskLedger, identity: RequestIdentity) -> tuple[str, object]:
    """Ask for a hold; return the request and what was found instead of a provider."""
    request_id = new_id("req")
    hold = a_hold(disk.customer, request_id, 50_000, disk.node)
    if identity.key is None:
        hold = dataclasses.replace(hold, fingerprint=identity.fingerprint)
    return request_id, disk.call(disk.settlement.authorise(hold, [a_call(request_id)], identity))


def call_of(disk: DiskLedger, request_id: str) -> StartedAttempt:
    (call,) = disk.read(lambda tx: tx.all(_attempts, request_id=request_id))
    return dataclasses.replace(a_call(request_id), id=call["id"])


def keep(disk: DiskLedger, request_id: str) -> StoredResult:
    """Store a result as the gateway does before it charges."""
    results = Results(disk.database, disk.blobs, retention_ms=72 * HOUR_MS)
    image = Image(BYTES, ImageInfo("png", 1024, 1024, len(BYTES), has_alpha=False))
    envelope = {"created": disk.clock.now_ms // 1000, "omixa": {"request_id": request_id}}
    settling = Settling((ONE_PICTURE,), (succeeded(call_of(disk, request_id)),))
    return disk.call(results.keep(request_id, disk.node.epoch, envelope, [image], settling))


def charge(disk: DiskLedger, request_id: str, parked: ParkedResult) -> None:
    stored = StoredResult(parked.ref, parked.digest, 72 * HOUR_MS)
    # A copy of the file takes the request's own name.
    data = disk.call(disk.blobs.get(parked.ref))
    assert data is not None
    ref = parked.ref.replace(parked.request_id, request_id)
    disk.call(disk.blobs.put(ref, lambda: [data]))
    stored = dataclasses.replace(stored, ref=ref)
    record = a_record(disk.customer, request_id, ONE_PICTURE, 50_000)
    disk.call(disk.settlement.capture(record, stored, [], parked_from=parked.request_id))


def parked_by_a_crash(disk: DiskLedger, identity: RequestIdentity) -> str:
    request_id, found = authorise(disk, identity)
    assert found is None
    keep(disk, request_id)
    disk.restart()
    assert disk.balance() == Balance(CREDIT, 0)
    return request_id


@pytest.mark.parametrize("identity", [IDENTITY, RETRY], ids=["key", "retry"])
def test_a_whole_result_whose_owner_died_is_parked_and_charged_once(
    disk: DiskLedger, identity: RequestIdentity
) -> None:
    first = parked_by_a_crash(disk, identity)
    (call,) = disk.read(lambda tx: tx.all(_attempts, request_id=first))
    assert (call["state"], call["cost_pico_usd"], call["cost_basis"]) == ("ok", 1_000_000, "reported")
    second, found = authorise(disk, identity)
    assert isinstance(found, ParkedResult)
    assert found.request_id == first
    assert disk.read(lambda tx: tx.all(_attempts, request_id=second)) == []
    charge(disk, second, found)
    assert disk.balance() == Balance(CREDIT - PRICE_MICRO_USD, 0)
    assert disk.read(lambda tx: tx.all(_parked)) == []
    assert disk.call(disk.sweeper.remove_orphans()) == 1


def test_who_dies_while_charging_leaves_the_result_to_the_next(disk: DiskLedger) -> None:
    first = parked_by_a_crash(disk, IDENTITY)
    for _ in range(2):
        request_id, found = authorise(disk, IDENTITY)
        assert isinstance(found, ParkedResult)
        assert found.request_id == first
        with pytest.raises(IdempotencyInProgress):
            authorise(disk, IDENTITY)
        disk.restart()
    request_id, found = authorise(disk, IDENTITY)
    assert isinstance(found, ParkedResult)
    charge(disk, request_id, found)
    assert disk.balance() == Balance(CREDIT - PRICE_MICRO_USD, 0)


def test_no_result_is_charged_twice(disk: DiskLedger) -> None:
    """Of two who hold money for the same result, the second is refused as a whole."""
    first = parked_by_a_crash(disk, RETRY)
    holders = []
    for _ in range(2):
        request_id = new_id("req")
        hold = dataclasses.replace(a_hold(disk.customer, request_id, 50_000, disk.node), parked_from=first)
        disk.call(disk.settlement.authorise(hold, []))
        holders.append(request_id)
    (parked,) = (
        ParkedResult(*(row[name] for name in ("request_id", "ref", "digest")))
        for row in disk.read(lambda tx: tx.all(_parked))
    )
    charge(disk, holders[0], parked)
    with pytest.raises(SettlementUnavailable, match="already"):
        charge(disk, holders[1], parked)
    assert disk.balance() == Balance(CREDIT - PRICE_MICRO_USD, 50_000)
    disk.call(disk.settlement.release(holders[1], "settlement_unavailable", []))
    disk.call(disk.sweeper.remove_orphans())


def test_a_result_that_nobody_asks_for_is_deleted_and_the_operator_bears_its_cost(disk: DiskLedger) -> None:
    parked_by_a_crash(disk, IDENTITY)
    assert len(disk.blobs.names()) == 1
    disk.clock.now_ms += PARKED_RETENTION_MS - 1
    disk.sweep()
    disk.call(disk.sweeper.remove_orphans())
    assert len(disk.blobs.names()) == 1
    disk.clock.now_ms += 1
    disk.sweep()
    assert disk.blobs.names() == []
    assert disk.read(lambda tx: tx.all(_parked)) == []
    # The key's time is longer: a repeat runs anew.
    assert authorise(disk, IDENTITY)[1] is None


def test_a_key_lives_as_long_as_its_parked_result(disk: DiskLedger) -> None:
    short = dataclasses.replace(IDENTITY, retention_ms=1)
    first = parked_by_a_crash(disk, short)
    disk.clock.now_ms += HOUR_MS
    disk.sweep()
    assert isinstance(authorise(disk, short)[1], ParkedResult)
    disk.restart()
    disk.clock.now_ms += PARKED_RETENTION_MS
    disk.sweep()
    disk.sweep()
    assert disk.read(lambda tx: tx.all(_keys)) == []
    assert first


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: data[:40], lambda data: b"", lambda data: data[:-1] + b"x"]
)
def test_a_result_that_is_not_whole_is_not_parked(disk: DiskLedger, spoil: Callable[[bytes], bytes]) -> None:
    request_id, _ = authorise(disk, IDENTITY)
    path = disk.directory / "results" / keep(disk, request_id).ref
    path.write_bytes(spoil(path.read_bytes()))
    disk.restart()
    assert disk.read(lambda tx: tx.all(_parked)) == []
    assert disk.blobs.names() == []
    (call,) = disk.read(lambda tx: tx.all(_attempts, request_id=request_id))
    assert call["state"] == "unknown"
    assert authorise(disk, IDENTITY)[1] is None


def test_the_result_of_another_epoch_is_not_parked(disk: DiskLedger) -> None:
    """What a process that was taken for dead writes later is nobody's."""
    request_id, _ = authorise(disk, IDENTITY)
    disk.node = dataclasses.replace(disk.node, epoch=disk.node.epoch + 1)
    keep(disk, request_id)
    disk.restart()
    disk.restart()
    assert disk.read(lambda tx: tx.all(_parked)) == []


def test_a_release_by_the_owner_parks_what_it_could_not_charge(disk: DiskLedger) -> None:
    request_id, _ = authorise(disk, IDENTITY)
    stored = keep(disk, request_id)
    ended = succeeded(call_of(disk, request_id))
    disk.call(disk.settlement.release(request_id, "settlement_unavailable", [ended], Remains(parked=stored)))
    found = authorise(disk, IDENTITY)[1]
    assert found == ParkedResult(request_id, stored.ref, stored.digest)
    # Who comes too late parks nothing: somebody else has ended the request.
    disk.restart()
    late, _ = authorise(disk, dataclasses.replace(IDENTITY, key="order-2"))
    disk.call(disk.settlement.release(late, "provider_error", [failed(call_of(disk, late))]))
    disk.call(disk.settlement.release(late, "settlement_unavailable", [], Remains(parked=stored)))
    assert [row["request_id"] for row in disk.read(lambda tx: tx.all(_parked))] == [request_id]
