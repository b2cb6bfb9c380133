"""Paint in processes of their own: the renderer keeps Python's lock while it works, and a server must not stand still."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

from omixa.engines.illustrator import Commission, Illustrator
from omixa.errors import EngineBroke, EngineBusy, EngineTimeout, InvalidRequest, OmixaError

# Pictures painted at once, and those that may wait for their turn beyond these.
PAINTERS: Final = 2
WAITING_MAX: Final = 128
# A picture takes well under a second; one with sixteen large references takes several.
PAINT_TIMEOUT_S: Final = 60.0
# Address space of a painter's process. Decoding the largest reference that is let in takes a fifth of it.
PAINTER_MAX_BYTES: Final = 2 * 1024**3
# When a painter is likely to be free again.
RETRY_AFTER_S: Final = 2

_DONE: Final = "done"
_PREVIEW: Final = "preview"
_FAILED: Final = "failed"


class Painters:
    """A few illustrators, each in a process that starts when it is first needed. Enter it, or call `close` at the end.

    May be used from several event loops. Who dies, or is too slow and is killed, is replaced for the next picture.
    """

    def __init__(self, processes: int = PAINTERS, *, waiting: int = WAITING_MAX) -> None:
        self._room = processes + waiting
        self._lock = threading.Lock()
        self._unfinished = 0
        self._idle: list[_Painter] = []
        self._staff: list[_Painter] = []
        # A thread for each process: it waits for the picture, which blocks.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="omixa-painter")

    @property
    def pids(self) -> frozenset[int]:
        """Return the processes that live, whether they paint or wait for work."""
        return frozenset(painter.pid for painter in tuple(self._staff) if painter.lives)

    async def paint(self, commission: Commission, *, timeout_s: float = PAINT_TIMEOUT_S) -> AsyncGenerator[bytes, None]:
        """Yield the PNGs that `Illustrator.carry_out` yields; the last one is the finished picture.

        `timeout_s` counts from now, waiting included. Raises InvalidRequest when a reference cannot be decoded, EngineBusy
        when too many wait, EngineTimeout, and EngineBroke when the process dies.
        """
        loop, pictures = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()

        def tell(picture: bytes | None) -> None:
            # The loop may be gone when nobody waits for the picture any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(pictures.put_nowait, picture)

        painting = self._submit(commission, time.monotonic() + timeout_s, tell)
        painting.add_done_callback(lambda _: tell(None))
        try:
            while (picture := await pictures.get()) is not None:
                yield picture
        finally:
            # What has not begun never will.
            painting.cancel()
        yield painting.result()

    async def finished(self, commission: Commission) -> bytes:
        """Return the finished picture alone. Raises what `paint` raises."""
        *_, picture = [picture async for picture in self.paint(commission)]
        return picture

    def close(self) -> None:
        """Finish what is being painted and end the processes. Blocking."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._dismiss(self._idle.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, commission: Commission, deadline: float, tell: Callable[[bytes], None]) -> Future[bytes]:
        with self._lock:
            if self._unfinished >= self._room:
                raise EngineBusy(
                    f"{self._unfinished} pictures are being painted or wait already. Try again shortly.",
                    retry_after_s=RETRY_AFTER_S,
                )
            painting = self._threads.submit(self._carry_out, commission, deadline, tell)
            self._unfinished += 1
        painting.add_done_callback(self._count_down)
        return painting

    def _count_down(self, _: Future[bytes]) -> None:
        with self._lock:
            self._unfinished -= 1

    def _carry_out(self, commission: Commission, deadline: float, tell: Callable[[bytes], None]) -> bytes:
        if time.monotonic() >= deadline:
            raise EngineTimeout("The picture waited too long for its turn.")
        painter = self._hired()
        try:
            picture = painter.carry_out(commission, deadline, tell)
        except InvalidRequest:
            self._idle.append(painter)
            raise
        except BaseException:
            self._dismiss(painter)
            raise
        self._idle.append(painter)
        return picture

    def _hired(self) -> _Painter:
        """Return an idle painter that lives, or a new one; there are never more than threads."""
        while True:
            try:
                painter = self._idle.pop()
            except IndexError:
                painter = _Painter()
                self._staff.append(painter)
                return painter
            if painter.lives:
                return painter
            self._dismiss(painter)

    def _dismiss(self, painter: _Painter) -> None:
        painter.end()
        self._staff.remove(painter)


class _Painter:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        # Spawned, because a fork would copy the server's threads' locks in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def lives(self) -> bool:
        return self._process.is_alive()

    def carry_out(self, commission: Commission, deadline: float, tell: Callable[[bytes], None]) -> bytes:
        """Return the picture and tell previews. Raises InvalidRequest, EngineTimeout or EngineBroke."""
        try:
            self._connection.send(commission)
            while True:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise EngineTimeout("The picture took too long to paint.")
                kind, content = self._connection.recv()
                if kind == _FAILED:
                    raise content
                if kind == _DONE:
                    picture: bytes = content
                    return picture
                tell(content)
        except (EOFError, OSError) as error:
            raise EngineBroke(
                "The process that painted this picture broke.", diagnostics=f"{type(error).__name__}: {error}"
            ) from error

    def end(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def _work(connection: Connection) -> None:
    """Paint whatever comes through the pipe. The server handles signals, and a painter ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit_memory()
    illustrator = Illustrator()
    while True:
        try:
            commission: Commission = connection.recv()
        except EOFError:
            return
        try:
            kinds = (*[_PREVIEW] * commission.previews, _DONE)
            for kind, picture in zip(kinds, illustrator.carry_out(commission), strict=True):
                connection.send((kind, picture))
        except OmixaError as error:
            connection.send((_FAILED, error))
        except Exception as error:  # noqa: BLE001 - told to the server, which ends this process
            broken = EngineBroke("The picture could not be painted.", diagnostics=f"{type(error).__name__}: {error}")
            connection.send((_FAILED, broken))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _limit_memory() -> None:
    # Elsewhere the limit on address space is missing or has no effect.
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (PAINTER_MAX_BYTES, PAINTER_MAX_BYTES))
