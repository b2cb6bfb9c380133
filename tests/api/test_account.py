"""What a workspace can read about its requests, its usage and its money, and that nobody else can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import bindparam, update

from omixa.access import store
from omixa.access.keys import parse_key
from omixa.billing.ledger import Hold
from omixa.domain.access import Principal
from omixa.domain.ids import new_id
from omixa.domain.times import utc_today
from omixa.services import Services
from omixa.storage.tables import request
from tests.support.document import Document, events
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
LOG = f"{API}/usage/requests"
ROLLUPS = f"{API}/usage/rollups"


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> Document:
    with gateway.client(None) as client:
        return Document(client.get("/openapi.json").json())


@pytest.fixture
def key(new_key: Callable[..., str]) -> str:
    return new_key()


@pytest.fixture
def client(gateway: Gateway, key: str, document: Document) -> Iterator[httpx.Client]:
    """A client with a test key, each answer of which is held against the document."""
    with gateway.client(key) as client:
        client.event_hooks["response"] = [document.check]
        yield client


def make(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json={"model": MODEL, "prompt": "A red kite over stubble", **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def hold(gateway: Gateway, key: str) -> str:
    """Hold money for a request that never runs and return its id."""

    async def authorise(services: Services) -> str:
        principal = await _principal(services, key)
        settlement = services.pipeline.settlement
        wanted = Hold(
            request_id=new_id("req"),
            workspace_id=principal.workspace_id,
            account_id=principal.account_id,
            key_id=principal.key_id,
            mode=principal.mode,
            model=MODEL,
            operation="generation",
            parameters_json=f'{{"requested_model":"{MODEL}","n":1}}',
            amount_micro_usd=40_600,
            price_version_id=services.catalogue.resolve(MODEL).price_lists[0].version,
            markup_ppm=principal.markup_ppm,
            owner_node=settlement.node.id,
            owner_epoch=settlement.node.epoch,
            deadline_ms=600_000,
        )
        await settlement.authorise(wanted, [])
        return wanted.request_id

    return gateway.call(authorise)


def release(gateway: Gateway, request_id: str, outcome: str = "provider_timeout") -> None:
    gateway.call(lambda services: services.pipeline.settlement.release(request_id, outcome, []))


async def _principal(services: Services, key: str) -> Principal:
    digest = parse_key(key).digest(services.workspaces._pepper)
    principal = await services.database.read(lambda tx: store.find_principal(tx, digest))
    assert principal is not None
    return principal


# --------------------------------------------------------------------------------------------------------------- requests


def test_request_tells_the_whole_story(client: httpx.Client) -> None:
    body = make(client, n=2, quality="high")
    answer = client.get(f"{API}/requests/{body['omixa']['request_id']}")
    request = answer.json()
    omixa = body["omixa"]
    assert request["id"] == omixa["request_id"]
    assert (request["state"], request["outcome"], request["error_code"]) == ("captured", "ok", None)
    for name in ("mode", "model", "requested_model", "operation", "route", "price_version", "line_items"):
        assert request[name] == omixa[name]
    for name in ("exact_amount", "markup_ppm", "held_amount", "billed_amount", "currency"):
        assert request[name] == omixa[name]
    assert request["usage"] | {"billed_amount": request["billed_amount"]} == body["usage"]
    assert sum(Decimal(line["amount"]) for line in request["line_items"]) == Decimal(request["exact_amount"])
    assert [(step["attempt"], step["image"], step["outcome"]) for step in request["attempts"]] == [
        (1, 0, "ok"),
        (2, 1, "ok"),
    ]
    assert all(step["offset_ms"] + step["duration_ms"] <= request["duration_ms"] for step in request["attempts"])
    assert request["parameters"]["n"] == 2
    assert request["parameters"]["given"] == ["model", "n", "prompt", "quality"]
    assert request["created"] <= body["created"] <= request["created"] + request["duration_ms"] // 1000 + 1


def test_request_hides_what_is_not_the_callers(client: httpx.Client) -> None:
    body = make(client, prompt="A sapphire-blue umbrella nobody should read about")
    text = client.get(f"{API}/requests/{body['omixa']['request_id']}").text
    for hidden in ("sapphire", "diagnostics", "cost", "provider_request_id", "b64_json"):
        assert hidden not in text


def test_failed_request_costs_nothing(live_client: httpx.Client, foundry: Simulator, document: Document) -> None:
    foundry.play("filter")
    failed = live_client.post(CREATE, json={"model": MODEL, "prompt": "A forbidden thing"})
    document.check(failed)
    assert failed.status_code == 400
    answer = live_client.get(f"{API}/requests/{failed.headers['x-request-id']}")
    document.check(answer)
    request = answer.json()
    assert (request["state"], request["billed_amount"], request["usage"]) == ("released", "0.000000", None)
    assert request["outcome"] == request["error_code"] == "content_policy_violation"
    assert (request["line_items"], request["exact_amount"], request["route"]) == ([], None, None)
    assert [attempt["outcome"] for attempt in request["attempts"]] == ["content_policy_violation"]


@pytest.mark.parametrize("scenario", ["401", "quota", "redirect", "503"])
def test_the_providers_own_words_stay_with_the_operator(
    live_client: httpx.Client, foundry: Simulator, document: Document, scenario: str
) -> None:
    foundry.play(scenario)
    failed = live_client.post(CREATE, json={"model": MODEL, "prompt": "A lighthouse"})
    document.check(failed)
    answer = live_client.get(f"{API}/requests/{failed.headers['x-request-id']}")
    document.check(answer)
    request = answer.json()
    assert request["outcome"] == failed.json()["error"]["code"]
    assert [attempt["outcome"] for attempt in request["attempts"]] == [request["outcome"]]


def test_running_request(gateway: Gateway, client: httpx.Client, key: str) -> None:
    request_id = hold(gateway, key)
    request = client.get(f"{API}/requests/{request_id}").json()
    assert (request["state"], request["outcome"], request["ended_at"], request["duration_ms"]) == (
        "held",
        None,
        None,
        None,
    )
    assert (request["held_amount"], request["billed_amount"]) == ("0.040600", "0.000000")
    waiting = client.get(f"{API}/requests/{request_id}/result")
    assert (waiting.status_code, waiting.json()["error"]["code"]) == (409, "request_in_progress")
    assert int(waiting.headers["retry-after"]) > 0
    assert waiting.headers["x-should-retry"] == "true"
    release(gateway, request_id)


@pytest.mark.parametrize("suffix", ["", "/result"])
def test_requests_of_others_do_not_exist(
    gateway: Gateway, client: httpx.Client, key: str, new_key: Callable[..., str], suffix: str, document: Document
) -> None:
    request_id = hold(gateway, key)
    release(gateway, request_id)
    code = "result_not_found" if suffix else "request_not_found"
    for stranger in (gateway.key("test", f"stranger-{request_id[-8:]}"), new_key(mode="live")):
        with gateway.client(stranger) as other:
            answer = other.get(f"{API}/requests/{request_id}{suffix}")
        document.check(answer)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
        assert answer.headers["x-should-retry"] == "false"
    unknown = client.get(f"{API}/requests/nothing-like-an-id{suffix}")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, code)


# ---------------------------------------------------------------------------------------------------------------- results


def test_result_is_the_answer_to_the_byte(client: httpx.Client) -> None:
    answer = client.post(CREATE, json={"model": MODEL, "prompt": "A lighthouse", "n": 2, "output_format": "webp"})
    assert answer.status_code == 200
    again = client.get(f"{API}/requests/{answer.headers['x-request-id']}/result")
    assert again.content == answer.content
    for name in ("x-request-id", "omixa-cost", "omixa-mode", "omixa-route", "omixa-attempts"):
        assert again.headers[name] == answer.headers[name]


def test_result_of_a_stream_is_an_ordinary_answer(client: httpx.Client) -> None:
    stream = client.post(CREATE, json={"model": MODEL, "prompt": "A lighthouse", "stream": True})
    (event,) = events(stream.text)
    body = client.get(f"{API}/requests/{stream.headers['x-request-id']}/result").json()
    assert body["data"][0]["b64_json"] == event["b64_json"]
    assert body["usage"]["billed_amount"] == event["usage"]["billed_amount"]


def test_failed_request_has_no_result(gateway: Gateway, client: httpx.Client, key: str) -> None:
    request_id = hold(gateway, key)
    release(gateway, request_id)
    answer = client.get(f"{API}/requests/{request_id}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "result_not_found")
    assert "provider_timeout" in answer.json()["error"]["message"]


def test_expired_result_names_what_was_billed(gateway: Gateway, client: httpx.Client) -> None:
    body = make(client)
    request_id = body["omixa"]["request_id"]
    expire = update(request).where(request.c.id == bindparam("request_id")).values(result_expires_at_ms=1)
    gateway.write(lambda tx: tx.execute(expire, request_id=request_id))
    answer = client.get(f"{API}/requests/{request_id}/result")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (410, "result_expired")
    assert body["usage"]["billed_amount"] in error["message"]
    assert client.get(f"{API}/requests/{request_id}").json()["billed_amount"] == body["usage"]["billed_amount"]


@pytest.mark.parametrize("damage", ["flip", "cut", "delete"])
def test_damaged_result_is_never_sent(
    gateway: Gateway, client: httpx.Client, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    request_id = make(client)["omixa"]["request_id"]
    (path,) = Path(gateway.settings.data_dir).glob(f"results/*/{request_id}")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-100])
    else:
        path.unlink()
    answer = client.get(f"{API}/requests/{request_id}/result")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["result.broken"]


# -------------------------------------------------------------------------------------------------------------------- log


@pytest.fixture
def logged(gateway: Gateway, client: httpx.Client, key: str) -> list[str]:
    """The ids of five requests, newest first; the newest still runs."""
    # Ids of one millisecond have no order among themselves.
    identifiers = sorted((hold(gateway, key) for _ in range(5)), reverse=True)
    for request_id in identifiers[1:]:
        release(gateway, request_id)
    return identifiers


def test_log_in_pages(client: httpx.Client, logged: list[str]) -> None:
    first = client.get(LOG, params={"limit": 2})
    page = first.json()
    assert [row["id"] for row in page["data"]] == logged[:2] == [page["first_id"], page["last_id"]]
    assert page["has_more"] is True
    second = client.get(LOG, params={"limit": 2, "after": page["last_id"]})
    assert [row["id"] for row in second.json()["data"]] == logged[2:4]
    last = client.get(second.links["next"]["url"])
    assert [row["id"] for row in last.json()["data"]] == logged[4:]
    assert last.json()["has_more"] is False
    assert "link" not in last.headers
    beyond = client.get(LOG, params={"after": logged[4]}).json()
    assert beyond == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_log_filters_keep_their_place_in_links(client: httpx.Client, logged: list[str]) -> None:
    answer = client.get(LOG, params={"state": "released", "model": MODEL.lower(), "limit": 3})
    assert [row["id"] for row in answer.json()["data"]] == logged[1:4]
    rest = client.get(answer.links["next"]["url"])
    assert [row["id"] for row in rest.json()["data"]] == logged[4:]
    assert client.get(LOG, params={"model": "gpt-image-1"}).json()["data"] == []
    assert client.get(LOG, params={"key_id": "key_of_somebody"}).json()["data"] == []


def test_log_agrees_with_the_details(client: httpx.Client) -> None:
    make(client)
    (row,) = client.get(LOG).json()["data"]
    details = client.get(f"{API}/requests/{row['id']}").json()
    assert row == {name: details[name] for name in row}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=", "after"),
        ("after=req_short", "after"),
        ("after=%00", "after"),
        ("state=lost", "state"),
        ("before=req_1", "before"),
        ("period_type=day", "period_type"),
        ("=1", ""),
        ("%ff=1", "\ufffd"),
    ],
)
def test_log_refuses_what_it_does_not_know(client: httpx.Client, query: str, param: str) -> None:
    _assert_refused(client.get(f"{LOG}?{query}"), param)


def test_a_flood_of_parameters_is_refused(client: httpx.Client) -> None:
    answer = client.get(f"{LOG}?{'&'.join(f'limit={n}' for n in range(1000))}")
    assert answer.status_code == 400


def _assert_refused(answer: httpx.Response, param: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert answer.headers["x-should-retry"] == "false"


# ------------------------------------------------------------------------------------------------------------------ usage


def test_rollups_add_up(client: httpx.Client) -> None:
    made = [make(client), make(client, n=2)]
    billed = sum(Decimal(body["usage"]["billed_amount"]) for body in made)
    tokens = sum(body["usage"]["output_tokens"] for body in made)
    for period_type, chars in (("day", 10), ("month", 7)):
        answer = client.get(ROLLUPS, params={"period_type": period_type}).json()
        assert answer["period_type"] == period_type
        # A run across midnight has two rows.
        assert all(len(row["period"]) == chars and row["model"] is row["key_id"] is None for row in answer["data"])
        assert sum(Decimal(row["billed_amount"]) for row in answer["data"]) == billed
        assert sum(row["requests"] for row in answer["data"]) == 2
        assert sum(row["images"] for row in answer["data"]) == 3
        assert sum(row["output_tokens"] for row in answer["data"]) == tokens
    by_model = client.get(ROLLUPS, params={"group_by": "model"}).json()["data"]
    assert {(row["model"], row["key_id"]) for row in by_model} == {(MODEL, None)}
    by_key = client.get(ROLLUPS, params={"group_by": "key"}).json()["data"]
    assert all(row["key_id"].startswith("key_") and row["model"] is None for row in by_key)


def test_rollups_between_days(client: httpx.Client) -> None:
    make(client)
    periods = [row["period"] for row in client.get(ROLLUPS).json()["data"]]
    inside = client.get(ROLLUPS, params={"since": periods[0], "until": periods[-1]}).json()["data"]
    assert [row["period"] for row in inside] == periods
    assert client.get(ROLLUPS, params={"until": "2020-01-01"}).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("period_type=week", "period_type"),
        ("since=yesterday", "since"),
        ("until=2026-02-30", "until"),
        ("since=null", "since"),
        ("group_by=workspace", "group_by"),
        ("limit=5", "limit"),
    ],
)
def test_rollups_refuse_what_they_do_not_know(client: httpx.Client, query: str, param: str) -> None:
    _assert_refused(client.get(f"{ROLLUPS}?{query}"), param)


def test_sums_by_route_are_those_of_the_answers(client: httpx.Client) -> None:
    made = [make(client)["omixa"] for _ in range(2)]
    (row,) = client.get(ROLLUPS, params={"group_by": "route"}).json()["data"]
    assert (row["route"], row["model"], row["requests"]) == (made[0]["route"], None, 2)
    assert Decimal(row["billed_amount"]) == sum(Decimal(one["billed_amount"]) for one in made)


def test_the_log_is_narrowed_down_by_how_requests_ended(client: httpx.Client) -> None:
    made = make(client)["omixa"]["request_id"]
    refused = client.post(CREATE, json={"model": MODEL, "prompt": "sim:filter x"}).headers["x-request-id"]

    def ids(**query: str) -> list[str]:
        return [one["id"] for one in client.get(LOG, params=query).json()["data"]]

    today = utc_today().isoformat()
    assert ids(outcome="ok") == ids(outcome="ok", state="captured", since=today) == [made]
    assert ids(outcome="content_policy_violation", until=today) == [refused]
    assert ids(outcome="ok", state="released") == ids(outcome="a\0b") == ids(since="9999-12-30") == []
    assert ids(until="2020-01-01") == ids(until="0001-01-01") == []
    wrong = client.get(LOG, params={"since": "2026-02-01", "until": "2026-01-01"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "until")
    assert client.get(LOG, params={"until": "9999-12-31"}).status_code in (200, 400)


def test_keys_are_listed_without_their_secrets(
    gateway: Gateway, client: httpx.Client, key: str, new_key: Callable[..., str]
) -> None:
    answer = client.get(f"{API}/keys")
    found = answer.json()["data"]
    own = next(one for one in found if one["last4"] == key[-4:])
    assert (own["mode"], own["state"], own["models"], own["revoked_at"]) == ("test", "active", None, None)
    assert key[9:-4] not in answer.text
    assert client.get(f"{API}/keys/{own['id']}").json() == own
    # Neither keys of the other mode nor those of others are there.
    with gateway.client(new_key("live")) as live:
        elsewhere = live.get(f"{API}/keys").json()["data"]
        assert {one["mode"] for one in elsewhere} == {"live"}
    for stranger in (elsewhere[0]["id"], "key_nothing", "%00"):
        missing = client.get(f"{API}/keys/{stranger}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "key_not_found")


def test_what_it_comes_to(client: httpx.Client) -> None:
    before = client.get(f"{API}/usage/forecast").json()
    made = make(client)["omixa"]
    after = client.get(f"{API}/usage/forecast").json()
    spent = Decimal(after["month_spent_amount"]) - Decimal(before["month_spent_amount"])
    assert spent == Decimal(made["billed_amount"])
    assert Decimal(after["month_expected_amount"]) >= Decimal(after["month_spent_amount"])
    assert after["available"] == client.get(f"{API}/balance").json()["available"]
    assert after["runway_days"] is None or after["lasts_until"] > after["as_of"]


def test_credit_and_alert(client: httpx.Client) -> None:
    lots = client.get(f"{API}/credit").json()["data"]
    balance = client.get(f"{API}/balance").json()
    assert sum(Decimal(one["remaining"]) for one in lots) == Decimal(balance["posted"])
    assert client.get(f"{API}/settings/alert").json() == {
        "object": "alert_settings",
        "below": None,
        "email": None,
        "is_low": False,
    }


def test_balance(gateway: Gateway, client: httpx.Client, key: str, workspace: str) -> None:
    path = f"{API}/balance"
    expected = {"object": "balance", "workspace": workspace, "mode": "test", "currency": "USD"}
    money = {"posted": "1000.000000", "held": "0.000000", "available": "1000.000000"}
    assert client.get(path).json() == expected | money
    request_id = hold(gateway, key)
    assert client.get(path).json() == expected | money | {"held": "0.040600", "available": "999.959400"}
    release(gateway, request_id)
    billed = Decimal(make(client)["usage"]["billed_amount"])
    left = f"{Decimal(1000) - billed:.6f}"
    assert client.get(path).json() == expected | {"posted": left, "held": "0.000000", "available": left}


def test_balance_of_the_other_mode_is_apart(gateway: Gateway, new_key: Callable[..., str], document: Document) -> None:
    with gateway.client(new_key(mode="live")) as client:
        answer = client.get(f"{API}/balance")
    document.check(answer)
    assert (answer.json()["mode"], answer.json()["available"]) == ("live", "0.000000")


# ---------------------------------------------------------------------------------------------------------------- service


def test_health(gateway: Gateway, document: Document) -> None:
    with gateway.client(None) as client:
        answers = [client.get("/healthz"), client.get("/readyz")]
    for answer in answers:
        document.check(answer)
    assert [answer.json() for answer in answers] == [{"status": "ok"}, {"status": "ready"}]


def test_readiness_ends_with_the_disk_and_with_the_database(tmp_path: Path, document: Document) -> None:
    with running_gateway(tmp_path) as gateway, gateway.client(None) as client:
        assert gateway.services is not None
        gateway.services.database.close()
        answer = client.get("/readyz")
        document.check(answer)
        assert (answer.status_code, answer.json()["status"]) == (503, "failed")
        gateway.services.fail_stop.fail("a result could not be made durable")
        answer = client.get("/readyz")
        document.check(answer)
        assert (answer.status_code, answer.json()["reason"]) == (503, "a result could not be made durable")
        assert client.get("/healthz").status_code == 200


def test_account_needs_a_key(gateway: Gateway, document: Document) -> None:
    with gateway.client(None) as client:
        for path in (LOG, ROLLUPS, f"{API}/balance", f"{API}/requests/x", f"{API}/requests/x/result"):
            answer = client.get(path)
            document.check(answer)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
