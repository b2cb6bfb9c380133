"""The picture of a run: for each work, Omixa's throughput and processor time beside nginx's, and what both add to a call."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.drawing import FAINT, RULE, dot, line, picture, text
from bench.summary import NGINX, OMIXA, Line, short
from bench.works import TARGETS, Figure

_WIDTH = 1500
_TOP = 150
_ROW = 58
_BOTTOM = 70
_LABELS = 190
_GAP = 60

_OMIXA, _NGINX, _TARGET = "#5b4bdb", "#97a1ae", "#e08a1e"


@dataclass(frozen=True, slots=True)
class Panel:
    """A logarithmic scale from `low` to `high` between two horizontal positions."""

    title: str
    note: str
    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Return where a value is; what is off the scale is at its end."""
        inside = min(max(value, self.low), self.high)
        return self.left + (self.right - self.left) * math.log(inside / self.low) / math.log(self.high / self.low)

    def ticks(self) -> Iterator[float]:
        """Give the powers of ten on the scale."""
        for exponent in range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1):
            yield 10.0**exponent


def draw(lines: Sequence[Line], started: str) -> bytes:
    """Return the picture as PNG."""
    works = list(dict.fromkeys(line.work for line in lines))
    height = _TOP + _ROW * len(works) + _BOTTOM
    width = (_WIDTH - _LABELS - 3 * _GAP) / 3
    lefts = [_LABELS + _GAP / 2 + number * (width + _GAP) for number in range(3)]
    panels = (
        Panel("Requests per second", "x nginx, more is better", lefts[0], lefts[0] + width, 0.005, 2),
        Panel("Processor time per request", "x nginx, less is better", lefts[1], lefts[1] + width, 0.5, 300),
        Panel("Added to a direct call", "ms, p50 filled and p99 hollow", lefts[2], lefts[2] + width, 0.01, 10_000),
    )
    body = "".join((*_frame(works, panels, started), *_rows(works, lines, panels), *_legend(height - 26)))
    return picture(_WIDTH, height, body)


def _frame(works: Sequence[str], panels: Sequence[Panel], started: str) -> Iterator[str]:
    yield text(30, 46, "What Omixa costs beside a plain nginx", size=25, weight=700)
    yield text(30, 74, f"Billing on, every result on the disk before its charge. {started}", size=15, colour=FAINT)
    bottom = _TOP + _ROW * len(works)
    for panel in panels:
        yield text(panel.left, _TOP - 36, panel.title, size=16, weight=700)
        yield text(panel.left, _TOP - 16, panel.note, size=13, colour=FAINT)
        for value in panel.ticks():
            yield line(panel.x(value), _TOP, panel.x(value), bottom, RULE, 1)
            yield text(panel.x(value), bottom + 20, f"{value:,g}", size=13, colour=FAINT, anchor="middle")
    for panel in panels[:2]:
        yield line(panel.x(1), _TOP, panel.x(1), bottom, _NGINX, 3)
    for number in range(len(works) + 1):
        y = _TOP + _ROW * number
        yield line(30, y, _WIDTH - 30, y, RULE, 1)


def _rows(works: Sequence[str], lines: Sequence[Line], panels: Sequence[Panel]) -> Iterator[str]:
    rate, cpu, added = panels
    for row in lines:
        y = _TOP + _ROW * (works.index(row.work) + 0.5)
        if row.server == OMIXA:
            yield text(30, y + 6, row.work, size=17, weight=700)
            yield from _ratio(rate, y, row, "rate_x_nginx", row.rate_x_nginx, row.rate_x_nginx_range)
            yield from _ratio(cpu, y, row, "cpu_x_nginx", row.cpu_x_nginx, row.cpu_x_nginx_range)
            yield from _added(added, y - 9, row, _OMIXA)
        elif row.server == NGINX:
            yield from _added(added, y + 14, row, _NGINX)


def _ratio(
    panel: Panel, y: float, row: Line, figure: Figure, value: float | None, span: tuple[float, float] | None
) -> Iterator[str]:
    for target in TARGETS:
        if (target.work, target.figure) == (row.work, figure):
            yield line(panel.x(target.first_stage), y - 17, panel.x(target.first_stage), y + 17, _TARGET, 4)
            yield line(panel.x(target.goal), y - 12, panel.x(target.goal), y + 12, _TARGET, 1.5, dashes="3 3")
    if value is not None and span is not None:
        yield line(panel.x(span[0]), y, panel.x(span[1]), y, _OMIXA, 4, opacity=0.4)
        yield dot(panel.x(value), y, _OMIXA, filled=True)
        yield text(panel.x(value), y - 12, short(value), size=13, anchor="middle", weight=700)


def _added(panel: Panel, y: float, row: Line, colour: str) -> Iterator[str]:
    if row.added_p50_ms is not None and row.added_p99_ms is not None:
        yield line(panel.x(row.added_p50_ms), y, panel.x(row.added_p99_ms), y, colour, 2, opacity=0.5)
        yield dot(panel.x(row.added_p99_ms), y, colour, filled=False)
        yield dot(panel.x(row.added_p50_ms), y, colour, filled=True)


def _legend(y: float) -> Iterator[str]:
    yield dot(36, y - 5, _OMIXA, filled=True)
    yield text(50, y, "Omixa, median and range of the rounds", size=14)
    yield dot(340, y - 5, _NGINX, filled=True)
    yield text(354, y, "nginx", size=14)
    yield line(430, y - 15, 430, y + 5, _TARGET, 4)
    yield text(442, y, "target of this stage", size=14)
    yield line(600, y - 13, 600, y + 3, _TARGET, 1.5, dashes="3 3")
    yield text(612, y, "goal", size=14)
