"""The model that comes with Omixa: the same with test and live keys, without any account."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from PIL import Image, ImageChops, ImageStat

from omixa.domain.access import Mode
from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import Workers
from tests.support.document import Document, events
from tests.support.footprint import money
from tests.support.pictures import decoded, picture, reference
from tests.support.servers import Gateway, running_gateway
from tests.support.workers import hold, release

MODEL = "omixa-illustrator-1"
API = "/api/v1"
CREATE = f"{API}/images/generations"
PROMPT = "Two red foxes in a snowy forest at night"
PRICE = "0.002000"
DOLLARS_10 = 10_000_000


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without any provider configured, as it is after its installation."""
    with running_gateway(tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture(params=["test", "live"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def client(alone: Gateway, workspace: str, mode: Mode) -> Iterator[httpx.Client]:
    """A client with ten dollars of real or play money."""
    alone.grant(DOLLARS_10, mode="live", workspace=workspace)
    with alone.client(alone.key(mode, workspace)) as client:
        yield client


@pytest.fixture
def own_client(alone: Gateway, workspace: str) -> Iterator[httpx.Client]:
    """A client with a live key and ten dollars."""
    alone.grant(DOLLARS_10, workspace=workspace)
    with alone.client(alone.key("live", workspace)) as client:
        yield client


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": PROMPT, **fields}


def make(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json=body(**fields))
    assert answer.status_code == 200, answer.text[:500]
    made: dict[str, Any] = answer.json()
    return made


def distance(one: Image.Image, other: Image.Image) -> float:
    """Return how far two pictures are apart, from 0 to 255, at the size of the first."""
    resized = other.convert("RGB").resize(one.size, Image.Resampling.BOX)
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), resized)).mean) / 3


def opened(encoded: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))


# -------------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("size", ["1024x1024", "1024x1536", "1536x1024"])
def test_every_size_is_drawn_natively(client: httpx.Client, document: Document, mode: Mode, size: str) -> None:
    answer = client.post(CREATE, json=body(size=size))
    document.check(answer)
    made = answer.json()
    width, height = map(int, size.split("x"))
    assert decoded(made).size == (width, height)
    omixa = made["omixa"]
    assert (omixa["provider"], omixa["route"], omixa["simulated"]) == ("embedded", f"embedded/{MODEL}", False)
    assert (omixa["mode"], omixa["emulated"], omixa["ignored_parameters"]) == (mode, [], [])
    assert (made["usage"]["billed_amount"], made["usage"]["images"], made["usage"]["usage_estimated"]) == (
        PRICE,
        1,
        False,
    )
    assert made["usage"]["output_tokens"] == width * height // 1024
    assert [(line["component"], line["quantity"]) for line in omixa["line_items"]] == [("image", 1)]


def test_the_price_is_charged_and_the_estimate_told_it(
    own_client: httpx.Client, alone: Gateway, workspace: str, document: Document
) -> None:
    told = own_client.post(f"{API}/images/estimate", json=body(n=3))
    document.check(told)
    assert told.json()["expected"]["amount"] == told.json()["ceiling"]["amount"] == "0.006000"
    made = make(own_client, n=3)
    assert made["usage"]["billed_amount"] == "0.006000"
    assert money(alone, workspace, "live") == (DOLLARS_10 - 6000, 0)
    receipt = own_client.get(f"{API}/requests/{made['omixa']['request_id']}/receipt")
    document.check(receipt)


def test_the_pictures_of_a_request_differ_and_the_same_request_gives_the_same_bytes(own_client: httpx.Client) -> None:
    first, second = make(own_client, n=2), make(own_client, n=2)
    assert first["data"] == second["data"]
    assert distance(decoded(first, 0), decoded(first, 1)) > 4
    assert make(own_client)["data"][0] == first["data"][0]


@pytest.mark.parametrize("output_format", ["png", "webp"])
@pytest.mark.parametrize("prompt", ["a red fox", "a lake at sunset", "a glass dashboard", "nothing known: xyzzy"])
def test_a_transparent_background_has_real_alpha(own_client: httpx.Client, output_format: str, prompt: str) -> None:
    made = make(own_client, prompt=prompt, background="transparent", output_format=output_format)
    assert (made["background"], made["output_format"]) == ("transparent", output_format)
    alpha = decoded(made).getchannel("A")
    assert alpha.getextrema() == (0, 255)
    assert alpha.getpixel((0, 0)) == alpha.getpixel((1023, 1023)) == 0
    histogram = alpha.histogram()
    assert sum(histogram[1:255]) > 0
    # The drawing takes up much of the picture.
    left, top, right, bottom = alpha.getbbox() or (0, 0, 0, 0)
    assert max(right - left, bottom - top) > 800


