"""What the pages of operators show, for programs: GET /operator/calls, accounts, workspaces, prices, findings and audit."""

from __future__ import annotations

from omixa.access import audit
from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.queries import AuditQuery, CallQuery, FindingQuery, WorkspaceQuery, given, parse_query
from omixa.billing import reconciliation
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.gateway.accounts import AccountView
from omixa.gateway.price_lists import published_lists
from omixa.gateway.receipt import format_exact
from omixa.services import Services
from omixa.usage import holdings, operators


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


async def list_accounts(exchange: Exchange, services: Services) -> None:
    """Send the accounts at providers that are stored, without their keys."""
    data = [_account(one) for one in await services.accounts.list()]
    await exchange.respond_json(shapes.ProviderAccountList(data=data))


def _account(view: AccountView) -> shapes.ProviderAccount:
    account = view.account
    return shapes.ProviderAccount(
        name=account.name,
        provider=account.provider,
        endpoint=account.endpoint or None,
        auth=account.auth,
        key_fingerprint=view.fingerprint or None,
        is_enabled=view.enabled,
        problem=view.problem,
        models=list(account.models),
        deployment=account.deployment or None,
        region=account.region or None,
        weight=account.weight,
        priority=account.priority,
        requests_per_minute=account.requests_per_minute or None,
        images_per_minute=account.images_per_minute or None,
        concurrency=account.concurrency or None,
        created_at=iso_time(view.created_at_ms),
        updated_at=iso_time(view.updated_at_ms),
    )


async def list_workspaces(exchange: Exchange, services: Services) -> None:
    """Send a page of the workspaces."""
    query = parse_query(exchange, WorkspaceQuery)
    page = await services.database.read(
        lambda tx: holdings.list_holdings(tx, limit=query.limit, first=given(query.first))
    )
    data = [
        shapes.OperatedWorkspace(
            id=one.id,
            name=one.name,
            available=format_usd(one.available_micro_usd),
            held=format_usd(one.held_micro_usd),
            spent=format_usd(one.spent_micro_usd),
            requests=one.requests,
            markup_ppm=one.markup_ppm,
            created_at=iso_time(one.created_at_ms),
            suspended_at=None if one.suspended_at_ms is None else iso_time(one.suspended_at_ms),
        )
        for one in page.holdings
    ]
    await exchange.respond_json(shapes.OperatedWorkspaceList(data=data, next_first=page.next_first))


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
