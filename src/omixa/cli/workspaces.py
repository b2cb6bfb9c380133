"""omixa workspaces: list, set-markup, set-budget, set-limits, set-routes, set-results, set-alert, resume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import click

from omixa.cli.budgets import BudgetAmount, day_option, month_option, print_budgets, require_some_limit
from omixa.cli.context import MODES, Context, actor, json_option, print_json, print_table, workspace_option
from omixa.cli.limits import limit_options, print_limits, require_some_change, told
from omixa.domain.access import UNCONSTRAINED, Constraints, Mode, ResponseFormat
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.gateway.workspaces import HOUR_MS, MAX_RETENTION_HOURS, ResultChanges, RouteChanges

if TYPE_CHECKING:
    from omixa.services import BackOffice

WORKSPACE_FIELDS = ("id", "name", "markup_ppm", "limits", "routes", "results", "created", "suspended")
# What 0 and NULL are called.
_DELIVERY, _DEFAULT = "delivery", "default"
_ANY = "any"
_MAX_NAME = 63


@click.group()
def workspaces() -> None:
    """List workspaces, and set what they pay, may spend, how often they may ask, where, and how results are kept."""


@workspaces.command("list")
@json_option
@click.pass_obj
def list_workspaces(context: Context, as_json: bool) -> None:
    """List workspaces and their markup in parts per million."""
    found = context.run(lambda office: office.workspaces.list_workspaces())
    rows = [
        (
            row.id,
            row.name,
            row.markup_ppm,
            told(row.limits),
            "" if row.constraints == UNCONSTRAINED else str(row.constraints),
            _results_told(row.result_retention_ms, row.response_format, row.keep_prompts),
            iso_time(row.created_at_ms),
            iso_time_or_none(row.suspended_at_ms),
        )
        for row in found
    ]
    if as_json:
        print_json([dict(zip(WORKSPACE_FIELDS, row, strict=True)) for row in rows])
    else:
        print_table(WORKSPACE_FIELDS, [(*row[:-1], row[-1] or "") for row in rows], empty="No workspaces yet.")


@workspaces.command("set-markup")
@workspace_option
@click.option("--ppm", "markup_ppm", type=int, required=True, help="Parts per million; below zero it is a discount.")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@json_option
@click.pass_obj
def set_markup(context: Context, workspace: str, markup_ppm: int, reason: str, as_json: bool) -> None:
    """Set what a workspace pays above the price lists, or below them, from its next request on.

    100000 ppm are ten percent more, -100000 ten percent less. Requests in progress keep the markup they were held with.
    """
    before = context.run(
        lambda office: office.workspaces.set_markup(
            workspace=workspace, markup_ppm=markup_ppm, reason=reason, actor=actor()
        )
    )
    if as_json:
        print_json({"workspace": workspace, "markup_ppm": markup_ppm, "before_ppm": before})
    else:
        click.echo(f"{workspace} pays the price lists {markup_ppm:+d} ppm; before it was {before:+d} ppm.")


@workspaces.command("set-budget")
@workspace_option
@click.option("--mode", type=MODES, default="live", show_default=True, help="Real money or play money.")
@day_option
@month_option
@json_option
@click.pass_obj
def set_budget(
    context: Context, workspace: str, mode: Mode, day: int | str | None, month: int | str | None, as_json: bool
) -> None:
    """Set what all keys of a workspace together may spend in a UTC day or month.

    What they have spent in the present one counts. Requests in progress go on.
    """
    limits = require_some_limit(day, month)
    found = context.run(lambda office: office.allowances.set_workspace_budget(workspace, mode, limits, actor=actor()))
    print_budgets(f"{workspace} ({mode})", found, as_json=as_json)


@workspaces.command("set-limits")
@workspace_option
@limit_options
@json_option
@click.pass_obj
def set_limits(context: Context, /, workspace: str, as_json: bool, **limits: int | str | None) -> None:
    """Set how often all keys of a workspace together may ask, in each mode. Servers obey within seconds."""
    changes = require_some_change(limits)
    found = context.run(lambda office: office.allowances.set_workspace_limits(workspace, changes, actor=actor()))
    print_limits(workspace, found, as_json=as_json)


class Names(click.ParamType[tuple[str, ...] | None]):
    """Names with commas between them, or `any` for all."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names, in lower case, or the word for all."""
        if not isinstance(value, str) or value == _ANY:
            return value
        names = tuple(name.strip().lower() for name in value.split(","))
        if not all(0 < len(name) <= _MAX_NAME for name in names):
            self.fail(f'"{value[:40]}" is no list: write names with commas between them, or any', param, ctx)
        return names


@workspaces.command("set-routes")
@workspace_option
@click.option("--providers", type=Names(), help="Providers that its requests may go to, such as foundry,openai; any.")
@click.option("--regions", type=Names(), help="Regions that they may go to, such as swedencentral; any.")
@json_option
@click.pass_obj
def set_routes(
    context: Context,
    workspace: str,
    providers: tuple[str, ...] | str | None,
    regions: tuple[str, ...] | str | None,
    as_json: bool,
) -> None:
    """Set which providers and regions requests of a workspace may go to. Servers obey within seconds.

    The models that come with Omixa are of the provider embedded. What runs inside the server is in every region; elsewhere a
    deployment without a region is in none.
    """
    changes: RouteChanges = {}
    if providers is not None:
        changes["providers"] = None if isinstance(providers, str) else frozenset(providers)
    if regions is not None:
        changes["regions"] = None if isinstance(regions, str) else frozenset(regions)
    if not changes:
        raise click.UsageError("give --providers, --regions or both")

    async def work(office: BackOffice) -> Constraints:
        known = {one.lower() for one in office.catalogue.providers}
        for name in changes.get("providers") or ():
            if name not in known:
                raise click.BadParameter(
                    f"no provider is called {name}; known: {', '.join(sorted(known))}", param_hint="--providers"
                )
        return await office.workspaces.set_routes(workspace, changes, actor=actor())

    allowed = context.run(work)
    if as_json:
        lists = {"providers": allowed.providers, "regions": allowed.regions}
        print_json(
            {"workspace": workspace, **{kind: None if one is None else sorted(one) for kind, one in lists.items()}}
        )
    else:
        click.echo(f"Requests of {workspace} may go to {allowed}.")


