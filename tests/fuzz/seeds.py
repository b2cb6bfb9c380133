"""What the fuzzer begins with: `python -m tests.fuzz.seeds` writes `corpus/` anew.

The files are checked in, so that every run begins with the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageCms

from tests.support.imagefiles import (
    END,
    PIXELS,
    SCAN,
    canvas,
    chunk,
    encoded,
    frame,
    header,
    jpeg,
    lossless,
    png,
    riff,
    segment,
    webp,
    with_credentials,
)

CORPUS = Path(__file__).with_name("corpus")
_EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}


def seeds() -> Mapping[str, bytes]:
    """Return the checked-in files by their names."""
    return {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


def _made() -> Iterator[tuple[str, bytes]]:
    exif = Pillow.Exif()
    exif[0x010F], exif[0x0112] = "a camera", 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    size = (9, 7)
    modes = {"png": ("1", "L", "LA", "P", "RGB", "RGBA"), "jpeg": ("L", "RGB", "CMYK"), "webp": ("RGB", "RGBA")}
    for kind, names in modes.items():
        end = _EXTENSIONS[kind]
        for mode in names:
            yield f"{kind}-{mode}.{end}", encoded(kind, mode, size=size)
        yield f"{kind}-exif.{end}", encoded(kind, size=size, exif=exif.tobytes())
        yield f"{kind}-profile.{end}", encoded(kind, size=size, icc_profile=profile)
        yield f"{kind}-xmp.{end}", encoded(kind, size=size, xmp=b"<x:xmpmeta/>", comment=b"by hand")
        yield f"{kind}-credentials.{end}", with_credentials(kind, encoded(kind, size=size))
    for mode in ("L", "RGB", "RGBA"):
        yield f"avif-{mode}.avif", encoded("avif", mode, size=size, exif=exif.tobytes())
    yield "png-interlaced.png", png(header(rest=b"\0\0\1"), PIXELS, END)
    yield "png-many-chunks.png", png(header(), chunk(b"tEXt", b"a\0b"), chunk(b"tIME", bytes(7)), PIXELS, PIXELS, END)
    yield "png-palette.png", png(header(colour=3), chunk(b"PLTE", bytes(3)), chunk(b"tRNS", b"\0"), PIXELS, END)
    yield "png-animated.png", png(header(), chunk(b"acTL", bytes(8)), chunk(b"fcTL", bytes(26)), PIXELS, END)
    yield "jpeg-progressive.jpg", encoded("jpeg", size=size, progressive=True)
    yield "jpeg-scans.jpg", jpeg(frame(marker=0xC2), SCAN, segment(0xC4, bytes(17)), SCAN)
    yield "jpeg-two.jpg", jpeg(frame(), SCAN) + bytes(5) + jpeg(frame(), SCAN)
    yield (
        "jpeg-adobe.jpg",
        jpeg(segment(0xEE, b"Adobe\0\x64\0\0\0\0\1"), segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0"), frame(), SCAN),
    )
    yield "webp-lossless.webp", encoded("webp", "RGBA", size=size, lossless=True)
    yield "webp-canvas.webp", webp(canvas(), riff(b"ICCP", b"odd"), lossless(), riff(b"XMP ", b"even"))


def main() -> None:
    """Write the corpus."""
    CORPUS.mkdir(exist_ok=True)
    for name, data in _made():
        (CORPUS / name).write_bytes(data)


if __name__ == "__main__":
    main()
