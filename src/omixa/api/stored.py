"""Where the answer of a request is, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

from omixa.errors import RequestInProgress, ResultNotFound
from omixa.gateway import idempotency
from omixa.gateway.idempotency import RUNNING_RETRY_AFTER_S
from omixa.usage.analytics import ResultPlace


@dataclass(frozen=True, slots=True)
class Stored:
    """Where an answer is, its digest, and until when it is kept, in Unix milliseconds."""

    ref: str
    digest: str
    kept_until_ms: int


def require_stored(place: ResultPlace | None, request_id: str) -> Stored:
    """Return where an answer is. Raises ResultNotFound, RequestInProgress or Gone."""
    if place is None:
        raise ResultNotFound(f"There is no request {request_id[:80]}.", param="request")
    if place.state == "held":
        raise RequestInProgress(f"{request_id} is still in progress.", retry_after_s=RUNNING_RETRY_AFTER_S)
    if place.state == "released":
        raise ResultNotFound(
            f"{request_id} has no result: it ended with {place.outcome} and was not charged.", param="request"
        )
    if place.ref is None or place.digest is None or place.expires_at_ms is None:
        raise idempotency.gone(request_id, place.charged_micro_usd, deleted=place.deleted_at_ms is not None)
    return Stored(place.ref, place.digest, place.expires_at_ms)
