"""The database as the rest of Omixa sees it: `write` and `read` take a function of a transaction.

All writes of a process go through one thread. It takes whatever is queued, runs the operations and commits once for the
group, so that many requests share one wait for the disk. Operations of one kind are run as one call (`write_together`), so
that a hundred holds cost a few statements instead of hundreds. When something fails, the group is run again with a savepoint
for each operation, so that it leaves its neighbours alone. Writes return only after the commit is durable. Reads run beside
them on connections of their own.

Statements are SQLAlchemy Core expressions, compiled once per database to the driver's SQL: the same rooms run on every
backend, and the hot path pays only for the driver.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar, cast

from sqlalchemy.engine import Compiled, Dialect
from sqlalchemy.sql import ClauseElement

from omixa.errors import LedgerUnavailable, OmixaError, Overloaded

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = TypeVar("Item")
Row = Mapping[str, Any]

# Operations that may wait for the writer; past it new work is refused instead of queued.
MAX_QUEUED_WRITES = 10_000
# Operations that share one commit.
MAX_GROUP = 256
# How long the writer waits for company on a busy ledger: each change of threads and each commit costs more than the
# statements between them, so whoever does not hurry serves more.
COMPANY_WAIT_S = 0.003
# With so many in its queue the writer begins at once.
ENOUGH_COMPANY = 4
READ_THREADS = 4
# Rows that `Transaction.each` has in memory at a time.
ROWS_AT_A_TIME = 500
# How often a group is run whose locks another writer's crossed, and how long it waits at most before it is run again.
MAX_RUNS = 5
MAX_CONFLICT_PAUSE_S = 0.05
# Between questions what became of a commit whose answer was lost.
MIN_PAUSE_S = 0.05
MAX_PAUSE_S = 1.0


class UnsafeStorage(Exception):
    """The storage would break the promise that nothing acknowledged is lost."""


class CommitUnknown(Exception):
    """The answer to a commit was lost, so it may have happened or not.

    `was_committed` asks the database, and gives None while that cannot be told.
    """

    def __init__(self, message: str, was_committed: Callable[[], bool | None]) -> None:
        super().__init__(message)
        self.was_committed = was_committed


class CommitLost(Exception):
    """The answer to a commit was lost, and the database has told since that it did not happen."""


class Cursor(Protocol):
    """The part of a DB-API cursor that is used here."""

    rowcount: int

    def fetchall(self) -> Sequence[Row]: ...
    def fetchmany(self, size: int, /) -> Sequence[Row]: ...
    def fetchone(self) -> Row | None: ...


class Connection(Protocol):
    """The part of a driver's connection that is used here. Rows answer by column name."""

    def execute(self, sql: str, parameters: Mapping[str, object] = ..., /) -> Cursor: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """What differs between databases."""

    dialect: Dialect

    def migrate(self) -> None:
        """Create or upgrade the tables."""
        ...

    def connect(self, *, read_only: bool) -> Connection:
        """Open a connection whose settings keep the promise of durability, or raise."""
        ...

    def sql(self, compiled: Compiled) -> str:
        """Return the driver's SQL of a compiled statement."""
        ...

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Begin a transaction, on a new connection where the old one was lost."""
        ...

    def commit(self, connection: Connection) -> None:
        """Commit durably. Raises CommitUnknown when the answer was lost."""
        ...

    def now_ms(self, connection: Connection) -> int:
        """Return the database's clock in Unix milliseconds."""
        ...

    def execute_many(self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row."""
        ...

    def first_of_each(
        self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]
    ) -> Sequence[Row | None]:
        """Run one statement for each row and return the first row that each gave."""
        ...

    def stream(self, connection: Connection, sql: str, parameters: Mapping[str, object]) -> Cursor:
        """Run a query whose rows are not all in memory at a time."""
        ...

    def is_database_error(self, error: BaseException) -> bool:
        """Tell whether the driver raised this."""
        ...

    def is_unavailable(self, error: BaseException) -> bool:
        """Tell whether this is the state of the database or of others' locks, not a fault of the operation."""
        ...

    def is_conflict(self, error: BaseException) -> bool:
        """Tell whether another writer was in between, so that the same operation may succeed when it is run again."""
        ...

    def is_fatal(self, error: BaseException) -> bool:
        """Tell whether the disk or the file is in doubt, so that the process must stop and recover."""
        ...


class Transaction:
    """One open transaction. Statements take their parameters by name."""

    def __init__(self, connection: Connection, database: Database) -> None:
        self._connection = connection
        self._database = database
        self._now_ms: int | None = None

    def now_ms(self) -> int:
        """Return the database's time of this transaction in Unix milliseconds; the same for all operations of a group."""
        if self._now_ms is None:
            self._now_ms = self._database.backend.now_ms(self._connection)
        return self._now_ms

    def execute(self, statement: ClauseElement, **parameters: object) -> int:
        """Run a statement and return the number of rows it changed."""
        return self._run(statement, parameters).rowcount

    def execute_many(self, statement: ClauseElement, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row of parameters."""
        if rows:
            self._database.backend.execute_many(self._connection, *self._merged(statement, rows))

    def first_of_each(self, statement: ClauseElement, rows: Sequence[Mapping[str, object]]) -> Sequence[Row | None]:
        """Run one statement for each row of parameters and return the first row that each gave, or None, in order."""
        return self._database.backend.first_of_each(self._connection, *self._merged(statement, rows)) if rows else []

    def all(self, statement: ClauseElement, **parameters: object) -> Sequence[Row]:
        """Return every row of a query."""
        return self._run(statement, parameters).fetchall()

    def each(self, statement: ClauseElement, **parameters: object) -> Iterator[Row]:
        """Give the rows of a query one by one, however many there are. Use it up before the transaction ends."""
        sql, constants = self._database.compiled(statement)
        cursor = self._database.backend.stream(self._connection, sql, {**constants, **parameters})
        while rows := cursor.fetchmany(ROWS_AT_A_TIME):
            yield from rows

    def first(self, statement: ClauseElement, **parameters: object) -> Row | None:
        """Return the first row of a query, or None."""
        return self._run(statement, parameters).fetchone()

    def _run(self, statement: ClauseElement, parameters: Mapping[str, object]) -> Cursor:
        sql, constants = self._database.compiled(statement)
        return self._connection.execute(sql, {**constants, **parameters})

    def _merged(
        self, statement: ClauseElement, rows: Sequence[Mapping[str, object]]
    ) -> tuple[str, Sequence[Mapping[str, object]]]:
        sql, constants = self._database.compiled(statement)
        return sql, [{**constants, **row} for row in rows] if constants else rows

    def savepoint(self, name: str) -> None:
        """Mark where a failing operation goes back to."""
        self._connection.execute(f"SAVEPOINT {name}")

    def rollback_to(self, name: str) -> None:
        """Undo what happened since the savepoint."""
        self._connection.execute(f"ROLLBACK TO SAVEPOINT {name}")

    def release(self, name: str) -> None:
        """Keep what happened since the savepoint."""
        self._connection.execute(f"RELEASE SAVEPOINT {name}")


Operation = Callable[[Transaction], T]

# Does the same to several items in one transaction and returns an outcome for each, in order. An outcome that is an
# exception is raised for whoever asked for that item, for which nothing must have been written.
GroupOperation = Callable[[Transaction, Sequence[Item]], Sequence[T | Exception]]


def _each(tx: Transaction, operations: Sequence[Operation[Any]]) -> Sequence[Any]:
    return [operation(tx) for operation in operations]


class _Write:
    """One queued item, what is to be done to it, and where its outcome goes."""

    __slots__ = ("error", "future", "item", "loop", "operation", "result")

    def __init__(self, operation: GroupOperation[Any, Any], item: object, loop: asyncio.AbstractEventLoop) -> None:
        self.operation = operation
        self.item = item
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def take(self, outcome: object) -> None:
        """Keep what came of it."""
        if isinstance(outcome, Exception):
            self.result, self.error = None, outcome
        else:
            self.result, self.error = outcome, None


class _Company:
    """Knows whether it is worth the writer's while to wait for more to write.

    It is when others come so often that one is likely to come meanwhile, and when the last group was not a lonely one: a single
    client that waits for each of its answers would be slowed for nobody.
    """

    __slots__ = ("_expected", "_last_s", "_was_lonely")

    def __init__(self) -> None:
        # How many come in `COMPANY_WAIT_S`, averaged over some groups.
        self._expected = 0.0
        self._last_s = time.monotonic()
        self._was_lonely = True

    @property
    def is_expected(self) -> bool:
        """Tell whether to wait."""
        return self._expected >= 1 and not self._was_lonely

    def note(self, group_size: int) -> None:
        """Learn from a group that has just been taken."""
        now_s = time.monotonic()
        came = group_size * COMPANY_WAIT_S / max(now_s - self._last_s, COMPANY_WAIT_S)
        self._expected += (came - self._expected) / 8
        self._last_s = now_s
        self._was_lonely = group_size == 1


class Database:
    """Open a database with `open`, use `write` and `read`, close it with `close`.

    `on_fatal` is called once, from the writer's thread, when the database can no longer be trusted; every later write
    raises LedgerUnavailable.
    """

    def __init__(self, backend: Backend, *, on_fatal: Callable[[str], None]) -> None:
        self.backend = backend
        self._on_fatal = on_fatal
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._compiled: dict[ClauseElement, tuple[str, Mapping[str, object]]] = {}
        self._readers = ThreadPoolExecutor(READ_THREADS, thread_name_prefix="omixa-read")
        self._local = threading.local()
        self._reader_connections: list[Connection] = []
        self._writer: threading.Thread | None = None
        # Nothing may be queued behind the end of the queue: it would never be answered.
        self._queue_lock = threading.Lock()
        self._accepts = False
        self._failed = False
        self._company = _Company()

    def open(self) -> None:
        """Bring the tables up to date, check the settings and start the writer. Blocking; raises on unsafe settings."""
        self.backend.migrate()
        connection = self.backend.connect(read_only=False)
        self._writer = threading.Thread(target=self._write_loop, args=(connection,), name="omixa-write", daemon=True)
        self._writer.start()
        self._accepts = True

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing can be written any more, however long one waits."""
        return self._failed or not self._accepts

    async def write(self, operation: Operation[T]) -> T:
        """Run an operation in a write transaction and return its result once that is durable.

        The operation runs in the writer's thread and may be run again if its group has to be repeated, so it must do
        nothing but work on the transaction. An exception from it undoes only that operation. Raises LedgerUnavailable
        when the database cannot be written, Overloaded when too many operations wait.
        """
        return await self.write_together(_each, operation)

    async def write_together(self, operation: GroupOperation[Item, T], item: Item) -> T:
        """Do to an item what `operation` does, in one call with all items that wait for the same operation.

        Otherwise like `write`. When the operation raises, it is called again for each item alone.
        """
        write = _Write(operation, item, asyncio.get_running_loop())
        with self._queue_lock:
            if self._failed or not self._accepts:
                raise _not_writable()
            if self._queue.qsize() >= MAX_QUEUED_WRITES:
                raise Overloaded("Too many requests wait for the ledger. Try again shortly.", retry_after_s=1)
            self._queue.put(write)
        return cast("T", await write.future)

    async def read(self, operation: Operation[T]) -> T:
        """Run an operation on one consistent snapshot, without waiting for writers. Raises LedgerUnavailable."""
        if not self._accepts:
            raise _not_readable()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, operation)

    def close(self) -> None:
        """Finish what is queued, then close every connection. Blocking."""
        with self._queue_lock:
            self._accepts = False
            self._queue.put(None)
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        self._readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()
        self._reader_connections.clear()

    def compiled(self, statement: ClauseElement) -> tuple[str, Mapping[str, object]]:
        """Return the driver's SQL of a statement and the parameters that are constants in it."""
        found = self._compiled.get(statement)
        if found is None:
            compiled = statement.compile(dialect=self.backend.dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[statement] = (self.backend.sql(compiled), constants)
        return found

    # ------------------------------------------------------------------------------------------------------- reading

    def _read(self, operation: Operation[T]) -> T:
        try:
            connection = self._reader_connection()
            self.backend.begin(connection, write=False)
            try:
                return operation(Transaction(connection, self))
            finally:
                connection.execute("ROLLBACK")
        except Exception as error:
            if not self.backend.is_database_error(error):
                raise
            log.error(
                "database.read_failed", extra={"reason": repr(error)}, exc_info=not self.backend.is_unavailable(error)
            )
            raise _not_readable() from error

    def _reader_connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self.backend.connect(read_only=True)
            self._reader_connections.append(connection)
        return connection

    # ------------------------------------------------------------------------------------------------------- writing

    def _write_loop(self, connection: Connection) -> None:
        try:
            while (group := self._next_group()) is not None:
                self._write_group(connection, group)
                _deliver(group)
                # A group holds requests and pictures; it must not live on while the thread waits.
                del group
        finally:
            connection.close()

    def _next_group(self) -> list[_Write] | None:
        first = self._queue.get()
        if first is None:
            return None
        if self._company.is_expected and self._queue.qsize() < ENOUGH_COMPANY:
            time.sleep(COMPANY_WAIT_S)
        group = [first]
        while len(group) < MAX_GROUP and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)
                break
            group.append(item)
        self._company.note(len(group))
        return group

    def _write_group(self, connection: Connection, group: Sequence[_Write]) -> None:
        if self._failed:
            self._fail_group(group, None)
            return
        for run in range(1, MAX_RUNS + 1):
            try:
                if not self._run_together(connection, group):
                    self._run_apart(connection, group)
            except BaseException as error:  # noqa: BLE001 - whatever happened, nobody in the group may be told that it worked
                self._abandon(connection)
                if run < MAX_RUNS and self.backend.is_conflict(error):
                    # Those who met once would meet again if both came back at the same moment.
                    time.sleep(random.uniform(0, MAX_CONFLICT_PAUSE_S))  # noqa: S311 - nothing secret
                    continue
                self._fail_group(group, error)
            return

    def _run_together(self, connection: Connection, group: Sequence[_Write]) -> bool:
        """Run a group without savepoints, which is what nearly always works; return False when it has to be run apart."""
        self.backend.begin(connection, write=True)
        transaction = Transaction(connection, self)
        try:
            for operation, writes in _by_operation(group).items():
                outcomes = operation(transaction, [write.item for write in writes])
                for write, outcome in zip(writes, outcomes, strict=True):
                    write.take(outcome)
        except BaseException as error:
            is_conflict = self.backend.is_conflict(error)
            if self.backend.is_fatal(error) or (self.backend.is_unavailable(error) and not is_conflict):
                raise
            connection.execute("ROLLBACK")
            group[0].error = error
            return len(group) == 1 and not is_conflict
        self._commit(connection)
        return True

    def _run_apart(self, connection: Connection, group: Sequence[_Write]) -> None:
        """Run each item of a group in a savepoint of its own, so that one that fails leaves the others alone."""
        self.backend.begin(connection, write=True)
        transaction = Transaction(connection, self)
        for write in group:
            self._run_one(transaction, write)
        self._commit(connection)

    def _run_one(self, transaction: Transaction, write: _Write) -> None:
        """Run an item in a savepoint, and once more when another writer was in between: now it sees what that one wrote."""
        for is_last in (False, True):
            transaction.savepoint("operation")
            try:
                (outcome,) = write.operation(transaction, [write.item])
                write.take(outcome)
            except BaseException as error:
                if self.backend.is_fatal(error) or self.backend.is_unavailable(error):
                    raise
                write.error = error
                transaction.rollback_to("operation")
            transaction.release("operation")
            if is_last or write.error is None or not self.backend.is_conflict(write.error):
                return

    def _commit(self, connection: Connection) -> None:
        """Commit. When the answer is lost, find out what became of it before anybody is told anything."""
        try:
            self.backend.commit(connection)
        except CommitUnknown as unknown:
            log.warning("database.commit_unknown", extra={"reason": repr(unknown.__cause__)})
            committed = self._read_back(unknown)
            log.warning("database.commit_read_back", extra={"committed": committed})
            if not committed:
                raise CommitLost("a commit did not happen: the connection was lost before") from unknown

    def _read_back(self, unknown: CommitUnknown) -> bool:
        """Ask until it can be told whether a commit happened; nobody else waits for that."""
        pause_s = MIN_PAUSE_S
        while (committed := unknown.was_committed()) is None:
            if not self._accepts:
                raise unknown
            self._refuse_waiting()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)
        return committed

    def _refuse_waiting(self) -> None:
        """Answer those whose operations have not begun: the database does not answer, so they could wait for long."""
        refused = []
        while not self._queue.empty():
            write = self._queue.get()
            if write is None:
                self._queue.put(None)
                break
            write.error = _not_writable()
            refused.append(write)
        _deliver(refused)

    def _abandon(self, connection: Connection) -> None:
        try:
            connection.execute("ROLLBACK")
        except Exception as error:
            if not self.backend.is_database_error(error):
                raise

    def _fail_group(self, group: Iterable[_Write], error: BaseException | None) -> None:
        if error is not None:
            log.error("database.write_failed", extra={"reason": repr(error)})
            known = isinstance(error, CommitLost | CommitUnknown) or self.backend.is_database_error(error)
            if not known or self.backend.is_fatal(error):
                self._failed = True
                self._on_fatal(f"the database failed: {error!r}")
        for item in group:
            item.error = _not_confirmed() if isinstance(error, CommitUnknown) else _not_writable()


