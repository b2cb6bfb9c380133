"""The command line, one module for each group of commands.

What a command needs beyond the configuration is imported when it runs, because shells start `omixa` for each completion.
"""

from __future__ import annotations

from pathlib import Path

import click

from omixa import __version__
from omixa.cli import (
    accounts,
    budgets,
    completion,
    configuration,
    credits,  # noqa: A004 - the command's name
    keys,
    ledger,
    models,
    prices,
    receipts,
    reconcile,
    refunds,
    results,
    routes,
    serve,
    simulate,
    statements,
    usage,
    users,
    workspaces,
)
from omixa.cli.context import Context
from omixa.cli.memory import collect_seldom


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="omixa", message="%(version)s")
@click.option("--data", metavar="DIR", help="Data directory; also OMIXA_DATA_DIR. Default: ./omixa-data")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options; also OMIXA_CONFIG. Default: ./omixa.toml",
)
@click.pass_context
def main(context: click.Context, data: str | None, file: Path | None) -> None:
    """Run and manage Omixa, a self-hosted gateway for AI images."""
    collect_seldom()
    context.obj = Context(data, file)


for _command in (
    serve.serve,
    keys.keys,
    users.users,
    credits.credits,
    usage.usage,
    workspaces.workspaces,
    budgets.budgets_group,
    statements.statements_group,
    ledger.ledger,
    receipts.receipts,
    reconcile.reconcile,
    refunds.refunds,
    results.results,
    models.models,
    routes.routes,
    accounts.accounts,
    prices.prices,
    configuration.config_group,
    simulate.simulate,
    completion.completion,
):
    main.add_command(_command)
