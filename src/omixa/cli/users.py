"""omixa users: link, invite, list, remove, operator."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, get_args

import click

from omixa.cli.context import Context, actor, json_option, print_json, print_table, workspace_option
from omixa.domain.access import Role, Secret
from omixa.domain.times import iso_time

if TYPE_CHECKING:
    from omixa.access.people import PersonRow
    from omixa.config import Settings
    from omixa.services import BackOffice

USER_FIELDS = ("name", "workspace", "role", "operator", "password", "sessions", "since")


@click.group()
def users() -> None:
    """Say who may sign in to the console, where, and as what."""


def welcome_address(base: str, link: Secret) -> str:
    """Return the address of a one-time link below a server's."""
    return f"{base.rstrip('/')}/welcome/{link.reveal()}"


def browser_address(settings: Settings, port: int) -> str:
    """Return where a browser finds the pages: the public address or, without one, this machine's own."""
    # A server that listens everywhere is found here too, and without TLS people sign in here alone.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    return settings.public_url or f"http://{f'[{host}]' if ':' in host else host}:{port}"


@users.command("link")
@click.argument("name", default="owner")
@click.pass_obj
def make_link(context: Context, name: str) -> None:
    """Print a link by which NAME, or else the owner, sets a new password. It works once, within a day."""

    async def work(office: BackOffice) -> str:
        settings = office.settings
        link = await office.people.link(name, actor=actor())
        return welcome_address(browser_address(settings, settings.port), link)

    click.echo(context.run(work))


@users.command("invite")
@click.argument("name")
@workspace_option
@click.option(
    "--role",
    type=click.Choice(get_args(Role)),
    default="developer",
    show_default=True,
    help="What they may do; the page Console of the guide tells.",
)
@click.pass_obj
def invite(context: Context, name: str, workspace: str, role: Role) -> None:
    """Let NAME, for example an e-mail address, into a workspace, or give a member another role.

    Prints a link by which they set their password, unless they have one.
    """

    async def work(office: BackOffice) -> str | None:
        link = await office.people.invite(name, workspace=workspace, role=role, actor=actor())
        settings = office.settings
        return None if link is None else welcome_address(browser_address(settings, settings.port), link)

    address = context.run(work)
    click.echo(f"{name.lower()} is {role} of {workspace} and signs in as before." if address is None else address)


@users.command("list")
@click.option("--workspace", help="Only this workspace. Default: all.")
@json_option
@click.pass_obj
def list_users(context: Context, workspace: str | None, as_json: bool) -> None:
    """List who may sign in, and in how many browsers they are now."""
    rows = context.run(lambda office: office.people.list_people(workspace))
    if as_json:
        print_json([dict(zip(USER_FIELDS, _cells(row), strict=True)) for row in rows])
        return
    print_table(USER_FIELDS, map(_cells, rows), empty="Nobody yet. The owner gets a link: omixa users link")


def _cells(row: PersonRow) -> tuple[object, ...]:
    password = (
        "set" if row.has_password else "passkey" if row.has_passkey else "provider" if row.has_identity else "waits"
    )
    operator = "yes" if row.is_operator else "no"
    return row.name, row.workspace, row.role, operator, password, row.sessions, iso_time(row.created_at_ms)


@users.command("remove")
@click.argument("name")
@workspace_option
@click.pass_obj
def remove(context: Context, name: str, workspace: str) -> None:
    """Take NAME out of a workspace. Whoever belongs to none any more is signed out at once."""
    context.run(lambda office: office.people.remove(name, workspace=workspace, actor=actor()))
    click.echo(f"{name.lower()} does not belong to {workspace} any more.")


@users.command("operator")
@click.argument("name")
@click.option("--remove", is_flag=True, help="Let them run it no longer. The last operator stays one.")
@click.pass_obj
def set_operator(context: Context, name: str, remove: bool) -> None:
    """Let NAME run this gateway: routes, prices, the credit of every workspace, on the pages at /operator."""
    context.run(lambda office: office.people.set_operator(name, is_operator=not remove, actor=actor()))
    click.echo(f"{name.lower()} {'does not run' if remove else 'runs'} this gateway{' any more' if remove else ''}.")


@users.command("token")
@click.pass_obj
def make_token(context: Context) -> None:
    """Print a token with which a program may call the API of operators, /api/v1/operator/…, for a minute."""

    async def issue(office: BackOffice) -> str:
        return office.workspaces.operator_tokens().issue(actor=actor(), now_s=int(time.time())).reveal()

    click.echo(context.run(issue))
