"""The vendored pictures and the words that name them."""

from __future__ import annotations

import json
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from omixa.engines.illustrator.own import PICTURES

DATA_DIR: Final = Path(__file__).parent / "data"
FONT_FILES: Final = tuple(
    str(DATA_DIR / f"inter-{name}.ttf")
    for name in ("latin-500", "latin-700", "latin-ext-700", "cyrillic-700", "greek-700")
)
FONT_FAMILY: Final = "Inter"


@dataclass(frozen=True, slots=True)
class Picture:
    """One subject: an SVG body on a canvas of 128 x 128, the box of its visible pixels and its main hue.

    Ids in the body read ~0, ~1, …; replace the tilde by something unique for each use. `hue_deg` is -1 for grey;
    `colour` is the shade that covers most of it.
    """

    body: str
    left: int
    top: int
    right: int
    bottom: int
    hue_deg: int
    colour: str


@dataclass(frozen=True, slots=True)
class Library:
    """All pictures by name, and the best picture's name for each word or phrase."""

    pictures: Mapping[str, Picture]
    words: Mapping[str, str]


def load_library(path: Path = DATA_DIR / "subjects.json.xz") -> Library:
    """Read the vendored data: about 0.1 CPU-s and 9 MB of memory."""
    pack = json.loads(lzma.decompress(path.read_bytes()))
    rows = pack["icons"] | dict(PICTURES)
    return Library({name: Picture(*row) for name, row in rows.items()}, pack["words"])
