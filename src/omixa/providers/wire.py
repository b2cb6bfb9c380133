"""One HTTP exchange with a provider, whoever carries it: what is sent, what comes back, and how long each phase may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol

from omixa.errors import (
    UpstreamConnectTimeout,
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocol,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.providers import events
from omixa.providers.late import MAX_KEPT_BYTES, PictureFilter, Waiting

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_DIAGNOSTICS = 500
MAX_REQUEST_ID = 128

CONNECT_TIMEOUT_S = 5.0
# An answer must arrive with 1 KiB/s: each further SLOW_STEP_BYTES within SLOW_STEP_S.
SLOW_STEP_S = 20.0
SLOW_STEP_BYTES = 20 * 1024

REQUEST_ID_HEADERS = ("x-ms-request-id", "apim-request-id", "x-request-id", "x-amzn-requestid")

Phase = Literal["connecting", "sending", "waiting", "receiving"]
Method = Literal["GET", "POST", "PUT"]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """What is sent. The body is its parts, at least one; they are never joined, so megabytes stay where they are.

    A GET sends no body, whatever its parts are. One that is `public_only` connects to addresses of the public network alone.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body_parts: Sequence[bytes | memoryview] = field(default=(b"",), repr=False)
    method: Method = "POST"
    public_only: bool = False

    @property
    def body_bytes(self) -> int:
        """Return the length of the body."""
        return sum(map(len, self.body_parts))


def request_id(given: object) -> str | None:
    """Return a provider's own name for a request, if it is one that is fit to be stored."""
    if not isinstance(given, str) or not (given.isascii() and given.isprintable()):
        return None
    return given if 0 < len(given) <= MAX_REQUEST_ID else None


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A complete answer, whatever its status. Header names are in lower case. Events that were told are not kept in `body`.

    `first_byte_s` is the time from the end of sending to the head of the answer; 0 when the answer came earlier.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    first_byte_s: float

    @property
    def media_type(self) -> str:
        """Return the media type without parameters, in lower case."""
        return media_type(self.headers)

    @property
    def provider_request_id(self) -> str | None:
        """Return the provider's own name for this request, if it gave one that is fit to be stored."""
        return _request_id(self.headers)


