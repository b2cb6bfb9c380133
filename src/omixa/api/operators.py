"""What the pages of operators show and do, for programs: calls, requests, prices, margins, findings and the audit log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from omixa.access import audit
from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.fields import read_fields
from omixa.api.queries import (
    AuditQuery,
    CallQuery,
    DifferenceQuery,
    FindingQuery,
    MarginQuery,
    MixQuery,
    given,
    parse_query,
    read_month,
)
from omixa.billing import reconciliation
from omixa.billing.ledger import CURRENCY
from omixa.billing.margins import margins
from omixa.domain.access import Mode
from omixa.domain.models import Model
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none, month_after, month_before
from omixa.errors import RequestNotFound
from omixa.gateway.price_lists import price_difference, published_lists, read_candidate_text
from omixa.gateway.receipt import format_exact
from omixa.gateway.reconciliation import Reconciliation
from omixa.services import Services
from omixa.usage import operators
from omixa.usage.operators import OperatorView, ProviderCallRow

_MAX_FILE_BYTES = 128 * 1024


async def list_failed_calls(exchange: Exchange, services: Services) -> None:
    """Send a page of the calls that brought no picture."""
    query = parse_query(exchange, CallQuery)
    page = await services.database.read(
        lambda tx: operators.failed_calls(
            tx, limit=query.limit, after=given(query.after), deployment=given(query.route)
        )
    )
    data = [
        shapes.FailedCall(
            id=one.id,
            request_id=one.request_id,
            workspace=one.workspace,
            mode=one.mode,
            model=one.model,
            route=one.deployment,
            state=one.state,
            http_status=one.upstream_status,
            code=one.error_code,
            sent_at=iso_time(one.sent_at_ms),
            ended_at=iso_time(one.ended_at_ms),
        )
        for one in page.calls
    ]
    last_id = data[-1].id if data else None
    await exchange.respond_json(shapes.FailedCallList(data=data, last_id=last_id, has_more=page.next_after is not None))


async def list_route_calls(exchange: Exchange, services: Services) -> None:
    """Send how the calls of the last hours ended, by deployment."""
    hours = int(parse_query(exchange, MixQuery).hours)
    mix = await services.database.read(lambda tx: operators.call_mix(tx, since_ms=tx.now_ms() - hours * 3_600_000))
    data = [
        shapes.RouteCalls(route=route, calls=one.calls, failed=one.failed, errors=dict(one.errors))
        for route, one in sorted(mix.items())
    ]
    is_cut = sum(one.calls for one in data) >= operators.MAX_CALLS
    await exchange.respond_json(shapes.RouteCallsList(hours=hours, is_cut=is_cut, data=data))


async def get_operated_request(exchange: Exchange, services: Services) -> None:
    """Send a request of any workspace with its calls and what they cost. Raises RequestNotFound."""
    request_id: str = exchange.path_parameters["request"].replace("\0", "")
    found = await services.database.read(lambda tx: operators.find_for_operator(tx, request_id))
    if found is None:
        raise RequestNotFound(f"There is no request {request_id[:80]}.", param="request")
    await exchange.respond_json(_request(found))


def _request(found: OperatorView) -> shapes.OperatedRequest:
    return shapes.OperatedRequest(
        id=found.id,
        workspace=found.workspace,
        mode=found.mode,
        key_id=found.key_id,
        model=found.model,
        operation=found.operation,
        state=found.state,
        outcome=found.outcome,
        held_amount=format_usd(found.hold_amount),
        billed_amount=None if found.charge_amount is None else format_usd(found.charge_amount),
        refunded_amount=format_usd(found.refunded_amount),
        adjusted_amount=format_usd(found.adjusted_amount),
        created_at=iso_time(found.created_at_ms),
        ended_at=iso_time_or_none(found.ended_at_ms),
        calls=[_call(one) for one in found.calls],
    )


def _call(one: ProviderCallRow) -> shapes.OperatedCall:
    return shapes.OperatedCall(
        attempt=one.n,
        image=one.image_index,
        route=one.deployment,
        state=one.state,
        provider_request_id=one.provider_request_id,
        http_status=one.upstream_status,
        code=one.error_code,
        diagnostics=one.diagnostics,
        cost=None if one.cost_pico_usd is None else format_exact(one.cost_pico_usd),
        cost_basis=one.cost_basis,
        sent_at=iso_time(one.sent_at_ms),
        ended_at=iso_time_or_none(one.ended_at_ms),
    )


async def list_prices(exchange: Exchange, services: Services) -> None:
    """Send every price list that was published."""
    today = services.pipeline.today()
    found = await services.database.read(lambda tx: published_lists(tx, services.catalogue, today))
    data = [
        shapes.PublishedPrices(
            model=one.model,
            version=one.prices.version,
            effective_from=one.prices.effective_from.isoformat(),
            standing=one.standing,
            prices={line.name: f"{line.usd} / {line.per:,}" for line in one.prices.lines},
        )
        for one in found
    ]
    await exchange.respond_json(shapes.PublishedPricesList(data=data))


async def get_price_difference(exchange: Exchange, services: Services) -> None:
    """Send who would pay how much more by the newest lists of the catalogue. Raises InvalidRequest, Overloaded."""
    query = parse_query(exchange, DifferenceQuery)
    await _send_difference(exchange, services, query.month, query.mode, services.catalogue.models.values())


async def compare_prices(exchange: Exchange, services: Services) -> None:
    """Send the same for the lists of a model file that is in no catalogue yet. Nothing of it is kept."""
    asked = await read_fields(exchange, services, shapes.PriceFile, most_bytes=_MAX_FILE_BYTES)
    configured = services.settings.catalogue_dir
    model = read_candidate_text(asked.file, Path(configured) if configured else None)
    await _send_difference(exchange, services, asked.month, asked.mode, (model,))


async def _send_difference(
    exchange: Exchange, services: Services, month: str, mode: Mode, candidates: Iterable[Model]
) -> None:
    today = services.pipeline.today()
    first = read_month(month) or month_before(today)
    with services.reports.slot():
        found = await services.database.read(
            lambda tx: price_difference(tx, services.catalogue, candidates, today=today, month=first, mode=mode)
        )
    data = [
        shapes.PriceComparison(
            workspace=row.workspace,
            model=row.model,
            requests=row.requests,
            charged=format_usd(row.charged_micro_usd),
            at_present=format_usd(row.old_micro_usd),
            at_new=format_usd(row.new_micro_usd),
            difference=format_usd(row.difference_micro_usd),
        )
        for row in found.rows
    ]
    await exchange.respond_json(
        shapes.PriceDifference(
            month=f"{first:%Y-%m}",
            mode=mode,
            currency=CURRENCY,
            new_versions={model: prices.version for model, prices in found.changed.items()},
            difference=format_usd(found.difference_micro_usd),
            data=data,
        )
    )


async def list_margins(exchange: Exchange, services: Services) -> None:
    """Send what is left of a month's charges, by model and provider; by default of this month. Raises InvalidRequest."""
    query = parse_query(exchange, MarginQuery)
    month = read_month(query.month) or services.pipeline.today().replace(day=1)
    found = await services.database.read(lambda tx: margins(tx, query.mode, month, month_after(month)))
    data = [
        shapes.WorkspaceMargin(
            month=row.month,
            model=row.model,
            provider=row.provider,
            requests=row.requests,
            charged=format_usd(row.charged_micro_usd),
            refunded=format_usd(row.refunded_micro_usd),
            adjusted=format_usd(row.adjusted_micro_usd),
            reported=format_exact(row.reported_pico_usd),
            estimated=format_exact(row.estimated_pico_usd),
            absorbed=format_exact(row.absorbed_pico_usd),
            margin=format_exact(row.margin_pico_usd),
            unknown_calls=row.unknown_calls,
        )
        for row in found
    ]
    await exchange.respond_json(
        shapes.MarginList(month=f"{month:%Y-%m}", mode=query.mode, currency=CURRENCY, data=data)
    )


