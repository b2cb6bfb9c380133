"""Pictures in data URLs: strict base64, the declared type, and refusals that say what to change."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.imaging.dataurl import decode_image_data_url, load_input_image
from omixa.imaging.inspect import UnacceptableImage, inspect
from tests.support.imagefiles import FORMATS, encoded

PNG = encoded("png")
PNG_TEXT = base64.b64encode(PNG).decode()


def refusal(url: bytes | str) -> UnacceptableImage:
    with pytest.raises(UnacceptableImage) as caught:
        load_input_image(url)
    return caught.value


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_comes_out_whole(format: str) -> None:
    data = encoded(format)
    url = f"data:image/{format};base64,{base64.b64encode(data).decode()}"
    for given_url in (url, url.encode(), memoryview(url.encode())):
        image = load_input_image(given_url)
        assert image.data == data
        assert image.info == inspect(data)


@pytest.mark.parametrize("head", ["DATA:IMAGE/PNG;BASE64,", "Data:Image/Png;Base64,"])
def test_scheme_and_type_may_be_in_capitals(head: str) -> None:
    assert decode_image_data_url(head + PNG_TEXT) == ("png", PNG)


def test_jpg_is_another_name_of_jpeg() -> None:
    assert decode_image_data_url("data:image/jpg;base64,QUJD") == ("jpeg", b"ABC")


@given(st.binary(max_size=200))
def test_any_bytes_come_back(data: bytes) -> None:
    assert decode_image_data_url(b"data:image/webp;base64," + base64.b64encode(data)) == ("webp", data)


@given(st.one_of(st.text(), st.binary()))
def test_anything_else_is_refused(url: bytes | str) -> None:
    for start in ("", "data:", "data:image/png;base64,"):
        whole = start + url if isinstance(url, str) else start.encode() + url
        assert refusal(whole).message


@pytest.mark.parametrize("url", ["http://a.example/cat.png", "https://a.example/cat.png", "HTTPS://A.EXAMPLE/CAT.PNG"])
def test_addresses_are_never_fetched(url: str) -> None:
    error = refusal(url)
    assert error.reason_code == "image_url_not_inline"
    assert "Omixa never fetches addresses" in error.message


@pytest.mark.parametrize(
    ("head", "code", "message"),
    [
        ("", "invalid_data_url", "given as a data URL"),
        ("file:///etc/passwd,", "invalid_data_url", "given as a data URL"),
        (" data:image/png;base64,", "invalid_data_url", "given as a data URL"),
        ("data:" + "x" * 300 + ",", "invalid_data_url", "given as a data URL"),
        ("data:image/png,", "invalid_data_url", "has nothing after its media type"),
        ("data:image/png;charset=utf-8;base64,", "invalid_data_url", "has ;charset=utf-8;base64 after"),
        ("data:image/png;base64;base64,", "invalid_data_url", "where only ;base64 may stand"),
        ("data:;base64,", "unsupported_image_format", "declares no media type"),
        ("data:text/html;base64,", "unsupported_image_format", "declares text/html"),
        ("data:image/svg+xml;base64,", "unsupported_image_format", "declares image/svg+xml"),
        (
            "data:image/gif;base64,",
            "unsupported_image_format",
            "accepted are image/png, image/jpeg, image/webp and image/avif",
        ),
        ("data:image/png ;base64,", "unsupported_image_format", "declares image/png "),
        ("data:image/\ud800;base64,", "unsupported_image_format", "declares image/"),
    ],
)
def test_wrong_heads_are_refused(head: str, code: str, message: str) -> None:
    error = refusal(head + PNG_TEXT)
    assert error.reason_code == code
    assert message in error.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("QUJ", "a multiple of four"),
        ("QQ==QQ==", "wrongly padded"),
        ("====", "wrongly padded"),
        ("QUJD\n", "blanks or line breaks"),
        ("QUJD QUJD", "blanks or line breaks"),
        ("Q_-D", "the URL-safe alphabet"),
        ("QUJD%3D", "percent-encoded"),
        ("QUJ\u00e9", "characters that are not in its alphabet"),
        ("QUJ\ud800", "characters that are not in its alphabet"),
        ("QUJ\0", "characters that are not in its alphabet"),
    ],
)
def test_base64_is_taken_strictly(text: str, message: str) -> None:
    error = refusal("data:image/png;base64," + text)
    assert error.reason_code == "invalid_base64"
    assert message in error.message


def test_the_bytes_must_be_of_the_declared_type() -> None:
    error = refusal("data:image/webp;base64," + PNG_TEXT)
    assert error.reason_code == "image_type_mismatch"
    assert "declares image/webp" in error.message
    assert "bytes are image/png" in error.message


def test_the_picture_must_be_whole() -> None:
    cut = base64.b64encode(PNG[:-3]).decode()
    assert refusal("data:image/png;base64," + cut).reason_code == "truncated_image"
    assert "the bytes are empty" in refusal("data:image/png;base64,").message
