"""AVIF from callers: its boxes are walked, its shape is that in which it is shown, and it comes out as a PNG."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import features

from omixa.imaging.codec import convert
from omixa.imaging.declared import load_file
from omixa.imaging.inputs import load_input
from omixa.imaging.inspect import UnacceptableImage, inspect
from tests.support.imagefiles import drawing, opened, saved

# Each test is skipped by itself: a whole module would be left out unseen where every test has to run.
pytestmark = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def avif(mode: str = "RGB", size: tuple[int, int] = (24, 16), **options: object) -> bytes:
    return saved(drawing(mode, size), "avif", **options)


def refusal(data: bytes) -> UnacceptableImage:
    with pytest.raises(UnacceptableImage) as caught:
        load_input(data)
    return caught.value


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


FILE_TYPE = box(b"ftyp", b"avif\0\0\0\0avifmif1")
WHOLE = avif()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_an_avif_comes_out_as_a_png(mode: str) -> None:
    data = avif(mode, quality=90)
    image = load_input(data)
    assert image.needs_decoding
    assert (image.info.format, image.info.size, image.info.has_alpha) == ("png", "24x16", mode == "RGBA")
    done = convert(image.data, format="png")
    assert (done.info.format, done.info.size, done.info.has_alpha) == ("png", "24x16", mode == "RGBA")
    assert load_file(data, "image/avif").info == image.info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_avif_comes_out_upright(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    # Its rotation and mirroring are boxes of their own, written by the encoder from this.
    data = avif(exif=exif.tobytes(), quality=100, subsampling="4:4:4")
    done = convert(data, format="png")
    assert done.info.size == load_input(data).info.size == ("24x16" if orientation < 5 else "16x24")
    upright = {1: (0, 0), 2: (23, 0), 3: (23, 15), 4: (0, 15), 5: (0, 0), 6: (0, 15), 7: (23, 15), 8: (23, 0)}
    expected = drawing().getpixel(upright[orientation])
    found = opened(bytes(done.data)).getpixel((0, 0))
    assert all(abs(one - other) < 12 for one, other in zip(found, expected, strict=True))


def test_a_film_is_refused() -> None:
    frames = [drawing(), drawing().rotate(90), drawing().rotate(180)]
    film = saved(frames[0], "avif", save_all=True, append_images=frames[1:])
    assert refusal(film).reason_code == "animated_image"


def test_providers_send_none() -> None:
    with pytest.raises(UnacceptableImage, match="the bytes are an AVIF"):
        inspect(WHOLE)


def test_every_prefix_is_refused() -> None:
    for length in range(len(WHOLE)):
        assert refusal(WHOLE[:length]).reason_code in ("truncated_image", "invalid_image", "unsupported_image_format")
    assert refusal(WHOLE[:-1]).reason_code == "truncated_image"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (WHOLE + b"PK\3\4" + bytes(30), "truncated_image"),
        (WHOLE + box(b"evil", b"<script>"), "unsupported_image_format"),
        (WHOLE + box(b"moov"), "animated_image"),
        (WHOLE + WHOLE[WHOLE.index(b"meta") - 4 :], "invalid_image"),
        (FILE_TYPE, "invalid_image"),
        (FILE_TYPE + box(b"meta", bytes(4)), "invalid_image"),
        (FILE_TYPE + box(b"free") * 1_001, "invalid_image"),
        (FILE_TYPE + b"\0\0\0\4meta", "invalid_image"),
        (FILE_TYPE + b"\0\0\0\1mdat" + b"\xff" * 8, "truncated_image"),
        (WHOLE.replace(b"ispe\0\0\0\0\0\0\0\x18\0\0\0\x10", b"ispe\0\0\0\0\0\0\0\0\0\0\0\x10"), "invalid_image"),
        (WHOLE.replace(b"ispe\0\0\0\0\0\0\0\x18\0\0\0\x10", b"ispe\0\0\0\0\0\1\0\0\0\1\0\0"), "image_too_large"),
        (WHOLE.replace(b"ispe\0\0\0\0\0\0\0\x18\0\0\0\x10", b"ispe\0\0\0\0\0\0\x18\0\0\0\0\x10"), "image_too_large"),
    ],
)
def test_broken_boxes_are_refused(data: bytes, code: str) -> None:
    assert refusal(data).reason_code == code


def test_pixels_of_another_size_come_out_as_large_as_the_boxes_say() -> None:
    lying = WHOLE.replace(b"ispe\0\0\0\0\0\0\0\x18\0\0\0\x10", b"ispe\0\0\0\0\0\0\0\x30\0\0\0\x10")
    assert load_input(lying).info.size == convert(lying, format="png").info.size == "48x16"


@given(st.data())
def test_flipped_bytes_are_described_or_refused(data: st.DataObject) -> None:
    broken = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        convert(load_input(bytes(broken)).data, format="png")
    except UnacceptableImage:
        return
