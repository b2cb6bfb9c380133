"""Models of providers that make pictures as jobs, or send them as bytes, through the gateway: test keys, accounts, failover."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omixa.billing.verify import verify
from omixa.config import DeploymentSettings
from omixa.domain.access import Secret
from omixa.imaging.inspect import inspect
from omixa.services import Services
from omixa.simulator import flux
from omixa.simulator.service import SimulatorOptions
from tests.support.pictures import mask
from tests.support.servers import Gateway, running_app, running_gateway, workers
from tests.support.wires import KEY, encoded

CREATE, EDIT = "/api/v1/images/generations", "/api/v1/images/edits"
PROMPT = "A lighthouse in the evening sun"


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


PHOTO = data_url(encoded("png", "192x128"))
ASKED: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("flux-2-pro", {"prompt": PROMPT}, "0.030000", "1024x1024", "flux"),
    ("flux-2-pro", {"prompt": PROMPT, "size": "2048x2048"}, "0.075000", "2048x2048", "flux"),
    ("flux-2-max", {"prompt": PROMPT, "output_format": "webp"}, "0.070000", "1024x1024", "flux"),
    ("flux-2-flex", {"prompt": PROMPT, "images": [PHOTO]}, "0.002400", "192x128", "flux"),
    ("flux-2-klein-4b", {"prompt": PROMPT, "n": 2}, "0.028000", "1024x1024", "flux"),
    ("stable-image-core", {"prompt": PROMPT, "size": "1024x1536"}, "0.030000", "1024x1536", "stability"),
    ("sd3.5-large", {"prompt": PROMPT}, "0.065000", "1024x1024", "stability"),
    ("stable-image-ultra", {"prompt": PROMPT, "images": [PHOTO]}, "0.080000", "192x128", "stability"),
    (
        "stable-image-inpaint",
        {"prompt": PROMPT, "images": [PHOTO], "mask": data_url(mask(192, 128, (20, 20, 90, 90)))},
        "0.050000",
        "192x128",
        "stability",
    ),
    ("stable-image-remove-background", {"images": [PHOTO]}, "0.050000", "192x128", "stability"),
    ("stable-image-upscale-fast", {"images": [PHOTO]}, "0.020000", "768x512", "stability"),
    ("clarity-upscaler", {"images": [PHOTO]}, "0.126000", "384x256", "fal"),
]


@pytest.mark.parametrize(("model", "fields", "billed", "size", "provider"), ASKED, ids=[one[0] for one in ASKED])
def test_a_test_key_has_every_model(
    test_client: httpx.Client, model: str, fields: dict[str, Any], billed: str, size: str, provider: str
) -> None:
    path = EDIT if "images" in fields else CREATE
    answer = test_client.post(path, json={"model": model, **fields})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["usage"]["billed_amount"] == billed
    assert len(body["data"]) == fields.get("n", 1)
    assert inspect(base64.b64decode(body["data"][0]["b64_json"])).size == size
    assert body["omixa"]["provider"] == provider
    # What was asked for once costs no more than it was said to.
    estimate = test_client.post("/api/v1/images/estimate", json={"model": model, **_plain(fields)})
    assert estimate.status_code == 200, estimate.text
    assert float(estimate.json()["ceiling"]["amount"]) >= float(billed)


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an edit as those of a generation, which has its own word for pictures."""
    return {("input_images" if name == "images" else name): value for name, value in fields.items()}


# --------------------------------------------------------------------------------------------------- accounts, failover


@pytest.fixture(scope="module")
def healthy() -> Iterator[str]:
    """Black Forest Labs, well."""
    with running_app(flux.create_app(SimulatorOptions(KEY), workers())) as url:
        yield url


def _misleading(sample: str) -> Starlette:
    """Return a provider that takes every job and says that its picture lies at an address."""

    async def submit(request: Request) -> Response:
        return JSONResponse({"id": "a1", "polling_url": f"{request.base_url}v1/get_result?id=a1"})

    async def result(request: Request) -> Response:
        address = sample.replace("HERE/", str(request.base_url))
        return JSONResponse({"id": "a1", "status": "Ready", "result": {"sample": address}})

    async def inwards(request: Request) -> Response:
        return RedirectResponse("http://169.254.169.254/latest/meta-data/")

    return Starlette(
        routes=[
            Route("/v1/get_result", result),
            Route("/v1/{model}", submit, methods=["POST"]),
            Route("/inwards", inwards),
        ]
    )


def _account(name: str, endpoint: str, priority: int) -> DeploymentSettings:
    return DeploymentSettings(
        name=name, provider="flux", endpoint=endpoint, api_key=Secret(KEY), models=("flux-2-pro",), priority=priority
    )


def _ask(gateway: Gateway) -> httpx.Response:
    gateway.grant(10_000_000)
    with gateway.client(gateway.key("live")) as client:
        return client.post(CREATE, json={"model": "flux-2-pro", "prompt": PROMPT})


SAMPLES = ["HERE/gone", "HERE/inwards", "http://169.254.169.254/x", "https://localhost/x", "https://evil.example/x.png"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_picture_that_lies_inwards_or_nowhere_is_made_once_more_elsewhere(
    healthy: str, tmp_path: Path, sample: str
) -> None:
    with running_app(_misleading(sample)) as bad:
        accounts = (_account("bad", bad, 0), _account("good", healthy, 1))
        with running_gateway(tmp_path, deployments=accounts) as gateway:
            answer = _ask(gateway)
            assert answer.status_code == 200, answer.text
            body = answer.json()
            assert body["usage"]["billed_amount"] == "0.030000"
            history = [(one["route"], one["outcome"]) for one in body["omixa"]["attempts"]]
            assert history == [("bad/flux-2-pro", "bad_provider_response"), ("good/flux-2-pro", "ok")]
            assert _findings(gateway) == []


def test_where_nobody_else_sells_it_nothing_is_billed(tmp_path: Path) -> None:
    with (
        running_app(_misleading("HERE/inwards")) as bad,
        running_gateway(tmp_path, deployments=(_account("bad", bad, 0),)) as gateway,
    ):
        answer = _ask(gateway)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_provider_response")
        with gateway.client(gateway.key("live")) as client:
            assert client.get("/api/v1/balance").json()["available"] == "10.000000"
        assert _findings(gateway) == []


def _findings(gateway: Gateway) -> list[str]:
    async def check(services: Services) -> list[str]:
        found = await services.database.read(lambda tx: verify(tx, result_exists=services.blobs.has))
        assert found.complete
        return list(map(str, found.findings))

    return gateway.call(check)
