"""omixa refunds: create."""

from __future__ import annotations

import click

from omixa.cli.context import Context, actor, json_option, print_json
from omixa.domain.money import format_usd, parse_usd


@click.group()
def refunds() -> None:
    """Give charges back."""


@refunds.command("create")
@click.argument("request_id")
@click.option("--amount", help="USD, for example 0.02. Default: all that is left of the charge.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger and the audit log.")
@click.option("--key", help="The same key refunds a request once, however often the command is run.")
@json_option
@click.pass_obj
def create_refund(
    context: Context, request_id: str, amount: str | None, reason: str, key: str | None, as_json: bool
) -> None:
    """Give back the charge of a request, or a part of it. All refunds together are never more than the charge."""
    from omixa.gateway.corrections import Corrections

    try:
        amount_micro_usd = None if amount is None else parse_usd(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    made = context.run(
        lambda office: Corrections(office.database).refund(
            request_id, amount_micro_usd=amount_micro_usd, reason=reason, key=key, actor=actor()
        )
    )
    if as_json:
        amounts = {
            "amount": made.amount_micro_usd,
            "refunded": made.refunded_micro_usd,
            "charged": made.charged_micro_usd,
        }
        named = {name: format_usd(value) for name, value in amounts.items()}
        print_json({"id": made.transfer_id, "request": request_id, **named, "repeated": made.repeated})
        return
    done = "was refunded before under this key" if made.repeated else "is refunded"
    click.echo(f"${format_usd(made.amount_micro_usd)} of {request_id} {done}, transfer {made.transfer_id}.")
    click.echo(f"  ${format_usd(made.refunded_micro_usd)} of ${format_usd(made.charged_micro_usd)} in all")
