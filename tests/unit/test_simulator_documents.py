"""The simulators of Gemini, OpenRouter and Bedrock: as strict as the services, and adapters take every mood for what it is."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from functools import cache
from typing import Any

import pybase64
import pytest
from starlette.types import ASGIApp

from omixa.domain.access import Secret
from omixa.engines.conversions import Conversions
from omixa.errors import (
    UpstreamBusy,
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamMisconfigured,
    UpstreamProtocol,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamRedirected,
    UpstreamRefused,
)
from omixa.providers.adapters import adapters
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.transport import InProcessTransport
from omixa.providers.wire import Timeouts, WireRequest, WireResponse
from omixa.simulator import bedrock, gemini, openrouter
from omixa.simulator.service import SimulatorOptions
from omixa.tokens import Tokenizer
from tests.support.exchanges import call, encoded, picture
from tests.support.servers import workers

KEY = "AKID:secret-of-the-simulator"
MODELS = {
    "gemini": ("gemini-3.1-flash-image", "gemini-3-pro-image"),
    "openrouter": ("MAI-Image-2.5",),
    "bedrock": ("stable-image-core", "stable-image-ultra", "sd3.5-large"),
}
EACH = [pytest.param(provider, model, id=model) for provider, models in MODELS.items() for model in models]
# One for each wire.
FIRST = [pytest.param(provider, models[0], id=provider) for provider, models in MODELS.items()]
PATIENT = Timeouts(first_byte_s=30, total_s=30)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer()


def simulator(provider: str, scenario: str = "") -> ASGIApp:
    options = SimulatorOptions(KEY, scenario=scenario)
    if provider == "bedrock":
        return bedrock.create_app(options, workers())
    module = gemini if provider == "gemini" else openrouter
    return module.create_app(options, workers(), tokenizer=tokenizer())


async def make(wanted: ProviderCall, scenario: str = "") -> ProviderResult:
    provider = wanted.deployment.provider
    endpoint = f"simulator://{provider}"
    given = replace(wanted, deployment=replace(wanted.deployment, endpoint=endpoint))
    transport = InProcessTransport(simulator(provider, scenario))
    with contextlib.closing(Conversions(1, waiting=16)) as conversions:
        events = [event async for event in adapters(transport, conversions)[provider].generate(given)]
    (result,) = events
    assert isinstance(result, ProviderResult)
    return result


def ordered(provider: str, model: str, *references: Any, **changed: Any) -> ProviderCall:
    return call(provider, model, *references, **{"api_key": Secret(KEY), **changed})


# --------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize(("provider", "model"), EACH)
async def test_every_size_of_every_model_is_painted(provider: str, model: str) -> None:
    for size, native in ordered(provider, model).offer.sizes.items():
        result = await make(ordered(provider, model, size=size))
        assert (result.image.info.width, result.image.info.height) == (native.width, native.height)
        assert result.usage is not None
        assert result.usage.output_image_tokens == native.output_tokens
        assert result.provider_request_id


@pytest.mark.parametrize(("provider", "model"), [one for one in EACH if "core" not in one.id])  # type: ignore[operator]
async def test_every_model_edits_in_the_shape_of_its_reference(provider: str, model: str) -> None:
    result = await make(ordered(provider, model, picture("webp:300x600")))
    assert result.image.info.height == pytest.approx(2 * result.image.info.width, rel=0.05)
    assert result.usage is not None
    assert result.usage.input_image_tokens > 0


async def test_pictures_of_a_request_differ_and_come_again_the_same() -> None:
    wanted = ordered("gemini", "gemini-3.1-flash-image")
    first, again, other = [await make(replace(wanted, index=index)) for index in (0, 0, 1)]
    assert first.image.data == again.image.data != other.image.data


async def test_thoughts_are_reported_as_words() -> None:
    result = await make(ordered("gemini", "gemini-3-pro-image"))
    assert result.image.info.format == "jpeg"
    assert result.usage is not None
    assert result.usage.output_text_tokens == gemini.MODELS["gemini-3-pro-image"].thoughts


async def test_the_cost_is_that_of_the_makers_prices() -> None:
    result = await make(ordered("openrouter", "MAI-Image-2.5"))
    assert result.usage is not None
    micro_usd = 5 * result.usage.input_text_tokens + 47 * 1024
    assert result.cost_pico_usd == micro_usd * 10**6


# ------------------------------------------------------------------------------------------------------------------ moods

FAILURES = {
    "401": UpstreamCredentials,
    "403": UpstreamCredentials,
    "404": UpstreamMisconfigured,
    "429(retry_after=7)": UpstreamRateLimited,
    "quota": UpstreamQuota,
    "500": UpstreamFailed,
    "502": UpstreamFailed,
    "503": UpstreamBusy,
    "504": UpstreamFailed,
    "filter": UpstreamRefused,
    "redirect": UpstreamRedirected,
    **dict.fromkeys(("html", "badjson", "badbase64", "notpng", "bomb", "damaged", "truncated"), UpstreamProtocol),
    **dict.fromkeys(("empty", "nodata", "huge"), UpstreamProtocol),
    **dict.fromkeys(("reset", "short"), UpstreamFailed),
}


@pytest.mark.parametrize("step", FAILURES)
@pytest.mark.parametrize(("provider", "model"), FIRST)
async def test_every_failure_is_taken_for_what_it_is(provider: str, model: str, step: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await make(ordered(provider, model), step)
    assert type(caught.value) is FAILURES[step], caught.value.diagnostics
    assert caught.value.retry_after_s == (7 if "retry_after" in step else None)


@pytest.mark.parametrize("step", ["ok", "slow=0.01", "nousage", "badusage", "bigusage", "longusage"])
@pytest.mark.parametrize(("provider", "model"), FIRST)
async def test_every_other_mood_gives_the_picture(provider: str, model: str, step: str) -> None:
    result = await make(ordered(provider, model), step)
    assert result.image.info.size == "1024x1024"
    if provider != "bedrock":
        assert (result.usage is None) == (step in ("nousage", "badusage"))


@pytest.mark.parametrize(("provider", "model"), FIRST)
async def test_a_word_that_is_never_allowed_is_refused(provider: str, model: str) -> None:
    with pytest.raises(UpstreamRefused):
        await make(ordered(provider, model, prompt="a forbidden-test-word in oil"))


@pytest.mark.parametrize("credentials", [{"api_key": Secret("AKID:wrong")}, {"api_key": None}])
@pytest.mark.parametrize(("provider", "model"), FIRST)
async def test_a_wrong_key_is_refused(provider: str, model: str, credentials: dict[str, Any]) -> None:
    with pytest.raises(UpstreamCredentials):
        await make(ordered(provider, model, **credentials))


@pytest.mark.parametrize("provider", ["gemini", "bedrock"])
async def test_a_token_is_taken_too(provider: str) -> None:
    model = MODELS[provider][0]
    result = await make(ordered(provider, model, api_key=None, bearer_token=Secret(KEY)))
    assert result.image.info.size == "1024x1024"


# -------------------------------------------------------------------------------------------------------------- strictness


async def post(provider: str, path: str, fields: object) -> tuple[WireResponse, Any]:
    headers = {
        "gemini": {"x-goog-api-key": KEY},
        "openrouter": {"authorization": f"Bearer {KEY}"},
        "bedrock": {"authorization": f"Bearer {KEY}"},
    }[provider]
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    request = WireRequest(f"simulator://{provider}{path}", {"content-type": "application/json", **headers}, (body,))
    response = await InProcessTransport(simulator(provider)).send(request, PATIENT)
    return response, json.loads(response.body)


def of_gemini(**changed: Any) -> dict[str, Any]:
    shape = {"aspectRatio": "1:1", "imageSize": "1K"} | changed.pop("shape", {})
    config = {"responseModalities": ["IMAGE"], "imageConfig": shape} | changed.pop("config", {})
    parts = changed.pop("parts", [{"text": "A red kite"}])
    return {"contents": [{"role": "user", "parts": parts}], "generationConfig": config, **changed}


PNG64 = pybase64.b64encode_as_string(encoded("png:64x64"))


@pytest.mark.parametrize(
    "fields",
    [
        b"{",
        b"[]",
        {},
        of_gemini(n=2),
        of_gemini(contents=[]),
        of_gemini(contents=[{"parts": []}, {"parts": []}]),
        of_gemini(parts=[]),
        of_gemini(parts=[{"text": " "}]),
        of_gemini(parts=[{"text": "x", "thought": True}]),
        of_gemini(parts=[{"text": "x"}, {"inlineData": {"mimeType": "image/jpeg", "data": PNG64}}]),
        of_gemini(parts=[{"text": "x"}, {"inlineData": {"mimeType": "image/gif", "data": PNG64}}]),
        of_gemini(parts=[{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}]),
        of_gemini(parts=[{"text": "x"}, *[{"inlineData": {"mimeType": "image/png", "data": PNG64}}] * 15]),
        of_gemini(config={"responseModalities": ["TEXT"]}),
        of_gemini(config={"responseModalities": ["IMAGE", "AUDIO"]}),
        of_gemini(config={"seed": 7}),
        of_gemini(shape={"aspectRatio": "7:5"}),
        of_gemini(shape={"imageSize": "1k"}),
        of_gemini(shape={"imageSize": "8K"}),
        of_gemini(shape={"quality": "high"}),
    ],
)
async def test_gemini_is_strict(fields: object) -> None:
    response, body = await post("gemini", "/v1beta/models/gemini-3.1-flash-image:generateContent", fields)
    assert (response.status, body["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_gemini_knows_its_models_and_its_places() -> None:
    response, body = await post("gemini", "/v1beta/models/gemini-2.5-flash-image:generateContent", of_gemini())
    assert (response.status, body["error"]["status"]) == (404, "NOT_FOUND")
    vertex = "/v1/projects/p/locations/l/publishers/google/models/gemini-3-pro-image:generateContent"
    response, body = await post("gemini", vertex, of_gemini())
    assert response.status == 200
    parts = body["candidates"][0]["content"]["parts"]
    assert [part.get("thought", False) for part in parts] == [True, True, False, False]


def of_openrouter(**changed: Any) -> dict[str, Any]:
    return {"model": "microsoft/mai-image-2.5", "prompt": "A red kite", **changed}


REFERENCE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}}


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"{", 400),
        (of_openrouter(model="microsoft/mai-image-9"), 404),
        (of_openrouter(prompt=""), 400),
        (of_openrouter(prompt=7), 400),
        (of_openrouter(n=2), 400),
        (of_openrouter(size="1024x1024"), 400),
        (of_openrouter(resolution="4K"), 400),
        (of_openrouter(aspect_ratio="21:9"), 400),
        (of_openrouter(input_references=[REFERENCE, REFERENCE]), 400),
        (
            of_openrouter(input_references=[{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]),
            400,
        ),
        (of_openrouter(input_references=[{"image_url": REFERENCE["image_url"]}]), 400),
        (of_openrouter(input_references=PNG64), 400),
    ],
)
async def test_openrouter_is_strict(fields: object, status: int) -> None:
    response, body = await post("openrouter", "/api/v1/images", fields)
    assert (response.status, body["error"]["code"]) == (status, status)


def of_bedrock(**changed: Any) -> dict[str, Any]:
    return {"prompt": "A red kite", **changed}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("core-v1:1", b"{"),
        ("core-v9:9", of_bedrock()),
        ("core-v1:1", {}),
        ("core-v1:1", of_bedrock(prompt=" ")),
        ("core-v1:1", of_bedrock(prompt="x" * 10_001)),
        ("core-v1:1", of_bedrock(width=1024)),
        ("core-v1:1", of_bedrock(aspect_ratio="7:5")),
        ("core-v1:1", of_bedrock(output_format="webp")),
        ("core-v1:1", of_bedrock(mode="image-to-image", image=PNG64, strength=0.5)),
        ("ultra-v1:1", of_bedrock(mode="image-to-image", image="QUJD", strength=0.5)),
        ("ultra-v1:1", of_bedrock(mode="image-to-image", image=PNG64)),
        ("ultra-v1:1", of_bedrock(mode="image-to-image", image=PNG64, strength=7)),
        ("ultra-v1:1", of_bedrock(mode="image-to-image", image=PNG64, strength=0.5, aspect_ratio="1:1")),
    ],
)
async def test_bedrock_is_strict(model: str, fields: object) -> None:
    response, body = await post("bedrock", f"/model/stability.stable-image-{model}/invoke", fields)
    assert response.status == 400
    assert response.headers["x-amzn-errortype"].startswith("ValidationException:")
    assert body["message"]
