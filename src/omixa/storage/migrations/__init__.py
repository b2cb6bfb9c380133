"""Versions of the tables, applied by Alembic when a database is opened that is not at the newest one.

Alembic reads every version before it finds that there is nothing to do, and is a large library. Every start and every command
would wait for that, so whoever opens a database first asks it for its versions (READ_VERSIONS) and compares (`are_newest`).
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent
# Alembic's own table; it has one row where versions are in one line, as they are here.
READ_VERSIONS = "SELECT version_num FROM alembic_version"


def are_newest(versions: Sequence[str]) -> bool:
    """Tell whether these are the versions of a database that needs no upgrade."""
    return list(versions) == [_newest()]


@functools.cache
def _newest() -> str:
    return max(path.name for path in (_FOLDER / "versions").glob("[0-9]*.py")).partition("_")[0]


def upgrade(url: str) -> None:
    """Bring the SQLite database at a SQLAlchemy URL to the newest version. Does nothing when it is there already."""
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            _upgrade(connection)
    finally:
        engine.dispose()


async def upgrade_postgres(connect: Callable[[], Awaitable[Any]], lock: int) -> None:
    """Bring a PostgreSQL database to the newest version over a connection of asyncpg.

    `lock` is the number of the advisory lock for which other processes that start at the same time wait.
    """
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
