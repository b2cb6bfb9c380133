"""The adapters of jobs and bytes against their simulators, over HTTP: pictures, refusals, failures, and how strict they are."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import httpx2 as httpx
import pytest
from starlette.types import ASGIApp

from omixa import errors
from omixa.domain.images import Image
from omixa.domain.scenarios import Step
from omixa.engines.conversions import Conversions
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest, UpstreamError, UpstreamTimeout
from omixa.providers.transport import HttpTransport
from omixa.simulator import fal, flux, replicate, stability
from omixa.simulator.service import Job, Refusal, SimulatorOptions, Wanted
from tests.support.pictures import mask
from tests.support.servers import running_app, workers
from tests.support.wires import KEY, ask, call, encoded, picture

APPS: Mapping[str, Callable[[SimulatorOptions, Workers], ASGIApp]] = {
    "fal": fal.create_app,
    "flux": flux.create_app,
    "replicate": replicate.create_app,
    "stability": stability.create_app,
}
PLAYED_BY = {"foundry-flux": "flux"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def conversions() -> Iterator[Conversions]:
    with contextlib.closing(Conversions(1, waiting=1)) as pool:
        yield pool


@pytest.fixture(scope="module")
def addresses() -> Iterator[Mapping[str, str]]:
    """The addresses of all simulators."""
    with contextlib.ExitStack() as stack:
        options = SimulatorOptions(KEY)
        found = {name: stack.enter_context(running_app(create(options, workers()))) for name, create in APPS.items()}
        yield {**found, **{name: found[player] for name, player in PLAYED_BY.items()}}


@pytest.fixture
async def http() -> AsyncIterator[HttpTransport]:
    async with HttpTransport() as transport:
        yield transport


def photograph(kind: str = "png", size: str = "192x128") -> Image:
    return picture(encoded(kind, size))


TOOL: dict[str, Any] = {"prompt": "", "prompt_tokens": 0}
WORKS: list[tuple[str, str, dict[str, Any], bool, str, str]] = [
    ("flux", "flux-2-pro", {"size": "1024x1536"}, False, "1024x1536", "png"),
    ("flux", "flux-2-klein-9b", {"output_format": "jpeg"}, True, "192x128", "jpeg"),
    ("foundry-flux", "flux-2-pro", {}, False, "1024x1024", "png"),
    ("foundry-flux", "flux-2-flex", {"size": "1536x1024"}, True, "1536x1024", "png"),
    ("fal", "flux-2-pro", {}, True, "192x128", "png"),
    ("fal", "MAI-Image-2.5", {"size": "1536x1024", "output_format": "webp"}, False, "1248x832", "webp"),
    ("fal", "MAI-Image-2.5", {}, True, "192x128", "png"),
    ("fal", "clarity-upscaler", {**TOOL, "scale": 2}, True, "384x256", "png"),
    ("replicate", "flux-2-pro", {"output_format": "webp"}, False, "1024x1024", "webp"),
    ("replicate", "flux-2-pro", {}, True, "192x128", "png"),
    ("stability", "stable-image-core", {"size": "1024x1536", "output_format": "webp"}, False, "832x1216", "webp"),
    ("stability", "stable-image-ultra", {}, True, "192x128", "png"),
    ("stability", "sd3.5-large", {}, False, "1024x1024", "png"),
    ("stability", "sd3.5-large", {"output_format": "jpeg"}, True, "192x128", "jpeg"),
    ("stability", "stable-image-inpaint", {"mask": picture(mask(192, 128, (40, 40, 90, 90)))}, True, "192x128", "png"),
    ("stability", "stable-image-remove-background", {**TOOL, "background": "transparent"}, True, "192x128", "png"),
    ("stability", "stable-image-upscale-fast", {**TOOL, "scale": 4}, True, "768x512", "png"),
]


@pytest.mark.parametrize(
    ("provider", "model", "fields", "edits", "size", "kind"),
    WORKS,
    ids=[f"{one[0]}-{one[1]}-{one[4]}" for one in WORKS],
)
async def test_a_picture_is_made(
    provider: str,
    model: str,
    fields: dict[str, Any],
    edits: bool,
    size: str,
    kind: str,
    addresses: Mapping[str, str],
    http: HttpTransport,
    conversions: Conversions,
) -> None:
    references = (photograph(),) if edits else ()
    result = await ask(http, call(provider, model, addresses[provider], *references, **fields), conversions)
    assert (result.image.info.size, result.image.info.format) == (size, kind)
    assert result.provider_request_id
    if result.usage is not None:
        assert result.usage.images == 1
        assert result.usage.output_image_tokens == -(-result.image.info.pixels // 1024)
    assert result.has_transparency is (model == "stable-image-remove-background")


@pytest.mark.parametrize("provider", ["flux", "foundry-flux", "fal", "replicate"])
async def test_a_picture_in_another_format_is_converted_where_the_provider_does_not_take_it(
    provider: str, addresses: Mapping[str, str], http: HttpTransport, conversions: Conversions
) -> None:
    wanted = call(
        provider,
        "flux-2-pro",
        addresses[provider],
        photograph("webp"),
        photograph("jpeg"),
        offer={"input_formats": frozenset({"png"})},
    )
    assert (await ask(http, wanted, conversions)).image.info.size == "192x128"


EVERYWHERE: dict[str, str] = {
    "401": "UpstreamCredentials",
    "404": "UpstreamMisconfigured",
    "429": "UpstreamRateLimited",
    "quota": "UpstreamQuota",
    "500": "UpstreamFailed",
    "502": "UpstreamFailed",
    "503": "UpstreamBusy",
    "504": "UpstreamFailed",
    "redirect": "UpstreamRedirected",
    "filter": "UpstreamRefused",
    "notpng": "UpstreamProtocol",
    "bomb": "UpstreamProtocol",
    "damaged": "UpstreamProtocol",
    "truncated": "UpstreamProtocol",
    "jpeg": "UpstreamProtocol",
    "empty": "UpstreamProtocol",
    "html": "UpstreamProtocol",
    "reset": "UpstreamFailed",
    "short": "UpstreamFailed",
    "huge": "UpstreamProtocol",
}
JOBS = {"nodata": "UpstreamProtocol", "badjson": "UpstreamProtocol"}
FLUX = {"foundry-flux": "flux-2-pro", "flux": "flux-2-pro", "fal": "flux-2-pro", "replicate": "flux-2-pro"}
SPOILT = [
    (provider, model, step, kind)
    for provider, model in {**FLUX, "stability": "sd3.5-large"}.items()
    for step, kind in {**EVERYWHERE, **({} if provider == "stability" else JOBS)}.items()
]


@pytest.mark.parametrize(
    ("provider", "model", "step", "kind"), SPOILT, ids=[f"{provider}-{step}" for provider, _, step, _ in SPOILT]
)
async def test_every_failure_is_what_it_is(
    provider: str,
    model: str,
    step: str,
    kind: str,
    addresses: Mapping[str, str],
    http: HttpTransport,
    conversions: Conversions,
) -> None:
    wanted = call(provider, model, addresses[provider], prompt=f"sim:{step}x* a red kite at {provider}")
    with pytest.raises(UpstreamError) as caught:
        await ask(http, wanted, conversions)
    assert type(caught.value) is getattr(errors, kind), caught.value.diagnostics


@pytest.mark.parametrize("provider", ["flux", "fal", "replicate"])
async def test_a_job_that_never_ends_is_given_up(
    provider: str, addresses: Mapping[str, str], http: HttpTransport, conversions: Conversions
) -> None:
    wanted = call(provider, "flux-2-pro", addresses[provider], prompt="sim:hang a kite", offer={"total_timeout_s": 2.0})
    with pytest.raises(UpstreamTimeout):
        await ask(http, wanted, conversions)


@pytest.mark.parametrize("provider", ["flux", "foundry-flux", "fal", "replicate", "stability"])
async def test_a_word_that_is_never_allowed_is_refused(
    provider: str, addresses: Mapping[str, str], http: HttpTransport, conversions: Conversions
) -> None:
    model = "sd3.5-large" if provider == "stability" else "flux-2-pro"
    wanted = call(provider, model, addresses[provider], prompt="a forbidden-test-word")
    with pytest.raises(errors.UpstreamRefused):
        await ask(http, wanted, conversions)


# ------------------------------------------------------------------------------------------------------ how strict it is

XKEY, BEARER, FAL = {"x-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"authorization": f"Key {KEY}"}
WRONG: list[tuple[str, str, dict[str, str], dict[str, Any], int]] = [
    ("flux", "/v1/flux-2-pro", {}, {"prompt": "x"}, 403),
    ("flux", "/v1/flux-2-pro", BEARER, {"prompt": "x"}, 403),
    ("flux", "/v1/flux-9", XKEY, {"prompt": "x"}, 404),
    ("flux", "/v1/flux-2-pro", XKEY, {}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "size": "1024x1024"}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "width": 1000, "height": 1024}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "width": 1024}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "width": 4096, "height": 4096}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "output_format": "webp"}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "input_image": "AAAA"}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "input_image_2": "AAAA"}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "input_image_9": "AAAA"}, 422),
    ("flux", "/v1/flux-2-klein-4b", XKEY, {"prompt": "x", "input_image_5": "AAAA"}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "safety_tolerance": 6}, 422),
    ("flux", "/v1/flux-2-pro", XKEY, {"prompt": "x", "steps": 20}, 422),
    ("flux", "/providers/blackforestlabs/v1/flux-2-pro", BEARER, {"prompt": "x", "model": "FLUX.2-pro"}, 404),
    ("flux", "/providers/blackforestlabs/v1/flux-2-max?api-version=preview", BEARER, {"prompt": "x"}, 404),
    ("flux", "/providers/blackforestlabs/v1/flux-2-pro?api-version=preview", XKEY, {"prompt": "x"}, 401),
    ("flux", "/providers/blackforestlabs/v1/flux-2-pro?api-version=preview", BEARER, {"prompt": "x"}, 422),
    ("fal", "/fal-ai/flux-2-pro", BEARER, {"prompt": "x"}, 401),
    ("fal", "/fal-ai/flux-9", FAL, {"prompt": "x"}, 404),
    ("replicate", "/v1/models/black-forest-labs/flux-2-pro/predictions", FAL, {"input": {"prompt": "x"}}, 401),
    ("replicate", "/v1/models/black-forest-labs/flux-9/predictions", BEARER, {"input": {"prompt": "x"}}, 404),
    ("replicate", "/v1/models/black-forest-labs/flux-2-pro/predictions", BEARER, {"prompt": "x"}, 422),
    (
        "replicate",
        "/v1/models/black-forest-labs/flux-2-pro/predictions",
        BEARER,
        {"input": {"prompt": "x", "size": "1"}},
        422,
    ),
    (
        "replicate",
        "/v1/models/black-forest-labs/flux-2-pro/predictions",
        BEARER,
        {"input": {"prompt": "x", "output_format": "jpeg"}},
        422,
    ),
    (
        "replicate",
        "/v1/models/black-forest-labs/flux-2-pro/predictions",
        BEARER,
        {"input": {"prompt": "x", "aspect_ratio": "custom", "width": 1000, "height": 1000}},
        422,
    ),
]


@pytest.mark.parametrize(("simulator", "path", "headers", "body", "status"), WRONG)
def test_what_a_provider_would_refuse_is_refused(
    simulator: str, path: str, headers: dict[str, str], body: dict[str, Any], status: int, addresses: Mapping[str, str]
) -> None:
    answer = httpx.post(addresses[simulator] + path, json=body, headers=headers)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("fal-ai/flux-2-pro", {"prompt": "x", "size": "1024x1024"}),
        ("fal-ai/flux-2-pro", {"prompt": "x", "image_size": {"width": 1000, "height": 1000}}),
        ("fal-ai/flux-2-pro/edit", {"prompt": "x"}),
        ("fal-ai/flux-2-pro/edit", {"prompt": "x", "image_urls": ["https://example.org/x.png"]}),
        ("microsoft/mai-image-2.5/text-to-image", {"prompt": "x", "aspect_ratio": "7:1"}),
        ("microsoft/mai-image-2.5/text-to-image", {"prompt": "x", "num_images": 5}),
        ("fal-ai/clarity-upscaler", {"upscale_factor": 2}),
    ],
)
def test_fal_takes_what_is_wrong_and_tells_when_it_is_collected(
    path: str, body: dict[str, Any], addresses: Mapping[str, str]
) -> None:
    with httpx.Client(headers=FAL) as client:
        job = client.post(f"{addresses['fal']}/{path}", json=body).json()
        assert client.get(job["status_url"]).json()["status"] == "COMPLETED"
        answer = client.get(job["response_url"])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


STABLE: list[tuple[str, dict[str, str], int]] = [
    ("generate/core", {}, 400),
    ("generate/core", {"prompt": "x", "aspect_ratio": "7:1"}, 400),
    ("generate/core", {"prompt": "x", "size": "1024x1024"}, 400),
    ("generate/core", {"prompt": "x", "output_format": "gif"}, 400),
    ("generate/ultra", {"prompt": "x", "strength": "0.5"}, 400),
    ("generate/sd3", {"prompt": "x", "model": "sd9"}, 400),
    ("edit/inpaint", {"prompt": "x"}, 400),
    ("edit/remove-background", {"output_format": "png"}, 400),
    ("edit/nothing", {"prompt": "x"}, 404),
]


@pytest.mark.parametrize(("service", "fields", "status"), STABLE)
def test_stability_refuses_what_it_does_not_know(
    service: str, fields: dict[str, str], status: int, addresses: Mapping[str, str]
) -> None:
    url = f"{addresses['stability']}/v2beta/stable-image/{service}"
    files = {name: (None, value) for name, value in {**fields, "seed": "7"}.items()}
    if service == "edit/remove-background":
        files.pop("seed")
    answer = httpx.post(url, files=files, headers={**BEARER, "accept": "image/*"})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"id", "name", "errors"}
    assert httpx.post(url, files=files).status_code == 401


def test_a_picture_is_not_handed_to_whoever_sends_a_key(addresses: Mapping[str, str]) -> None:
    with httpx.Client(headers=XKEY) as client:
        job = client.post(f"{addresses['flux']}/v1/flux-2-pro", json={"prompt": "a kite"}).json()
        state = {"status": "Pending"}
        while state["status"] == "Pending":
            state = client.get(job["polling_url"]).json()
        sample = state["result"]["sample"]  # type: ignore[index]
        assert client.get(sample).status_code == 400
    assert httpx.get(sample).headers["content-type"] == "image/jpeg"


def test_scenarios_are_read_written_and_logged(addresses: Mapping[str, str]) -> None:
    url = f"{addresses['stability']}/simulator"
    headers = {"api-key": KEY}
    assert httpx.put(f"{url}/scenario", content="429x2,500", headers=headers).text == "429x2,500"
    assert httpx.get(f"{url}/scenario", headers=headers).text == "429x2,500"
    files = {"prompt": (None, "a kite")}
    core = f"{addresses['stability']}/v2beta/stable-image/generate/core"
    statuses = [httpx.post(core, files=files, headers=BEARER).status_code for _ in range(3)]
    assert statuses == [429, 429, 500]
    assert [one["step"] for one in httpx.get(f"{url}/requests", headers=headers).json()["requests"]][-3:] == [
        "429",
        "429",
        "500",
    ]
    assert httpx.put(f"{url}/scenario", content="sometimes", headers=headers).status_code == 400
    assert httpx.get(f"{url}/requests").status_code == 401


@pytest.mark.parametrize("wrong", [{"api_key": ""}, {"latency_s": -1}, {"latency_s": float("nan")}, {"scenario": "x"}])
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        SimulatorOptions(**{"api_key": KEY, **wrong})


@pytest.mark.parametrize(
    ("error", "failure"), [(InvalidRequest("No picture."), "unreadable"), (Refusal(503, {}), "overloaded")]
)
async def test_a_job_tells_pictures_that_cannot_be_read_from_too_much_work(error: Exception, failure: str) -> None:
    async def fail() -> bytes:
        raise error

    making = asyncio.create_task(fail())
    await asyncio.wait({making})
    assert Job("job-1", Step("ok"), Wanted("", (64, 64), 0), making).failure == failure
