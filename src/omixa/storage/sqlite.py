"""SQLite as a backend: write-ahead log, full synchronisation, one writer, a local disk."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Compiled, Dialect

from omixa.storage.database import Connection, Cursor, Row, UnsafeStorage
from omixa.storage.migrations import READ_VERSIONS, are_newest, upgrade

# How long a writer of another process (a command line, say) may keep this one waiting.
BUSY_TIMEOUT_MS = 10_000

_NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "ceph",
        "cifs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)

# SQLite's primary result codes after which the file or the disk is in doubt. Source: https://sqlite.org/rescode.html
_FATAL_CODES = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_READONLY}
)
_LOCKED_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class SqliteBackend:
    """The database in one file. `clock` gives Unix nanoseconds; tests replace it."""

    def __init__(self, path: Path, *, clock: Callable[[], int] = time.time_ns, synchronous: str = "FULL") -> None:
        self.path = path
        self.dialect: Dialect = sqlite.dialect(paramstyle="named")
        self._clock = clock
        self._synchronous = synchronous

    def migrate(self) -> None:
        """Create or upgrade the tables."""
        refuse_network_filesystem(self.path.parent)
        with contextlib.closing(self.connect(read_only=False)) as connection:
            versions = _versions(connection)
        if not are_newest(versions):
            upgrade(f"sqlite:///{self.path}")

    def connect(self, *, read_only: bool) -> Connection:
        """Open a connection; raises UnsafeStorage when the settings do not read back."""
        connection = self.open_file()
        settings = {
            "journal_mode": ("WAL", "wal"),
            "synchronous": (self._synchronous, {"FULL": 2, "NORMAL": 1}[self._synchronous]),
            "foreign_keys": ("ON", 1),
            # What is deleted is overwritten. It costs nothing where nothing is deleted, as in a request's two transactions.
            "secure_delete": ("ON", 1),
            # Only macOS needs these two: there an ordinary sync leaves data in the drive's cache.
            "fullfsync": ("ON", 1),
            "checkpoint_fullfsync": ("ON", 1),
        }
        for name, (value, expected) in settings.items():
            connection.execute(f"PRAGMA {name}={value}")
            actual = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if actual != expected:
                connection.close()
                raise UnsafeStorage(
                    f"SQLite did not accept {name}={value} for {self.path.name} (it says {actual!r}); "
                    "put the data directory on a local disk"
                )
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        return cast("Connection", connection)

    def open_file(self) -> sqlite3.Connection:
        """Open the file with no settings yet."""
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
        )
        connection.row_factory = sqlite3.Row
        return connection

    def sql(self, compiled: Compiled) -> str:
        """Return a statement's SQL; its parameters are named."""
        return str(compiled)

    def begin(self, connection: Connection, *, write: bool) -> None:
        """Begin a transaction; a writer waits here for the writers of other processes."""
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def commit(self, connection: Connection) -> None:
        """Commit durably."""
        connection.execute("COMMIT")

    def now_ms(self, connection: Connection) -> int:
        """Return this machine's clock: the database runs on it."""
        return self._clock() // 1_000_000

    def execute_many(self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Run one statement for each row."""
        cast("sqlite3.Connection", connection).executemany(sql, rows)

    def first_of_each(
        self, connection: Connection, sql: str, rows: Sequence[Mapping[str, object]]
    ) -> Sequence[Row | None]:
        """Run one statement for each row and return the first row that each gave."""
        return [connection.execute(sql, row).fetchone() for row in rows]

    def stream(self, connection: Connection, sql: str, parameters: Mapping[str, object]) -> Cursor:
        """Run a query; rows are read as they are fetched."""
        return connection.execute(sql, parameters)

    def is_database_error(self, error: BaseException) -> bool:
        """Tell whether SQLite raised this."""
        return isinstance(error, sqlite3.Error)

    def is_unavailable(self, error: BaseException) -> bool:
        """Tell whether another process holds the file's lock."""
        return _primary_code(error) in _LOCKED_CODES

    def is_conflict(self, error: BaseException) -> bool:
        """Tell whether another writer was in between: never, since a writer has the file for itself."""
        return False

    def is_fatal(self, error: BaseException) -> bool:
        """Tell whether the disk or the file is in doubt."""
        return _primary_code(error) in _FATAL_CODES


def _versions(connection: Connection) -> list[str]:
    try:
        return [row["version_num"] for row in connection.execute(READ_VERSIONS).fetchall()]
    except sqlite3.OperationalError:
        # A new file has no tables; of any other trouble the upgrade will tell.
        return []


def _primary_code(error: BaseException) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(error, sqlite3.Error) and code is not None else None


def refuse_network_filesystem(directory: Path) -> None:
    """Raise UnsafeStorage when a directory lies on a filesystem that does not honour SQLite's locks and syncs."""
    if not sys.platform.startswith("linux"):
        return
    resolved = directory.resolve()
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines():
        _, mount_point, filesystem, *_ = line.split(" ")
        if resolved.is_relative_to(mount_point) and len(mount_point) >= len(best):
            best, kind = mount_point, filesystem
    if kind in _NETWORK_FILESYSTEMS:
        raise UnsafeStorage(f"the data directory lies on a network filesystem ({kind}); SQLite needs a local disk")
