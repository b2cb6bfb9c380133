"""GPT image models end to end: a simulated OpenAI and Azure OpenAI that listen, and the simulator for test keys."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import openai
import pytest
from PIL import Image as Pillow

from omixa.config import DeploymentSettings
from omixa.domain.access import Secret
from omixa.imaging.inspect import inspect
from omixa.simulator.openai import OpenAISimulatorOptions, create_app
from omixa.simulator.openai_rules import MODELS
from tests.support.document import Document, events
from tests.support.pictures import data_url, picture, reference
from tests.support.servers import Gateway, running_app, running_gateway, tokenizer, workers

API = "/api/v1"
CREATE = f"{API}/images/generations"
MODEL = "gpt-image-2"
PROMPT = "A red kite over a stubble field at dusk"
KEY = "key-of-the-openai-account"
CREDIT = 10_000_000


@dataclass(frozen=True)
class Service:
    """The simulated provider."""

    url: str

    def play(self, scenario: str) -> None:
        self._ask("PUT", "/simulator/scenario", scenario)

    def paths(self) -> list[str]:
        return [entry["path"] for entry in self._ask("GET", "/simulator/requests").json()["requests"]]

    def _ask(self, method: str, path: str, content: str | None = None) -> httpx.Response:
        with httpx.Client(base_url=self.url, trust_env=False, verify=False) as client:
            headers = {"authorization": f"Bearer {KEY}"}
            return client.request(method, path, content=content, headers=headers).raise_for_status()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_app(create_app(OpenAISimulatorOptions(KEY), workers(), tokenizer=tokenizer())) as url:
        yield Service(url)


@pytest.fixture(scope="module")
def gateway(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with an account at OpenAI and, behind it, one at Azure."""
    accounts = (
        DeploymentSettings(name="main", provider="openai", endpoint=f"{service.url}/v1", api_key=Secret(KEY)),
        DeploymentSettings(
            name="azure",
            provider="azure-openai",
            endpoint=f"{service.url}/openai/v1",
            api_key=Secret(KEY),
            priority=1,
        ),
    )
    with running_gateway(tmp_path_factory.mktemp("gpt"), deployments=accounts) as running:
        yield running


@pytest.fixture
def live(gateway: Gateway, service: Service, workspace: str) -> Iterator[httpx.Client]:
    service.play("")
    gateway.forget_faults()
    gateway.grant(CREDIT, workspace=workspace)
    with gateway.client(gateway.key("live", workspace)) as client:
        yield client


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> Document:
    with gateway.client(None) as client:
        return Document(client.get("/openapi.json").json())


def ask(client: httpx.Client, path: str = CREATE, **fields: Any) -> httpx.Response:
    return client.post(path, json={"model": MODEL, "prompt": PROMPT, **fields})


def decoded(datum: dict[str, Any]) -> Pillow.Image:
    return Pillow.open(io.BytesIO(base64.b64decode(datum["b64_json"], validate=True)))


def price(text: int, images: int, output: int) -> str:
    """Return the charge by the list: 5, 8 and 30 dollars for a million, up to the next ten-thousandth."""
    micro = math.ceil((5 * text + 8 * images + 30 * output) / 100) * 100
    return f"{micro // 10**6}.{micro % 10**6:06d}"


# -------------------------------------------------------------------------------------------------------- one picture


def test_a_picture_is_charged_by_the_tokens_that_were_used(live: httpx.Client, document: Document) -> None:
    answer = ask(live, quality="high")
    document.check(answer)
    body = answer.json()
    text = tokenizer().count(PROMPT).tokens
    output = MODELS[MODEL].output_tokens["high"]
    assert body["usage"]["output_tokens_details"] == {"text_tokens": 0, "image_tokens": output}
    assert body["usage"]["input_tokens"] == text
    assert body["usage"]["billed_amount"] == price(text, 0, output)
    assert (body["omixa"]["route"], body["omixa"]["emulated"]) == (f"main/{MODEL}", [])
    assert decoded(body["data"][0]).size == (1024, 1024)
    assert body["quality"] == "high"


