"""Where results are kept: durable files that are written once, read back and deleted by name."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from omixa.errors import StorageUnavailable

T = TypeVar("T")

# Threads that wait for the disk. Each holds one result, so this also bounds how many are written at once.
WRITE_THREADS = 8

# A system call takes at most this many pieces (IOV_MAX on Linux is 1024).
_MAX_PIECES = 512

_NAME = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+)*")


class BlobStore:
    """Keep byte strings under names such as 20261123/req_01k… in one directory.

    `put` returns when the bytes are on the disk: written to a temporary file, synced, renamed, and the directory synced.
    A file under its final name is therefore always complete. `on_fatal` is called when the disk fails: after a failed sync
    nothing may be retried, so the process has to stop and recover.
    """

    def __init__(self, directory: Path, *, on_fatal: Callable[[str], None]) -> None:
        self._directory = directory
        self._on_fatal = on_fatal
        self._threads = ThreadPoolExecutor(WRITE_THREADS, thread_name_prefix="omixa-blob")
        # Directories whose own entry is known to be durable.
        self._durable_directories: set[Path] = set()

    async def put(self, name: str, pieces: Sequence[bytes | memoryview]) -> None:
        """Store the pieces, one after the other, durably. Raises StorageUnavailable when the disk fails."""
        try:
            await self._in_thread(self._put, self._path(name), pieces)
        except OSError as error:
            self._on_fatal(f"a result could not be made durable: {error}")
            raise StorageUnavailable(
                "The result could not be stored. Nothing was charged. Try again shortly.", retry_after_s=5
            ) from error

    async def get(self, name: str) -> bytes | None:
        """Return what is stored under a name, or None."""
        return await self._in_thread(self._get, self._path(name))

    async def delete(self, name: str) -> None:
        """Delete what is stored under a name; nothing happens when there is nothing."""
        await self._in_thread(self._delete, self._path(name))

    def has(self, name: str) -> bool:
        """Tell whether something is stored under a name. Blocking."""
        return self._path(name).is_file()

    def names(self) -> list[str]:
        """Return every stored name, unsorted. Blocking."""
        return [
            path.relative_to(self._directory).as_posix()
            for path in self._directory.glob("*/*")
            if not path.name.startswith(".")
        ]

    def remove_unfinished(self) -> int:
        """Delete what a crash left half written and return how many files that were. Blocking; call before serving."""
        leftovers = list(self._directory.glob("*/.*.unfinished"))
        for path in leftovers:
            path.unlink()
        return len(leftovers)

    def close(self) -> None:
        """Finish what is being written. Blocking."""
        self._threads.shutdown(wait=True)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"not a name of a stored result: {name!r}")
        return self._directory / name

    def _put(self, path: Path, pieces: Sequence[bytes | memoryview]) -> None:
        self._make_durable_directory(path.parent)
        unfinished = path.parent / f".{path.name}.unfinished"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write_all(descriptor, pieces)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.rename(path)
        sync_directory(path.parent)

    def _make_durable_directory(self, directory: Path) -> None:
        if directory in self._durable_directories:
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(directory.parent)
        self._durable_directories.add(directory)

    def _get(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def _write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    pending = [memoryview(piece) for piece in pieces if len(piece)]
    while pending:
        written = os.writev(descriptor, pending[:_MAX_PIECES])
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if written:
            pending[0] = pending[0][written:]


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
