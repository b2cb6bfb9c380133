"""Masks: an edit changes only what is fully transparent in them, in every form in which clients send them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
from PIL import Image, ImageDraw

from omixa.imaging.codec import convert
from tests.support.document import Document, events
from tests.support.footprint import footprint
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.imagefiles import opened, saved
from tests.support.pictures import data_url, decoded, distance_within, mask, outside, picture, reference
from tests.support.servers import Gateway

ILLUSTRATOR = "omixa-illustrator-1"
API = "/api/v1"
CREATE, EDIT = f"{API}/images/generations", f"{API}/images/edits"
WIDTH, HEIGHT = 300, 200
BOX = (60, 40, 220, 150)
MASK = mask(WIDTH, HEIGHT, BOX)
PROMPT = "add a red fox"


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    """A client with a test key, each answer of which is held against the document."""
    test_client.event_hooks["response"] = [document.check]
    return test_client


def body(**fields: Any) -> dict[str, Any]:
    shown = reference(width=WIDTH, height=HEIGHT)
    return {"model": ILLUSTRATOR, "prompt": PROMPT, "input_images": [shown], "mask": data_url(MASK), **fields}


def before() -> Image.Image:
    return Image.open(io.BytesIO(picture(width=WIDTH, height=HEIGHT)))


def made(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text[:500]
    return decoded(answer.json())


def error_of(answer: httpx.Response) -> str:
    error = answer.json()["error"]
    return f"{answer.status_code} {error['code']} {error['param'] or '-'}"


# ---------------------------------------------------------------------------------------------------------- every form


def test_all_forms_of_a_mask_are_one_request(client: httpx.Client) -> None:
    url, shown = data_url(MASK), picture(width=WIDTH, height=HEIGHT)
    edit = {"model": ILLUSTRATOR, "prompt": PROMPT, "images": [{"image_url": data_url(shown)}]}
    parts = [part("model", ILLUSTRATOR), part("prompt", PROMPT), part("image", shown, "a.png", "image/png")]
    forms = [form(*parts, part("mask", MASK, "mask.png", media_type)) for media_type in ("image/png", None)]
    answers = [
        client.post(CREATE, json=body()),
        client.post(CREATE, json=body(mask={"type": "image_url", "image_url": {"url": url}})),
        client.post(CREATE, json=body(mask={"image_url": url})),
        client.post(EDIT, json={**edit, "mask": {"image_url": url}}),
        client.post(EDIT, json={**edit, "mask": url}),
        *(client.post(EDIT, content=text, headers={"content-type": CONTENT_TYPE}) for text in forms),
    ]
    pictures = [made(answer) for answer in answers]
    assert len({answer.json()["data"][0]["b64_json"] for answer in answers}) == 1
    assert pictures[0].size == (WIDTH, HEIGHT)
    assert {answer.json()["omixa"]["operation"] for answer in answers} == {"edit"}


def test_another_mask_is_another_request(client: httpx.Client) -> None:
    headers = {"idempotency-key": "the-same-key"}
    assert client.post(CREATE, json=body(), headers=headers).status_code == 200
    other = client.post(CREATE, json=body(mask=data_url(mask(WIDTH, HEIGHT, (0, 0, 9, 9)))), headers=headers)
    assert error_of(other) == "422 idempotency_mismatch Idempotency-Key"


def test_the_record_of_a_request_says_that_there_was_a_mask(client: httpx.Client) -> None:
    request_id = client.post(CREATE, json=body()).headers["x-request-id"]
    parameters = client.get(f"{API}/requests/{request_id}").json()["parameters"]
    assert parameters["mask"] == {"format": "png", "size": f"{WIDTH}x{HEIGHT}", "size_bytes": len(MASK)}


def test_the_official_client_sends_a_mask(gateway: Gateway, workspace: str) -> None:
    with (
        httpx.Client(trust_env=False, verify=False, timeout=60) as transport,
        openai.OpenAI(
            base_url=gateway.api, api_key=gateway.key("test", workspace), max_retries=0, http_client=transport
        ) as official,
    ):
        files = {"image": ("a.png", picture(width=WIDTH, height=HEIGHT)), "mask": ("m.png", MASK)}
        answer = official.images.edit(model=ILLUSTRATOR, prompt=PROMPT, **files)  # type: ignore[call-overload]
    after = decoded(answer.model_dump())
    assert outside(before(), after, MASK) == 0
    assert distance_within(before(), after, MASK) > 3


# -------------------------------------------------------------------------------------------------------- to the pixel


@pytest.mark.parametrize(
    "prompt",
    [
        "remove the stain",
        "replace the stain with a red fox",
        "add two balloons",
        "paint it red",
        "make it night",
        "black and white",
        "a beach at sunset",
        "a glass dashboard",
        "let it rain",
        'write "HELLO"',
        "xyzzy plugh",
    ],
)
def test_nothing_changes_outside_the_mask_and_something_inside(client: httpx.Client, prompt: str) -> None:
    stained = _stained()
    fields = body(prompt=prompt, input_images=[data_url(saved(stained, "png"))])
    after = made(client.post(CREATE, json=fields))
    assert (after.mode, after.size) == ("RGB", stained.size)
    assert outside(stained, after, MASK) == 0
    assert distance_within(stained, after, MASK) > 3


def _stained() -> Image.Image:
    """Return a gradient with a dark stain in the middle of the mask."""
    stained = before().convert("RGB")
    left, top, right, bottom = BOX
    ImageDraw.Draw(stained).ellipse((left + 30, top + 20, right - 30, bottom - 20), fill="#200810")
    return stained


def test_what_is_removed_is_filled_from_its_surroundings(client: httpx.Client) -> None:
    fields = body(prompt="remove the stain", input_images=[data_url(saved(_stained(), "png"))])
    after = made(client.post(CREATE, json=fields))
    assert distance_within(before(), after, MASK) < 0.2 * distance_within(before(), _stained(), MASK)


def test_what_is_removed_becomes_transparent_on_a_transparent_background(client: httpx.Client) -> None:
    clear = before().convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 40, HEIGHT))
    shown = data_url(saved(clear, "png"))
    fields = body(prompt="erase it", background="transparent", input_images=[shown])
    after = made(client.post(CREATE, json=fields))
    assert after.mode == "RGBA"
    assert outside(clear, after, MASK) == 0
    middle = (BOX[0] + BOX[2]) // 2, (BOX[1] + BOX[3]) // 2
    assert after.getpixel(middle)[3] == 0  # type: ignore[index]


def test_other_words_fill_the_mask_in_other_ways(client: httpx.Client) -> None:
    prompts = ("add a fox", "make it night", "a forest", "paint it red", 'write "Hi"')
    edits = [made(client.post(CREATE, json=body(prompt=prompt))) for prompt in prompts]
    assert min(distance_within(a, b, MASK) for k, a in enumerate(edits) for b in edits[k + 1 :]) > 2


def test_only_full_transparency_lets_something_change(client: httpx.Client) -> None:
    veiled = Image.open(io.BytesIO(MASK))
    veiled.paste((0, 0, 0, 1), (60, 40, 140, 150))
    text = saved(veiled, "png")
    after = made(client.post(CREATE, json=body(prompt="paint it red", mask=data_url(text))))
    assert outside(before(), after, text) == 0
    assert after.getpixel((100, 90)) == before().getpixel((100, 90))
    assert after.getpixel((190, 90)) != before().getpixel((190, 90))


def test_another_size_changes_nothing_outside_what_is_fitted_into_it(client: httpx.Client) -> None:
    """At another size the picture is resampled first; an edit that only touches a corner shows what it becomes."""
    corner = mask(WIDTH, HEIGHT, (0, 0, 30, 20))
    one, other = (
        made(client.post(CREATE, json=body(prompt="paint it red", size="1536x1024", mask=data_url(text))))
        for text in (corner, mask(WIDTH, HEIGHT, BOX))
    )
    assert one.size == (1536, 1024)
    both = mask(1536, 1024, (0, 0, 160, 110), (305, 200, 1130, 770))
    assert outside(one, other, both) == 0
    assert distance_within(one, other, mask(1536, 1024, (400, 300, 1000, 700))) > 3


def test_further_pictures_are_set_into_the_mask_in_their_order(client: httpx.Client) -> None:
    red, blue = (data_url(saved(Image.new("RGB", (80, 80), colour), "png")) for colour in ("#ff0000", "#0000ff"))
    shown = reference(width=WIDTH, height=HEIGHT)
    first, swapped = (
        made(client.post(CREATE, json=body(prompt="show these", input_images=[shown, *others])))
        for others in ((red, blue), (blue, red))
    )
    for after, left, right in ((first, (255, 0, 0), (0, 0, 255)), (swapped, (0, 0, 255), (255, 0, 0))):
        assert outside(before(), after, MASK) == 0
        assert (after.getpixel((100, 95)), after.getpixel((180, 95))) == (left, right)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_mask_fits_the_picture_as_it_is_shown(client: httpx.Client, format: str) -> None:
    exif = Image.Exif()
    exif[274] = 6  # the right side of what is stored is the bottom
    shown = data_url(saved(before().convert("RGB"), format, exif=exif), f"image/{format.lower()}")
    upright = mask(HEIGHT, WIDTH, (50, 60, 150, 220))
    assert made(client.post(CREATE, json=body(input_images=[shown], mask=data_url(upright)))).size == (HEIGHT, WIDTH)
    refused = client.post(CREATE, json=body(input_images=[shown]))
    assert error_of(refused) == "400 mask_size_mismatch mask"


def test_a_picture_with_another_profile_stays_what_it_shows(client: httpx.Client) -> None:
    photograph = (Path(__file__).parent.parent / "photographs" / "rocket.jpg").read_bytes()
    text = mask(640, 427, (420, 105, 472, 427))
    fields = body(prompt="paint it red", input_images=[data_url(photograph, "image/jpeg")], mask=data_url(text))
    after = made(client.post(CREATE, json=fields))
    assert outside(opened(bytes(convert(photograph, format="png").data)), after, text) == 0


def test_a_large_picture_is_scaled_down_with_its_mask(client: httpx.Client) -> None:
    shown, text = reference("jpeg", 3000, 2000), mask(3000, 2000, (500, 500, 1500, 1500))
    after = made(client.post(CREATE, json=body(prompt="paint it red", input_images=[shown], mask=data_url(text))))
    assert 4_100_000 < after.width * after.height <= 4_194_304


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0, 99, WIDTH, 100), (0, 0, WIDTH, HEIGHT)])
@pytest.mark.parametrize("prompt", ["remove it", "add a fox", "a forest in the rain"])
def test_any_mask_can_be_filled(client: httpx.Client, box: tuple[int, int, int, int], prompt: str) -> None:
    text = mask(WIDTH, HEIGHT, box)
    after = made(client.post(CREATE, json=body(prompt=prompt, mask=data_url(text))))
    assert outside(before(), after, text) == 0


# -------------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("previews", [0, 2])
def test_a_stream_ends_with_the_same_picture(client: httpx.Client, previews: int) -> None:
    answer = client.post(CREATE, json=body(stream=True, partial_images=previews))
    *early, last = events(answer.text)
    assert [event["type"] for event in early] == ["image_edit.partial_image"] * previews
    assert last["type"] == "image_edit.completed"
    assert last["b64_json"] == client.post(CREATE, json=body()).json()["data"][0]["b64_json"]


# ------------------------------------------------------------------------------------------------------------- refusals


def _plain(mode: str, **options: Any) -> str:
    return data_url(saved(Image.new(mode, (WIDTH, HEIGHT)), "png", **options))


def _turned_webp() -> str:
    """Return a WebP that EXIF says is upside down, so that it has to be decoded."""
    exif = Image.Exif()
    exif[274] = 3
    return data_url(saved(Image.open(io.BytesIO(MASK)), "webp", exif=exif), "image/webp")


def _damaged() -> bytes:
    place = MASK.index(b"IDAT") + 8
    return MASK[:place] + bytes(20) + MASK[place + 20 :]


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("no picture", {"input_images": []}, "400 invalid_value mask"),
    ("another size", {"mask": data_url(mask(HEIGHT, WIDTH, BOX))}, "400 mask_size_mismatch mask"),
    ("one pixel more", {"mask": data_url(mask(WIDTH + 1, HEIGHT, BOX))}, "400 mask_size_mismatch mask"),
    ("no alpha channel", {"mask": _plain("RGB")}, "400 mask_without_alpha mask"),
    ("grey without alpha", {"mask": _plain("L")}, "400 mask_without_alpha mask"),
    ("nothing transparent", {"mask": data_url(mask(WIDTH, HEIGHT))}, "400 mask_without_alpha mask"),
    ("damaged pixels", {"mask": data_url(_damaged())}, "400 invalid_image mask"),
    ("a JPEG", {"mask": reference("jpeg", WIDTH, HEIGHT)}, "400 unsupported_image_format mask"),
    ("a WebP", {"mask": reference("webp", WIDTH, HEIGHT)}, "400 unsupported_image_format mask"),
    ("a WebP that is to be decoded", {"mask": _turned_webp()}, "400 unsupported_image_format mask"),
    ("cut short", {"mask": data_url(MASK[:-9])}, "400 truncated_image mask"),
    ("another type", {"mask": data_url(MASK, "image/jpeg")}, "400 image_type_mismatch mask"),
    ("an address on the web", {"mask": "https://example.com/mask.png"}, "400 image_url_not_inline mask"),
    ("a file id", {"mask": {"file_id": "file-abc"}}, "400 unsupported_value mask.file_id"),
    ("an empty object", {"mask": {}}, "400 invalid_type mask"),
    ("a list", {"mask": [data_url(MASK)]}, "400 invalid_type mask"),
    ("a number", {"mask": 1}, "400 invalid_type mask"),
    ("an unknown field", {"mask": {"image_url": data_url(MASK), "detail": 1}}, "400 unknown_parameter mask"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "expected"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_a_wrong_mask_is_refused_and_leaves_nothing(
    client: httpx.Client, gateway: Gateway, fields: dict[str, Any], expected: str, stream: bool
) -> None:
    untouched = footprint(gateway)
    answer = client.post(CREATE, json=body(**fields, stream=stream))
    assert error_of(answer) == expected, answer.text
    assert footprint(gateway) == untouched


FAULTY_FORMS: list[tuple[str, list[bytes], str]] = [
    ("a mask as text", [part("mask", data_url(MASK))], "400 invalid_type mask"),
    ("two masks", [part("mask", MASK, "a.png"), part("mask", MASK, "b.png")], "400 invalid_value mask"),
    ("an empty mask", [part("mask", b"", "a.png", "image/png")], "400 unsupported_image_format mask"),
    ("a mask of another size", [part("mask", mask(9, 9, (0, 0, 5, 5)), "a.png")], "400 mask_size_mismatch mask"),
]


@pytest.mark.parametrize(
    ("parts", "expected"), [case[1:] for case in FAULTY_FORMS], ids=[case[0] for case in FAULTY_FORMS]
)
def test_a_wrong_mask_of_a_form_is_refused(client: httpx.Client, parts: list[bytes], expected: str) -> None:
    texts = [part("model", ILLUSTRATOR), part("prompt", PROMPT)]
    whole = form(*texts, part("image", picture(width=WIDTH, height=HEIGHT), "a.png"), *parts)
    assert error_of(client.post(EDIT, content=whole, headers={"content-type": CONTENT_TYPE})) == expected


def test_a_mask_without_a_picture_names_the_field_of_the_route(client: httpx.Client) -> None:
    answer = client.post(CREATE, json=body(input_images=None))
    assert "give it in input_images" in answer.json()["error"]["message"]
