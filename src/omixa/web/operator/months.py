"""Months as forms name them."""

from __future__ import annotations

import datetime
import re

from omixa.domain.times import month_before
from omixa.errors import InvalidRequest

# As many as a form offers: two years.
_OFFERED = 24
_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)


def read_month(text: str) -> datetime.date | None:
    """Return the first day of a month such as 2026-11, None where nothing was written. Raises InvalidRequest."""
    if not text:
        return None
    try:
        if not _MONTH.fullmatch(text):
            raise ValueError
        # Behind it comes one more, which the last month of all does not have.
        return datetime.date.fromisoformat(f"{text}-01") if text < "9999-12" else datetime.date(9999, 11, 1)
    except ValueError as error:
        raise InvalidRequest("Write a month as 2026-11.", param="month") from error


def months_until(today: datetime.date) -> list[str]:
    """Return the months that a form offers, the present one first."""
    months, first = [], today.replace(day=1)
    for _ in range(_OFFERED):
        months.append(f"{first:%Y-%m}")
        first = month_before(first)
    return months
