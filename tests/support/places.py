"""Where a test's ledger lives: in a SQLite file or in a PostgreSQL database. A place can be sent to another process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg

from omixa.storage.database import Backend, Connection
from omixa.storage.postgres import PostgresBackend
from omixa.storage.sqlite import SqliteBackend
from tests.support.postgres import Cluster

START_MS = 1_795_400_000_000
# What a database says when a constraint or a trigger refuses a change.
REFUSED = (sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError, asyncpg.RaiseError)


class Clock:
    """A clock for a backend that moves when it is told to. It gives Unix nanoseconds."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms * 1_000_000


class Place(Protocol):
    """Where a ledger lives."""

    def backend(self, clock: Clock | None = None) -> Backend:
        """Return a way to it; with a clock in place of the database's own where one is given."""
        ...

    def tamper(self, statements: Sequence[str], without: Sequence[str]) -> None:
        """Change rows behind the ledger's back, with some triggers or indexes dropped and without constraints."""
        ...


@functools.cache
def _empty_database() -> bytes:
    """Return a file with all tables and no rows: copying it is faster than migrating anew for every test."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "omixa.db"
        SqliteBackend(path).migrate()
        return path.read_bytes()


@dataclass(frozen=True)
class SqlitePlace:
    """A file. `synchronous` is FULL unless a test does not care for crashes."""

    path: Path
    synchronous: str = "FULL"

    def create(self) -> SqlitePlace:
        """Make the file, with all tables."""
        self.path.write_bytes(_empty_database())
        return self

    def backend(self, clock: Clock | None = None) -> Backend:
        if clock is None:
            return SqliteBackend(self.path, synchronous=self.synchronous)
        return SqliteBackend(self.path, clock=clock, synchronous=self.synchronous)

    def tamper(self, statements: Sequence[str], without: Sequence[str]) -> None:
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            for obstacle in without:
                connection.execute(f"DROP {obstacle}")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            for statement in statements:
                connection.execute(statement)
            connection.commit()


class _ClockedPostgres(PostgresBackend):
    """A PostgreSQL whose clock moves when it is told to."""

    def __init__(self, address: str, clock: Clock) -> None:
        super().__init__(address)
        self._clock = clock

    def now_ms(self, connection: Connection) -> int:
        return self._clock.now_ms


_CONSTRAINTS = """
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS statement FROM pg_constraint
WHERE contype IN ('c', 'f') AND connamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class PostgresPlace:
    """A database of a cluster."""

    address: str

    def backend(self, clock: Clock | None = None) -> Backend:
        return PostgresBackend(self.address) if clock is None else _ClockedPostgres(self.address, clock)

    def tamper(self, statements: Sequence[str], without: Sequence[str]) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self.address)
            try:
                for row in await connection.fetch(_CONSTRAINTS):
                    await connection.execute(row["statement"])
                for obstacle in without:
                    kind, name = obstacle.split()
                    table = f" ON {name.rpartition('_no_')[0]}" if kind == "TRIGGER" else ""
                    await connection.execute(f"DROP {kind} {name}{table}")
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


@contextlib.contextmanager
def postgres_place(cluster: Cluster) -> Iterator[PostgresPlace]:
    """Give a database with all tables."""
    with cluster.database() as name:
        yield PostgresPlace(cluster.address(name))
