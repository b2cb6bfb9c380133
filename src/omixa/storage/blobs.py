"""Where results are kept: durable files that are written once, read back and deleted by name."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from omixa.errors import StorageUnavailable

T = TypeVar("T")

# Threads that write, each a group at a time: what is queued shares a change of threads and a sync of the directory.
WRITE_THREADS = 2
MAX_GROUP = 64
# Threads that read and delete.
OTHER_THREADS = 2
# No result takes this long to be written.
UNFINISHED_S = 3600

# A system call takes at most this many pieces (IOV_MAX on Linux is 1024).
_MAX_PIECES = 512

Pieces = Sequence[bytes | memoryview]

_NAME = re.compile(r"[a-z0-9_]+(?:/[a-z0-9_]+)*")


class Blobs(Protocol):
    """A place for byte strings under names such as 20261123/req_01k…: files, or an object store.

    Those that are not asynchronous block. Each but `check` raises StorageUnavailable where the place cannot be reached.
    """

    def check(self) -> None:
        """Raise StorageUnavailable when nothing could be stored now."""
        ...

    async def put(self, name: str, produce: Callable[[], Pieces]) -> None:
        """Store durably what `produce` gives, which is called in a thread."""
        ...

    async def get(self, name: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """Return what is stored, or up to `length` bytes of it, or None. Large ones take no memory until they are looked at."""
        ...

    async def delete(self, name: str) -> None:
        """Delete what is stored; nothing happens when there is nothing."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether something is stored."""
        ...

    def lookup(self) -> Callable[[str], bool]:
        """Return what tells of many names whether something is stored."""
        ...

    def find(self, last: str) -> list[str]:
        """Return the names that end with this part, behind any day."""
        ...

    def names(self) -> list[str]:
        """Return every name, unsorted."""
        ...

    def remove_unfinished(self) -> int:
        """Delete what a crash left half written, and return how much that was."""
        ...

    async def claim(self, mark: str) -> str:
        """Leave a mark of whoever uses this place where there is none, and return the one that is there."""
        ...

    def close(self) -> None:
        """Finish what is being written."""
        ...


