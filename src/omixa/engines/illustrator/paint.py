"""The third step: from SVG text to PNG bytes."""

from __future__ import annotations

import io
import re
from typing import Final

from omixa.engines.illustrator.library import FONT_FAMILY, FONT_FILES

FRAMING_SHARE: Final = 4  # the size at which the extent of a drawing is looked for, as a divisor
MARGIN: Final = 0.07  # of the drawing's longer side, left free around it
MAX_ENLARGED: Final = 2.4
_VIEW: Final = re.compile(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"')


def paint_svg(svg: str, width: int, height: int) -> bytes:
    """Render a document to a PNG of exactly `width` x `height` pixels with the vendored typeface only.

    The document names no file and no address, and no folder is opened to it. The renderer holds the interpreter's lock
    while it works, so call it where a pause of some hundred milliseconds hurts nobody.
    """
    import resvg_py

    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            width=width,
            height=height,
            skip_system_fonts=True,
            font_files=list(FONT_FILES),
            font_family=FONT_FAMILY,
            sans_serif_family=FONT_FAMILY,
        )
    )


def framed(svg: str, width: int, height: int) -> str:
    """Move a document on a transparent ground so that what is drawn fills the picture, but for a margin."""
    from PIL import Image

    across, down = max(1, width // FRAMING_SHARE), max(1, height // FRAMING_SHARE)
    with Image.open(io.BytesIO(paint_svg(svg, across, down)), formats=("PNG",)) as small:
        box = small.getchannel("A").getbbox() if small.mode == "RGBA" else None
    if box is None:
        return svg
    view = _VIEW.search(svg)
    assert view is not None
    wide, tall = float(view[1]), float(view[2])
    left, top, right, bottom = box[0] / across, box[1] / down, box[2] / across, box[3] / down
    share = max(right - left, bottom - top, 1 / MAX_ENLARGED) * (1 + 2 * MARGIN)
    x, y = (left + right - share) / 2, (top + bottom - share) / 2
    seen = f'viewBox="{x * wide:.2f} {y * tall:.2f} {share * wide:.3f} {share * tall:.3f}"'
    return svg[: view.start()] + seen + svg[view.end() :]


def blurred(png: bytes, share: float) -> bytes:
    """Blur a PNG by a share of its short side."""
    from PIL import Image, ImageFilter

    with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
        # With alpha, colours are blurred in proportion to it, so that what cannot be seen does not bleed into the edges.
        soft = picture.convert("RGBa" if picture.mode == "RGBA" else "RGB").filter(
            ImageFilter.GaussianBlur(share * min(picture.size))
        )
    stream = io.BytesIO()
    soft.convert("RGBA" if soft.mode == "RGBa" else "RGB").save(stream, "PNG", compress_level=1)
    return stream.getvalue()
