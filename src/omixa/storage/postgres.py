"""PostgreSQL as a backend: asyncpg on an event loop of each thread, commits that reach the disk, several gateways at a time.

A room runs in a database thread and wants its rows before the next line, so each connection owns an event loop that turns
only while a statement runs. What cannot be decided by one connection alone is here too: which settings keep the promise, how
a lost connection comes back, and what became of a commit whose answer was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar, cast

import asyncpg
import uvloop
from sqlalchemy.dialects.postgresql.asyncpg import dialect
from sqlalchemy.engine import Compiled, Dialect

from omixa.storage.database import CommitUnknown, Connection, Cursor, Row, UnsafeStorage
from omixa.storage.migrations import READ_VERSIONS, are_newest, upgrade_postgres

T = TypeVar("T")
Arguments = Callable[[Mapping[str, object]], Sequence[object]]

# The oldest version that its makers still maintain, and the oldest that the tests run on.
MIN_VERSION = 15

CONNECT_TIMEOUT_S = 5.0
# Statements of a group of writes are short; one that is not is stuck, and everybody waits behind it.
WRITE_STATEMENT_TIMEOUT_MS = 30_000
# The verification reads whole tables.
READ_STATEMENT_TIMEOUT_MS = 600_000
# A process that is paused inside a transaction loses it, and with it its locks, before others give up waiting for them.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000
LOCK_TIMEOUT_MS = 10_000
# How much longer than the server's own timeout this side waits: past it the server or the network is gone.
ANSWER_MARGIN_S = 10.0
# After a connection was lost, new attempts have at least this much and at most that much time between them.
MIN_RECONNECT_S = 0.1
MAX_RECONNECT_S = 2.0
# Groups of writers that are gone are forgotten after this long: nobody waits for their outcome any more.
WRITER_RETENTION_MS = 86_400_000
# Any fixed number that nothing else in the database uses.
MIGRATION_LOCK = 0x6F6D697861

# What the promise depends on: setting and the values that keep it. Source: PostgreSQL's manual, "Write Ahead Log".
_SAFE_SETTINGS: Mapping[str, frozenset[str]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    # After a failed sync the server must not carry on with what its caches say.
    "data_sync_retry": frozenset({"off"}),
    "synchronous_commit": frozenset({"on", "remote_apply"}),
    "server_encoding": frozenset({"UTF8"}),
}
_READ_SETTINGS = f"SELECT {', '.join(f'current_setting({name!r}) AS {name}' for name in _SAFE_SETTINGS)}"

_NOW_MS = "floor(extract(epoch FROM now()) * 1000)::bigint"
_SELECT_NOW = f"SELECT {_NOW_MS} AS now_ms"
# Said first in every group, so that it also takes the lock which tells a reader that the outcome is still open.
_BEGIN_GROUP = f"""
INSERT INTO writer (id, last_group, at_ms) VALUES ($1, $2, {_NOW_MS})
ON CONFLICT (id) DO UPDATE SET last_group = EXCLUDED.last_group, at_ms = EXCLUDED.at_ms RETURNING at_ms
"""  # noqa: S608
# Waits until the transaction in doubt has ended, also when the row is new in it, and then says what is committed.
_READ_GROUP = """
INSERT INTO writer (id, last_group, at_ms) VALUES ($1, 0, 0)
ON CONFLICT (id) DO UPDATE SET last_group = writer.last_group RETURNING last_group
"""
_FORGET_WRITERS = f"DELETE FROM writer WHERE at_ms < {_NOW_MS} - {WRITER_RETENTION_MS}"  # noqa: S608

# SQLSTATE codes and classes. Source: PostgreSQL's manual, "PostgreSQL Error Codes".
_FATAL_CODES = frozenset({"58030", "XX001", "XX002"})  # io_error, data_corrupted, index_corrupted
_CONFLICT_CODES = frozenset({"23505", "40001", "40P01"})  # unique_violation, serialization_failure, deadlock_detected
# connection, rollback, resources, object state (locks), operator intervention; and a server that was made a standby
_UNAVAILABLE_CLASSES = frozenset({"08", "40", "53", "55", "57"})
_UNAVAILABLE_CODES = frozenset({"25006", "25P03"})
# After these the connection itself is of no use: it was ended, or its prepared statements are out of date.
_LOST_CLASSES = frozenset({"08"})
_LOST_CODES = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "0A000"})
# What the driver raises. The last one says that it has lost its place: a server that ends a connection between two statements
# tells so before it closes it, and the driver then takes the next statement for a second one at the same time.
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


# What SQLAlchemy writes for an INSERT whose values are all parameters of their own.
_INSERT = re.compile(r"INSERT INTO (\w+) \(([\w, ]+)\) VALUES \((\$\d+::\w+(?:, \$\d+::\w+)*)\)")


class ConnectionLost(ConnectionError):
    """The server ended the connection, does not answer, or cannot be reached."""


class _Result:
    """The rows of a statement, as a cursor."""

    __slots__ = ("_position", "_rows", "rowcount")

    def __init__(self, rows: Sequence[Row], status: str) -> None:
        self._rows = rows
        self._position = 0
        # "UPDATE 3", "INSERT 0 1", "SELECT 7"
        last = status.rpartition(" ")[2]
        self.rowcount = int(last) if last.isdigit() else -1

    def fetchall(self) -> Sequence[Row]:
        return self.fetchmany(len(self._rows))

    def fetchmany(self, size: int, /) -> Sequence[Row]:
        taken = self._rows[self._position : self._position + size]
        self._position += len(taken)
        return taken

    def fetchone(self) -> Row | None:
        return next(iter(self.fetchmany(1)), None)


class _Stream:
    """Rows that stay at the server until they are asked for."""

    rowcount = -1

    def __init__(self, connection: PostgresConnection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor

    def fetchmany(self, size: int, /) -> Sequence[Row]:
        return cast("Sequence[Row]", self._connection.run(self._cursor.fetch(size)))

    def fetchall(self) -> Sequence[Row]:
        return self.fetchmany(2**31 - 1)

    def fetchone(self) -> Row | None:
        return next(iter(self.fetchmany(1)), None)


class PostgresConnection:
    """A connection that comes back by itself: `begin` opens it anew when it was lost. For one thread at a time.

    `arguments` gives for each compiled statement what puts its parameters into the order of $1, $2, …
    """

    def __init__(self, address: str, arguments: Mapping[str, Arguments], *, read_only: bool) -> None:
        self._address = address
        self._arguments = arguments
        self._read_only = read_only
        self._loop = uvloop.new_event_loop()
        self._connection: Any = None
        self._prepared: dict[str, Any] = {}
        self._pause_s = MIN_RECONNECT_S
        self._not_before = 0.0
        self._writer_id = secrets.token_hex(16)
        self._group = 0
        self.now_ms: int | None = None

    # -------------------------------------------------------------------------------------------------- transactions

    def begin(self) -> None:
        """Begin a transaction; a writer's records its number, by which its outcome can be told later.

        A connection that was lost while nobody used it is replaced without a word: nothing has been done on it.
        """
        self._group += 1
        usable = self._connection is not None and not self._connection.is_closed()
        if usable and not self._connection.is_in_transaction():
            with contextlib.suppress(ConnectionLost):
                self._begin()
                return
        self.reconnect()
        self._begin()

    def _begin(self) -> None:
        self.now_ms = None
        if self._read_only:
            self._control("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:
            self._control("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
            rows, _ = self._query(_BEGIN_GROUP, (self._writer_id, self._group))
            self.now_ms = int(rows[0]["at_ms"])

    def commit(self) -> None:
        """Commit durably. Raises CommitUnknown when the server did not answer."""
        try:
            status = self._control("COMMIT")
        except ConnectionLost as error:
            raise CommitUnknown("the connection was lost while a commit was under way", self._was_committed) from error
        if status != "COMMIT":
            raise ConnectionLost(f"the server answered {status} to a commit")

    def _was_committed(self) -> bool | None:
        """Return what became of the last group's commit, or None while that cannot be told. Opens a new connection."""
        try:
            self._open()
            self._control("BEGIN")
            rows, _ = self._query(_READ_GROUP, (self._writer_id,))
            self._control("ROLLBACK")
        except (ConnectionLost, *_DRIVER_ERRORS):
            self._drop()
            return None
        return bool(rows[0]["last_group"] == self._group)

    # ---------------------------------------------------------------------------------------------------- statements

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None, /) -> Cursor:
        """Run a compiled statement, or one that controls the transaction."""
        arguments = self._arguments.get(sql)
        if arguments is None:
            return _Result((), self._control(sql))
        return _Result(*self._query(sql, _without_nul(arguments(parameters or {}))))

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row in one round trip; an INSERT as one statement for all rows."""
        ordered = [_without_nul(self._arguments[sql](row)) for row in rows]
        if len(ordered) == 1:
            # A request that comes alone pays for no lists of one.
            self._query(sql, ordered[0])
            return
        insert = _of_columns(sql)
        if insert is None:
            self.run(self._statement(sql).executemany(ordered))
        else:
            self.run(self._statement(insert).fetch(*map(list, zip(*ordered, strict=True))))

    def first_of_each(self, sql: str, rows: Sequence[Mapping[str, object]]) -> list[Row | None]:
        """Run one statement for each row in one round trip and return the first row of each."""
        if len(rows) == 1:
            return [self.execute(sql, rows[0]).fetchone()]
        arguments = self._arguments[sql]
        # The driver gives the rows of all runs in one list, so that each run has to give exactly one.
        single = (
            f"WITH hit AS ({sql}) SELECT one.* FROM (SELECT 1) AS always"  # noqa: S608 - made from a compiled statement
            " LEFT JOIN (SELECT TRUE AS is_hit, hit.* FROM hit) AS one ON TRUE LIMIT 1"
        )
        found = self.run(self._statement(single).fetchmany([_without_nul(arguments(row)) for row in rows]))
        return [row if row["is_hit"] else None for row in found]

    def stream(self, sql: str, parameters: Mapping[str, object]) -> Cursor:
        """Run a query whose rows stay at the server until they are fetched."""
        statement = self._statement(sql)
        arguments = _without_nul(self._arguments[sql](parameters))

        async def open_cursor() -> Any:
            return await statement.cursor(*arguments)

        return _Stream(self, self.run(open_cursor()))

    def clock_ms(self) -> int:
        """Return the database's time of this transaction in Unix milliseconds."""
        if self.now_ms is None:
            self.now_ms = int(self._query(_SELECT_NOW, ())[0][0]["now_ms"])
        return self.now_ms

    def _query(self, sql: str, arguments: Sequence[object]) -> tuple[Sequence[Row], str]:
        statement = self._statement(sql)
        rows = self.run(statement.fetch(*arguments))
        return rows, statement.get_statusmsg() or ""

    def _statement(self, sql: str) -> Any:
        found = self._prepared.get(sql)
        if found is None:
            found = self._prepared[sql] = self.run(self._live().prepare(sql))
        return found

    def _control(self, sql: str) -> str:
        return str(self.run(self._live().execute(sql)))

    # ---------------------------------------------------------------------------------------------------- connection

    def reconnect(self) -> None:
        """Open a new connection in place of a lost one, unless the last attempt was a moment ago."""
        if time.monotonic() < self._not_before:
            raise ConnectionLost("the database cannot be reached")
        try:
            self._open()
        except ConnectionLost:
            self._not_before = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, MAX_RECONNECT_S)
            raise
        self._pause_s = MIN_RECONNECT_S

    def versions(self) -> list[str]:
        """Return the versions that the tables are at; none where there are no tables."""
        try:
            rows, _ = self._query(READ_VERSIONS, ())
        except asyncpg.UndefinedTableError:
            return []
        return [row["version_num"] for row in rows]

    def forget_old_writers(self) -> None:
        """Delete the marks of writers that are long gone."""
        self._control(_FORGET_WRITERS)

    def close(self) -> None:
        """Close the connection and its loop."""
        if self._connection is not None and not self._connection.is_closed():
            with contextlib.suppress(ConnectionLost, *_DRIVER_ERRORS):
                self.run(self._connection.close())
        self._drop()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Turn the loop until a coroutine of the driver is done. Raises ConnectionLost when the server is gone."""
        timeout_ms = READ_STATEMENT_TIMEOUT_MS if self._read_only else WRITE_STATEMENT_TIMEOUT_MS
        alarm = self._loop.call_later(timeout_ms / 1000 + ANSWER_MARGIN_S, self._terminate)
        try:
            return self._loop.run_until_complete(work)
        except ConnectionLost:
            self._drop()
            raise
        except (OSError, *_DRIVER_ERRORS) as error:
            if not _is_lost(error):
                raise
            self._drop()
            raise ConnectionLost(f"the connection to the database was lost: {_told(error)}") from error
        finally:
            alarm.cancel()

    def _open(self) -> None:
        self._drop()
        timeout_ms = READ_STATEMENT_TIMEOUT_MS if self._read_only else WRITE_STATEMENT_TIMEOUT_MS
        settings = {
            "application_name": "omixa",
            "statement_timeout": str(timeout_ms),
            "lock_timeout": str(LOCK_TIMEOUT_MS),
            "idle_in_transaction_session_timeout": "0" if self._read_only else str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        }
        self.run(self._connect(settings))

    async def _connect(self, settings: Mapping[str, str]) -> None:
        try:
            self._connection = await asyncpg.connect(self._address, timeout=CONNECT_TIMEOUT_S, server_settings=settings)
            await self._check()
            # PostgreSQL sums 64-bit integers into its decimal type; those of a ledger are whole.
            await self._connection.set_type_codec(
                "numeric", schema="pg_catalog", encoder=str, decoder=int, format="text"
            )
        except (OSError, *_DRIVER_ERRORS) as error:
            raise ConnectionLost(f"the database cannot be reached: {_told(error)}") from error

    async def _check(self) -> None:
        """Raise UnsafeStorage when the server's version or settings would break the promise."""
        connection = self._connection
        version = connection.get_server_version().major
        if version < MIN_VERSION:
            raise UnsafeStorage(f"PostgreSQL {version} is too old; Omixa needs {MIN_VERSION} or newer")
        found = await connection.fetchrow(_READ_SETTINGS)
        if found["synchronous_commit"] not in _SAFE_SETTINGS["synchronous_commit"]:
            await connection.execute("SET synchronous_commit = on")
            found = await connection.fetchrow(_READ_SETTINGS)
        for name, values in _SAFE_SETTINGS.items():
            if found[name] not in values:
                raise UnsafeStorage(
                    f"PostgreSQL runs with {name}={found[name]}, which can lose what was acknowledged; "
                    f"it must be {' or '.join(sorted(values))}"
                )
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise OSError("the server is a standby, which cannot be written to")

    def _live(self) -> Any:
        if self._connection is None:
            raise ConnectionLost("the connection was lost")
        return self._connection

    def _drop(self) -> None:
        self._terminate()
        self._connection = None
        self._prepared.clear()

    def _terminate(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            self._connection.terminate()


class PostgresBackend:
    """A database at an address such as postgresql://user:password@host/name, with asyncpg's parameters of a connection."""

    def __init__(self, address: str) -> None:
        self._address = address
        # Every type is rendered as a cast, so that a parameter's type never has to be guessed.
        self.dialect: Dialect = dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        self._arguments: dict[str, Arguments] = {}

    def migrate(self) -> None:
        """Check the server, then create or upgrade the tables; of several processes one does, the others wait."""
        with contextlib.closing(self._connection(read_only=True)) as connection:
            versions = connection.versions()
        if not are_newest(versions):
            asyncio.run(upgrade_postgres(self._connect_to_migrate, MIGRATION_LOCK))

    def connect(self, *, read_only: bool) -> Connection:
        """Open a connection; raises UnsafeStorage when its settings would break the promise, ConnectionLost without a server."""
        connection = self._connection(read_only=read_only)
        if not read_only:
            connection.forget_old_writers()
        return connection

    def sql(self, compiled: Compiled) -> str:
        """Return a statement's SQL and keep the order of its parameters."""
        text = str(compiled)
        self._arguments[text] = _picker(getattr(compiled, "positiontup", None) or ())
        return text

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Begin a transaction, on a new connection where the old one was lost."""
        _own(connection).begin()

    def commit(self, connection: Connection) -> None:
        """Commit durably. Raises CommitUnknown when the server did not answer."""
        _own(connection).commit()

    def now_ms(self, connection: Connection) -> int:
        """Return the server's clock at the begin of the transaction."""
        return _own(connection).clock_ms()

    def execute_many(self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row, in one round trip."""
        _own(connection).execute_many(sql, rows)

    def first_of_each(self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> list[Row | None]:
        """Run one statement for each row, in one round trip, and return the first row of each."""
        return _own(connection).first_of_each(sql, rows)

    def stream(self, connection: Connection, sql: str, parameters: Mapping[str, object]) -> Cursor:
        """Run a query whose rows stay at the server until they are fetched."""
        return _own(connection).stream(sql, parameters)

    def is_database_error(self, error: BaseException) -> bool:
        """Tell whether the server or the driver raised this."""
        return isinstance(error, (ConnectionLost, *_DRIVER_ERRORS))

    def is_unavailable(self, error: BaseException) -> bool:
        """Tell whether this is the state of the server or of others' locks, not a fault of the operation."""
        if isinstance(error, ConnectionLost):
            return True
        code = _code(error)
        return code[:2] in _UNAVAILABLE_CLASSES or code in _UNAVAILABLE_CODES

    def is_conflict(self, error: BaseException) -> bool:
        """Tell whether another writer was in between, so that the same operation may succeed when it is run again."""
        return _code(error) in _CONFLICT_CODES

    def is_fatal(self, error: BaseException) -> bool:
        """Tell whether the server's disk or data are in doubt."""
        return _code(error) in _FATAL_CODES

    def _connection(self, *, read_only: bool) -> PostgresConnection:
        connection = PostgresConnection(self._address, self._arguments, read_only=read_only)
        try:
            connection.reconnect()
        except BaseException:
            connection.close()
            raise
        return connection

    async def _connect_to_migrate(self) -> Any:
        return await asyncpg.connect(self._address, timeout=CONNECT_TIMEOUT_S)


def _own(connection: Connection) -> PostgresConnection:
    return cast("PostgresConnection", connection)


def _code(error: BaseException) -> str:
    return str(getattr(error, "sqlstate", None) or "")


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        # A parameter of a wrong type is a mistake of ours; all others say that the connection cannot be used.
        return not isinstance(error, ValueError | TypeError)
    code = _code(error)
    return isinstance(error, OSError) or code[:2] in _LOST_CLASSES or code in _LOST_CODES


def _told(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


@functools.cache
def _of_columns(sql: str) -> str | None:
    """Return an INSERT that takes a list of values for each column, where `sql` is one that takes a value for each.

    A hundred rows then cost the server one statement and three quarters of the time. None for every other statement.
    """
    found = _INSERT.fullmatch(sql)
    if found is None:
        return None
    table, columns, values = found.groups()
    lists = ", ".join(f"{value}[]" for value in values.split(", "))
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({lists})"  # noqa: S608 - made from a compiled statement


def _picker(names: Sequence[str]) -> Arguments:
    """Return what takes a statement's arguments, in their order, from parameters by name."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda parameters: tuple(parameters[name] for name in names)


def _without_nul(arguments: Sequence[object]) -> Sequence[object]:
    """Return arguments that PostgreSQL can hold: its text has no NUL, and neither has any name or code."""
    for argument in arguments:
        if isinstance(argument, str) and "\0" in argument:
            return [
                one.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(one, str) else one for one in arguments
            ]
    return arguments