class _Put:
    """One queued result and where its outcome goes."""

    __slots__ = ("error", "future", "loop", "path", "produce")

    def __init__(self, path: Path, produce: Callable[[], Pieces], loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self.produce = produce
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()
        self.error: BaseException | None = None


class BlobStore:
    """Keep byte strings under names such as 20261123/req_01k… in one directory.

    `put` returns when the bytes are on the disk: written to a temporary file, synced, renamed, and the directory synced.
    A file under its final name is therefore always complete. `on_fatal` is called when the disk fails: after a failed sync
    nothing may be retried, so the process has to stop and recover.
    """

    def __init__(self, directory: Path, *, on_fatal: Callable[[str], None]) -> None:
        self._directory = directory
        self._on_fatal = on_fatal
        self._threads = ThreadPoolExecutor(OTHER_THREADS, thread_name_prefix="omixa-blob")
        self._puts: queue.SimpleQueue[_Put | None] = queue.SimpleQueue()
        self._writers = [
            threading.Thread(target=self._write_loop, name="omixa-blob", daemon=True) for _ in range(WRITE_THREADS)
        ]
        # Directories whose own entry is known to be durable.
        self._durable_directories: set[Path] = set()
        for writer in self._writers:
            writer.start()

    def check(self) -> None:
        """Do nothing: when the disk fails, the process stops."""

    async def put(self, name: str, produce: Callable[[], Pieces]) -> None:
        """Store the pieces that `produce` gives, one after the other, durably. Raises StorageUnavailable when the disk fails.

        `produce` is called in a thread, so it may take its time to hash megabytes.
        """
        item = _Put(self._path(name), produce, asyncio.get_running_loop())
        self._puts.put(item)
        try:
            await item.future
        except OSError as error:
            self._on_fatal(f"a result could not be made durable: {error}")
            raise StorageUnavailable(
                "The result could not be stored. Nothing was charged. Try again shortly.", retry_after_s=5
            ) from error

    async def get(self, name: str, start: int = 0, length: int | None = None) -> memoryview | None:
        """Return what is stored under a name, or up to `length` bytes of it, or None when there is nothing.

        The bytes stay in the file: they are read when they are looked at.
        """
        data = await self._in_thread(self._get, self._path(name))
        return None if data is None else data[start : None if length is None else start + length]

    async def delete(self, name: str) -> None:
        """Delete what is stored under a name; nothing happens when there is nothing."""
        await self._in_thread(self._delete, self._path(name))

    def has(self, name: str) -> bool:
        """Tell whether something is stored under a name. Blocking."""
        return self._path(name).is_file()

    def lookup(self) -> Callable[[str], bool]:
        """Return what tells of many names whether something is stored there."""
        return self.has

    def find(self, last: str) -> list[str]:
        """Return the names that end with this part, behind any day. Blocking."""
        found = (path / last for path in self._directory.glob("*/"))
        return [path.relative_to(self._directory).as_posix() for path in found if path.is_file()]

    def names(self) -> list[str]:
        """Return every stored name, unsorted. Blocking."""
        return [
            path.relative_to(self._directory).as_posix()
            for path in self._directory.glob("*/*")
            if not path.name.startswith(".")
        ]

    def remove_unfinished(self) -> int:
        """Delete what a crash left half written and return how many files that were. Blocking.

        Younger files are left alone: another process that shares the directory may be writing them.
        """
        removed = 0
        for path in self._directory.glob("*/.*.unfinished"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > UNFINISHED_S:
                    path.unlink()
                    removed += 1
        return removed

    async def claim(self, mark: str) -> str:
        """Return the mark: a directory of files belongs to its data directory, which has one."""
        return mark

    def close(self) -> None:
        """Finish what is being written. Blocking."""
        for _ in self._writers:
            self._puts.put(None)
        for writer in self._writers:
            writer.join()
        self._threads.shutdown(wait=True)

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def _path(self, name: str) -> Path:
        return self._directory / require_name(name)

    def _write_loop(self) -> None:
        while (group := self._next_group()) is not None:
            try:
                self._write_group(group)
            except BaseException as error:  # noqa: BLE001 - told to whoever waits
                for item in group:
                    item.error = error
            _deliver(group)
            # A group holds pictures; they must not live on while the thread waits.
            del group

    def _next_group(self) -> list[_Put] | None:
        first = self._puts.get()
        if first is None:
            return None
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                item = self._puts.get_nowait()
            except queue.Empty:
                break
            if item is None:
                self._puts.put(None)
                break
            group.append(item)
        return group

    def _write_group(self, group: Sequence[_Put]) -> None:
        """Write every file, then sync each, then give all their names, then sync the directories.

        The disk is at work on each file while the next one is made, so the syncs wait for all of them together.
        """
        with contextlib.ExitStack() as stack:
            written = []
            for item in group:
                self._make_durable_directory(item.path.parent)
                unfinished = item.path.parent / f".{item.path.name}.unfinished"
                descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                stack.callback(os.close, descriptor)
                _write_all(descriptor, item.produce())
                _forget_pages(descriptor)
                written.append((descriptor, unfinished, item.path))
            for descriptor, _, _ in written:
                os.fsync(descriptor)
                _forget_pages(descriptor)
        for _, unfinished, path in written:
            unfinished.rename(path)
        for directory in {path.parent for _, _, path in written}:
            sync_directory(directory)

    def _make_durable_directory(self, directory: Path) -> None:
        if directory in self._durable_directories:
            return
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(directory.parent)
        self._durable_directories.add(directory)

    def _get(self, path: Path) -> memoryview | None:
        try:
            with path.open("rb") as file:
                # An empty file cannot be mapped.
                if not os.fstat(file.fileno()).st_size:
                    return memoryview(b"")
                return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:
            return None

    def _delete(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def require_name(name: str) -> str:
    """Return a name that leads nowhere else. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name of a stored result: {name!r}")
    return name


def _deliver(group: Sequence[_Put]) -> None:
    """Hand the outcomes to the event loops that wait for them: one wake-up for each loop."""
    for loop in {item.loop for item in group}:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, [item for item in group if item.loop is loop])


def _settle(items: Sequence[_Put]) -> None:
    for item in items:
        if item.future.done():
            continue
        if item.error is None:
            item.future.set_result(None)
        else:
            item.future.set_exception(item.error)


def _forget_pages(descriptor: int) -> None:
    """Let the system reuse a file's memory: hardly any result is read again, and reused pages cost far less than fresh ones.

    What is not on the disk yet is kept, and Linux begins to write it.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _write_all(descriptor: int, pieces: Sequence[bytes | memoryview]) -> None:
    pending = [memoryview(piece) for piece in pieces if len(piece)]
    while pending:
        written = os.writev(descriptor, pending[:_MAX_PIECES])
        while pending and written >= len(pending[0]):
            written -= len(pending.pop(0))
        if written:
            pending[0] = pending[0][written:]


def forget_memory(data: memoryview) -> None:
    """Let go of the memory that the bytes of a file have taken while they were looked at; they can be looked at again."""
    mapped = data.obj
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