def test_an_opaque_picture_hides_everything(own_client: httpx.Client) -> None:
    made = make(own_client)
    assert made["background"] == "opaque"
    assert decoded(made).convert("RGBA").getchannel("A").getextrema() == (255, 255)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"background": "transparent", "output_format": "jpeg"}, "invalid_value", "background"),
        ({"partial_images": 4, "stream": True}, "invalid_value", "partial_images"),
        ({"input_images": [reference(width=64, height=64)] * 17}, "invalid_value", "input_images"),
    ],
    ids=str,
)
def test_what_it_cannot_do_is_refused(
    own_client: httpx.Client, document: Document, fields: dict[str, Any], code: str, param: str
) -> None:
    answer = own_client.post(CREATE, json=body(**fields))
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)


# ----------------------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_an_edit_keeps_the_size_of_its_picture_and_follows_the_words(
    client: httpx.Client, document: Document, format: Any
) -> None:
    shown = reference(format, 600, 400)
    answer = client.post(CREATE, json=body(prompt="make it night", input_images=[shown]))
    document.check(answer)
    before = opened(shown["image_url"]["url"].partition(",")[2])
    after = decoded(answer.json())
    assert after.size == before.size == (600, 400)
    assert sum(ImageStat.Stat(after.convert("L")).mean) < 0.7 * sum(ImageStat.Stat(before.convert("L")).mean)
    usage = answer.json()["usage"]
    assert (usage["billed_amount"], usage["input_tokens_details"]["image_tokens"]) == (PRICE, 235)


def test_other_words_make_other_edits(own_client: httpx.Client) -> None:
    prompts = ("make it night", "black and white", "add a balloon", "put it in a forest", 'write "Hello"')
    edits = [decoded(make(own_client, prompt=prompt, input_images=[reference()])) for prompt in prompts]
    assert min(distance(a, b) for k, a in enumerate(edits) for b in edits[k + 1 :]) > 2


def test_several_pictures_are_set_side_by_side_in_their_order(own_client: httpx.Client) -> None:
    plain = [_plain(colour) for colour in ("#ff0000", "#00ff00", "#0000ff")]
    one_way = decoded(make(own_client, prompt="combine them", size="1536x1024", input_images=plain))
    other_way = decoded(make(own_client, prompt="combine them", size="1536x1024", input_images=plain[::-1]))
    for merged, order in ((one_way, "rgb"), (other_way, "bgr")):
        pixels = [merged.convert("RGB").getpixel((x, y)) for y in range(0, 1024, 16) for x in range(0, 1536, 16)]
        seen = [
            "rgb"[pixel.index(255)] for pixel in pixels if isinstance(pixel, tuple) and sorted(pixel) == [0, 0, 255]
        ]
        assert "".join(dict.fromkeys(seen)) == order
    most = make(own_client, prompt="combine them", input_images=plain * 5 + plain[:1])
    assert most["usage"]["billed_amount"] == PRICE


def _plain(colour: str) -> str:
    stream = io.BytesIO()
    Image.new("RGB", (300, 200), colour).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def test_a_huge_picture_is_scaled_down_and_a_thin_one_is_no_line(own_client: httpx.Client) -> None:
    huge = make(own_client, prompt="night", input_images=[reference("jpeg", 6000, 4000)])
    width, height = decoded(huge).size
    assert width * height <= 4_194_304
    assert width / height == pytest.approx(1.5, abs=0.01)
    assert decoded(make(own_client, prompt="night", input_images=[reference("png", 2000, 20)])).size == (256, 64)


def test_a_damaged_picture_is_the_callers_fault_and_costs_nothing(
    own_client: httpx.Client, alone: Gateway, workspace: str, document: Document
) -> None:
    whole = base64.b64decode(reference("jpeg", 64, 64)["image_url"]["url"].partition(",")[2])
    damaged = base64.b64encode(whole[:200] + bytes(len(whole) - 202) + whole[-2:]).decode()
    answer = own_client.post(CREATE, json=body(input_images=[f"data:image/jpeg;base64,{damaged}"]))
    document.check(answer)
    assert answer.status_code == 400
    assert money(alone, workspace, "live") == (DOLLARS_10, 0)


# --------------------------------------------------------------------------------------------------------------- previews


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_previews_come_ever_closer_to_the_picture(client: httpx.Client, document: Document, number: int) -> None:
    answer = client.post(CREATE, json=body(stream=True, partial_images=number))
    document.check(answer)
    *previews, last = events(answer.text)
    assert [event["type"] for event in previews] == ["image_generation.partial_image"] * number
    assert [event["partial_image_index"] for event in previews] == list(range(number))
    assert {event["size"] for event in previews} <= {"512x512"}
    assert last["type"] == "image_generation.completed"
    assert (last["usage"]["billed_amount"], last["omixa"]["ignored_parameters"]) == (PRICE, [])
    assert last["b64_json"] == make(client)["data"][0]["b64_json"]
    finished = opened(last["b64_json"])
    distances = [distance(opened(event["b64_json"]), finished) for event in previews]
    assert distances == sorted(distances, reverse=True)
    assert len(set(distances)) == number
    assert all(0 < apart < 30 for apart in distances)


def test_previews_of_an_edit(own_client: httpx.Client, document: Document) -> None:
    fields = body(prompt="add a dragon", stream=True, partial_images=2, input_images=[reference()])
    answer = own_client.post(CREATE, json=fields)
    document.check(answer)
    types = [event["type"] for event in events(answer.text)]
    assert types == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]


