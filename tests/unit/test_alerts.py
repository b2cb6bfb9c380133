"""Low balances: one alert for each crossing, delivered at least once to a real mail server, given up in the end."""

from __future__ import annotations

import functools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from omixa.billing import alerts, ledger
from omixa.billing.ledger import Posting
from omixa.jobs.courier import Courier
from omixa.storage import outbox
from omixa.storage.outbox import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, MAX_ATTEMPTS, RETENTION_MS
from omixa.storage.tables import outbox as outbox_table
from tests.support.ledger import DiskLedger, disk_ledger
from tests.support.mailbox import SENDER, certificate, running_mailbox
from tests.support.places import Place

CREDIT = 1_000_000
EMAIL = "ops@customer.example"


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place, credit=CREDIT) as opened:
        yield opened
        assert opened.verify().findings == ()


def watch(disk: DiskLedger, below: int | None, email: str | None = EMAIL) -> None:
    disk.write(lambda tx: alerts.set_threshold(tx, disk.customer.account_id, below, email))


def spend(disk: DiskLedger, amount: int) -> None:
    account, revenue = disk.customer.account_id, ledger.system_account("live", "revenue")
    disk.write(lambda tx: ledger.post(tx, account, [Posting(account, revenue, amount, "withdrawal")]))


def grant(disk: DiskLedger, amount: int) -> None:
    customer = disk.customer
    disk.write(
        lambda tx: ledger.grant(
            tx, account_id=customer.account_id, mode=customer.mode, amount_micro_usd=amount, reason="test"
        )
    )


def told(disk: DiskLedger) -> int:
    is_event = outbox_table.c.topic == alerts.BALANCE_LOW
    return len(disk.read(lambda tx: tx.all(select(outbox_table.c.id).where(is_event))))


# -------------------------------------------------------------------------------------------------------------- crossings


def test_a_charge_that_crosses_the_threshold_is_told_once(disk: DiskLedger) -> None:
    watch(disk, 950_000)
    disk.settle()
    assert told(disk) == 0
    for _ in range(3):
        disk.settle()
        assert told(disk) == 1
    event = {"workspace": "customer", "mode": "live", "posted": "0.932200", "threshold": "0.950000"}
    assert {message.topic: message.payload for message in disk.read(lambda tx: outbox.due(tx, limit=10))} == {
        alerts.BALANCE_LOW: event,
        alerts.BALANCE_LOW_LETTER: event | {"email": EMAIL},
    }


def test_an_alert_is_written_with_what_it_tells_of_or_not_at_all(disk: DiskLedger) -> None:
    watch(disk, CREDIT)
    account, revenue = disk.customer.account_id, ledger.system_account("live", "revenue")

    def fail(tx: object) -> None:
        ledger.post(tx, account, [Posting(account, revenue, 1, "withdrawal")])  # type: ignore[arg-type]
        raise RuntimeError("after it")

    with pytest.raises(RuntimeError, match="after it"):
        disk.write(fail)
    assert told(disk) == 0


def test_a_balance_around_the_threshold_is_told_once_until_it_has_recovered(disk: DiskLedger) -> None:
    watch(disk, 500_000)
    spend(disk, 500_001)
    assert told(disk) == 1
    for _ in range(3):
        grant(disk, 50_000)
        spend(disk, 50_000)
    assert told(disk) == 1
    grant(disk, 50_001)
    spend(disk, 50_000)
    assert told(disk) == 1
    for _ in range(2):
        spend(disk, 1)
        assert told(disk) == 2


def test_setting_a_threshold_above_the_balance_tells_at_once_and_none_ends_it(disk: DiskLedger) -> None:
    watch(disk, CREDIT + 1)
    assert told(disk) == 1
    watch(disk, None)
    spend(disk, CREDIT)
    assert told(disk) == 1


def test_crossings_are_counted_as_a_model_counts_them(disk: DiskLedger) -> None:
    seed = random.SystemRandom().randrange(2**32)
    chance = random.Random(seed)
    below, balance, alerted, expected = 100_000, CREDIT, False, 0
    watch(disk, below)
    for _ in range(150):
        if chance.random() < 0.5:
            amount = chance.randrange(1, balance + 1) if balance else 0
            if amount:
                spend(disk, amount)
            balance -= amount
        else:
            amount = chance.randrange(1, 40_000)
            grant(disk, amount)
            balance += amount
        if balance < below and not alerted:
            alerted, expected = True, expected + 1
        elif alerted and balance >= 110_000:
            alerted = False
        assert told(disk) == expected, f"seed {seed}"


# --------------------------------------------------------------------------------------------------------------- delivery


