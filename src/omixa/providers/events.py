"""Server-sent events from a provider: cut out of the body while it arrives, and given to an adapter one by one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omixa.providers.wire import Timeouts, Transport, WireEvent, WireRequest, WireResponse

MEDIA_TYPE = "text/event-stream"

# The standard has lone carriage returns too; nobody sends them, and the first half of a line end would look like one.
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(rb"\r?\n")
# A blank line has up to this many bytes, and may be cut anywhere.
_BLANK_BYTES = 4
_FIELD = b"data:"


class EventCutter:
    """Cuts a body into events and tells the data of each as soon as it is complete. Source: the HTML standard, 9.2.6."""

    def __init__(self, tell: Callable[[bytes], None]) -> None:
        self._tell = tell
        self._open = bytearray()

    def take(self, piece: bytes) -> bool:
        """Take a piece of the body; return whether it ended with the end of an event. An event that is cut short is not told."""
        searched = max(len(self._open) - _BLANK_BYTES + 1, 0)
        self._open += piece
        while (end := _BLANK_LINE.search(self._open, searched)) is not None:
            event = bytes(self._open[: end.start()])
            del self._open[: end.end()]
            searched = 0
            # Comments keep a connection alive and say nothing.
            if data := _data(event):
                self._tell(data)
        return not self._open

    def cut_off(self) -> bytes:
        """Give back what has come of the event that is open, as if it had not come."""
        begun = bytes(self._open)
        self._open.clear()
        return begun


def _data(event: bytes) -> bytes:
    lines = (line.removeprefix(_FIELD) for line in _LINE_END.split(event) if line.startswith(_FIELD))
    return b"\n".join(line.removeprefix(b" ") for line in lines)


async def follow(
    transport: Transport, request: WireRequest, timeouts: Timeouts
) -> AsyncGenerator[WireEvent | WireResponse, None]:
    """Yield each event as it comes, and last the answer, whose body is empty where it was events.

    Raises what `Transport.send` raises. Leaving hangs up.
    """
    told: asyncio.Queue[WireEvent | None] = asyncio.Queue()
    # A task of its own, because its deadlines must not reach whoever looks at an event.
    sending = asyncio.create_task(transport.send(request, timeouts, told.put_nowait))
    sending.add_done_callback(lambda _: told.put_nowait(None))
    try:
        while (event := await told.get()) is not None:
            yield event
        yield await sending
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
