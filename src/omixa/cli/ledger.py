"""omixa ledger: verify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from omixa.cli.context import Context, json_option, print_json

if TYPE_CHECKING:
    from omixa.billing.verify import Verification
    from omixa.services import BackOffice


@click.group()
def ledger() -> None:
    """Check the money."""


@ledger.command("verify")
@json_option
@click.pass_obj
def verify_ledger(context: Context, as_json: bool) -> None:
    """Check every invariant of the ledger; exit 1 when one is broken."""
    from omixa.billing.verify import verify

    async def work(office: BackOffice) -> Verification:
        return await office.database.read(lambda tx: verify(tx, result_exists=office.blobs.has))

    report = context.run(work)
    if as_json:
        print_json({"clean": report.clean, "checked": report.checked, "findings": report.findings})
    else:
        for name, count in report.checked.items():
            click.echo(f"{name:<24} {count:>10} checked")
        for finding in report.findings:
            click.echo(f"BROKEN {finding}")
        click.echo("The ledger is clean." if report.clean else f"{len(report.findings)} findings.")
    if not report.clean:
        sys.exit(1)
