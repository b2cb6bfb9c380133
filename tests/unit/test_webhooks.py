"""Events to an operator's endpoint: signed as Standard Webhooks say, repeated until they are taken, each under one id."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omixa.billing import alerts
from omixa.config import ConfigError, load
from omixa.jobs.courier import Courier
from omixa.storage.outbox import FIRST_PAUSE_MS
from omixa.webhooks import sign
from tests.support.endpoint import KEY, Endpoint, Told, running_endpoint
from tests.support.ledger import DiskLedger, disk_ledger, refund
from tests.support.places import Place

CREDIT = 1_000_000


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify().findings == ()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


def deliver(disk: DiskLedger, endpoint: Endpoint) -> int:
    return disk.call(Courier(disk.database, None, endpoint.webhook()).deliver())


def watch(disk: DiskLedger) -> None:
    disk.write(lambda tx: alerts.set_threshold(tx, disk.customer.account_id, CREDIT + 1, None))


def is_signed(told: Told) -> bool:
    """Check a signature as a receiver would, by the specification's words alone."""
    signed = f"{told.headers['webhook-id']}.{told.headers['webhook-timestamp']}.".encode() + told.body
    expected = "v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(told.headers["webhook-signature"], expected)


def test_the_signature_is_that_of_the_schemes_own_example() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signature = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_low_balance_is_told_once_and_signed(disk: DiskLedger, endpoint: Endpoint) -> None:
    watch(disk)
    assert [deliver(disk, endpoint) for _ in range(2)] == [1, 0]
    (told,) = endpoint.told
    assert is_signed(told)
    assert abs(int(told.headers["webhook-timestamp"]) - time.time()) < 300
    assert told.headers["content-type"] == "application/json"
    body = json.loads(told.body)
    assert (body["type"], body["data"]["posted"], body["data"]["workspace"]) == ("balance.low", "1.000000", "customer")
    assert body["timestamp"].endswith("Z")


def test_a_refund_is_told_under_the_id_of_its_transfer(disk: DiskLedger, endpoint: Endpoint) -> None:
    request_id = disk.settle()
    made = disk.write(lambda tx: refund(tx, request_id, key="one"))
    again = disk.write(lambda tx: refund(tx, request_id, key="one"))
    assert again.repeated
    assert deliver(disk, endpoint) == 1
    (told,) = endpoint.told
    assert is_signed(told)
    assert told.headers["webhook-id"] == made.transfer_id
    body = json.loads(told.body)
    assert body["type"] == "refund.created"
    assert body["data"]["request_id"] == request_id
    assert body["data"]["amount"] == body["data"]["refunded"] == body["data"]["billed"]


@pytest.mark.parametrize("status", [301, 404, 410, 429, 500])
def test_an_endpoint_that_does_not_take_an_event_gets_it_again_under_the_same_id(
    disk: DiskLedger, endpoint: Endpoint, status: int
) -> None:
    watch(disk)
    endpoint.status = status
    assert deliver(disk, endpoint) == 0
    endpoint.status = 200
    assert deliver(disk, endpoint) == 0, "not before its time"
    disk.clock.now_ms += FIRST_PAUSE_MS
    assert deliver(disk, endpoint) == 1
    first, second = endpoint.told
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert is_signed(first)
    assert is_signed(second)


def test_an_endpoint_that_is_away_is_asked_again(
    disk: DiskLedger, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    watch(disk)
    port, endpoint.port = endpoint.port, 1
    assert deliver(disk, endpoint) == 0
    assert "outbox.failed" in [record.message for record in caplog.records]
    endpoint.port = port
    disk.clock.now_ms += FIRST_PAUSE_MS
    assert deliver(disk, endpoint) == 1
    assert KEY.decode() not in caplog.text


SECRET = "whsec_" + base64.b64encode(KEY).decode()


def test_the_options_are_read() -> None:
    environment = {"OMIXA_EVENTS_URL": "https://example.org/omixa?of=1", "OMIXA_EVENTS_SECRET": SECRET}
    assert load(environment).settings.events.key == KEY


@pytest.mark.parametrize(
    ("url", "secret", "says"),
    [
        ("", SECRET, "events.url"),
        ("ftp://example.org", SECRET, "events.url"),
        ("https://example.org", "", "events.secret"),
        ("https://example.org", "not-prefixed", "events.secret"),
        ("https://example.org", "whsec_c2hvcnQ=", "events.secret"),
        ("https://example.org", "whsec_!!!", "events.secret"),
        ("https://example.org", "whsec_" + base64.b64encode(bytes(65)).decode(), "events.secret"),
    ],
)
def test_options_that_cannot_work_are_refused(url: str, secret: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        load({"OMIXA_EVENTS_URL": url, "OMIXA_EVENTS_SECRET": secret})
    assert not secret or secret not in str(refused.value)
