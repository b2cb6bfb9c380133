"""Workspaces and their credit, for the operator's programs: what the page of a workspace tells and does."""

from __future__ import annotations

import msgspec
from msgspec import UnsetType

from omixa.api import shapes
from omixa.api.budgets import budget_shape
from omixa.api.exchange import Exchange
from omixa.api.fields import read_budgets, read_fields, read_last_day, read_usd
from omixa.api.queries import WorkspaceQuery, given, parse_query
from omixa.api.wallet import credit_shape
from omixa.billing.lots import LotTerms
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.errors import InvalidRequest, WorkspaceNotFound
from omixa.gateway.workspace_view import Wallet, WorkspaceView, read_workspace
from omixa.gateway.workspaces import HOUR_MS, ResultChanges
from omixa.services import Services
from omixa.usage import holdings


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
            suspended_at=iso_time_or_none(one.suspended_at_ms),
        )
        for one in page.holdings
    ]
    await exchange.respond_json(shapes.OperatedWorkspaceList(data=data, next_first=page.next_first))


async def get_workspace(exchange: Exchange, services: Services) -> None:
    """Send one of them with all that is set for it. Raises WorkspaceNotFound."""
    await _send(exchange, services, _name(exchange))


async def grant_credit(exchange: Exchange, services: Services) -> None:
    """Grant credit; with a reference once, however often it is sent. Raises WorkspaceNotFound, InvalidRequest, ReferenceUsed."""
    name = await _require(exchange, services)
    asked = await read_fields(exchange, services, shapes.CreditGrant)
    await services.workspaces.grant(
        workspace=name,
        mode=asked.mode,
        amount_micro_usd=read_usd(asked.amount, "amount"),
        reason=asked.reason,
        actor=exchange.operator,
        terms=LotTerms(asked.kind, 0, read_last_day(asked.expires)),
        reference=asked.reference,
    )
    await _send(exchange, services, name)


async def set_markup(exchange: Exchange, services: Services) -> None:
    """Set what the workspace pays above the price lists. Raises WorkspaceNotFound, InvalidRequest."""
    name = _name(exchange)
    asked = await read_fields(exchange, services, shapes.MarkupChange)
    await services.workspaces.set_markup(
        workspace=name, markup_ppm=asked.markup_ppm, reason=asked.reason, actor=exchange.operator
    )
    await _send(exchange, services, name)


async def set_budgets(exchange: Exchange, services: Services) -> None:
    """Set what all keys of the workspace together may spend. Raises WorkspaceNotFound, InvalidRequest."""
    name = _name(exchange)
    asked = await read_fields(exchange, services, shapes.WorkspaceBudgetChange)
    limits = read_budgets(asked.budget_day, asked.budget_month)
    if not limits:
        raise _nothing("budget_day", "budget_month")
    await services.allowances.set_workspace_budget(name, asked.mode, limits, actor=exchange.operator)
    await _send(exchange, services, name)


async def set_limits(exchange: Exchange, services: Services) -> None:
    """Set how often the workspace may ask. Raises WorkspaceNotFound, InvalidRequest."""
    name = _name(exchange)
    asked = await read_fields(exchange, services, shapes.WorkspaceLimitChange)
    fields = msgspec.structs.asdict(asked)
    changes = {limit: value for limit, value in fields.items() if not isinstance(value, UnsetType)}
    if not changes:
        raise _nothing(*fields)
    await services.allowances.set_workspace_limits(name, changes, actor=exchange.operator)
    await _send(exchange, services, name)


async def set_results(exchange: Exchange, services: Services) -> None:
    """Set how results are kept, also longer than is usual, and come back. Raises WorkspaceNotFound, InvalidRequest."""
    name = _name(exchange)
    asked = await read_fields(exchange, services, shapes.WorkspaceResultChange)
    changes: ResultChanges = {}
    if not isinstance(asked.retention_hours, UnsetType):
        changes["retention_hours"] = asked.retention_hours
    if not isinstance(asked.response_format, UnsetType):
        changes["response_format"] = asked.response_format
    if not changes:
        raise _nothing("retention_hours", "response_format")
    await services.workspaces.set_results(name, changes, actor=exchange.operator)
    await _send(exchange, services, name)


async def resume_workspace(exchange: Exchange, services: Services) -> None:
    """Let a suspended workspace spend again; one that is not suspended stays as it is. Raises WorkspaceNotFound."""
    name = _name(exchange)
    asked = await read_fields(exchange, services, shapes.Resumption)
    await services.workspaces.resume(workspace=name, reason=asked.reason, actor=exchange.operator)
    await _send(exchange, services, name)


def _name(exchange: Exchange) -> str:
    name: str = exchange.path_parameters["workspace"]
    return name.replace("\0", "")


async def _require(exchange: Exchange, services: Services) -> str:
    """Return the name of the workspace of the path. Raises WorkspaceNotFound: none is opened by a grant."""
    name = _name(exchange)
    await services.workspaces.find(name)
    return name


def _nothing(first: str, *others: str) -> InvalidRequest:
    return InvalidRequest(
        f"Give {', '.join((first, *others))}, or some of them.", code="missing_required_parameter", param=first
    )


# ---------------------------------------------------------------------------------------------------------------- answers


async def _send(exchange: Exchange, services: Services, name: str) -> None:
    found = await services.database.read(lambda tx: read_workspace(tx, name))
    if found is None:
        raise WorkspaceNotFound(f'There is no workspace "{name[:80]}".', param="workspace")
    await exchange.respond_json(_shape(found))


def _shape(view: WorkspaceView) -> shapes.OperatedWorkspaceDetails:
    one, constraints = view.workspace, view.workspace.constraints
    return shapes.OperatedWorkspaceDetails(
        id=one.id,
        name=one.name,
        markup_ppm=one.markup_ppm,
        requests_per_minute=one.limits.requests_per_minute,
        images_per_minute=one.limits.images_per_minute,
        concurrent_images=one.limits.concurrent_images,
        retention_hours=None if one.result_retention_ms is None else one.result_retention_ms // HOUR_MS,
        response_format=one.response_format,
        allowed_providers=None if constraints.providers is None else sorted(constraints.providers),
        allowed_regions=None if constraints.regions is None else sorted(constraints.regions),
        created_at=iso_time(one.created_at_ms),
        suspended_at=iso_time_or_none(one.suspended_at_ms),
        active_keys=view.keys,
        members=[shapes.OperatedMember(name=member.name, role=member.role) for member in view.members],
        wallets=[_wallet(wallet) for wallet in view.wallets],
    )


def _wallet(wallet: Wallet) -> shapes.OperatedWallet:
    return shapes.OperatedWallet(
        mode=wallet.mode,
        posted=format_usd(wallet.balance.posted),
        held=format_usd(wallet.balance.held),
        available=format_usd(wallet.balance.available),
        credit=[credit_shape(lot) for lot in wallet.lots],
        budgets=[budget_shape(budget) for budget in wallet.budgets.values()],
    )
