"""omixa usage: list, show, export."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from omixa.cli.context import MODES, Context, json_option, print_json, print_table, workspace_option
from omixa.domain.access import Mode
from omixa.domain.money import format_usd
from omixa.domain.times import end_of, iso_time, start_of, utc_today
from omixa.errors import RequestNotFound

if TYPE_CHECKING:
    from omixa.gateway.exports import Form
    from omixa.services import BackOffice
    from omixa.usage.analytics import RequestSummary
    from omixa.usage.exports import What
    from omixa.usage.operators import OperatorView

USAGE_FIELDS = (
    "request",
    "created",
    "model",
    "operation",
    "state",
    "outcome",
    "images",
    "billed",
    "refunded",
    "adjusted",
)


@click.group()
def usage() -> None:
    """Read what was used."""


@usage.command("list")
@workspace_option
@click.option("--mode", type=MODES, default="live", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_usage(context: Context, workspace: str, mode: Mode, limit: int, as_json: bool) -> None:
    """List requests, newest first."""
    from omixa.usage import analytics

    async def work(office: BackOffice) -> Sequence[RequestSummary]:
        workspace_id = await office.workspaces.find(workspace)
        page = await office.database.read(lambda tx: analytics.list_requests(tx, workspace_id, mode, limit=limit))
        return page.requests

    rows = [_usage_cells(summary) for summary in context.run(work)]
    if as_json:
        print_json([dict(zip(USAGE_FIELDS, row, strict=True)) for row in rows])
    else:
        print_table(USAGE_FIELDS, rows, empty=f"No {mode} requests in workspace {workspace} yet.")


def _usage_cells(summary: RequestSummary) -> tuple[str | int, ...]:
    images = 0 if summary.usage is None else summary.usage.images
    outcome = summary.outcome or "running"
    amounts = (summary.charged_micro_usd, summary.refunded_micro_usd, summary.adjusted_micro_usd)
    created = iso_time(summary.created_at_ms)
    what = (summary.id, created, summary.model, summary.operation, summary.state, outcome, images)
    return *what, *map(format_usd, amounts)


@usage.command("show")
@click.argument("request_id")
@json_option
@click.pass_obj
def show_usage(context: Context, request_id: str, as_json: bool) -> None:
    """Tell what happened to a request, with the provider's own words for the operator."""
    from omixa.gateway.receipt import format_exact
    from omixa.usage.operators import find_for_operator

    async def work(office: BackOffice) -> OperatorView:
        view = await office.database.read(lambda tx: find_for_operator(tx, request_id))
        if view is None:
            raise RequestNotFound(f"There is no request {request_id[:80]}.")
        return view

    view = context.run(work)
    if as_json:
        print_json(view)
        return
    click.echo(f"{view.id}  {view.model} {view.operation}, workspace {view.workspace}, {view.mode}, key {view.key_id}")
    click.echo(f"  {view.state}, outcome {view.outcome or 'running'}, held ${format_usd(view.hold_amount)}")
    click.echo(f"  billed ${format_usd(view.charge_amount or 0)}, begun {iso_time(view.created_at_ms)}")
    if view.refunded_amount or view.adjusted_amount:
        corrected = f"refunded ${format_usd(view.refunded_amount)}, adjusted by ${format_usd(view.adjusted_amount)}"
        click.echo(f"  {corrected}")
    for call in view.calls:
        status = call.upstream_status or "no status"
        click.echo(f"  call {call.n}, picture {call.image_index}: {call.deployment}, {call.state}, {status}")
        if call.provider_request_id:
            click.echo(f"    provider's id  {call.provider_request_id}")
        if call.diagnostics:
            click.echo(f"    it said        {call.diagnostics}")
        if call.late_at_ms is not None:
            tenths = (call.late_at_ms - call.sent_at_ms + 50) // 100
            click.echo(f"    answered late  after {tenths // 10}.{tenths % 10} s")
        if call.cost_pico_usd:
            click.echo(f"    costs us       ${format_exact(call.cost_pico_usd)} ({call.cost_basis})")


@usage.command("export")
@workspace_option
@click.option("--mode", type=MODES, default="live", show_default=True)
@click.option("--what", type=click.Choice(["usage", "transfers"]), default="usage", show_default=True)
@click.option("--format", "form", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="The first UTC day; by default that of the month.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="The last UTC day; by default today.")
@click.pass_obj
def export_usage(
    context: Context,
    workspace: str,
    mode: Mode,
    what: What,
    form: Form,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> None:
    """Write the usage or the transfers of a period to standard output."""
    from omixa.gateway.exports import export
    from omixa.usage.exports import Period

    today = utc_today()
    first = today.replace(day=1) if since is None else since.date()
    last = today if until is None else until.date()
    if last < first:
        raise click.BadParameter("it must not lie before --since", param_hint="--until")

    async def work(office: BackOffice) -> None:
        workspace_id = await office.workspaces.find(workspace)
        period = Period(workspace_id, mode, start_of(first), end_of(last))
        async for piece in export(office.database, what, period, form):
            sys.stdout.buffer.write(piece)

    context.run(work)
