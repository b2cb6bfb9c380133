"""Masks of a model that has none: refused, unless the operator lets the gateway lay the original over the edit."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image

from omixa.config import EmulationSettings
from omixa.imaging.codec import convert
from tests.support.commands import Omixa
from tests.support.document import Document, events
from tests.support.faults import eventually
from tests.support.footprint import footprint, money
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.imagefiles import saved
from tests.support.pictures import data_url, decoded, distance_within, mask, outside, picture, reference
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE, EDIT, MODELS = f"{API}/images/generations", f"{API}/images/edits", f"{API}/models"
PROMPT = "Put a red fox on the stairs"
WIDTH, HEIGHT = 900, 600
BOX = (200, 100, 700, 500)
MASK = mask(WIDTH, HEIGHT, BOX)
DOLLARS_10 = 10_000_000


@pytest.fixture(scope="module")
def emulating(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose operator allows masks for the model."""
    settings: dict[str, Any] = {"emulation": EmulationSettings(masks=MODEL.lower()), "codec_processes": 1}
    with running_gateway(tmp_path_factory.mktemp("emulating"), foundry, **settings) as running:
        yield running


@pytest.fixture
def emulated_document(emulating: Gateway) -> Document:
    with emulating.client(None) as client:
        return Document(client.get("/openapi.json").json())


@pytest.fixture
def client(
    emulating: Gateway, foundry: Simulator, workspace: str, emulated_document: Document
) -> Iterator[httpx.Client]:
    """A client with a live key and ten dollars, each answer of which is held against the document."""
    foundry.play("")
    emulating.forget_faults()
    emulating.grant(DOLLARS_10, workspace=workspace)
    with emulating.client(emulating.key("live", workspace)) as client:
        client.event_hooks["response"] = [emulated_document.check]
        yield client
    foundry.play("")


def body(**fields: Any) -> dict[str, Any]:
    shown = reference(width=WIDTH, height=HEIGHT)
    return {"model": MODEL, "prompt": PROMPT, "input_images": [shown], "mask": data_url(MASK), **fields}


