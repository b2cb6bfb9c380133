"""A proxy between a gateway and a provider, simulated or real, that breaks what passes through it, by script.

It knows three legs: a picture or job is handed in (`submit`: every request that is no GET), a job is asked after (`poll`), and
what came of it is collected (`fetch`: the other GETs). A script is a list of faults between commas, such as
`submit:reset, poll:429x2, fetch:drip=500`: each leg takes its faults one by one, and is well after the last. `xCOUNT` repeats a
fault, `x*` does for ever; a fault without a leg is one of `submit`.

Each connection carries one exchange. A plain target hears the Host that the client said, so that the addresses which a simulator
names lead through the proxy too; a target with TLS hears its own name.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Self, cast
from urllib.parse import urlsplit

log = logging.getLogger(__name__)

Leg = Literal["submit", "poll", "fetch"]
LEGS: Final[tuple[Leg, ...]] = ("submit", "poll", "fetch")

EXCHANGES_MAX: Final = 256
EXCHANGES_KEPT: Final = 10_000
REQUEST_MAX_BYTES: Final = 64 * 1024 * 1024
ANSWER_MAX_BYTES: Final = 80 * 1024 * 1024
HEAD_TIMEOUT_S: Final = 30.0
SCRIPT_MAX_CHARACTERS: Final = 4096
DRIP_BYTES_PER_S: Final = 200.0
_DRIP_INTERVAL_S: Final = 0.1
_PIECE_BYTES: Final = 64 * 1024
_PLACES: Mapping[str, str] = {"redirect": "https://elsewhere.invalid", "inwards": "http://169.254.169.254"}
# Closes a socket at once and tells the other side, instead of sending what is left.
_LINGER: Final = struct.pack("ii", 1, 0)
_POLLED: Final = re.compile(r"/get_result$|/status$|/predictions/[^/]+$")
_GARBAGE: Final = b"\x16\x03\x01\x00\x00 this is not HTTP\r\n\r\n" * 8
_HTML: Final = b"<!doctype html><h1>Our services are busy</h1>"


@dataclass(frozen=True, slots=True)
class FaultKind:
    """A word of the language. `number` says whether one follows, `reaches` whether the provider hears of the request."""

    meaning: str
    number: Literal["none", "optional", "required"] = "none"
    reaches: bool = True


FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "ok": FaultKind("everything passes as it is"),
        "refuse": FaultKind("the connection is reset before anything is answered", reaches=False),
        "vanish": FaultKind("this passes; from then on connections are refused"),
        "silence": FaultKind("the provider works, and nothing is ever answered"),
        "stall": FaultKind("half of the answer, then nothing more"),
        "late": FaultKind("the answer comes late=SECONDS later", number="required"),
        "drip": FaultKind("the answer at drip=BYTES_PER_SECOND, 200 if not said", number="optional"),
        "reset": FaultKind("the connection is reset in the middle of the body"),
        "truncate": FaultKind("the connection ends well in the middle of the body"),
        "half": FaultKind("half of the body, announced as the whole"),
        "html": FaultKind("200 with a page in HTML in the answer's place"),
        "garbage": FaultKind("bytes that are not HTTP in the answer's place"),
        "redirect": FaultKind("307 to another host", reaches=False),
        "inwards": FaultKind("307 to an address of the inner network", reaches=False),
        **{
            str(status): FaultKind(f"the status {status}", reaches=False)
            for status in (401, 403, 404, 429, 500, 502, 503, 504)
        },
    }
)
_FAULT = re.compile(
    r"(?:(?P<leg>submit|poll|fetch):)?(?P<name>" + "|".join(sorted(FAULTS, key=len, reverse=True)) + r")"
    r"(?:=(?P<number>\d{1,9}(?:\.\d{1,6})?))?(?:x(?P<count>\d{1,7}|\*))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a leg; `count` None plays it for ever."""

    leg: Leg
    name: str
    number: float | None = None
    count: int | None = 1

    def __str__(self) -> str:
        number = "" if self.number is None else f"={self.number:g}"
        count = "x*" if self.count is None else "" if self.count == 1 else f"x{self.count}"
        return f"{self.leg}:{self.name}{number}{count}"


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Return the faults of a script; an empty text has none. Raises ValueError that lists the accepted ones."""
    if len(text) > SCRIPT_MAX_CHARACTERS:
        raise ValueError(f"a script has at most {SCRIPT_MAX_CHARACTERS} characters")
    return tuple(_parse_fault(part.strip()) for part in text.split(",")) if text.strip() else ()


def _parse_fault(text: str) -> Fault:
    match = _FAULT.fullmatch(text)
    if match is None:
        raise ValueError(_complaint(text, "is not a fault"))
    number = None if match["number"] is None else float(match["number"])
    wants = FAULTS[match["name"]].number
    if (number is None and wants == "required") or (number is not None and wants == "none"):
        raise ValueError(_complaint(text, f"{'needs' if number is None else 'takes no'} number"))
    count = None if match["count"] == "*" else int(match["count"] or 1)
    if number == 0 or count == 0:
        raise ValueError(_complaint(text, "needs numbers above 0"))
    return Fault(cast(Leg, match["leg"] or "submit"), match["name"], number, count)


def _complaint(text: str, problem: str) -> str:
    accepted = "\n".join(f"{name}: {kind.meaning}" for name, kind in FAULTS.items())
    return f'"{text[:60]}" {problem}. Faults, separated by commas, each with submit:, poll: or fetch: before it:\n{accepted}'


@dataclass(frozen=True, slots=True)
class Passed:
    """An exchange as the proxy remembers it. `status` is what the provider answered, None where it heard of nothing."""

    leg: Leg
    fault: str
    method: str
    path: str
    status: int | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A request as it came."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def leg(self) -> Leg:
        if self.method != "GET":
            return "submit"
        return "poll" if _POLLED.search(urlsplit(self.path).path) else "fetch"

    def written(self, prefix: str, host: str | None) -> bytes:
        """Return the request for a target below a prefix; a `host` replaces the client's own word for it."""
        kept = [(name, value) for name, value in self.headers if name.lower() not in ("connection", "host")]
        said = next((value for name, value in self.headers if name.lower() == "host"), "")
        lines = [f"{self.method} {prefix}{self.path} HTTP/1.1", f"host: {host or said}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in kept]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


class FaultProxy:
    """Listens while it is entered. `target` is the address of a provider, `faults` the first script.

    `passed` are the last exchanges, oldest first.
    """

    def __init__(self, target: str, faults: str = "", *, host: str = "127.0.0.1", port: int = 0) -> None:
        parts = urlsplit(target)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{target[:100]} is not an address such as http://127.0.0.1:8790")
        self._secure = parts.scheme == "https"
        self._target = (parts.hostname, parts.port or (443 if self._secure else 80))
        self._named = parts.netloc.rpartition("@")[2] if self._secure else None
        self._prefix = parts.path.rstrip("/")
        self._address = (host, port)
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self._script: dict[Leg, deque[Fault]] = {}
        self.passed: deque[Passed] = deque(maxlen=EXCHANGES_KEPT)
        self.play(faults)

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        await self.drop()

    @property
    def port(self) -> int:
        """Return where it listens, or listened."""
        return self._address[1]

    @property
    def remaining(self) -> str:
        """Return what is left of the script."""
        return ", ".join(str(fault) for leg in LEGS for fault in self._script[leg])

    def play(self, faults: str) -> None:
        """Replace the script. Raises ValueError that lists the accepted faults."""
        script: dict[Leg, deque[Fault]] = {leg: deque() for leg in LEGS}
        for fault in parse_faults(faults):
            script[fault.leg].append(fault)
        self._script = script

    async def accept(self) -> None:
        """Listen, again at the same port after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, *self._address, limit=_PIECE_BYTES)
            self._address = (self._address[0], self._server.sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """Listen no more; exchanges that have begun go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def drop(self) -> None:
        """End the exchanges that have begun."""
        for task in self._exchanges:
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)

    async def idle(self, timeout_s: float) -> None:
        """Wait until no exchange is in progress, but no longer than that: what has passed is noted at its end."""
        if self._exchanges:
            await asyncio.wait(self._exchanges, timeout=timeout_s)

    # --------------------------------------------------------------------------------------------------------- exchanges

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._exchanges) >= EXCHANGES_MAX:
            _reset(writer)
            return
        self._exchanges.add(task)
        try:
            await self._exchange(reader, writer)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as error:
            log.warning("exchange.broken", extra={"reason": f"{type(error).__name__}: {error}"})
        except asyncio.CancelledError:
            # The proxy ends, and asyncio's streams do not expect that of who handles a connection.
            log.info("exchange.cancelled")
        finally:
            self._exchanges.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            question = await _read_question(reader)
        fault = self._take(question.leg)
        status: int | None = None
        try:
            if not FAULTS[fault.name].reaches:
                await _answer_instead(fault, question, writer)
                return
            async with self._provider(question) as provider:
                if fault.name == "ok":
                    status = await _pass_on(provider, writer)
                    return
                answer = await _read_all(provider)
            status = _status(answer)
            if fault.name == "vanish":
                self.refuse()
            await _play(fault, answer, reader, writer)
        finally:
            self.passed.append(Passed(question.leg, fault.name, question.method, question.path, status))
            log.info("exchange", extra={"leg": question.leg, "fault": fault.name, "status": status})

    def _take(self, leg: Leg) -> Fault:
        script = self._script[leg]
        if not script:
            return Fault(leg, "ok")
        fault = script[0]
        if fault.count == 1:
            script.popleft()
        elif fault.count is not None:
            script[0] = replace(fault, count=fault.count - 1)
        return fault

    @contextlib.asynccontextmanager
    async def _provider(self, question: _Question) -> AsyncIterator[asyncio.StreamReader]:
        tls = ssl.create_default_context() if self._secure else None
        reader, writer = await asyncio.open_connection(*self._target, ssl=tls)
        try:
            writer.write(question.written(self._prefix, self._named))
            await writer.drain()
            yield reader
        finally:
            writer.transport.abort()


