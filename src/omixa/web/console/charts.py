"""Bars as numbers for pictures that the server draws: whole per mille, so that nothing of a page is worked out in a browser."""

from __future__ import annotations

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
        told = "running" if duration is None else "ok" if one.state == "ok" else one.error_code or one.state
        code = one.error_code if look == "bad" else None
        steps.append(
            _step(name, f"{one.deployment}: {told}{status}", one.sent_at_ms - began, duration, whole, look, code)
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


@dataclass(frozen=True, slots=True)
class Bar:
    """A day or month of a chart. `height` is in per mille of the highest."""

    label: str
    amount_micro_usd: int
    height: int


def bars(amounts: Mapping[str, int]) -> Sequence[Bar]:
    """Return a bar for each amount, in their order."""
    highest = max(amounts.values(), default=0)
    return [Bar(label, amount, share(amount, highest) if amount > 0 else 0) for label, amount in amounts.items()]
