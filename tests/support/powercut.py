"""A disk in memory whose power can be cut, under SQLite: what was not synced is lost, kept or torn, sector by sector.

A file is what survives a cut for certain, and the writes since its last sync. Every call that changes something counts; at a
chosen one the machine dies, and until `restore_power` every further call fails.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import apsw

from omixa.storage.database import Cursor
from omixa.storage.database import Row as AnyRow
from omixa.storage.sqlite import SqliteBackend
from tests.support.places import Clock

SECTOR = 512
# What becomes of a sector that was written and not synced.
LOST, TORN = 0.5, 0.05
# Small, so that the log is written back into the file between most cuts, and cuts meet that too.
PAGES_BETWEEN_CHECKPOINTS = 24


@dataclass
class _File:
    durable: bytearray
    live: bytearray
    # Writes as (offset, bytes) and truncations as (size, None) since the last sync.
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


class Disk:
    """Files in memory that begin with these contents."""

    def __init__(self, chance: random.Random, contents: Mapping[str, bytes]) -> None:
        self._chance = chance
        self._calls_left: int | None = None
        self.dead = False
        self.files = {name: _File(bytearray(data), bytearray(data)) for name, data in contents.items()}

    def cut_after(self, calls: int) -> None:
        """Cut the power at the so-manieth call from now that changes something."""
        self._calls_left = calls

    def tick(self) -> None:
        """Count a call; raise when there is no power for it."""
        if self._calls_left is not None:
            self._calls_left -= 1
            self.dead = self.dead or self._calls_left < 0
        if self.dead:
            raise apsw.IOError("there is no power")

    def restore_power(self) -> None:
        """Leave of each file what its disk would have kept."""
        for file in self.files.values():
            for position, data in file.pending:
                if data is not None:
                    self._keep_some(file.durable, position, data)
                elif self._chance.random() >= LOST:
                    del file.durable[position:]
            file.pending.clear()
            file.live = bytearray(file.durable)
        self.dead = False
        self._calls_left = None

    def _keep_some(self, image: bytearray, position: int, data: bytes) -> None:
        for start in range(0, len(data), SECTOR):
            lot = self._chance.random()
            if lot < LOST:
                continue
            sector = data[start : start + SECTOR]
            if lot < LOST + TORN:
                sector = sector[: self._chance.randrange(len(sector))]
            write(image, position + start, sector)


def write(image: bytearray, position: int, data: bytes) -> None:
    """Write into a file's bytes, which grow with zeros where they must."""
    if len(image) < position:
        image.extend(bytes(position - len(image)))
    image[position : position + len(data)] = data


class DiskVfs(apsw.VFS):
    """SQLite's way to a disk. Close it when nothing uses it any more."""

    def __init__(self, disk: Disk) -> None:
        # Of all disks that exist at a time, no two have the same.
        self.name = f"omixa-disk-{id(disk)}"
        super().__init__(self.name, base="")
        self._disk = disk

    def close(self) -> None:
        """Take it away from SQLite."""
        self.unregister()

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - SQLite's name
        self._disk.tick()
        flags[1] = flags[0]
        return _OpenFile(self._disk, name if isinstance(name, str) else name.filename())

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return pathname in self._disk.files

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.tick()
        self._disk.files.pop(filename, None)

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name


class _OpenFile:
    def __init__(self, disk: Disk, name: str) -> None:
        self._disk = disk
        self._file = disk.files.setdefault(name, _File(bytearray(), bytearray()))

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._file.live[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.tick()
        kept = bytes(data)
        write(self._file.live, offset, kept)
        self._file.pending.append((offset, kept))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.tick()
        del self._file.live[size:]
        self._file.pending.append((size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.tick()
        # What was written since the last sync is the difference; copying the whole file would take most of the time.
        for position, data in self._file.pending:
            if data is None:
                del self._file.durable[position:]
            else:
                write(self._file.durable, position, data)
        self._file.pending.clear()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._file.live)

    def xClose(self) -> None:  # noqa: N802
        return

    def xLock(self, level: int) -> None:  # noqa: N802
        return

    def xUnlock(self, level: int) -> None:  # noqa: N802
        return

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, pointer: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return SECTOR

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0


# --------------------------------------------------------------------------------------------------------- as a backend


class _Row:
    """A row that answers by name and by number, as those of the usual driver do."""

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: tuple[Any, ...]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, key: str | int) -> Any:
        return self._values[key if isinstance(key, int) else self._places[key]]

    def keys(self) -> Sequence[str]:
        return list(self._places)


class _Rows:
    """A cursor whose rows are all there."""

    def __init__(self, rows: Sequence[AnyRow], changes: int) -> None:
        self._rows = iter(rows)
        self.rowcount = changes

    def fetchall(self) -> Sequence[AnyRow]:
        return list(self._rows)

    def fetchmany(self, size: int, /) -> Sequence[AnyRow]:
        return [row for _, row in zip(range(size), self._rows, strict=False)]

    def fetchone(self) -> AnyRow | None:
        return next(self._rows, None)


class _CutConnection:
    """A connection over a disk whose power can be cut."""

    def __init__(self, vfs: DiskVfs, name: str) -> None:
        self._connection = apsw.Connection(name, vfs=vfs.name)
        self._connection.row_trace = self._row
        # Where each column is in the rows of the statement that is being run.
        self._places: Mapping[str, int] | None = None
        # There is no memory shared with other processes on this disk, so the file is this connection's alone.
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.execute(f"PRAGMA wal_autocheckpoint={PAGES_BETWEEN_CHECKPOINTS}")

    def execute(self, sql: str, parameters: Mapping[str, object] | None = None, /) -> Cursor:
        self._places = None
        rows = self._connection.execute(sql, cast("Any", parameters)).fetchall()
        return _Rows(cast("Sequence[AnyRow]", rows), self._connection.changes())

    def executemany(self, sql: str, rows: Sequence[Mapping[str, object]]) -> None:
        self._connection.executemany(sql, cast("Any", rows))

    def close(self) -> None:
        self._connection.close(True)

    def _row(self, cursor: apsw.Cursor, values: tuple[Any, ...]) -> _Row:
        if self._places is None:
            self._places = {column[0]: place for place, column in enumerate(cursor.get_description())}
        return _Row(self._places, values)


class CutBackend(SqliteBackend):
    """Omixa's own SQLite backend, with its own settings, over a disk whose power can be cut."""

    def __init__(self, vfs: DiskVfs, clock: Clock | None = None, **settings: str) -> None:
        super().__init__(Path("omixa.db"), **({} if clock is None else {"clock": clock}), **settings)  # type: ignore[arg-type]
        self._vfs = vfs

    def migrate(self) -> None:
        """Do nothing: the file comes with all tables."""

    def open_file(self) -> sqlite3.Connection:
        return cast("sqlite3.Connection", _CutConnection(self._vfs, self.path.name))


@dataclass(frozen=True)
class CutPlace:
    """A place on a disk whose power can be cut. `settings` are the backend's own unless a test wants to see others fail."""

    vfs: DiskVfs
    settings: Mapping[str, str] = field(default_factory=dict)

    def backend(self, clock: Clock | None = None) -> CutBackend:
        return CutBackend(self.vfs, clock, **self.settings)

    def tamper(self, statements: Sequence[str], without: Sequence[str]) -> None:
        # Every place has this, for tests of the verification. Here it would spoil what is shown: that only the cut changes rows.
        raise AssertionError("on this disk nothing but a power cut may change the ledger behind its back")
