"""Run engines in processes of their own: they keep Python's lock or a whole core while they work, and may run out of memory."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar

from omixa.errors import EngineBroke, EngineBusy, EngineTimeout, InvalidRequest, OmixaError

# Jobs done at once, and those that may wait for their turn beyond these.
PROCESSES: Final = 2
WAITING_MAX: Final = 128
# A picture is painted in well under a second; sixteen large references, or a large picture made larger, take many.
JOB_TIMEOUT_S: Final = 60.0
# Address space of a worker's process.
WORKER_MAX_BYTES: Final = 2 * 1024**3
# Workers give way to the server, which only passes on what others make.
WORKER_NICENESS: Final = 10
# When a worker is likely to be free again.
RETRY_AFTER_S: Final = 2

_YIELDED: Final = "yielded"
_DONE: Final = "done"
_FAILED: Final = "failed"

Job_contra = TypeVar("Job_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)
J = TypeVar("J")
T = TypeVar("T")


class Engine(Protocol[Job_contra, Made_co]):
    """What a worker runs. Made without arguments, once in each process that needs it, and kept there.

    The engine's class, its jobs and what they yield are pickled on their way.
    """

    def carry_out(self, job: Job_contra) -> Iterator[Made_co]:
        """Yield any number of things on the way, then the result. Raises InvalidRequest where the job is the caller's mistake."""
        ...


class Workers:
    """A few processes that do any engine's jobs; each starts when it is first needed. Enter it, or call `close` at the end.

    May be used from several event loops. A worker that dies, or is too slow and is killed, is replaced for the next job.
    """

    def __init__(
        self, processes: int = PROCESSES, *, waiting: int = WAITING_MAX, max_bytes: int = WORKER_MAX_BYTES
    ) -> None:
        self._room = processes + waiting
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._unfinished = 0
        self._idle: list[_Worker] = []
        self._staff: list[_Worker] = []
        # A thread for each process: it waits for the result, which blocks.
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="omixa-worker")

    @property
    def pids(self) -> frozenset[int]:
        """Return the processes that live, whether they work or wait for work."""
        return frozenset(worker.pid for worker in tuple(self._staff) if worker.lives)

    @property
    def unfinished(self) -> int:
        """Return how many jobs are being done or wait."""
        return self._unfinished

    async def run(
        self, engine: Callable[[], Engine[J, T]], job: J, *, timeout_s: float = JOB_TIMEOUT_S
    ) -> AsyncGenerator[T, None]:
        """Yield what the engine's `carry_out` yields for a job, as it comes.

        `timeout_s` counts from now, waiting included. Raises the engine's InvalidRequest, EngineBusy when too many wait,
        EngineTimeout, and EngineBroke when the process dies.
        """
        loop, queue, end = asyncio.get_running_loop(), asyncio.Queue[Any](), object()

        def tell(made: object) -> None:
            # The loop may be gone when nobody waits any more.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(queue.put_nowait, made)

        working = self._submit(engine, job, time.monotonic() + timeout_s, tell)
        working.add_done_callback(lambda _: tell(end))
        try:
            while (made := await queue.get()) is not end:
                yield made
        finally:
            # What has not begun never will.
            working.cancel()
        working.result()

    async def finished(self, engine: Callable[[], Engine[J, T]], job: J, *, timeout_s: float = JOB_TIMEOUT_S) -> T:
        """Return the result alone. Raises what `run` raises."""
        *_, result = [made async for made in self.run(engine, job, timeout_s=timeout_s)]
        return result

    def close(self) -> None:
        """Finish what is being done and end the processes. Blocking."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._idle:
            self._dismiss(self._idle.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(
        self, engine: Callable[[], Engine[J, T]], job: J, deadline: float, tell: Callable[[object], None]
    ) -> Future[None]:
        with self._lock:
            if self._unfinished >= self._room:
                raise EngineBusy(
                    f"{self._unfinished} pictures are being made or wait already. Try again shortly.",
                    retry_after_s=RETRY_AFTER_S,
                )
            working = self._threads.submit(self._carry_out, engine, job, deadline, tell)
            self._unfinished += 1
        working.add_done_callback(self._count_down)
        return working

    def _count_down(self, _: Future[None]) -> None:
        with self._lock:
            self._unfinished -= 1

    def _carry_out(
        self, engine: Callable[[], Engine[J, T]], job: J, deadline: float, tell: Callable[[object], None]
    ) -> None:
        if time.monotonic() >= deadline:
            raise EngineTimeout("The picture waited too long for its turn.")
        worker = self._hired()
        try:
            worker.carry_out((engine, job), deadline, tell)
        except InvalidRequest:
            self._idle.append(worker)
            raise
        except BaseException:
            self._dismiss(worker)
            raise
        self._idle.append(worker)

    def _hired(self) -> _Worker:
        """Return an idle worker that lives, or a new one; there are never more than threads."""
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                worker = _Worker(self._max_bytes)
                self._staff.append(worker)
                return worker
            if worker.lives:
                return worker
            self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.end()
        self._staff.remove(worker)


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, max_bytes: int) -> None:
        # Spawned, because a fork would copy the server's threads' locks in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(theirs, max_bytes), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def lives(self) -> bool:
        return self._process.is_alive()

    def carry_out(self, order: tuple[object, object], deadline: float, tell: Callable[[object], None]) -> None:
        """Tell what an engine makes of a job. Raises InvalidRequest, EngineTimeout or EngineBroke."""
        try:
            self._connection.send(order)
            while True:
                if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                    raise EngineTimeout("The picture took too long to make.")
                kind, content = self._connection.recv()
                if kind == _FAILED:
                    raise content
                if kind == _DONE:
                    return
                tell(content)
        except (EOFError, OSError) as error:
            raise EngineBroke(
                "The process that made this picture broke.", diagnostics=f"{type(error).__name__}: {error}"
            ) from error

    def end(self) -> None:
        """End the process, whatever it does."""
        self._connection.close()
        self._process.kill()
        self._process.join()


def _work(connection: Connection, max_bytes: int) -> None:
    """Do whatever comes through the pipe. The server handles signals, and a worker ends with it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(WORKER_NICENESS)
    _limit_memory(max_bytes)
    engines: dict[Callable[[], Engine[Any, Any]], Engine[Any, Any]] = {}
    while True:
        try:
            kind, job = connection.recv()
        except EOFError:
            return
        try:
            if kind not in engines:
                engines[kind] = kind()
            for made in engines[kind].carry_out(job):
                connection.send((_YIELDED, made))
            connection.send((_DONE, None))
        except OmixaError as error:
            connection.send((_FAILED, error))
        except Exception as error:  # noqa: BLE001 - told to the server, which ends this process
            broken = EngineBroke("The picture could not be made.", diagnostics=f"{type(error).__name__}: {error}")
            connection.send((_FAILED, broken))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _limit_memory(max_bytes: int) -> None:
    # Elsewhere the limit on address space is missing or has no effect.
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (max_bytes, max_bytes))
