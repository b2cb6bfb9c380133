"""What every client library must be able to do with its own defaults: pictures that decode, and the right bill, once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.clients.conftest import Books
from tests.support.clients import Client, ClientFailed, Library, missing, running_library
from tests.support.pictures import distance_within, mask, outside
from tests.support.servers import Simulator

PROMPT = "A red kite over a stubble field at dusk"
ILLUSTRATOR = "omixa-illustrator-1"
FOUNDRY = "MAI-Image-2.5"

CLIENTS = (
    Client("openai_python"),
    Client("openai_node"),
    Client("vercel_ai", "openai", makes_one_a_call=True),
    Client("vercel_ai", "compatible"),
    Client("litellm_python"),
    Client("langchain_js", edits=False, makes_one_a_call=True),
    Client("langchain_python", edits=False, needs_links=True),
)
EDITORS = tuple(client for client in CLIENTS if client.edits)


@pytest.fixture
def client(request: pytest.FixtureRequest, library: Callable[[str], Library], books: Books) -> Callable[..., Any]:
    """A client's call, with what it always needs."""
    found: Client = request.param
    running = library(found.library)
    if found.needs_links:
        books.prefer_links()
    return lambda call, **fields: running.call(call, **found.fields, **fields)


def every(clients: tuple[Client, ...] = CLIENTS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", clients, ids=str, indirect=True)


def encoded(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode()


@every()
@pytest.mark.parametrize(("model", "price"), [(ILLUSTRATOR, "0.002000"), (FOUNDRY, "0.033900")])
def test_a_picture(
    client: Callable[..., Any], books: Books, opened: Callable[[str], Image.Image], model: str, price: str
) -> None:
    made = client("generate", client=books.address, model=model, prompt=PROMPT)
    (one,) = made["pictures"]
    assert (opened(one).format, opened(one).size) == ("PNG", (1024, 1024))
    assert books.charges() == [(price, 1)]


@every()
def test_several_pictures_of_another_size(
    request: pytest.FixtureRequest,
    client: Callable[..., Any],
    books: Books,
    opened: Callable[[str], Image.Image],
) -> None:
    made = client("generate", client=books.address, model=ILLUSTRATOR, prompt=PROMPT, n=2, size="1024x1536")
    assert [opened(one).size for one in made["pictures"]] == [(1024, 1536)] * 2
    makes_one_a_call = request.node.callspec.params["client"].makes_one_a_call
    assert books.charges() == ([("0.002000", 1)] * 2 if makes_one_a_call else [("0.004000", 2)])


@pytest.mark.parametrize(
    "unconfigured", [Client("openai_python"), Client("openai_node"), Client("vercel_ai", "openai")], ids=str
)
def test_a_program_that_is_told_of_the_gateway_by_its_environment_alone(unconfigured: Client, books: Books) -> None:
    reason = missing(unconfigured.library)
    if reason is not None:
        pytest.skip(reason)
    variables = {"OPENAI_BASE_URL": books.gateway.api, "OPENAI_API_KEY": books.key}
    with running_library(unconfigured.library, **variables) as running:
        running.call("generate", client={}, model=ILLUSTRATOR, prompt=PROMPT, **unconfigured.fields)
    assert books.charges() == [("0.002000", 1)]


@every(EDITORS)
@pytest.mark.parametrize("number", [1, 2])
def test_an_edit(
    client: Callable[..., Any], books: Books, files: list[str], opened: Callable[[str], Image.Image], number: int
) -> None:
    made = client("edit", client=books.address, model=ILLUSTRATOR, prompt="snow at night", images=files[:number])
    assert [opened(one).size for one in made["pictures"]] == [(512, 512)]
    (entry,) = books.log()
    # Tokens are tiles of 32 x 32 pixels: 16 x 16 of the first picture, 118 of the second.
    tokens = {1: 256, 2: 256 + 118}[number]
    assert (entry["operation"], entry["usage"]["input_tokens_details"]["image_tokens"]) == ("edit", tokens)
    assert books.charges() == [("0.002000", 1)]


@every(EDITORS)
def test_an_edit_whose_numbers_are_written_in_a_form(
    client: Callable[..., Any], books: Books, files: list[str], opened: Callable[[str], Image.Image]
) -> None:
    made = client(
        "edit", client=books.address, model=ILLUSTRATOR, prompt="snow", images=files[:1], n=1, size="1024x1024"
    )
    assert [opened(one).size for one in made["pictures"]] == [(1024, 1024)]
    assert books.charges() == [("0.002000", 1)]


@every(EDITORS)
@pytest.mark.parametrize(("model", "size"), [("omixa-upscale-1", (192, 128)), ("omixa-cutout-1", (96, 64))])
def test_models_that_need_no_words(
    client: Callable[..., Any],
    books: Books,
    tmp_path: Path,
    opened: Callable[[str], Image.Image],
    model: str,
    size: tuple[int, int],
) -> None:
    small = tmp_path / "small.png"
    ball = Image.new("RGB", (96, 64), "white")
    ImageDraw.Draw(ball).ellipse((30, 14, 66, 50), "firebrick")
    ball.save(small)
    # Every client asks for words; to these models they mean nothing.
    made = client("edit", client=books.address, model=model, prompt="larger, please", images=[str(small)])
    assert [opened(one).size for one in made["pictures"]] == [size]
    ((_, images),) = books.charges()
    assert images == 1


@pytest.mark.parametrize(
    ("client", "scale"),
    [
        (Client("openai_python"), {"extra_body": {"scale": 4}}),
        (Client("openai_node"), {"scale": 4}),
        (Client("vercel_ai", "compatible"), {"providerOptions": {"omixa": {"scale": 4}}}),
        (Client("litellm_python"), {"scale": 4}),
    ],
    ids=str,
    indirect=["client"],
)
def test_a_parameter_that_a_client_has_no_argument_for(
    client: Callable[..., Any],
    scale: dict[str, Any],
    books: Books,
    tmp_path: Path,
    opened: Callable[[str], Image.Image],
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (24, 16), "firebrick").save(small)
    fields = {"model": "omixa-upscale-1", "prompt": "larger, please", "images": [str(small)], **scale}
    made = client("edit", client=books.address, **fields)
    assert [opened(one).size for one in made["pictures"]] == [(96, 64)]


@every(EDITORS)
def test_an_edit_within_a_mask(
    client: Callable[..., Any],
    books: Books,
    files: list[str],
    tmp_path: Path,
    opened: Callable[[str], Image.Image],
) -> None:
    hole = mask(512, 512, (128, 128, 384, 384))
    path = tmp_path / "mask.png"
    path.write_bytes(hole)
    made = client(
        "edit", client=books.address, model=ILLUSTRATOR, prompt="add a red fox", images=files[:1], mask=str(path)
    )
    edited, original = (opened(one).convert("RGB") for one in (made["pictures"][0], encoded(files[0])))
    assert outside(original, edited, hole) == 0
    assert distance_within(original, edited, hole) > 1
    assert books.charges() == [("0.002000", 1)]


# ---------------------------------------------------------------------------------------------------- errors and retries


@every()
def test_a_refusal_is_told_in_full_and_not_tried_again(client: Callable[..., Any], books: Books) -> None:
    with pytest.raises(ClientFailed) as caught:
        client("generate", client=books.address, model=ILLUSTRATOR, prompt=PROMPT, size="512x512")
    assert "size must be one of auto, 1024x1024, 1024x1536, 1536x1024" in caught.value.told["message"]
    assert caught.value.told["status"] == 400
    assert books.log() == []


@every()
def test_a_model_that_is_no_more_is_told_with_its_successor(client: Callable[..., Any], books: Books) -> None:
    with pytest.raises(ClientFailed) as caught:
        client("generate", client=books.address, model="gpt-image-1", prompt=PROMPT)
    assert 'the model "gpt-image-1" does not exist' in caught.value.told["message"]
    assert "Use gpt-image-2 instead." in caught.value.told["message"]
    assert caught.value.told["status"] == 404


@every()
def test_what_may_succeed_later_is_tried_again_and_charged_once(
    client: Callable[..., Any], books: Books, foundry: Simulator
) -> None:
    foundry.play("429(retry_after=1)")
    calls = len(foundry.log())
    made = client("generate", client=books.address, model=FOUNDRY, prompt=PROMPT)
    assert len(made["pictures"]) == 1
    assert [entry["status"] for entry in foundry.log()[calls:]] == [429, 200]
    assert books.charges() == [("0.033900", 1)]


@every()
def test_a_refusal_of_content_is_not_tried_again(client: Callable[..., Any], books: Books, foundry: Simulator) -> None:
    foundry.play("filter")
    calls = len(foundry.log())
    with pytest.raises(ClientFailed) as caught:
        client("generate", client=books.address, model=FOUNDRY, prompt=PROMPT)
    assert caught.value.told["status"] == 400
    assert len(foundry.log()) == calls + 1
    assert books.charges() == []
