"""Bad input and too much of it: refused in bounded time and memory, in one shape, and nothing of it stays behind."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image as Pillow

from omixa.billing.verify import Finding, verify
from tests.support.commands import Omixa, Server
from tests.support.document import Document
from tests.support.footprint import footprint
from tests.support.pictures import data_url, picture
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
MIB = 1 << 20
BODY_LIMIT = MIB
# Short enough to wait for in a test, long enough for a busy machine to send an ordinary request.
TIMEOUT_S = 1.5


@pytest.fixture(scope="module")
def small(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits."""
    limits: dict[str, Any] = {
        "max_body_bytes": BODY_LIMIT,
        "max_body_bytes_in_flight": BODY_LIMIT,
        "max_requests_in_flight": 1,
    }
    with running_gateway(tmp_path_factory.mktemp("small"), foundry, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Omixa, Server, str]]:
    """A server in a process of its own that is impatient and logs all it can, and a test key for it."""
    directory = tmp_path_factory.mktemp("strict")
    omixa = Omixa(
        directory,
        {
            "OMIXA_DATA_DIR": str(directory / "data"),
            "OMIXA_LOG_LEVEL": "debug",
            "OMIXA_HEADER_TIMEOUT_S": str(TIMEOUT_S),
            "OMIXA_BODY_TIMEOUT_S": str(TIMEOUT_S),
            "OMIXA_MAX_BODY_BYTES": str(BODY_LIMIT),
            "OMIXA_FOUNDRY_ENDPOINT": "http://127.0.0.1:1",
            "OMIXA_FOUNDRY_API_KEY": PROVIDER_KEY,
        },
    )
    key = omixa("keys", "create", "--mode", "test")
    with omixa.serving("serve", "--port", "0") as server:
        yield omixa, server, key


# -------------------------------------------------------------------------------------------------------- raw connections


@dataclass(frozen=True)
class Reply:
    """An answer read off a socket. `closed` says that the server ended the connection after it."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    closed: bool

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        assert list(error) == ["message", "type", "param", "code", "request_id"]
        assert self.headers["x-request-id"] == error["request_id"]
        assert self.headers["x-should-retry"] in ("true", "false")
        return error


def head(key: str | None = None, path: str = CREATE, method: str = "POST", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: omixa"]
    lines += [] if key is None else [f"authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def request(key: str, body: bytes, **headers: str) -> bytes:
    return head(key, content_type="application/json", content_length=str(len(body)), **headers) + body


def send(port: int, pieces: Iterable[bytes], *, half_close: bool = False) -> Reply | None:
    """Send as much as the server takes and return its answer, None when there is none."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # The server may have heard enough before all is sent.
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        return read(connection)


