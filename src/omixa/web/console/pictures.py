"""What was made and is still kept, newest first: narrowed down in the address, with what became of its credentials.

Where the workspace keeps its prompts they are shown, and pictures are found by their words.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET, Meta, UnsetType

from omixa.access import store
from omixa.api.account import request_filter
from omixa.api.queries import PromptWords, Query, RequestQuery, given, parse_query
from omixa.api.shapes import RequestId
from omixa.storage import prompts
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import RequestPage, RequestSummary, ResultPlace
from omixa.usage.search import search_requests, words_of
from omixa.web.console.requests import Picture, has_picture, kept_pictures
from omixa.web.console.visit import Visit

# Requests of which a page shows the pictures.
_ON_A_PAGE = 24
# How much of a prompt stands below its pictures.
_SHOWN_CHARS = 160


class PictureQuery(Query):
    """Which page, of which pictures."""

    after: Annotated[RequestId | UnsetType, Meta(description="The last request of the page before.")] = UNSET
    prompt: Annotated[
        PromptWords | UnsetType, Meta(description="Only pictures whose prompt has all of these words.")
    ] = UNSET
    model: Annotated[str | UnsetType, Meta(description="Only pictures of this model.")] = UNSET
    since: Annotated[datetime.date | UnsetType, Meta(description="Only pictures from this UTC day on.")] = UNSET
    until: Annotated[datetime.date | UnsetType, Meta(description="Only pictures until the end of this UTC day.")] = (
        UNSET
    )


@dataclass(frozen=True, slots=True)
class Made:
    """A request, what is kept of its pictures, and the beginning of its prompt, where that is kept."""

    request: RequestSummary
    pictures: Sequence[Picture]
    prompt: str


@dataclass(frozen=True, slots=True)
class _Read:
    page: RequestPage
    places: Sequence[ResultPlace | None]
    keeps_prompts: bool
    prompts: Mapping[str, str]
    now_ms: int


async def show_pictures(visit: Visit) -> None:
    """Send the page. What is filtered and where it begins stands in its address."""
    asked = parse_query(visit.exchange, PictureQuery, blank_is_missing=True)
    filters = {name: str(value) for name, value in msgspec.to_builtins(asked).items()}
    query = RequestQuery(
        limit=_ON_A_PAGE, after=asked.after, model=asked.model, since=asked.since, until=asked.until, state="captured"
    )
    words = words_of(given(asked.prompt) or "")
    read = await visit.services.database.read(partial(_read, visit=visit, query=query, words=words))
    found = [
        (one, place)
        for one, place in zip(read.page.requests, read.places, strict=True)
        if has_picture(one, read.now_ms)
    ]
    kept = await asyncio.gather(*(kept_pictures(visit, one.id, place) for one, place in found))
    made = [
        Made(one, pictures, _beginning(read.prompts.get(one.id, "")))
        for (one, _), (pictures, _) in zip(found, kept, strict=True)
        if pictures
    ]
    older = None if read.page.next_after is None else urlencode(filters | {"after": read.page.next_after})
    await visit.send(
        "console/pictures.html",
        "Pictures",
        section="pictures",
        made=made,
        models=visit.services.catalogue.model_ids,
        query=filters,
        has_filters=bool(filters.keys() - {"after"}),
        keeps_prompts=read.keeps_prompts,
        words=words,
        cut_after=read.page.cut_after,
        older=older,
        calls=[
            visit.call("usage/requests", state="captured", limit=_ON_A_PAGE, **filters),
            *(visit.call(f"requests/{one.request.id}/images") for one in made[:1]),
        ],
    )


def _read(tx: Transaction, visit: Visit, query: RequestQuery, words: Sequence[str]) -> _Read:
    workspace_id, mode = visit.member.workspace_id, visit.mode
    keeps_prompts = store.result_settings(tx, workspace_id).keeps_prompts
    after, only = given(query.after), request_filter(query, visit.services)
    if not words:
        page = analytics.list_requests(tx, workspace_id, mode, limit=query.limit, after=after, only=only)
    elif keeps_prompts:
        page = search_requests(tx, workspace_id, mode, words, limit=query.limit, after=after, only=only)
    else:
        page = RequestPage((), None)
    ids = [one.id for one in page.requests]
    return _Read(
        page,
        [analytics.find_result(tx, workspace_id, mode, request_id) for request_id in ids],
        keeps_prompts,
        prompts.find(tx, ids) if keeps_prompts else {},
        tx.now_ms(),
    )


def _beginning(prompt: str) -> str:
    return prompt if len(prompt) <= _SHOWN_CHARS else prompt[:_SHOWN_CHARS].rstrip() + "…"
