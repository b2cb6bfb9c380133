"""Times as people and programs read them."""

from __future__ import annotations

import datetime


def iso_time(at_ms: int) -> str:
    """Return Unix milliseconds as ISO 8601 in UTC with milliseconds, for example 2026-11-23T10:15:00.250Z."""
    at = datetime.datetime.fromtimestamp(at_ms // 1000, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"
