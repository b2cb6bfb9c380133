"""What a workspace may read: its requests, its usage, its balance. Everything else does not exist for it."""

from __future__ import annotations

import datetime
import logging
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import UnsetType

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.permission import require_made_for
from omixa.api.queries import RequestQuery, RequestSearch, RollupQuery, parse_query
from omixa.api.receipts import rehearsal_shape
from omixa.api.timings import server_timing
from omixa.billing.ledger import CURRENCY, Balance
from omixa.billing.prices import load_prices
from omixa.billing.pricing import Charge, rate
from omixa.domain.access import Principal
from omixa.domain.money import format_usd
from omixa.domain.times import end_of, iso_time, iso_time_or_none, start_of
from omixa.errors import InvalidRequest, RequestNotFound
from omixa.gateway.receipt import format_exact, line_item_json, usage_json
from omixa.gateway.run import TimedCall
from omixa.services import Services
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import (
    AttemptStep,
    Correction,
    Grouping,
    RequestDetails,
    RequestFilter,
    RequestPage,
    RequestSummary,
    Rollup,
)
from omixa.usage.search import search_requests, words_of

log = logging.getLogger(__name__)

T = TypeVar("T")


# --------------------------------------------------------------------------------------------------------------- requests


async def get_request(exchange: Exchange, services: Services) -> None:
    """Send what happened to a request and how its charge came about. Raises RequestNotFound."""
    request_id, principal = exchange.path_parameters["request"], exchange.principal

    def read(tx: Transaction) -> tuple[RequestDetails, Charge | None]:
        details = analytics.find_request(tx, principal.workspace_id, principal.mode, request_id)
        if details is None:
            raise RequestNotFound(f"There is no request {request_id[:80]}.", param="request")
        return details, _charge(tx, details)

    details, charge = await services.database.read(read)
    told = _details(details, charge)
    calls = [
        TimedCall(call.attempt, call.route, call.outcome or "running", call.duration_ms or 0) for call in told.attempts
    ]
    steps = {} if told.duration_ms is None else {"total": told.duration_ms}
    await exchange.respond(200, b"application/json", msgspec.json.encode(told), [server_timing(steps, calls)])


async def list_requests(exchange: Exchange, services: Services) -> None:
    """Send a page of the request log and, in the header Link, where the next one is."""
    query, principal = parse_query(exchange, RequestSearch), exchange.principal
    asked, only = _given(query.prompt), request_filter(query, services)
    if asked is not None:
        require_made_for(principal, "see_pictures")
    if asked is not None and not principal.keeps_prompts:
        raise InvalidRequest(
            "This workspace keeps no prompts, so none can be looked through. Its settings say whether it does:"
            " keep_prompts, and retention_hours above 0.",
            param="prompt",
        )

    def read(tx: Transaction) -> RequestPage:
        owner, after = (principal.workspace_id, principal.mode), _given(query.after)
        if asked is None:
            return analytics.list_requests(tx, *owner, limit=query.limit, after=after, only=only)
        return search_requests(tx, *owner, words_of(asked), limit=query.limit, after=after, only=only)

    page = await services.database.read(read)
    data = [shapes.RequestSummary(**_summary(summary)) for summary in page.requests]
    answer = shapes.RequestList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=page.next_after or (data[-1].id if data else None),
        has_more=page.next_after is not None,
    )
    headers = [] if page.next_after is None else [(b"link", _next_page(exchange, services, query, page.next_after))]
    await exchange.respond(200, b"application/json", msgspec.json.encode(answer), headers)


def _next_page(exchange: Exchange, services: Services, query: RequestSearch, after: str) -> bytes:
    parameters = msgspec.to_builtins(msgspec.structs.replace(query, after=after))
    path = services.settings.public_path + exchange.scope["path"]
    return f'<{path}?{urlencode(parameters)}>; rel="next"'.encode()


def request_filter(query: RequestQuery, services: Services) -> RequestFilter:
    """Return which requests a query means. Raises InvalidRequest for days in the wrong order."""
    since, until = _given(query.since), _given(query.until)
    if since is not None and until is not None and until < since:
        raise InvalidRequest("until must not lie before since.", param="until")
    try:
        return RequestFilter(
            model=_model_id(services, _storable(query.model)),
            state=_given(query.state),
            outcome=_storable(query.outcome),
            key_id=_storable(query.key_id),
            since_ms=None if since is None else max(start_of(since), 0),
            until_ms=None if until is None else max(end_of(until), 0),
        )
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("That day is too far away.", param="until") from error


def _model_id(services: Services, name: str | None) -> str | None:
    """Return a model's name as it is written; one that has left the catalogue may still be in the log."""
    model = None if name is None else services.catalogue.models.get(name.lower())
    return name if model is None else model.id


def _storable(text: str | UnsetType) -> str | None:
    """Return what was given without the character that no database keeps."""
    return None if isinstance(text, UnsetType) else text.replace("\0", "")


def _charge(tx: Transaction, details: RequestDetails) -> Charge | None:
    """Compute a charge again from what is recorded for ever: usage, price version and markup."""
    if details.exact_pico_usd is None:
        return None
    return rate(details.summary.usages, load_prices(tx, details.price_version), markup_ppm=details.markup_ppm)