@dataclass(frozen=True, slots=True)
class WireEvent:
    """One event of an answer, as soon as it is complete: the answer's headers and the event's data."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def provider_request_id(self) -> str | None:
        """Return the provider's own name for the request, if it gave one that is fit to be stored."""
        return _request_id(self.headers)

    def as_answer(self) -> WireResponse:
        """Return the event as if it had been the whole answer."""
        return WireResponse(200, {**self.headers, "content-type": "application/json"}, self.body, 0.0)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return request_id(next((headers[name] for name in REQUEST_ID_HEADERS if name in headers), None))


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type that an answer declares, without parameters, in lower case."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the phases of one call may take, in seconds.

    `first_byte_s` runs from the end of sending, `total_s` from the start to the last byte. While the answer arrives, each
    further `slow_step_bytes` must come within `slow_step_s`; between two events, `first_byte_s` for the next one to begin.
    When one has passed after the request was sent, `waiting` is asked whether the exchange goes on without limits.
    """

    first_byte_s: float
    total_s: float
    connect_s: float = CONNECT_TIMEOUT_S
    slow_step_s: float = SLOW_STEP_S
    slow_step_bytes: int = SLOW_STEP_BYTES
    waiting: Waiting | None = None


class Transport(Protocol):
    """Carries one request to a provider and brings the answer."""

    async def send(
        self, request: WireRequest, timeouts: Timeouts, on_event: Callable[[WireEvent], None] | None = None
    ) -> WireResponse:
        """Return the answer, also one with an error status; a redirect is an answer like any other.

        Where it is a stream of events and well, `on_event` is called with each as it comes.
        Raises an UpstreamError when there is none: UpstreamUnreachable and UpstreamConnectTimeout mean that not one byte
        was sent, the others that the provider may have worked.
        """
        ...


class Exchange:
    """One call under way: moves its single deadline from phase to phase and collects the answer within its limits.

    The transport enters it, tells what happens as it happens, and asks `failure` for the right error. Once nobody waits for the
    answer, it has no deadline any more, and pictures are dropped as they come.
    """

    def __init__(
        self, timeouts: Timeouts, max_response_bytes: int, on_event: Callable[[WireEvent], None] | None = None
    ) -> None:
        self._timeouts = timeouts
        self._waiting = timeouts.waiting
        self._max_response_bytes = max_response_bytes
        self._on_event = on_event
        self._events: events.EventCutter | None = None
        self._between_events = False
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._end = now + timeouts.total_s
        self._sent_at: float | None = None
        self._first_byte_s = 0.0
        self._declared_bytes: int | None = None
        self._status = 0
        self._media_type = ""
        self._pieces: list[bytes] = []
        self._received_bytes = 0
        self._step_bytes = 0
        self._filter: PictureFilter | None = None
        self._kept_bytes = 0
        self.phase: Phase = "connecting"
        # It alone breaks the exchange off; until then, the timer stands for it.
        self._deadline = asyncio.timeout(None)
        self._timer = self._loop.call_at(min(self._end, now + timeouts.connect_s), self._time_is_over)

    async def __aenter__(self) -> None:
        await self._deadline.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._deadline.__aexit__(kind, error, trace)

    def connected(self) -> None:
        """Note that from now on the provider may have received something."""
        self.phase = "sending"
        self._allow_until(self._end)

    def sent(self) -> None:
        """Note that the request left as a whole. An answer that came before is not forgotten."""
        if self._waiting is not None:
            self._waiting.is_sent = True
        if self.phase == "sending":
            self.phase = "waiting"
            self._sent_at = self._loop.time()
            self._allow(self._timeouts.first_byte_s)

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Note the head of the answer. Raises UpstreamProtocol when it announces too large a body."""
        self.phase = "receiving"
        if self._sent_at is not None:
            self._first_byte_s = self._loop.time() - self._sent_at
        self._status, self._media_type = status, media_type(headers)
        tell = self._on_event
        if tell is not None and status == 200 and self._media_type == events.MEDIA_TYPE:
            self._events = events.EventCutter(lambda data: tell(WireEvent(headers, data)))
            self._wait_for_event()
        else:
            self._allow(self._timeouts.slow_step_s)
        content_length = headers.get("content-length")
        if content_length is not None and content_length.isdecimal():
            self._declared_bytes = int(content_length)
            self._check_size(self._declared_bytes)

    def received(self, piece: bytes) -> None:
        """Take a piece of the body. Raises UpstreamProtocol when it is too much."""
        self._received_bytes += len(piece)
        self._check_size(self._received_bytes)
        if self._is_late:
            piece = self._without_pictures(piece)
        self._step_bytes += len(piece)
        if self._events is None:
            self._pieces.append(piece)
        elif self._events.take(piece):
            self._wait_for_event()
            return
        if self._between_events or self._step_bytes >= self._timeouts.slow_step_bytes:
            self._between_events = False
            self._step_bytes = 0
            self._allow(self._timeouts.slow_step_s)

    def response(self, status: int, headers: Mapping[str, str]) -> WireResponse:
        """Return the answer. Raises UpstreamFailed when its length is not the announced one."""
        if self._declared_bytes not in (None, self._received_bytes):
            raise UpstreamFailed(
                "The provider's answer was cut short.",
                diagnostics=f"content-length {self._declared_bytes}, received {self._received_bytes}",
            )
        if self._is_late and self._filter is None:
            self._pieces = [self._without_pictures(b"")]
        # One copy of the picture's text, a tenth of a millisecond, and everything behind has one plain value.
        return WireResponse(status, headers, b"".join(self._pieces), self._first_byte_s)

    def failure(self, error: Exception, *, malformed: bool = False) -> UpstreamError:
        """Return what a foreign exception means at this point. `malformed` says that the answer was not HTTP."""
        diagnostics = f"{self.phase}: {type(error).__name__}: {error}"[:MAX_DIAGNOSTICS]
        if self._deadline.expired():
            if self.phase == "connecting":
                return UpstreamConnectTimeout("The provider could not be reached in time.", diagnostics=diagnostics)
            return self._timed_out(diagnostics)
        if self.phase == "connecting":
            return UpstreamUnreachable("The provider could not be reached.", diagnostics=diagnostics)
        if malformed:
            return UpstreamProtocol("The provider's answer was not valid HTTP.", diagnostics=diagnostics)
        return UpstreamFailed("The connection to the provider broke.", diagnostics=diagnostics)

    def _timed_out(self, diagnostics: str) -> UpstreamTimeout:
        if self.phase == "receiving":
            return UpstreamTimeout("The provider's answer arrived too slowly.", diagnostics=diagnostics)
        # Silence weighs twice as much as slowness: it takes the longest to notice.
        return UpstreamTimeout("The provider did not answer in time.", diagnostics=diagnostics, strikes=2)

    @property
    def _is_late(self) -> bool:
        return self._waiting is not None and self._waiting.is_over

    def _time_is_over(self) -> None:
        is_sent = self.phase in ("waiting", "receiving")
        if (
            is_sent
            and self._waiting is not None
            and self._waiting.give_up(self._timed_out(f"{self.phase}: no more time"))
        ):
            return
        self._deadline.reschedule(self._loop.time())

    def _without_pictures(self, piece: bytes) -> bytes:
        """Return what to keep of a piece of a late answer. Raises UpstreamProtocol when what is no picture is too much."""
        if not self._media_type.endswith(("json", "event-stream")):
            self._pieces.clear()
            if self._status == 200 and not self._media_type.startswith("image/"):
                raise UpstreamProtocol(
                    "The provider's answer held no usable picture.", diagnostics=f"late: {self._media_type}"
                )
            return b""
        if self._filter is None:
            # What has come so far is in memory; from here on it is not.
            self._filter = PictureFilter()
            begun = b"".join(self._pieces) if self._events is None else self._events.cut_off()
            self._pieces.clear()
            piece = begun + piece
        kept = self._filter.take(piece)
        self._kept_bytes += len(kept)
        if self._kept_bytes > MAX_KEPT_BYTES:
            raise UpstreamProtocol("The provider's answer was too large.", diagnostics=f"late: over {MAX_KEPT_BYTES}")
        return kept

    def _wait_for_event(self) -> None:
        """Allow the provider to paint in silence, as before its first byte."""
        self._between_events = True
        self._step_bytes = 0
        self._allow(self._timeouts.first_byte_s)

    def _allow(self, seconds: float) -> None:
        self._allow_until(min(self._end, self._loop.time() + seconds))

    def _allow_until(self, end: float) -> None:
        self._timer.cancel()
        if not self._is_late:
            self._timer = self._loop.call_at(end, self._time_is_over)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._max_response_bytes:
            raise UpstreamProtocol(
                "The provider's answer was too large.", diagnostics=f"more than {self._max_response_bytes} bytes"
            )
