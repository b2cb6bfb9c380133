"""omixa statements: close, list, show."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from omixa.cli.context import MODES, Context, json_option, print_json, print_table, workspace_option
from omixa.domain.access import Mode
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.errors import StatementNotFound

if TYPE_CHECKING:
    from omixa.billing.months import Statement
    from omixa.services import BackOffice

STATEMENT_FIELDS = ("month", "opening", "moved", "closing", "closed")
# Accounts that are looked up at a time, and statements that are listed.
_BATCH = 200
_MAX_STATEMENTS = 120

mode_option = click.option("--mode", type=MODES, default="live", show_default=True, help="Real money or play money.")


@click.group("statements")
def statements_group() -> None:
    """Close months and read their statements."""


@statements_group.command("close")
@click.pass_obj
def close(context: Context) -> None:
    """Close all months that are over, of every workspace. A running server does that by itself."""
    from omixa.billing import months

    async def work(office: BackOffice) -> int:
        closed = 0
        while accounts := await office.database.read(functools.partial(months.unclosed_accounts, limit=_BATCH)):
            for account_id in accounts:
                closed += await office.database.write(functools.partial(months.close_months, account_id=account_id))
        return closed

    count = context.run(work)
    click.echo(f"{count} {'month' if count == 1 else 'months'} closed.")


@statements_group.command("list")
@workspace_option
@mode_option
@json_option
@click.pass_obj
def list_statements(context: Context, workspace: str, mode: Mode, as_json: bool) -> None:
    """List a workspace's closed months, newest first."""
    from omixa.billing import months

    async def work(office: BackOffice) -> list[Statement]:
        workspace_id = await office.workspaces.find(workspace)
        return await office.database.read(
            lambda tx: months.list_statements(tx, months.find_account(tx, workspace_id, mode), limit=_MAX_STATEMENTS)
        )

    rows = [
        (
            one.month,
            format_usd(one.opening),
            format_usd(one.closing - one.opening),
            format_usd(one.closing),
            iso_time(one.closed_at_ms),
        )
        for one in context.run(work)
    ]
    if as_json:
        print_json([dict(zip(STATEMENT_FIELDS, row, strict=True)) for row in rows])
    else:
        print_table(STATEMENT_FIELDS, rows, empty=f"No month of {workspace} is closed yet.")


@statements_group.command("show")
@click.argument("month")
@workspace_option
@mode_option
@json_option
@click.pass_obj
def show(context: Context, month: str, workspace: str, mode: Mode, as_json: bool) -> None:
    """Show what moved in a closed month, such as 2026-10."""
    from omixa.billing import months

    async def work(office: BackOffice) -> Statement:
        workspace_id = await office.workspaces.find(workspace)
        found = await office.database.read(
            lambda tx: months.find_statement(tx, months.find_account(tx, workspace_id, mode), month)
        )
        if found is None:
            raise StatementNotFound(f"{month[:20]} of {workspace} is not closed.", param="month")
        return found

    one = context.run(work)
    if as_json:
        from omixa.api.statements import statement_shape

        print_json(statement_shape(one, workspace, mode))
        return
    rows: list[tuple[object, ...]] = [("opening", "", format_usd(one.opening))]
    rows += [(line.kind, line.transfers, format_usd(line.amount)) for line in one.lines]
    rows += [("closing", "", format_usd(one.closing))]
    print_table(("kind", "transfers", "amount"), rows, empty="")
