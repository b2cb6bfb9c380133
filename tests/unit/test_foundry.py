"""Foundry's wire format: golden exchanges, what is sent byte for byte, and what may come back."""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import zlib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pictures

from omixa import errors
from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.images import Image, ImageRequest, Usage
from omixa.domain.models import Deployment, Offer
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamError, UpstreamProtocol, UpstreamRejected
from omixa.imaging.inspect import inspect
from omixa.providers.answers import parse_answer
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.foundry import FoundryProvider
from omixa.providers.transport import AsgiReceive, AsgiSend, InProcessTransport, Transports
from omixa.providers.wire import WireResponse
from omixa.simulator.multipart import parse_multipart

GOLDEN = {path.stem: path.read_text() for path in sorted(Path(__file__).parents[1].glob("golden/foundry/*.json"))}
KEY = "key-of-the-operator-0123456789"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ------------------------------------------------------------------------------------------------------------- parts


@cache
def png(size: str) -> bytes:
    """Return a PNG of one colour; of a huge one only the head, which is enough to refuse it."""
    width, height = map(int, size.split("x"))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height if height < 5000 else 1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, rows, b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture(size: str) -> Image:
    return Image(png(size), inspect(png(size)))


def other_format(name: str) -> Image:
    buffer = io.BytesIO()
    Pictures.new("RGB", (64, 48), "teal").save(buffer, name)
    return Image(buffer.getvalue(), inspect(buffer.getvalue()))


@cache
def offer() -> Offer:
    return load_catalogue().offer("foundry", "MAI-Image-2.5")


def call(*references: Image, size: str = "auto", prompt: str = "A red kite", **deployment: Any) -> ProviderCall:
    request = ImageRequest(
        model="MAI-Image-2.5",
        prompt=prompt,
        prompt_tokens=4,
        n=3,
        size=size,
        quality="auto",
        background="auto",
        output_format="png",
        output_compression=None,
        input_images=references,
        stream=False,
        partial_images=0,
        given=frozenset(),
    )
    values: dict[str, Any] = {
        "id": "foundry/prod",
        "provider": "foundry",
        "model": "MAI-Image-2.5",
        "endpoint": "https://res.services.ai.azure.com/",
        "deployment_name": "mai-25-prod",
        "api_key": Secret(KEY),
        "bearer_token": None,
        "modes": frozenset({"live"}),
    }
    return ProviderCall(request, offer(), Deployment(**(values | deployment)), "req_1", 2)


