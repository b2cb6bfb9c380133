"""Copies of the catalogue with other prices."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

MODEL_FILE = Path("models/mai-image-2.5.toml")
_END_OF_PRICES = "[parameters.model]"


def copy_catalogue(directory: Path) -> Path:
    """Copy the catalogue that comes with Omixa and return where it is."""
    shutil.copytree(str(files("omixa.catalogue") / "data"), directory)
    return directory


def price_list(day: datetime.date, usd_per_image: str) -> str:
    """Return a price list that charges for pictures alone."""
    line = f'{{ name = "image", counts = "images", usd = "{usd_per_image}", per = 1 }}'
    return (
        f'[[prices]]\ncurrency = "USD"\neffective_from = {day.isoformat()}\n'
        f'rounding = {{ unit_usd = "0.0001", direction = "up" }}\nfallback = {line}\ncomponents = [{line}]\n\n'
    )


def add_prices(catalogue: Path, *lists: str) -> None:
    """Write further price lists behind those of the model."""
    _edit(catalogue / MODEL_FILE, lambda text: text.replace(_END_OF_PRICES, "".join(lists) + _END_OF_PRICES, 1))


def remove_prices(catalogue: Path) -> None:
    """Take all price lists of all models away."""
    for path in (catalogue / "models").iterdir():
        _edit(path, lambda text: text[: text.index("[[prices]]")] + text[text.index(_END_OF_PRICES) :])


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
