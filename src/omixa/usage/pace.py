"""How fast money is spent, by the sums of the last days. Whole numbers, so that everybody who tells a forecast tells the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omixa.domain.times import DAY_MS, start_of, utc_date

# Today and the days before it that tell how fast.
WINDOW_DAYS = 7
# Further ahead nothing is told: ten years.
HORIZON_MS = 3650 * DAY_MS


@dataclass(frozen=True, slots=True)
class Pace:
    """What was spent in micro-USD, refunds taken off, and in how many milliseconds."""

    spent_micro_usd: int
    elapsed_ms: int

    @property
    def per_day(self) -> int:
        """Return what a day costs at this pace, in micro-USD."""
        return self.within(DAY_MS)

    def within(self, duration_ms: int) -> int:
        """Return what so many milliseconds cost, in micro-USD rounded down."""
        return self.spent_micro_usd * duration_ms // self.elapsed_ms

    def reaches(self, amount_micro_usd: int) -> int | None:
        """Return after how many milliseconds an amount is spent, None where nothing is spent or it takes ten years and more."""
        if self.spent_micro_usd <= 0:
            return None
        duration_ms = max(amount_micro_usd, 0) * self.elapsed_ms // self.spent_micro_usd
        return duration_ms if duration_ms < HORIZON_MS else None


def recent_pace(days: Mapping[str, int], now_ms: int) -> Pace:
    """Return the pace of the last seven UTC days, which end now. `days` has what each cost, in micro-USD.

    Whoever began later is measured from their first day on, and who spent nothing costs nothing.
    """
    today = utc_date(now_ms)
    began = [day for day in days if days[day]]
    first = utc_date(start_of(today) - (WINDOW_DAYS - 1) * DAY_MS)
    begins_ms = start_of(max(first, type(first).fromisoformat(min(began)))) if began else start_of(first)
    inside = sum(amount for day, amount in days.items() if first.isoformat() <= day <= today.isoformat())
    # Refunds of earlier charges can be more than what was charged meanwhile.
    return Pace(max(inside, 0), max(now_ms - begins_ms, 1))
