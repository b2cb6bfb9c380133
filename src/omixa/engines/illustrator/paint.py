"""The third step: from SVG text to PNG bytes."""

from __future__ import annotations

from omixa.engines.illustrator.library import FONT_FAMILY, FONT_FILES


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
