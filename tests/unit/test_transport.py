"""Both transports against servers that misbehave in every way of the fault matrix, over real sockets and in process."""

from __future__ import annotations

import asyncio
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from omixa.domain.access import Secret
from omixa.errors import (
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.providers.events import EventCutter, follow
from omixa.providers.transport import AsgiReceive, AsgiSend, HttpTransport, InProcessTransport
from omixa.providers.wire import MAX_REQUEST_ID, Method, Timeouts, Transport, WireEvent, WireRequest, WireResponse

SECRET = "the-operators-key"
# Long enough never to matter; each test shortens the one it is about.
PATIENT = Timeouts(first_byte_s=30, total_s=30, connect_s=30, slow_step_s=30, slow_step_bytes=1000)
SMALL_LIMIT = 10_000


@pytest.fixture(params=[{"use_uvloop": False}, {"use_uvloop": True}], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", request.param


# ------------------------------------------------------------------------------------------------- a scripted server


@dataclass
class Peer:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> tuple[str, dict[str, str]]:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        return lines[0], {name.lower(): value for name, value in headers.items()}

    async def request(self) -> tuple[str, dict[str, str], bytes]:
        line, headers = await self.head()
        return line, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def say(self, text: str | bytes) -> None:
        self.writer.write(text.encode() if isinstance(text, str) else text)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the client has left."""
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Served:
    port: int
    peers: list[Peer] = field(default_factory=list)

    def request(self, *parts: bytes, scheme: str = "http") -> WireRequest:
        headers = {"content-type": "application/json", "api-key": SECRET}
        return WireRequest(f"{scheme}://127.0.0.1:{self.port}/paint", headers, parts or (b"{}",))


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[Served]:
    served = Served(0)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        served.peers.append(peer)
        try:
            await script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


async def post(script: Script, *parts: bytes, timeouts: Timeouts = PATIENT, **options: Any) -> WireResponse:
    async with serving(script) as served, HttpTransport(**options) as transport:
        return await transport.send(served.request(*parts), timeouts)


def answering(text: str | bytes) -> Script:
    """Read the request, say this and hang up."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(text)

    return script


# --------------------------------------------------------------------------------------------------------- over HTTP


async def test_the_parts_arrive_in_order_and_the_answer_comes_back() -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.say("HTTP/1.1 201 Created\r\nX-MS-Request-ID: abc\r\nContent-Length: 5\r\n\r\nhello")

    megabytes = bytes(range(256)) * 8192
    response = await post(script, b"head ", megabytes, b" tail")
    line, headers, body = seen[0]
    assert line == "POST /paint HTTP/1.1"
    assert body == b"head " + megabytes + b" tail"
    assert headers["api-key"] == SECRET
    assert headers["content-type"] == "application/json"
    assert headers["accept-encoding"] == "identity"
    assert headers["user-agent"] == "omixa"
    assert "transfer-encoding" not in headers
    assert (response.status, response.body) == (201, b"hello")
    assert response.headers["x-ms-request-id"] == "abc"
    assert response.first_byte_s >= 0


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ("Content-Length: 10", b"0123456789"),
        ("Transfer-Encoding: chunked", b"4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n"),
        ("Connection: close", b"0123456789"),
        # Never unpacked: what it is worth is for the reader to find out.
        ("Content-Encoding: gzip\r\nContent-Length: 10", b"0123456789"),
    ],
)
async def test_every_framing_is_understood(head: str, body: bytes) -> None:
    response = await post(answering(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body))
    assert response.body == b"0123456789"


