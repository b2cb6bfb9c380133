"""A proxy between a client and the gateway that cuts connections as bad networks do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.support.servers import LoopThread

POLL_S = 0.005


@dataclass
class Cutter:
    """Passes connections on to `target`, and cuts the next ones as `cuts` say: each tells when, asked again and again.

    A cut connection gives its client nothing of the answer; `stays_upstream` leaves the gateway's side open.
    """

    target: int
    port: int = 0
    cuts: list[Callable[[], bool]] = field(default_factory=list)
    stays_upstream: bool = False
    connections: int = 0

    async def serve(self, thread: LoopThread) -> None:
        """Pass on until the thread is stopped."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        thread.ready()
        await thread.stopped()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.connections += 1
        cut = self.cuts.pop(0) if self.cuts else None
        answers, gateway = await asyncio.open_connection("127.0.0.1", self.target)
        asking = asyncio.create_task(_copy(reader, gateway))
        try:
            if cut is None:
                with contextlib.suppress(asyncio.CancelledError):
                    await _copy(answers, client)
                return
            await _until(cut)
            client.transport.abort()
            if self.stays_upstream:
                while await answers.read(1 << 16):
                    pass
        finally:
            asking.cancel()
            for writer in (client, gateway):
                writer.transport.abort()


async def _until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(POLL_S)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def running_cutter(target: int) -> Iterator[Cutter]:
    """Run a proxy to a port of loopback until the block ends."""
    cutter = Cutter(target)
    with LoopThread(cutter.serve):
        yield cutter
