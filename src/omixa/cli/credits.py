"""omixa credits: grant, list."""

from __future__ import annotations

import datetime

import click

from omixa.billing.lots import Lot, LotKind, LotTerms
from omixa.cli.context import MODES, Context, actor, json_option, print_json, print_table, workspace_option
from omixa.domain.access import Mode
from omixa.domain.money import format_usd, parse_usd
from omixa.domain.times import iso_time, iso_time_or_none, start_of

LOT_FIELDS = ("id", "kind", "priority", "amount", "remaining", "pinned", "effective", "expires")

mode_option = click.option("--mode", type=MODES, required=True, help="Real money or play money.")


@click.group()
def credits() -> None:  # noqa: A001 - the command's name
    """Grant and list credit."""


@credits.command("grant")
@workspace_option
@mode_option
@click.option("--amount", required=True, help="USD, for example 25.00")
@click.option("--reason", required=True, help="Why; it is kept in the ledger and the audit log.")
@click.option(
    "--kind", type=click.Choice(["paid", "promo"]), default="paid", show_default=True, help="Promotions burn first."
)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day (UTC) on which it can be spent.")
@click.option("--priority", type=int, default=0, show_default=True, help="Smaller ones burn first, from -100 to 100.")
@click.option("--reference", help="Grants with the same reference are booked once.")
@json_option
@click.pass_obj
def grant(
    context: Context,
    *,
    workspace: str,
    mode: Mode,
    amount: str,
    reason: str,
    kind: LotKind,
    expires: datetime.datetime | None,
    priority: int,
    reference: str | None,
    as_json: bool,
) -> None:
    """Add credit to a workspace.

    Credit burns by priority, then by what expires first, then promotions before what was paid for.
    """
    try:
        amount_micro_usd = parse_usd(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    terms = LotTerms(kind, priority, None if expires is None else start_of(expires.date() + datetime.timedelta(days=1)))
    balance = context.run(
        lambda office: office.workspaces.grant(
            workspace=workspace,
            mode=mode,
            amount_micro_usd=amount_micro_usd,
            reason=reason,
            actor=actor(),
            terms=terms,
            reference=reference,
        )
    )
    if as_json:
        amounts = {"posted": balance.posted, "held": balance.held, "available": balance.available}
        print_json(
            {"workspace": workspace, "mode": mode} | {name: format_usd(value) for name, value in amounts.items()}
        )
    else:
        click.echo(f"{workspace} has ${format_usd(balance.available)} available in {mode} mode.")


@credits.command("list")
@workspace_option
@mode_option
@json_option
@click.pass_obj
def list_credit(context: Context, workspace: str, mode: Mode, as_json: bool) -> None:
    """List what a workspace has to spend, in the order in which it burns.

    What is pinned is set aside for requests in progress, which may spend it even after it has expired.
    """
    rows = [
        _row(lot) for lot in context.run(lambda office: office.workspaces.list_credit(workspace=workspace, mode=mode))
    ]
    if as_json:
        print_json([dict(zip(LOT_FIELDS, row, strict=True)) for row in rows])
    else:
        shown = [[("never" if cell is None else cell) for cell in row] for row in rows]
        print_table(LOT_FIELDS, shown, empty=f"{workspace} has no credit in {mode} mode.")


def _row(lot: Lot) -> tuple[object, ...]:
    expires = lot.terms.expires_at_ms
    return (
        lot.id,
        lot.terms.kind,
        lot.terms.priority,
        format_usd(lot.amount),
        format_usd(lot.remaining),
        format_usd(lot.pinned),
        iso_time(lot.effective_at_ms),
        iso_time_or_none(expires),
    )
