"""Pictures of callers: without metadata to the byte where nothing else must change, and strict about what they hold."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from omixa.imaging import inputs as limits
from omixa.imaging import jpeg as jpeg_limits
from omixa.imaging.codec import convert
from omixa.imaging.exif import read_orientation
from omixa.imaging.inputs import load_input
from omixa.imaging.inspect import UnacceptableImage, examine, inspect
from omixa.imaging.profile import MAX_PROFILE_BYTES, is_srgb
from tests.support.imagefiles import (
    END,
    FORMATS,
    SCAN,
    chunk,
    drawing,
    encoded,
    frame,
    header,
    jpeg,
    lossless,
    opened,
    png,
    riff,
    saved,
    segment,
    webp,
)

SECRET = b"the place where I live"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FULL = {"png": ("1", "L", "LA", "P", "RGB", "RGBA"), "jpeg": ("L", "RGB"), "webp": ("RGB", "RGBA")}
EVERY_MODE = [(kind, mode) for kind, modes in FULL.items() for mode in modes]


def exif(orientation: int = 1) -> bytes:
    data = Pillow.Exif()
    data[0x010E] = SECRET.decode()
    data[0x0112] = orientation
    return data.tobytes()


def annotated(format: str, mode: str = "RGB", **options: object) -> bytes:
    """Return a picture with every kind of metadata that its format has."""
    given = {"exif": exif(), "icc_profile": SRGB, "xmp": b"<x:xmpmeta>" + SECRET + b"</x:xmpmeta>", "comment": SECRET}
    if mode == "L":
        # A profile of three colours does not fit.
        del given["icc_profile"]
    return encoded(format, mode, **{**given, **options})


def refusal(data: bytes) -> UnacceptableImage:
    with pytest.raises(UnacceptableImage) as caught:
        load_input(data)
    return caught.value


# ---------------------------------------------------------------------------------------------------------- without metadata


@pytest.mark.parametrize(("format", "mode"), EVERY_MODE)
def test_a_picture_without_metadata_is_passed_on_as_it_is(format: str, mode: str) -> None:
    data = encoded(format, mode)
    image = load_input(data)
    assert image.data is data
    assert image.info == inspect(data)
    assert not image.needs_decoding


@pytest.mark.parametrize(("format", "mode"), EVERY_MODE)
def test_metadata_is_cut_out_and_every_pixel_stays(format: str, mode: str) -> None:
    data = annotated(format, mode)
    assert SECRET in data
    image = load_input(data)
    assert not image.needs_decoding
    assert SECRET not in image.data
    assert image.info == inspect(image.data)
    assert load_input(bytes(image.data)).data == image.data
    before, after = opened(data), opened(bytes(image.data))
    assert (before.mode, before.size, before.tobytes()) == (after.mode, after.size, after.tobytes())
    assert not {"exif", "xmp", "comment", "icc_profile", "photoshop"} & set(after.info)


@given(st.sampled_from(EVERY_MODE), st.integers(1, 90), st.integers(1, 90), st.integers(0, 100))
def test_pixels_stay_at_every_size_and_quality(kind: tuple[str, str], width: int, height: int, quality: int) -> None:
    data = annotated(*kind, size=(width, height), quality=quality, progressive=quality % 2 == 1)
    assert opened(bytes(load_input(data).data)).tobytes() == opened(data).tobytes()


def test_lossless_and_transparent_webps_keep_their_pixels() -> None:
    for options in ({"lossless": True}, {"quality": 30, "alpha_quality": 40}, {"lossless": True, "exact": True}):
        data = annotated("webp", "RGBA", **options)
        image = load_input(data)
        assert image.info.has_alpha
        assert opened(bytes(image.data)).tobytes() == opened(data).tobytes()


def test_the_thumbnail_of_a_jpeg_and_the_pictures_behind_it_are_left_out() -> None:
    plain = encoded("jpeg", size=(40, 40))
    thumbnail = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\x02\x02" + SECRET[:12])
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01" + SECRET)
    with_thumbnail = plain[:2] + thumbnail + adobe + plain[20:] + bytes(7) + annotated("jpeg")
    image = load_input(with_thumbnail)
    assert not image.needs_decoding
    assert SECRET not in image.data
    assert SECRET[:12] not in image.data
    assert opened(bytes(image.data)).tobytes() == opened(plain).tobytes()


def test_pictures_of_several_pictures_become_their_first() -> None:
    buffer = io.BytesIO()
    drawing().save(buffer, "MPO", save_all=True, append_images=[drawing().rotate(180)])
    image = load_input(buffer.getvalue())
    assert opened(bytes(image.data)).format == "JPEG"
    assert opened(bytes(image.data)).tobytes() == opened(buffer.getvalue()).tobytes()


@pytest.mark.parametrize(
    "tail", [b"\0\0\0\x18ftypmp42" + bytes(12) + SECRET, SECRET + b"SEFH" + bytes(20) + b"SEFT", bytes(3) + b"xSEFT"]
)
def test_what_cameras_write_behind_a_jpeg_is_left_out(tail: bytes) -> None:
    plain = encoded("jpeg")
    assert load_input(plain + tail).data == plain
    assert load_input(annotated("jpeg") + plain + tail).data == load_input(annotated("jpeg")).data
    if tail.endswith(b"SEFT"):
        assert "is followed by" in refusal(plain + tail + b"\n").message


def test_metadata_behind_the_pixels_are_left_out() -> None:
    plain = encoded("png")
    data = plain[:-12] + chunk(b"tEXt", b"Comment\0" + SECRET) + chunk(b"eXIf", exif()[6:]) + END
    assert load_input(data).data == plain


def test_text_that_would_inflate_to_megabytes_is_never_inflated() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    plain = encoded("png")
    assert load_input(plain[:33] + bomb + plain[33:]).data == plain


# -------------------------------------------------------------------------------------------------- what needs the pixels


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_that_lies_on_its_side_needs_decoding(format: str, orientation: int) -> None:
    data = encoded(format, exif=exif(orientation))
    image = load_input(data)
    assert image.needs_decoding
    assert image.data is data
    done = convert(data, format=image.info.format)
    assert (done.info.width, done.info.height) == (image.info.width, image.info.height)
    if format == "png":
        corner = {2: (23, 0), 3: (23, 15), 4: (0, 15), 5: (0, 0), 6: (0, 15), 7: (23, 15), 8: (23, 0)}[orientation]
        assert opened(bytes(done.data)).getpixel((0, 0)) == drawing().getpixel(corner)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_is_turned(mode: str) -> None:
    picture = drawing("L").convert("I;16") if mode == "I;16" else drawing(mode)
    data = saved(picture, "png", exif=exif(6))
    turned = opened(bytes(convert(data, format="png").data))
    plain = opened(bytes(convert(saved(picture, "png"), format="png").data))
    assert turned.tobytes() == plain.transpose(Pillow.Transpose.ROTATE_270).tobytes()


def test_print_colours_and_other_profiles_need_decoding() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000)).tobytes()
    assert load_input(encoded("jpeg", "CMYK")).needs_decoding
    for kind in FORMATS:
        assert load_input(encoded(kind, icc_profile=lab)).needs_decoding
        assert load_input(encoded(kind, icc_profile=b"no profile")).needs_decoding
        assert not load_input(encoded(kind, icc_profile=SRGB)).needs_decoding


def test_a_profile_in_several_segments_is_put_together_by_its_numbers() -> None:
    plain = encoded("jpeg")
    parts = [segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, 3)) + SRGB[n * 200 : n * 200 + 200]) for n in range(3)]
    data = plain[:20] + parts[2] + parts[0] + parts[1] + plain[20:]
    assert not load_input(data).needs_decoding
    assert opened(bytes(load_input(data).data)).tobytes() == opened(plain).tobytes()


# ------------------------------------------------------------------------------------------------------------- orientation


@given(
    st.dictionaries(st.sampled_from((0x010E, 0x010F, 0x0110, 0x0131, 0x013B)), st.text("abc", max_size=30)),
    st.integers(1, 8),
    st.sampled_from(("<", ">")),
)
def test_the_orientation_is_found_among_other_entries(texts: dict[int, str], orientation: int, order: str) -> None:
    data = Pillow.Exif()
    data.endian = order
    for tag, text in texts.items():
        data[tag] = text
    data[0x0112] = orientation
    assert read_orientation(memoryview(data.tobytes())[6:]) == orientation


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0",
        b"II*\0\x08\0\0\0\xff\xff",
        b"XX*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x02\0\0\0\x06\0\0\0",
    ],
)
def test_exif_that_cannot_be_read_leaves_a_picture_upright(data: bytes) -> None:
    assert read_orientation(memoryview(data)) == 1


@given(st.sampled_from((b"", b"II*\0", b"MM\0*\0\0\0\x08")), st.binary(max_size=60))
def test_any_exif_gives_an_orientation(start: bytes, rest: bytes) -> None:
    assert read_orientation(memoryview(start + rest)) in range(1, 9)


# ----------------------------------------------------------------------------------------------------------------- profiles


def profile(space: bytes = b"RGB ", **tags: bytes) -> bytes:
    """Return a profile with these tags."""
    table, data = b"", b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name.encode().ljust(4) + struct.pack(">II", start + len(data), len(content))
        data += content
    return bytes(16) + space + bytes(16) + b"acsp" + bytes(88) + struct.pack(">I", len(tags)) + table + data


def xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(65_536 * value) for value in values))


def curve(*values: int) -> bytes:
    return b"curv" + bytes(4) + struct.pack(f">I{len(values)}H", len(values), *values)


def parametric(kind: int, *values: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(f">HH{len(values)}i", kind, 0, *(round(65_536 * v) for v in values))


def srgb_table(length: int) -> bytes:
    places = (index / (length - 1) for index in range(length))
    return curve(*(round(65_535 * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)) for v in places))


PRIMARIES = {
    "rXYZ": xyz(0.4361, 0.2225, 0.0139),
    "gXYZ": xyz(0.3851, 0.7169, 0.0971),
    "bXYZ": xyz(0.1431, 0.0606, 0.7141),
}
# Display P3's, under D50.
WIDE = {
    "rXYZ": xyz(0.5151, 0.2412, -0.0011),
    "gXYZ": xyz(0.2920, 0.6922, 0.0419),
    "bXYZ": xyz(0.1571, 0.0666, 0.7841),
}
PARAMETRIC = parametric(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def curves(one: bytes) -> dict[str, bytes]:
    return {"rTRC": one, "gTRC": one, "bTRC": one}


@pytest.mark.parametrize(
    ("data", "same"),
    [
        (SRGB, True),
        (profile(**PRIMARIES, **curves(PARAMETRIC)), True),
        (profile(**PRIMARIES, **curves(srgb_table(1024))), True),
        (profile(**PRIMARIES, **curves(parametric(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0))), True),
        (profile(**PRIMARIES, **curves(curve(round(2.2 * 256)))), False),
        (profile(**PRIMARIES, **curves(curve())), False),
        (profile(**PRIMARIES, **curves(parametric(0, 2.2))), False),
        (profile(**WIDE, **curves(PARAMETRIC)), False),
        (profile(**PRIMARIES, **curves(PARAMETRIC), A2B0=b"table"), False),
        (profile(**PRIMARIES), False),
        (profile(**curves(PARAMETRIC)), False),
        (profile(b"GRAY", kTRC=srgb_table(256)), True),
        (profile(b"GRAY", kTRC=curve(round(1.8 * 256))), False),
        (profile(b"GRAY"), False),
        (profile(b"CMYK", A2B0=b"table"), False),
        (SRGB[:300], False),
        (b"", False),
    ],
)
def test_srgb_is_known_by_what_it_computes(data: bytes, same: bool) -> None:
    assert is_srgb(data) is same


@given(st.data())
def test_flipped_bytes_of_a_profile_give_an_answer(data: st.DataObject) -> None:
    broken = bytearray(SRGB)
    for _ in range(data.draw(st.integers(1, 6))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    assert is_srgb(bytes(broken)) in (True, False)


# ------------------------------------------------------------------------------------------------------------------- limits


def test_metadata_have_a_limit() -> None:
    plain = encoded("png")
    room = limits.MAX_METADATA_BYTES - 12
    fits = plain[:33] + chunk(b"tEXt", b"a\0" + bytes(room - 2)) + plain[33:]
    assert load_input(fits).data == plain
    error = refusal(plain[:33] + chunk(b"tEXt", b"a\0" + bytes(room - 1)) + plain[33:])
    assert error.reason_code == "image_too_large"
    assert "bytes of metadata" in error.message
    chunks = encoded("jpeg")[:2] + segment(0xE1, bytes(65_000)) * 70 + encoded("jpeg")[2:]
    assert "bytes of metadata" in refusal(chunks).message
    assert "bytes of metadata" in refusal(webp(lossless(), riff(b"XMP ", bytes(5_000_000)))).message


def test_an_inflated_profile_has_a_limit() -> None:
    plain = encoded("png")
    bomb = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(MAX_PROFILE_BYTES + 1), 9))
    assert "colour profile is over" in refusal(plain[:33] + bomb + plain[33:]).message


def test_a_profile_that_cannot_be_inflated_is_left_out() -> None:
    plain = encoded("png")
    assert load_input(plain[:33] + chunk(b"iCCP", b"x\0\0no zlib") + plain[33:]).data == plain


@pytest.mark.parametrize("format", FORMATS)
def test_threads_are_refused(format: str) -> None:
    assert load_input(encoded(format, size=(limits.MAX_SIDE_RATIO, 1))).info.height == 1
    for size in ((limits.MAX_SIDE_RATIO + 1, 1), (1, limits.MAX_SIDE_RATIO + 1)):
        assert "times the shorter one" in refusal(encoded(format, size=size)).message


def test_more_bytes_than_the_pixels_can_need_are_refused() -> None:
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)) + bytes(limits.SPARE_BYTES + 100))
    for data in (
        png(header(), pixels, END),
        jpeg(frame(), SCAN + bytes(limits.SPARE_BYTES + 100)),
        webp(riff(b"VP8L", lossless()[8:] + bytes(limits.SPARE_BYTES + 100))),
    ):
        assert "more than its 1x1 pixels can need" in refusal(data).message


def test_pixels_of_a_png_are_checked() -> None:
    few = png(header(4000, 4000), chunk(b"IDAT", zlib.compress(bytes(1000))), END)
    assert "cannot be the pixels of 4000x4000" in refusal(few).message
    broken = bytearray(encoded("png"))
    broken[60] ^= 1
    assert "checksum" in refusal(bytes(broken)).message


# -------------------------------------------------------------------------------------------------- the whole of a JPEG


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg(frame(), SCAN) + b"PK\3\4 archive \xff\xd9", "is followed by 15 bytes"),
        (jpeg(frame(), SCAN) + bytes(9) + b"<script>\xff\xd9", "is followed by 10 bytes"),
        (jpeg(frame(), SCAN) + jpeg(frame(), SCAN)[:-2], "its end marker is missing"),
        (jpeg(frame(), SCAN) + jpeg(frame(), SCAN) + b"tail", "is followed by 4 bytes"),
        (jpeg(frame(), SCAN) * (jpeg_limits.MAX_FURTHER_PICTURES + 2), "further pictures follow"),
        (jpeg(frame(), SCAN * (jpeg_limits.MAX_SCANS + 1)), "more than 100 scans"),
        (jpeg(frame(), SCAN, b"\xff\xd8"), "marker D8 is misplaced"),
        (jpeg(frame(), SCAN, frame()), "two frame headers"),
        (jpeg(frame(), SCAN, segment(0xFE, b"x") + b"junk"), "there is no marker at byte"),
    ],
)
def test_a_jpeg_is_walked_to_its_end(data: bytes, message: str) -> None:
    assert message in refusal(data).message


def test_the_scans_of_a_large_jpeg_are_bounded_together() -> None:
    assert examine(jpeg(frame(7_000, 7_000, 0xC2), SCAN * 20))[0].size == "7000x7000"
    assert "has 21 scans of 7000x7000 pixels" in refusal(jpeg(frame(7_000, 7_000, 0xC2), SCAN * 21)).message


def test_what_a_jpeg_may_have_between_its_scans_is_accepted() -> None:
    pixels = b"\xff\x00\xff\xd0\xff\xd7\xff\xff"
    scans = [SCAN + pixels + segment(0xC4, bytes(17))] * jpeg_limits.MAX_SCANS
    for data in (jpeg(frame(), *scans), jpeg(frame(), SCAN) * (jpeg_limits.MAX_FURTHER_PICTURES + 1)):
        assert examine(data)[0].size == "1x1"


def test_pixels_are_searched_across_the_pieces_of_a_search() -> None:
    for length in range((1 << 20) - 8, (1 << 20) + 8):
        assert inspect(jpeg(frame(), SCAN + bytes(length))).format == "jpeg"
