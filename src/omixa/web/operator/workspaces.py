"""Workspaces and their credit: the list, and one with what it may spend, how often it may ask and who belongs to it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import get_args
from urllib.parse import urlencode

from omixa.access import store
from omixa.api.queries import WorkspaceQuery, given, parse_query
from omixa.billing.budgets import PERIODS, Budget
from omixa.billing.lots import LotKind, LotTerms
from omixa.billing.pricing import MAX_MARKUP_PPM, MIN_MARKUP_PPM
from omixa.domain.access import Mode, ResponseFormat
from omixa.domain.ids import new_id
from omixa.domain.times import end_of
from omixa.errors import InvalidRequest, OmixaError
from omixa.gateway.workspace_view import read_workspace
from omixa.gateway.workspaces import HOUR_MS, MAX_RETENTION_HOURS, ResultChanges
from omixa.usage import holdings
from omixa.web.console.charts import share
from omixa.web.console.visit import Visit, nothing_here

_MODES: Sequence[Mode] = get_args(Mode)
# What a field of a limit calls no limit.
_NO_LIMIT = "none"
_MAX_DIGITS = 10


async def list_workspaces(visit: Visit) -> None:
    """Send a page of the workspaces. From which name on stands in its address."""
    query = parse_query(visit.exchange, WorkspaceQuery, blank_is_missing=True)
    first = given(query.first)
    page = await visit.services.database.read(lambda tx: holdings.list_holdings(tx, limit=query.limit, first=first))
    await visit.send(
        "operator/workspaces.html",
        "Workspaces",
        section="workspaces",
        holdings=page.holdings,
        first=first,
        further=None if page.next_first is None else urlencode({"first": page.next_first}),
        calls=[visit.operator_call("workspaces", first=first)],
        commands=[
            "omixa workspaces list --json",
            "omixa credits grant --workspace NEW --mode live --amount 25.00 --reason TEXT",
        ],
    )


# --------------------------------------------------------------------------------------------------------------------- one


async def show_workspace(visit: Visit) -> None:
    """Send a workspace."""
    await _send(visit)


async def _send(visit: Visit, error: OmixaError | None = None) -> None:
    name = _name(visit)
    read = await visit.services.database.read(lambda tx: read_workspace(tx, name))
    if read is None:
        raise nothing_here()
    settings = visit.services.settings
    retention_ms = read.workspace.result_retention_ms
    await visit.send(
        "operator/workspace.html",
        name,
        section="workspaces",
        status=200 if error is None else error.status,
        error=error,
        workspace=read.workspace,
        wallets=read.wallets,
        spent=_spent,
        members=read.members,
        keys=read.keys,
        periods=PERIODS,
        kinds=get_args(LotKind),
        limits=asdict(read.workspace.limits),
        usual_limits=asdict(settings.limits.of_workspaces),
        no_limit=_NO_LIMIT,
        least_ppm=MIN_MARKUP_PPM,
        most_ppm=MAX_MARKUP_PPM,
        hours=None if retention_ms is None else retention_ms // HOUR_MS,
        usual_hours=settings.result_retention_hours,
        most_hours=MAX_RETENTION_HOURS,
        response_formats=get_args(ResponseFormat),
        # A grant that is sent twice from one page is booked once.
        reference=new_id("page"),
        # What was written is not lost by a mistake.
        given={one: visit.form.text(one) for one in ("amount", "reason", "expires", "markup_ppm")} if error else {},
        calls=[
            visit.operator_call(f"workspaces/{name}"),
            visit.operator_call("audit", target=read.workspace.id),
            visit.operator_change(
                "POST", f"workspaces/{name}/credit", amount="25.00", mode="live", reason="invoice 4711"
            ),
            visit.operator_change("PATCH", f"workspaces/{name}/markup", markup_ppm=100_000, reason="ten percent"),
            visit.operator_change("PATCH", f"workspaces/{name}/budgets", mode="live", budget_month="25.00"),
            visit.operator_change("PATCH", f"workspaces/{name}/limits", requests_per_minute=60),
            visit.operator_change("PATCH", f"workspaces/{name}/results", retention_hours=24),
        ],
        commands=[
            f"omixa {command} --workspace {name} --help" for command in ("credits grant", "workspaces set-markup")
        ],
    )


def _spent(budget: Budget) -> int:
    return share(budget.spent_micro_usd, budget.limit_micro_usd)


def _name(visit: Visit) -> str:
    name: str = visit.exchange.path_parameters["name"]
    if "\0" in name:
        raise nothing_here()
    return name


async def _require(visit: Visit) -> str:
    """Return the name of the workspace of the path. Raises NotFound: none is opened by a form."""
    name = _name(visit)
    if await visit.services.database.read(lambda tx: store.find_workspace(tx, name)) is None:
        raise nothing_here()
    return name


async def grant(visit: Visit) -> None:
    """Grant credit, once however often the form is sent."""
    name, form = await _require(visit), visit.form
    try:
        amount = form.usd("amount")
        if amount is None:
            raise InvalidRequest("Write how much credit, for example 25.00.", param="amount")
        await visit.services.workspaces.grant(
            workspace=name,
            mode=_mode(visit),
            amount_micro_usd=amount,
            reason=form.text("reason"),
            actor=visit.visitor.person_id,
            terms=LotTerms("promo" if form.text("kind") == "promo" else "paid", 0, _expiry(visit)),
            reference=form.text("reference") or None,
        )
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def set_markup(visit: Visit) -> None:
    """Set what the workspace pays above the price lists, from its next request on."""
    name, form = await _require(visit), visit.form
    try:
        await visit.services.workspaces.set_markup(
            workspace=name,
            markup_ppm=_whole(form.text("markup_ppm"), "markup_ppm"),
            reason=form.text("reason"),
            actor=visit.visitor.person_id,
        )
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def set_budgets(visit: Visit) -> None:
    """Set what all keys of the workspace together may spend; what is left empty is taken away."""
    name = await _require(visit)
    try:
        limits = {period: visit.form.usd(f"budget-{period}") for period in PERIODS}
        await visit.services.allowances.set_workspace_budget(name, _mode(visit), limits, actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def set_limits(visit: Visit) -> None:
    """Set how often the workspace may ask; what is left empty is as usual."""
    name = await _require(visit)
    try:
        changes = {limit: _limit(visit, limit) for limit in asdict(visit.services.settings.limits.of_workspaces)}
        await visit.services.allowances.set_workspace_limits(name, changes, actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def set_results(visit: Visit) -> None:
    """Set how long results are kept, also longer than is usual, and how pictures come back."""
    name, form = await _require(visit), visit.form
    try:
        hours = form.text("retention_hours")
        changes: ResultChanges = {"retention_hours": _whole(hours, "retention_hours") if hours else None}
        for known in get_args(ResponseFormat):
            if form.text("response_format") == known:
                changes["response_format"] = known
        await visit.services.workspaces.set_results(name, changes, actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def resume(visit: Visit) -> None:
    """Let a suspended workspace spend again."""
    name = await _require(visit)
    try:
        await visit.services.workspaces.resume(
            workspace=name, reason=visit.form.text("reason"), actor=visit.visitor.person_id
        )
    except OmixaError as error:
        await _send(visit, error)
        return
    await _done(visit, name)


async def _done(visit: Visit, name: str) -> None:
    await visit.redirect(f"operator/workspaces/{name}")


# ------------------------------------------------------------------------------------------------------------------ fields


def _mode(visit: Visit) -> Mode:
    for known in _MODES:
        if visit.form.text("mode") == known:
            return known
    raise InvalidRequest("Choose live or test mode.", param="mode")


def _expiry(visit: Visit) -> int | None:
    text = visit.form.text("expires")
    if not text:
        return None
    try:
        return end_of(datetime.date.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("Write the last day of credit as 2027-01-31.", param="expires") from error


def _limit(visit: Visit, name: str) -> int | None:
    """Return a limit: None for what is usual, 0 for none."""
    text = visit.form.text(name)
    if text == _NO_LIMIT:
        return 0
    return _whole(text, name) if text else None


def _whole(text: str, name: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise InvalidRequest(f'"{text[:80]}" is no whole number.', param=name)
    return int(text)