@pytest.mark.parametrize("model", MODELS)
def test_every_model_serves_a_test_key_without_an_account(gateway: Gateway, workspace: str, model: str) -> None:
    with gateway.client(gateway.key("test", workspace)) as client:
        answer = ask(client, model=model, quality="low", size="1536x1024", output_format="webp", user="customer-7")
    body = answer.json()
    assert answer.status_code == 200, body
    assert body["omixa"]["simulated"]
    assert body["omixa"]["ignored_parameters"] == []
    image = decoded(body["data"][0])
    assert (image.size, image.format) == ((1536, 1024), "WEBP")
    assert body["usage"]["output_tokens"] == MODELS[model].output_tokens["low"] * 4 // 5


def test_several_pictures_are_several_calls(live: httpx.Client, service: Service) -> None:
    before = len(service.paths())
    body = ask(live, n=2, quality="low").json()
    assert len(body["data"]) == 2
    assert len(service.paths()) == before + 2
    assert body["usage"]["output_tokens"] == 2 * MODELS[MODEL].output_tokens["low"]


def test_pictures_of_a_test_key_differ(gateway: Gateway, workspace: str) -> None:
    with gateway.client(gateway.key("test", workspace)) as client:
        body = ask(client, n=2, quality="low").json()
    assert len({datum["b64_json"] for datum in body["data"]}) == 2


def test_a_better_quality_holds_more_and_nobody_knows_the_price_before(live: httpx.Client, document: Document) -> None:
    answers = [ask(live, f"{API}/images/estimate", quality=quality) for quality in ("low", "high", "auto")]
    for answer in answers:
        document.check(answer)
    low, high, auto = (answer.json() for answer in answers)
    assert float(low["ceiling"]["amount"]) < float(high["ceiling"]["amount"]) == float(auto["ceiling"]["amount"])
    assert [one["expected"] for one in (low, high, auto)] == [None] * 3


def test_a_transparent_background_is_the_models_own(live: httpx.Client) -> None:
    body = ask(live, model="gpt-image-2.6-flare", background="transparent", quality="xhigh").json()
    image = decoded(body["data"][0])
    assert image.mode == "RGBA"
    assert image.getchannel("A").getextrema()[0] == 0
    assert (body["background"], body["omixa"]["emulated"]) == ("transparent", [])


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"background": "transparent"}, "unsupported_value", "background"),
        ({"quality": "xhigh"}, "invalid_value", "quality"),
        ({"output_format": "gif"}, "unsupported_value", "output_format"),
        ({"size": "640x480"}, "invalid_value", "size"),
        ({"prompt": "x" * 32_001}, "invalid_value", "prompt"),
        ({"complexity": "high"}, "unknown_parameter", "complexity"),
    ],
)
def test_what_the_model_does_not_take_is_refused_here(
    live: httpx.Client, service: Service, document: Document, fields: dict[str, Any], code: str, param: str
) -> None:
    before = len(service.paths())
    answer = ask(live, **fields)
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert len(service.paths()) == before


# -------------------------------------------------------------------------------------------------------------- edits


def test_an_edit_with_a_mask_by_openais_client(gateway: Gateway, live: httpx.Client, service: Service) -> None:
    mask = Pillow.new("RGBA", (1024, 1024), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (200, 200, 800, 800))
    file = io.BytesIO()
    mask.save(file, "PNG")
    key = live.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=gateway.api, api_key=key, max_retries=0) as client:
        made = client.images.edit(
            model=MODEL,
            prompt=PROMPT,
            image=[("a.png", picture(), "image/png"), ("b.jpg", picture("jpeg"), "image/jpeg")],
            mask=("mask.png", file.getvalue(), "image/png"),
            size="1024x1536",
            quality="low",
        )
    assert service.paths()[-1] == "/v1/images/edits"
    assert made.data is not None
    assert inspect(base64.b64decode(made.data[0].b64_json or "")).size == "1024x1536"
    assert made.usage is not None
    assert made.usage.input_tokens_details.image_tokens == 2048
    assert made.model_extra is not None
    assert made.model_extra["omixa"]["emulated"] == []


def test_a_reference_in_a_format_that_azure_does_not_take_is_converted(live: httpx.Client, service: Service) -> None:
    service.play("429")
    body = ask(live, input_images=[reference("webp")], output_format="webp", quality="low").json()
    assert body["omixa"]["route"] == f"azure/{MODEL}"
    assert decoded(body["data"][0]).format == "WEBP"
    assert [note["parameter"] for note in body["omixa"]["emulated"]] == ["output_format"]


