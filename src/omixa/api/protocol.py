"""HTTP/1.1 by uvicorn, with bounds on the size and the time of request headers that uvicorn leaves open."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from omixa.api.errors import error_body, error_headers
from omixa.domain.ids import new_id
from omixa.errors import HeadersTooLarge, MalformedHttp, OmixaError, RequestTimeout

MAX_HEADER_BYTES = 64 * 1024

_OFFER_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection. Headers must be complete within `header_timeout_s` of the connection, or of a further request's start."""

    header_timeout_s: ClassVar[float] = 10.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_deadline: asyncio.TimerHandle | None = None
        self._in_headers = True
        self._begun = False
        # Of fields that are complete, and of reads in which none of the headers came to their end.
        self._field_bytes = 0
        self._pending_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Expect the first request."""
        super().connection_made(transport)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._headers_done()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count bytes of headers that do not end; a body that shares a read with headers is not held against them."""
        waiting = self._in_headers
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The bytes are not an HTTP request.")
        if waiting and self._in_headers:
            self._pending_bytes += len(data)
            if self._pending_bytes > MAX_HEADER_BYTES:
                self._end(_too_large())

    def on_message_begin(self) -> None:
        """Expect the headers of a further request on this connection."""
        if not self._in_headers:
            self._expect_headers()
        self._begun = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the address as one of the headers."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Let the request run."""
        self._headers_done()
        if not self._upgrade_offered:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body that comes alone on as it is.

        uvicorn adds every piece to a bytearray and makes bytes of that: two copies of each megabyte.
        """
        waiting: bytes | bytearray = self.cycle.body
        if not waiting:
            # Added to no bytes, a piece is itself, and so are the bytes that are made of it.
            self.cycle.body = b""  # type: ignore[assignment]
        elif isinstance(waiting, bytes):
            # Small pieces that come together are many, and would all be copied for each of them.
            self.cycle.body = bytearray(waiting)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Let the request's body end."""
        if not self._upgrade_offered:
            super().on_message_complete()

    @property
    def _upgrade_offered(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def _decline_upgrade(self, rest: bytes) -> None:
        """Read the request again without its offer of another protocol, as if it had not been made.

        The parser stops behind the headers of such a request and leaves out its body. Java's client makes the offer (h2c) in
        its first request on each connection.
        """
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [] if self.parser.should_keep_alive() else [b"connection: close"]
        lines += [b"%b: %b" % header for header in self.headers if header[0] not in _OFFER_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed; uvicorn calls this, also when one of the methods above raised."""
        self._end(_too_large() if self._field_bytes > MAX_HEADER_BYTES else MalformedHttp(msg))

    def _count(self, size: int) -> None:
        self._field_bytes += size
        if self._field_bytes > MAX_HEADER_BYTES:
            raise _too_large()

    def _expect_headers(self) -> None:
        self._in_headers, self._begun, self._field_bytes, self._pending_bytes = True, False, 0, 0
        self._header_deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)

    def _headers_done(self) -> None:
        self._in_headers = False
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _too_slow(self) -> None:
        if self._answering:
            # The next request was begun early: its time counts from the end of this one's answer.
            self._header_deadline = self.loop.call_later(self.header_timeout_s, self._too_slow)
        else:
            self._end(RequestTimeout(f"The headers did not arrive within {self.header_timeout_s:g} seconds."))

    @property
    def _answering(self) -> bool:
        """Tell whether an earlier request's answer is on its way; one whose body still comes can be answered at once."""
        cycle: RequestResponseCycle | None = getattr(self, "cycle", None)
        return not (cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started))

    def _end(self, error: OmixaError) -> None:
        """Close the connection; tell why, where something was asked and no other answer is on its way."""
        self._headers_done()
        if self.transport.is_closing():
            return
        if self._begun and not self._answering:
            self.transport.write(_answer(error))
        self.transport.close()


def bounded_protocol(header_timeout_s: float) -> type[asyncio.Protocol]:
    """Return the protocol class with its timeout; uvicorn makes the instances."""
    return type("BoundedHttpProtocol", (BoundedHttpProtocol,), {"header_timeout_s": header_timeout_s})


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The headers are over {MAX_HEADER_BYTES} bytes, the most that is accepted.")


def _answer(error: OmixaError) -> bytes:
    """Return a whole answer as bytes, for requests that never became one."""
    request_id = new_id("req")
    body = error_body(error, request_id)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *error_headers(error),
    ]
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    return status + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + body
