"""Memory stays bounded while many large answers wait for clients that do not read them, also when they are replayed."""

from __future__ import annotations

import hashlib
import socket
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from bench.payloads import PICTURE_BYTES
from bench.servers import prepare_upstream, upstream
from bench.works import Work
from tests.support.faults import PATIENCE_S, encoded, eventually, post_head, request_body
from tests.support.serving import ServerProcess, open_account, serving

MAX_PEAK_BYTES = 400_000_000
CLIENTS = 64
ROUNDS = 2
CREDIT = 10**9
# All pictures arrive together, after this time.
LATENCY_S = 0.5
ANSWER_BYTES = PICTURE_BYTES["1500k"] * 4 // 3
# Far less than an answer, so that an answer has to wait in the gateway.
RECEIVE_BUFFER_BYTES = 64 * 1024
READ_BYTES = 1 << 20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the peak of a process's memory is read from /proc"
)


def test_many_large_answers_at_once_fit_in_little_memory(tmp_path: Path) -> None:
    key = open_account(tmp_path / "data", CREDIT)
    with upstream(tmp_path) as provider, serving(tmp_path / "data", f"http://127.0.0.1:{provider.port}") as server:
        prepare_upstream(provider, Work("memory", "generation", "1500k", CLIENTS, latency_s=LATENCY_S))
        for number in range(1, ROUNDS + 1):
            _ask_at_once(server, key, charges=number * CLIENTS)
        assert server.peak_memory_bytes() < MAX_PEAK_BYTES


# Eight pictures are an answer of 16 MB.
REPLAYED_PICTURES = 8
REPLAYS = 32
# Loading what is replayed would take 12 MB for each, together 400 MB.
MAX_GROWTH_BYTES = 200_000_000


def test_large_answers_are_replayed_from_the_disk(tmp_path: Path) -> None:
    key = open_account(tmp_path / "data", CREDIT)
    with upstream(tmp_path) as provider, serving(tmp_path / "data", f"http://127.0.0.1:{provider.port}") as server:
        prepare_upstream(provider, Work("memory", "generation", "1500k", REPLAYED_PICTURES))
        with _asked_for_many(server, key) as connection:
            first = _digest_of_answer(connection)
        before = server.peak_memory_bytes()
        with ExitStack() as stack:
            connections = [stack.enter_context(_asked_for_many(server, key)) for _ in range(REPLAYS)]
            # Every answer has begun and waits for its client.
            for connection in connections:
                connection.recv(1, socket.MSG_PEEK)
            assert {_digest_of_answer(connection) for connection in connections} == {first}
        assert server.peak_memory_bytes() < before + MAX_GROWTH_BYTES


def _asked_for_many(server: ServerProcess, key: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", server.port))
    body = encoded(request_body(n=REPLAYED_PICTURES))
    head = post_head(f"Bearer {key}", len(body)).removesuffix(b"\r\n")
    connection.sendall(head + b"idempotency-key: large\r\n\r\n" + body)
    return connection


def _digest_of_answer(connection: socket.socket) -> tuple[int, str]:
    """Read a whole answer and return the length and the digest of its body."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 200")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    digest, left = hashlib.sha256(), length
    while left:
        piece = connection.recv(min(READ_BYTES, left))
        assert piece, "the answer was cut short"
        digest.update(piece)
        left -= len(piece)
    assert length > REPLAYED_PICTURES * ANSWER_BYTES
    return length, digest.hexdigest()


def _ask_at_once(server: ServerProcess, key: str, *, charges: int) -> None:
    """Let all clients ask; they begin to read when every answer has been charged."""
    with ExitStack() as stack:
        connections = [stack.enter_context(_asked(server, key, stream=number % 2 > 0)) for number in range(CLIENTS)]
        eventually(lambda: _charge_count(server, key) == charges)
        sizes = [_size_of_answer(connection) for connection in connections]
    assert min(sizes) > ANSWER_BYTES


def _asked(server: ServerProcess, key: str, *, stream: bool) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    connection.settimeout(PATIENCE_S)
    connection.connect(("127.0.0.1", server.port))
    body = encoded(request_body(stream=stream))
    connection.sendall(post_head(f"Bearer {key}", len(body)) + body)
    return connection


def _charge_count(server: ServerProcess, key: str) -> int:
    answer = httpx.get(
        f"{server.url}/api/v1/usage/rollups?period_type=day",
        headers={"authorization": f"Bearer {key}"},
        trust_env=False,
        verify=False,
    )
    return sum(day["requests"] for day in answer.json()["data"])


def _size_of_answer(connection: socket.socket) -> int:
    """Read to the end of an answer, which is its receipt's or its last chunk's, and return how many bytes it has."""
    size, end = 0, b""
    while not end.endswith((b"]}}", b"\r\n0\r\n\r\n")):
        piece = connection.recv(READ_BYTES)
        assert piece, "the answer was cut short"
        size, end = size + len(piece), (end + piece)[-100:]
    return size
