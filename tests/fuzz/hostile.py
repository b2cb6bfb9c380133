"""Files that are sent to break something, each with what must become of it: `python -m tests.fuzz.hostile DIR` writes them out.

All are made here, the same in every run, so that a megabyte of zeros need not be in the repository. What is decoded in the end is
small, and what is large in the end is refused.
"""

from __future__ import annotations

import functools
import itertools
import random
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from omixa.imaging.inputs import MAX_METADATA_BYTES, SPARE_BYTES
from omixa.imaging.profile import MAX_PROFILE_BYTES
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
    with_credentials,
)

ACCEPTED = "accepted"
"""The file is a picture, whatever else it tries."""
EITHER = "either"
"""A decoder may make something of it or not; the answer is a picture or a refusal, and nothing else."""

TRUNCATED, DAMAGED, TOO_LARGE = "truncated_image", "invalid_image", "image_too_large"
ANIMATED, FOREIGN, MISMATCH = "animated_image", "unsupported_image_format", "image_type_mismatch"

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}


@dataclass(frozen=True, slots=True)
class Hostile:
    """A file, the media type it is sent as, and the code of its refusal, or ACCEPTED or EITHER."""

    name: str
    data: bytes
    media_type: str
    outcome: str


@functools.cache
def files() -> tuple[Hostile, ...]:
    """Return all of them, each with a name of its own."""
    found = tuple(itertools.chain(*(make() for make in _MAKERS)))
    assert len({one.name for one in found}) == len(found)
    return found


def _sent(kind: str, outcome: str, **named: bytes) -> Iterator[Hostile]:
    for name, data in named.items():
        yield Hostile(f"{kind}-{name.replace('_', '-')}", data, MEDIA_TYPES.get(kind, "image/png"), outcome)


@functools.cache
def _whole(kind: str, mode: str = "RGB") -> bytes:
    return encoded(kind, mode, size=(48, 32))


@functools.cache
def _bomb() -> bytes:
    return zlib.compress(bytes(200_000_000), 9)