def before(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    return Image.open(io.BytesIO(picture(width=width, height=height))).convert("RGB")


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text[:500]
    value: dict[str, Any] = answer.json()
    return value


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("stream", [False, True])
def test_a_mask_is_refused_and_the_refusal_says_what_would_help(
    live_client: httpx.Client, gateway: Gateway, document: Document, stream: bool
) -> None:
    untouched = footprint(gateway)
    answer = live_client.post(CREATE, json=body(stream=stream))
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unsupported_value", "mask")
    assert "emulation.masks" in error["message"]
    assert footprint(gateway) == untouched
    capabilities = live_client.get(f"{MODELS}/{MODEL}").json()["capabilities"]
    assert (capabilities["masks"], capabilities["mask_policy"]) == (False, "none")


def test_masks_of_a_wrong_size_are_refused_before_anything_is_sent(
    client: httpx.Client, emulating: Gateway, foundry: Simulator
) -> None:
    untouched, calls = footprint(emulating), len(foundry.log())
    nothing, other = mask(WIDTH, HEIGHT), mask(HEIGHT, WIDTH, (0, 0, 9, 9))
    damaged = picture(width=WIDTH, height=HEIGHT)
    place = damaged.index(b"IDAT") + 100
    damaged = damaged[:place] + bytes(30) + damaged[place + 30 :]
    for fields, expected in (
        ({"mask": data_url(nothing)}, ("mask_without_alpha", "mask")),
        ({"mask": data_url(other)}, ("mask_size_mismatch", "mask")),
        ({"input_images": [data_url(damaged)]}, ("invalid_image", "input_images[0]")),
    ):
        error = client.post(CREATE, json=body(**fields)).json()["error"]
        assert (error["code"], error["param"]) == expected
    assert footprint(emulating) == untouched
    assert len(foundry.log()) == calls


# -------------------------------------------------------------------------------------------------------------- allowed


def test_the_original_stays_outside_the_mask_at_its_own_size(client: httpx.Client) -> None:
    answer = made(client.post(CREATE, json=body()))
    after = decoded(answer)
    assert after.size == (WIDTH, HEIGHT)
    assert answer["size"] == f"{WIDTH}x{HEIGHT}"
    assert outside(before(), after, MASK) == 0
    assert distance_within(before(), after, MASK) > 3
    notes = {note["parameter"]: note["how"] for note in answer["omixa"]["emulated"]}
    assert set(notes) == {"mask", "size"}
    assert "laid over it outside the mask" in notes["mask"]
    assert answer["omixa"]["operation"] == "edit"


def test_the_edge_is_soft_and_lies_inside(client: httpx.Client) -> None:
    everywhere = data_url(mask(WIDTH, HEIGHT, (0, 0, WIDTH, HEIGHT)))
    after, whole = (
        decoded(made(client.post(CREATE, json=body(prompt="Make it night", mask=text))))
        for text in (data_url(MASK), everywhere)
    )
    across = [(x, (BOX[1] + BOX[3]) // 2) for x in range(BOX[0], BOX[0] + 40)]
    kept, edited, seen = ([one.getpixel(place) for place in across] for one in (before(), whole, after))
    # The first pixel inside is nearly the original's, one further in is the edit's, those between are between.
    assert _apart(seen[0], kept[0]) <= _apart(seen[0], edited[0])
    assert seen[-1] == edited[-1]
    assert any(value not in (old, new) for value, old, new in zip(seen, kept, edited, strict=True))


def _apart(one: Any, other: Any) -> int:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def test_at_another_size_the_resampled_original_stays(client: httpx.Client) -> None:
    answer = made(client.post(CREATE, json=body(size="1536x1024")))
    after = decoded(answer)
    resampled = convert(picture(width=WIDTH, height=HEIGHT), format="png", size=(1536, 1024))
    larger = Image.open(io.BytesIO(bytes(resampled.data)))
    scale = 1536 / WIDTH
    grown = mask(
        1536, 1024, (int(BOX[0] * scale), int(BOX[1] * scale), int(BOX[2] * scale) + 1, int(BOX[3] * scale) + 1)
    )
    assert after.size == (1536, 1024)
    assert outside(larger, after, grown) == 0


def test_a_huge_original_is_scaled_down(client: httpx.Client) -> None:
    shown, text = reference("jpeg", 3000, 2000), mask(3000, 2000, (500, 500, 1500, 1500))
    after = decoded(made(client.post(CREATE, json=body(input_images=[shown], mask=data_url(text)))))
    assert 4_100_000 < after.width * after.height <= 4_194_304


def test_what_is_transparent_in_the_original_lies_on_white(client: httpx.Client) -> None:
    clear = before().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 90, HEIGHT))
    after = decoded(made(client.post(CREATE, json=body(input_images=[data_url(saved(clear, "png"))]))))
    assert after.mode == "RGB"
    assert after.getpixel((40, 300)) == (255, 255, 255)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_other_formats_keep_it_as_well_as_they_can(client: httpx.Client, output_format: str) -> None:
    answer = made(client.post(CREATE, json=body(output_format=output_format, output_compression=95)))
    assert answer["output_format"] == output_format
    around = mask(WIDTH, HEIGHT, (0, 0, BOX[0] - 20, HEIGHT))
    assert distance_within(before(), decoded(answer), around) < 2


def test_a_form_several_pictures_and_a_stream(client: httpx.Client) -> None:
    texts = [part("model", MODEL), part("prompt", PROMPT), part("n", "2"), part("stream", "true")]
    files = [part("image", picture(width=WIDTH, height=HEIGHT), "a.png"), part("mask", MASK, "mask.png")]
    answer = client.post(EDIT, content=form(*texts, *files), headers={"content-type": CONTENT_TYPE})
    told = events(answer.text)
    assert [event["type"] for event in told] == ["image_edit.completed"] * 2
    for event in told:
        after = decoded({"data": [event]})
        assert outside(before(), after, MASK) == 0
        assert distance_within(before(), after, MASK) > 3
    assert {note["parameter"] for note in told[-1]["omixa"]["emulated"]} == {"mask", "size", "n"}


def test_a_mask_costs_nothing_more(client: httpx.Client, emulating: Gateway, workspace: str) -> None:
    without = made(client.post(CREATE, json=body(mask=None)))
    with_mask = made(client.post(CREATE, json=body()))
    assert without["omixa"]["line_items"] == with_mask["omixa"]["line_items"]
    billed = 2 * int(with_mask["usage"]["billed_amount"].replace(".", ""))
    assert money(emulating, workspace, "live") == (DOLLARS_10 - billed, 0)


def test_the_simulator_in_the_process_is_masked_too(emulating: Gateway, workspace: str) -> None:
    with emulating.client(emulating.key("test", workspace)) as client:
        assert outside(before(), decoded(made(client.post(CREATE, json=body()))), MASK) == 0


def test_the_schema_and_the_capabilities_say_that_masks_are_taken(client: httpx.Client) -> None:
    model = client.get(f"{MODELS}/{MODEL}").json()
    assert (model["capabilities"]["masks"], model["capabilities"]["mask_policy"]) == (True, "composite")
    assert "anyOf" in client.get(f"{MODELS}/{MODEL}/schema").json()["properties"]["mask"]


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("scenario", ["500", "notpng", "reset"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_call_is_not_charged(
    client: httpx.Client, emulating: Gateway, foundry: Simulator, workspace: str, scenario: str, stream: bool
) -> None:
    foundry.play(f"{scenario}x*")
    answer = client.post(CREATE, json=body(stream=stream))
    assert "error" in (events(answer.text)[-1] if stream else answer.json())
    assert money(emulating, workspace, "live") == (DOLLARS_10, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_composite_that_breaks_is_not_charged_and_the_next_one_is_made(
    client: httpx.Client, emulating: Gateway, foundry: Simulator, workspace: str, stream: bool
) -> None:
    """The process that puts the pictures together is killed after the provider has answered."""
    made(client.post(CREATE, json=body()))
    charged = money(emulating, workspace, "live")
    assert emulating.services is not None
    workers = emulating.services.conversions._workers
    (pid,) = workers.pids
    calls = len(foundry.log())
    foundry.play("slow=0.5")
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(client.post(CREATE, json=body(stream=stream))))
    asking.start()
    eventually(lambda: len(foundry.log()) > calls)
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: workers._unfinished == 1)
    os.kill(pid, signal.SIGKILL)
    asking.join()
    error = events(answers[0].text)[-1]["error"] if stream else answers[0].json()["error"]
    assert error["code"] == "bad_provider_response"
    assert money(emulating, workspace, "live") == charged
    assert outside(before(), decoded(made(client.post(CREATE, json=body()))), MASK) == 0


# ------------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("masks", "complaint"),
    [
        ("dall-e-2", 'the model "dall-e-2" does not exist'),
        ("omixa-illustrator-1", "omixa-illustrator-1 has the mask_policy native, not composite"),
    ],
)
def test_a_wrong_model_in_the_configuration_stops_the_start(tmp_path: Path, masks: str, complaint: str) -> None:
    done = Omixa(tmp_path, {"OMIXA_EMULATION_MASKS": masks}).run("models", "list")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_the_configuration_is_explained(tmp_path: Path) -> None:
    told = Omixa(tmp_path, {"OMIXA_EMULATION_MASKS": f"{MODEL}, "})("config", "check")
    assert "emulation.masks" in told
    assert MODEL in told