async def accept_finding(exchange: Exchange, services: Services) -> None:
    """Explain a finding by taking over what the provider bills. Raises FindingNotFound, Conflict, InvalidRequest."""
    finding_id: str = exchange.path_parameters["finding"].replace("\0", "")
    asked = await read_fields(exchange, services, shapes.FindingNote)
    # Of a finding that is there, neither the provider nor its names of deployments are asked for again.
    judge = Reconciliation(services.database, "", {})
    await judge.accept(finding_id, note=asked.note, actor=exchange.operator)
    await exchange.respond_json(shapes.AcceptedFinding(id=finding_id, accepted=True))


async def list_findings(exchange: Exchange, services: Services) -> None:
    """Send a page of the findings that wait to be explained."""
    query = parse_query(exchange, FindingQuery)
    found, next_after = await services.database.read(
        lambda tx: reconciliation.open_findings(tx, limit=query.limit, after=given(query.after) or "")
    )
    data = [
        shapes.OpenFinding(
            id=one.id,
            provider=one.provider,
            kind=one.kind,
            call_id=one.attempt_id,
            request_id=one.request_id,
            line_id=one.statement_id,
            provider_request_id=one.provider_request_id,
            expected=None if one.expected_pico_usd is None else format_exact(one.expected_pico_usd),
            billed=format_exact(one.billed_pico_usd),
            found_at=iso_time(one.created_at_ms),
        )
        for one in found
    ]
    last_id = data[-1].id if data else None
    await exchange.respond_json(shapes.OpenFindingList(data=data, last_id=last_id, has_more=next_after is not None))


async def list_audit_entries(exchange: Exchange, services: Services) -> None:
    """Send a page of the audit log."""
    query = parse_query(exchange, AuditQuery)
    page = await services.database.read(
        lambda tx: audit.list_entries(
            tx,
            limit=query.limit,
            before=given(query.before),
            actor=given(query.actor),
            action=given(query.action),
            target=given(query.target),
        )
    )
    data = [
        shapes.AuditEntry(
            seq=one.seq,
            at=iso_time(one.at_ms),
            actor=one.actor,
            actor_name=one.actor_name,
            action=one.action,
            target=one.target,
            details=dict(one.details),
            hash=one.hash,
        )
        for one in page.entries
    ]
    await exchange.respond_json(shapes.AuditEntryList(data=data, next_before=page.next_before))
