"""Merging: several pictures in one request, whose order means something and each of which stands on the receipt."""

from __future__ import annotations

from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageStat

from omixa.domain.images import share_tokens
from tests.support.document import Document, events
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.imagefiles import saved
from tests.support.pictures import data_url, decoded, picture, reference
from tests.support.servers import Gateway

ILLUSTRATOR, FOUNDRY = "omixa-illustrator-1", "MAI-Image-2.5"
API = "/api/v1"
CREATE, EDIT = f"{API}/images/generations", f"{API}/images/edits"


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    """A client with a test key, each answer of which is held against the document."""
    test_client.event_hooks["response"] = [document.check]
    return test_client


def merge(client: httpx.Client, *pictures: str, prompt: str = "combine them", **fields: Any) -> dict[str, Any]:
    body = {"model": ILLUSTRATOR, "prompt": prompt, "input_images": list(pictures), **fields}
    answer = client.post(CREATE, json=body)
    assert answer.status_code == 200, answer.text[:500]
    value: dict[str, Any] = answer.json()
    return value


def plain(colour: str, width: int = 300, height: int = 200) -> str:
    return data_url(saved(Image.new("RGB", (width, height), colour), "png"))


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("number", [2, 3, 9, 16])
def test_up_to_sixteen_pictures_are_merged(client: httpx.Client, number: int) -> None:
    colours = [f"#{16 * k + 7:02x}ff00" for k in range(number)]
    made = merge(client, *(plain(colour) for colour in colours))
    seen = decoded(made).convert("RGB").getcolors(1 << 20)
    assert seen is not None
    shown = {colour for _, colour in seen}
    assert {(16 * k + 7, 255, 0) for k in range(number)} <= shown
    assert [image["size"] for image in made["omixa"]["input_images"]] == ["300x200"] * number


@pytest.mark.parametrize(("model", "most"), [(ILLUSTRATOR, 16), (FOUNDRY, 1)])
@pytest.mark.parametrize("stream", [False, True])
def test_each_model_has_its_own_limit(client: httpx.Client, model: str, most: int, stream: bool) -> None:
    shown = reference(width=1024, height=1024)
    body = {"model": model, "prompt": "combine them", "input_images": [shown] * (most + 1), "stream": stream}
    error = client.post(CREATE, json=body).json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", "input_images")
    assert f"{model} takes at most {most}" in error["message"]
    assert client.get(f"{API}/models/{model}").json()["limits"]["max_input_images"] == most


# --------------------------------------------------------------------------------------------------------------- order


def test_the_order_decides_where_pictures_stand(client: httpx.Client) -> None:
    red, green, blue = plain("#ff0000"), plain("#00ff00"), plain("#0000ff")
    for pictures, order in (((red, green, blue), "rgb"), ((blue, green, red), "bgr"), ((green, red, blue), "grb")):
        assert _seen(decoded(merge(client, *pictures, size="1536x1024"))) == order


def _seen(merged: Image.Image) -> str:
    """Return the pure colours of a picture in reading order."""
    rgb = merged.convert("RGB")
    pixels = [rgb.getpixel((x, y)) for y in range(0, rgb.height, 16) for x in range(0, rgb.width, 16)]
    pure = ["rgb"[one.index(255)] for one in pixels if isinstance(one, tuple) and sorted(one) == [0, 0, 255]]
    return "".join(dict.fromkeys(pure))


def test_a_form_keeps_the_order_of_its_parts(client: httpx.Client) -> None:
    texts = [part("model", ILLUSTRATOR), part("prompt", "combine them"), part("size", "1536x1024")]
    red, blue = (saved(Image.new("RGB", (300, 200), colour), "png") for colour in ("#ff0000", "#0000ff"))
    for files, order in (((red, blue), "rb"), ((blue, red), "br")):
        parts = [part("image[]", data, f"{number}.png") for number, data in enumerate(files)]
        answer = client.post(EDIT, content=form(*texts, *parts), headers={"content-type": CONTENT_TYPE})
        assert _seen(decoded(answer.json())) == order


@pytest.mark.parametrize("prompt", ["on a beach at sunset", "black and white", 'write "Hello"', "with two foxes"])
def test_a_merge_follows_the_words(client: httpx.Client, prompt: str) -> None:
    shown = [data_url(picture("png", 300, 200)), data_url(picture("png", 200, 300))]
    usual, asked = (decoded(merge(client, *shown, prompt=one)).convert("RGB") for one in ("combine them", prompt))
    assert sum(ImageStat.Stat(ImageChops.difference(usual, asked)).mean) / 3 > 3


# ------------------------------------------------------------------------------------------------------------- receipt


