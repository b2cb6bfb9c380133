"""A fault proxy before a provider, on an event loop of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from omixa.simulator.proxy import FaultProxy, Passed
from tests.support.servers import LoopThread

# Exchanges that hang on purpose are not waited for any longer.
NOTED_WITHIN_S = 0.5


@dataclass
class Proxy:
    """A proxy that listens, and the switches of a test."""

    proxy: FaultProxy
    thread: LoopThread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def passed(self) -> list[Passed]:
        """Return what has passed since the last script. A client may have its answer a moment before it is noted."""
        assert self.thread is not None
        self.thread.call(self.proxy.idle(NOTED_WITHIN_S))
        return list(self.proxy.passed)

    def play(self, faults: str) -> None:
        """Begin a script, listening whatever the last one did, and without what it has left behind."""

        async def begin() -> None:
            await self.proxy.drop()
            self.proxy.play(faults)
            self.proxy.passed.clear()
            await self.proxy.accept()

        assert self.thread is not None
        self.thread.call(begin())


@contextlib.contextmanager
def running_proxy(target: str) -> Iterator[Proxy]:
    """Run a proxy before a provider."""
    running = Proxy(FaultProxy(target))

    async def serve(thread: LoopThread) -> None:
        async with running.proxy:
            thread.ready()
            await thread.stopped()

    with LoopThread(serve) as thread:
        running.thread = thread
        yield running
