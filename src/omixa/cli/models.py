"""omixa models: list."""

from __future__ import annotations

import click

from omixa.cli.context import json_option, print_json


@click.group()
def models() -> None:
    """Read the catalogue."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List models and their prices."""
    from omixa.catalogue.loader import load_catalogue

    found = [model for _, model in sorted(load_catalogue().models.items())]
    prices = {
        model.id: {
            item.name: f"{item.usd} / {item.per:,}" for item in (*model.prices.components, model.prices.fallback)
        }
        for model in found
    }
    if as_json:
        print_json(
            [
                {
                    "id": model.id,
                    "name": model.name,
                    "context_window_tokens": model.context_window_tokens,
                    "price_version": model.prices.version,
                    "prices": prices[model.id],
                }
                for model in found
            ]
        )
        return
    for model in found:
        click.echo(f"{model.id}  context window {model.context_window_tokens:,} tokens  prices {model.prices.version}")
        for name, price in prices[model.id].items():
            click.echo(f"  {name:<16} ${price}")
