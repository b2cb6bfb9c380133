"""The API document: valid, complete, and made of what the code does."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate

import omixa
from omixa import errors
from omixa.api.examples import PROMPT_TOKENS
from omixa.api.models import capabilities
from omixa.api.openapi import document_operation, openapi_document
from omixa.api.operations import OPERATIONS
from omixa.catalogue.loader import Catalogue, load_catalogue
from omixa.errors import CallerError, InvalidRequest, OmixaError, ServiceError, UpstreamError
from omixa.imaging.inspect import UnacceptableImage
from omixa.tokens import Tokenizer
from tests.support.document import Document, events
from tests.support.servers import Gateway

CATALOGUE = load_catalogue()
CREATE = "/api/v1/images/generations"
EDIT = "/api/v1/images/edits"

# Clients generate the names of their functions from these: a change breaks them.
STABLE = {
    "createImage": f"POST {CREATE}",
    "editImage": f"POST {EDIT}",
    "estimateImage": "POST /api/v1/images/estimate",
    "listModels": "GET /api/v1/models",
    "getModel": "GET /api/v1/models/{model}",
    "getModelSchema": "GET /api/v1/models/{model}/schema",
    "getRequest": "GET /api/v1/requests/{request}",
    "getRequestResult": "GET /api/v1/requests/{request}/result",
    "getRequestReceipt": "GET /api/v1/requests/{request}/receipt",
    "listRequests": "GET /api/v1/usage/requests",
    "listRollups": "GET /api/v1/usage/rollups",
    "getBalance": "GET /api/v1/balance",
    "listBudgets": "GET /api/v1/budgets",
    "listRoutes": "GET /api/v1/routes",
    "listOperatedRoutes": "GET /api/v1/operator/routes",
    "enableRoute": "POST /api/v1/operator/routes/enable",
    "getHealth": "GET /healthz",
    "getReadiness": "GET /readyz",
    "getDocument": "GET /openapi.json",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document((*OPERATIONS, document_operation(OPERATIONS, CATALOGUE)), CATALOGUE)


def test_is_valid(document: dict[str, Any]) -> None:
    validate(document)


def test_operation_ids_are_stable(document: dict[str, Any]) -> None:
    found = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert STABLE.items() <= found.items()


@pytest.mark.parametrize("lie", [{"status": "ok", "mood": "good"}, {"status": "fine"}, {}])
def test_the_helper_catches_lies(document: dict[str, Any], lie: dict[str, str]) -> None:
    Document(document).check_value("Health", {"status": "ok"})
    with pytest.raises(ValidationError):
        Document(document).check_value("Health", lie)


def test_golden_example(document: dict[str, Any]) -> None:
    answer = document["paths"][CREATE]["post"]["responses"]["200"]["content"]
    example = answer["application/json"]["example"]
    assert example["usage"]["billed_amount"] == example["omixa"]["billed_amount"] == "0.039000"
    Document(document).check_value("ImageAnswer", example)
    (event,) = events(answer["text/event-stream"]["example"])
    Document(document).check_value("ImageEvent", event)
    prompt = str(CATALOGUE.resolve("MAI-Image-2.5").example["prompt"])
    assert Tokenizer().count(prompt, limit=1000).tokens == PROMPT_TOKENS


def test_request_examples_fit_their_schema(document: dict[str, Any]) -> None:
    content = document["paths"][CREATE]["post"]["requestBody"]["content"]["application/json"]
    validator = Draft202012Validator({**content["schema"], "components": document["components"]})
    from_text = [model for model in CATALOGUE.models.values() if not model.needs_pictures]
    with_pictures = [model for model in CATALOGUE.models.values() if capabilities(model).edits]
    assert len(content["examples"]) == len(from_text) + len(with_pictures)
    for example in content["examples"].values():
        validator.validate(example["value"])
    assert not validator.is_valid({"model": "MAI-Image-2.5", "prompt": "A kite", "size": "13x13"})


def test_edits_are_described_as_a_form_and_as_json(document: dict[str, Any]) -> None:
    content = document["paths"][EDIT]["post"]["requestBody"]["content"]
    assert set(content) == {"multipart/form-data", "application/json"}
    json, form = (
        Draft202012Validator({**content[media_type]["schema"], "components": document["components"]})
        for media_type in ("application/json", "multipart/form-data")
    )
    example, *_ = examples = [*content["application/json"]["examples"].values()]
    for each in examples:
        json.validate(each["value"])
    texts = {"model": "MAI-Image-2.5", "prompt": "A kite"}
    form.validate({**texts, "image": ["the bytes of a file"]})
    for wrong in ({}, {"image": []}, {"images": example["value"]["images"]}, {"image": ["one", "two"]}):
        assert not form.is_valid({**texts, **wrong})
    for wrong in ({}, {"images": []}, {"image": ["a"]}, {"images": [{"file_id": "file-abc"}]}):
        assert not json.is_valid({**texts, **wrong})
    assert not any(path.startswith("/v1/") for path in document["paths"])


def test_error_examples_fit_their_schema(document: dict[str, Any]) -> None:
    seen, known = 0, Document(document)
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for code, example in (
                    response.get("content", {}).get("application/json", {}).get("examples", {}).items()
                ):
                    known.check_value("Error", example["value"])
                    assert example["value"]["error"]["code"] == code
                    seen += 1
    assert seen > 30


@pytest.mark.parametrize("error", [*UpstreamError.__subclasses__(), *ServiceError.__subclasses__()])
def test_every_failure_of_making_pictures_is_described(document: dict[str, Any], error: type[OmixaError]) -> None:
    responses = document["paths"][CREATE]["post"]["responses"]
    assert f"`{error.default_code}`" in responses[str(error.status)]["description"]


def test_groups_of_errors_are_not_answers(document: dict[str, Any]) -> None:
    text = str(document["paths"])
    assert CallerError.default_code not in text.replace("invalid_request_error", "")
    assert ServiceError.default_code not in text


def test_two_models_are_told_apart() -> None:
    first = CATALOGUE.resolve("MAI-Image-2.5")
    second = dataclasses.replace(first, id="Another/Model 2")
    offer = next(offer for offer in CATALOGUE.offers.values() if offer.model == first.id)
    two = Catalogue(
        {first.id.lower(): first, second.id.lower(): second},
        {
            (offer.provider, first.id.lower()): offer,
            (offer.provider, second.id.lower()): dataclasses.replace(offer, model=second.id),
        },
        CATALOGUE.providers,
    )
    document = openapi_document(OPERATIONS, two)
    validate(document)
    schema = document["paths"][CREATE]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert len(schema["oneOf"]) == 2
    assert schema["discriminator"]["propertyName"] == "model"
    assert set(schema["discriminator"]["mapping"]) == {first.id, second.id}


def test_codes_in_the_source_are_known_to_their_class() -> None:
    """The document takes codes from the classes, so a code that is written where an error is raised must be on its class."""
    unknown = [
        f"{kind.__name__} {code}"
        for kind, code in _written_codes()
        if code not in {kind.default_code, *kind.further_codes}
    ]
    assert unknown == []


def _written_codes() -> Iterator[tuple[type[OmixaError], str]]:
    for path in Path(omixa.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                kind = getattr(errors, node.func.id, None)
                if isinstance(kind, type) and issubclass(kind, OmixaError):
                    yield from ((kind, code) for key in node.keywords if key.arg == "code" for code in _text(key.value))
                elif node.func.id == UnacceptableImage.__name__:
                    # Becomes an InvalidRequest with this code.
                    yield from ((InvalidRequest, code) for code in _text(node.args[0]))


def _text(node: ast.expr) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def test_is_served_without_a_key(gateway: Gateway) -> None:
    assert gateway.services is not None
    offered = [row for row in OPERATIONS if row.is_offered(gateway.services)]
    assert len(offered) < len(OPERATIONS), "this gateway sells no credit"
    document = openapi_document((*offered, document_operation(offered, CATALOGUE)), CATALOGUE)
    with gateway.client(None) as client:
        answer = client.get("/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document
    Document(document).check(answer)


def test_unknown_paths_and_methods_answer_in_the_same_shape(gateway: Gateway, document: dict[str, Any]) -> None:
    with gateway.client(None) as client:
        answers: list[httpx.Response] = [client.get("/api/v1/nothing"), client.put("/api/v1/models")]
    assert [answer.status_code for answer in answers] == [404, 405]
    for answer in answers:
        Document(document).check_value("Error", answer.json())


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/images/generations", "/api/v1/images/generations"),
        ("/api/v1/images/generations/", "/api/v1/images/generations"),
        ("/v1/images/edits/", "/v1/images/edits"),
        ("/v1/v1/images/edits", "/api/v1/images/edits"),
        ("/api/v1/v1/models", "/api/v1/models"),
        ("//api/v1/models", "/api/v1/models"),
        ("/models/omixa-illustrator-1", "/api/v1/models/omixa-illustrator-1"),
        ("/v1/chat/completions", None),
        ("/v1/images/variations", None),
        ("/api/v1/", None),
        ("/" + "a" * 5000, None),
    ],
)
def test_an_address_that_is_nearly_right_is_told_what_is(gateway: Gateway, path: str, meant: str | None) -> None:
    with gateway.client(None) as client:
        answer = client.post(gateway.url + path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "unknown_path")
    told = error["message"].partition(" Did you mean ")[2]
    assert (told.partition("?")[0] or None) == meant
    assert len(error["message"]) < 500
