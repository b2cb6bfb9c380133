"""Results in an object store: the same answers, deletion that deletes, and nothing charged while the store is away."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import bindparam, update

from omixa.config import ConfigError
from omixa.gateway import results
from omixa.services import Services
from omixa.storage import objects
from omixa.storage.tables import request
from tests.support.faults import eventually
from tests.support.objects import S3Server, running_s3
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
PRICE = "0.033900"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def options(s3: S3Server) -> dict[str, Any]:
    return s3.settings()


@pytest.fixture
def gateway(
    tmp_path: Path, foundry: Simulator, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Gateway]:
    """A gateway that keeps every result in the store, whose live key has ten dollars."""
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
    foundry.play("")
    with running_gateway(tmp_path, foundry, **options) as running:
        running.grant(10_000_000)
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client(gateway.key("live")) as opened:
        yield opened


def make(client: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json={"model": MODEL, "prompt": "A red kite", **fields}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def stored(s3: S3Server, options: dict[str, Any]) -> list[str]:
    """Return the names of the results in the store; the ledger's mark lies beside them."""
    names = s3.objects(options)
    assert "some/results/ledger" in names
    return sorted(name for name in names if name != "some/results/ledger")


def clean(gateway: Gateway) -> bool:
    return gateway.call(lambda services: services.sweeper.check()).clean


def test_a_result_is_kept_in_the_store_and_comes_back_equal_to_the_byte(
    s3: S3Server, gateway: Gateway, client: httpx.Client, options: dict[str, Any], tmp_path: Path
) -> None:
    made = make(client, {"idempotency-key": "one"}, n=2)
    identifier = made["omixa"]["request_id"]
    (name,) = stored(s3, options)
    assert name.startswith(f"some/results/{identifier}/")
    assert not list(tmp_path.glob("results/*/*"))
    assert client.get(f"{API}/requests/{identifier}/result").json() == made
    assert make(client, {"idempotency-key": "one"}, n=2) == made
    listed = client.get(f"{API}/requests/{identifier}/images").json()["data"]
    for one, datum in zip(listed, made["data"], strict=True):
        picture = base64.b64decode(datum["b64_json"])
        assert one["size_bytes"] == len(picture) > objects.SMALL_BYTES
        assert client.get(one["url"]).content == picture
        assert client.get(one["url"], headers={"range": "bytes=5-9"}).content == picture[5:10]
        assert client.get(one["thumbnail_url"]).content[8:12] == b"WEBP"
    assert clean(gateway)


def test_a_deleted_result_is_gone_from_the_store(
    s3: S3Server, gateway: Gateway, client: httpx.Client, options: dict[str, Any]
) -> None:
    made, other = make(client, response_format="url"), make(client)
    path = f"{API}/requests/{made['omixa']['request_id']}/result"
    assert client.delete(path).status_code == 200
    (name,) = stored(s3, options)
    assert other["omixa"]["request_id"] in name
    assert client.get(path).status_code == 410
    assert client.get(made["data"][0]["url"]).status_code == 410
    assert clean(gateway)


def test_an_object_that_is_missing_is_found_by_the_verification(
    s3: S3Server, gateway: Gateway, client: httpx.Client, options: dict[str, Any]
) -> None:
    made = make(client)
    day = stored(s3, options)[0].rpartition("/")[2]
    gateway.call(lambda services: services.blobs.delete(f"{day}/{made['omixa']['request_id']}"))
    found = gateway.call(lambda services: services.sweeper.check()).findings
    assert [(one.invariant, one.subject) for one in found] == [("I7", made["omixa"]["request_id"])]
    damaged = client.get(f"{API}/requests/{made['omixa']['request_id']}/result")
    assert (damaged.status_code, damaged.json()["error"]["code"]) == (500, "internal_error")


def test_objects_that_nobody_was_charged_for_are_removed(
    s3: S3Server, gateway: Gateway, client: httpx.Client, options: dict[str, Any]
) -> None:
    kept = make(client)

    async def leave(services: Services) -> int:
        await services.blobs.put("20261101/req_unheardof", lambda: [b"never charged"])
        return await services.sweeper.remove_orphans()

    assert gateway.call(leave) == 1
    (name,) = stored(s3, options)
    assert kept["omixa"]["request_id"] in name


