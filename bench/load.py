"""The load: connections that each send the same prepared request again as soon as they have its answer.

A process of its own, so that its processor time is nobody else's: the order comes as JSON on standard input, the figures go
as JSON to standard output. Answers are counted by their Content-Length; a sample of them is looked into.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Sequence

import msgspec
import uvloop

from bench.payloads import request_body
from bench.wire import BUFFER_BYTES, MessageProtocol
from bench.works import Operation

# Of each connection's answers, the first and every so-many-th after it are searched for what must be in them, near the end.
SAMPLE_EVERY = 16
TAIL_BYTES = 8192
MAX_FAILURES_SHOWN = 3
MAX_FAILURE_BYTES = 300
CONNECT_TIMEOUT_S = 10.0
# For answers that are on their way when the time is over.
DRAIN_S = 30.0


class Order(msgspec.Struct, frozen=True):
    """What to send and for how long. Times as in `works.Work`. With `requests`, no more than so many are sent."""

    port: int
    path: str
    headers: dict[str, str]
    operation: Operation
    expected_in_tail: str
    least_body_bytes: int
    clients: int
    ramp_s: float
    warm_s: float
    measure_s: float
    requests: int | None = None


class Figures(msgspec.Struct, frozen=True):
    """What came of it. `answered` counts all good answers, the other figures only those that ended while measured.

    A latency is None when none did."""

    answered: int
    failed: int
    sampled: int
    measured: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    cpu_s: float
    wall_s: float
    failures: list[str]


class Load:
    """The state that all connections share."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.request = _request(order)
        self.buffer = bytearray(BUFFER_BYTES)
        self.marker = order.expected_in_tail.encode()
        self.answered = self.failed = self.sampled = 0
        self.unsent = order.requests
        self.failures: list[str] = []
        self.latencies_s: list[float] = []
        self.started = time.perf_counter()
        self.measured_from = self.started + order.warm_s
        self.until = self.measured_from + order.measure_s
        self._running = order.clients
        self.all_done = asyncio.Event()

    def answer(self, sent: float) -> bool:
        """Count a good answer; tell whether to go on."""
        now = time.perf_counter()
        self.answered += 1
        if self.measured_from <= now < self.until:
            self.latencies_s.append(now - sent)
        return now < self.until and self.may_send()

    def may_send(self) -> bool:
        """Tell whether one more request may be sent, and count it."""
        if self.unsent is None:
            return True
        self.unsent -= 1
        return self.unsent >= 0

    def fail(self, reason: str) -> None:
        """Count an answer that is not good, or none."""
        self.failed += 1
        if len(self.failures) < MAX_FAILURES_SHOWN:
            self.failures.append(reason)

    def leave(self) -> None:
        """Count a connection that has ended."""
        self._running -= 1
        if not self._running:
            self.all_done.set()

    def give_up(self) -> None:
        """Count the connections that are still waiting."""
        self.fail(f"{self._running} connections never got their answer")
        self.failed += self._running - 1

    def figures(self) -> Figures:
        """Return what came of it."""
        ordered = sorted(self.latencies_s)
        return Figures(
            answered=self.answered,
            failed=self.failed,
            sampled=self.sampled,
            measured=len(ordered),
            rate=len(ordered) / self.order.measure_s,
            p50_ms=percentile_ms(ordered, 0.50),
            p99_ms=percentile_ms(ordered, 0.99),
            max_ms=percentile_ms(ordered, 1.0),
            cpu_s=time.process_time(),
            wall_s=time.perf_counter() - self.started,
            failures=self.failures,
        )


class Connection(MessageProtocol):
    """One client."""

    def __init__(self, load: Load) -> None:
        super().__init__(load.buffer)
        self._load = load
        self._sent = 0.0
        self._count = 0
        self._waiting = False
        self._tail: bytes | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        if self._load.may_send():
            self._send()
        else:
            transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """End; an answer that is still out will not come."""
        if self._waiting:
            self._load.fail(f"connection lost: {error}")
        self._load.leave()

    def body_piece(self, piece: memoryview) -> None:
        """Keep the end of a sampled answer."""
        if self._tail is not None:
            self._tail = (self._tail + bytes(piece))[-TAIL_BYTES:]

    def message_done(self, head: bytes) -> None:
        """Check the answer and send the next request, or hang up."""
        self._waiting = False
        problem = self._problem(head)
        if problem is None and self._load.answer(self._sent):
            self._send()
            return
        if problem is not None:
            self._load.fail(problem)
        self.transport.close()

    def _send(self) -> None:
        self._tail = b"" if self._count % SAMPLE_EVERY == 0 else None
        self._count += 1
        self._waiting = True
        self._sent = time.perf_counter()
        self.transport.write(self._load.request)

    def _problem(self, head: bytes) -> str | None:
        shown = (head + (self._tail or b""))[:MAX_FAILURE_BYTES].decode("latin-1")
        if not head.startswith(b"HTTP/1.1 200 "):
            return f"not a 200: {shown}"
        if self.body_bytes < self._load.order.least_body_bytes:
            return f"too short: {shown}"
        if self._tail is None:
            return None
        self._load.sampled += 1
        return None if self._load.marker in self._tail else f"{self._load.order.expected_in_tail} is missing: {shown}"


def percentile_ms(ordered_s: Sequence[float], share: float) -> float | None:
    """Return the milliseconds that this share of sorted times in seconds does not exceed; None when there are none."""
    return 1000 * ordered_s[max(0, math.ceil(share * len(ordered_s)) - 1)] if ordered_s else None


def _request(order: Order) -> bytes:
    content_type, body = request_body(order.operation)
    headers = {
        "host": f"127.0.0.1:{order.port}",
        "content-type": content_type,
        **order.headers,
        "content-length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {order.path} HTTP/1.1\r\n{lines}\r\n".encode() + body


async def run(order: Order) -> Figures:
    """Carry out an order."""
    load = Load(order)
    loop = asyncio.get_running_loop()

    async def connect(number: int) -> None:
        await asyncio.sleep(order.ramp_s * number / order.clients)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: Connection(load), "127.0.0.1", order.port)
        except OSError as error:
            load.fail(f"not connected: {error}")
            load.leave()

    try:
        async with asyncio.timeout(order.warm_s + order.measure_s + DRAIN_S):
            await asyncio.gather(*map(connect, range(order.clients)))
            await load.all_done.wait()
    except TimeoutError:
        load.give_up()
    return load.figures()


if __name__ == "__main__":
    figures = uvloop.run(run(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(figures))
