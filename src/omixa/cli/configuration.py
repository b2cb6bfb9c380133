"""omixa config: check."""

from __future__ import annotations

import click
import msgspec

from omixa.cli.context import Context, json_option, print_json, print_table


@click.group(name="config")
def config_group() -> None:
    """Explain the configuration."""


@config_group.command("check")
@json_option
@click.pass_obj
def check_config(context: Context, as_json: bool) -> None:
    """Print every option with its value and where that comes from. Secrets show as stars."""
    options = context.configuration().options()
    if as_json:
        print_json(
            [msgspec.structs.asdict(option) if isinstance(option, msgspec.Struct) else option for option in options]
        )
        return
    print_table(
        ("option", "value", "from", "what it is"),
        ((option.name, option.value, option.source, option.description) for option in options),
        empty="",
    )
    click.echo("\nThe configuration is valid.")