def _summary(summary: RequestSummary) -> dict[str, Any]:
    usage = summary.usage
    return {
        "id": summary.id,
        "created": summary.created_at_ms // 1000,
        "created_at": iso_time(summary.created_at_ms),
        "ended_at": iso_time_or_none(summary.ended_at_ms),
        "duration_ms": None if summary.ended_at_ms is None else summary.ended_at_ms - summary.created_at_ms,
        "state": summary.state,
        "outcome": summary.outcome,
        "model": summary.model,
        "operation": summary.operation,
        "key_id": summary.key_id,
        "usage": None if usage is None else msgspec.convert(usage_json(usage), shapes.Usage),
        "held_amount": format_usd(summary.held_micro_usd),
        "billed_amount": format_usd(summary.charged_micro_usd),
        "refunded_amount": format_usd(summary.refunded_micro_usd),
        "adjusted_amount": format_usd(summary.adjusted_micro_usd),
        "currency": CURRENCY,
        "result_expires_at": iso_time_or_none(summary.result_expires_at_ms),
        "result_deleted_at": iso_time_or_none(summary.result_deleted_at_ms),
        "joined_requests": summary.joined_requests,
        "parked_from": summary.parked_from,
    }


def _details(details: RequestDetails, charge: Charge | None) -> shapes.RequestDetails:
    summary = details.summary
    asked = dict(details.parameters)
    asked.pop("rehearsal", None)
    items = () if charge is None else charge.items
    return shapes.RequestDetails(
        **_summary(summary),
        mode=details.mode,
        error_code=None if summary.outcome == "ok" else summary.outcome,
        route=_route(details),
        requested_model=asked.pop("requested_model"),
        parameters=asked,
        price_version=details.price_version,
        line_items=[msgspec.convert(line_item_json(item), shapes.LineItem) for item in items],
        exact_amount=None if details.exact_pico_usd is None else format_exact(details.exact_pico_usd),
        markup_ppm=details.markup_ppm,
        attempts=[_attempt(step, summary.created_at_ms) for step in details.attempts],
        corrections=[_correction(made) for made in details.corrections],
        rehearsal=rehearsal_shape(details.parameters, len(details.attempts), summary.charged_micro_usd),
    )


def _correction(made: Correction) -> shapes.Correction:
    return shapes.Correction(
        id=made.id, kind=made.kind, amount=format_usd(made.credited_micro_usd), created_at=iso_time(made.at_ms)
    )


def _route(details: RequestDetails) -> str | None:
    """Return the deployment that made the first picture, as the answer named it."""
    made = [step for step in details.attempts if step.state == "ok"]
    return min(made, key=lambda step: step.image_index).deployment if made else None


def _attempt(step: AttemptStep, began_at_ms: int) -> shapes.AttemptStep:
    running = step.ended_at_ms is None
    return shapes.AttemptStep(
        attempt=step.n,
        image=step.image_index,
        route=step.deployment,
        outcome=None if running else "ok" if step.state == "ok" else step.error_code or step.state,
        offset_ms=max(step.sent_at_ms - began_at_ms, 0),
        duration_ms=None if step.ended_at_ms is None else max(step.ended_at_ms - step.sent_at_ms, 0),
        late_ms=None if step.late_at_ms is None else max(step.late_at_ms - step.sent_at_ms, 0),
    )


# ------------------------------------------------------------------------------------------------------------------ usage


async def list_rollups(exchange: Exchange, services: Services) -> None:
    """Send usage added up by day or month."""
    query, principal = parse_query(exchange, RollupQuery), exchange.principal
    by: frozenset[Grouping] = frozenset() if isinstance(query.group_by, UnsetType) else frozenset({query.group_by})
    sums = await services.database.read(
        lambda tx: analytics.rollups(
            tx,
            principal.workspace_id,
            principal.mode,
            period_type=query.period_type,
            since=_day(query.since),
            until=_day(query.until),
            by=by,
        )
    )
    await exchange.respond_json(
        shapes.RollupList(period_type=query.period_type, currency=CURRENCY, data=[_rollup(row) for row in sums])
    )


def _rollup(row: Rollup) -> shapes.Rollup:
    return shapes.Rollup(
        period=row.period,
        model=row.model,
        key_id=row.key_id,
        route=row.route,
        requests=row.requests,
        images=row.images,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        billed_amount=format_usd(row.amount_micro_usd),
        refunded_amount=format_usd(row.refunded_micro_usd),
        adjusted_amount=format_usd(row.adjusted_micro_usd),
    )


async def get_balance(exchange: Exchange, services: Services) -> None:
    """Send the balance that the key spends from."""
    principal = exchange.principal
    await exchange.respond_json(balance_shape(principal, await services.workspaces.balance(principal)))


def balance_shape(principal: Principal, balance: Balance) -> shapes.Balance:
    """Return the balance that a key spends from as it is sent."""
    return shapes.Balance(
        workspace=principal.workspace,
        mode=principal.mode,
        currency=CURRENCY,
        posted=format_usd(balance.posted),
        held=format_usd(balance.held),
        available=format_usd(balance.available),
    )


# ----------------------------------------------------------------------------------------------------------------- values


def _given(value: T | UnsetType) -> T | None:
    return None if isinstance(value, UnsetType) else value


def _day(day: datetime.date | UnsetType) -> str | None:
    return None if isinstance(day, UnsetType) else day.isoformat()