async def _read_question(reader: asyncio.StreamReader) -> _Question:
    """Read a request. Raises ValueError for one that is none, or whose length is not said."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in head[1:] if line))
    named = {name.lower(): value for name, value in headers}
    if "transfer-encoding" in named:
        raise ValueError("the request does not say how long it is")
    length = int(named.get("content-length", "0"))
    if not 0 <= length <= REQUEST_MAX_BYTES:
        raise ValueError(f"the request has {length} bytes")
    return _Question(method, path, headers, await reader.readexactly(length))


async def _pass_on(provider: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Pass an answer on while it comes, and return its status."""
    status = 0
    while piece := await provider.read(_PIECE_BYTES):
        status = status or _status(piece)
        writer.write(piece)
        await writer.drain()
    await _close(writer)
    return status


async def _read_all(provider: asyncio.StreamReader) -> bytes:
    """Return an answer. Raises ValueError when it is too long."""
    answer = bytearray()
    while piece := await provider.read(_PIECE_BYTES):
        answer += piece
        if len(answer) > ANSWER_MAX_BYTES:
            raise ValueError(f"the answer has more than {ANSWER_MAX_BYTES} bytes")
    return bytes(answer)


def _status(answer: bytes) -> int:
    """Return the status of an answer that begins so, 0 for none."""
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})", answer)
    return int(found[1]) if found else 0


