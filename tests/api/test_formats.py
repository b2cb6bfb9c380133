"""What leaves the house and what comes back: formats, metadata and Content Credentials, with a provider that remembers."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image as Pillow
from PIL import ImageCms

from omixa.domain.images import MEDIA_TYPES
from omixa.imaging.inspect import inspect
from tests.support.document import Document, events
from tests.support.faults import MODEL, FaultyGateway, running_faulty_gateway
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.imagefiles import FORMATS, chunk, encoded, opened, saved, with_credentials
from tests.support.pictures import data_url, picture
from tests.support.servers import Simulator

EDIT, CREATE = "/api/v1/images/edits", "/api/v1/images/generations"
SECRET = b"the place where I live"
USAGE = {"num_output_tokens": 1024, "num_input_text_tokens": 4, "num_input_image_tokens": 1024}


@pytest.fixture(scope="module")
def faulty(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyGateway]:
    """A gateway whose provider answers what a test says, and remembers what it was sent."""
    with running_faulty_gateway(tmp_path_factory.mktemp("formats"), foundry) as running:
        running.router.use(running.deployment("raw", "simulator://raw"))
        running.raw.body = answer_with(picture())
        yield running
        assert running.findings() == []


@pytest.fixture
def client(faulty: FaultyGateway, workspace: str, document: Document) -> Iterator[httpx.Client]:
    """A client with ten dollars, each answer of which is held against the document."""
    faulty.gateway.grant(10_000_000, workspace=workspace)
    with faulty.gateway.client(faulty.gateway.key("live", workspace)) as opened_client:
        opened_client.event_hooks["response"] = [document.check]
        yield opened_client


def answer_with(png: bytes) -> bytes:
    """Return a provider's answer."""
    return json.dumps({"data": [{"b64_json": base64.b64encode(png).decode()}], "usage": USAGE}).encode()


def edit(client: httpx.Client, data: bytes, media_type: str = "image/png", **texts: str) -> httpx.Response:
    fields = {"model": MODEL, "prompt": "At night", **texts}
    body = form(*(part(*field) for field in fields.items()), part("image", data, "a", media_type))
    return client.post(EDIT, content=body, headers={"content-type": CONTENT_TYPE})


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json={"model": MODEL, "prompt": "A kite", **fields})
    assert answer.status_code == 200, answer.text[:500]
    value: dict[str, Any] = answer.json()
    return value


def sent(faulty: FaultyGateway) -> bytes:
    """Return the picture that the provider was sent last."""
    head, _, rest = faulty.raw.received.partition(b'name="image"; filename=')
    boundary = head[: head.index(b"\r\n")]
    return rest.partition(b"\r\n\r\n")[2].rpartition(b"\r\n" + boundary + b"--")[0]


def exif(orientation: int) -> bytes:
    data = Pillow.Exif()
    data[0x010E], data[0x0112] = SECRET.decode(), orientation
    return data.tobytes()


# ------------------------------------------------------------------------------------------------- what leaves the house


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_a_clean_picture_leaves_as_it_came(client: httpx.Client, faulty: FaultyGateway, format: str) -> None:
    data = encoded(format, size=(64, 64))
    assert edit(client, data, MEDIA_TYPES[format]).status_code == 200
    assert sent(faulty) == data


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_metadata_stay_in_the_house_and_every_pixel_leaves(
    client: httpx.Client, faulty: FaultyGateway, format: str
) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(format, size=(64, 48), exif=exif(1), xmp=SECRET, comment=SECRET, icc_profile=profile)
    data = with_credentials(format, data)
    assert edit(client, data, MEDIA_TYPES[format]).status_code == 200
    leaving = sent(faulty)
    assert SECRET in data
    assert SECRET not in leaving
    assert not inspect(leaving).has_credentials
    assert opened(leaving).tobytes() == opened(data).tobytes()
    assert not {"exif", "xmp", "comment", "icc_profile"} & set(opened(leaving).info)


@pytest.mark.parametrize("format", [*FORMATS, "avif"])
def test_a_photograph_from_a_phone_leaves_upright_and_in_srgb(
    client: httpx.Client, faulty: FaultyGateway, format: str
) -> None:
    swapped = (
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        .replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
    )  # fmt: skip
    red = Pillow.new("RGB", (90, 60), (255, 0, 0))
    data = saved(red, format, exif=exif(6), icc_profile=swapped, xmp=SECRET)
    assert edit(client, data, f"image/{format}").status_code == 200
    leaving = opened(sent(faulty))
    assert leaving.size == (60, 90)
    assert leaving.format == ("JPEG" if format == "jpeg" else "PNG")
    assert SECRET not in sent(faulty)
    pixel = leaving.getpixel((30, 30))
    assert pixel[2] > 200 > 60 > pixel[0]


