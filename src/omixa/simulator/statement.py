"""What the provider bills: one line of CSV for each picture that was made, whether its answer arrived or not.

The prices are the vendor's list prices of MAI-Image-2.5; the simulator bills every model by them.
"""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Mapping
from pathlib import Path

from omixa.domain.times import iso_time

COLUMNS = (
    *("provider_request_id", "time", "model", "deployment", "resource"),
    *("input_text_tokens", "input_image_tokens", "output_image_tokens", "images", "currency", "amount"),
)
RESOURCE = "simulated-foundry"
# Pico-USD for one token, under the names that the service reports usage with.
_PICO_USD: Mapping[str, int] = {
    "num_input_text_tokens": 5_000_000,
    "num_input_image_tokens": 8_000_000,
    "num_output_tokens": 47_000_000,
}
_PICO_PER_USD = 10**12


class UsageFile:
    """Appends to a file that a bookkeeping imports. A line is complete before the answer is sent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with path.open("a", encoding="utf-8", newline="") as file:
            if not file.tell():
                file.write(_line(COLUMNS))

    def bill(self, *, request_id: str, at_ms: int, model: str, deployment: str, usage: Mapping[str, int]) -> None:
        """Write down a call that is charged for."""
        amount = sum(count * _PICO_USD[name] for name, count in usage.items())
        cells = (
            *(request_id, iso_time(at_ms), model, deployment, RESOURCE),
            *(usage[name] for name in _PICO_USD),
            *(1, "USD", f"{amount // _PICO_PER_USD}.{amount % _PICO_PER_USD:012d}"),
        )
        with self._lock, self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_line(cells))


def _line(cells: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
