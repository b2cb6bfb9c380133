"""Times as people and programs read them."""

from __future__ import annotations

import datetime
import time

DAY_MS = 86_400_000

# The last moment that `iso_time` can write, in Unix milliseconds.
MAX_TIME_MS = 253_402_300_799_999

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def parse_iso_time(text: str) -> int:
    """Return the Unix milliseconds of what `iso_time` writes. Raises ValueError for anything that is not a time with a zone."""
    at = datetime.datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return (at - _EPOCH) // datetime.timedelta(milliseconds=1)


def iso_time(at_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC with milliseconds, for example 2026-11-23T10:15:00.250Z."""
    at = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def iso_time_or_none(at_ms: int | None) -> str | None:
    """Return the same of a time that may not have come."""
    return None if at_ms is None else iso_time(at_ms)


def start_of(day: datetime.date) -> int:
    """Return the Unix milliseconds at which a UTC day begins."""
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp()) * 1000


def end_of(day: datetime.date) -> int:
    """Return the Unix milliseconds at which the next UTC day begins."""
    return start_of(day) + DAY_MS


def month_before(day: datetime.date) -> datetime.date:
    """Return the first day of the month before a day's."""
    return (day.replace(day=1) - datetime.timedelta(days=1)).replace(day=1)


def month_after(day: datetime.date) -> datetime.date:
    """Return the first day of the month after a day's."""
    return (day.replace(day=1) + datetime.timedelta(days=31)).replace(day=1)


def utc_date(at_ms: int) -> datetime.date:
    """Return the UTC day of Unix milliseconds."""
    return datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC).date()


def utc_today() -> datetime.date:
    """Return the UTC day of this machine's clock."""
    return utc_date(time.time_ns() // 1_000_000)
