"""Converting pictures: exact sizes, upright, sRGB, no metadata; broken bytes raise one kind of error."""

from __future__ import annotations

import functools
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms

from omixa.imaging.codec import convert
from omixa.imaging.inspect import UnacceptableImage, inspect
from tests.support.imagefiles import END, FORMATS, PIXELS, chunk, drawing, encoded, header, opened, png, saved


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("size", [None, (24, 16), (48, 20), (5, 7), (1, 1)])
def test_every_format_becomes_every_format(source: str, target: str, size: tuple[int, int] | None) -> None:
    image = convert(encoded(source), format=target, size=size)
    assert image.info == inspect(image.data)
    assert (image.info.format, image.info.width, image.info.height) == (target, *(size or (24, 16)))
    assert opened(image.data).mode == "RGB"


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("target", FORMATS)
def test_every_mode_of_a_png_is_read(mode: str, target: str) -> None:
    picture = drawing("L").convert("I;16") if mode == "I;16" else drawing(mode)
    image = convert(saved(picture, "png"), format=target)
    assert image.info.has_alpha is (mode in ("LA", "RGBA") and target != "jpeg")


def test_a_png_keeps_every_pixel() -> None:
    for mode in ("RGB", "RGBA"):
        assert opened(convert(encoded("png", mode), format="png").data).tobytes() == drawing(mode).tobytes()


def test_sixteen_bits_of_grey_are_scaled_not_clipped() -> None:
    for value, expected in ((0, 0), (257 * 100, 100), (65_535, 255)):
        data = saved(Pillow.new("I;16", (2, 2), value), "png")
        assert opened(convert(data, format="png").data).getpixel((0, 0)) == (expected,) * 3


def test_print_colours_become_rgb() -> None:
    data = saved(Pillow.new("CMYK", (8, 8), (255, 0, 0, 0)), "jpeg", quality=95)
    red, green, blue = opened(convert(data, format="png").data).getpixel((4, 4))
    assert red < 60 < green
    assert blue > 60


# ----------------------------------------------------------------------------------------------------------- transparency


def test_transparency_becomes_white_in_a_jpeg() -> None:
    clear_red = saved(Pillow.new("RGBA", (16, 16), (255, 0, 0, 0)), "png")
    image = convert(clear_red, format="jpeg")
    assert not image.info.has_alpha
    assert opened(image.data).getpixel((8, 8)) == (255, 255, 255)


@pytest.mark.parametrize("target", ["png", "webp"])
def test_transparency_is_kept(target: str) -> None:
    corner = drawing("P").getpixel((0, 0))
    for data in (encoded("png", "RGBA"), encoded("png", "P", transparency=corner)):
        assert convert(data, format=target).info.has_alpha


def test_invisible_colours_do_not_bleed_into_the_edges() -> None:
    picture = Pillow.new("RGBA", (16, 16), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 8, 16))
    resampled = opened(convert(saved(picture, "png"), format="png", size=(5, 5)).data)
    for x in range(5):
        red, _, blue, alpha = resampled.getpixel((x, 2))
        assert not alpha or (red < 8 and blue > 247)


# ---------------------------------------------------------------------------------------------- orientation and colour


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = convert(encoded("jpeg", exif=exif.tobytes()), format="png")
    assert image.info.size == ("24x16" if orientation < 5 else "16x24")


def test_metadata_is_left_out() -> None:
    secret = b"the place where I live"
    exif = Pillow.Exif()
    exif[0x010E] = secret.decode()
    for source in FORMATS:
        data = encoded(source, exif=exif.tobytes(), xmp=b"<x:xmpmeta>" + secret + b"</x:xmpmeta>", comment=secret)
        assert secret in data
        for target in FORMATS:
            converted = convert(data, format=target).data
            assert secret not in converted
            assert not {"exif", "xmp", "comment", "icc_profile"} & set(opened(converted).info)


