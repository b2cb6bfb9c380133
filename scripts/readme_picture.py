"""Compose the README's picture from what `make demo` left in demo-output/: python scripts/readme_picture.py."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from xml.sax.saxutils import escape

from omixa.engines.illustrator.paint import paint_svg

OUTPUT = Path("demo-output")
TARGET = Path("docs/pictures/demo.png")
WIDTH, HEIGHT, PICTURE = 1600, 860, 700
INK, MUTED, LINE, GOOD = "#0a0a0a", "#5c5c5c", "#e6e6e6", "#11703c"
LEFT, RIGHT = 850, 1530


def text(x: int, y: int, words: str, size: int = 22, *, fill: str = INK, bold: bool = False, end: bool = False) -> str:
    weight, anchor = 700 if bold else 500, "end" if end else "start"
    return (
        f'<text x="{x}" y="{y}" font-family="Inter" font-size="{size}" font-weight="{weight}" '
        f'fill="{fill}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def rule(y: int) -> str:
    return f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y}" y2="{y}" stroke="{LINE}" stroke-width="2"/>'


def main() -> None:
    receipt = json.loads((OUTPUT / "receipt.json").read_text())
    omixa = receipt["omixa"]
    picture = "data:image/png;base64," + base64.b64encode((OUTPUT / "picture.png").read_bytes()).decode()
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<clipPath id="card"><rect x="80" y="80" width="{PICTURE}" height="{PICTURE}" rx="24"/></clipPath>',
        f'<g clip-path="url(#card)"><image x="80" y="80" width="{PICTURE}" height="{PICTURE}" href="{picture}"/></g>',
        text(LEFT, 122, "POST /api/v1/images/generations", 26, bold=True),
        text(
            LEFT,
            162,
            f"{omixa['model']} · {omixa['operation']} · {receipt['size']} {receipt['output_format']}",
            fill=MUTED,
        ),
        text(LEFT, 194, omixa["request_id"], 20, fill=MUTED),
        rule(228),
    ]
    y = 276
    for item in omixa["line_items"]:
        name = item["component"].replace("_", " ").capitalize()
        parts.append(text(LEFT, y, name, 24, bold=True))
        parts.append(text(RIGHT, y, f"${item['amount']}", 24, end=True))
        parts.append(
            text(
                LEFT,
                y + 30,
                f"{item['quantity']:,} tokens at ${item['unit_price']} per {item['per']:,}",
                19,
                fill=MUTED,
            )
        )
        y += 82
    parts += [
        rule(y - 22),
        text(LEFT, y + 26, "Exact", 24),
        text(RIGHT, y + 26, f"${omixa['exact_amount']}", 24, end=True),
    ]
    parts += [
        text(LEFT, y + 82, "Billed", 34, bold=True),
        text(RIGHT, y + 82, f"${omixa['billed_amount']}", 34, bold=True, end=True),
        text(
            LEFT, y + 114, f"rounded {omixa['rounding']} once to a multiple of ${omixa['rounded_to']}", 19, fill=MUTED
        ),
        rule(y + 146),
        text(LEFT, y + 190, f"Held before ${omixa['held_amount']}, the rest was given back", 20, fill=MUTED),
        text(LEFT, y + 222, f"Price version {omixa['price_version']}", 20, fill=MUTED),
        text(LEFT, y + 266, "omixa ledger verify: every invariant holds", 22, fill=GOOD, bold=True),
    ]
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">{"".join(parts)}</svg>'
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(paint_svg(svg, WIDTH, HEIGHT))
    print(TARGET)


if __name__ == "__main__":
    main()
