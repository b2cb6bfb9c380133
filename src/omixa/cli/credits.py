"""omixa credits: grant."""

from __future__ import annotations

import click

from omixa.cli.context import MODES, Context, actor, json_option, print_json, workspace_option
from omixa.domain.access import Mode
from omixa.domain.money import format_usd, parse_usd


@click.group()
def credits() -> None:  # noqa: A001 - the command's name
    """Grant credit."""


@credits.command("grant")
@workspace_option
@click.option("--mode", type=MODES, required=True, help="Real money or play money.")
@click.option("--amount", required=True, help="USD, for example 25.00")
@click.option("--reason", required=True, help="Why; it is kept in the ledger and the audit log.")
@json_option
@click.pass_obj
def grant(context: Context, workspace: str, mode: Mode, amount: str, reason: str, as_json: bool) -> None:
    """Add credit to a workspace."""
    try:
        amount_micro_usd = parse_usd(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    balance = context.run(
        lambda office: office.workspaces.grant(
            workspace=workspace, mode=mode, amount_micro_usd=amount_micro_usd, reason=reason, actor=actor()
        )
    )
    if as_json:
        amounts = {"posted": balance.posted, "held": balance.held, "available": balance.available}
        print_json(
            {"workspace": workspace, "mode": mode} | {name: format_usd(value) for name, value in amounts.items()}
        )
    else:
        click.echo(f"{workspace} has ${format_usd(balance.available)} available in {mode} mode.")