def read(connection: socket.socket) -> Reply | None:
    """Read one answer, then look whether the connection ends."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
    except (http.client.RemoteDisconnected, ConnectionResetError):
        return None
    closes = response.headers.get("connection") == "close"
    body = response.read()
    if closes:
        with contextlib.suppress(ConnectionResetError):
            closes = connection.recv(1) == b""
    return Reply(response.status, response.headers, body, closes)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def endless(key: str) -> Iterator[bytes]:
    """Yield a chunked body that never ends."""
    yield head(key, content_type="application/json", transfer_encoding="chunked")
    while True:
        yield chunk(b" " * 65536)


# ----------------------------------------------------------------------------------------------------------- large bodies


def test_a_body_that_says_it_is_too_large_is_refused_unread(gateway: Gateway, new_key: Callable[..., str]) -> None:
    key, before = new_key(), footprint(gateway)
    reply = send(gateway.port, [head(key, content_length=str(64 * MIB + 1))])
    assert reply is not None
    assert (reply.status, reply.error["code"], reply.closed) == (413, "request_too_large", True)
    assert str(64 * MIB) in reply.error["message"]
    assert reply.headers["x-should-retry"] == "false"
    assert footprint(gateway) == before


def test_a_body_of_unknown_length_is_refused_at_the_limit(small: Gateway) -> None:
    before = footprint(small)
    reply = send(small.port, endless(small.key("test")))
    assert reply is not None
    assert (reply.status, reply.error["code"], reply.closed) == (413, "request_too_large", True)
    assert footprint(small) == before
    assert small.services is not None
    assert small.services.body_bytes.used == 0


@pytest.mark.parametrize(("extra", "status"), [(0, 200), (1, 413)])
def test_the_limit_is_exact(small: Gateway, extra: int, status: int) -> None:
    body = json.dumps(BODY).encode().ljust(BODY_LIMIT + extra)
    with small.client(small.key("test")) as client:
        answer = client.post(CREATE, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:200]


def test_refused_bodies_do_not_pile_up_in_memory(strict: tuple[Omixa, Server, str]) -> None:
    _, server, key = strict
    send(server.port, endless(key))
    before = server.peak_bytes()
    for _ in range(20):
        for pieces in (endless(key), [head(key, content_length=str(10**12)), b" " * MIB]):
            reply = send(server.port, pieces)
            assert reply is not None
            assert reply.status == 413
    assert server.peak_bytes() - before < 16 * MIB


def test_a_body_without_a_key_is_not_read(small: Gateway) -> None:
    reply = send(small.port, [head(None, content_length="1000000"), b" " * 1000])
    assert reply is not None
    assert (reply.status, reply.closed) == (401, True)


def test_a_client_that_asks_first_is_told_to_go_on_or_not(small: Gateway) -> None:
    key, body = small.key("test"), json.dumps(BODY).encode()
    refused = send(small.port, [head(key, content_length=str(BODY_LIMIT + 1), expect="100-continue")])
    assert refused is not None
    assert refused.status == 413
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as connection:
        connection.sendall(head(key, content_length=str(len(body)), expect="100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        reply = read(connection)
    assert reply is not None
    assert reply.status == 200


def test_a_chunked_body_is_a_body(gateway: Gateway, new_key: Callable[..., str]) -> None:
    body = json.dumps(BODY).encode()
    pieces = [chunk(body[place : place + 7]) for place in range(0, len(body), 7)]
    headers = head(new_key(), content_type="application/json", transfer_encoding="chunked")
    reply = send(gateway.port, [headers, *pieces, b"0\r\n\r\n"])
    assert reply is not None
    assert reply.status == 200


def test_a_body_that_is_cut_short_is_forgotten(gateway: Gateway, new_key: Callable[..., str]) -> None:
    key, before = new_key(), footprint(gateway)
    body = json.dumps(BODY).encode()
    assert send(gateway.port, [request(key, body)[:-10]], half_close=True) is None
    assert footprint(gateway) == before
    assert gateway.services is not None
    assert gateway.services.body_bytes.used == 0


# ------------------------------------------------------------------------------------------------------------------ crowds


def test_too_many_requests_at_a_time_are_sent_away(small: Gateway, foundry: Simulator, document: Document) -> None:
    small.grant(10_000_000)
    foundry.play("slow=0.5")
    calls = len(foundry.log())
    with small.client(small.key("live")) as client:
        first: list[httpx.Response] = []
        sender = threading.Thread(target=lambda: first.append(client.post(CREATE, json=BODY)))
        sender.start()
        while len(foundry.log()) == calls:
            pass
        with small.client(small.key("test")) as other:
            second = other.post(CREATE, json=BODY)
        sender.join()
        third = client.post(CREATE, json=BODY)
    document.check(second)
    assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
    assert (second.headers["retry-after"], second.headers["x-should-retry"]) == ("1", "true")
    assert (first[0].status_code, third.status_code) == (200, 200)


def test_too_many_bytes_at_a_time_are_sent_away(small: Gateway) -> None:
    assert small.services is not None
    key, services = small.key("test"), small.services
    body = json.dumps(BODY).encode().ljust(BODY_LIMIT * 2 // 3)
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as connection:
        connection.sendall(request(key, body)[:-1])
        while services.body_bytes.used < len(body) // 2 + 1:
            pass
        second = send(small.port, [request(key, body)])
        connection.sendall(body[-1:])
        first = read(connection)
    assert first is not None
    assert second is not None
    assert (second.status, second.error["code"], second.headers["retry-after"]) == (503, "overloaded", "2")
    assert first.status == 200
    while services.body_bytes.used:
        pass


# ------------------------------------------------------------------------------------------------------------ slow clients


def test_slow_headers_and_slow_bodies_are_cut_off(strict: tuple[Omixa, Server, str]) -> None:
    _, server, key = strict
    body = json.dumps(BODY).encode()
    replies: dict[str, Reply | None] = {}

    def slow(name: str, data: bytes) -> None:
        replies[name] = send(server.port, [data])

    cases = {
        "headers": head(key)[:-2],
        "body": request(key, body)[:-1],
        "chunks": head(key, transfer_encoding="chunked") + chunk(body),
        "silence": b"",
    }
    waiting = [threading.Thread(target=slow, args=case) for case in cases.items()]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    for name in ("headers", "body", "chunks"):
        reply = replies[name]
        assert reply is not None, name
        assert (reply.status, reply.error["code"], reply.closed) == (408, "request_timeout", True), name
        assert reply.headers["x-should-retry"] == "true"
    assert replies["silence"] is None


# ------------------------------------------------------------------------------------------------------------- HTTP itself


@pytest.mark.parametrize(
    "data",
    [
        head(x_long="a" * 70_000),
        head(**{f"x_{number}": "a" * 1000 for number in range(70)}),
        head()[:-2] + b"x-endless: " + b"a" * 200_000,
        head(path="/" + "a" * 70_000),
    ],
    ids=["one header", "many headers", "endless header", "address"],
)
def test_headers_over_the_limit_are_refused(gateway: Gateway, data: bytes) -> None:
    reply = send(gateway.port, [data])
    assert reply is not None
    assert (reply.status, reply.error["code"], reply.closed) == (431, "headers_too_large", True)


def test_headers_below_the_limit_are_fine(gateway: Gateway) -> None:
    reply = send(gateway.port, [head(path="/healthz", method="GET", x_long="a" * 60_000)])
    assert reply is not None
    assert reply.status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
        b"PAINT / HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost omixa\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: omixa\r\n\r\n",
        b"CONNECT omixa:443 HTTP/1.1\r\nhost: omixa\r\n\r\n",
    ],
    ids=["TLS", "method", "header", "length", "smuggling", "address", "CONNECT"],
)
def test_what_is_not_http_is_refused_in_the_same_shape(gateway: Gateway, data: bytes) -> None:
    reply = send(gateway.port, [data])
    assert reply is not None
    assert (reply.status, reply.error["code"], reply.closed) == (400, "malformed_http", True)


def test_a_broken_chunk_is_refused(gateway: Gateway, new_key: Callable[..., str]) -> None:
    reply = send(gateway.port, [head(new_key(), transfer_encoding="chunked"), b"zz\r\n"])
    assert reply is not None
    assert (reply.status, reply.error["code"]) == (400, "malformed_http")


def test_requests_that_come_at_once_are_answered_in_order(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(head(path="/healthz", method="GET") + head(path="/readyz", method="GET"))
        received = b""
        while received.count(b'"status"') < 2:
            received += connection.recv(65536)
    assert received.index(b'"ok"') < received.index(b'"ready"')


@pytest.mark.parametrize("connection", ["Upgrade, HTTP2-Settings", "close, Upgrade"])
def test_an_offer_to_upgrade_is_ignored(gateway: Gateway, new_key: Callable[..., str], connection: str) -> None:
    offer = {"connection": connection, "upgrade": "h2c", "http2_settings": "AAEAAEAAAAIAAAABAAMAAABk"}
    whole = request(new_key(), json.dumps(BODY).encode(), **offer)
    for pieces in ([whole], [whole[:40], whole[40:-20], whole[-20:]]):
        reply = send(gateway.port, pieces)
        assert reply is not None
        assert (reply.status, reply.closed) == (200, connection.startswith("close"))


@pytest.mark.parametrize("path", ["/healthz", f"{API}/balance", f"{API}/models", "/openapi.json"])
def test_head_has_the_headers_of_get_and_no_body(test_client: httpx.Client, path: str) -> None:
    get, only_head = test_client.get(path), test_client.head(path)
    assert (only_head.status_code, only_head.content) == (200, b"")
    assert only_head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CREATE, {"POST"}),
        ("HEAD", CREATE, {"POST"}),
        ("OPTIONS", CREATE, {"POST"}),
        ("PUT", CREATE, {"POST"}),
        ("DELETE", f"{API}/requests/x", {"GET", "HEAD"}),
        ("POST", f"{API}/balance", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_methods_that_a_path_does_not_have(
    test_client: httpx.Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = test_client.request(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == allowed
    if method != "HEAD":
        assert answer.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path",
    ["/api", API, f"{CREATE}/", "/v1/images/generations/", f"{API}/images/variations", "/%2e%2e/etc/passwd", "//"],
)
def test_paths_that_do_not_exist(test_client: httpx.Client, document: Document, path: str) -> None:
    for method in ("GET", "POST"):
        answer = test_client.request(method, f"{test_client.base_url}".rstrip("/") + path)
        document.check_value("Error", answer.json())
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")
        assert answer.headers["x-should-retry"] == "false"


# --------------------------------------------------------------------------------------------------------------- bad JSON


def post(client: httpx.Client, content: bytes, content_type: str | None = "application/json") -> httpx.Response:
    headers = {} if content_type is None else {"content-type": content_type}
    return client.post(CREATE, content=content, headers=headers)


@pytest.mark.parametrize("content_type", ["text/plain", "multipart/form-data; boundary=x", "image/png", "json", ","])
def test_bodies_of_other_types_are_refused(
    test_client: httpx.Client, gateway: Gateway, document: Document, content_type: str
) -> None:
    before = footprint(gateway)
    answer = post(test_client, json.dumps(BODY).encode(), content_type)
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert footprint(gateway) == before


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "deflate, gzip", "identity, gzip"])
def test_compressed_bodies_are_refused_unread(
    test_client: httpx.Client, gateway: Gateway, document: Document, encoding: str
) -> None:
    before = footprint(gateway)
    body = gzip.compress(json.dumps(BODY).encode())
    answer = test_client.post(
        CREATE, content=body, headers={"content-type": "application/json", "content-encoding": encoding}
    )
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (415, "unsupported_media_type", "Content-Encoding")
    assert "not compressed" in error["message"]
    assert footprint(gateway) == before


def test_a_body_may_say_that_it_is_not_compressed(test_client: httpx.Client) -> None:
    answer = test_client.post(CREATE, json=BODY, headers={"content-encoding": "identity"})
    assert answer.status_code == 200, answer.text[:500]


@pytest.mark.parametrize("content_type", [None, "application/json; charset=utf-8", "Application/JSON"])
def test_json_is_taken_however_it_is_called(test_client: httpx.Client, content_type: str | None) -> None:
    assert post(test_client, json.dumps(BODY).encode(), content_type).status_code == 200


DEEP = 100_000
NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "brace": b"{",
    "comma": b'{"model":"MAI-Image-2.5","prompt":"x",}',
    "quotes": b"{'model': 'MAI-Image-2.5'}",
    "two": b'{"model":"MAI-Image-2.5"}{"prompt":"x"}',
    "not a number": b'{"model":"MAI-Image-2.5","prompt":"x","n":NaN}',
    "bytes": b"\xff\xfe\x00",
    "UTF-8 in a name": b'{"\xff":1}',
    "UTF-8 in a value": b'{"model":"MAI-Image-2.5","prompt":"\xc3\x28"}',
    "half a pair": b'{"model":"MAI-Image-2.5","prompt":"\\ud800"}',
    "control character": b'{"model":"MAI-Image-2.5","prompt":"\x01"}',
    "UTF-16": json.dumps(BODY).encode("utf-16"),
    "compressed": zlib.compress(json.dumps(BODY).encode()),
    "nested objects": b'{"a":' * DEEP,
    "nested prompt": b'{"model":"MAI-Image-2.5","prompt":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nested pictures": b'{"model":"MAI-Image-2.5","prompt":"x","input_images":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "form": b"model=MAI-Image-2.5&prompt=x",
}
NOT_A_REQUEST = {
    "null": b"null",
    "array": b"[]",
    "string": b'"a kite"',
    "number": b"7",
    "nested arrays": b"[" * DEEP,
    "nested unknown": b'{"model":"MAI-Image-2.5","prompt":"x","seed":' + b"[" * 500 + b"]" * 500 + b"}",
    "large number": b'{"model":"MAI-Image-2.5","prompt":"x","n":1' + b"0" * 100_000 + b"}",
    "many fields": b"{" + b",".join(b'"f%d":1' % number for number in range(20_000)) + b"}",
    "many pictures": json.dumps({**BODY, "input_images": ["x"] * 50_000}).encode(),
}


@pytest.mark.parametrize("name", [*NOT_JSON, *NOT_A_REQUEST])
def test_bodies_that_are_no_request_are_refused(
    test_client: httpx.Client, gateway: Gateway, document: Document, name: str
) -> None:
    before = footprint(gateway)
    answer = post(test_client, (NOT_JSON | NOT_A_REQUEST)[name])
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"] == "invalid_json") == (name in NOT_JSON), error
    assert len(error["message"]) < 1000
    assert footprint(gateway) == before


# ------------------------------------------------------------------------------------------------------- hostile pictures


def encoded(format: str, *frames: Pillow.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=len(frames) > 1, append_images=frames[1:], **options)
    return buffer.getvalue()


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """Return a PNG that says what it likes."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", pixels or zlib.compress(bytes(9))) + part(b"IEND", b"")