async def test_connections_are_kept_and_cookies_are_not() -> None:
    cookies = []

    async def script(peer: Peer) -> None:
        while True:
            _, headers, _ = await peer.request()
            cookies.append(headers.get("cookie"))
            await peer.say("HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\n{}")

    async with serving(script) as served, HttpTransport() as transport:
        for _ in range(3):
            await transport.send(served.request(), PATIENT)
        assert len(served.peers) == 1
    assert cookies == [None] * 3


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    closed = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        peer.writer.write_eof()
        await peer.gone()
        closed.set()

    async with serving(script) as served, HttpTransport() as transport:
        await transport.send(served.request(), PATIENT)
        await closed.wait()
        assert (await transport.send(served.request(), PATIENT)).status == 200
        assert len(served.peers) == 2


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async with serving(answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as elsewhere:
        location = f"http://127.0.0.1:{elsewhere.port}/"
        response = await post(answering(f"HTTP/1.1 307 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"))
        assert response.status == 307
        assert response.headers["location"] == location
        assert elsewhere.peers == []


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert (await post(answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))).status == 200


async def test_a_configured_proxy_is_used() -> None:
    request = WireRequest("http://provider.invalid/paint", {}, (b"{}",))
    async with (
        serving(answering("HTTP/1.1 203 Proxied\r\nContent-Length: 0\r\n\r\n")) as proxy,
        HttpTransport(proxy=Secret(f"http://127.0.0.1:{proxy.port}")) as transport,
    ):
        assert (await transport.send(request, PATIENT)).status == 203


async def test_an_early_answer_is_taken_while_the_request_is_still_being_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await peer.gone()

    response = await post(script, b"head", bytes(16 * 1024 * 1024))
    assert (response.status, response.first_byte_s) == (413, 0)


# --------------------------------------------------------------------------------------------- a question without a body


async def asked(script: Script, timeouts: Timeouts = PATIENT, **options: Any) -> WireResponse:
    async with serving(script) as served, HttpTransport(**options) as transport:
        return await transport.send(WireRequest(f"http://127.0.0.1:{served.port}/job?id=7", {}, method="GET"), timeouts)


async def test_a_get_has_no_body_and_says_nothing_of_one() -> None:
    seen = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.head())
        await peer.say("HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")

    assert (await asked(script)).status == 202
    line, headers = seen[0]
    assert line == "GET /job?id=7 HTTP/1.1"
    assert not {"content-length", "transfer-encoding", "content-type"} & headers.keys()
    assert headers["accept-encoding"] == "identity"


async def test_a_get_that_is_not_answered_was_sent_all_the_same() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.gone()

    with pytest.raises(UpstreamTimeout) as caught:
        await asked(script, replace(PATIENT, first_byte_s=0.05))
    assert caught.value.diagnostics.startswith("waiting")


async def test_a_get_whose_answer_breaks_off_fails() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234")

    with pytest.raises(UpstreamFailed) as caught:
        await asked(script)
    assert caught.value.diagnostics.startswith("receiving")


async def test_a_get_is_not_redirected() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")

    assert (await asked(script)).headers["location"] == "http://127.0.0.1:9/"


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_the_method_is_the_requests(method: Method) -> None:
    lines = []

    async def script(peer: Peer) -> None:
        line, _, body = await peer.request()
        lines.append((line, body))
        await peer.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serving(script) as served, HttpTransport() as transport:
        await transport.send(replace(served.request(b"{}"), method=method), PATIENT)
    assert lines == [(f"{method} /paint HTTP/1.1", b"{}")]


# ------------------------------------------------------------------------------------------ which addresses are called


