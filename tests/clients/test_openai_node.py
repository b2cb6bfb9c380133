"""OpenAI's client for JavaScript: what it types of answers, streams, errors and models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import Books
from tests.support.clients import ClientFailed, Library
from tests.support.servers import Simulator

MODEL = "omixa-illustrator-1"
PROMPT = "A red kite over a stubble field at dusk"
Read = Callable[[str], Image.Image]


@pytest.fixture
def call(library: Callable[[str], Library], books: Books) -> Callable[..., Any]:
    running = library("openai_node")
    return lambda call, **fields: running.call(call, client=books.address, **fields)


def test_an_answer_has_everything_that_is_typed_and_ours_beside_it(call: Callable[..., Any], books: Books) -> None:
    made = call("generate", model=MODEL, prompt=PROMPT)
    assert (made["size"], made["quality"], made["background"], made["output_format"]) == (
        "1024x1024",
        "auto",
        "opaque",
        "png",
    )
    assert made["usage"]["total_tokens"] == made["usage"]["input_tokens"] + made["usage"]["output_tokens"]
    assert made["omixa"]["request_id"] == made["request_id"] == books.log()[0]["id"]
    assert made["omixa"]["billed_amount"] == "0.002000"


@pytest.mark.parametrize(("call_of", "kind"), [("stream", "image_generation"), ("stream_edit", "image_edit")])
def test_a_stream_has_previews_and_the_picture(
    call: Callable[..., Any], books: Books, files: list[str], opened: Read, call_of: str, kind: str
) -> None:
    fields = {"images": files[:1]} if call_of == "stream_edit" else {}
    events = call(call_of, model=MODEL, prompt=PROMPT, size="1024x1024", partial_images=2, **fields)
    assert [event["type"] for event in events] == [f"{kind}.partial_image"] * 2 + [f"{kind}.completed"]
    assert [event["partial_image_index"] for event in events[:2]] == [0, 1]
    assert [opened(event["b64_json"]).size for event in events] == [(512, 512), (512, 512), (1024, 1024)]
    assert events[2]["usage"]["billed_amount"] == "0.002000"
    assert books.charges() == [("0.002000", 1)]


def test_a_stream_of_several_pictures_has_an_event_for_each(call: Callable[..., Any], books: Books) -> None:
    events = call("stream", model=MODEL, prompt=PROMPT, n=2)
    assert [event["type"] for event in events] == ["image_generation.completed"] * 2
    assert events[0]["b64_json"] != events[1]["b64_json"]
    assert books.charges() == [("0.004000", 2)]


def test_an_error_inside_a_stream_is_raised(call: Callable[..., Any], books: Books, foundry: Simulator) -> None:
    foundry.play("filter")
    with pytest.raises(ClientFailed) as caught:
        call("stream", model="MAI-Image-2.5", prompt=PROMPT)
    assert caught.value.told["code"] == "content_policy_violation"
    assert books.charges() == []


def test_an_error_has_everything_that_is_typed(call: Callable[..., Any]) -> None:
    with pytest.raises(ClientFailed) as caught:
        call("generate", model=MODEL, prompt=PROMPT, quality="hd")
    told = caught.value.told
    assert (told["name"], told["status"], told["type"]) == ("Error", 400, "invalid_request_error")
    assert (told["code"], told["param"]) == ("unsupported_value", "quality")
    assert told["request_id"].startswith("req_")
    assert "this model has one quality" in told["message"]


def test_models_are_listed_and_described(call: Callable[..., Any]) -> None:
    listed = call("models")
    assert {MODEL, "MAI-Image-2.5"} <= set(listed)
    model = call("model", model=MODEL)
    assert (model["id"], model["object"], model["owned_by"]) == (MODEL, "model", "embedded")
    assert isinstance(model["created"], int)


def test_what_a_user_may_add_and_what_it_means_nothing_is_listed(call: Callable[..., Any]) -> None:
    made = call(
        "generate",
        model=MODEL,
        prompt=PROMPT,
        quality="standard",
        style="vivid",
        moderation="low",
        user="somebody",
        safety_identifier="somebody",
        response_format="b64_json",
        n=None,
    )
    assert made["omixa"]["ignored_parameters"] == [
        "moderation",
        "quality",
        "safety_identifier",
        "style",
        "user",
    ]