# ------------------------------------------------------------------------------------------------------------- streams


def test_previews_come_before_the_picture(live: httpx.Client, document: Document) -> None:
    answer = ask(live, stream=True, partial_images=2, quality="low")
    document.check(answer)
    first, second, last = events(answer.text)
    assert [first["type"], second["type"], last["type"]] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [first["partial_image_index"], second["partial_image_index"]] == [0, 1]
    assert last["usage"]["output_tokens"] == MODELS[MODEL].output_tokens["low"] + 200
    assert last["omixa"]["ignored_parameters"] == []
    assert decoded(first).size == (512, 512)
    assert decoded(last).size == (1024, 1024)


def test_openais_client_reads_the_stream(gateway: Gateway, live: httpx.Client) -> None:
    key = live.headers["authorization"].removeprefix("Bearer ")
    with openai.OpenAI(base_url=gateway.api, api_key=key, max_retries=0) as client:
        told = list(client.images.generate(model=MODEL, prompt=PROMPT, quality="low", stream=True, partial_images=1))
    assert [event.type for event in told] == ["image_generation.partial_image", "image_generation.completed"]


@pytest.mark.parametrize(
    ("scenario", "code"),
    [
        ("streamerror", "provider_error"),
        ("streamfilter", "content_policy_violation"),
        ("reset", "provider_error"),
        ("short", "bad_provider_response"),
        ("empty", "bad_provider_response"),
        ("badbase64", "bad_provider_response"),
        ("truncated", "bad_provider_response"),
    ],
)
def test_a_stream_that_dies_after_its_previews_ends_in_an_error_and_is_free(
    live: httpx.Client, service: Service, document: Document, scenario: str, code: str
) -> None:
    service.play(scenario)
    before = len(service.paths())
    answer = ask(live, stream=True, partial_images=1, quality="low")
    document.check(answer)
    preview, last = events(answer.text)
    assert preview["type"] == "image_generation.partial_image"
    assert last["error"]["code"] == code
    # Whoever has seen a picture in the making is not shown another one.
    assert len(service.paths()) == before + 1
    balance = live.get(f"{API}/balance").json()
    assert (balance["posted"], balance["held"]) == ("10.000000", "0.000000")


def test_a_stream_that_fails_before_its_previews_goes_elsewhere(live: httpx.Client, service: Service) -> None:
    service.play("503")
    told = events(ask(live, stream=True, partial_images=1, quality="low").text)
    assert [event["type"] for event in told] == ["image_generation.partial_image", "image_generation.completed"]
    assert told[-1]["omixa"]["route"] == f"azure/{MODEL}"


# ------------------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize("scenario", ["429", "quota", "401", "403", "404", "503", "500", "html", "badjson", "damaged"])
def test_azure_serves_when_openai_fails(live: httpx.Client, service: Service, scenario: str) -> None:
    service.play(scenario)
    answer = ask(live, quality="low")
    assert answer.status_code == 200, answer.text[:300]
    assert [attempt["route"] for attempt in answer.json()["omixa"]["attempts"]] == [f"main/{MODEL}", f"azure/{MODEL}"]
    assert service.paths()[-1] == "/openai/v1/images/generations"


def test_a_refusal_is_not_shopped_around(live: httpx.Client, service: Service, document: Document) -> None:
    service.play("filter")
    before = len(service.paths())
    answer = ask(live)
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
    assert len(service.paths()) == before + 1


@pytest.mark.parametrize("scenario", ["nousage", "badusage", "bigusage"])
def test_a_picture_without_believable_usage_costs_the_flat_price(
    live: httpx.Client, service: Service, scenario: str
) -> None:
    service.play(scenario)
    body = ask(live, quality="low").json()
    assert body["usage"]["usage_estimated"]
    assert body["usage"]["billed_amount"] == "0.053000"


def test_a_reference_of_another_kind_does_not_reach_the_provider(live: httpx.Client, service: Service) -> None:
    before = len(service.paths())
    answer = ask(live, input_images=[data_url(b"GIF89a" + bytes(100), "image/png")])
    assert answer.status_code == 400
    assert len(service.paths()) == before
