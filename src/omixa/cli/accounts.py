"""omixa accounts: add, list, show, change, enable, disable, remove, rewrap."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

import click

from omixa.cli.context import Context, actor, fail, json_option, print_json, print_table
from omixa.domain.access import Secret
from omixa.domain.accounts import ENTRA_SCOPE, Auth, ProviderAccount, Quality
from omixa.domain.times import iso_time

if TYPE_CHECKING:
    from omixa.access.envelopes import MasterKey
    from omixa.gateway.accounts import AccountChanges, AccountView

F = TypeVar("F", bound=Callable[..., Any])

FIELDS = (
    *("name", "provider", "endpoint", "auth", "fingerprint", "models", "deployment", "region", "weight", "priority"),
    *(
        "qualities",
        "requests_per_minute",
        "images_per_minute",
        "concurrency",
        "enabled",
        "problem",
        "created",
        "changed",
    ),
)
# What a list has room for.
COLUMNS = ("name", "provider", "endpoint", "auth", "fingerprint", "models", "weight", "priority", "enabled", "problem")

EXIT_USAGE = 2


def _options(command: F) -> F:
    """Add the options that say what an account is. Those that are not given are None, or empty where they may be repeated."""
    for option in reversed(
        (
            click.option("--endpoint", metavar="URL", help="Its address. Default: the provider's, if it has one."),
            click.option(
                "--auth",
                type=click.Choice(get_args(Auth)),
                help="A key, a token, or tokens that are fetched from Microsoft Entra. Default: api_key.",
            ),
            click.option("--entra-scope", help=f"What Entra's tokens are for. Default: {ENTRA_SCOPE}"),
            click.option("--api-key-env", metavar="VARIABLE", help="Take the key or token from a variable."),
            click.option("--model", "models", multiple=True, help="A model it serves; may be repeated. Default: all."),
            click.option(
                "--deployment", help="What the provider calls its one model, where that is not the model's name."
            ),
            click.option("--region", help="Where it is, for people."),
            click.option("--weight", type=int, help="Its share of the requests. Default: 1."),
            click.option("--priority", type=int, help="A lower number is tried first. Default: 0."),
            click.option(
                "--quality",
                "qualities",
                multiple=True,
                type=click.Choice(get_args(Quality)),
                help="What it is there for under the policy quality; may be repeated. Default: every one.",
            ),
            click.option("--requests-per-minute", type=int, help="Calls for a model in a minute; 0: no limit."),
            click.option("--images-per-minute", type=int, help="Pictures of a model in a minute; 0: no limit."),
            click.option("--concurrency", type=int, help="Calls for a model at a time; 0: no limit."),
        )
    ):
        command = option(command)
    return command


@click.group()
def accounts() -> None:
    """Keep accounts at providers in the database, their keys encrypted, beside those of omixa.toml."""


@accounts.command("add")
@click.argument("name")
@click.option("--provider", default="foundry", show_default=True, help="Who runs it: a provider of the catalogue.")
@_options
@click.pass_obj
def add(context: Context, /, name: str, provider: str, api_key_env: str | None, **given: Any) -> None:
    """Store the account NAME; running servers use it within seconds.

    Its key or token is asked for or, where nobody can be asked, read from standard input. It is never an argument.
    """
    fields = _given(given)
    if fields.get("auth") != "entra":
        fields["credential"] = _credential(api_key_env)
    account = ProviderAccount(name=name, provider=provider, **fields)
    context.run(lambda office: office.accounts.add(account, actor=actor()))
    click.echo(f"{name} is stored. Running servers use it within seconds; see `omixa routes show`.")


@accounts.command("list")
@json_option
@click.pass_obj
def list_accounts(context: Context, as_json: bool) -> None:
    """List stored accounts and what is wrong with them. A key itself is never shown again."""
    views = context.run(lambda office: office.accounts.list())
    if as_json:
        print_json([_shown(view) for view in views])
        return
    rows = [[_cell(_shown(view)[name]) for name in COLUMNS] for view in views]
    print_table(COLUMNS, rows, empty="No stored accounts yet. Store one: omixa accounts add NAME --endpoint URL")


@accounts.command("show")
@click.argument("name")
@json_option
@click.pass_obj
def show(context: Context, name: str, as_json: bool) -> None:
    """Show all that is known of the stored account NAME but its key."""
    shown = _shown(context.run(lambda office: office.accounts.show(name)))
    if as_json:
        print_json(shown)
    else:
        print_table(("field", "value"), [(field, _cell(shown[field])) for field in FIELDS], empty="")


@accounts.command("change")
@click.argument("name")
@click.option("--provider", help="Who runs it. Needs the key again.")
@_options
@click.option("--new-key", is_flag=True, help="Ask for a new key or token, or read it from standard input.")
@click.pass_obj
def change(context: Context, /, name: str, api_key_env: str | None, new_key: bool, **given: Any) -> None:
    """Change what is given of the stored account NAME. Another host of the endpoint needs the key again, with --new-key.

    Models replace those that were there; `--model all` lets it serve every one.
    """
    changes = _given(given)
    if new_key or api_key_env:
        changes["credential"] = _credential(api_key_env)
    if not changes:
        raise click.UsageError("Say what is to be changed.")
    checked = cast("AccountChanges", changes)
    context.run(lambda office: office.accounts.change(name, checked, actor=actor()))
    click.echo(f"{name} is changed.")


@accounts.command("enable")
@click.argument("name")
@click.pass_obj
def enable(context: Context, name: str) -> None:
    """Let the stored account NAME serve again."""
    context.run(lambda office: office.accounts.enable(name, actor=actor()))
    click.echo(f"{name} serves.")


@accounts.command("disable")
@click.argument("name")
@click.pass_obj
def disable(context: Context, name: str) -> None:
    """Let the stored account NAME serve nothing for now. Calls that are under way end as they do."""
    context.run(lambda office: office.accounts.disable(name, actor=actor()))
    click.echo(f"{name} serves nothing until it is enabled.")


@accounts.command("remove")
@click.argument("name")
@click.pass_obj
def remove(context: Context, name: str) -> None:
    """Forget the stored account NAME and its key. Past requests keep its name."""
    context.run(lambda office: office.accounts.remove(name, actor=actor()))
    click.echo(f"{name} is removed.")


@accounts.command("rewrap")
@click.option("--old-key-env", metavar="VARIABLE", help="The variable that holds the old master key.")
@click.option("--old-key-file", type=click.Path(path_type=Path), metavar="FILE", help="The file that holds it.")
@click.pass_obj
def rewrap(context: Context, old_key_env: str | None, old_key_file: Path | None) -> None:
    """Put all stored keys under the configured master key, from an old one, in one step.

    The configured one is OMIXA_CREDENTIALS_KEY or the file of the option credentials_key_file, which is made where it is missing.
    """
    old = _master_key(old_key_env, old_key_file)
    moved = context.run(lambda office: office.accounts.rewrap(old, actor=actor()))
    click.echo(f"{moved} stored {'key is' if moved == 1 else 'keys are'} under the new master key.")


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if given.get("models") == ("all",):
        given["models"] = ()
    return given


def _credential(variable: str | None) -> Secret:
    """Return the key that is given by a variable, by whoever is asked, or on standard input."""
    if variable is not None:
        text = os.environ.get(variable, "")
        if not text:
            fail(f"the variable {variable} is not set", EXIT_USAGE)
    elif sys.stdin.isatty():
        text = click.prompt("Key or token", hide_input=True)
    else:
        text = sys.stdin.readline()
    return Secret(text.strip())


def _master_key(variable: str | None, file: Path | None) -> MasterKey:
    from omixa.access.envelopes import MasterKey
    from omixa.config import credentials_key_bytes

    if (variable is None) == (file is None):
        raise click.UsageError("Give the old master key by exactly one of --old-key-env and --old-key-file.")
    place = variable or str(file)
    try:
        text = os.environ.get(variable, "") if variable is not None else file.read_text() if file is not None else ""
        return MasterKey(credentials_key_bytes(text))
    except OSError as error:
        fail(f"{place} cannot be read: {error.strerror}", EXIT_USAGE)
    except ValueError as error:
        fail(f"{place} holds no master key: {error}", EXIT_USAGE)


def _shown(view: AccountView) -> dict[str, object]:
    account = view.account
    return {
        "name": account.name,
        "provider": account.provider,
        "endpoint": account.endpoint,
        "auth": account.auth,
        "fingerprint": view.fingerprint,
        "models": list(account.models),
        "deployment": account.deployment,
        "region": account.region,
        "weight": account.weight,
        "priority": account.priority,
        "qualities": list(account.qualities),
        "requests_per_minute": account.requests_per_minute,
        "images_per_minute": account.images_per_minute,
        "concurrency": account.concurrency,
        "enabled": view.enabled,
        "problem": view.problem,
        "created": iso_time(view.created_at_ms),
        "changed": iso_time(view.updated_at_ms),
    }


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(value) or "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else str(value)
