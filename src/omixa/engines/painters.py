"""Paint in processes of their own: the renderer keeps Python's lock while it works, and a server must not stand still."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

from omixa.engines.illustrator import Illustrator

# Pictures painted at once. Further ones wait their turn.
PAINTERS = 2


class Painters:
    """A few illustrators, each in a process that starts when it is first needed. Enter it, or call `close` at the end."""

    def __init__(self, processes: int = PAINTERS) -> None:
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    async def paint(
        self, prompt: str, *, width: int, height: int, variant: int = 0, reference: bytes | None = None
    ) -> bytes:
        """Return the PNG that `Illustrator.paint`, or `edit` with a reference, gives.

        Raises InvalidRequest when a reference cannot be decoded, and RuntimeError when the process breaks.
        """
        pool = self._pool = self._pool or self._new_pool()
        work = functools.partial(_paint, prompt, reference, width, height, variant)
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except BrokenProcessPool as error:
            # The next picture gets new processes.
            self._pool = None if self._pool is pool else self._pool
            raise RuntimeError("a painter's process broke") from error

    def close(self) -> None:
        """End the processes. Blocking."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _new_pool(self) -> ProcessPoolExecutor:
        # Spawned, because a fork would copy the server's threads' locks in whatever state they are.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._processes, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Prepare a painter's process: the server handles signals, and a painter ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@functools.cache
def _illustrator() -> Illustrator:
    """Return this process's illustrator, with its data loaded once."""
    return Illustrator()


def _paint(prompt: str, reference: bytes | None, width: int, height: int, variant: int) -> bytes:
    if reference is None:
        return _illustrator().paint(prompt, width=width, height=height, variant=variant)
    return _illustrator().edit(prompt, reference, width=width, height=height, variant=variant)