def _by_operation(group: Iterable[_Write]) -> Mapping[GroupOperation[Any, Any], Sequence[_Write]]:
    """Return what is to be done and to which items; within a group the order means nothing, since nobody waited for another."""
    found: dict[GroupOperation[Any, Any], list[_Write]] = {}
    for write in group:
        found.setdefault(write.operation, []).append(write)
    return found


def _not_writable() -> LedgerUnavailable:
    return LedgerUnavailable("The ledger cannot be written at the moment. Nothing was charged.", retry_after_s=5)


def _not_confirmed() -> LedgerUnavailable:
    return LedgerUnavailable(
        "The ledger does not answer, so it is not known yet whether this was recorded.", retry_after_s=5
    )


def _not_readable() -> LedgerUnavailable:
    return LedgerUnavailable("The ledger cannot be read at the moment.", retry_after_s=5)


def _deliver(group: Sequence[_Write]) -> None:
    """Hand the outcomes to the event loops that wait for them: one wake-up for each loop."""
    for loop in {item.loop for item in group}:
        items = [item for item in group if item.loop is loop]
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, items)


def _settle(items: Sequence[_Write]) -> None:
    for item in items:
        if item.future.done():
            continue
        if item.error is None:
            item.future.set_result(item.result)
        elif isinstance(item.error, OmixaError | Exception):
            item.future.set_exception(item.error)
        else:
            item.future.set_exception(LedgerUnavailable(repr(item.error)))
