"""How fast money is spent: whole numbers, by hand and by properties."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from omixa.domain.times import DAY_MS
from omixa.usage.pace import HORIZON_MS, Pace, recent_pace

NOON_MS = int(datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC).timestamp()) * 1000


def test_a_week_is_measured_until_now() -> None:
    days = {"2026-11-19": 999_999, "2026-11-20": 1_300, "2026-11-26": 5_200}
    # Six days and a half, and nothing of the day before them.
    assert recent_pace(days, NOON_MS) == Pace(6_500, 6 * DAY_MS + DAY_MS // 2)
    assert recent_pace(days, NOON_MS).per_day == 1_000


def test_whoever_began_today_is_measured_from_the_morning() -> None:
    pace = recent_pace({"2026-11-26": 500}, NOON_MS)
    assert (pace.per_day, pace.within(DAY_MS // 2), pace.reaches(1_500)) == (1_000, 500, 3 * DAY_MS // 2)


def test_nothing_spent_lasts_for_ever() -> None:
    for days in ({}, {"2026-11-26": 0}, {"2026-11-25": 10, "2026-11-26": -20}):
        pace = recent_pace(days, NOON_MS)
        assert (pace.per_day, pace.reaches(1)) == (0, None)


@given(spent=st.integers(0, 10**15), elapsed=st.integers(1, 7 * DAY_MS), amount=st.integers(-(10**6), 10**15))
def test_an_amount_is_reached_neither_early_nor_late(spent: int, elapsed: int, amount: int) -> None:
    pace = Pace(spent, elapsed)
    found = pace.reaches(amount)
    if found is None:
        assert spent == 0 or pace.within(HORIZON_MS) <= amount
    else:
        assert pace.within(found) <= max(amount, 0) <= pace.within(found + 1) + 1 + spent // elapsed