class Names(AbstractResolver):
    """A resolver for which every name stands for one address, and which counts the questions."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.questions: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.questions.append(host)
        return [
            {"hostname": host, "host": self.address, "port": port, "family": family, "proto": 0, "flags": 0},
        ]

    async def close(self) -> None:
        pass


async def test_an_address_that_must_not_be_called_is_not_connected_to() -> None:
    asked_of: list[str] = []

    def refuse(address: str) -> bool:
        asked_of.append(address)
        return False

    async with serving(answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as served:
        names = Names("127.0.0.1")
        for host in ("pictures.provider.example", "127.0.0.1"):
            error = await fails(
                UpstreamUnreachable,
                WireRequest(f"http://{host}:{served.port}/", {}, method="GET", public_only=True),
                may_connect=refuse,
                resolver=names,
            )
            assert "must not be called" in error.diagnostics
        assert served.peers == []
    assert asked_of == ["127.0.0.1"] * 2
    assert names.questions == ["pictures.provider.example"]


async def test_a_name_is_resolved_once_for_a_connection_and_what_it_stands_for_is_called() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.say("HTTP/1.1 204 No Content\r\n\r\n")

    names = Names("127.0.0.1")
    async with serving(script) as served, HttpTransport(may_connect=lambda _: True, resolver=names) as transport:
        request = WireRequest(f"http://pictures.provider.example:{served.port}/", {}, method="GET", public_only=True)
        assert (await transport.send(request, PATIENT)).status == 204
    assert names.questions == ["pictures.provider.example"]


# ------------------------------------------------------------------------------------------------- nothing was sent


async def fails(
    kind: type[UpstreamError], request: WireRequest, timeouts: Timeouts = PATIENT, **options: Any
) -> UpstreamError:
    """Post and return the error, which must be of exactly this kind and must not show the credential anywhere."""
    async with HttpTransport(**options) as transport:
        with pytest.raises(UpstreamError) as caught:
            await transport.send(request, timeouts)
    assert type(caught.value) is kind, caught.value.diagnostics
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caught.value.diagnostics
    return caught.value


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def test_a_refused_connection_is_safe_to_repeat() -> None:
    error = await fails(UpstreamUnreachable, Served(free_port()).request())
    assert (error.status, error.ambiguous, error.fails_over) == (502, False, True)


async def test_an_unknown_name_is_safe_to_repeat() -> None:
    await fails(UpstreamUnreachable, WireRequest("http://nowhere.invalid/", {"api-key": SECRET}, (b"{}",)))


@pytest.mark.parametrize("url", ["http://", "nonsense", "ftp://127.0.0.1/"])
async def test_an_impossible_address_is_safe_to_repeat(url: str) -> None:
    await fails(UpstreamUnreachable, WireRequest(url, {"api-key": SECRET}, (b"{}",)))


async def test_headers_that_would_break_the_request_are_not_sent() -> None:
    async with serving(answering("")) as served:
        await fails(UpstreamUnreachable, replace(served.request(), headers={"api-key": "a\r\nhost: b"}))


async def test_a_peer_that_speaks_no_tls_is_safe_to_repeat() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.say("HTTP/1.1 400 This is not TLS\r\n\r\n")

    async with serving(script) as served:
        await fails(UpstreamUnreachable, served.request(scheme="https"))


async def test_a_connection_that_is_never_made_times_out_and_is_safe_to_repeat() -> None:
    async with serving(Peer.gone) as served:
        # The handshake gets no answer.
        request = served.request(scheme="https")
        error = await fails(UpstreamConnectTimeout, request, replace(PATIENT, connect_s=0.05))
    assert (error.status, error.ambiguous) == (504, False)


# ----------------------------------------------------------------------------------------------- something was sent

HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


def dripping(size: int, interval_s: float) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(HEAD)
        while True:
            await peer.say(bytes(size))
            await asyncio.sleep(interval_s)

    return script


def resetting(text: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(text)
        peer.reset()

    return script


async def silence(peer: Peer) -> None:
    await peer.request()
    await peer.gone()


async def half_and_silence(peer: Peer) -> None:
    await peer.request()
    await peer.say(HEAD + "half")
    await peer.gone()


async def deaf(peer: Peer) -> None:
    await peer.head()
    await asyncio.sleep(10)


SHORT = replace(PATIENT, total_s=0.05)
BROKEN: dict[str, tuple[Script, Timeouts, type[UpstreamError]]] = {
    "no first byte": (silence, replace(PATIENT, first_byte_s=0.05), UpstreamTimeout),
    "no first byte before the deadline": (silence, SHORT, UpstreamTimeout),
    "silence in the body": (half_and_silence, replace(PATIENT, slow_step_s=0.05), UpstreamTimeout),
    "slow drip": (dripping(10, 0.01), replace(PATIENT, slow_step_s=0.1), UpstreamTimeout),
    "drip until the deadline": (dripping(5000, 0.01), replace(PATIENT, total_s=0.1), UpstreamTimeout),
    "end before the head": (answering(""), PATIENT, UpstreamFailed),
    "end in the head": (answering("HTTP/1.1 200 OK\r\nContent-"), PATIENT, UpstreamFailed),
    "end in the body": (answering(HEAD + "half"), PATIENT, UpstreamFailed),
    "end in a chunk": (
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf"),
        PATIENT,
        UpstreamFailed,
    ),
    "end between chunks": (
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
        PATIENT,
        UpstreamFailed,
    ),
    "reset before the head": (resetting(""), PATIENT, UpstreamFailed),
    "reset in the body": (resetting(HEAD + "half"), PATIENT, UpstreamFailed),
    "another protocol": (answering("SSH-2.0-OpenSSH_10.0\r\n"), PATIENT, UpstreamProtocol),
    "a broken chunk": (
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        PATIENT,
        UpstreamProtocol,
    ),
    "two lengths": (
        answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        PATIENT,
        UpstreamProtocol,
    ),
    "an endless head": (answering("HTTP/1.1 200 OK\r\nX: " + "x" * 100_000), PATIENT, UpstreamProtocol),
}


@pytest.mark.parametrize(("script", "timeouts", "kind"), BROKEN.values(), ids=BROKEN.keys())
async def test_after_sending_every_failure_is_ambiguous(
    script: Script, timeouts: Timeouts, kind: type[UpstreamError]
) -> None:
    async with serving(script) as served:
        error = await fails(kind, served.request(), timeouts)
        assert len(served.peers) == 1
    assert error.ambiguous


async def test_a_peer_that_does_not_take_the_request_meets_the_deadline() -> None:
    async with serving(deaf) as served:
        error = await fails(UpstreamTimeout, served.request(b"{", bytes(32 * 1024 * 1024)), SHORT)
    assert error.diagnostics.startswith("sending")


async def test_a_steady_answer_may_take_longer_than_a_step() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say("HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n")
        for _ in range(50):
            await peer.say(bytes(1000))
            await asyncio.sleep(0.01)

    response = await post(script, timeouts=replace(PATIENT, slow_step_s=0.25))
    assert len(response.body) == 50_000


async def test_a_kept_connection_that_breaks_after_sending_is_not_repeated() -> None:
    requests = 0

    async def script(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        await peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        requests += 1
        await peer.request()
        requests += 1

    async with serving(script) as served, HttpTransport() as transport:
        await transport.send(served.request(), PATIENT)
        with pytest.raises(UpstreamFailed):
            await transport.send(served.request(), PATIENT)
        assert (requests, len(served.peers)) == (2, 1)


@pytest.mark.parametrize(
    "head", ["Content-Length: 10001", "Transfer-Encoding: chunked", "Connection: close"], ids=lambda head: head
)
async def test_an_answer_over_the_limit_is_refused_before_it_is_kept(head: str) -> None:
    body = b"" if "Length" in head else b"2711\r\n" + bytes(10_001) if "chunked" in head else bytes(10_001)
    script = answering(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
    async with serving(script) as served:
        error = await fails(UpstreamProtocol, served.request(), max_response_bytes=SMALL_LIMIT)
    assert error.message == "The provider's answer was too large."


async def test_an_answer_at_the_limit_is_taken() -> None:
    script = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n" + bytes(SMALL_LIMIT))
    assert len((await post(script, max_response_bytes=SMALL_LIMIT)).body) == SMALL_LIMIT


@pytest.mark.parametrize("script", [silence, half_and_silence])
async def test_leaving_hangs_up(script: Script) -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def watched(peer: Peer) -> None:
        reached.set()
        try:
            await script(peer)
        finally:
            left.set()

    async with serving(watched) as served, HttpTransport() as transport:
        call = asyncio.create_task(transport.send(served.request(), PATIENT))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(left.wait(), 10)


# -------------------------------------------------------------------------------------------------------- in process


def app(*messages: dict[str, Any] | Exception | float) -> Any:
    """Return an application that reads its request and then sends, raises or sleeps, one after the other."""

    async def application(scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        while (await receive())["more_body"]:
            pass
        for message in messages:
            match message:
                case Exception():
                    raise message
                case float():
                    await asyncio.sleep(message)
                case _:
                    await send(message)

    return application


def start(**headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": 200, "headers": raw}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def ask(application: Any, timeouts: Timeouts = PATIENT, **options: Any) -> WireResponse:
    request = WireRequest("simulator://foundry/a%20b?c=d", {"api-key": SECRET}, (b"head ", b"tail"))
    return await InProcessTransport(application, **options).send(request, timeouts)


async def test_an_application_sees_an_ordinary_request() -> None:
    seen: dict[str, Any] = {"body": []}

    async def application(scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        seen.update(scope)
        while True:
            message = await receive()
            seen["body"].append(message["body"])
            if not message["more_body"]:
                break
        await send(start(Content_Type="text/plain"))
        await send(body(b"hel", more=True))
        await send(body(b"lo"))
        seen["after"] = await receive()

    response = await ask(application)
    assert (response.status, response.headers, response.body) == (200, {"content-type": "text/plain"}, b"hello")
    assert (seen["type"], seen["method"], seen["path"], seen["query_string"]) == ("http", "POST", "/a b", b"c=d")
    assert dict(seen["headers"]) == {b"host": b"foundry", b"content-length": b"9", b"api-key": SECRET.encode()}
    assert seen["body"] == [b"head ", b"tail"]
    assert seen["after"] == {"type": "http.disconnect"}


async def test_an_address_needs_no_host() -> None:
    async def application(scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        await send(start())
        await send(body(scope["path"].encode()))

    transport = InProcessTransport(application)
    assert (await transport.send(WireRequest("simulator:/mai/v1", {}, (b"",)), PATIENT)).body == b"/mai/v1"


IMPATIENT = replace(PATIENT, first_byte_s=0.05, slow_step_s=0.05)
SPOILT: dict[str, tuple[tuple[Any, ...], Timeouts, type[UpstreamError]]] = {
    "raises at once": ((RuntimeError("a bug"),), PATIENT, UpstreamFailed),
    "raises in the body": ((start(), body(b"half", more=True), OSError("cut")), PATIENT, UpstreamFailed),
    "raises a timeout of its own": ((TimeoutError(),), PATIENT, UpstreamFailed),
    "says nothing": ((), PATIENT, UpstreamFailed),
    "ends in the body": ((start(), body(b"half", more=True)), PATIENT, UpstreamFailed),
    "says too little": ((start(Content_Length="9"), body(b"half")), PATIENT, UpstreamFailed),
    "says more than announced": ((start(Content_Length="3"), body(b"half")), PATIENT, UpstreamFailed),
    "no first byte": ((10.0,), IMPATIENT, UpstreamTimeout),
    "silence in the body": ((start(), body(b"half", more=True), 10.0), IMPATIENT, UpstreamTimeout),
    "slow drip": ((start(), *(body(b"drop", more=True), 0.01) * 100), IMPATIENT, UpstreamTimeout),
    "announces too much": ((start(Content_Length="10001"),), PATIENT, UpstreamProtocol),
    "says too much": ((start(), body(bytes(9000), more=True), body(bytes(1001))), PATIENT, UpstreamProtocol),
}


@pytest.mark.parametrize(("messages", "timeouts", "kind"), SPOILT.values(), ids=SPOILT.keys())
async def test_a_misbehaving_application_fails_like_a_server(
    messages: tuple[Any, ...], timeouts: Timeouts, kind: type[UpstreamError]
) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(app(*messages), timeouts, max_response_bytes=SMALL_LIMIT)
    assert type(caught.value) is kind
    assert caught.value.ambiguous


async def test_an_error_after_the_answer_does_not_take_it_back() -> None:
    assert (await ask(app(start(), body(b"hello"), body(b"more"), RuntimeError("late")))).body == b"hello"


async def test_leaving_cancels_the_application() -> None:
    reached, left = asyncio.Event(), asyncio.Event()

    async def application(scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    call = asyncio.create_task(ask(application))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert left.is_set()


# ----------------------------------------------------------------------------------------------------------- events

EVENTS = b": hello\n\nevent: a\ndata: one\n\ndata:two\r\ndata: more\r\n\r\nid: 7\n\n: again\n\ndata: three\n\n"
TOLD = [b"one", b"two\nmore", b"three"]
STREAM = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: abc\r\n\r\n"
CHUNKED = STREAM[:-2] + "Transfer-Encoding: chunked\r\n\r\n"


@given(st.lists(st.integers(1, 9)), st.booleans())
def test_events_are_told_wherever_the_body_is_cut(sizes: list[int], complete: bool) -> None:
    body = EVENTS if complete else EVENTS[:-1]
    told: list[bytes] = []
    cutter, rest, ended = EventCutter(told.append), body, True
    for size in sizes:
        ended = cutter.take(rest[:size]) if rest else ended
        rest = rest[size:]
    if rest:
        ended = cutter.take(rest)
    assert told == (TOLD if complete else TOLD[:-1])
    assert ended == complete


async def followed(script: Script, timeouts: Timeouts = PATIENT, **options: Any) -> list[bytes | WireResponse]:
    told: list[bytes | WireResponse] = []
    async with serving(script) as served, HttpTransport(**options) as transport:
        await collect(told, transport, served.request(), timeouts)
    return told


async def collect(
    told: list[bytes | WireResponse], transport: Transport, request: WireRequest, timeouts: Timeouts
) -> None:
    """Add what comes, and keep it when an error follows."""
    async for each in follow(transport, request, timeouts):
        told.append(each.body if isinstance(each, WireEvent) else each)  # noqa: PERF401 - what came before an error is wanted


async def test_events_come_before_the_answer_which_keeps_none_of_them() -> None:
    *told, response = await followed(answering(STREAM.encode() + EVENTS))
    assert told == TOLD
    assert isinstance(response, WireResponse)
    assert (response.status, response.body, response.provider_request_id) == (200, b"", "abc")


async def test_an_event_is_told_before_the_next_one_is_sent() -> None:
    heard = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(STREAM + "data: one\n\n")
        await heard.wait()
        await peer.say("data: two\n\n")

    async with serving(script) as served, HttpTransport() as transport:
        bodies = []
        async for each in follow(transport, served.request(), PATIENT):
            heard.set()
            assert each.provider_request_id == "abc"
            bodies.append(each.body)
    assert bodies == [b"one", b"two", b""]


@pytest.mark.parametrize("status", ["200 OK", "429 Too Many"])
async def test_an_answer_that_is_no_stream_is_whole(status: str) -> None:
    text = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\ndata: one\n\n{{}}"
    (response,) = await followed(answering(text))
    assert isinstance(response, WireResponse)
    assert response.body == b"data: one\n\n{}"


async def test_a_provider_may_paint_in_silence_between_events() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(STREAM)
        for _ in range(3):
            await asyncio.sleep(0.1)
            await peer.say("data: one\n\n")

    *told, _ = await followed(script, replace(PATIENT, slow_step_s=0.05))
    assert told == [b"one"] * 3


def streaming(*pieces: str | float) -> Script:
    """Read the request, begin a stream, say or wait, and stay."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(STREAM)
        for piece in pieces:
            await (asyncio.sleep(piece) if isinstance(piece, float) else peer.say(piece))
        await peer.gone()

    return script


