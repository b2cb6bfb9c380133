"""What a picture's structure says: whole pictures are described, everything else is refused with a sentence."""

from __future__ import annotations

import re
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image as Pillow

from omixa.imaging import jpeg as jpeg_limits
from omixa.imaging import png as png_limits
from omixa.imaging import webp as webp_limits
from omixa.imaging.inspect import MAX_INPUT_PIXELS, MAX_SIDE_PIXELS, UnacceptableImage, inspect
from omixa.imaging.png import check_png
from tests.support.imagefiles import (
    END,
    FORMATS,
    PIXELS,
    SCAN,
    canvas,
    chunk,
    drawing,
    encoded,
    frame,
    header,
    jpeg,
    lossless,
    png,
    riff,
    saved,
    segment,
    webp,
)


def refusal(data: bytes | memoryview, **options: int) -> UnacceptableImage:
    with pytest.raises(UnacceptableImage) as caught:
        inspect(data, **options)
    assert caught.value.message == str(caught.value)
    return caught.value


# --------------------------------------------------------------------------------------------------------- whole pictures


@pytest.mark.parametrize(
    ("data", "has_alpha"),
    [
        (encoded("png"), False),
        (encoded("png", "L"), False),
        (encoded("png", "1"), False),
        (encoded("png", "P"), False),
        (encoded("png", "P", transparency=0), True),
        (encoded("png", "RGB", transparency=(0, 0, 0)), True),
        (encoded("png", "LA"), True),
        (encoded("png", "RGBA"), True),
        (encoded("jpeg"), False),
        (encoded("jpeg", "L"), False),
        (encoded("jpeg", "CMYK"), False),
        (encoded("jpeg", progressive=True, exif=b"Exif\0\0" + bytes(500)), False),
        (encoded("jpeg", icc_profile=bytes(200_000)), False),
        (encoded("webp"), False),
        (encoded("webp", lossless=True), False),
        (encoded("webp", "RGBA"), True),
        (encoded("webp", "RGBA", lossless=True), True),
        (encoded("webp", icc_profile=b"profile"), False),
    ],
)
def test_whole_pictures_are_described(data: bytes, has_alpha: bool) -> None:
    info = inspect(data)
    assert (info.width, info.height, info.size, info.size_bytes) == (24, 16, "24x16", len(data))
    assert info.has_alpha is has_alpha
    assert inspect(memoryview(data)) == info


@given(st.sampled_from(FORMATS), st.integers(1, 200), st.integers(1, 200))
def test_the_size_is_the_size(format: str, width: int, height: int) -> None:
    info = inspect(saved(Pillow.new("RGB", (width, height)), format))
    assert (info.format, info.width, info.height) == (format, width, height)


def test_the_pictures_made_by_hand_are_accepted() -> None:
    assert inspect(png(header(), PIXELS, PIXELS, END)).format == "png"
    assert inspect(png(header(), chunk(b"tEXt", b"a\0b"), PIXELS, chunk(b"tIME", bytes(7)), END)).format == "png"
    assert inspect(png(header(colour=3), chunk(b"PLTE", bytes(3)), PIXELS, END)).format == "png"
    assert inspect(jpeg(frame(), SCAN)).format == "jpeg"
    assert inspect(jpeg(frame(), SCAN) + bytes(jpeg_limits.MAX_PADDING_BYTES - 2)).format == "jpeg"
    assert inspect(webp(lossless())).format == "webp"
    assert inspect(webp(canvas(flags=0x10), riff(b"EXIF", b"odd"), lossless())).has_alpha


# ---------------------------------------------------------------------------------------------------------------- pixels


def pixels_refusal(data: bytes) -> str:
    inspect(data)
    with pytest.raises(UnacceptableImage) as caught:
        check_png(data)
    assert caught.value.reason_code == "invalid_image"
    return caught.value.message


@given(
    st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA")), st.integers(1, 300), st.integers(1, 300), st.integers(0, 9)
)
def test_whole_pixels_are_accepted(mode: str, width: int, height: int, level: int) -> None:
    check_png(saved(drawing(mode, (width, height)), "png", compress_level=level))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_the_largest_picture_of_one_colour_is_accepted(mode: str) -> None:
    """Nothing compresses better, so the fewest bytes that a picture can have are enough."""
    check_png(saved(Pillow.new(mode, (7000, 7000)), "png", compress_level=9))