class RetentionHours(click.ParamType[int | str]):
    """A whole number of hours, `delivery` for until results are delivered, or `default` for what the options say."""

    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the hours, 0 for until results are delivered, or the word for what is usual."""
        if not isinstance(value, str) or value == _DEFAULT:
            return value
        if value == _DELIVERY:
            return 0
        if not (value.isascii() and value.isdigit() and 0 < int(value) <= MAX_RETENTION_HOURS):
            self.fail(
                f'"{value[:40]}" is no retention: write hours from 1 to {MAX_RETENTION_HOURS}, delivery or default',
                param,
                ctx,
            )
        return int(value)


@workspaces.command("set-results")
@workspace_option
@click.option("--keep-hours", type=RetentionHours(), help="Hours to keep results; delivery, or default.")
@click.option(
    "--response-format",
    type=click.Choice(get_args(ResponseFormat)),
    help="How pictures come back where a request does not say: inside the answer, as links, or both.",
)
@click.option(
    "--keep-prompts/--no-keep-prompts",
    default=None,
    help="Keep prompts beside the pictures, for the workspace to search; no deletes those that are kept.",
)
@json_option
@click.pass_obj
def set_results(
    context: Context,
    workspace: str,
    keep_hours: int | str | None,
    response_format: ResponseFormat | None,
    keep_prompts: bool | None,
    as_json: bool,
) -> None:
    """Set how long results of a workspace are kept, how its pictures come back, and whether its prompts are kept with them.

    A shorter time counts for what is kept already too, a longer one for new results. With delivery, a result is deleted a
    minute after its answer was sent.
    """
    changes: ResultChanges = {}
    if keep_hours is not None:
        changes["retention_hours"] = keep_hours if isinstance(keep_hours, int) else None
    if response_format is not None:
        changes["response_format"] = response_format
    if keep_prompts is not None:
        changes["keep_prompts"] = keep_prompts
    if not changes:
        raise click.UsageError("give --keep-hours, --response-format or --keep-prompts")
    found = context.run(lambda office: office.workspaces.set_results(workspace, changes, actor=actor()))
    if as_json:
        hours = None if found.retention_ms is None else found.retention_ms // HOUR_MS
        print_json(
            {
                "workspace": workspace,
                "retention_hours": hours,
                "response_format": found.response_format,
                "keep_prompts": found.keep_prompts,
            }
        )
    else:
        told_results = _results_told(found.retention_ms, found.response_format, found.keep_prompts)
        click.echo(f"Results of {workspace}: {told_results or 'as usual'}.")


def _results_told(retention_ms: int | None, response_format: ResponseFormat, keep_prompts: bool) -> str:
    """Return what was set of a workspace's results, empty where all is usual."""
    words = []
    if retention_ms is not None:
        words.append(f"kept {retention_ms // HOUR_MS} hours" if retention_ms else "kept until delivered")
    if response_format != "b64_json":
        words.append({"url": "as links", "both": "inside the answer and as links"}[response_format])
    if keep_prompts:
        words.append("with their prompts")
    return ", ".join(words)


@workspaces.command("set-alert")
@workspace_option
@click.option("--mode", type=MODES, default="live", show_default=True, help="Real money or play money.")
@click.option("--below", type=BudgetAmount(), required=True, help="USD, for example 10.00; none ends the alert.")
@click.option("--email", help="Who is told; needs the options of [smtp]. Without it, the server's log alone tells.")
@click.pass_obj
def set_alert(context: Context, workspace: str, mode: Mode, below: int | str, email: str | None) -> None:
    """Tell when the balance of a workspace falls below an amount.

    One crossing is told once; it is told again when the balance has been a tenth above the amount in between.
    """
    amount = below if isinstance(below, int) else None
    if email is not None and not context.configuration().settings.smtp.host:
        raise click.BadParameter("no mail server is configured; see smtp.host", param_hint="--email")
    context.run(
        lambda office: office.workspaces.set_alert(
            workspace=workspace, mode=mode, below_micro_usd=amount, email=email, actor=actor()
        )
    )
    state = (
        "is not watched any more" if amount is None else f"is watched: below ${format_usd(amount)} there is an alert"
    )
    click.echo(f"The balance of {workspace} in {mode} mode {state}.")


@workspaces.command("resume")
@workspace_option
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@click.pass_obj
def resume(context: Context, workspace: str, reason: str) -> None:
    """Let a workspace spend again that was suspended because a payment of it was taken back."""
    resumed = context.run(lambda office: office.workspaces.resume(workspace=workspace, reason=reason, actor=actor()))
    click.echo(f"{workspace} may spend again." if resumed else f"{workspace} was not suspended.")
