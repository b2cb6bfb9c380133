"""Bars as numbers for pictures that the server draws: whole per mille, so that nothing of a page is worked out in a browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FULL = 1000
# A bar that is there is seen.
_LEAST = 6

Look = Literal["ok", "bad", "wait"]


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of a request's time: where it begins and how long it is, in per mille of the whole and in milliseconds."""

    name: str
    note: str
    begins: int
    length: int
    offset_ms: int
    duration_ms: int | None
    look: Look
    # Of an attempt that failed, the code that tells why.
    code: str | None = None


class TimedCall(Protocol):
    """What a time line shows of a call to a provider. Times are Unix milliseconds."""

    @property
    def n(self) -> int: ...
    @property
    def image_index(self) -> int: ...
    @property
    def deployment(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def upstream_status(self) -> int | None: ...
    @property
    def error_code(self) -> str | None: ...
    @property
    def sent_at_ms(self) -> int: ...
    @property
    def ended_at_ms(self) -> int | None: ...
    @property
    def late_at_ms(self) -> int | None: ...


def share(part: int, whole: int) -> int:
    """Return a part in per mille of the whole, 1000 at most."""
    return min(max(part, 0) * FULL // whole, FULL) if whole > 0 else FULL if part > 0 else 0


def timeline(began: int, ended: int | None, calls: Sequence[TimedCall]) -> list[Step]:
    """Return what happened in a request between two times, in its order: before the first call, each call, after the last one.

    A request that runs has not ended.
    """
    ends = [step.ended_at_ms for step in calls if step.ended_at_ms is not None]
    known = [*ends, *(step.sent_at_ms for step in calls), began]
    end = ended if ended is not None else max(known)
    whole = max(end, *known) - began
    steps: list[Step] = []
    several = any(step.image_index for step in calls)
    if calls:
        first = min(step.sent_at_ms for step in calls)
        steps.append(_step("Gateway", "hold, choice of a route", 0, first - began, whole, "wait"))
    for one in calls:
        name = f"Attempt {one.n}" + (f", picture {one.image_index + 1}" if several else "")
        duration = None if one.ended_at_ms is None else max(one.ended_at_ms - one.sent_at_ms, 0)
        look: Look = "ok" if one.state == "ok" else "wait" if duration is None else "bad"
        status = "" if one.upstream_status is None else f", HTTP {one.upstream_status}"
        late = (
            "" if one.late_at_ms is None else f", answered late after {(one.late_at_ms - one.sent_at_ms) / 1000:.1f} s"
        )
        told = "running" if duration is None else "ok" if one.state == "ok" else one.error_code or one.state
        code = one.error_code if look == "bad" else None
        steps.append(
            _step(name, f"{one.deployment}: {told}{status}{late}", one.sent_at_ms - began, duration, whole, look, code)
        )
    if ends and ended is not None:
        last = max(ends)
        steps.append(_step("Gateway", "price, store, charge", last - began, ended - last, whole, "wait"))
    return steps


def _step(
    name: str, note: str, offset_ms: int, duration_ms: int | None, whole_ms: int, look: Look, code: str | None = None
) -> Step:
    offset_ms = max(offset_ms, 0)
    long_ms = max(whole_ms - offset_ms if duration_ms is None else duration_ms, 0)
    length = max(share(long_ms, whole_ms), _LEAST)
    begins = min(share(offset_ms, whole_ms), FULL - length)
    return Step(name, note, max(begins, 0), length, offset_ms, None if duration_ms is None else long_ms, look, code)


# What a chart tells apart by shades; the smallest are one together.
_SHADES = 5
# Where the lines of a scale may be: at these times a power of ten.
_ROUND = (1, 2, 5, 10)
_LINES = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar: what it is of, how much, and where it lies, in per mille of the scale from above.

    `name` is None for all that have no shade of their own.
    """

    name: str | None
    shade: int
    amount_micro_usd: int
    top: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """A day or month of a chart. `is_expected` marks one that is still to come."""

    label: str
    amount_micro_usd: int
    parts: Sequence[Part]
    is_expected: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars beside each other, what the shades are, and the amounts of the lines behind them from the highest to zero."""

    bars: Sequence[Bar]
    shades: Sequence[str | None]
    scale_micro_usd: Sequence[int]


def chart(amounts: Mapping[str, Mapping[str, int]], expected: Mapping[str, int], totals: Mapping[str, int]) -> Chart:
    """Return bars of what was spent in each period on each thing, and behind them of what is expected.

    `totals` are the amounts of all things, which may be more than those of the bars; the largest ones get a shade of their own.
    Below zero, where more was given back than spent, there is no bar.
    """
    largest = sorted(totals, key=lambda name: (-totals[name], name))
    shades: list[str | None] = [*largest] if len(largest) <= _SHADES else [*largest[: _SHADES - 1], None]
    highest = max((sum(max(part, 0) for part in parts.values()) for parts in amounts.values()), default=0)
    step = _step_of_scale(max(highest, *expected.values(), 1))
    top = step * _LINES
    bars = []
    for label, parts in amounts.items():
        shaded: Counter[str | None] = Counter()
        for name, amount in parts.items():
            shaded[name if name in shades else None] += amount
        bars.append(Bar(label, sum(parts.values()), _pile(shades, shaded, top)))
    bars += [Bar(label, amount, _pile([None], {None: amount}, top), True) for label, amount in expected.items()]
    return Chart(bars, shades, [step * line for line in range(_LINES, -1, -1)])


def _pile(names: Sequence[str | None], amounts: Mapping[str | None, int], top_micro_usd: int) -> list[Part]:
    """Return the pieces of a bar from the ground up. Their edges are rounded, not their heights, so that they meet."""
    parts, below = [], 0
    for shade, name in enumerate(names):
        amount = amounts.get(name, 0)
        if amount <= 0:
            continue
        ground, edge = share(below, top_micro_usd), share(below + amount, top_micro_usd)
        parts.append(Part(name, shade, amount, FULL - edge, max(edge - ground, 1)))
        below += amount
    return parts


def _step_of_scale(highest_micro_usd: int) -> int:
    """Return a round amount, so many of which reach to the highest."""
    least = -(-highest_micro_usd // _LINES)
    power: int = 10 ** (len(str(least)) - 1)
    return next(power * times for times in _ROUND if power * times >= least)
