"""Months as forms name them."""

from __future__ import annotations

import datetime

from omixa.domain.times import month_before

# As many as a form offers: two years.
_OFFERED = 24


def months_until(today: datetime.date) -> list[str]:
    """Return the months that a form offers, the present one first."""
    months, first = [], today.replace(day=1)
    for _ in range(_OFFERED):
        months.append(f"{first:%Y-%m}")
        first = month_before(first)
    return months
