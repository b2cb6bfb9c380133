"""What a request would cost, told before it is made, and the price that a caller allows. Neither leaves a trace."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.api.examples import example_request
from omixa.billing.pricing import MAX_MARKUP_PPM, MIN_MARKUP_PPM, Terms, rate
from omixa.catalogue.loader import load_catalogue
from omixa.domain.images import ImageRequest, Usage
from omixa.errors import PriceAboveCap
from omixa.gateway import quotes
from tests.support.document import Document
from tests.support.footprint import footprint
from tests.support.pictures import reference
from tests.support.servers import Gateway, Simulator, running_gateway

CATALOGUE = load_catalogue()
MODEL = CATALOGUE.resolve("MAI-Image-2.5")
OFFER = CATALOGUE.offer("foundry", MODEL.id)
CREATE = "/api/v1/images/generations"
ESTIMATE = "/api/v1/images/estimate"
PROMPT = "A red kite over a stubble field at dusk"
CAP = "Omixa-Max-Cost"
MICRO = Decimal("0.000001")


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL.id, "prompt": PROMPT, **fields}


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    test_client.event_hooks["response"] = [document.check]
    return test_client


def estimate(client: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    answer = client.post(ESTIMATE, json=body(**fields), headers=headers or {})
    assert answer.status_code == 200, answer.text[:500]
    told: dict[str, Any] = answer.json()
    return told


# -------------------------------------------------------------------------------------------------------------- estimates


@pytest.mark.parametrize(
    "fields", [{}, {"n": 3}, {"size": "1024x1536"}, {"n": 2, "stream": True, "output_format": "webp"}]
)
def test_an_estimate_is_what_the_request_then_holds_and_costs(client: httpx.Client, fields: dict[str, Any]) -> None:
    told = estimate(client, **fields)
    made = client.post(CREATE, json=body(**fields) | {"stream": False}).json()
    omixa = made["omixa"]
    assert told["ceiling"]["amount"] == omixa["held_amount"]
    assert told["expected"]["amount"] == omixa["billed_amount"]
    assert told["expected"]["line_items"] == omixa["line_items"]
    for name in (
        "model",
        "requested_model",
        "operation",
        "mode",
        "price_version",
        "currency",
        "rounded_to",
        "rounding",
    ):
        assert told[name] == omixa[name]


def test_lines_add_up_and_the_balance_is_the_keys(client: httpx.Client) -> None:
    told = estimate(client, n=2)
    for quote in (told["ceiling"], told["expected"]):
        assert sum(Decimal(line["amount"]) for line in quote["line_items"]) == Decimal(quote["exact_amount"])
    assert Decimal(told["expected"]["amount"]) <= Decimal(told["ceiling"]["amount"])
    assert told["balance"] == client.get("/api/v1/balance").json()
    assert (told["admitted"], told["refusal"]) == (True, None)


def test_an_edit_has_a_ceiling_and_no_expectation(client: httpx.Client) -> None:
    fields = {"input_images": [reference()]}
    told = estimate(client, **fields)
    made = client.post(CREATE, json=body(**fields)).json()
    assert (told["operation"], told["expected"], told["admitted"]) == ("edit", None, True)
    assert told["ceiling"]["amount"] == made["omixa"]["held_amount"]


def test_nothing_is_written_and_no_provider_hears_of_it(
    gateway: Gateway, live_client: httpx.Client, foundry: Simulator
) -> None:
    before, heard = footprint(gateway), len(foundry.log())
    assert estimate(live_client, n=10)["mode"] == "live"
    assert live_client.post(CREATE, json=body(), headers={CAP: "0.000001"}).status_code == 402
    assert footprint(gateway) == before
    assert len(foundry.log()) == heard


def test_it_tells_what_the_request_would_be_refused_with(gateway: Gateway, workspace: str, document: Document) -> None:
    gateway.grant(50_000, workspace=workspace)
    with gateway.client(gateway.key("live", workspace)) as client:
        client.event_hooks["response"] = [document.check]
        assert estimate(client)["admitted"]
        told = estimate(client, n=2)
        refused = client.post(CREATE, json=body(n=2))
    assert told["admitted"] is False
    assert refused.status_code == 402
    assert told["refusal"] == {name: refused.json()["error"][name] for name in ("code", "message")}
    assert told["expected"] is not None


def test_without_a_provider_it_tells_the_ceiling_and_why(tmp_path: Path, document: Document) -> None:
    with running_gateway(tmp_path) as gateway, gateway.client(gateway.key("live")) as client:
        client.event_hooks["response"] = [document.check]
        told = estimate(client)
    assert (told["admitted"], told["refusal"]["code"], told["expected"]) == (False, "no_healthy_route", None)
    assert Decimal(told["ceiling"]["amount"]) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "unknown"},
        {"prompt": ""},
        {"n": 11},
        {"size": "13x13"},
        {"quality": "hd"},
        {"colour": "red"},
        {"input_images": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
    ],
)
def test_a_bad_request_is_refused_in_the_words_of_a_generation(client: httpx.Client, wrong: dict[str, Any]) -> None:
    answers = [client.post(path, json=body() | wrong) for path in (CREATE, ESTIMATE)]
    first, second = ({**answer.json()["error"], "request_id": ""} for answer in answers)
    assert answers[0].status_code == answers[1].status_code >= 400
    assert first == second


def test_a_model_that_is_not_the_keys_has_no_estimate(
    gateway: Gateway, new_key: Callable[..., str], document: Document
) -> None:
    with gateway.client(new_key(models=["another"])) as client:
        answer = client.post(ESTIMATE, json=body())
    document.check(answer)
    assert answer.status_code == 403


# ------------------------------------------------------------------------------------------------------------- the cap


@pytest.fixture(scope="module")
def ceiling(gateway: Gateway) -> Iterator[Decimal]:
    """The ceiling of the request that this file makes."""
    with gateway.client(gateway.key("test", "ceilings")) as client:
        yield Decimal(estimate(client)["ceiling"]["amount"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_dearer_request_is_refused_and_an_allowed_one_is_made(
    client: httpx.Client, ceiling: Decimal, stream: bool
) -> None:
    refused = client.post(CREATE, json=body(stream=stream), headers={CAP: f"{ceiling - MICRO}"})
    error = refused.json()["error"]
    assert (refused.status_code, refused.headers["x-should-retry"]) == (402, "false")
    assert (error["type"], error["code"], error["param"]) == ("billing_error", "max_cost_exceeded", CAP)
    assert f"${ceiling}" in error["message"]
    made = client.post(CREATE, json=body(stream=stream), headers={CAP: f"{ceiling}"})
    assert made.status_code == 200


def test_the_estimate_knows_the_cap(client: httpx.Client, ceiling: Decimal) -> None:
    assert estimate(client, headers={CAP: f"{ceiling}"})["admitted"]
    told = estimate(client, headers={CAP: f"{ceiling - MICRO}"})
    assert (told["admitted"], told["refusal"]["code"]) == (False, "max_cost_exceeded")


@pytest.mark.parametrize("path", [CREATE, ESTIMATE])
@pytest.mark.parametrize(
    "cap",
    ["", "cheap", "-1", "+1", "1e3", "0x1", ".05", "5.", "$0.05", "0,05", "0.0000001", "NaN", "inf", "9" * 13, "1_0"],
)
def test_a_malformed_cap_is_named(client: httpx.Client, path: str, cap: str) -> None:
    answer = client.post(path, json=body(), headers={CAP: cap})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, CAP, "invalid_value")
    assert "0.05" in error["message"]


def test_a_cap_that_contradicts_itself_is_refused(client: httpx.Client) -> None:
    answer = client.post(CREATE, json=body(), headers=[(CAP, "0.01"), (CAP, "100")])
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, CAP)


# ------------------------------------------------------------------------------------------------------------- properties


def _request(prompt: str, tokens: int, n: int, size: str) -> ImageRequest:
    values = {parameter.name: parameter.default for parameter in MODEL.parameters} | dict(MODEL.example)
    names = ("model", "quality", "background", "output_format", "output_compression", "stream", "partial_images")
    given_names = frozenset(example_request(MODEL))
    rest: dict[str, Any] = {name: values[name] for name in names}
    return ImageRequest(**rest, prompt=prompt, prompt_tokens=tokens, n=n, size=size, input_images=(), given=given_names)


def _terms(markup_ppm: int = 0) -> Terms:
    return Terms(datetime.date(2026, 11, 26), MODEL.price_lists[0], markup_ppm)


@given(
    st.text(min_size=1, max_size=200),
    st.data(),
    st.integers(1, 10),
    st.sampled_from(sorted(OFFER.sizes)),
    st.integers(MIN_MARKUP_PPM, MAX_MARKUP_PPM),
)
def test_the_expectation_never_passes_the_ceiling(
    prompt: str, data: st.DataObject, n: int, size: str, markup_ppm: int
) -> None:
    tokens = data.draw(st.integers(1, len(prompt.encode())))
    request = _request(prompt, tokens, n, size)
    terms = _terms(markup_ppm)
    highest, likely = quotes.ceiling(request, MODEL, terms), quotes.expected(request, MODEL, OFFER, terms)
    assert likely is not None
    assert likely.amount_micro_usd <= highest.amount_micro_usd
    native = OFFER.sizes[size]
    reported = Usage(tokens, 0, native.width * native.height // 1024, images=1)
    assert likely == rate([reported] * n, terms.prices, markup_ppm=markup_ppm)


@given(st.integers(0, 10**9))
def test_a_cap_refuses_exactly_what_is_above_it(cap: int) -> None:
    highest = quotes.ceiling(_request("A kite", 2, 1, "auto"), MODEL, _terms())
    if highest.amount_micro_usd <= cap:
        quotes.require_within(cap, highest)
    else:
        with pytest.raises(PriceAboveCap):
            quotes.require_within(cap, highest)