def test_while_the_store_is_away_nothing_is_charged_and_nothing_more_is_begun(
    s3: S3Server, gateway: Gateway, client: httpx.Client, foundry: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAUSE_S", 600.0)
    kept = make(client)
    calls = len(foundry.log())
    s3.relay.refuses = True
    try:
        failed = client.post(CREATE, json={"model": MODEL, "prompt": "A red kite"})
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "storage_unavailable")
        assert "Nothing was charged" in failed.json()["error"]["message"]
        assert len(foundry.log()) == calls + 1
        turned_away = client.post(CREATE, json={"model": MODEL, "prompt": "A red kite"})
        assert (turned_away.status_code, turned_away.json()["error"]["code"]) == (503, "storage_unavailable")
        assert len(foundry.log()) == calls + 1
        balance = client.get(f"{API}/balance").json()
        assert (balance["posted"], balance["held"]) == ("9.966100", "0.000000")
        unreadable = client.get(f"{API}/requests/{kept['omixa']['request_id']}/result")
        assert (unreadable.status_code, unreadable.json()["error"]["code"]) == (503, "storage_unavailable")
        undeleted = client.delete(f"{API}/requests/{kept['omixa']['request_id']}/result")
        assert undeleted.status_code == 503
    finally:
        s3.relay.refuses = False
        gateway.call(_resume)
    # A deletion that could not reach the store is finished by asking again.
    assert client.delete(f"{API}/requests/{kept['omixa']['request_id']}/result").status_code == 200
    assert make(client)["usage"]["billed_amount"] == PRICE
    assert gateway.call(lambda services: services.sweeper.remove_orphans()) == 0
    assert clean(gateway)


async def _resume(services: Services) -> None:
    services.blobs._paused_until = 0.0  # type: ignore[attr-defined]  # the object store's own


def test_money_is_looked_after_while_the_store_is_away(
    s3: S3Server, gateway: Gateway, client: httpx.Client, options: dict[str, Any]
) -> None:
    made = make(client)
    change = update(request).where(request.c.id == bindparam("of_request"))
    identifier = made["omixa"]["request_id"]
    gateway.write(lambda tx: tx.execute(change.values(result_expires_at_ms=1), of_request=identifier))
    s3.relay.refuses = True
    try:
        gateway.call(lambda services: services.sweeper.sweep())
        found = gateway.call(lambda services: services.sweeper.check())
        assert found.clean
        assert "I1" in found.checked
    finally:
        s3.relay.refuses = False
    # What could not be deleted then is found now.
    assert len(stored(s3, options)) == 1
    assert gateway.call(lambda services: services.sweeper.remove_orphans()) == 1
    assert stored(s3, options) == []


def test_a_hold_waits_for_the_store_that_may_have_its_result(
    s3: S3Server, gateway: Gateway, client: httpx.Client
) -> None:
    gateway.call(_never_captures)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.post, CREATE, json={"model": MODEL, "prompt": "x"})
        log = f"{API}/usage/requests"
        with gateway.client(gateway.key("live")) as other:
            eventually(lambda: other.get(log).json()["data"])
            identifier = other.get(log).json()["data"][0]["id"]
            gateway.call(_end_runs)
            assert asking.exception() is not None or asking.result().status_code >= 500
            change = update(request).where(request.c.id == bindparam("of_request"))
            gateway.write(lambda tx: tx.execute(change.values(expires_at_ms=1), of_request=identifier))
            s3.relay.refuses = True
            try:
                gateway.call(lambda services: services.sweeper.sweep())
                assert other.get(f"{API}/requests/{identifier}").json()["state"] == "held"
            finally:
                s3.relay.refuses = False
            gateway.call(lambda services: services.sweeper.sweep())
            assert other.get(f"{API}/requests/{identifier}").json()["state"] == "released"


def test_a_bucket_belongs_to_one_ledger(
    s3: S3Server, gateway: Gateway, options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="another ledger"), running_gateway(tmp_path / "other", **options):
        pass


def test_no_server_starts_without_its_store(s3: S3Server, options: dict[str, Any], tmp_path: Path) -> None:
    s3.relay.refuses = True
    try:
        with pytest.raises(OSError, match="cannot be reached"), running_gateway(tmp_path, **options):
            pass
    finally:
        s3.relay.refuses = False


def test_what_a_server_left_is_taken_up_by_the_next(
    s3: S3Server, foundry: Simulator, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that was stored and not charged is parked, as on a disk."""
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
    foundry.play("")
    key = {"idempotency-key": "parked"}
    with running_gateway(tmp_path, foundry, **options, shutdown_grace_s=0.1) as gateway:
        gateway.grant(10_000_000)
        secret = gateway.key("live")
        with gateway.client(secret) as client:
            gateway.call(_never_captures)
            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(client.post, CREATE, json={"model": MODEL, "prompt": "x"}, headers=key)
                eventually(lambda: bool(stored(s3, options)))
                gateway.call(_end_runs)
                assert asking.exception() is not None or asking.result().status_code >= 500
    calls = len(foundry.log())
    with running_gateway(tmp_path, foundry, **options) as gateway, gateway.client(secret) as client:
        made = make(client, key, prompt="x")
        assert made["omixa"]["parked_from"]
        assert len(foundry.log()) == calls
        # Deleting it deletes both objects: the one that was parked and the one that was charged for.
        assert client.delete(f"{API}/requests/{made['omixa']['request_id']}/result").status_code == 200
        assert stored(s3, options) == []
        assert clean(gateway)


async def _end_runs(services: Services) -> None:
    """End what runs as a server does that stops: without a word to the ledger."""
    await services.runs.drain(0)


async def _never_captures(services: Services) -> None:
    async def forever(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    services.pipeline.settlement.capture = forever  # type: ignore[method-assign]
