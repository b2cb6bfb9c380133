"""The request log: a page of it, the same as a file, and one request with its pictures, receipt and attempts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args
from urllib.parse import urlencode

import msgspec
from msgspec import UnsetType

from omixa.access import store
from omixa.api.account import request_filter
from omixa.api.links import PATH as PICTURES
from omixa.api.queries import MAX_PAGE, RequestQuery, parse_query
from omixa.api.receipts import receipt_shape
from omixa.billing.receipts import Receipt, read_receipt
from omixa.domain.images import Provenance
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.errors import StorageUnavailable
from omixa.gateway.exports import csv_lines
from omixa.gateway.results import BrokenResult
from omixa.storage import prompts
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import RequestDetails, RequestPage, RequestState, RequestSummary, ResultPlace
from omixa.web.console.charts import timeline
from omixa.web.console.keys import key_names
from omixa.web.console.visit import Visit, nothing_here
from omixa.web.problems import outcome_codes

_ON_A_PAGE = 50
# What a file holds; older ones follow after its last.
_IN_A_FILE = 1000

_COLUMNS = (
    *("request_id", "created_at", "ended_at", "key_id", "key_name", "model", "operation", "state", "outcome", "images"),
    *("held_amount", "billed_amount", "refunded_amount"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A request in a list. `thumbnail` is the address of a small picture below the root, where there is one to see."""

    request: RequestSummary
    key_name: str
    thumbnail: str | None

    @property
    def duration_ms(self) -> int | None:
        """Return how long it took."""
        ended = self.request.ended_at_ms
        return None if ended is None else max(ended - self.request.created_at_ms, 0)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is kept, with addresses below the root that lead to it for a while."""

    index: int
    size: str
    format: str
    size_bytes: int
    url: str
    thumbnail: str
    provenance: Provenance


def rows(visit: Visit, requests: Sequence[RequestSummary], key_names: Mapping[str, str], *, now_ms: int) -> list[Row]:
    """Return requests as a list shows them."""
    sees = visit.may("see_pictures")
    return [
        Row(
            one,
            key_names.get(one.key_id, one.key_id),
            address(visit, one.id, "0.thumbnail.webp", one.result_expires_at_ms)
            if sees and has_picture(one, now_ms)
            else None,
        )
        for one in requests
    ]


def has_picture(one: RequestSummary, now_ms: int) -> bool:
    """Tell whether pictures of a request are kept."""
    expires_at_ms = one.result_expires_at_ms
    return one.state == "captured" and one.result_deleted_at_ms is None and (expires_at_ms or 0) > now_ms


def address(visit: Visit, request_id: str, name: str, kept_until_ms: int | None) -> str:
    """Return an address below the root that leads to a picture for a while."""
    lifetime_s = visit.services.settings.links.lifetime_minutes * 60
    expires_s = min(int(time.time()) + lifetime_s, (kept_until_ms or 0) // 1000)
    return visit.services.links.sign(f"{PICTURES}/{request_id}/{name}", expires_s).removeprefix("/")


# ------------------------------------------------------------------------------------------------------------------- many


async def list_requests(visit: Visit) -> None:
    """Send a page of the log. What is filtered and where the page begins stands in its address."""
    query = _query(visit, _ON_A_PAGE)
    page, key_names, now_ms = await visit.services.database.read(partial(_read_page, visit=visit, query=query))
    given = _given(query)
    older = None if page.next_after is None else urlencode(given | {"after": page.next_after})
    await visit.send(
        "console/requests.html",
        "Requests",
        section="requests",
        rows=rows(visit, page.requests, key_names, now_ms=now_ms),
        key_names=key_names,
        models=visit.services.catalogue.model_ids,
        states=get_args(RequestState),
        outcomes=["ok", *outcome_codes()],
        query=given,
        has_filters=bool(given.keys() - {"limit", "after"}),
        older=older,
        csv=urlencode({name: value for name, value in given.items() if name != "limit"}),
        calls=[visit.call("usage/requests", **given)],
    )


async def requests_csv(visit: Visit) -> None:
    """Send up to a thousand requests as a file."""
    query = _query(visit, MAX_PAGE)
    found: list[RequestSummary] = []
    while len(found) < _IN_A_FILE:
        page, key_names, _ = await visit.services.database.read(partial(_read_page, visit=visit, query=query))
        found += page.requests
        if page.next_after is None:
            break
        query = msgspec.structs.replace(query, after=page.next_after)
    lines = [_line(one, key_names.get(one.key_id, "")) for one in found]
    await visit.send_csv(f"requests-{visit.member.workspace}-{visit.mode}.csv", csv_lines([_COLUMNS, *lines]))


def _query(visit: Visit, limit: int) -> RequestQuery:
    query = parse_query(visit.exchange, RequestQuery, blank_is_missing=True)
    return msgspec.structs.replace(query, limit=limit)


def _given(query: RequestQuery) -> dict[str, str]:
    values: Mapping[str, Any] = msgspec.to_builtins(query)
    return {name: str(value) for name, value in values.items()}


def _read_page(tx: Transaction, visit: Visit, query: RequestQuery) -> tuple[RequestPage, dict[str, str], int]:
    after = None if isinstance(query.after, UnsetType) else query.after
    page = analytics.list_requests(
        tx,
        visit.member.workspace_id,
        visit.mode,
        limit=query.limit,
        after=after,
        only=request_filter(query, visit.services),
    )
    return page, _key_names(visit, tx), tx.now_ms()


def _key_names(visit: Visit, tx: Transaction) -> dict[str, str]:
    return key_names(store.list_keys(tx, visit.member.workspace), visit.mode)


def _line(one: RequestSummary, key_name: str) -> tuple[str | int, ...]:
    return (
        one.id,
        iso_time(one.created_at_ms),
        "" if one.ended_at_ms is None else iso_time(one.ended_at_ms),
        one.key_id,
        key_name,
        one.model,
        one.operation,
        one.state,
        one.outcome or "",
        0 if one.usage is None else one.usage.images,
        format_usd(one.held_micro_usd),
        format_usd(one.charged_micro_usd),
        format_usd(one.refunded_micro_usd),
    )


# -------------------------------------------------------------------------------------------------------------------- one


@dataclass(frozen=True, slots=True)
class _Read:
    details: RequestDetails
    receipt: Receipt | None
    place: ResultPlace | None
    key_name: str
    # What is kept of it, for whoever may see it.
    prompt: str | None


async def show_request(visit: Visit) -> None:
    """Send what happened to a request."""
    request_id = visit.identifier("request")
    read = await visit.services.database.read(lambda tx: _read_one(visit, tx, request_id))
    if read is None:
        raise nothing_here()
    summary, prompt = read.details.summary, read.prompt
    # Of a longer one than is kept, nobody knows the rest.
    is_whole = prompt is not None and len(prompt) < prompts.MAX_CHARS
    pictures, fault = await kept_pictures(visit, request_id, read.place)
    parameters = dict(read.details.parameters)
    given = parameters.pop("given", [])
    parameters.pop("rehearsal", None)
    await visit.send(
        "console/request.html",
        request_id,
        section="requests",
        row=Row(summary, read.key_name, None),
        details=read.details,
        requested_model=parameters.pop("requested_model", summary.model),
        parameters={name: _text(value) for name, value in parameters.items() if value not in (None, [], "auto", False)},
        steps=timeline(summary.created_at_ms, summary.ended_at_ms, read.details.attempts),
        again=urlencode(_again(summary, parameters, given, prompt if is_whole else None)),
        prompt=prompt,
        prompt_is_whole=is_whole,
        had_pictures=bool(parameters.get("input_images")),
        receipt=None if read.receipt is None else receipt_shape(read.receipt),
        pictures=pictures,
        picture_fault=fault,
        place=read.place,
        explained={
            code
            for code in (summary.outcome, *(step.error_code for step in read.details.attempts))
            if code is not None and visit.site.page(f"docs/errors/{code}") is not None
        },
        calls=[
            visit.call(f"requests/{request_id}"),
            visit.call(f"requests/{request_id}/receipt"),
            visit.call(f"requests/{request_id}/images"),
        ],
    )


async def delete_pictures(visit: Visit) -> None:
    """Delete what was made for a request; what it cost, and why, stays."""
    request_id, services = visit.identifier("request"), visit.services
    owner = (visit.member.workspace_id, visit.mode)
    await services.deletion.delete(request_id, owner=owner, actor=visit.member.person_id)
    services.thumbnails.forget(request_id)
    await visit.redirect(f"{visit.home}/requests/{request_id}")


def _read_one(visit: Visit, tx: Transaction, request_id: str) -> _Read | None:
    workspace_id = visit.member.workspace_id
    details = analytics.find_request(tx, workspace_id, visit.mode, request_id)
    if details is None:
        return None
    key_id, place = details.summary.key_id, analytics.find_result(tx, workspace_id, visit.mode, request_id)
    is_shown = (
        visit.may("see_pictures")
        and place is not None
        and place.ref is not None
        and store.result_settings(tx, workspace_id).keeps_prompts
    )
    return _Read(
        details,
        # The request was found in this workspace.
        read_receipt(tx, request_id),
        place,
        _key_names(visit, tx).get(key_id, key_id),
        prompts.find(tx, [request_id]).get(request_id) if is_shown else None,
    )


def _again(
    summary: RequestSummary, parameters: Mapping[str, Any], given: Sequence[str], prompt: str | None
) -> dict[str, str]:
    """Return what the playground fills in to make a request again beside what it brought. Given pictures are not kept."""
    fields = {name: parameters[name] for name in given if isinstance(parameters.get(name), str | int)}
    values = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in fields.items()
    }
    return {"model": summary.model, **({} if prompt is None else {"prompt": prompt}), **values, "before": summary.id}


async def kept_pictures(visit: Visit, request_id: str, place: ResultPlace | None) -> tuple[list[Picture], str | None]:
    """Return what is kept of a request's pictures, and why there are none where some should be."""
    if not visit.may("see_pictures") or place is None or place.ref is None or place.digest is None:
        return [], None
    try:
        kept = await visit.services.results.describe_with_provenance(request_id, place.ref, place.digest)
    except (BrokenResult, StorageUnavailable) as error:
        return [], str(error)
    return [
        Picture(
            index,
            f"{one.width}×{one.height}",
            one.format,
            one.size_bytes,
            address(visit, request_id, f"{index}.{one.format}", place.expires_at_ms),
            address(visit, request_id, f"{index}.thumbnail.webp", place.expires_at_ms),
            provenance,
        )
        for index, (one, provenance) in enumerate(kept)
    ], None


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