def test_the_receipt_lists_each_picture_with_its_pixels_and_tokens(client: httpx.Client) -> None:
    sizes = [(640, 480), (300, 200), (1000, 1000)]
    formats: list[Any] = ["png", "jpeg", "webp"]
    shown = [reference(kind, *size)["image_url"]["url"] for kind, size in zip(formats, sizes, strict=True)]
    made = merge(client, *shown, n=2)
    expected = [
        {"format": kind, "size": f"{width}x{height}", "pixels": width * height, "tokens": -(-width * height // 1024)}
        for kind, (width, height) in zip(formats, sizes, strict=True)
    ]
    omixa = made["omixa"]
    assert omixa["input_images"] == expected
    for usage in omixa["usage_by_image"]:
        assert usage["input_tokens_details"]["image_tokens"] == sum(image["tokens"] for image in expected)
    path = f"{API}/requests/{omixa['request_id']}/receipt"
    assert client.get(path).json()["input_images"] == expected
    text = client.get(path, params={"format": "text"}).text
    assert "Pictures that were given" in text
    assert "1,000,000" in text
    assert client.get(path, params={"format": "pdf"}).content.startswith(b"%PDF")


def test_a_picture_that_the_provider_scales_counts_what_the_provider_says(client: httpx.Client) -> None:
    body = {"model": FOUNDRY, "prompt": "night", "input_images": [reference(width=1200, height=1500)]}
    omixa = client.post(CREATE, json=body).json()["omixa"]
    (image,) = omixa["input_images"]
    assert (image["pixels"], image["tokens"]) == (
        1_800_000,
        omixa["usage_by_image"][0]["input_tokens_details"]["image_tokens"],
    )


def test_a_new_picture_and_a_failure_list_what_was_given(client: httpx.Client, gateway: Gateway) -> None:
    new = client.post(CREATE, json={"model": ILLUSTRATOR, "prompt": "a fox"}).json()["omixa"]
    assert new["input_images"] == []
    assert "Pictures" not in client.get(
        f"{API}/requests/{new['request_id']}/receipt", params={"format": "text"}
    ).text.replace("Delivered", "")


def test_the_last_event_of_a_stream_lists_them_too(client: httpx.Client) -> None:
    shown = [plain("#ff0000"), plain("#0000ff")]
    body = {"model": ILLUSTRATOR, "prompt": "combine them", "input_images": shown, "stream": True}
    last = events(client.post(CREATE, json=body).text)[-1]
    assert [image["tokens"] for image in last["omixa"]["input_images"]] == [59, 59]


@given(st.lists(st.integers(1, 50_000_000), min_size=1, max_size=16), st.integers(0, 10**6))
def test_shares_add_up(pixels: list[int], total: int) -> None:
    shares = share_tokens(pixels, total)
    assert sum(shares) == total
    assert min(shares) >= 0
    tiles = [-(-count // 1024) for count in pixels]
    assert share_tokens(pixels, sum(tiles)) == tiles


# ------------------------------------------------------------------------------------------------------------- cut-outs


def cut_out(colour: str, width: int = 200, height: int = 300) -> str:
    """Return a disc of one colour on nothing."""
    image = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((20, 20, width - 20, height - 20), fill=colour)
    return data_url(saved(image, "png"))


def reach(merged: Image.Image, channel: int) -> tuple[int, int, int, int]:
    """Return the box in which one channel outshines the others by far."""
    channels = merged.convert("RGB").split()
    others = ImageChops.lighter(*(channels[other] for other in range(3) if other != channel))
    box = ImageChops.subtract(channels[channel], others).point([0] * 100 + [255] * 156).getbbox()
    assert box is not None
    return box


def test_cut_outs_stand_in_the_first_picture_in_their_order(client: httpx.Client) -> None:
    ground, red, blue = plain("#a0a0a0", 900, 600), cut_out("#ff2020"), cut_out("#2020ff")
    merged = decoded(merge(client, ground, red, blue, prompt="put them together"))
    swapped = decoded(merge(client, ground, blue, red, prompt="put them together"))
    assert merged.size == swapped.size == (900, 600)
    assert reach(merged, 0)[2] < reach(merged, 2)[0]
    assert reach(swapped, 2)[2] < reach(swapped, 0)[0]
    assert merged.convert("RGB").getpixel((450, 20)) == (160, 160, 160)
    assert reach(merged, 0)[3] > 500


@pytest.mark.parametrize(("words", "side"), [("on the left", 0), ("on the right", 1)])
def test_words_say_where_a_cut_out_stands(client: httpx.Client, words: str, side: int) -> None:
    merged = decoded(merge(client, plain("#a0a0a0", 900, 600), cut_out("#ff2020"), prompt=f"put it {words}"))
    left, _, right, _ = reach(merged, 0)
    assert ((left + right) / 2 > 450) == bool(side)


def test_words_lift_a_cut_out_and_light_the_whole(client: httpx.Client) -> None:
    given = plain("#a0a0a0", 900, 600), cut_out("#ff2020")
    standing, flying, night = (
        decoded(merge(client, *given, prompt=prompt)) for prompt in ("here", "in the sky", "here at night")
    )
    assert reach(flying, 0)[3] < reach(standing, 0)[3]
    assert sum(ImageStat.Stat(night.convert("L")).mean) < 0.8 * sum(ImageStat.Stat(standing.convert("L")).mean)


def test_a_whole_picture_among_cut_outs_is_set_beside_them(client: httpx.Client) -> None:
    merged = decoded(merge(client, plain("#00ff00"), cut_out("#ff2020"), plain("#0000ff"), size="1536x1024"))
    # Green is no ground for the others: all are prints of the same kind.
    left, top, right, bottom = reach(merged, 1)
    assert (right - left) * (bottom - top) < merged.width * merged.height / 2
    assert reach(merged, 2)[2] - reach(merged, 2)[0] == pytest.approx(right - left, abs=2)
