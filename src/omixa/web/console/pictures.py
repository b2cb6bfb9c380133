"""What was made and is still kept, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from msgspec import UNSET, Meta, UnsetType

from omixa.api.queries import Query, parse_query
from omixa.api.shapes import RequestId
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import RequestPage, RequestSummary
from omixa.web.console.requests import address, has_picture
from omixa.web.console.visit import Visit

# Requests of which a page shows the pictures.
_ON_A_PAGE = 24


class PictureQuery(Query):
    """Which page."""

    after: Annotated[RequestId | UnsetType, Meta(description="The last request of the page before.")] = UNSET


@dataclass(frozen=True, slots=True)
class Made:
    """A request with addresses of its small pictures below the root."""

    request: RequestSummary
    thumbnails: Sequence[str]


async def show_pictures(visit: Visit) -> None:
    """Send the page. Where it begins stands in its address."""
    query = parse_query(visit.exchange, PictureQuery, blank_is_missing=True)
    after = None if isinstance(query.after, UnsetType) else query.after
    page, now_ms = await visit.services.database.read(partial(_read, visit=visit, after=after))
    made = [Made(one, _thumbnails(visit, one)) for one in page.requests if has_picture(one, now_ms)]
    await visit.send(
        "console/pictures.html",
        "Pictures",
        section="pictures",
        made=made,
        is_first=after is None,
        older=None if page.next_after is None else urlencode({"after": page.next_after}),
        calls=[
            visit.call("usage/requests", state="captured", limit=_ON_A_PAGE, after=after),
            *(visit.call(f"requests/{one.request.id}/images") for one in made[:1]),
        ],
    )


def _read(tx: Transaction, visit: Visit, after: str | None) -> tuple[RequestPage, int]:
    page = analytics.list_requests(
        tx, visit.member.workspace_id, visit.mode, limit=_ON_A_PAGE, after=after, state="captured"
    )
    return page, tx.now_ms()


def _thumbnails(visit: Visit, one: RequestSummary) -> list[str]:
    count = 1 if one.usage is None else one.usage.images
    return [
        address(visit, one.id, f"{index}.thumbnail.webp", one.result_expires_at_ms) for index in range(max(count, 1))
    ]
