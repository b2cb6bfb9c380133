"""omixa ledger: verify, rerate."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from omixa.cli.context import MODES, Context, actor, json_option, print_json, print_table
from omixa.domain.access import Mode
from omixa.domain.money import format_usd

if TYPE_CHECKING:
    from omixa.billing.corrections import Verdict
    from omixa.billing.verify import Verification
    from omixa.gateway.corrections import ReratingReport
    from omixa.services import BackOffice


@click.group()
def ledger() -> None:
    """Check and correct the money."""


@ledger.command("verify")
@json_option
@click.pass_obj
def verify_ledger(context: Context, as_json: bool) -> None:
    """Check every invariant of the ledger; exit 1 when one is broken."""
    from omixa.gateway.verification import verify_all

    async def work(office: BackOffice) -> Verification:
        return await verify_all(office.database, office.blobs)

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


RERATING_FIELDS = ("workspace", "requests", "old", "new", "difference")
# What each verdict means, in the order in which they are told.
_VERDICTS: Mapping[Verdict, str] = {
    "posted": "adjusted",
    "unchanged": "cost the same",
    "repeated": "adjusted before by this re-rating",
    "uncovered": "not adjusted: the workspace has not enough available",
    "refunded": "not adjusted: more than the new price was refunded",
}
_day = click.DateTime(["%Y-%m-%d"])


@ledger.command("rerate")
@click.option("--model", required=True, help="The model whose charges are rated again.")
@click.option("--mode", type=MODES, default="live", show_default=True)
@click.option("--from", "since", type=_day, required=True, help="The first UTC day.")
@click.option("--to", "until", type=_day, required=True, help="The last UTC day.")
@click.option("--price-version", required=True, help="The prices that should have been charged: omixa prices list")
@click.option("--reason", required=True, help="Why; it is kept in the ledger and the audit log.")
@click.option("--label", default="", help="Tells apart re-ratings that are otherwise the same.")
@click.option("--dry-run", is_flag=True, help="Show what would be posted and write nothing.")
@json_option
@click.pass_obj
def rerate(
    context: Context,
    model: str,
    mode: Mode,
    since: datetime.datetime,
    until: datetime.datetime,
    price_version: str,
    reason: str,
    label: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Rate charges again at other prices and post the differences as adjustments of today.

    Each request keeps its markup. Running the same re-rating again posts nothing twice. A dearer price is posted only where the
    workspace has the difference available; exit code 1 says that some requests could not be adjusted.
    """
    from omixa.gateway.corrections import Corrections, Rerating

    async def work(office: BackOffice) -> ReratingReport:
        known = office.catalogue.resolve(model).id
        rerating = Rerating(known, mode, since.date(), until.date(), price_version, label)
        return await Corrections(office.database).rerate(rerating, reason=reason, actor=actor(), dry_run=dry_run)

    report = context.run(work)
    left = sum(report.counts.get(verdict, 0) for verdict in ("uncovered", "refunded"))
    if as_json:
        print_json(_rerating(report))
    else:
        print_table(RERATING_FIELDS, _sums(report), empty=f"No {mode} charges of {model} in that time.")
        for verdict, meaning in _VERDICTS.items():
            if count := report.counts.get(verdict):
                click.echo(f"{count:>10} {meaning}")
        for one in report.left:
            click.echo(f"  {one.request_id} {one.verdict}: ${format_usd(one.difference_micro_usd)}")
        click.echo(f"{'Would be' if dry_run else 'Is'} {report.rerating.id} in the ledger and the audit log.")
    if left:
        sys.exit(1)


def _sums(report: ReratingReport) -> list[tuple[str | int, ...]]:
    return [
        (
            *(workspace, sums.requests),
            *map(format_usd, (sums.old_micro_usd, sums.new_micro_usd, sums.new_micro_usd - sums.old_micro_usd)),
        )
        for workspace, sums in sorted(report.workspaces.items())
    ]


def _rerating(report: ReratingReport) -> dict[str, object]:
    return {
        "id": report.rerating.id,
        "dry_run": report.dry_run,
        "counts": {verdict: report.counts.get(verdict, 0) for verdict in _VERDICTS},
        "workspaces": [dict(zip(RERATING_FIELDS, row, strict=True)) for row in _sums(report)],
        "left": [
            {"request": one.request_id, "why": one.verdict, "difference": format_usd(one.difference_micro_usd)}
            for one in report.left
        ],
    }
