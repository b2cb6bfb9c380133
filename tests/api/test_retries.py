"""A retry that carries no key: it joins the request that it repeats and is charged with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import openai
import pytest
from sqlalchemy import bindparam, update

from omixa.gateway.idempotency import JOIN_WINDOW_MS
from omixa.storage.database import Transaction
from omixa.storage.tables import request
from omixa.usage import records
from tests.support.cutting import Cutter, running_cutter
from tests.support.document import Document, events
from tests.support.faults import eventually
from tests.support.footprint import money
from tests.support.ledger import release
from tests.support.servers import Gateway, Simulator

CREATE = "/api/v1/images/generations"
MODEL = "MAI-Image-2.5"
PROMPT = "A red kite over a stubble field at dusk"
PRICE = 33_900
CREDIT = 10_000_000
FIRST = {"x-stainless-retry-count": "0"}
RETRY = {"x-stainless-retry-count": "1"}
Body = dict[str, Any]


@pytest.fixture
def cutter(gateway: Gateway) -> Iterator[Cutter]:
    with running_cutter(gateway.port) as running:
        yield running


@pytest.fixture
def client(cutter: Cutter, live_client: httpx.Client) -> Iterator[openai.OpenAI]:
    """OpenAI's client with its own retries, behind a bad network."""
    transport = httpx.Client(trust_env=False, verify=False, timeout=60)
    key = live_client.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=f"http://127.0.0.1:{cutter.port}/api/v1", api_key=key, http_client=transport) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _sound(gateway: Gateway) -> Iterator[None]:
    """No test leaves the ledger in disorder; what others broke on purpose was broken before."""
    before = gateway.call(lambda services: services.sweeper.check())
    yield
    found = gateway.call(lambda services: services.sweeper.check())
    assert set(found.findings) <= set(before.findings)


def ask(client: httpx.Client, document: Document, body: Body, **headers: str) -> httpx.Response:
    """Ask as a client that counts its tries."""
    answer = client.post(CREATE, json=body, headers=FIRST | headers)
    document.check(answer)
    return answer


def log_of(client: httpx.Client) -> list[dict[str, Any]]:
    return list(client.get("/api/v1/usage/requests").json()["data"])


# ---------------------------------------------------------------------------------------------------------------- clients


