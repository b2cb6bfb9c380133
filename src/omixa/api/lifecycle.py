"""The end of a model: answers announce it by headers, and from its day on the model is not found.

Sources: RFC 9745 for Deprecation, RFC 8594 for Sunset.
"""

from __future__ import annotations

import datetime
from email.utils import format_datetime

from omixa.api.errors import Headers
from omixa.domain.models import Model
from omixa.errors import ModelNotFound


def require_in_service(model: Model, today: datetime.date) -> None:
    """Raise ModelNotFound from the day on which a model is retired."""
    if model.is_retired(today):
        following = f" Use {model.successor} instead." if model.successor else ""
        raise ModelNotFound(
            f'the model "{model.id}" does not exist any more: it was retired on {model.retires}.{following}',
            param="model",
        )


def lifecycle_headers(model: Model) -> Headers:
    """Return what tells the callers of a deprecated model since when it is one and until when it serves."""
    headers: Headers = []
    if model.deprecated is not None:
        headers.append((b"deprecation", f"@{int(_midnight(model.deprecated).timestamp())}".encode()))
    if model.retires is not None:
        headers.append((b"sunset", format_datetime(_midnight(model.retires), usegmt=True).encode()))
    return headers


def _midnight(day: datetime.date) -> datetime.datetime:
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)