def _exif(*entries: tuple[int, int, int, int], offset: int = 8, more: bytes = bytes(4)) -> bytes:
    """Return EXIF data with these entries: tag, type, count, value."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", offset) + struct.pack("<H", len(entries)) + packed + more


def _with_exif(kind: str, exif: bytes, data: bytes | None = None) -> bytes:
    data = _whole(kind) if data is None else data
    if kind == "png":
        return data[:33] + chunk(b"eXIf", exif) + data[33:]
    if kind == "jpeg":
        return data[:2] + segment(0xE1, b"Exif\0\0" + exif) + data[2:]
    return webp(canvas(48, 32, 0x08), data[12:], riff(b"EXIF", exif))


# ------------------------------------------------------------------------------------------------------ of every format


def _cut() -> Iterator[Hostile]:
    for kind in FORMATS:
        data = _whole(kind)
        for place in (
            12,
            20,
            len(data) // 4,
            len(data) // 2,
            3 * len(data) // 4,
            len(data) - 13,
            len(data) - 4,
            len(data) - 1,
        ):
            yield from _sent(kind, TRUNCATED, **{f"cut_at_{place}": data[:place]})
        yield from _sent(kind, FOREIGN, cut_at_2=data[:2])


def _tails() -> Iterator[Hostile]:
    tails = {
        "newline": b"\n",
        "archive": b"PK\3\4" + bytes(26) + b"PK\5\6" + bytes(18),
        "script": b"<script>alert(document.domain)</script>",
        "php": b"<?php system($_GET['c']); ?>",
        "pdf": b"%PDF-1.7\n%%EOF",
        "program": b"\x7fELF\2\1\1" + bytes(57),
        "megabyte": b"\1" * (1 << 20),
    }
    for kind in FORMATS:
        for name, tail in tails.items():
            yield from _sent(kind, DAMAGED, **{f"followed_by_{name}": _whole(kind) + tail})
    yield from _sent("png", DAMAGED, followed_by_itself=_whole("png") * 2)
    yield from _sent("webp", DAMAGED, followed_by_itself=_whole("webp") * 2)
    for name, tail in tails.items():
        # With the end marker, a look at the last two bytes sees nothing wrong.
        yield from _sent("jpeg", DAMAGED, **{f"followed_by_{name}_and_its_end": _whole("jpeg") + tail + b"\xff\xd9"})
    yield from _sent(
        "jpeg", ACCEPTED, followed_by_itself=_whole("jpeg") * 2, followed_by_zeros=_whole("jpeg") + bytes(999)
    )


def _wrong_types() -> Iterator[Hostile]:
    for kind, other in itertools.permutations(FORMATS, 2):
        yield Hostile(f"{kind}-sent-as-{other}", _whole(kind), MEDIA_TYPES[other], MISMATCH)
    for media_type in ("image/svg+xml", "text/html", "image/gif", "application/pdf", "image/png+zip"):
        yield Hostile(f"png-sent-as-{media_type.replace('/', '-')}", _whole("png"), media_type, FOREIGN)
    yield Hostile("png-sent-as-anything", _whole("png"), "application/octet-stream", ACCEPTED)


def _exifs() -> Iterator[Hostile]:
    lying = (0x0112, 3, 1, 6)
    good = {
        "lying": _exif(lying),
        "orientation_of_nine": _exif((0x0112, 3, 1, 9)),
        "orientation_of_another_type": _exif((0x0112, 4, 1, 6)),
        "directory_beyond_the_end": _exif(lying, offset=0xFFFFFFF0),
        "directory_in_itself": _exif(lying, (0x8769, 4, 1, 8), more=struct.pack("<I", 8)),
        "sixty_thousand_entries": b"II*\0\x08\0\0\0\x60\xea" + struct.pack("<HHII", 1, 3, 1, 1) * 5_000,
        "a_string_of_four_gigabytes": _exif((0x010E, 2, 0xFFFFFFFF, 0)),
        "no_order": b"ZZ*\0\x08\0\0\0\1\0",
        "nothing": b"",
    }
    for kind in FORMATS:
        for name, exif in good.items():
            yield from _sent(kind, ACCEPTED, **{f"exif_with_{name}": _with_exif(kind, exif)})
    huge = bytes(MAX_METADATA_BYTES)
    yield from _sent("png", TOO_LARGE, exif_of_megabytes=_with_exif("png", huge))
    yield from _sent("webp", TOO_LARGE, exif_of_megabytes=_with_exif("webp", huge))
    many = segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 65
    yield from _sent("jpeg", TOO_LARGE, exif_of_megabytes=_whole("jpeg")[:2] + many + _whole("jpeg")[2:])
    # Lying pictures are decoded, and these cannot be.
    broken = _whole("jpeg").replace(b"\xff\xdb", b"\xff\xfe")
    yield from _sent("jpeg", DAMAGED, without_tables_and_lying=_with_exif("jpeg", _exif(lying), broken))
    few = png(header(40, 40), chunk(b"eXIf", _exif(lying)), chunk(b"IDAT", zlib.compress(bytes(600))), END)
    yield from _sent("png", DAMAGED, with_too_few_pixels_and_lying=few)


def _profiles() -> Iterator[Hostile]:
    whole = _whole("png")
    yield from _sent(
        "png",
        TOO_LARGE,
        profile_of_two_hundred_megabytes=whole[:33] + chunk(b"iCCP", b"x\0\0" + _bomb()) + whole[33:],
        profile_just_too_large=whole[:33]
        + chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(MAX_PROFILE_BYTES + 1)))
        + whole[33:],
    )
    for name, profile in {
        "empty": b"",
        "of_zeros": bytes(500),
        "with_a_tag_beyond_its_end": bytes(36) + b"acsp" + bytes(88) + struct.pack(">I4sII", 1, b"rXYZ", 2**32 - 8, 20),
        "with_four_billion_tags": bytes(16) + b"RGB " + bytes(16) + b"acsp" + bytes(88) + b"\xff\xff\xff\xff",
    }.items():
        inner = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
        yield from _sent("png", ACCEPTED, **{f"profile_{name}": whole[:33] + inner + whole[33:]})
        jpegs = _whole("jpeg")
        part = segment(0xE2, b"ICC_PROFILE\0\1\1" + profile)
        yield from _sent("jpeg", ACCEPTED, **{f"profile_{name}": jpegs[:2] + part + jpegs[2:]})
        webps = webp(canvas(48, 32, 0x20), riff(b"ICCP", profile), _whole("webp")[12:])
        yield from _sent("webp", ACCEPTED, **{f"profile_{name}": webps})
    yield from _sent(
        "png", ACCEPTED, profile_that_is_not_deflated=whole[:33] + chunk(b"iCCP", b"x\0\0junk") + whole[33:]
    )
    parts = b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, 255)) + bytes(60_000)) for n in range(255))
    yield from _sent("jpeg", TOO_LARGE, profile_of_fifteen_megabytes=_whole("jpeg")[:2] + parts + _whole("jpeg")[2:])


def _credentials() -> Iterator[Hostile]:
    for kind in FORMATS:
        yield from _sent(kind, ACCEPTED, with_credentials=with_credentials(kind, _whole(kind)))
    huge = _whole("png")[:33] + chunk(b"caBX", bytes(MAX_METADATA_BYTES)) + _whole("png")[33:]
    yield from _sent("png", TOO_LARGE, credentials_of_megabytes=huge)


# --------------------------------------------------------------------------------------------------------------------- PNG


def _png_sizes() -> Iterator[Hostile]:
    sizes = [
        (60_000, 60_000),
        (2**31 - 1, 1),
        (2**31 - 1, 2**31 - 1),
        (1, 50_000_000),
        (32_768, 400),
        (10_000, 5_001),
        (101, 1),
        (1, 32_767),
    ]
    for width, height in sizes:
        data = png(
            header(width, height), chunk(b"IDAT", zlib.compress(bytes(min(width * height // 8 + 1, 100_000)))), END
        )
        yield from _sent("png", TOO_LARGE, **{f"of_{width}x{height}": data})
    for width, height in ((0, 1), (1, 0), (0, 0)):
        yield from _sent("png", DAMAGED, **{f"of_{width}x{height}": png(header(width, height), PIXELS, END)})
    yield from _sent(
        "png",
        DAMAGED,
        with_too_few_bytes=png(header(6_000, 6_000), chunk(b"IDAT", zlib.compress(bytes(1_000))), END),
        with_too_many_bytes=png(header(), chunk(b"IDAT", zlib.compress(bytes(4)) + bytes(SPARE_BYTES + 99)), END),
        that_inflates_to_nothing=png(header(50, 50), chunk(b"IDAT", zlib.compress(b"")), END),
        with_pixels_that_end_early=png(header(50, 50), chunk(b"IDAT", zlib.compress(bytes(3_000))), END),
        with_pixels_that_are_not_deflated=png(header(4, 4), chunk(b"IDAT", b"not deflated at all"), END),
        with_a_dictionary=png(header(4, 4), chunk(b"IDAT", b"\x78\xbb" + bytes(40)), END),
        with_empty_pixels=png(header(), chunk(b"IDAT"), END),
        with_filters_that_do_not_exist=png(header(9, 9), chunk(b"IDAT", zlib.compress(b"\x09" * 252)), END),
    )  # fmt: skip
    # The decoder stops when it has its pixels, however much more there is.
    bomb = zlib.compress(bytes(20_000_000), 9)
    yield from _sent(
        "png", EITHER, that_inflates_to_more_than_it_needs=png(header(100, 100), chunk(b"IDAT", bomb), END)
    )


def _png_lies() -> Iterator[Hostile]:
    for depth, colour in ((3, 0), (16, 3), (1, 2), (4, 6), (8, 1), (8, 5), (32, 2), (0, 0)):
        data = png(header(4, 4, depth, colour), PIXELS, END)
        yield from _sent("png", DAMAGED, **{f"with_depth_{depth}_of_colour_{colour}": data})
    for name, rest in {"compression": b"\1\0\0", "filtering": b"\0\1\0", "interlacing": b"\0\0\2"}.items():
        yield from _sent("png", DAMAGED, **{f"with_other_{name}": png(header(rest=rest), PIXELS, END)})
    broken = bytearray(_whole("png"))
    broken[60] ^= 1
    text = bytearray(chunk(b"tEXt", b"a\0b"))
    text[-1] ^= 1
    palette = chunk(b"PLTE", bytes(3))
    yield from _sent(
        "png",
        DAMAGED,
        with_a_wrong_checksum_of_its_header=png(header()[:-1] + b"\0", PIXELS, END),
        with_a_wrong_checksum_of_its_pixels=bytes(broken),
        with_a_wrong_checksum_of_its_text=png(header(), bytes(text), PIXELS, END),
        without_a_header=png(PIXELS, END),
        with_its_header_second=png(chunk(b"tEXt", b"a\0b"), header(), PIXELS, END),
        with_two_headers=png(header(), header(9, 9), PIXELS, END),
        with_a_short_header=png(chunk(b"IHDR", bytes(12)), PIXELS, END),
        without_pixels=png(header(), END),
        without_a_palette=png(header(colour=3), PIXELS, END),
        with_two_palettes=png(header(colour=3), palette, palette, PIXELS, END),
        with_pixels_in_two_places=png(header(), PIXELS, chunk(b"tEXt", b"a\0b"), PIXELS, END),
        with_transparency_behind_its_pixels=png(header(), PIXELS, chunk(b"tRNS", bytes(6)), END),
        with_a_chunk_of_two_gigabytes=png(header(), b"\xff\xff\xff\xff" + PIXELS[4:], END),
        with_a_chunk_of_no_name=png(header(), chunk(b"\0\0\0\0"), PIXELS, END),
        with_too_many_chunks=png(header(), chunk(b"tIME", bytes(7)) * 20_000, PIXELS, END),
    )
    yield from _sent(
        "png", TRUNCATED, with_a_chunk_that_is_too_long=png(header(), b"\x7f\xff\xff\xff" + PIXELS[4:], END)
    )
    yield from _sent("png", FOREIGN, of_another_make=_of_ios())
    frames = [drawing(size=(48, 32)).rotate(90 * turn) for turn in range(3)]
    yield from _sent(
        "png",
        ANIMATED,
        animated=saved(frames[0], "png", save_all=True, append_images=frames[1:]),
        that_says_it_is_animated=png(header(), chunk(b"acTL", struct.pack(">II", 2**31, 0)), PIXELS, END),
        with_a_frame=png(header(), PIXELS, chunk(b"fdAT", bytes(4) + b"x"), END),
    )


def _of_ios() -> bytes:
    return png(header(), chunk(b"CgBI", b"\x50\0\x20\2"), PIXELS, END)


def _png_texts() -> Iterator[Hostile]:
    whole = _whole("png")
    # Cut out without ever being inflated.
    yield from _sent(
        "png",
        ACCEPTED,
        with_a_text_of_two_hundred_megabytes=whole[:33] + chunk(b"zTXt", b"a\0\0" + _bomb()) + whole[33:],
        with_a_long_text_in_some_language=whole[:33] + chunk(b"iTXt", b"a\0\1\0\0\0" + _bomb()) + whole[33:],
        with_a_text_without_an_end=whole[:33] + chunk(b"zTXt", b"a" * 300) + whole[33:],
        with_a_script_as_text=whole[:33] + chunk(b"tEXt", b"Comment\0<script>alert(1)</script>") + whole[33:],
        with_an_archive_as_a_chunk=whole[:33] + chunk(b"ruSt", b"PK\3\4" + bytes(500)) + whole[33:],
        with_a_suggested_palette=whole[:33] + chunk(b"sPLT", b"x\0\x08" + bytes(999)) + whole[33:],
    )
    long = chunk(b"tEXt", b"a\0" + bytes(MAX_METADATA_BYTES))
    yield from _sent("png", TOO_LARGE, with_a_text_of_megabytes=whole[:33] + long + whole[33:])


# -------------------------------------------------------------------------------------------------------------------- JPEG


def _jpeg_lies() -> Iterator[Hostile]:
    for width, height in ((65_535, 65_535), (40_000, 10), (101, 1), (1, 32_767)):
        yield from _sent("jpeg", TOO_LARGE, **{f"of_{width}x{height}": jpeg(frame(width, height), SCAN)})
    yield from _sent("jpeg", TOO_LARGE, with_fifty_passes_over_50_megapixels=jpeg(frame(7_000, 7_000, 0xC2), SCAN * 50))
    for width, height in ((0, 1), (1, 0)):
        yield from _sent("jpeg", DAMAGED, **{f"of_{width}x{height}": jpeg(frame(width, height), SCAN)})
    for marker in (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF):
        yield from _sent("jpeg", FOREIGN, **{f"coded_by_{marker:02X}": jpeg(frame(marker=marker), SCAN)})
    yield from _sent("jpeg", FOREIGN, with_twelve_bits=jpeg(frame(marker=0xC1, precision=12), SCAN))
    for number in (0, 2, 5, 255):
        data = segment(0xC0, struct.pack(">BHHB", 8, 8, 8, number) + bytes(3 * number))
        yield from _sent("jpeg", DAMAGED, **{f"with_{number}_colours": jpeg(data, SCAN)})
    yield from _sent(
        "jpeg",
        DAMAGED,
        without_a_frame=jpeg(SCAN),
        without_pixels=jpeg(frame()),
        with_two_frames=jpeg(frame(), frame(2, 2), SCAN),
        with_a_second_frame_behind_its_pixels=jpeg(frame(), SCAN, frame(60_000, 60_000), SCAN),
        with_a_segment_of_no_length=jpeg(b"\xff\xe0\0\0", frame(), SCAN),
        with_a_segment_of_one_byte=jpeg(b"\xff\xe0\0\1", frame(), SCAN),
        with_junk_between_segments=jpeg(b"\xff\xe0\0\2junk", frame(), SCAN),
        with_a_start_in_its_middle=jpeg(frame(), SCAN, b"\xff\xd8", SCAN),
        with_too_many_segments=jpeg(segment(0xFE, b"") * 1_000, frame(), SCAN),
        with_too_many_scans=jpeg(frame(9, 9, 0xC2), SCAN * 101),
        with_too_many_pictures_behind_it=_whole("jpeg") * 18,
        with_more_bytes_than_its_pixels_need=jpeg(frame(), SCAN + bytes(SPARE_BYTES + 99)),
        with_an_unfinished_picture_behind_it=(_whole("jpeg") + jpeg(SCAN)),
    )
    yield from _sent(
        "jpeg",
        TRUNCATED,
        with_a_segment_that_is_too_long=jpeg(b"\xff\xe0\xff\xff", frame(), SCAN),
        with_a_truncated_picture_behind_it=_whole("jpeg") + _whole("jpeg")[:-2],
    )
    whole = _whole("jpeg")
    metadata = {
        "with_its_end_in_a_comment": segment(0xFE, b"\xff\xd9<script>alert(1)</script>"),
        "with_an_archive_in_a_comment": segment(0xFE, b"PK\3\4" + bytes(5_000)),
        "with_a_thumbnail_larger_than_itself": segment(0xE0, b"JFXX\0\x13\xff\xff" + bytes(9_000)),
        "with_metadata_that_read_a_file": segment(
            0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE a [<!ENTITY b SYSTEM"
        ),
    }
    for name, data in metadata.items():
        yield from _sent("jpeg", ACCEPTED, **{name: whole[:2] + data + whole[2:]})
    yield from _sent(
        "jpeg",
        ACCEPTED,
        progressive=encoded("jpeg", size=(48, 32), progressive=True),
        of_print_colours=encoded("jpeg", "CMYK", size=(48, 32)),
    )
    yield from _sent(
        "jpeg", EITHER, with_noise_for_pixels=whole[: len(whole) // 2] + random.Random(4).randbytes(200) + b"\xff\xd9"
    )


# -------------------------------------------------------------------------------------------------------------------- WebP


def _webp_lies() -> Iterator[Hostile]:
    whole = _whole("webp")
    for width, height in ((16_384, 16_384), (101, 1), (1, 16_384)):
        yield from _sent("webp", TOO_LARGE, **{f"of_{width}x{height}": webp(lossless(width, height))})
    lossy = b"\x10\0\0\x9d\x01\x2a"
    yield from _sent(
        "webp",
        DAMAGED,
        of_no_width=webp(riff(b"VP8 ", lossy + b"\0\0\x01\0" + bytes(90))),
        of_no_height=webp(riff(b"VP8 ", lossy + b"\x01\0\0\0" + bytes(90))),
        without_pixels=webp(),
        with_metadata_alone=webp(canvas(), riff(b"EXIF", b"II*\0")),
        with_two_pictures=webp(lossless(), lossless()),
        with_two_canvases=webp(canvas(), canvas(9, 9), lossless()),
        with_a_larger_canvas=webp(canvas(16_000, 16_000), lossless()),
        with_another_signature=webp(riff(b"VP8L", b"\x30" + bytes(9))),
        of_a_later_version=webp(riff(b"VP8L", b"\x2f\0\0\0\xe0" + bytes(9))),
        that_begins_in_the_middle_of_a_film=webp(riff(b"VP8 ", b"\x11\0\0\x9d\x01\x2a\x01\0\x01\0")),
        with_too_many_chunks=webp(lossless(), *(riff(b"EXIF", b"") for _ in range(101))),
        with_more_bytes_than_its_pixels_need=webp(riff(b"VP8L", lossless()[8:] + bytes(SPARE_BYTES + 99))),
        with_lossless_pixels_that_mean_nothing=_with_exif("webp", _exif((0x0112, 3, 1, 6)), webp(lossless(48, 32))),
        that_says_it_is_shorter=whole[:4] + struct.pack("<I", len(whole) - 30) + whole[8:],
    )
    yield from _sent(
        "webp",
        TRUNCATED,
        that_says_it_is_longer=whole[:4] + struct.pack("<I", 2**32 - 2) + whole[8:],
        with_an_empty_frame=webp(riff(b"VP8 ", b"")),
        with_a_first_part_that_is_too_long=webp(riff(b"VP8 ", b"\xf0\xff\xff\x9d\x01\x2a\x01\0\x01\0")),
        with_a_chunk_of_four_gigabytes=webp(b"EXIF\xff\xff\xff\xff", lossless()),
    )
    frames = [drawing(size=(48, 32)).rotate(90 * turn) for turn in range(3)]
    yield from _sent(
        "webp",
        ANIMATED,
        animated=saved(frames[0], "webp", save_all=True, append_images=frames[1:]),
        that_says_it_is_animated=webp(canvas(flags=0x02), lossless()),
        with_a_frame=webp(lossless(), riff(b"ANMF", bytes(24))),
        with_an_animation_of_nothing=webp(riff(b"ANIM", bytes(6)), lossless()),
    )
    yield from _sent(
        "webp",
        ACCEPTED,
        with_every_flag=webp(canvas(48, 32, 0x3D), whole[12:]),
        with_an_unknown_chunk=webp(canvas(48, 32), whole[12:], riff(b"EVIL", b"<script>" + bytes(999))),
    )
    huge = webp(canvas(48, 32, 4), whole[12:], riff(b"XMP ", bytes(MAX_METADATA_BYTES)))
    yield from _sent("webp", TOO_LARGE, with_metadata_of_megabytes=huge)


# ----------------------------------------------------------------------------------------------------- no picture of ours


def _foreign() -> Iterator[Hostile]:
    lol = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    svg = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" width="20000" height="20000">'
    small = drawing(size=(20, 20))
    named = {
        "nothing": b"",
        "one_byte": b"\x89",
        "zeros": bytes(5_000),
        "noise": random.Random(7).randbytes(5_000),
        "svg_that_reads_a_file": f'{svg}<image x:href="file:///etc/passwd"/></svg>'.encode(),
        "svg_that_calls_home": f'{svg}<image x:href="http://169.254.169.254/latest/meta-data/"/></svg>'.encode(),
        "svg_with_a_script": f"{svg}<script>alert(1)</script></svg>".encode(),
        "svg_that_laughs": f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{lol}]>{svg}&l9;</svg>'.encode(),
        "svg_with_an_entity": f'<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>{svg}&x;</svg>'.encode(),
        "svg_in_utf_16": f"{svg}</svg>".encode("utf-16"),
        "svg_that_is_zipped": zlib.compress(f"{svg}</svg>".encode(), wbits=31),
        "page": b"<!doctype html><script>alert(1)</script>",
        "json": b'{"error": {"message": "not found"}}',
        "base64": b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
        "data_url": b"data:image/png;base64,iVBORw0KGgo=",
        "gif": saved(small, "gif"),
        "gif_that_is_animated": saved(small, "gif", save_all=True, append_images=[small.rotate(90)]),
        "gif_that_is_also_a_script": b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)",
        "bmp": saved(small, "bmp"),
        "bmp_of_gigabytes": b"BM" + struct.pack("<IIIIiiHHI", 2**31, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 32, 0),
        "tiff": saved(small, "tiff"),
        "tiff_with_a_loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
        "icon": saved(small, "ico"),
        "photoshop": b"8BPS\0\1" + bytes(60),
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
        "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
        "jpeg_2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60),
        "jpeg_xl": b"\xff\x0a" + bytes(60),
        "jpeg_xl_in_boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60),
        "heic": b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(60),
        "video": b"\0\0\0\x1cftypisom\0\0\2\0isomiso2" + bytes(60),
        "matroska": b"\x1a\x45\xdf\xa3" + bytes(60),
        "sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
        "archive": b"PK\3\4" + bytes(60),
        "gzip": zlib.compress(bytes(9_999_999), 9, wbits=31),
        "program": b"\x7fELF\2\1\1" + bytes(60),
        "windows_program": b"MZ" + bytes(60) + b"PE\0\0",
        "script": b"#!/bin/sh\nid\n",
        "cursor": b"\0\0\2\0\1\0" + bytes(40),
        "farbfeld": b"farbfeld\xff\xff\xff\xff\xff\xff\xff\xff",
        "portable_pixmap": b"P6 99999 99999 255\n",
        "quake_palette": bytes(768),
        "almost_a_png": b"\x89PNG\r\n\x1a\r" + _whole("png")[8:],
        "a_png_that_passed_a_text_filter": _whole("png").replace(b"\r\n", b"\n"),
        "a_png_behind_a_blank": b" " + _whole("png"),
        "a_jpeg_behind_a_page": b"<!doctype html>" + _whole("jpeg"),
        "a_webp_with_another_name": _whole("webp").replace(b"WEBP", b"WEBQ"),
        "a_webp_in_big_endian": b"RIFX" + _whole("webp")[4:],
    }
    for name, data in named.items():
        yield Hostile(f"foreign-{name.replace('_', '-')}", data, "application/octet-stream", FOREIGN)


def _without_times(film: bytes) -> bytes:
    """Return an AVIF film as if it had been made at no time, so that it is the same whenever it is made."""
    data = bytearray(film)
    for box in (b"mvhd", b"tkhd", b"mdhd"):
        # Behind the name: the version, three bytes of flags, and when it was made and changed.
        behind = data.index(box) + len(box)
        length = 16 if data[behind] == 1 else 8
        data[behind + 4 : behind + 4 + length] = bytes(length)
    return bytes(data)


def _avif() -> Iterator[Hostile]:
    whole = encoded("avif", size=(48, 32))
    turned, lying = _exif((0x0112, 3, 1, 6)), whole.index(b"ispe") + 8
    frames = [drawing(size=(48, 32)).rotate(90 * turn) for turn in range(3)]

    def of(width: int, height: int) -> bytes:
        return whole[:lying] + struct.pack(">II", width, height) + whole[lying + 8 :]

    yield from _sent("avif", ACCEPTED, whole=whole, turned=encoded("avif", size=(48, 32), exif=b"Exif\0\0" + turned))
    for place in (24, 40, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        yield from _sent("avif", TRUNCATED, **{f"cut_at_{place}": whole[:place]})
    yield from _sent(
        "avif", TRUNCATED, followed_by_archive=whole + b"PK\3\4" + bytes(30), followed_by_newline=whole + b"\n"
    )
    yield from _sent(
        "avif", TOO_LARGE, of_60000x60000=of(60_000, 60_000), of_48x32000=of(48, 32_000), of_8000x8000=of(8_000, 8_000)
    )
    yield from _sent(
        "avif",
        DAMAGED,
        of_no_width=of(0, 32),
        with_nothing_in_it=whole[:32],
        with_two_contents=whole + whole[32 : whole.index(b"mdat") - 4],
        with_a_box_of_four_bytes=whole[:32] + b"\0\0\0\4" + whole[36:],
        with_too_many_boxes=whole + b"\0\0\0\x08free" * 1_000,
    )
    film = _without_times(saved(frames[0], "avif", save_all=True, append_images=frames[1:]))
    yield from _sent("avif", ANIMATED, animated=film, that_says_it_is_animated=whole[:8] + b"avis" + whole[12:])
    yield from _sent("avif", FOREIGN, with_an_evil_box=whole + b"\0\0\0\x10evil<script>")
    yield Hostile("avif-sent-as-png", whole, "image/png", MISMATCH)
    for number in range(12):
        chance, data = random.Random(f"avif {number}"), bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        yield from _sent("avif", EITHER, **{f"with_flipped_bytes_{number}": bytes(data)})


def _mutants() -> Iterator[Hostile]:
    for kind in FORMATS:
        for number in range(12):
            chance = random.Random(f"{kind} {number}")
            data = bytearray(_whole(kind, "RGBA" if kind != "jpeg" and number % 2 else "RGB"))
            for _ in range(chance.randint(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            yield from _sent(kind, EITHER, **{f"with_flipped_bytes_{number}": bytes(data)})


_MAKERS: tuple[Callable[[], Iterator[Hostile]], ...] = (
    _cut, _tails, _wrong_types, _exifs, _profiles, _credentials, _png_sizes, _png_lies, _png_texts, _jpeg_lies, _webp_lies,
    _avif, _foreign, _mutants,
)  # fmt: skip


def main() -> None:
    """Write every file into the directory that the command line names."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for one in files():
        (directory / f"{one.name}.{one.outcome}").write_bytes(one.data)


if __name__ == "__main__":
    main()