def test_an_alert_arrives_as_an_email(disk: DiskLedger) -> None:
    watch(disk, CREDIT + 1)
    with running_mailbox() as mailbox:
        courier = Courier(disk.database, mailbox.mailer())
        assert [disk.call(courier.deliver()) for _ in range(2)] == [2, 0]
    (message,) = mailbox.messages
    assert (message["to"], message["from"]) == (EMAIL, SENDER)
    assert message["subject"] == "Omixa: customer has less than $1.000001 left"
    assert "$1.000000 in live mode" in message.get_payload()
    assert str(message["message-id"]).startswith("<evt_")


def test_a_server_that_refuses_is_asked_again_after_a_while(disk: DiskLedger, caplog: pytest.LogCaptureFixture) -> None:
    watch(disk, CREDIT + 1)
    with running_mailbox() as mailbox:
        mailbox.refusals = 2
        courier = Courier(disk.database, mailbox.mailer())
        # The event is only logged, and so it arrives.
        assert disk.call(courier.deliver()) == 1
        for pause, arrives in ((FIRST_PAUSE_MS, 0), (2 * FIRST_PAUSE_MS, 1)):
            disk.clock.now_ms += pause - 1
            assert disk.call(courier.deliver()) == 0
            disk.clock.now_ms += 1
            assert disk.call(courier.deliver()) == arrives
    assert len(mailbox.messages) == 1
    assert EMAIL not in caplog.text


def test_a_message_is_given_up_in_the_end(disk: DiskLedger, caplog: pytest.LogCaptureFixture) -> None:
    watch(disk, CREDIT + 1)
    with running_mailbox() as mailbox:
        mailbox.refusals = 1_000
        courier = Courier(disk.database, mailbox.mailer())
        for _ in range(MAX_ATTEMPTS + 3):
            disk.call(courier.deliver())
            disk.clock.now_ms += LONGEST_PAUSE_MS
        assert mailbox.refusals == 1_000 - MAX_ATTEMPTS
    assert [record.message for record in caplog.records].count("outbox.given_up") == 1


def test_of_two_couriers_one_makes_an_attempt(disk: DiskLedger) -> None:
    watch(disk, CREDIT + 1, None)
    (message,) = disk.read(lambda tx: outbox.due(tx, limit=10))
    assert disk.write(lambda tx: outbox.claim(tx, message))
    assert not disk.write(lambda tx: outbox.claim(tx, message))


def test_a_courier_that_dies_in_an_attempt_leaves_it_to_the_next(disk: DiskLedger) -> None:
    watch(disk, CREDIT + 1)
    for message in disk.read(lambda tx: outbox.due(tx, limit=10)):
        disk.write(functools.partial(outbox.claim, message=message))
    disk.clock.now_ms += FIRST_PAUSE_MS
    with running_mailbox() as mailbox:
        assert disk.call(Courier(disk.database, mailbox.mailer()).deliver()) == 2
    assert len(mailbox.messages) == 1


def test_without_a_mail_server_the_log_tells(disk: DiskLedger, caplog: pytest.LogCaptureFixture) -> None:
    watch(disk, CREDIT + 1, None)
    assert disk.call(Courier(disk.database, None).deliver()) == 1
    assert "balance.low" in [record.message for record in caplog.records]


def test_what_arrived_long_ago_is_forgotten(disk: DiskLedger) -> None:
    courier = Courier(disk.database, None)
    for _ in range(2):
        watch(disk, CREDIT + 1)
        assert disk.call(courier.deliver()) == 2
        disk.clock.now_ms += RETENTION_MS + 1
    assert told(disk) == 1


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_certificates_are_verified(disk: DiskLedger, tmp_path: Path, tls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes a certificate, is not installed")
    files = certificate(tmp_path)
    watch(disk, CREDIT + 1)
    with running_mailbox(tls, files) as mailbox:  # type: ignore[arg-type]
        courier = Courier(disk.database, mailbox.mailer(tls))  # type: ignore[arg-type]
        assert disk.call(courier.deliver()) == 1, "the event alone"
        monkeypatch.setenv("SSL_CERT_FILE", str(files[1]))
        disk.clock.now_ms += FIRST_PAUSE_MS
        assert disk.call(courier.deliver()) == 1
    assert len(mailbox.messages) == 1


def test_a_wrong_password_is_a_failure_that_does_not_show_it(
    disk: DiskLedger, caplog: pytest.LogCaptureFixture
) -> None:
    watch(disk, CREDIT + 1)
    with running_mailbox() as mailbox:
        assert disk.call(Courier(disk.database, mailbox.mailer(password="wrong-secret")).deliver()) == 1, "the event"
    assert mailbox.messages == []
    assert "wrong-secret" not in caplog.text
