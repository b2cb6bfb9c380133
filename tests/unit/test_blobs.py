"""Results on disk are complete or absent, and a disk that fails stops the process."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omixa.errors import StorageUnavailable
from omixa.storage import blobs as blobs_module
from omixa.storage.blobs import BlobStore

T = TypeVar("T")
NAME = "20261123/req_01"


@pytest.fixture
def fatal() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, fatal: list[str]) -> Iterator[BlobStore]:
    opened = BlobStore(tmp_path / "results", on_fatal=fatal.append)
    yield opened
    opened.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def test_what_is_put_is_got_back_until_it_is_deleted(store: BlobStore) -> None:
    assert run(store.get(NAME)) is None
    assert not store.has(NAME)
    run(store.put(NAME, lambda: [b"one", memoryview(b"two"), b"", b"three"]))
    assert run(store.get(NAME)) == b"onetwothree"
    assert store.has(NAME)
    assert store.names() == [NAME]
    run(store.delete(NAME))
    run(store.delete(NAME))
    assert run(store.get(NAME)) is None
    assert store.names() == []


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.binary(max_size=40), max_size=1200), at_a_time=st.integers(1, 7))
def test_any_pieces_arrive_whole_even_when_the_system_writes_little_at_a_time(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], at_a_time: int
) -> None:
    path = tmp_path_factory.mktemp("pieces") / "file"
    writev = os.writev

    def write_little(descriptor: int, buffers: Any) -> int:
        some = b"".join(bytes(buffer) for buffer in buffers)[: at_a_time * 13]
        return writev(descriptor, [some])

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blobs_module.os, "writev", write_little)
        blobs_module._write_all(descriptor, pieces)
    os.close(descriptor)
    assert path.read_bytes() == b"".join(pieces)


def test_many_results_at_a_time(store: BlobStore) -> None:
    async def put_and_get() -> None:
        names = [f"2026112{number % 3}/req_{number:03}" for number in range(60)]
        await asyncio.gather(*(store.put(name, lambda name=name: [name.encode() * 1000]) for name in names))
        assert await asyncio.gather(*map(store.get, names)) == [name.encode() * 1000 for name in names]
        assert sorted(store.names()) == sorted(names)

    run(put_and_get())


def test_files_are_only_for_their_owner(store: BlobStore, tmp_path: Path) -> None:
    run(store.put(NAME, lambda: [b"private"]))
    path = tmp_path / "results" / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_bytes_are_synced_before_their_name_and_the_name_before_the_answer(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def log_sync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        steps.append(f"sync {kind}")
        fsync(descriptor)

    def log_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    run(store.put("20261123/req_00", lambda: [b"the directory is there from here on"]))
    monkeypatch.setattr(blobs_module.os, "fsync", log_sync)
    monkeypatch.setattr(Path, "rename", log_rename)
    run(store.put(NAME, lambda: [b"bytes"]))
    assert steps == ["sync file", "rename", "sync directory"]


@pytest.mark.parametrize("failing", ["writev", "fsync"])
def test_a_disk_that_fails_leaves_no_result_and_stops_the_process(
    store: BlobStore, fatal: list[str], monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    run(store.put("20261123/req_00", lambda: [b"before"]))

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(blobs_module.os, failing, fail)
        with pytest.raises(StorageUnavailable, match="Nothing was charged"):
            run(store.put(NAME, lambda: [b"bytes"]))
    assert len(fatal) == 1
    assert run(store.get(NAME)) is None
    assert store.names() == ["20261123/req_00"]
    # Another process might be writing it still.
    assert store.remove_unfinished() == 0
    monkeypatch.setattr(blobs_module, "UNFINISHED_S", -1)
    assert store.remove_unfinished() == 1
    assert store.remove_unfinished() == 0


def test_a_directory_that_cannot_be_made_stops_the_process(tmp_path: Path, fatal: list[str]) -> None:
    (tmp_path / "results").write_text("a file in the way")
    store = BlobStore(tmp_path / "results", on_fatal=fatal.append)
    with pytest.raises(StorageUnavailable):
        run(store.put(NAME, lambda: [b"bytes"]))
    assert len(fatal) == 1
    store.close()


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "A/b", "a/b.png", "a b", "a/.b", "a\n"]
)
def test_names_cannot_leave_the_directory(store: BlobStore, name: str) -> None:
    for work in (store.put(name, lambda: [b""]), store.get(name), store.delete(name)):
        with pytest.raises(ValueError, match="not a name"):
            run(work)
    with pytest.raises(ValueError, match="not a name"):
        store.has(name)


def test_an_empty_store_has_no_names(store: BlobStore) -> None:
    assert store.names() == []
    assert store.remove_unfinished() == 0
