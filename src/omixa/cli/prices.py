"""omixa prices: list, diff, margin."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omixa.cli.context import EXIT_CONFIG, MODES, Context, fail, json_option, print_json, print_table
from omixa.domain.access import Mode
from omixa.domain.money import PICO_PER_MICRO, format_percent, format_usd
from omixa.domain.times import month_after, month_before, utc_today

if TYPE_CHECKING:
    from omixa.billing.margins import Margin
    from omixa.billing.rerating import PriceComparison
    from omixa.domain.models import Model
    from omixa.gateway.price_lists import PriceDifference, PublishedList
    from omixa.services import BackOffice

PRICE_FIELDS = ("model", "version", "effective_from", "status", "prices")
DIFF_FIELDS = ("workspace", "model", "requests", "charged", "old", "new", "difference", "percent")
MARGIN_FIELDS = (
    *(
        "month",
        "model",
        "provider",
        "requests",
        "charged",
        "refunded",
        "adjusted",
        "cost_reported",
        "cost_estimated",
        "absorbed",
    ),
    *("margin", "margin_percent", "unknown_calls"),
)

mode_option = click.option("--mode", type=MODES, default="live", show_default=True)


class Month(click.ParamType[datetime.date]):
    """A month such as 2026-11, as its first day."""

    name = "month"

    def convert(
        self, value: str | datetime.date, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime.date:
        """Return the month's first day."""
        if isinstance(value, datetime.date):
            return value
        try:
            return datetime.datetime.strptime(value, "%Y-%m").replace(tzinfo=datetime.UTC).date()
        except ValueError:
            self.fail(f'"{value}" is not a month: write it as 2026-11', param, ctx)


@click.group()
def prices() -> None:
    """Read and compare what is charged and what it costs."""


# ------------------------------------------------------------------------------------------------------------------- list


@prices.command("list")
@json_option
@click.pass_obj
def list_prices(context: Context, as_json: bool) -> None:
    """List every price list that was published, and which one is in force."""
    from omixa.gateway.price_lists import published_lists

    async def work(office: BackOffice) -> list[dict[str, object]]:
        found = await office.database.read(lambda tx: published_lists(tx, office.catalogue, utc_today()))
        return [_published(row) for row in found]

    rows = context.run(work)
    if as_json:
        print_json(rows)
        return
    print_table(PRICE_FIELDS[:-1], [[row[name] for name in PRICE_FIELDS[:-1]] for row in rows], empty="No prices yet.")


def _published(published: PublishedList) -> dict[str, object]:
    prices = published.prices
    lines = {line.name: f"{line.usd} / {line.per:,}" for line in prices.lines}
    cells = (published.model, prices.version, prices.effective_from.isoformat(), published.standing, lines)
    return dict(zip(PRICE_FIELDS, cells, strict=True))


# ------------------------------------------------------------------------------------------------------------------- diff


@prices.command("diff")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option("--month", type=Month(), help="Whose usage is rated, such as 2026-11. Default: the last month.")
@mode_option
@json_option
@click.pass_obj
def diff_prices(context: Context, file: Path | None, month: datetime.date | None, mode: Mode, as_json: bool) -> None:
    """Show who would pay how much more: last month's usage at the prices in force and at the newest ones.

    The newest ones are the last price lists of the catalogue or, with FILE, of a model file that is not in use yet. Each
    workspace keeps the markup that it was charged with. Nothing is written.
    """
    from omixa.gateway.price_lists import price_difference

    today = utc_today()
    first = month or month_before(today)

    async def work(office: BackOffice) -> PriceDifference:
        candidates = office.catalogue.models.values() if file is None else [_model(file)]
        return await office.database.read(
            lambda tx: price_difference(tx, office.catalogue, candidates, today=today, month=first, mode=mode)
        )

    found = context.run(work)
    cells = [_comparison(row) for row in found.rows]
    if as_json:
        print_json(
            {
                "month": f"{first:%Y-%m}",
                "new_versions": {model: prices.version for model, prices in found.changed.items()},
                "difference": format_usd(found.difference_micro_usd),
                "rows": [dict(zip(DIFF_FIELDS, row, strict=True)) for row in cells],
            }
        )
        return
    if not found.changed:
        click.echo("The newest prices are in force: nothing would change.")
        return
    for model, new in found.changed.items():
        click.echo(f"{model}: {new.version}, from {new.effective_from}")
    print_table(DIFF_FIELDS, cells, empty=f"No {mode} usage of these models in {first:%Y-%m}.")


def _model(file: Path) -> Model:
    from omixa.catalogue.loader import CatalogueError, read_model_file

    try:
        model = read_model_file(file)
    except CatalogueError as error:
        fail(str(error), EXIT_CONFIG)
    if not model.price_lists:
        fail(f"{file}: the model has no price list", EXIT_CONFIG)
    return model


def _comparison(row: PriceComparison) -> tuple[str | int, ...]:
    difference = row.difference_micro_usd
    amounts = (row.charged_micro_usd, row.old_micro_usd, row.new_micro_usd, difference)
    percent = format_percent(difference, row.old_micro_usd) or ""
    return row.workspace, row.model, row.requests, *map(format_usd, amounts), percent


# ----------------------------------------------------------------------------------------------------------------- margin


@prices.command("margin")
@click.option("--month", type=Month(), help="Only this month, such as 2026-11. Default: all.")
@mode_option
@json_option
@click.pass_obj
def show_margin(context: Context, month: datetime.date | None, mode: Mode, as_json: bool) -> None:
    """Show what is left of the charges after the providers' costs, by month, model and provider.

    A cost is reported by the provider or estimated. Absorbed is what was paid for calls that no customer was charged for.
    """
    from omixa.billing.margins import margins

    since = datetime.date.min if month is None else month
    until = datetime.date.max if month is None else month_after(month)
    found = context.run(
        lambda office: office.database.read(lambda tx: margins(tx, mode, since, until)),
    )
    rows = [_margin(row) for row in found]
    if as_json:
        print_json([dict(zip(MARGIN_FIELDS, row, strict=True)) for row in rows])
    else:
        print_table(MARGIN_FIELDS, rows, empty=f"No {mode} requests yet.")


def _margin(row: Margin) -> tuple[str | int, ...]:
    from omixa.gateway.receipt import format_exact

    costs = (row.reported_pico_usd, row.estimated_pico_usd, row.absorbed_pico_usd, row.margin_pico_usd)
    percent = format_percent(row.margin_pico_usd, row.earned_micro_usd * PICO_PER_MICRO) or ""
    return (
        *(row.month, row.model, row.provider, row.requests),
        *map(format_usd, (row.charged_micro_usd, row.refunded_micro_usd, row.adjusted_micro_usd)),
        *map(format_exact, costs),
        percent,
        row.unknown_calls,
    )
