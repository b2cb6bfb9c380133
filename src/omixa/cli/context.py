"""What all commands share: the configuration, the database, how they print and how they fail."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec

from omixa import config
from omixa.domain.access import DEFAULT_WORKSPACE
from omixa.errors import OmixaError

if TYPE_CHECKING:
    from omixa.catalogue.loader import Catalogue
    from omixa.services import BackOffice

T = TypeVar("T")

# Exit codes as in sysexits.h, so that supervisors can tell a wrong configuration from a broken disk.
EXIT_CONFIG = 78
EXIT_IO_ERROR = 74

MODES = click.Choice(["live", "test"])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
workspace_option = click.option(
    "--workspace", default=DEFAULT_WORKSPACE, show_default=True, help="Name of the workspace."
)


class Context:
    """What every command knows: the options given before it."""

    def __init__(self, data: str | None, file: Path | None) -> None:
        self._data = data
        self._file = file

    def configuration(self, **flags: object) -> config.Configuration:
        """Return the configuration; ends the command with a clear message when it is wrong."""
        try:
            return config.load(os.environ, file=self._file, flags={"data_dir": self._data, **flags})
        except config.ConfigError as error:
            fail(f"configuration: {error}", EXIT_CONFIG)

    def catalogue(self) -> Catalogue:
        """Return the configured catalogue; ends the command with a clear message when it is wrong."""
        from omixa.services import open_catalogue

        settings = self.configuration().settings
        try:
            return open_catalogue(settings)
        except config.ConfigError as error:
            fail(str(error), EXIT_CONFIG)

    def run(self, work: Callable[[BackOffice], Awaitable[T]]) -> T:
        """Open the database, do the work and close everything."""
        from omixa.services import open_back_office

        settings = self.configuration().settings

        async def main() -> T:
            async with open_back_office(settings) as office:
                return await work(office)

        return run(main())


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; an error of ours ends the command with its message and an exit code."""
    import uvloop

    try:
        return uvloop.run(work)
    except OmixaError as error:
        fail(error.message, 1)
    except config.ConfigError as error:
        fail(str(error), EXIT_CONFIG)
    except OSError as error:
        fail(str(error), EXIT_IO_ERROR)


def fail(message: str, code: int) -> NoReturn:
    """End the command with a message on standard error."""
    click.echo(f"omixa: {message}", err=True)
    sys.exit(code)


def actor() -> str:
    """Return who the audit log names for what a command does."""
    return f"cli:{getpass.getuser()}"


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