@pytest.mark.parametrize(
    ("script", "timeouts", "kind"),
    [
        (streaming("data: one\n\n"), replace(PATIENT, first_byte_s=0.1), UpstreamTimeout),
        (streaming("data: one\n\ndata: tw"), replace(PATIENT, slow_step_s=0.1), UpstreamTimeout),
        (streaming("data: one\n\n", *("drop", 0.01) * 100), replace(PATIENT, slow_step_s=0.1), UpstreamTimeout),
        (streaming("data: one\n\n", *("data: x\n\n", 0.01) * 100), replace(PATIENT, total_s=0.2), UpstreamTimeout),
        (streaming("data: one\n\n" + "data: " + "x" * SMALL_LIMIT), PATIENT, UpstreamProtocol),
        (resetting(CHUNKED + "b\r\ndata: one\n\n\r\n9\r\ndata"), PATIENT, UpstreamFailed),
        (
            answering(CHUNKED + "b\r\ndata: one\n\n\r\n"),
            PATIENT,
            UpstreamFailed,
        ),
    ],
    ids=["silence", "silence in an event", "slow drip", "deadline", "too much", "reset", "end between chunks"],
)
async def test_a_stream_that_breaks_fails_like_any_answer(
    script: Script, timeouts: Timeouts, kind: type[UpstreamError]
) -> None:
    told: list[bytes | WireResponse] = []
    async with serving(script) as served, HttpTransport(max_response_bytes=SMALL_LIMIT) as transport:
        with pytest.raises(UpstreamError) as caught:
            await collect(told, transport, served.request(), timeouts)
    assert type(caught.value) is kind, caught.value.diagnostics
    assert caught.value.ambiguous
    # What comes at once with too much is not told.
    assert told[:1] == ([] if kind is UpstreamProtocol else [b"one"])