@pytest.mark.parametrize("stays_upstream", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_openais_client_is_charged_once_for_a_request_whose_connection_broke(
    client: openai.OpenAI,
    cutter: Cutter,
    live_client: httpx.Client,
    foundry: Simulator,
    gateway: Gateway,
    workspace: str,
    stays_upstream: bool,
    ended: bool,
    stream: bool,
) -> None:
    foundry.play("slow=0.9")
    calls = len(foundry.log())

    def is_time() -> bool:
        posted = money(gateway, workspace, "live")[0]
        return posted < CREDIT if ended else len(foundry.log()) > calls

    cutter.stays_upstream = stays_upstream
    cutter.cuts.append(is_time)
    if stream:
        (event,) = client.images.generate(model=MODEL, prompt=PROMPT, stream=True)
        assert event.model_extra is not None
        omixa = event.model_extra["omixa"]
    else:
        raw = client.images.with_raw_response.generate(model=MODEL, prompt=PROMPT)
        assert raw.headers["omixa-joined"] == "true"
        assert raw.headers["x-request-id"] == raw.http_response.json()["omixa"]["request_id"]
        omixa = raw.http_response.json()["omixa"]
    assert cutter.connections == 2
    assert omixa["joined_request"] is True
    assert omixa["billed_amount"] == "0.033900"
    (found,) = log_of(live_client)
    assert (found["id"], found["joined_requests"]) == (omixa["request_id"], 1)
    assert len(foundry.log()) == calls + 1
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_envoys_count_is_understood_too(
    live_client: httpx.Client, document: Document, example: Body, gateway: Gateway, workspace: str
) -> None:
    first = live_client.post(CREATE, json=example, headers={"x-envoy-attempt-count": "1"})
    again = live_client.post(CREATE, json=example, headers={"x-envoy-attempt-count": "2"})
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


# ------------------------------------------------------------------------------------------------------------------ rules


def test_identical_requests_that_are_no_retries_are_separate(
    live_client: httpx.Client, document: Document, example: Body, gateway: Gateway, workspace: str
) -> None:
    for headers in ({}, {"x-stainless-retry-count": "0"}, {"x-stainless-retry-count": "soon"}):
        answer = live_client.post(CREATE, json=example, headers=headers)
        assert "omixa-joined" not in answer.headers
        assert "joined_request" not in answer.json()["omixa"]
    assert money(gateway, workspace, "live") == (CREDIT - 3 * PRICE, 0)


def test_a_request_that_counts_nothing_is_joined_by_none(
    live_client: httpx.Client, document: Document, example: Body, gateway: Gateway, workspace: str
) -> None:
    """Its client cannot say that another request is a retry of it, so nothing is kept by which it would be found."""
    live_client.post(CREATE, json=example)
    assert "omixa-joined" not in ask(live_client, document, example, **RETRY).headers
    assert money(gateway, workspace, "live") == (CREDIT - 2 * PRICE, 0)


def test_a_retry_joins_its_own_kind_alone(
    live_client: httpx.Client,
    document: Document,
    example: Body,
    gateway: Gateway,
    new_key: Callable[..., str],
) -> None:
    """The body, the API key and the absence of a key of the client's own must be the same."""
    ask(live_client, document, example)
    keyed = ask(live_client, document, example, **RETRY, **{"idempotency-key": "k"})
    other_body = ask(live_client, document, example | {"prompt": "A blue kite"}, **RETRY)
    with gateway.client(new_key("live")) as second:
        other_key = ask(second, document, example, **RETRY)
    assert all("omixa-joined" not in answer.headers for answer in (keyed, other_body, other_key))
    # And what has a key is found by that alone.
    ask(live_client, document, example | {"prompt": "A green kite"}, **{"idempotency-key": "g"})
    keyless = ask(live_client, document, example | {"prompt": "A green kite"}, **RETRY)
    assert "omixa-joined" not in keyless.headers


_age = (
    update(request).where(request.c.id == bindparam("name")).values(ended_at_ms=request.c.ended_at_ms - bindparam("by"))
)
_expire = update(request).where(request.c.id == bindparam("name")).values(result_expires_at_ms=1)


@pytest.mark.parametrize("statement", ["long ago", "no longer kept"])
def test_a_retry_joins_only_what_has_just_ended_and_is_kept(
    live_client: httpx.Client, document: Document, example: Body, gateway: Gateway, statement: str
) -> None:
    first = ask(live_client, document, example).headers["x-request-id"]
    if statement == "long ago":
        gateway.write(lambda tx: tx.execute(_age, name=first, by=JOIN_WINDOW_MS + 60_000))
    else:
        gateway.write(lambda tx: tx.execute(_expire, name=first))
    assert "omixa-joined" not in ask(live_client, document, example, **RETRY).headers


def test_after_a_failure_a_retry_runs_even_beside_an_older_success(
    live_client: httpx.Client, document: Document, example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    first = ask(live_client, document, example)
    foundry.play("503")
    assert ask(live_client, document, example).status_code == 503
    second = ask(live_client, document, example, **RETRY)
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert money(gateway, workspace, "live") == (CREDIT - 2 * PRICE, 0)


def test_a_retry_joins_the_request_whose_client_has_left(
    client: openai.OpenAI,
    cutter: Cutter,
    live_client: httpx.Client,
    document: Document,
    example: Body,
    foundry: Simulator,
    gateway: Gateway,
    workspace: str,
) -> None:
    """Of two that ask for the same, the one that was answered is not given a second time."""
    gone = threading.Event()
    foundry.play("slow=1.2")
    calls = len(foundry.log())
    cutter.cuts.append(gone.is_set)
    with ThreadPoolExecutor(1) as pool:
        broken = pool.submit(client.images.with_raw_response.generate, **example)
        eventually(lambda: len(foundry.log()) > calls)
        foundry.play("")
        answered = ask(live_client, document, example).headers["x-request-id"]
        gone.set()
        raw = broken.result()
    assert raw.headers["omixa-joined"] == "true"
    assert raw.headers["x-request-id"] != answered
    assert money(gateway, workspace, "live") == (CREDIT - 2 * PRICE, 0)


def test_when_the_joined_request_fails_the_retry_runs_itself(
    live_client: httpx.Client, document: Document, example: Body, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    foundry.play("slow=1.5")
    calls = len(foundry.log())
    with (
        ThreadPoolExecutor(2) as pool,
        gateway.client(live_client.headers["authorization"].removeprefix("Bearer ")) as second,
    ):
        first = pool.submit(live_client.post, CREATE, json=example, headers=FIRST)
        eventually(lambda: len(foundry.log()) > calls)
        foundry.play("")
        retrying = pool.submit(ask, second, document, example, **RETRY)
        eventually(lambda: any(row["joined_requests"] for row in log_of(second)))
        (row,) = log_of(second)
        gateway.write(lambda tx: _interrupt(tx, row["id"]))
        answer = retrying.result()
        assert first.result().status_code == 503
    assert answer.status_code == 200
    assert "omixa-joined" not in answer.headers
    assert answer.headers["x-request-id"] != row["id"]
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def _interrupt(tx: Transaction, request_id: str) -> None:
    """End a request as the sweeper does whose owner is gone."""
    found = tx.first(_row, name=request_id)
    assert found is not None
    assert release(tx, request_id, found["owner_epoch"], "interrupted")
    records.abandon_attempts(tx, request_id, "interrupted")


_row = request.select().where(request.c.id == bindparam("name"))


def test_a_refusal_of_content_is_told_to_the_retry(
    live_client: httpx.Client, document: Document, example: Body, foundry: Simulator
) -> None:
    foundry.play("filter")
    first = ask(live_client, document, example)
    calls = len(foundry.log())
    again = ask(live_client, document, example, **RETRY)
    assert (again.status_code, again.content) == (400, first.content)
    assert again.headers["omixa-joined"] == "true"
    assert len(foundry.log()) == calls


def test_many_retries_at_once_are_one_request(
    live_client: httpx.Client, document: Document, example: Body, gateway: Gateway, workspace: str
) -> None:
    """Each says that it is a retry of something: whoever comes first runs, the others join it."""
    number = 12
    start = threading.Barrier(number)

    def retry(_: int) -> httpx.Response:
        start.wait()
        return ask(live_client, document, example, **RETRY)

    with ThreadPoolExecutor(number) as pool:
        answers = list(pool.map(retry, range(number)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["x-request-id"] for answer in answers}) == 1
    assert sum("omixa-joined" not in answer.headers for answer in answers) == 1
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_a_stream_that_joins_is_a_stream(live_client: httpx.Client, document: Document, example: Body) -> None:
    body = example | {"stream": True}
    first, again = ask(live_client, document, body), ask(live_client, document, body, **RETRY)
    (made,), (joined,) = events(first.text), events(again.text)
    assert joined["omixa"].pop("joined_request") is True
    assert joined == made
