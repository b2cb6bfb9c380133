"""omixa budgets: list, and the options by which other commands set budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from omixa.cli.context import Context, json_option, print_json, print_table
from omixa.domain.money import format_usd, parse_usd
from omixa.domain.times import iso_time

if TYPE_CHECKING:
    from omixa.billing.budgets import Budget, Period
    from omixa.gateway.allowances import Limits

BUDGET_FIELDS = ("workspace", "mode", "key", "period", "limit", "spent", "held", "available", "resets_at")
_NO_LIMIT = "none"


class BudgetAmount(click.ParamType[int | str]):
    """An amount in US dollars as micro-USD, or `none`."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return micro-USD, or the word that takes a budget away."""
        if not isinstance(value, str) or value == _NO_LIMIT:
            return value
        try:
            return parse_usd(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


day_option = click.option("--day", type=BudgetAmount(), help="USD in a UTC day, for example 5.00; none takes it away.")
month_option = click.option("--month", type=BudgetAmount(), help="USD in a UTC month; none takes it away.")


def given_limits(day: int | str | None, month: int | str | None) -> Limits:
    """Return the budgets that a command line names."""
    given: Mapping[Period, int | str | None] = {"day": day, "month": month}
    return {period: _limit(value) for period, value in given.items() if value is not None}


def require_some_limit(day: int | str | None, month: int | str | None) -> Limits:
    """Return the budgets that a command line names; it must name one."""
    limits = given_limits(day, month)
    if not limits:
        raise click.UsageError("give --day, --month or both")
    return limits


def _limit(value: int | str) -> int | None:
    return value if isinstance(value, int) else None


def print_budgets(subject: str, found: Sequence[Budget], *, as_json: bool) -> None:
    """Print the budgets that a key or a workspace has now."""
    if as_json:
        print_json([{"period": one.period, **_amounts(one)} for one in found])
        return
    for one in found:
        click.echo(
            f"{subject} may spend ${format_usd(one.limit_micro_usd)} a {one.period}:"
            f" ${format_usd(one.available)} are left until {iso_time(one.resets_at_ms)}."
        )
    if not found:
        click.echo(f"{subject} has no budget.")


def _amounts(one: Budget) -> dict[str, str]:
    amounts = {
        "limit": one.limit_micro_usd,
        "spent": one.spent_micro_usd,
        "held": one.held_micro_usd,
        "available": one.available,
    }
    return {name: format_usd(value) for name, value in amounts.items()} | {"resets_at": iso_time(one.resets_at_ms)}


@click.group("budgets")
def budgets_group() -> None:
    """Show budgets; keys set-budget and workspaces set-budget change them."""


@budgets_group.command("list")
@click.option("--workspace", help="Only this workspace. Default: all.")
@json_option
@click.pass_obj
def list_budgets(context: Context, workspace: str | None, as_json: bool) -> None:
    """List budgets and what they have spent in the present day or month."""
    found = context.run(lambda office: office.allowances.list_budgets(workspace))
    rows = [
        {
            "workspace": one.workspace,
            "mode": one.mode,
            "key": one.budget.subject.key_id,
            "period": one.budget.period,
            **_amounts(one.budget),
        }
        for one in found
    ]
    if as_json:
        print_json(rows)
    else:
        cells = [[row[name] or "all" for name in BUDGET_FIELDS] for row in rows]
        print_table(BUDGET_FIELDS, cells, empty="No budgets yet. Set one: omixa keys set-budget KEY --day 5.00")