RED, BLUE = (Pillow.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
WHOLE = picture("png", 64, 64)
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'

HOSTILE: dict[str, tuple[str, str]] = {
    "bomb": (data_url(png(60_000, 60_000)), "image_too_large"),
    "just over 50 megapixels": (data_url(png(10_000, 5_001)), "image_too_large"),
    "one endless row": (data_url(png(2**31 - 1, 1)), "image_too_large"),
    "no pixels": (data_url(png(0, 64)), "invalid_image"),
    "truncated PNG": (data_url(WHOLE[:-20]), "truncated_image"),
    "truncated JPEG": (data_url(picture("jpeg", 64, 64)[:-20], "image/jpeg"), "truncated_image"),
    "truncated WebP": (data_url(picture("webp", 64, 64)[:-20], "image/webp"), "truncated_image"),
    "only a signature": (data_url(WHOLE[:8]), "truncated_image"),
    "something behind": (data_url(WHOLE + b"PK\x03\x04" + bytes(100)), "invalid_image"),
    "animated PNG": (data_url(encoded("PNG", RED, BLUE)), "animated_image"),
    "animated WebP": (data_url(encoded("WEBP", RED, BLUE), "image/webp"), "animated_image"),
    "another type than declared": (data_url(picture("jpeg", 64, 64)), "image_type_mismatch"),
    "PNG called JPEG": (data_url(WHOLE, "image/jpeg"), "image_type_mismatch"),
    "SVG": (data_url(SVG, "image/svg+xml"), "unsupported_image_format"),
    "SVG called PNG": (data_url(SVG), "unsupported_image_format"),
    "GIF": (data_url(encoded("GIF", RED), "image/gif"), "unsupported_image_format"),
    "GIF called PNG": (data_url(encoded("GIF", RED)), "unsupported_image_format"),
    "TIFF called PNG": (data_url(encoded("TIFF", RED)), "unsupported_image_format"),
    "BMP called PNG": (data_url(encoded("BMP", RED)), "unsupported_image_format"),
    "text": (data_url(b"not a picture at all"), "unsupported_image_format"),
    "nothing": ("data:image/png;base64,", "unsupported_image_format"),
    "not base64": ("data:image/png;base64,!!!!", "invalid_base64"),
    "without padding": (data_url(b"\x89PNG\r\n\x1a\nxy").rstrip("="), "invalid_base64"),
    "URL-safe base64": ("data:image/png;base64,-_-_", "invalid_base64"),
    "line breaks": ("data:image/png;base64," + base64.encodebytes(WHOLE).decode(), "invalid_base64"),
    "not base64 at all": ("data:image/png,%89PNG", "invalid_data_url"),
    "percent-encoded": ("data:image/png;base64,iVBORw0KGgo%3D", "invalid_base64"),
    "no data URL": (base64.b64encode(WHOLE).decode(), "invalid_data_url"),
    "file address": ("file:///etc/passwd", "invalid_data_url"),
    "web address": ("https://127.0.0.1/a.png", "image_url_not_inline"),
    "empty": ("", "invalid_data_url"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pictures_are_refused_and_leave_nothing(
    test_client: httpx.Client, gateway: Gateway, document: Document, name: str
) -> None:
    url, code = HOSTILE[name]
    before = footprint(gateway)
    answer = test_client.post(CREATE, json={**BODY, "input_images": [{"type": "image_url", "image_url": {"url": url}}]})
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, "input_images[0]"), error
    assert len(error["message"]) < 500
    assert footprint(gateway) == before


def test_more_pictures_than_any_model_takes_are_refused(test_client: httpx.Client) -> None:
    answer = test_client.post(CREATE, json={**BODY, "input_images": [data_url(WHOLE)] * 17})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input_images")


# ---------------------------------------------------------------------------------------------------------------- secrecy

PROVIDER_KEY = "quartzlike-provider-credential"
SECRET = "quartzlike"
USER = "obsidian-customer-4711"


def test_prompts_pictures_and_keys_are_neither_logged_nor_kept(strict: tuple[Omixa, Server, str]) -> None:
    omixa, server, key = strict
    live = omixa("keys", "create", "--mode", "live")
    omixa("credits", "grant", "--mode", "live", "--amount", "1.00", "--reason", "test")
    prompt = f"A {SECRET} lamp on a desk"
    drawn = picture("png", 768, 768)
    wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
    asked: list[dict[str, Any]] = [
        {"prompt": prompt, "user": USER},
        {"prompt": prompt, "stream": True},
        {"prompt": f"{prompt}, again", "input_images": [data_url(drawn)]},
        {"prompt": [prompt]},
        {"prompt": prompt, "size": SECRET},
        {"prompt": prompt, SECRET: 1},
        {"prompt": prompt, "input_images": [data_url(drawn[:-30])]},
        {"prompt": f"sim:500 {prompt}"},
        {"prompt": f"sim:filter {prompt}"},
        {"prompt": f"sim:notpng {prompt}"},
    ]
    statuses: list[int] = []
    with server.client(key) as client:
        statuses += [client.post(CREATE, json={"model": MODEL, **fields}).status_code for fields in asked]
        statuses.append(post(client, json.dumps({"prompt": prompt}).encode()[:-1]).status_code)
    for other in (live, wrong, SECRET):
        with server.client(other) as client:
            statuses.append(client.post(CREATE, json={"model": MODEL, "prompt": prompt}).status_code)
    assert statuses == [200, 200, 200, 400, 400, 400, 400, 502, 400, 502, 400, 502, 401, 401]
    assert server.stop() == 0
    assert "attempt.failed" in server.log
    encoded_picture = base64.b64encode(drawn)
    secrets = [SECRET.encode(), USER.encode(), PROVIDER_KEY.encode(), drawn[100:140], encoded_picture[100:160]]
    secrets += [whole[9:41].encode() for whole in (key, live, wrong)]
    data = Path(omixa.variables["OMIXA_DATA_DIR"])
    kept = {path.name: path.read_bytes() for path in data.glob("*") if path.is_file()}
    kept["log"] = server.log.encode()
    assert {"omixa.db", "pepper", "log"} <= kept.keys()
    assert [(name, secret) for name, content in kept.items() for secret in secrets if secret in content] == []


def findings(gateway: Gateway) -> set[Finding]:
    report = gateway.call(
        lambda services: services.database.read(lambda tx: verify(tx, result_exists=services.blobs.has))
    )
    return set(report.findings)


@pytest.fixture(scope="module", autouse=True)
def known(gateway: Gateway) -> set[Finding]:
    """What other files broke on purpose before this one began."""
    return findings(gateway)


def test_after_all_this_the_ledger_is_clean(
    gateway: Gateway, small: Gateway, strict: tuple[Omixa, Server, str], known: set[Finding]
) -> None:
    assert findings(gateway) == known
    assert findings(small) == set()
    assert footprint(small).held == 0
    assert strict[0].json("ledger", "verify")["clean"] is True