@given(st.data())
def test_every_flipped_bit_is_found(data: st.DataObject) -> None:
    """Of a structure that is still whole: checksums find what the structure does not."""
    broken = bytearray(encoded("png"))
    position = data.draw(st.integers(0, len(broken) - 1))
    broken[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(UnacceptableImage):
        inspected_and_checked(bytes(broken))


def inspected_and_checked(data: bytes) -> None:
    inspect(data)
    check_png(data)


def test_pixels_that_cannot_be_the_pictures_are_refused() -> None:
    few = zlib.compress(bytes(1000))
    assert "cannot be the pixels of 4000x4000" in pixels_refusal(png(header(4000, 4000), chunk(b"IDAT", few), END))
    for start in (b"", b"\x78", b"\x79\x9c", b"\x88\x1c", b"\x78\xbb", b"not deflate"):
        data = png(header(), chunk(b"IDAT", start), END)
        assert "are not compressed data" in pixels_refusal(data)


def test_a_zlib_header_may_lie_in_two_chunks() -> None:
    whole = zlib.compress(bytes(4))
    check_png(png(header(), chunk(b"IDAT", whole[:1]), chunk(b"IDAT"), chunk(b"IDAT", whole[1:]), END))


# ----------------------------------------------------------------------------------------------------------- cut and torn


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_every_prefix_is_refused(format: str, mode: str) -> None:
    data = encoded(format, mode if format != "jpeg" else "RGB")
    codes = {refusal(data[:length]).reason_code for length in range(len(data))}
    assert codes <= {"truncated_image", "unsupported_image_format", "invalid_image"}
    assert refusal(data[: len(data) // 2]).reason_code == "truncated_image"
    assert refusal(data[:-1]).reason_code == "truncated_image"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("tail", [b"\n", b"PK\x03\x04" + bytes(30), b"<script>alert(1)</script>"])
def test_a_tail_is_refused(format: str, tail: bytes) -> None:
    error = refusal(encoded(format) + tail)
    assert error.reason_code == "invalid_image"
    assert re.search(rf"is followed by {len(tail)} bytes", error.message)


@pytest.mark.parametrize("format", FORMATS)
@given(data=st.data())
def test_flipped_bytes_are_described_or_refused(format: str, data: st.DataObject) -> None:
    broken = bytearray(encoded(format))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    described_or_refused(bytes(broken))


@given(st.sampled_from((b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP")), st.binary(max_size=200))
@example(b"\xff\xd8\xff", b"\xd9")
@example(b"\xff\xd8\xff", b"\xe0\x00\x02\xff\xd9")
def test_any_bytes_are_described_or_refused(start: bytes, rest: bytes) -> None:
    described_or_refused(start + rest)


@given(
    st.lists(st.tuples(st.sampled_from((b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"xxXx")), st.binary(max_size=9)))
)
def test_any_chunks_are_described_or_refused(chunks: list[tuple[bytes, bytes]]) -> None:
    described_or_refused(png(header(), *(chunk(*one) for one in chunks)))
    described_or_refused(webp(*(riff(kind.replace(b"I", b"V"), data) for kind, data in chunks)))


def described_or_refused(data: bytes) -> None:
    try:
        info = inspect(data)
    except UnacceptableImage:
        return
    assert 0 < info.width * info.height <= MAX_INPUT_PIXELS


# --------------------------------------------------------------------------------------------------------------- too much


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png(header(0, 1), PIXELS, END), "invalid_image"),
        (png(header(2**31 - 1, 2**31 - 1), PIXELS, END), "image_too_large"),
        (png(header(60_000, 60_000), PIXELS, END), "image_too_large"),
        (png(header(1, MAX_INPUT_PIXELS), PIXELS, END), "image_too_large"),
        (png(header(1, MAX_SIDE_PIXELS + 1), PIXELS, END), "image_too_large"),
        (png(header(10_000, 5_001), PIXELS, END), "image_too_large"),
        (jpeg(frame(0, 1), SCAN), "invalid_image"),
        (jpeg(frame(1, 0), SCAN), "invalid_image"),
        (jpeg(frame(65_535, 65_535), SCAN), "image_too_large"),
        (webp(lossless(16_384, 16_384)), "image_too_large"),
    ],
)
def test_impossible_sizes_are_refused(data: bytes, code: str) -> None:
    assert refusal(data).reason_code == code


def test_the_limit_of_pixels_is_exact() -> None:
    assert inspect(png(header(10_000, 5_000), PIXELS, END)).size == "10000x5000"
    assert inspect(png(header(1, MAX_SIDE_PIXELS), PIXELS, END)).height == MAX_SIDE_PIXELS
    data = encoded("png", size=(10, 10))
    assert inspect(data, max_pixels=100).size == "10x10"
    assert "at most 99 pixels" in refusal(data, max_pixels=99).message


@pytest.mark.parametrize(
    "data",
    [
        png(header(), chunk(b"tEXt") * png_limits.MAX_CHUNKS, PIXELS, END),
        png(header(), PIXELS * png_limits.MAX_CHUNKS, END),
        jpeg(segment(0xFE, b"") * jpeg_limits.MAX_SEGMENTS, frame(), SCAN),
        webp(riff(b"EXIF", b"") * webp_limits.MAX_CHUNKS, lossless()),
    ],
)
def test_an_absurd_number_of_pieces_is_refused(data: bytes) -> None:
    assert "it has more than" in refusal(data).message


@pytest.mark.parametrize("format", ["png", "webp"])
def test_animations_are_refused(format: str) -> None:
    frames = [drawing(), drawing().rotate(90), drawing().rotate(180)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    assert refusal(data).reason_code == "animated_image"


def test_the_parts_of_an_animation_are_refused() -> None:
    assert refusal(png(header(), chunk(b"fcTL", bytes(26)), PIXELS, END)).reason_code == "animated_image"
    assert refusal(webp(canvas(flags=0x02), lossless())).reason_code == "animated_image"
    assert refusal(webp(riff(b"ANMF", bytes(16)), lossless())).reason_code == "animated_image"


# -------------------------------------------------------------------------------------------------------------------- lies


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (png(header()[:-1] + b"\x00", PIXELS, END), "the checksum of its header is wrong"),
        (png(PIXELS, header(), END), "does not begin with its header"),
        (png(header(depth=3), PIXELS, END), "values that no PNG has"),
        (png(header(depth=16, colour=3), PIXELS, END), "values that no PNG has"),
        (png(header(colour=5), PIXELS, END), "values that no PNG has"),
        (png(header(rest=b"\1\0\0"), PIXELS, END), "values that no PNG has"),
        (png(header(), END), "it holds no pixels"),
        (png(header(colour=3), PIXELS, END), "its palette is missing"),
        (png(header(), header(), PIXELS, END), "IHDR appears in two places"),
        (png(header(colour=3), chunk(b"PLTE", bytes(3)) * 2, PIXELS, END), "PLTE appears in two places"),
        (png(header(), PIXELS, chunk(b"tEXt", b"a\0b"), PIXELS, END), "IDAT appears in two places"),
        (png(header(), PIXELS, chunk(b"tRNS", bytes(6)), END), "tRNS comes after the pixels"),
        (png(header(), chunk(b"CgBI"), PIXELS, END), "uses the chunk CgBI, which is not supported"),
        (png(header(), b"\x00\x00\x00\x05" + PIXELS[4:], END), "there is no chunk at byte"),
        (png(header(), b"\x7f\xff\xff\xff" + PIXELS[4:], END), "its last chunk is incomplete"),
        (png(header(), b"\xff\xff\xff\xff" + PIXELS[4:], END), "there is no chunk at byte"),
        (png(header(), PIXELS), "it ends without its last chunk"),
        (jpeg(frame(), SCAN)[:-2], "its end marker is missing"),
        (jpeg(SCAN), "without a frame header"),
        (jpeg(frame()), "it ends before its pixels"),
        (jpeg(frame(), frame(2, 2), SCAN), "two frame headers"),
        (jpeg(frame(marker=0xC9), SCAN), "coding process C9, which is not supported"),
        (jpeg(frame(marker=0xC3), SCAN), "coding process C3, which is not supported"),
        (jpeg(frame(marker=0xC1, precision=12), SCAN), "12 bits"),
        (jpeg(segment(0xC0, b"\x08\0\x01\0\x01\x09" + bytes(27)), SCAN), "values that no JPEG has"),
        (jpeg(b"\xff\xe0\x00\x01", frame(), SCAN), "impossible length"),
        (jpeg(frame(), b"\xff\xe0\xff\xff", SCAN), "its last segment is incomplete"),
        (jpeg(b"\xff\xe0\x00\x02ab", frame(), SCAN), "there is no marker at byte 6"),
        (jpeg(b"\xff\xd0", frame(), SCAN), "marker D0 is misplaced"),
        (webp(), "it holds no pixels"),
        (webp(riff(b"VP8 ", b"")), "it ends in the middle of its structure"),
        (webp(riff(b"VP8 ", bytes(10))), "do not begin with a key frame"),
        (webp(riff(b"VP8 ", b"\xf0\xff\xff\x9d\x01\x2a\x01\x00\x01\x00")), "its pixels are incomplete"),
        (webp(riff(b"VP8L", bytes(5))), "do not begin with a lossless header"),
        (webp(lossless(), lossless()), "it holds two pictures"),
        (webp(canvas(2, 2), lossless()), "differ in size"),
        (webp(b"EXIF\xff\xff\x00\x00"), "its last chunk is incomplete"),
        (webp(lossless())[:-1], "its header says"),
    ],
)
def test_broken_structure_is_refused_with_its_reason(data: bytes, message: str) -> None:
    assert message in refusal(data).message


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (encoded("gif"), "a GIF"),
        (encoded("bmp"), "a BMP"),
        (encoded("tiff"), "a TIFF"),
        (encoded("ico"), "an icon file"),
        (b"\x00\x00\x00\x1cftypheic\0\0\0\0", "a HEIC"),
        (b"\x00\x00\x00\x1cftypisom\0\0\0\0", "a video"),
        (b"%PDF-1.7", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript file"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>', "an SVG"),
        (b"\n<!DOCTYPE html><title>502</title>", "an HTML page"),
        (b'<?xml version="1.0"?><error/>', "an XML document"),
        (b'{"error": {}}', "JSON"),
        (b"iVBORw0KGgoAAAANSUhEUg", "a PNG as base64 text"),
        (b"data:image/png;base64,", "the text of a data URL"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a RIFF file of another kind"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"hello", "of an unknown format"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    error = refusal(data)
    assert error.reason_code == "unsupported_image_format"
    assert f"the bytes are {name}" in error.message
