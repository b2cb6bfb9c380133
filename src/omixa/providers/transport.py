"""The two ways to a provider: HTTP, and an ASGI application in this very process."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from omixa.domain.access import Secret
from omixa.domain.models import SIMULATOR_SCHEME
from omixa.errors import UpstreamError
from omixa.providers.places import is_public
from omixa.providers.wire import (
    MAX_RESPONSE_BYTES,
    Exchange,
    Timeouts,
    Transport,
    WireEvent,
    WireRequest,
    WireResponse,
)

# Of one process, to all providers; the gateway's limit on requests in flight is far below.
MAX_CONNECTIONS = 4096
# Shorter than the idle time after which common servers and balancers hang up, so that a request rarely meets a closing one.
KEEP_ALIVE_S = 30.0

AsgiMessage = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[MutableMapping[str, Any], AsgiReceive, AsgiSend], Awaitable[None]]


class HttpTransport:
    """Speaks HTTP/1.1 over kept-alive connections. Enter it on the event loop that uses it.

    Keeps no cookies, follows no redirects, reads no proxy from the environment, repeats nothing that has a body and asks for
    uncompressed answers, so that a small body cannot become a large one. `proxy` is the address of an HTTP proxy.

    For a request that is `public_only`, `may_connect` is asked of every address, an IP literal, right before a socket is
    connected to it, so that no name can stand for one address when it is checked and for another when it is called. Behind a
    proxy only the proxy knows the address. `resolver` and `tls` replace the system's.
    """

    def __init__(
        self,
        *,
        proxy: Secret | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        may_connect: Callable[[str], bool] = is_public,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._proxy = proxy
        self._max_response_bytes = max_response_bytes
        self._may_connect = may_connect
        self._resolver = resolver
        self._tls = tls
        # By whether only public addresses are called, and whether requests have no body.
        self._sessions: dict[tuple[bool, bool], aiohttp.ClientSession] = {}

    async def __aenter__(self) -> Self:
        for public_only in (False, True):
            connector = aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS,
                keepalive_timeout=KEEP_ALIVE_S,
                resolver=self._resolver,
                ssl=True if self._tls is None else self._tls,
                socket_factory=_checked_sockets(self._may_connect) if public_only and self._proxy is None else None,
            )
            self._sessions[public_only, False] = self._open(connector)
            # A session that is traced costs each of its requests a little, and only what has no body needs it.
            traced = self._open(connector, connector_owner=False, trace_configs=[_telling_when_sent()])
            self._sessions[public_only, True] = traced
        return self

    def _open(self, connector: aiohttp.TCPConnector, **options: Any) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept-encoding": "identity", "user-agent": "omixa"},
            # Every time limit is the exchange's own.
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
            proxy=None if self._proxy is None else self._proxy.reveal(),
            **options,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in reversed(self._sessions.values()):
            await session.close()

    async def send(
        self, request: WireRequest, timeouts: Timeouts, on_event: Callable[[WireEvent], None] | None = None
    ) -> WireResponse:
        """Send a request and return the answer. Raises an UpstreamError, see `Transport`."""
        exchange = Exchange(timeouts, self._max_response_bytes, on_event)
        try:
            async with exchange, self._request(request, exchange) as response:
                return await _read(response, exchange)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError, RuntimeError) as error:
            malformed = isinstance(error, aiohttp.ClientResponseError | HttpProcessingError)
            # Without the cause: aiohttp's errors carry the request's headers, and with them the credential.
            raise exchange.failure(error, malformed=malformed) from None

    def _request(self, request: WireRequest, exchange: Exchange) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        assert self._sessions, "enter the transport first"
        session = self._sessions[request.public_only, request.method == "GET"]
        if request.method == "GET":
            return session.get(request.url, headers=request.headers, allow_redirects=False, trace_request_ctx=exchange)
        # A POST is never repeated by aiohttp, not even on a kept-alive connection that was closed meanwhile.
        return session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=_Parts(request, exchange),
            allow_redirects=False,
        )


def _checked_sockets(may_connect: Callable[[str], bool]) -> Callable[[Any], socket.socket]:
    """Return what makes the sockets of a connector, for the addresses that may be called."""

    def create(found: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, place = found
        if not may_connect(place[0]):
            raise PermissionError(errno.EACCES, f"the address {place[0]} must not be called")
        return socket.socket(family=family, type=kind, proto=protocol)

    return create


def _telling_when_sent() -> aiohttp.TraceConfig:
    """Return a trace that tells the exchange of a request without a body when its head leaves."""

    async def sent(_session: aiohttp.ClientSession, context: Any, _parameters: Any) -> None:
        exchange: Exchange = context.trace_request_ctx
        exchange.connected()
        exchange.sent()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(sent)
    return trace


async def _read(response: aiohttp.ClientResponse, exchange: Exchange) -> WireResponse:
    headers = {name.lower(): value for name, value in response.headers.items()}
    exchange.answered(response.status, headers)
    content = response.content
    # readchunk gives the pieces as they came from the socket; read and readany would copy them together.
    while not content.at_eof():
        piece, _ = await content.readchunk()
        exchange.received(piece)
    return exchange.response(response.status, headers)


class _Parts(aiohttp.Payload):
    """A request body of several parts that tells the exchange when its first and its last byte left.

    aiohttp writes a body only after it has a connection, and the head goes out together with the first part, so before the
    first write nothing was sent, also when a kept-alive connection turns out to be closed.
    """

    _autoclose = True

    def __init__(self, request: WireRequest, exchange: Exchange) -> None:
        super().__init__(request.body_parts)
        self._size = request.body_bytes
        self._exchange = exchange

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the parts as they are."""
        assert isinstance(writer, StreamWriter)
        first, *others = self._value
        # Without draining, this write fails only before it has handed anything to the socket.
        await writer.write(first, drain=False)
        self._exchange.connected()
        for part in others:
            await writer.write(part)
        await writer.drain()
        self._exchange.sent()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as a text."""
        return b"".join(self._value).decode(encoding, errors)


class Transports:
    """Carries each request by its address: to a simulator inside this process, or over HTTP.

    `simulators` are the hosts of addresses such as `simulator://foundry`. One that is not among them is a mistake of the caller.
    """

    def __init__(self, http: Transport, simulators: Mapping[str, Transport]) -> None:
        self._http = http
        self._simulators = simulators

    async def send(
        self, request: WireRequest, timeouts: Timeouts, on_event: Callable[[WireEvent], None] | None = None
    ) -> WireResponse:
        """Send a request and return the answer. Raises an UpstreamError, see `Transport`."""
        if not request.url.startswith(SIMULATOR_SCHEME):
            return await self._http.send(request, timeouts, on_event)
        return await self._simulators[urlsplit(request.url).netloc].send(request, timeouts, on_event)


class InProcessTransport:
    """Calls an ASGI application without sockets, for addresses such as `simulator://foundry/path`.

    Returns when the application has finished, or when its time is over; leaving cancels the application.
    """

    def __init__(self, app: AsgiApp, *, max_response_bytes: int = MAX_RESPONSE_BYTES) -> None:
        self._app = app
        self._max_response_bytes = max_response_bytes

    async def send(
        self, request: WireRequest, timeouts: Timeouts, on_event: Callable[[WireEvent], None] | None = None
    ) -> WireResponse:
        """Send a request and return the answer. Raises an UpstreamError, see `Transport`."""
        exchange = Exchange(timeouts, self._max_response_bytes, on_event)
        conversation = _Conversation(request, exchange)
        try:
            async with exchange:
                exchange.connected()
                await self._app(_scope(request), conversation.receive, conversation.send)
        except UpstreamError:
            raise
        except Exception as error:
            if not conversation.complete:
                raise exchange.failure(error) from error
        return conversation.response()


class _Conversation:
    """The two ends of an ASGI call."""

    def __init__(self, request: WireRequest, exchange: Exchange) -> None:
        self._parts = iter(request.body_parts)
        self._unsent = len(request.body_parts)
        self._exchange = exchange
        self._status = 0
        self._headers: dict[str, str] = {}
        self._finished = asyncio.Event()

    @property
    def complete(self) -> bool:
        """Tell whether the whole answer has come."""
        return self._finished.is_set()

    async def receive(self) -> AsgiMessage:
        """Give the next part of the body; after the last one, wait until the answer is complete."""
        if not self._unsent:
            await self._finished.wait()
            return {"type": "http.disconnect"}
        self._unsent -= 1
        if not self._unsent:
            self._exchange.sent()
        return {"type": "http.request", "body": next(self._parts), "more_body": self._unsent > 0}

    async def send(self, message: AsgiMessage) -> None:
        """Take a part of the answer."""
        if self.complete:
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = dict(_decoded(message.get("headers", ())))
            self._exchange.answered(self._status, self._headers)
        elif message["type"] == "http.response.body":
            self._exchange.received(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._finished.set()

    def response(self) -> WireResponse:
        """Return the answer. Raises UpstreamFailed when the application ended before it was complete."""
        if not self.complete:
            raise self._exchange.failure(EOFError("the application ended before its answer"))
        return self._exchange.response(self._status, self._headers)


def _decoded(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    return ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)


def _scope(request: WireRequest) -> MutableMapping[str, Any]:
    address = urlsplit(request.url)
    headers = {"host": address.netloc, "content-length": str(request.body_bytes), **request.headers}
    return {
        "type": "http",
        # From version 2.4 on an application learns from `send` that nobody listens, and need not watch `receive`.
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": address.scheme,
        "path": unquote(address.path) or "/",
        "raw_path": address.path.encode(),
        "query_string": address.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": None,
        "server": None,
    }
