"""HTTP/1.1 by uvicorn, with bounds on the size and the time of request headers that uvicorn leaves open."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Headers must be complete within `header_timeout_s` of the connection, or of a further request's start."""

    header_timeout_s: ClassVar[float] = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_deadline: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Expect the first request."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._headers_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count header bytes; a body that shares a read with its headers is not held against them."""
        if self._in_headers:
            if self._header_bytes > MAX_HEADER_BYTES:
                self._end(_TOO_LARGE)
                return
            self._header_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Expect the headers of a further request on this connection."""
        if not self._in_headers:
            self._expect_headers()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Let the request run."""
        self._headers_done()
        super().on_headers_complete()

    def _expect_headers(self) -> None:
        self._in_headers, self._header_bytes = True, 0
        self._header_deadline = self.loop.call_later(self.header_timeout_s, self._end, _TOO_SLOW)

    def _headers_done(self) -> None:
        self._in_headers = False
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _end(self, answer: bytes) -> None:
        self._headers_done()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def bounded_protocol(header_timeout_s: float) -> type[asyncio.Protocol]:
    """Return the protocol class with its timeout; uvicorn makes the instances."""
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), {"header_timeout_s": header_timeout_s})
