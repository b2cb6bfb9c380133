"""The playground over HTTP: its forms are the models' own, and the programs that it writes are those of the pages."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from html.parser import HTMLParser

import httpx2 as httpx
import pytest

from omixa.catalogue.loader import load_catalogue
from omixa.domain.models import Model
from omixa.web.playground import MAX_CODE_BYTES, MAX_COLOURED_CHARS
from omixa.web.samples import LANGUAGES, Language, samples
from tests.support.servers import Gateway

MODELS = [model for _, model in sorted(load_catalogue().models.items())]
HOSTILE = "</script><img src=x onerror=alert(1)> '\"`\\ $(id) ${x} \u202e {{ 7*7 }}"


@pytest.fixture(scope="module")
def visitor(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with gateway.client(None) as client:
        yield client


class Forms(HTMLParser):
    """The controls of each model's fieldset by name, with their attributes, and the values of those that are choices."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.controls: dict[str, dict[str, dict[str, str | None]]] = {}
        self.choices: dict[tuple[str, str], list[str]] = {}
        self._model = self._select = ""
        self._in_option = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "fieldset":
            self._model = given["data-model"] or ""
            self.controls[self._model] = {"": given}
        if "data-field" in given:
            self.controls[self._model][given["data-field"] or ""] = given | {"tag": tag}
            self._select = given["data-field"] or "" if tag == "select" else ""
        self._in_option = tag == "option" and bool(self._select) and given.get("value") != ""

    def handle_endtag(self, tag: str) -> None:
        self._in_option = False
        if tag == "select":
            self._select = ""

    def handle_data(self, data: str) -> None:
        if self._in_option:
            self.choices.setdefault((self._model, self._select), []).append(data.strip())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_form_has_every_parameter_of_its_model_and_nothing_else(visitor: httpx.Client, model: Model) -> None:
    text = visitor.get("/playground").text
    forms = Forms(text)
    assert list(forms.controls) == [one.id for one in MODELS]
    controls = forms.controls[model.id]
    fieldset = controls.pop("")
    for parameter in model.parameters:
        if parameter.refusal is not None:
            assert parameter.name not in controls
            held = {"mask": "data-mask", "input_images": "data-pictures"}
            assert held.get(parameter.name, "data-nothing") not in fieldset
        elif parameter.type == "images":
            assert fieldset["data-pictures"] == str(parameter.maximum)
        elif parameter.type == "image":
            assert "data-mask" in fieldset
        elif parameter.name != "model":
            control = controls.pop(parameter.name)
            if parameter.accepted:
                assert forms.choices[model.id, parameter.name] == [str(one) for one in parameter.accepted]
            elif parameter.type == "integer":
                assert (control["min"], control["max"]) == (str(parameter.minimum), str(parameter.maximum))
            elif parameter.type == "boolean":
                assert control["type"] == "checkbox"
            default = json.dumps(parameter.default) if isinstance(parameter.default, bool) else parameter.default
            assert control["data-default"] == ("" if default is None else str(default))
    assert controls == {}


def code(client: httpx.Client, **question: object) -> httpx.Response:
    return client.post("/playground/code", json=question)


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.id)
def test_a_program_is_the_one_that_the_tests_run(visitor: httpx.Client, gateway: Gateway, language: Language) -> None:
    body: dict[str, str | int | bool] = {"model": "MAI-Image-2.5", "prompt": HOSTILE, "n": 2, "output_format": "jpeg"}
    told = code(visitor, language=language.id, body=body).json()
    (page,) = [
        one.source for one in samples(body, base_url=gateway.api, timeout_s=590) if one.language.id == language.id
    ]
    assert "".join(text for _, text in told["pieces"]) == page
    assert {kind for kind, _ in told["pieces"]} > {""}
    assert (told["language"], told["left_out"]) == (language.id, [])


def test_a_program_leaves_out_what_says_how_an_answer_comes(visitor: httpx.Client) -> None:
    body = {
        "model": "omixa-illustrator-1",
        "prompt": "a",
        "stream": True,
        "partial_images": 2,
        "response_format": "url",
    }
    told = code(visitor, language="python", body=body).json()
    assert told["left_out"] == ["stream", "partial_images", "response_format"]
    assert "stream" not in "".join(text for _, text in told["pieces"])


def test_a_long_program_comes_without_colours(visitor: httpx.Client) -> None:
    body = {"model": "MAI-Image-2.5", "prompt": "'\"`" * MAX_COLOURED_CHARS}
    for language in LANGUAGES:
        assert len(code(visitor, language=language.id, body=body).json()["pieces"]) == 1


@pytest.mark.parametrize(
    ("question", "status", "param"),
    [
        ({"language": "cobol", "body": {"model": "MAI-Image-2.5"}}, 400, "language"),
        ({"language": "go", "body": {}}, 400, "model"),
        ({"language": "go", "body": {"model": 1}}, 400, "model"),
        ({"language": "go", "body": {"model": "nothing"}}, 404, "model"),
        ({"language": "go", "body": {"model": "MAI-Image-2.5", "x): import os": 1}}, 400, "body"),
        ({"language": "go", "body": {"model": "MAI-Image-2.5", "mask": "x"}}, 400, "body"),
        ({"language": "go", "body": {"model": "MAI-Image-2.5", "n": 1.5}}, 400, None),
        ({"language": "go", "body": {"model": "MAI-Image-2.5", "n": None}}, 400, None),
        ({"language": "go", "body": {"model": "MAI-Image-2.5"}, "pictures": ["../x"]}, 400, None),
        ({"language": "go", "body": {"model": "MAI-Image-2.5"}, "pictures": ["png"] * 17}, 400, None),
        ({"language": "go", "body": {"model": "MAI-Image-2.5"}, "key": "x"}, 400, None),
        ({"language": "go", "body": {"model": "MAI-Image-2.5", "prompt": "x" * MAX_CODE_BYTES}}, 413, None),
        ([], 400, None),
    ],
    ids=str,
)
def test_what_is_no_question_is_refused(
    visitor: httpx.Client, question: object, status: int, param: str | None
) -> None:
    answer = visitor.post("/playground/code", json=question)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_a_program_is_asked_for_as_json_and_by_post_alone(visitor: httpx.Client) -> None:
    assert visitor.post("/playground/code", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert visitor.get("/playground/code").status_code == 405
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    assert visitor.post("/playground/code", content=gzip.compress(b"{}"), headers=packed).status_code == 415


def test_pages_lead_to_the_playground(visitor: httpx.Client) -> None:
    assert 'href="./playground"' in visitor.get("/").text
    for model in MODELS:
        assert f'href="../../playground?model={model.id}"' in visitor.get(f"/docs/models/{model.id}").text
