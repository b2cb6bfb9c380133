"""omixa reconcile: import, report, accept."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from omixa.cli.context import Context, actor, json_option, print_json, print_table
from omixa.domain.times import iso_time

if TYPE_CHECKING:
    from omixa.billing.reconciliation import Finding, Report
    from omixa.gateway.reconciliation import Imported, Reconciliation
    from omixa.services import BackOffice

FINDING_FIELDS = ("finding", "kind", "call", "request", "line", "provider_request_id", "expected", "billed", "found")

provider_option = click.option("--provider", default="foundry", show_default=True, help="Whose files and calls.")
_day = click.DateTime(["%Y-%m-%d"])


@click.group()
def reconcile() -> None:
    """Compare what providers bill with the calls that were made."""


@reconcile.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@provider_option
@click.option("--from", "since", type=_day, help="The first UTC day that the file covers. Default: its first line.")
@click.option("--to", "until", type=_day, help="The last UTC day that the file covers. Default: its last line.")
@json_option
@click.pass_obj
def import_file(
    context: Context,
    file: Path,
    provider: str,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    as_json: bool,
) -> None:
    """Import a provider's usage file (CSV) and compare it with the calls. Importing it again changes nothing."""
    from omixa.gateway.receipt import format_exact

    async def work(office: BackOffice) -> tuple[Imported, Report]:
        reconciliation = await _open(office, provider)
        imported = await reconciliation.import_file(
            file,
            since=None if since is None else since.date(),
            until=None if until is None else until.date(),
            actor=actor(),
        )
        return imported, await reconciliation.report()

    imported, report = context.run(work)
    summary = imported.summary
    if as_json:
        print_json(
            {
                "id": imported.file_id,
                "digest": summary.digest,
                "lines": summary.line_count,
                "new_lines": imported.new_lines,
                "amount": format_exact(summary.amount_pico_usd),
                "first": iso_time(summary.first_at_ms),
                "last": iso_time(summary.last_at_ms),
                "repeated": imported.repeated,
                "report": _report(report),
            }
        )
        return
    known = " It was imported before." if imported.repeated else ""
    click.echo(
        f"{summary.line_count} lines, {imported.new_lines} new, ${format_exact(summary.amount_pico_usd)}.{known}"
    )
    _show(report)


@reconcile.command("report")
@provider_option
@json_option
@click.pass_obj
def show_report(context: Context, provider: str, as_json: bool) -> None:
    """Show what is explained and what is open; exit 1 when a call has been open for more than 35 days."""

    async def work(office: BackOffice) -> Report:
        return await (await _open(office, provider)).report()

    report = context.run(work)
    if as_json:
        print_json(_report(report))
    else:
        _show(report)
    if report.overdue:
        sys.exit(1)


@reconcile.command("accept")
@click.argument("finding_id")
@provider_option
@click.option("--note", required=True, help="Why; it is kept with the finding and in the audit log.")
@click.pass_obj
def accept(context: Context, finding_id: str, provider: str, note: str) -> None:
    """Explain a finding by taking over what the provider bills as the cost of the call."""

    async def work(office: BackOffice) -> None:
        await (await _open(office, provider)).accept(finding_id, note=note, actor=actor())

    context.run(work)
    click.echo(f"{finding_id} is explained.")


async def _open(office: BackOffice, provider: str) -> Reconciliation:
    from omixa.errors import InvalidRequest
    from omixa.gateway.reconciliation import Reconciliation
    from omixa.services import deployments

    known = sorted({name for name, _ in office.catalogue.offers})
    if provider not in known:
        raise InvalidRequest(f'"{provider[:80]}" is not a provider; known: {", ".join(known)}', param="provider")
    stored = [one.account for one in await office.accounts.list() if one.problem is None]
    found = deployments(office.settings, office.catalogue, stored=stored)
    names = {one.id: one.deployment_name for one in found}
    return Reconciliation(office.database, provider, names)


def _show(report: Report) -> None:
    from omixa.gateway.receipt import format_exact

    ways = {
        "request": "matched by the provider's id",
        "hour": "matched by model, deployment and hour",
        "none": "no call",
    }
    for way, meaning in ways.items():
        if way in report.lines:
            lines = report.lines[way]
            click.echo(f"{lines.count:>10} lines  ${format_exact(lines.amount_pico_usd)}  {meaning}")
    click.echo(f"{report.calls['explained']:>10} calls explained, {report.calls['open']} open")
    if report.overdue:
        click.echo(f"ALERT: {report.overdue} calls have been open for more than 35 days")
    for (kind, state), count in sorted(report.findings.items()):
        click.echo(f"{count:>10} {kind}, {state}")
    if report.listed:
        print_table(FINDING_FIELDS, map(_cells, report.listed), empty="")


def _cells(finding: Finding) -> tuple[str, ...]:
    from omixa.gateway.receipt import format_exact

    expected = "" if finding.expected_pico_usd is None else format_exact(finding.expected_pico_usd)
    return (
        *(finding.id, finding.kind, finding.attempt_id or "", finding.request_id or "", finding.statement_id or ""),
        *(finding.provider_request_id or "", expected, format_exact(finding.billed_pico_usd)),
        iso_time(finding.created_at_ms),
    )


def _report(report: Report) -> dict[str, Any]:
    from omixa.gateway.receipt import format_exact

    return {
        "files": report.files,
        "lines": {
            way: {"count": lines.count, "amount": format_exact(lines.amount_pico_usd)}
            for way, lines in sorted(report.lines.items())
        },
        "calls": report.calls,
        "overdue": report.overdue,
        "findings": [
            {"kind": kind, "state": state, "count": count} for (kind, state), count in sorted(report.findings.items())
        ],
        "open": [dict(zip(FINDING_FIELDS, _cells(finding), strict=True)) for finding in report.listed],
    }
