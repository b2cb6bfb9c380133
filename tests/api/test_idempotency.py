"""Idempotency-Key: one request, one charge and one answer, however often it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, func, select, update

from omixa.catalogue.bodies import LIFT_FROM_BYTES, parse_body
from omixa.storage.tables import idempotency, request
from tests.support.document import Document, events
from tests.support.faults import eventually
from tests.support.footprint import money
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.pictures import picture, reference
from tests.support.servers import Gateway, Simulator

CREATE = "/api/v1/images/generations"
PRICE = 33_900
CREDIT = 10_000_000
Body = dict[str, Any]


@pytest.fixture
def send(live_client: httpx.Client, document: Document) -> Callable[..., httpx.Response]:
    """Send a request with a key of its own; every answer is what the API document says."""

    def send(
        body: Body | bytes, key: str = "order-1", client: httpx.Client = live_client, **headers: str
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", "idempotency-key": key} | headers
        answer = client.post(CREATE, content=content, headers=sent)
        document.check(answer)
        return answer

    return send


def described(answer: httpx.Response) -> dict[str, str]:
    """Return the headers that describe an answer, without those of one transmission."""
    passing = {"date", "server-timing", "openai-processing-ms", "idempotency-replayed", "connection"}
    return {name: value for name, value in answer.headers.items() if name not in passing}


def assert_replayed(first: httpx.Response, again: httpx.Response) -> None:
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert described(again) == described(first)


# ----------------------------------------------------------------------------------------------------------------- replays


def test_a_repeat_gets_the_same_answer_and_is_charged_once(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, foundry: Simulator, workspace: str
) -> None:
    first = send(example)
    calls = len(foundry.log())
    for _ in range(2):
        assert_replayed(first, send(example))
    assert len(foundry.log()) == calls
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_white_space_and_the_order_of_fields_do_not_matter(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, workspace: str
) -> None:
    first = send(example | {"input_images": [reference()], "n": 1})
    body = {"n": 1, "input_images": [dict(reversed(reference().items()))]} | dict(reversed(example.items()))
    assert_replayed(first, send(json.dumps(body, indent=3, ensure_ascii=False).encode()))
    assert money(gateway, workspace, "live")[1] == 0


def test_another_key_is_another_request(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, workspace: str
) -> None:
    first, second = send(example, "a"), send(example, "b")
    assert first.json()["omixa"]["request_id"] != second.json()["omixa"]["request_id"]
    assert money(gateway, workspace, "live") == (CREDIT - 2 * PRICE, 0)


def test_a_key_belongs_to_its_workspace_and_mode(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, new_key: Callable[..., str], workspace: str
) -> None:
    first = send(example)
    with gateway.client(new_key("live")) as rotated:
        assert_replayed(first, send(example, client=rotated))
    with gateway.client(new_key("test")) as test, gateway.client(gateway.key("test", f"{workspace}-b")) as other:
        for client in (test, other):
            answer = send(example, client=client)
            assert (answer.status_code, "idempotency-replayed" in answer.headers) == (200, False)


def test_a_stream_is_replayed_as_events(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, workspace: str
) -> None:
    body = example | {"stream": True, "n": 2}
    first, again = send(body), send(body)
    assert again.headers["content-type"].startswith("text/event-stream")
    assert again.headers["idempotency-replayed"] == "true"
    assert events(again.text) == events(first.text)
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    # The same request without a stream is another request.
    assert send(body | {"stream": False}).status_code == 422
    billed = int(events(first.text)[-1]["omixa"]["billed_amount"].replace(".", ""))
    assert money(gateway, workspace, "live") == (CREDIT - billed, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_refusal_of_content_is_kept_and_told_again(
    send: Callable[..., httpx.Response], example: Body, foundry: Simulator, stream: bool
) -> None:
    foundry.play("filter")
    first = send(example | {"stream": stream})
    calls = len(foundry.log())
    again = send(example | {"stream": stream})
    assert_replayed(first, again)
    assert "content_policy_violation" in again.text
    assert first.status_code == (200 if stream else 400)
    assert len(foundry.log()) == calls


# ------------------------------------------------------------------------------------------------------- other situations


def test_a_failure_that_may_pass_is_tried_again(
    send: Callable[..., httpx.Response], example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    foundry.play("500,503")
    statuses = [send(example).status_code for _ in range(3)]
    assert statuses == [502, 503, 200]
    assert send(example).headers["idempotency-replayed"] == "true"
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_while_it_runs_a_repeat_is_told_to_wait(
    send: Callable[..., httpx.Response], example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    foundry.play("slow=0.5")
    calls = len(foundry.log())
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, example)
        eventually(lambda: len(foundry.log()) > calls)
        waiting = send(example)
        assert waiting.status_code == 409
        assert waiting.json()["error"]["code"] == "idempotency_in_progress"
        assert int(waiting.headers["retry-after"]) > 0
        assert waiting.headers["x-should-retry"] == "true"
        first = running.result()
    assert_replayed(first, send(example))
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_a_key_is_for_one_request(
    send: Callable[..., httpx.Response], example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    send(example)
    calls = len(foundry.log())
    other = send(example | {"prompt": "A blue kite"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert other.json()["error"]["param"] == "Idempotency-Key"
    assert len(foundry.log()) == calls
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


_expire_result = (
    update(request).where(request.c.id == bindparam("name")).values(result_expires_at_ms=bindparam("until"))
)
_expire_key = update(idempotency).where(idempotency.c.request_id == bindparam("name")).values(expires_at_ms=0)
_keys = select(func.count().label("keys")).where(idempotency.c.request_id == bindparam("name"))


def test_an_answer_that_is_no_longer_kept_is_gone_and_not_made_again(
    send: Callable[..., httpx.Response], example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    request_id = send(example).headers["x-request-id"]
    calls = len(foundry.log())
    for swept in (False, True):
        gateway.write(lambda tx: tx.execute(_expire_result, name=request_id, until=tx.now_ms()))
        if swept:
            gateway.call(lambda services: services.sweeper.sweep())
        gone = send(example)
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "result_expired")
        assert gone.headers["omixa-cost"] == "0.033900"
        assert "0.033900" in gone.json()["error"]["message"]
    assert len(foundry.log()) == calls
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_a_key_past_its_time_is_deleted_and_can_be_used_again(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway
) -> None:
    def keys(request_id: str) -> int:
        row = gateway.read(lambda tx: tx.first(_keys, name=request_id))
        assert row is not None
        return int(row["keys"])

    first = send(example).headers["x-request-id"]
    gateway.write(lambda tx: tx.execute(_expire_key, name=first))
    second = send(example).headers["x-request-id"]
    assert first != second
    assert (keys(first), keys(second)) == (0, 1)
    gateway.call(lambda services: services.sweeper.sweep())
    assert keys(second) == 1
    gateway.write(lambda tx: tx.execute(_expire_key, name=second))
    gateway.call(lambda services: services.sweeper.sweep())
    assert keys(second) == 0


def test_what_is_refused_before_the_hold_leaves_no_key(
    send: Callable[..., httpx.Response], example: Body, gateway: Gateway, new_key: Callable[..., str], workspace: str
) -> None:
    assert send(example | {"size": "1x1"}).status_code == 400
    assert send(example, **{"omixa-max-cost": "0.000001"}).status_code == 402
    with gateway.client(gateway.key("live", f"{workspace}-poor")) as poor:
        assert send(example, client=poor).json()["error"]["code"] == "insufficient_balance"
        gateway.grant(1_000_000, workspace=f"{workspace}-poor")
        assert send(example, client=poor).status_code == 200
    assert "idempotency-replayed" not in send(example).headers


@pytest.mark.parametrize("key", ["", "with a space", "x" * 256, "caf\u00e9", "tab\tinside"])
def test_a_key_that_cannot_be_one_is_refused(live_client: httpx.Client, example: Body, key: str) -> None:
    answer = live_client.post(CREATE, json=example, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Idempotency-Key"
    assert "255 visible ASCII" in answer.json()["error"]["message"]


def test_the_longest_and_strangest_keys_are_keys(send: Callable[..., httpx.Response], example: Body) -> None:
    for key in ("!", "~" * 255, "'; DROP TABLE idempotency; --".replace(" ", "_")):
        assert_replayed(send(example, key), send(example, key))


def test_two_keys_are_one_too_many(live_client: httpx.Client, example: Body) -> None:
    headers = [("idempotency-key", "a"), ("idempotency-key", "b")]
    answer = live_client.post(CREATE, json=example, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_form_is_compared_by_its_fields_and_files(
    live_client: httpx.Client, document: Document, gateway: Gateway, workspace: str
) -> None:
    def send(*parts: bytes) -> httpx.Response:
        headers = {"content-type": CONTENT_TYPE, "idempotency-key": "edit-1"}
        answer = live_client.post("/v1/images/edits", content=form(*parts), headers=headers)
        document.check(answer)
        return answer

    texts = [part("model", "MAI-Image-2.5"), part("prompt", "Make the sky a deep orange")]
    file = part("image", picture(), "a.png", "image/png")
    first = send(*texts, file)
    # Neither the order of the parts nor the name of a file matters.
    assert_replayed(first, send(part("image", picture(), "b.png", "image/png"), *reversed(texts)))
    assert send(*texts, part("image", picture(width=1152), "a.png", "image/png")).status_code == 422
    billed = int(first.headers["omixa-cost"].replace(".", ""))
    assert money(gateway, workspace, "live") == (CREDIT - billed, 0)


def test_a_path_has_two_spellings_and_is_one_endpoint(live_client: httpx.Client, example: Body) -> None:
    headers = {"idempotency-key": "either"}
    first = live_client.post(CREATE, json=example, headers=headers)
    assert_replayed(first, live_client.post("/v1/images/generations", json=example, headers=headers))


# ------------------------------------------------------------------------------------------------------------------ races


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_of_many_at_the_same_moment_one_is_charged(
    send: Callable[..., httpx.Response],
    example: Body,
    gateway: Gateway,
    foundry: Simulator,
    workspace: str,
    stream: bool,
) -> None:
    number, keys = 6, 5
    calls = len(foundry.log())
    start = threading.Barrier(number * keys)

    def race(key: int) -> httpx.Response:
        start.wait()
        return send(example | {"stream": stream}, f"race-{key}")

    with ThreadPoolExecutor(number * keys) as pool:
        answers = list(pool.map(race, [n % keys for n in range(number * keys)]))
    for key in range(keys):
        mine = answers[key::keys]
        assert {answer.status_code for answer in mine} <= {200, 409}
        assert len({answer.headers["x-request-id"] for answer in mine if answer.status_code == 200}) == 1
        assert sum(answer.status_code == 200 and "idempotency-replayed" not in answer.headers for answer in mine) == 1
    assert money(gateway, workspace, "live") == (CREDIT - keys * PRICE, 0)
    assert len(foundry.log()) == calls + keys


# ------------------------------------------------------------------------------------------------------------ fingerprints

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text(max_size=8), values, max_size=5)
PICTURE = "data:image/png;base64," + "QUJD" * (LIFT_FROM_BYTES // 4)


def spelled(body: Body, **style: Any) -> bytes:
    return b"".join(parse_body(json.dumps(body, **style).encode()).canonical())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(bodies, st.booleans())
def test_one_body_has_one_spelling_and_its_own(body: Body, has_picture: bool) -> None:
    """A picture is left out of the parser in a large body, and must count like any other text."""
    pictures = {"pictures": [{"url": PICTURE}, {"url": "data:image/png;base64,QUJD"}]} if has_picture else {}
    whole = body | pictures
    first = spelled(whole)
    assert spelled(dict(reversed(whole.items())), indent=2, ensure_ascii=False) == first
    # An escaped slash keeps a picture from being left out.
    assert b"".join(parse_body(json.dumps(whole).replace("/", "\\/").encode()).canonical()) == first
    assert json.loads(first) == whole
    assert spelled(whole | {"one more": 1}) != first


@pytest.fixture(autouse=True)
def _sound(gateway: Gateway) -> Iterator[None]:
    """No test leaves the ledger in disorder; what others broke on purpose was broken before."""
    before = gateway.call(lambda services: services.sweeper.check())
    yield
    found = gateway.call(lambda services: services.sweeper.check())
    assert set(found.findings) <= set(before.findings)
