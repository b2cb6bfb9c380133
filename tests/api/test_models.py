"""GET /models: only what the key may call, described from the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import openai
import pytest
from jsonschema import Draft202012Validator

from omixa.catalogue.loader import load_catalogue
from tests.support.document import Document
from tests.support.servers import Gateway

MODEL = "MAI-Image-2.5"
CUTOUT, ILLUSTRATOR, UPSCALE = "omixa-cutout-1", "omixa-illustrator-1", "omixa-upscale-1"
MODELS = "/api/v1/models"


@pytest.fixture(scope="module")
def document(gateway: Gateway) -> Document:
    with gateway.client(None) as client:
        return Document(client.get("/openapi.json").json())


def test_list(test_client: httpx.Client, document: Document) -> None:
    answer = test_client.get(MODELS)
    document.check(answer)
    body = answer.json()
    assert body["object"] == "list"
    assert [one["id"] for one in body["data"]] == list(load_catalogue().model_ids)
    listed = {one["id"]: one for one in body["data"]}
    model, cutout, illustrator, upscale = (listed[name] for name in (MODEL, CUTOUT, ILLUSTRATOR, UPSCALE))
    assert [one["capabilities"]["max_input_images"] for one in (cutout, upscale)] == [1, 1]
    assert [one["capabilities"]["output_formats"] for one in (cutout, upscale)] == [
        ["png", "webp"],
        ["png", "jpeg", "webp"],
    ]
    assert (illustrator["id"], illustrator["owned_by"]) == (ILLUSTRATOR, "embedded")
    assert {name: model[name] for name in ("id", "object", "created", "owned_by")} == {
        "id": MODEL,
        "object": "model",
        "created": 1780358400,
        "owned_by": "foundry",
    }
    assert model["context_window_tokens"] == 32_000
    assert model["capabilities"] == {
        "edits": True,
        "masks": False,
        "mask_policy": "none",
        "transparency": False,
        "transparency_policy": "none",
        "streaming": True,
        "max_images": 10,
        "max_input_images": 1,
        "sizes": ["auto", "1024x1024", "1024x1536", "1536x1024"],
        "output_formats": ["png", "jpeg", "webp"],
    }


def test_list_has_only_what_the_key_may_call(gateway: Gateway, new_key: Callable[..., str], document: Document) -> None:
    with gateway.client(new_key(models=["Another-Model"])) as client:
        answer = client.get(MODELS)
        document.check(answer)
        assert answer.json()["data"] == []
        for path in (f"{MODELS}/{MODEL}", f"{MODELS}/{MODEL}/schema"):
            refused = client.get(path)
            document.check(refused)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


@pytest.mark.parametrize("name", [MODEL, MODEL.lower(), MODEL.upper()])
def test_get(test_client: httpx.Client, document: Document, name: str) -> None:
    answer = test_client.get(f"{MODELS}/{name}")
    document.check(answer)
    model = answer.json()
    assert model["id"] == MODEL
    assert model["price_version"] == load_catalogue().resolve(MODEL).price_lists[0].version
    assert model["limits"]["max_body_bytes"] == 64 * 1024 * 1024
    assert test_client.get(model["schema_url"]).status_code == 200
    size = next(parameter for parameter in model["parameters"] if parameter["name"] == "size")
    assert size["accepted"] == model["capabilities"]["sizes"]


def test_prices_are_the_published_ones(test_client: httpx.Client) -> None:
    prices: dict[str, Any] = test_client.get(f"{MODELS}/{MODEL}").json()["prices"]
    assert (prices["input"], prices["output"], prices["image"]) == ("5.000000", "33.000000", "0.033000")
    assert prices["rounding"] == {"to": "0.000100", "direction": "up"}
    assert [(line["component"], line["unit_price"], line["per"]) for line in prices["components"]] == [
        ("input_text", "5.00", 1_000_000),
        ("input_image", "5.00", 1_000_000),
        ("output_image", "33.00", 1_000_000),
    ]


def test_schema_is_the_one_in_the_document(test_client: httpx.Client, document: Document) -> None:
    answer = test_client.get(f"{MODELS}/{MODEL}/schema")
    document.check(answer)
    schema = answer.json()
    Draft202012Validator.check_schema(schema)
    assert schema == document.document["components"]["schemas"][f"ImageRequest.{MODEL}"]


@pytest.mark.parametrize("path", ["gpt-image-9", "mai-image-2/schema", "%00", "x" * 5000])
def test_unknown_model(test_client: httpx.Client, document: Document, path: str) -> None:
    answer = test_client.get(f"{MODELS}/{path}")
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert "models here: " in error["message"]
    assert len(error["message"]) < 300


def test_without_a_key(gateway: Gateway, document: Document) -> None:
    with gateway.client(None) as client:
        answer = client.get(MODELS)
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")


def test_openai_client(gateway: Gateway, new_key: Callable[..., str]) -> None:
    with openai.OpenAI(base_url=gateway.api, api_key=new_key(), max_retries=0) as client:
        assert [model.id for model in client.models.list()] == list(load_catalogue().model_ids)
        model = client.models.retrieve(MODEL)
        assert (model.id, model.owned_by) == (MODEL, "foundry")
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-image-1")
        assert caught.value.code == "model_not_found"
