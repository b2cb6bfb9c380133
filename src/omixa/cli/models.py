"""omixa models: list."""

from __future__ import annotations

import datetime

import click

from omixa.cli.context import Context, json_option, print_json
from omixa.domain.times import utc_today


@click.group()
def models() -> None:
    """Read the catalogue."""


@models.command("list")
@json_option
@click.pass_obj
def list_models(context: Context, as_json: bool) -> None:
    """List models and the prices that are in force today."""
    catalogue, today = context.catalogue(), utc_today()
    found = [model for _, model in sorted(catalogue.models.items())]
    lists = {model.id: model.prices_on(today) for model in found}
    prices = {
        model: {} if prices is None else {line.name: f"{line.usd} / {line.per:,}" for line in prices.lines}
        for model, prices in lists.items()
    }
    versions = {model: None if prices is None else prices.version for model, prices in lists.items()}
    if as_json:
        print_json(
            [
                {
                    "id": model.id,
                    "name": model.name,
                    "context_window_tokens": model.context_window_tokens,
                    "deprecated": _day(model.deprecated),
                    "retires": _day(model.retires),
                    "successor": model.successor,
                    "price_version": versions[model.id],
                    "prices": prices[model.id],
                }
                for model in found
            ]
        )
        return
    for model in found:
        version = versions[model.id] or "none in force"
        ends = f"  retires {model.retires}" if model.retires else ""
        click.echo(f"{model.id}  context window {model.context_window_tokens:,} tokens  prices {version}{ends}")
        for name, price in prices[model.id].items():
            click.echo(f"  {name:<16} ${price}")


def _day(day: datetime.date | None) -> str | None:
    return None if day is None else day.isoformat()