def test_the_shape_of_a_picture_is_that_of_it_upright(client: httpx.Client) -> None:
    lying = encoded("jpeg", size=(96, 64), exif=exif(8))
    assert edit(client, lying, "image/jpeg", size="1024x1536").status_code == 200
    refused = edit(client, lying, "image/jpeg", size="1536x1024")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "size")
    assert "64x96" in refused.json()["error"]["message"]


def test_pixels_that_cannot_be_decoded_are_refused_with_their_place_and_cost_nothing(
    client: httpx.Client, faulty: FaultyGateway
) -> None:
    whole = encoded("jpeg", size=(64, 64), exif=exif(3))
    # Without its tables, a decoder makes nothing of the pixels.
    damaged = whole.replace(b"\xff\xdb", b"\xff\xfe")
    before, calls = faulty.request_count(), faulty.raw.calls
    in_json = {"model": MODEL, "prompt": "At night", "images": [{"image_url": data_url(damaged, "image/jpeg")}]}
    for place, answer in (
        ("image", edit(client, damaged, "image/jpeg")),
        ("images[0]", client.post(EDIT, json=in_json)),
    ):
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_image", place)
        assert error["message"].startswith(f"{place}: the picture cannot be decoded")
    assert (faulty.request_count(), faulty.raw.calls) == (before, calls)


# ----------------------------------------------------------------------------------------------------- Content Credentials


def test_credentials_of_a_provider_come_through_untouched(client: httpx.Client, faulty: FaultyGateway) -> None:
    signed = with_credentials("png", picture())
    faulty.raw.body = answer_with(signed)
    made = create(client, n=2)
    assert made["omixa"]["provenance"] == ["kept", "kept"]
    assert [base64.b64decode(one["b64_json"]) for one in made["data"]] == [signed, signed]
    again = client.get(f"/api/v1/requests/{made['omixa']['request_id']}/result").json()
    assert again == made


@pytest.mark.parametrize(
    "fields",
    [{"output_format": "jpeg"}, {"output_format": "webp"}, {"size": "1024x1536"}],
    ids=["jpeg", "webp", "size"],
)
def test_credentials_that_a_conversion_loses_are_told_of(
    client: httpx.Client, faulty: FaultyGateway, fields: dict[str, str]
) -> None:
    painted = picture("png", 832, 1248) if "size" in fields else picture()
    faulty.raw.body = answer_with(with_credentials("png", painted))
    made = create(client, **fields)
    assert made["omixa"]["provenance"] == ["lost"]
    assert not inspect(base64.b64decode(made["data"][0]["b64_json"])).has_credentials


@pytest.mark.parametrize(
    "extra", [b"", chunk(b"caBX", b"no box at all"), chunk(b"caBX", bytes(40)), chunk(b"tEXt", b"c2pa\0jumb")]
)
def test_a_picture_without_credentials_is_told_of_too(
    client: httpx.Client, faulty: FaultyGateway, extra: bytes
) -> None:
    plain = picture()
    faulty.raw.body = answer_with(plain[:33] + extra + plain[33:])
    assert create(client)["omixa"]["provenance"] == ["none"]
    assert create(client, output_format="jpeg")["omixa"]["provenance"] == ["none"]


def test_a_stream_tells_of_credentials_with_its_last_picture(client: httpx.Client, faulty: FaultyGateway) -> None:
    faulty.raw.body = answer_with(with_credentials("png", picture()))
    answer = client.post(CREATE, json={"model": MODEL, "prompt": "A kite", "n": 2, "stream": True})
    first, last = events(answer.text)
    assert "provenance" not in first["omixa"]
    assert last["omixa"]["provenance"] == ["kept", "kept"]


@pytest.mark.parametrize("format", FORMATS)
def test_credentials_are_seen_in_every_format(format: str) -> None:
    data = encoded(format)
    assert not inspect(data).has_credentials
    signed = with_credentials(format, data)
    assert inspect(signed).has_credentials
    assert Pillow.open(io.BytesIO(signed)).size == (24, 16)
