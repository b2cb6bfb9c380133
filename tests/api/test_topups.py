"""Top-ups end to end: a page at a strict stand-in for Stripe, and signed events that credit once and take back what they say."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select

from omixa.billing.verify import verify
from omixa.config import DatabaseAddress, StripeSettings
from omixa.domain.access import Secret
from omixa.storage import tables
from tests.support.payments import (
    API_KEY,
    WEBHOOK_SECRET,
    FakeStripe,
    disputed,
    event,
    paid,
    refunded,
    running_stripe,
    signed,
)
from tests.support.postgres import Cluster
from tests.support.servers import Gateway, Simulator, running_gateway

TOPUPS = "/api/v1/topups"
WEBHOOK = "/webhooks/stripe"
CREATE = "/api/v1/images/generations"


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    with running_stripe() as running:
        yield running


def options(stripe: FakeStripe, **changes: Any) -> StripeSettings:
    given = {"api_key": Secret(API_KEY), "webhook_secret": Secret(WEBHOOK_SECRET), "api_base": stripe.url}
    return StripeSettings(**{**given, "return_url": "https://shop.example/thanks", **changes})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(
    request: pytest.FixtureRequest, stripe: FakeStripe, foundry: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with ExitStack() as stack:
        settings: dict[str, Any] = {"stripe": options(stripe)}
        if request.param == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            settings["database"] = DatabaseAddress(cluster.address(stack.enter_context(cluster.database())))
        running = stack.enter_context(running_gateway(tmp_path_factory.mktemp("shop"), foundry, **settings))
        yield running
        assert running.read(verify).findings == ()


@pytest.fixture
def client(shop: Gateway, workspace: str) -> Iterator[httpx.Client]:
    with shop.client(shop.key("live", workspace)) as opened:
        yield opened


def available(client: httpx.Client) -> str:
    found: str = client.get("/api/v1/balance").raise_for_status().json()["available"]
    return found


def order(client: httpx.Client, stripe: FakeStripe, amount: str = "25.00") -> tuple[dict[str, Any], str]:
    """Order a top-up and return its session and a payment that could pay for it."""
    answer = client.post(TOPUPS, json={"amount": amount})
    assert answer.status_code == 200, answer.text
    session = stripe.only_session()
    assert answer.json() == {
        "object": "topup",
        "id": session["client_reference_id"],
        "amount": f"{float(amount):.6f}",
        "currency": "USD",
        "url": session["url"],
    }
    return session, f"pi_{secrets.token_hex(12)}"


def tell(client: httpx.Client, body: bytes, header: str | None = None) -> httpx.Response:
    return client.post(WEBHOOK, content=body, headers={"stripe-signature": header or signed(body)})


def told(client: httpx.Client, body: bytes) -> None:
    answer = tell(client, body)
    assert (answer.status_code, answer.json()) == (200, {"received": True}), answer.text


# ------------------------------------------------------------------------------------------------------------------ money


def test_a_paid_order_is_credited_once_however_often_it_is_told(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    assert available(client) == "0.000000"
    body = paid(session, payment_id)
    for _ in range(3):
        told(client, body)
    told(client, paid(session, payment_id))
    assert available(client) == "25.000000"


def test_a_delayed_payment_is_credited_when_it_succeeds(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    told(client, paid(session, payment_id, payment_status="unpaid"))
    assert available(client) == "0.000000"
    done = {**session, "payment_status": "paid", "payment_intent": payment_id}
    told(client, event("checkout.session.async_payment_succeeded", done))
    assert available(client) == "25.000000"


@pytest.mark.parametrize(
    "lie",
    [
        {"amount_total": 2501},
        {"amount_total": None},
        {"currency": "jpy"},
        {"metadata": {"omixa_order": "top_none"}},
        {"metadata": {"omixa_workspace": "ws_none"}},
        {"metadata": {"omixa_workspace": None}},
    ],
)
def test_a_payment_that_contradicts_its_order_credits_nothing(
    client: httpx.Client, stripe: FakeStripe, lie: dict[str, Any]
) -> None:
    session, payment_id = order(client, stripe)
    if "metadata" in lie:
        metadata = {name: value for name, value in {**session["metadata"], **lie["metadata"]}.items() if value}
        lie = {"metadata": metadata}
    answer = tell(client, paid(session, payment_id, **lie))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "payment_mismatch")
    assert available(client) == "0.000000"


@pytest.mark.parametrize("metadata", [None, {}, {"omixa_gateway": "another"}])
def test_payments_of_others_are_none_of_ours(client: httpx.Client, stripe: FakeStripe, metadata: object) -> None:
    session, payment_id = order(client, stripe)
    told(client, paid(session, payment_id, metadata=metadata))
    told(client, event("customer.created", {"id": "cus_1"}))
    told(client, refunded("pi_of_another_shop", 100, 100))
    assert available(client) == "0.000000"


def test_play_payments_buy_no_real_credit(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    done = {**session, "payment_status": "paid", "payment_intent": payment_id}
    told(client, event("checkout.session.completed", done, livemode=False))
    assert available(client) == "0.000000"


# -------------------------------------------------------------------------------------------------------------- reversals


def test_refunds_are_taken_back_up_to_what_has_been_refunded_so_far(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    told(client, paid(session, payment_id))
    for cents, left in ((500, "20.000000"), (500, "20.000000"), (700, "18.000000"), (500, "18.000000")):
        told(client, refunded(payment_id, cents, 2500))
        assert available(client) == left


def test_a_refund_that_comes_before_its_payment_counts_too(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    told(client, refunded(payment_id, 2500, 2500))
    told(client, paid(session, payment_id))
    assert available(client) == "0.000000"


def test_a_dispute_takes_back_and_its_win_gives_again_in_every_order(client: httpx.Client, stripe: FakeStripe) -> None:
    for places in itertools.permutations(range(4)):
        before = available(client)
        session, payment_id = order(client, stripe, "5.00")
        events = [
            paid(session, payment_id),
            disputed(payment_id, 500, "needs_response"),
            disputed(payment_id, 500, "under_review", "updated"),
            disputed(payment_id, 500, "won", "closed"),
        ]
        for place in places:
            told(client, events[place])
        assert float(available(client)) == float(before) + 5, places


def test_an_inquiry_takes_nothing(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    told(client, paid(session, payment_id))
    told(client, disputed(payment_id, 2500, "warning_needs_response"))
    assert available(client) == "25.000000"


def test_what_was_spent_becomes_a_receivable_and_the_workspace_is_suspended_until_it_is_resumed(
    shop: Gateway, client: httpx.Client, stripe: FakeStripe, workspace: str, example: dict[str, object]
) -> None:
    session, payment_id = order(client, stripe, "5.00")
    told(client, paid(session, payment_id))
    billed = client.post(CREATE, json=example).raise_for_status().json()["omixa"]["billed_amount"]
    told(client, disputed(payment_id, 500, "needs_response"))
    assert available(client) == "0.000000"
    shop.grant(1_000_000, workspace=workspace)
    answer = client.post(CREATE, json=example)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "workspace_suspended")
    estimate = client.post("/api/v1/images/estimate", json=example).json()
    assert (estimate["admitted"], estimate["refusal"]["code"]) == (False, "workspace_suspended")
    owed = shop.read(lambda tx: tx.all(_receivables(workspace)))
    assert [row["amount"] for row in owed] == [int(billed.replace(".", ""))]
    for expected in (True, False):
        resumed = shop.call(
            lambda services: services.workspaces.resume(workspace=workspace, reason="paid by bank", actor="test")
        )
        assert resumed is expected
    assert client.post(CREATE, json=example).status_code == 200


def _receivables(name: str) -> Any:
    return (
        select(tables.transfer.c.amount)
        .join(tables.account, tables.account.c.id == tables.transfer.c.chain_account_id)
        .join(tables.workspace, tables.workspace.c.id == tables.account.c.workspace_id)
        .where(tables.transfer.c.kind == "receivable", tables.workspace.c.name == name)
    )


# ------------------------------------------------------------------------------------------------------------- signatures


def forgeries(body: bytes) -> dict[str, str]:
    now = int(time.time())
    return {
        "another secret": signed(body, secret="whsec_" + "x" * 24),
        "another body": signed(body + b" "),
        "too old": signed(body, at_s=now - 400),
        "in the future": signed(body, at_s=now + 400),
        "no signature": f"t={now}",
        "no time": f"v1={'0' * 64}",
        "words": "hello",
        "empty": "",
        "not ASCII": f"t={now},v1=\u00e9",
        "an old scheme": signed(body).replace("v1=", "v0="),
        "no number": "t=now,v1=00",
    }


@pytest.mark.parametrize("forgery", forgeries(b""))
def test_what_is_not_signed_just_now_is_refused(client: httpx.Client, stripe: FakeStripe, forgery: str) -> None:
    session, payment_id = order(client, stripe)
    body = paid(session, payment_id)
    header = forgeries(body)[forgery].encode("latin-1")
    answer = client.post(WEBHOOK, content=body, headers={b"stripe-signature": header})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_signature")
    assert client.post(WEBHOOK, content=body).status_code == 400
    assert available(client) == "0.000000"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"\xff", b'{"id":"e","type":"charge.refunded","livemode":true}'])
def test_signed_nonsense_is_refused(client: httpx.Client, body: bytes) -> None:
    assert tell(client, body).status_code == 400


def test_amounts_in_events_are_whole_and_not_negative(client: httpx.Client, stripe: FakeStripe) -> None:
    session, payment_id = order(client, stripe)
    told(client, paid(session, payment_id))
    for wrong in (-1, 1.5, "100", None):
        body = refunded(payment_id, 1, 2500).replace(
            b'"amount_refunded": 1', f'"amount_refunded": {json.dumps(wrong)}'.encode()
        )
        assert tell(client, body).status_code == 400
    assert available(client) == "25.000000"


# ----------------------------------------------------------------------------------------------------------------- orders


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_required_parameter", "amount"),
        ({"amount": None}, "missing_required_parameter", "amount"),
        ({"amount": 25}, "invalid_type", "amount"),
        ({"amount": "25.00", "currency": "eur"}, "unknown_parameter", "currency"),
        ({"amount": "4.99"}, "invalid_value", "amount"),
        ({"amount": "10000.01"}, "invalid_value", "amount"),
        ({"amount": "25.001"}, "invalid_value", "amount"),
        ({"amount": "-25"}, "invalid_value", "amount"),
        ({"amount": "1e3"}, "invalid_value", "amount"),
    ],
)
def test_orders_are_checked_before_anybody_is_asked(
    client: httpx.Client, stripe: FakeStripe, body: dict[str, Any], code: str, param: str
) -> None:
    calls = stripe.calls
    answer = client.post(TOPUPS, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert stripe.calls == calls


def test_play_money_is_not_for_sale(shop: Gateway, workspace: str) -> None:
    with shop.client(shop.key("test", workspace)) as client:
        answer = client.post(TOPUPS, json={"amount": "25.00"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "live_key_required")


def test_a_provider_out_of_order_is_told_without_its_secrets(
    client: httpx.Client, stripe: FakeStripe, caplog: pytest.LogCaptureFixture
) -> None:
    stripe.failing = 402
    answer = client.post(TOPUPS, json={"amount": "25.00"})
    stripe.failing = None
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "payment_unavailable")
    assert API_KEY not in caplog.text + answer.text


@pytest.mark.parametrize(
    "missing", [{"webhook_secret": None}, {"webhook_secret": Secret("s" * 23)}, {"api_key": None}, {"return_url": ""}]
)
def test_without_a_secret_there_is_no_such_path(stripe: FakeStripe, tmp_path: Path, missing: dict[str, Any]) -> None:
    with (
        running_gateway(tmp_path, stripe=options(stripe, **missing)) as closed,
        closed.client(closed.key("live")) as client,
    ):
        body = paid({"id": "cs_1"}, "pi_1")
        for answer in (tell(client, body), client.post(TOPUPS, json={"amount": "25.00"})):
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")
        assert TOPUPS not in client.get("/openapi.json").json()["paths"]
