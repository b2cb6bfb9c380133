"""omixa keys: create, list, roll, revoke, set-budget, set-limits."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import click

from omixa.access.roles import SCOPES
from omixa.cli.budgets import (
    BudgetAmount,
    day_option,
    given_limits,
    month_option,
    print_budgets,
    require_some_limit,
)
from omixa.cli.context import MODES, Context, actor, json_option, print_json, print_table, workspace_option
from omixa.cli.limits import given_changes, limit_options, print_limits, require_some_change, told
from omixa.domain.access import Mode, Scope
from omixa.domain.times import end_of, iso_time

if TYPE_CHECKING:
    from omixa.access.store import KeyRow
    from omixa.services import BackOffice

KEY_FIELDS = (
    "id",
    "workspace",
    "mode",
    "name",
    "last4",
    "models",
    "signed",
    "limits",
    "created",
    "revoked",
    "expires",
    "scopes",
)


@click.group()
def keys() -> None:
    """Create, list and revoke API keys, and limit what they spend and how often they ask."""


@keys.command("create")
@workspace_option
@click.option(
    "--mode", type=MODES, required=True, help="live spends credit at a provider, test plays on the simulator."
)
@click.option("--name", default="", help="What the key is for.")
@click.option("--model", "models", multiple=True, help="Allow only this model; may be repeated. Default: every model.")
@click.option("--require-signature", is_flag=True, help="Refuse requests that are not signed; see docs/signing.md.")
@click.option("--budget-day", type=BudgetAmount(), help="USD that it may spend in a UTC day, for example 5.00")
@click.option("--budget-month", type=BudgetAmount(), help="USD that it may spend in a UTC month.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="The last day (UTC) on which it works.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    help="Make a key that manages instead of making pictures; may be repeated. Takes --for.",
)
@click.option(
    "--for", "acts_for", help="The owner or admin whom a key with scopes acts for, as far as their role goes."
)
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print the key with its id as JSON.")
@click.pass_obj
def create_key(
    context: Context,
    /,
    workspace: str,
    mode: Mode,
    name: str,
    models: tuple[str, ...],
    require_signature: bool,
    budget_day: int | str | None,
    budget_month: int | str | None,
    expires: datetime.datetime | None,
    scopes: tuple[Scope, ...],
    acts_for: str | None,
    as_json: bool,
    **limits: int | str | None,
) -> None:
    """Create a key and print it. It is shown this once and stored nowhere.

    With --require-signature, a second line is the secret with which its requests are signed.
    """
    if bool(scopes) != bool(acts_for):
        raise click.UsageError("--scope and --for go together.")

    async def work(office: BackOffice) -> None:
        allowed = [office.catalogue.resolve(model).id for model in models] or None
        key_id, secret = await office.workspaces.create_key(
            workspace=workspace,
            mode=mode,
            name=name,
            models=allowed,
            actor=actor(),
            requires_signature=require_signature,
            budgets=given_limits(budget_day, budget_month),
            limits=given_changes(limits),
            expires_at_ms=None if expires is None else end_of(expires.date()),
            scopes=scopes,
            acts_for=None if acts_for is None else acts_for.lower(),
        )
        secrets = {"key": secret.reveal()}
        if require_signature:
            secrets["signing_secret"] = office.workspaces.signing_secret(key_id).reveal()
        if as_json:
            print_json({"id": key_id, **secrets, "workspace": workspace, "mode": mode, "models": allowed})
        else:
            for text in secrets.values():
                click.echo(text)

    context.run(work)


@keys.command("list")
@click.option("--workspace", help="Only this workspace. Default: all.")
@json_option
@click.pass_obj
def list_keys(context: Context, workspace: str | None, as_json: bool) -> None:
    """List keys; a key itself is never shown again."""
    rows = context.run(lambda office: office.workspaces.list_keys(workspace))
    if as_json:
        print_json([dict(zip(KEY_FIELDS, _key_cells(row), strict=True)) for row in rows])
        return
    print_table(KEY_FIELDS, map(_key_cells, rows), empty="No keys yet. Create one: omixa keys create --mode test")


def _key_cells(row: KeyRow) -> tuple[str, ...]:
    models = "all" if row.models is None else " ".join(row.models)
    revoked = "" if row.revoked_at_ms is None else iso_time(row.revoked_at_ms)
    signed = "required" if row.requires_signature else ""
    created = iso_time(row.created_at_ms)
    expires = "" if row.expires_at_ms is None else iso_time(row.expires_at_ms)
    limits = told(row.limits)
    told_of = row.id, row.workspace, row.mode, row.name, row.last4, models, signed, limits, created, revoked, expires
    return *told_of, " ".join(row.scopes)


@keys.command("roll")
@click.argument("key_id")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0, 744),
    default=24,
    show_default=True,
    help="How long the old key goes on; 0 revokes it now.",
)
@click.pass_obj
def roll_key(context: Context, key_id: str, overlap_hours: int) -> None:
    """Print a new key that may do what KEY_ID may, which ends after a while. Budgets begin anew."""
    overlap_ms = overlap_hours * 3_600_000
    _, secret = context.run(lambda office: office.workspaces.roll_key(key_id, overlap_ms=overlap_ms, actor=actor()))
    click.echo(secret.reveal())


@keys.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_key(context: Context, key_id: str) -> None:
    """Revoke a key at once, by its id."""
    context.run(lambda office: office.workspaces.revoke_key(key_id, actor=actor()))
    click.echo(f"{key_id} is revoked.")


@keys.command("set-budget")
@click.argument("key_id")
@day_option
@month_option
@json_option
@click.pass_obj
def set_budget(context: Context, key_id: str, day: int | str | None, month: int | str | None, as_json: bool) -> None:
    """Set what a key may spend in a UTC day or month.

    What it has spent in the present one counts. Requests in progress go on.
    """
    limits = require_some_limit(day, month)
    found = context.run(lambda office: office.allowances.set_key_budget(key_id, limits, actor=actor()))
    print_budgets(key_id, found, as_json=as_json)


@keys.command("set-limits")
@click.argument("key_id")
@limit_options
@json_option
@click.pass_obj
def set_limits(context: Context, /, key_id: str, as_json: bool, **limits: int | str | None) -> None:
    """Set how often a key may ask and how many pictures it may make. Servers obey within seconds."""
    changes = require_some_change(limits)
    found = context.run(lambda office: office.allowances.set_key_limits(key_id, changes, actor=actor()))
    print_limits(key_id, found, as_json=as_json)
