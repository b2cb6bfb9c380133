"""Just enough HTTP/1.1 for both ends of the benchmark: a head, then a body of a known length, one message at a time."""

from __future__ import annotations

import asyncio
import re
from typing import cast

BUFFER_BYTES = 512 * 1024

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class MessageProtocol(asyncio.BufferedProtocol):
    """Reads messages and counts bodies instead of keeping them. All connections of a process may share one buffer.

    Subclasses say what happens with `message_done` and, for the pieces of a body, `body_piece`.
    """

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = memoryview(buffer)
        self._body_left = 0
        self.head = b""
        self.body_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's transports do not descend from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    @property
    def transport(self) -> asyncio.Transport:
        """Return the way back."""
        assert self._transport is not None
        return self._transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give the shared buffer: what arrives is used up before the next read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what arrived."""
        piece = self._buffer[:nbytes]
        if not self._body_left:
            self.head += bytes(piece)
            end = self.head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            self.head, piece = self.head[:end], memoryview(self.head)[end:]
            found = _CONTENT_LENGTH.search(self.head)
            self.body_bytes = self._body_left = int(found[1]) if found else 0
        self._body_left -= len(piece)
        self.body_piece(piece)
        if self._body_left <= 0:
            head, self.head = self.head, b""
            self.message_done(head)

    def body_piece(self, piece: memoryview) -> None:
        """Look at a piece of the body."""

    def message_done(self, head: bytes) -> None:
        """Act on a complete message."""
        raise NotImplementedError