async def test_whoever_stops_following_hangs_up() -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(STREAM + "data: one\n\n")
        await peer.gone()
        left.set()

    async with serving(script) as served, HttpTransport() as transport:
        async with aclosing(follow(transport, served.request(), PATIENT)) as told:
            assert (await anext(told)).body == b"one"
        await asyncio.wait_for(left.wait(), 10)


async def test_an_application_streams_too() -> None:
    application = app(
        start(Content_Type="text/event-stream"), *(body(EVENTS[at : at + 7], True) for at in range(0, 99, 7))
    )
    transport = InProcessTransport(application)
    told: list[bytes | WireResponse] = []
    with pytest.raises(UpstreamFailed):
        await collect(told, transport, WireRequest("simulator://openai/", {}, (b"",)), PATIENT)
    assert told == TOLD


# ------------------------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ms-request-id": "a", "x-request-id": "b"}, "a"),
        ({"apim-request-id": "c", "x-request-id": "b"}, "c"),
        ({"x-request-id": "b"}, "b"),
        ({"x-request-id": ""}, None),
        ({"x-request-id": "x" * (MAX_REQUEST_ID + 1)}, None),
        ({"x-request-id": "tab\t"}, None),
        ({"x-request-id": "grün"}, None),
        ({}, None),
    ],
)
def test_the_providers_request_id_is_kept_when_it_is_fit_to_be_stored(
    headers: dict[str, str], expected: str | None
) -> None:
    assert WireResponse(200, headers, b"", 0.0).provider_request_id == expected


def test_neither_credentials_nor_pictures_are_printed() -> None:
    request = WireRequest("https://provider.invalid/", {"api-key": SECRET}, (b"a picture",))
    assert repr(request) == "WireRequest(url='https://provider.invalid/', method='POST', public_only=False)"
    assert "a picture" not in repr(WireResponse(200, {}, b"a picture", 0.0))