# -------------------------------------------------------------------------------------------------------------- what is played


async def _answer_instead(fault: Fault, question: _Question, writer: asyncio.StreamWriter) -> None:
    """Answer what the provider does not hear of."""
    if fault.name == "refuse":
        _reset(writer)
        return
    place = _PLACES.get(fault.name)
    status = 307 if place is not None else int(fault.name)
    headers = {"content-type": "application/json"}
    if place is not None:
        headers["location"] = place + question.path
    if status == 429:
        headers["retry-after"] = "1"
    await _send(writer, status, headers, b'{"error":{"code":"%d","message":"The proxy answers so."}}' % status)


async def _play(fault: Fault, answer: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand out an answer in the mood of a fault."""
    head, body = _parted(answer)
    half = head + body[: len(body) // 2]
    match fault.name:
        case "silence":
            await _left(reader)
        case "stall":
            writer.write(half)
            await writer.drain()
            await _left(reader)
        case "late":
            await asyncio.sleep(fault.number or 0.0)
            await _write(writer, answer)
        case "drip":
            for drop in _drops(answer, fault.number or DRIP_BYTES_PER_S):
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(_DRIP_INTERVAL_S)
            await _close(writer)
        case "reset":
            writer.write(half)
            await writer.drain()
            _reset(writer)
        case "truncate":
            await _write(writer, half)
        case "half":
            shortened = body[: len(body) // 2]
            length = b"content-length: %d" % len(shortened)
            await _write(writer, re.sub(rb"(?i)content-length: ?[0-9]+", length, head) + shortened)
        case "html":
            await _send(writer, 200, {"content-type": "text/html"}, _HTML)
        case "garbage":
            await _write(writer, _GARBAGE)
        case _:
            await _write(writer, answer)


def _parted(answer: bytes) -> tuple[bytes, bytes]:
    """Return the head of an answer, with the empty line behind it, and the body."""
    end = answer.find(b"\r\n\r\n") + 4
    return (answer[:end], answer[end:]) if end > 3 else (answer, b"")


def _drops(answer: bytes, bytes_per_s: float) -> Iterator[bytes]:
    size = max(1, round(bytes_per_s * _DRIP_INTERVAL_S))
    return (answer[start : start + size] for start in range(0, len(answer), size))


async def _left(reader: asyncio.StreamReader) -> None:
    """Wait until the client has left."""
    with contextlib.suppress(OSError):
        while await reader.read(_PIECE_BYTES):
            pass


async def _send(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: bytes) -> None:
    lines = [f"HTTP/1.1 {status} Played", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"content-length: {len(body)}", "connection: close"]
    await _write(writer, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
    await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    """End the connection after everything was sent."""
    writer.close()
    await writer.wait_closed()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection at once, so that the other side is told that it broke."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    writer.transport.abort()
