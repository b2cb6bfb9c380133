"""What was made and is still kept, newest first: narrowed down in the address, with what became of its credentials."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, UnsetType

from omixa.api.account import request_filter
from omixa.api.queries import Query, RequestQuery, parse_query
from omixa.api.shapes import RequestId
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import RequestPage, RequestSummary, ResultPlace
from omixa.web.console.requests import Picture, has_picture, kept_pictures
from omixa.web.console.visit import Visit

# Requests of which a page shows the pictures.
_ON_A_PAGE = 24


class PictureQuery(Query):
    """Which page, of which pictures."""

    after: Annotated[RequestId | UnsetType, Meta(description="The last request of the page before.")] = UNSET
    model: Annotated[str | UnsetType, Meta(description="Only pictures of this model.")] = UNSET
    since: Annotated[datetime.date | UnsetType, Meta(description="Only pictures from this UTC day on.")] = UNSET
    until: Annotated[datetime.date | UnsetType, Meta(description="Only pictures until the end of this UTC day.")] = (
        UNSET
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A request and what is kept of its pictures."""

    request: RequestSummary
    pictures: Sequence[Picture]


@dataclass(frozen=True, slots=True)
class _Read:
    page: RequestPage
    places: Sequence[ResultPlace | None]
    now_ms: int


async def show_pictures(visit: Visit) -> None:
    """Send the page. What is filtered and where it begins stands in its address."""
    asked = parse_query(visit.exchange, PictureQuery, blank_is_missing=True)
    given = {name: str(value) for name, value in msgspec.to_builtins(asked).items()}
    query = RequestQuery(
        limit=_ON_A_PAGE, after=asked.after, model=asked.model, since=asked.since, until=asked.until, state="captured"
    )
    read = await visit.services.database.read(partial(_read, visit=visit, query=query))
    found = [
        (one, place)
        for one, place in zip(read.page.requests, read.places, strict=True)
        if has_picture(one, read.now_ms)
    ]
    kept = await asyncio.gather(*(kept_pictures(visit, one.id, place) for one, place in found))
    made = [Made(one, pictures) for (one, _), (pictures, _) in zip(found, kept, strict=True) if pictures]
    older = None if read.page.next_after is None else urlencode(given | {"after": read.page.next_after})
    await visit.send(
        "console/pictures.html",
        "Pictures",
        section="pictures",
        made=made,
        models=visit.services.catalogue.model_ids,
        query=given,
        has_filters=bool(given.keys() - {"after"}),
        older=older,
        calls=[
            visit.call("usage/requests", state="captured", limit=_ON_A_PAGE, **given),
            *(visit.call(f"requests/{one.request.id}/images") for one in made[:1]),
        ],
    )


def _read(tx: Transaction, visit: Visit, query: RequestQuery) -> _Read:
    workspace_id, mode = visit.member.workspace_id, visit.mode
    page = analytics.list_requests(
        tx,
        workspace_id,
        mode,
        limit=query.limit,
        after=None if isinstance(query.after, UnsetType) else query.after,
        only=request_filter(query, visit.services),
    )
    places = [analytics.find_result(tx, workspace_id, mode, one.id) for one in page.requests]
    return _Read(page, places, tx.now_ms())