def test_previews_without_a_stream_are_named_as_ignored(own_client: httpx.Client) -> None:
    assert make(own_client, partial_images=2)["omixa"]["ignored_parameters"] == ["partial_images"]


# ---------------------------------------------------------------------------------------------------------------- clients


def test_the_openai_client_finds_the_model_generates_edits_and_streams(
    alone: Gateway, workspace: str, mode: Mode
) -> None:
    alone.grant(DOLLARS_10, mode="live", workspace=workspace)
    with (
        httpx.Client(trust_env=False, verify=False, timeout=60) as transport,
        openai.OpenAI(
            base_url=alone.api, api_key=alone.key(mode, workspace), max_retries=0, http_client=transport
        ) as client,
    ):
        assert client.models.retrieve(MODEL).owned_by == "embedded"
        made = client.images.generate(model=MODEL, prompt=PROMPT, background="transparent", size="1024x1536")
        assert made.background == "transparent"
        assert made.data is not None
        assert opened(str(made.data[0].b64_json)).size == (1024, 1536)
        files = [("fox.png", picture("png", 300, 200)), ("owl.jpg", picture("jpeg", 300, 200))]
        merged = client.images.edit(model=MODEL, image=files, prompt="side by side in a forest", size="1536x1024")
        assert merged.data is not None
        assert opened(str(merged.data[0].b64_json)).size == (1536, 1024)
        stream = client.images.generate(model=MODEL, prompt=PROMPT, stream=True, partial_images=2)
        assert [event.type for event in stream] == [
            "image_generation.partial_image",
            "image_generation.partial_image",
            "image_generation.completed",
        ]


def test_the_model_says_what_it_is_and_can(own_client: httpx.Client, document: Document) -> None:
    answer = own_client.get(f"{API}/models/{MODEL}")
    document.check(answer)
    model = answer.json()
    assert "not a neural network" in model["description"]
    assert model["prices"]["image"] == PRICE
    capabilities = model["capabilities"]
    assert (capabilities["transparency"], capabilities["edits"], capabilities["masks"]) == (True, True, True)
    assert capabilities["max_input_images"] == 16


# --------------------------------------------------------------------------------------------------------------- the pool


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with two workers and room for one picture that waits."""
    with Workers(2, waiting=1) as workers, running_gateway(tmp_path, own_workers=workers) as running:
        yield running


@pytest.fixture
def buyer(small: Gateway, workspace: str) -> Iterator[httpx.Client]:
    small.grant(DOLLARS_10, workspace=workspace)
    with small.client(small.key("live", workspace)) as client:
        yield client


def test_a_full_pool_is_a_clear_503_that_costs_nothing(
    small: Gateway, buyer: httpx.Client, workspace: str, document: Document
) -> None:
    held = small.call(lambda _: hold(small.workers, 2))

    async def wait_in_line(_: object) -> asyncio.Future[bytes]:
        waiting = asyncio.ensure_future(small.workers.finished(Illustrator, Commission("a fox", (64, 64))))
        await asyncio.sleep(0)
        return waiting

    waiting = small.call(wait_in_line)
    answer = buyer.post(CREATE, json=body())
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
    assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")
    # The simulator paints with the same workers.
    with small.client(small.key("test", workspace)) as tester:
        simulated = tester.post(CREATE, json=body(model="MAI-Image-2.5"))
    assert (simulated.status_code, simulated.headers["retry-after"]) == (503, "2")
    assert money(small, workspace, "live") == (DOLLARS_10, 0)
    release(held)
    small.call(lambda _: asyncio.wait([waiting, *(one.picture for one in held)]))
    assert make(buyer)["usage"]["billed_amount"] == PRICE


def test_a_killed_worker_fails_one_request_costs_nothing_and_is_replaced(
    small: Gateway, buyer: httpx.Client, workspace: str, document: Document
) -> None:
    with ThreadPoolExecutor(1) as thread:
        (held,) = small.call(lambda _: hold(small.workers, 1))
        asked = thread.submit(
            buyer.post, CREATE, json=body(prompt="a whale", input_images=[reference("jpeg", 6000, 6000)])
        )
        (pid,) = small.call(lambda _: other_process(small.workers, held.pid))
        os.kill(pid, signal.SIGKILL)
        answer = asked.result()
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_failed")
    assert answer.headers["x-should-retry"] == "true"
    assert money(small, workspace, "live") == (DOLLARS_10, 0)
    release([held])
    small.call(lambda _: asyncio.wait([held.picture]))
    assert not held.picture.exception()
    assert make(buyer)["usage"]["billed_amount"] == PRICE
    (attempt,) = buyer.get(f"{API}/requests/{answer.headers['x-request-id']}").json()["attempts"]
    assert attempt["outcome"] == "engine_failed"


async def other_process(workers: Workers, known: int) -> list[int]:
    """Wait for the second worker, which begins when it is needed."""
    while len(workers.pids) < 2:  # noqa: ASYNC110 - processes have no event
        await asyncio.sleep(0.01)
    return sorted(workers.pids - {known})