@dataclass
class Service:
    """An application that answers always the same and remembers what it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.seen.append((scope["path"], headers, body))
        raw = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})


async def silent(scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
    raise AssertionError("this transport is not to be used")


async def ask(service: Service, wanted: ProviderCall) -> ProviderResult:
    with contextlib.closing(Conversions(1, waiting=1)) as conversions:
        provider = FoundryProvider(
            Transports(InProcessTransport(service), {"foundry": InProcessTransport(silent)}), conversions
        )
        events = [event async for event in provider.generate(wanted)]
    assert len(events) == 1
    assert isinstance(events[0], ProviderResult)
    return events[0]


def painted(size: str = "1024x1024", **fields: Any) -> Service:
    document = {"data": [{"b64_json": pybase64.b64encode_as_string(png(size))}], **fields}
    return Service(200, {"content-type": "application/json"}, json.dumps(document).encode())


# ------------------------------------------------------------------------------------------------- golden exchanges


def _with_pictures(text: str) -> str:
    return re.sub(r"png:(\d+x\d+)", lambda match: pybase64.b64encode_as_string(png(match[1])), text)


@pytest.mark.parametrize("text", GOLDEN.values(), ids=GOLDEN.keys())
async def test_golden_exchange(text: str) -> None:
    exchange = json.loads(text)
    ask_for, answer, gives = exchange["ask"], exchange["answer"], exchange["gives"]
    body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])
    service = Service(answer["status"], answer["headers"], _with_pictures(body).encode())
    references = (picture(name.removeprefix("png:")) for name in ask_for.get("references", ()))
    wanted = call(*references, size=ask_for["size"], prompt=ask_for["prompt"])
    if "prompt_tokens" in ask_for:
        wanted = replace(wanted, request=replace(wanted.request, prompt_tokens=ask_for["prompt_tokens"]))
    if "error" in gives:
        await _check_error(service, wanted, gives)
    else:
        _check_result(await ask(service, wanted), gives)
    _check_request(service, exchange["request"])


def _check_result(result: ProviderResult, gives: dict[str, Any]) -> None:
    assert result.image == picture(gives["size"])
    usage = gives["usage"]
    expected = usage and Usage(usage["text"], usage["image"], usage["output"], images=1)
    assert result.usage == expected
    assert result.provider_request_id == gives["provider_request_id"]


async def _check_error(service: Service, wanted: ProviderCall, gives: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as caught:
        await ask(service, wanted)
    error = caught.value
    assert type(error) is getattr(errors, gives["error"]), error.diagnostics
    assert error.message == gives["message"]
    assert error.upstream_status == service.status
    assert error.provider_request_id == service.headers["x-ms-request-id"]
    for name in ("upstream_code", "retry_after_s"):
        if name in gives:
            assert getattr(error, name) == gives[name]


def _check_request(service: Service, expected: dict[str, Any]) -> None:
    ((path, headers, body),) = service.seen
    assert path == expected["path"]
    assert headers["api-key"] == KEY
    assert "authorization" not in headers
    assert not any(name.startswith("x-") for name in headers)
    assert headers["content-length"] == str(len(body))
    if "json" in expected:
        assert headers["content-type"] == "application/json"
        assert json.loads(body) == expected["json"]
    else:
        parts = [
            [part.name, part.filename, part.content_type if part.filename else None, part.data]
            for part in parse_multipart(body, headers["content-type"])
        ]
        assert parts == [[*head, _part_data(text)] for *head, text in expected["parts"]]


def _part_data(text: str) -> bytes:
    return png(text.removeprefix("png:")) if text.startswith("png:") else text.encode()


# ------------------------------------------------------------------------------------------------------ what is sent


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ({"bearer_token": Secret("token")}, {"api-key": KEY}),
        ({"api_key": None, "bearer_token": Secret("token")}, {"authorization": "Bearer token"}),
        ({"api_key": None}, {}),
    ],
)
async def test_one_credential_is_sent(credentials: dict[str, Any], expected: dict[str, str]) -> None:
    service = painted()
    await ask(service, call(**credentials))
    _, headers, _ = service.seen[0]
    assert {name: headers[name] for name in ("api-key", "authorization") if name in headers} == expected


async def test_the_simulator_is_told_which_picture_of_the_request_it_paints() -> None:
    service = painted()
    transport = Transports(InProcessTransport(silent), {"foundry": InProcessTransport(service)})
    provider = FoundryProvider(transport, Conversions(1, waiting=1))
    async for _ in provider.generate(call(endpoint="simulator://foundry")):
        pass
    path, headers, _ = service.seen[0]
    assert path == "/mai/v1/images/generations"
    assert headers["x-omixa-variant"] == "2"


@pytest.mark.parametrize(("name", "filename"), [("JPEG", "image-1.jpg"), ("WEBP", "image-1.png")])
async def test_references_are_sent_in_a_format_that_the_service_takes(name: str, filename: str) -> None:
    service, reference = painted(), other_format(name)
    await ask(service, call(reference))
    _, headers, body = service.seen[0]
    part = parse_multipart(body, headers["content-type"])[-1]
    assert part.filename == filename
    assert part.content_type == f"image/{inspect(part.data).format}"
    assert (part.data == reference.data) == (name == "JPEG")
    assert inspect(part.data).size == "64x48"


async def test_a_reference_that_cannot_be_decoded_is_the_callers_and_nothing_is_sent() -> None:
    service, reference = painted(), other_format("WEBP")
    broken = replace(reference, data=reference.data[:40])
    with pytest.raises(UpstreamRejected) as caught:
        await ask(service, call(broken))
    assert caught.value.param == "input_images"
    assert service.seen == []


# -------------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (-1, "negative"),
        (-(10**30), "negative"),
        (1.0, "not an integer but float"),
        (10**400, "not an integer but"),
        (True, "not an integer but bool"),
        ("7", "not an integer but str"),
        (None, "absent"),
        ([], "not an integer but list"),
        ({}, "not an integer but dict"),
    ],
    ids=lambda bad: repr(bad)[:12],
)
async def test_what_is_no_count_is_no_usage_and_is_named(bad: object, problem: str) -> None:
    usage = {"num_output_tokens": bad, "num_input_text_tokens": 4, "num_input_image_tokens": 0}
    result = await ask(painted(usage=usage), call())
    if bad == 10**400 and result.usage is not None:
        # Whether JSON may have such integers is the parser's business; how many there can be, the gateway's.
        assert result.usage.output_image_tokens == bad
        return
    assert result.usage is None
    assert result.usage_problem is not None
    assert result.usage_problem.startswith(f"num_output_tokens is {problem}")


@pytest.mark.parametrize("usage", [7, "none", [], {"num_output_tokens": 10**15}])
async def test_usage_of_any_shape_does_not_lose_the_picture(usage: object) -> None:
    result = await ask(painted(usage=usage), call())
    assert result.image == picture("1024x1024")
    expected = Usage(4, 0, 10**15, images=1) if isinstance(usage, dict) else None
    assert (result.usage, result.usage_problem is None) == (expected, expected is not None)


async def test_a_picture_with_a_wrong_bit_is_refused() -> None:
    spoilt = bytearray(png("1024x1024"))
    spoilt[len(spoilt) // 2] ^= 1
    document = {"data": [{"b64_json": pybase64.b64encode_as_string(bytes(spoilt))}]}
    service = Service(200, {"content-type": "application/json"}, json.dumps(document).encode())
    with pytest.raises(UpstreamProtocol) as caught:
        await ask(service, call())
    assert "the checksum of its chunk IDAT" in caught.value.diagnostics


async def test_an_edit_larger_than_the_service_makes_is_refused() -> None:
    with pytest.raises(UpstreamProtocol) as caught:
        await ask(painted("1024x1040"), call(picture("64x64")))
    assert "1024x1040" in caught.value.diagnostics


@pytest.mark.parametrize("name", ["JPEG", "WEBP"])
async def test_a_picture_that_is_not_png_is_refused(name: str) -> None:
    document = {"data": [{"b64_json": pybase64.b64encode_as_string(other_format(name).data)}]}
    service = Service(200, {"content-type": "application/json"}, json.dumps(document).encode())
    with pytest.raises(UpstreamProtocol, match="no usable picture") as caught:
        await ask(service, call(picture("64x64")))
    assert name.lower() in caught.value.diagnostics


async def test_an_error_that_repeats_the_key_does_not_pass_it_on() -> None:
    key = "short/key"
    body = json.dumps({"error": {"code": key, "message": f"The key {key} may not do {key}."}}).replace("/", "\\/")
    with pytest.raises(UpstreamRejected) as caught:
        await ask(Service(400, {"content-type": "application/json"}, body.encode()), call(api_key=Secret(key)))
    error = caught.value
    assert key not in f"{error.message} {error.diagnostics} {error.upstream_code}"
    assert error.message == "The provider rejected this request: The key [removed] may not do [removed]."


# ------------------------------------------------------------------------------------------------- reading an answer


def answered(body: bytes) -> WireResponse:
    return WireResponse(200, {"content-type": "application/json"}, body, 0.0)


def plainly(body: bytes) -> bytes:
    """Return the picture of an answer the slow and simple way."""
    picture = json.loads(body)["data"][0]["b64_json"]
    return pybase64.b64decode(picture, validate=True)


PNG64 = pybase64.b64encode(b"a picture?>~").decode()


@pytest.mark.parametrize(
    "text",
    [
        '{"data":[{"b64_json":"%s"}]}',
        ' { "data" : [ { "b64_json" : "%s" } ] } ',
        '{"data":[{"b64_json":\n"%s","revised_prompt":"x"}],"usage":null}',
        '{"note":"\\"b64_json","data":[{"b64_json":"%s"}]}',
        '{"note":"\\"b64_json\\": \\"AAAA\\"","data":[{"b64_json":"%s"}]}',
        '{"b64_json":"AAAA","data":[{"b64_json":"%s"}]}',
        '{"thumbnails":[{"b64_json":"*"}],"data":[{"b64_json":"%s"}]}',
        '{"data":[{"b64_json":"%s"},{"b64_json":"AAAA"}]}',
        '{"data":[{"revised_prompt":"b64_json","b64_json":"%s"}]}',
    ],
)
def test_the_picture_is_found_wherever_it_stands(text: str) -> None:
    for encoded in (PNG64, PNG64.replace("/", "\\/"), f"\\u{ord(PNG64[0]):04x}{PNG64[1:]}"):
        body = (text % encoded).encode()
        assert parse_answer(answered(body)).picture == plainly(body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        '{"data":{}}',
        '{"data":[{"b64_json":"AAAA"}]',
        '{"data":[{"b64_json":"AAAA"}]}x',
        '{"data":[{"b64_json":"AAAA}]}',
        '{"data":[{"b64_json":"*"}]}',
        '{"data":[{"b64_json":"AAA"}]}',
        '{"data":[{"b64_json":"AA AA"}]}',
        '{"data":[{"b64_json":"AAAA\n"}]}',
        '{"data":[{"b64_json":7}]}',
        '{"data":[{"b64_json":["AAAA"]}]}',
        '{"data":[{"b64_json":"AAAA"}],"usage":' + "[" * 10_000,
        '{"b64_json":"AAAA"}',
        '{"data":[{"other":"AAAA"}]}',
        '{"data":[{"b64_json":"ÄÄÄÄ"}]}',
    ],
)
def test_what_is_not_an_answer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_answer(answered(text.encode()))


@pytest.mark.parametrize("content_type", ["", "text/html; charset=utf-8", "text/plain", "image/png"])
def test_another_media_type_is_refused(content_type: str) -> None:
    body = b'{"data":[{"b64_json":"AAAA"}]}'
    with pytest.raises(ValueError, match="not JSON"):
        parse_answer(WireResponse(200, {"content-type": content_type}, body, 0.0))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["b64_json", '"b64_json"', "*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["data", "b64_json", "usage"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=40), st.lists(st.tuples(st.text(max_size=3), json_values), max_size=3), json_values)
def test_reading_agrees_with_a_plain_parser(data: bytes, around: list[tuple[str, Any]], usage: Any) -> None:
    picture = {**dict(around), "b64_json": pybase64.b64encode_as_string(data)}
    body = msgspec.json.encode({**dict(around), "data": [picture], "usage": usage})
    answer = parse_answer(answered(body))
    assert answer.picture == data
    if isinstance(usage, dict):
        assert answer.counts == usage


@given(json_values)
def test_reading_refuses_what_a_plain_parser_finds_no_picture_in(document: Any) -> None:
    body = msgspec.json.encode(document)
    try:
        expected = plainly(body)
    except (KeyError, IndexError, TypeError, ValueError):
        with pytest.raises(ValueError, match=r"."):
            parse_answer(answered(body))
    else:
        assert parse_answer(answered(body)).picture == expected