def test_a_profile_other_than_srgb_is_converted() -> None:
    # In Lab, 50 of lightness and no colour is a grey of 119 in sRGB.
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    swapped = swapped_red_and_blue(srgb.tobytes())
    red = Pillow.new("RGB", (4, 4), (255, 0, 0))
    for source in FORMATS:
        data = saved(red, source, icc_profile=swapped)
        pixel = opened(convert(data, format="png").data).getpixel((1, 1))
        assert pixel[2] > 200 > 60 > pixel[0]
        for profile in (srgb.tobytes(), lab.tobytes(), b"no profile at all"):
            data = saved(red, source, icc_profile=profile)
            pixel = opened(convert(data, format="png").data).getpixel((1, 1))
            assert pixel[0] > 250
            assert max(pixel[1:]) < 8


def swapped_red_and_blue(profile: bytes) -> bytes:
    """Return a profile whose primaries changed places, and that no longer calls itself sRGB."""
    return (
        profile.replace(b"rXYZ", b"tmp!").replace(b"bXYZ", b"rXYZ").replace(b"tmp!", b"bXYZ")
        .replace("sRGB".encode("utf-16-be"), "BGRs".encode("utf-16-be"))
    )  # fmt: skip


def test_a_grey_profile_fits_a_grey_picture_alone() -> None:
    for mode in ("L", "RGB", "LA"):
        data = encoded("png", mode, icc_profile=b"\0" * 128)
        assert convert(data, format="png").info.size == "24x16"


# ----------------------------------------------------------------------------------------------------------------- quality


@pytest.mark.parametrize("target", ["jpeg", "webp"])
def test_quality_decides_about_the_size(target: str) -> None:
    noise = saved(Pillow.effect_noise((64, 64), 90).convert("RGB"), "png")
    sizes = [convert(noise, format=target, quality=quality).info.size_bytes for quality in (0, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_a_jpeg_has_colour_in_full_resolution() -> None:
    stripes = Pillow.new("RGB", (16, 16), (255, 0, 0))
    for x in range(0, 16, 2):
        stripes.paste((0, 0, 255), (x, 0, x + 1, 16))
    jpeg = opened(convert(saved(stripes, "png"), format="jpeg").data)
    assert jpeg.getpixel((8, 8))[2] > 200 > 60 > jpeg.getpixel((9, 8))[2]


# ---------------------------------------------------------------------------------------------------------- broken pictures


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg/>",
        encoded("gif"),
        encoded("png")[:-1],
        encoded("jpeg") + b"tail",
        png(header(4, 4), PIXELS, END),
        png(header(60_000, 60_000), PIXELS, END),
        png(header(4, 4), chunk(b"IDAT", b"no zlib"), END),
        png(header(), chunk(b"iCCP", b"x\0\0no zlib"), chunk(b"IDAT", b""), END),
    ],
)
def test_broken_pictures_are_refused(data: bytes) -> None:
    with pytest.raises(UnacceptableImage):
        convert(data, format="png")


def test_a_webp_has_a_longest_side() -> None:
    long = saved(Pillow.new("L", (16_384, 1)), "png")
    assert convert(long, format="jpeg").info.width == 16_384
    with pytest.raises(UnacceptableImage, match="16,383 pixels a side"):
        convert(long, format="webp")


@functools.cache
def with_metadata(format: str) -> bytes:
    """Return a picture with EXIF and a colour profile; made once, because the profile says in which second it was made."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(format, exif=exif.tobytes(), icc_profile=profile)


@pytest.mark.filterwarnings("ignore")  # Pillow tells of odd metadata by warnings
@pytest.mark.parametrize("format", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_converted_or_refused(format: str, data: st.DataObject) -> None:
    broken = bytearray(with_metadata(format))
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = convert(bytes(broken), format="png", size=(8, 8))
    except UnacceptableImage:
        return
    assert image.info.size == "8x8"


def test_nothing_global_is_changed_in_pillow() -> None:
    before = Pillow.MAX_IMAGE_PIXELS
    convert(encoded("png"), format="webp")
    assert before == Pillow.MAX_IMAGE_PIXELS


def test_threads_may_convert_at_the_same_time() -> None:
    data = encoded("png", "RGBA", size=(64, 64))
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(convert(data, format="webp").data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1
