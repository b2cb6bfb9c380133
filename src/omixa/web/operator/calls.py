"""Calls to providers that failed, and one request with all of its calls. Prompts and pictures are the customer's and not here."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from msgspec import Meta

from omixa.api.queries import CallQuery, Query, given, parse_query
from omixa.errors import InvalidRequest
from omixa.usage import operators
from omixa.web.console.charts import timeline
from omixa.web.console.visit import ID, Visit, nothing_here


class RequestChoice(Query):
    """Which request."""

    id: Annotated[str, Meta(description="The id of a request.")] = ""


async def list_calls(visit: Visit) -> None:
    """Send a page of the calls that brought no picture."""
    query = parse_query(visit.exchange, CallQuery, blank_is_missing=True)
    route, after = given(query.route), given(query.after)
    page = await visit.services.database.read(
        lambda tx: operators.failed_calls(tx, limit=query.limit, after=after, deployment=route)
    )
    filters = {} if route is None else {"route": route}
    await visit.send(
        "operator/calls.html",
        "Failed calls",
        section="calls",
        page_of=page.calls,
        route=route,
        routes=[one.id for one in visit.services.router.deployments],
        is_first=after is None,
        first=urlencode(filters),
        older=None if page.next_after is None else urlencode(filters | {"after": page.next_after}),
        explained={
            one.error_code
            for one in page.calls
            if one.error_code is not None and visit.site.page(f"docs/errors/{one.error_code}") is not None
        },
        calls=[visit.operator_call("calls", route=route, after=after)],
        commands=["omixa usage show REQUEST --json"],
    )


async def find_request(visit: Visit) -> None:
    """Lead to the request of an id. Raises InvalidRequest for what is none."""
    request_id = parse_query(visit.exchange, RequestChoice, blank_is_missing=True).id.strip()
    if not ID.fullmatch(request_id):
        raise InvalidRequest("Write the id of a request, such as req_ and 26 letters and digits.", param="id")
    await visit.redirect(f"operator/requests/{request_id}")


async def show_request(visit: Visit) -> None:
    """Send what happened to a request of any workspace, as the operator sees it."""
    request_id = visit.identifier("request")
    found = await visit.services.database.read(lambda tx: operators.find_for_operator(tx, request_id))
    if found is None:
        raise nothing_here()
    codes = {found.outcome, *(call.error_code for call in found.calls)}
    await visit.send(
        "operator/request.html",
        request_id,
        section="calls",
        request=found,
        steps=timeline(found.created_at_ms, found.ended_at_ms, found.calls),
        explained={code for code in codes if code and visit.site.page(f"docs/errors/{code}") is not None},
        calls=[visit.operator_call(f"requests/{request_id}")],
        commands=[f"omixa usage show {request_id} --json"],
    )
