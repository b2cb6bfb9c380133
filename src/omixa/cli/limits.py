"""The options by which keys and workspaces get rate limits, and how those are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

import click

from omixa.cli.context import print_json
from omixa.domain.access import RateLimits

_F = TypeVar("_F", bound=Callable[..., Any])
_NAMES = {
    "requests_per_minute": "requests per minute",
    "images_per_minute": "images per minute",
    "concurrent_images": "images at a time",
}
# What 0 and NULL are called.
_NONE, _DEFAULT = "none", "default"


class Limit(click.ParamType[int | str]):
    """A whole number above 0, `none` for no limit, or `default` for what the options say."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, 0 for no limit, or the word for what is usual."""
        if not isinstance(value, str) or value == _DEFAULT:
            return value
        if value == _NONE:
            return 0
        if not (value.isascii() and value.isdigit() and int(value)):
            self.fail(f'"{value[:40]}" is not a limit: write a whole number above 0, none or default', param, ctx)
        return int(value)


def limit_options(command: _F) -> _F:
    """Add the three options."""
    for name, words in reversed(_NAMES.items()):
        option = click.option(
            f"--{name.replace('_', '-')}", type=Limit(), help=f"At most so many {words}; none, or default."
        )
        command = option(command)
    return command


def given_changes(values: Mapping[str, int | str | None]) -> dict[str, int | None]:
    """Return the limits that a command line names, None for what is usual."""
    return {name: value if isinstance(value, int) else None for name, value in values.items() if value is not None}


def require_some_change(values: Mapping[str, int | str | None]) -> dict[str, int | None]:
    """Return the limits that a command line names; it must name one."""
    changes = given_changes(values)
    if not changes:
        raise click.UsageError("give " + ", ".join(f"--{name.replace('_', '-')}" for name in _NAMES) + " or several")
    return changes


def told(limits: RateLimits) -> str:
    """Return the limits that were set, empty where all are usual."""
    return ", ".join(
        f"{value or 'any number of'} {_NAMES[name]}" for name, value in asdict(limits).items() if value is not None
    )


def print_limits(subject: str, limits: RateLimits, *, as_json: bool) -> None:
    """Print the limits that a key or a workspace has now; JSON has null where the usual one applies and 0 where there is none."""
    if as_json:
        print_json(asdict(limits))
    else:
        click.echo(f"{subject}: {told(limits) or 'the usual limits'}.")
