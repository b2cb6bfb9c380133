"""A relay on loopback between a client and PostgreSQL that loses commits, or their answers, when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tests.support.servers import LoopThread

# What asyncpg sends for a commit: a simple query.
_COMMIT = b"COMMIT\0"

# What happens to a commit: it never arrives; it arrives and its answer does not; or it arrives long after the client has
# lost its connection, when `let_arrive` is set.
Fault = Literal["lost", "unanswered", "late"]


@dataclass
class Relay:
    """Relays to `target`. `faults` are what the next commits meet; `refuses` turns new connections away."""

    target: int
    port: int = 0
    faults: deque[Fault] = field(default_factory=deque)
    refuses: bool = False
    let_arrive: threading.Event = field(default_factory=threading.Event)

    async def serve(self, thread: LoopThread) -> None:
        """Relay until the thread is stopped."""
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
        if self.refuses:
            client.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            client.transport.abort()
            return
        back = asyncio.create_task(_copy(answers, client))
        try:
            await self._forward(reader, client, server, back)
        finally:
            back.cancel()
            for writer in (client, server):
                writer.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        client: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        ended = asyncio.create_task(asyncio.wait({back}))
        with contextlib.suppress(OSError):
            while data := await _first(reader.read(1 << 16), ended):
                fault = self.faults.popleft() if _COMMIT in data and self.faults else None
                if fault == "lost":
                    return
                if fault is not None:
                    client.transport.abort()
                    if fault == "late":
                        await asyncio.to_thread(self.let_arrive.wait)
                    server.write(data)
                    # It is through with the commit when it has closed its side.
                    server.write_eof()
                    await back
                    return
                server.write(data)
                await server.drain()


async def _first(reading: asyncio.Future[bytes] | object, ended: asyncio.Task[object]) -> bytes:
    """Return what was read, or nothing when the other direction has ended before."""
    read = asyncio.ensure_future(reading)  # type: ignore[arg-type, var-annotated]
    await asyncio.wait({read, ended}, return_when=asyncio.FIRST_COMPLETED)
    if not read.done():
        read.cancel()
        return b""
    return bytes(read.result())


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            if not writer.transport.is_closing():
                writer.write(data)
                await writer.drain()


@contextlib.contextmanager
def running_relay(target: int) -> Iterator[Relay]:
    """Relay to a port of loopback until the block ends."""
    relay = Relay(target)
    with LoopThread(relay.serve):
        try:
            yield relay
        finally:
            relay.let_arrive.set()
