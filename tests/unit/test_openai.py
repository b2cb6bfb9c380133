"""OpenAI's wire format: golden exchanges over a real socket, what is sent byte for byte, and what may come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa import errors
from omixa.catalogue.loader import Catalogue, load_catalogue
from omixa.domain.access import Secret
from omixa.domain.images import Image, ImageRequest, Usage
from omixa.domain.models import Deployment
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamError, UpstreamRejected
from omixa.imaging.inspect import inspect
from omixa.providers.adapters import adapters
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.dialects import COMPATIBLE, LOCALAI, OPENAI
from omixa.providers.late import Waiting
from omixa.providers.transport import HttpTransport
from omixa.simulator.multipart import parse_multipart
from tests.support.wires import nobody_waits

GOLDEN = {path.stem: path.read_text() for path in sorted(Path(__file__).parents[1].glob("golden/openai/*.json"))}
KEY = "key-of-the-operator-0123456789"
BASES = {"openai": "/v1", "azure-openai": "/openai/v1"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


# ------------------------------------------------------------------------------------------------------------- parts


@cache
def png(size: str, *, alpha: bool = False) -> bytes:
    """Return a PNG of one colour, transparent where it has alpha."""
    width, height = map(int, size.split("x"))
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 0, 0, 0, 0)
    rows = zlib.compress(bytes((width * (4 if alpha else 1) + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, rows, b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def catalogue() -> Catalogue:
    return load_catalogue()


def named(text: str) -> bytes:
    """Return the picture that png:WIDTHxHEIGHT or mask:WIDTHxHEIGHT stands for, or the text itself."""
    kind, _, size = text.partition(":")
    return png(size, alpha=kind == "mask") if size and kind in ("png", "mask") else text.encode()


def picture(text: str) -> Image:
    return Image(named(text), inspect(named(text)))


def call(ask: dict[str, Any], endpoint: str) -> ProviderCall:
    """Return the call that an exchange asks for."""
    provider, model = ask.get("provider", "openai"), ask.get("model", "gpt-image-2")
    offer = catalogue().offer(provider, model)
    if "ignored" in ask:
        offer = replace(offer, ignored=frozenset(ask["ignored"]))
    request = ImageRequest(
        model=model,
        prompt=ask["prompt"],
        prompt_tokens=4,
        n=3,
        size=ask["size"],
        quality=ask.get("quality", "auto"),
        background=ask.get("background", "auto"),
        output_format=ask.get("output_format", "png"),
        output_compression=ask.get("output_compression"),
        input_images=tuple(map(picture, ask.get("references", ()))),
        stream=ask.get("stream", False),
        partial_images=ask.get("partial_images", 0),
        given=frozenset(),
        mask=picture(ask["mask"]) if "mask" in ask else None,
        moderation=ask.get("moderation", "auto"),
        input_fidelity=ask.get("input_fidelity"),
        user=ask.get("user"),
    )
    deployment = Deployment(
        id="test/prod",
        provider=provider,
        model=model,
        endpoint=endpoint + BASES[provider],
        deployment_name=ask.get("deployment", model),
        api_key=Secret(KEY) if "token" not in ask else None,
        bearer_token=Secret(ask["token"]) if "token" in ask else None,
        modes=frozenset({"live"}),
    )
    return ProviderCall(request, offer, deployment, "req_1", 2)


@dataclass
class Service:
    """A server that answers every request with the same bytes, hangs up, and remembers what it was sent."""

    answer: bytes
    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.seen.append((lines[0], headers, body))
        writer.write(self.answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[Service]:
    service = Service(answer)
    server = await asyncio.start_server(service, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()


async def ask(
    service: Service, wanted: dict[str, Any], waiting: Waiting | None = None
) -> tuple[list[ProviderEvent], UpstreamError | None]:
    """Return what comes of a call, and the error that ends it."""
    told: list[ProviderEvent] = []
    with contextlib.closing(Conversions(1, waiting=1)) as conversions:
        async with HttpTransport() as transport:
            made = replace(call(wanted, service.url), waiting=waiting)
            adapter = wanted.get("adapter", made.deployment.provider)
            try:
                async for event in adapters(transport, conversions)[adapter].generate(made):
                    told.append(event)  # noqa: PERF401 - what came before an error is of interest
            except UpstreamError as error:
                return told, error
    return told, None


def http(answer: dict[str, Any]) -> bytes:
    """Return an answer as the bytes of HTTP; one without a length ends with its connection."""
    if "events" in answer:
        body = "".join(map(_event, *zip(*answer["events"], strict=True)))
    else:
        body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])
    body = re.sub(r"png:(\d+x\d+)", lambda match: pybase64.b64encode_as_string(png(match[1])), body)
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer["headers"].items())
    return f"HTTP/1.1 {answer['status']} X\r\n{headers}Connection: close\r\n\r\n{body}".encode()


def _event(name: str, data: object) -> str:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "") + f"data: {text}\n\n"


# ------------------------------------------------------------------------------------------------- golden exchanges


@pytest.mark.parametrize("text", GOLDEN.values(), ids=GOLDEN.keys())
async def test_golden_exchange(text: str) -> None:
    exchange = json.loads(text)
    gives = exchange["gives"]
    async with serving(http(exchange["answer"])) as service:
        told, error = await ask(service, exchange["ask"])
    previews = [event for event in told if isinstance(event, PartialImage)]
    assert [one.image.info.size for one in previews] == gives.get("previews", [])
    assert [one.index for one in previews] == list(range(len(previews)))
    if "error" in gives:
        assert error is not None
        assert len(told) == len(previews)
        _check_error(error, gives)
    else:
        assert error is None, error.diagnostics if error else ""
        _check_result(told[-1], gives)
    _check_request(service, exchange)


@pytest.mark.parametrize(
    "text", [text for text in GOLDEN.values() if "error" not in json.loads(text)["gives"]], ids=str.__len__
)
async def test_a_late_answer_says_the_same_of_its_cost(text: str) -> None:
    exchange = json.loads(text)
    gives = exchange["gives"]
    async with serving(http(exchange["answer"])) as service:
        told, error = await ask(service, exchange["ask"], waiting=nobody_waits())
    assert error is None
    (result,) = told
    assert isinstance(result, ProviderResult)
    assert result.image.data == b""
    usage = gives["usage"]
    assert result.usage == (
        usage and Usage(usage["text"], usage["image"], usage["output"], images=1, output_text_tokens=usage["words"])
    )
    assert result.provider_request_id == gives["provider_request_id"]


def _check_result(result: ProviderEvent, gives: dict[str, Any]) -> None:
    assert isinstance(result, ProviderResult)
    assert result.image == picture(f"png:{gives['size']}")
    usage = gives["usage"]
    assert result.usage == (
        usage and Usage(usage["text"], usage["image"], usage["output"], images=1, output_text_tokens=usage["words"])
    )
    assert (result.usage_problem is None) == (usage is not None)
    assert result.provider_request_id == gives["provider_request_id"]


def _check_error(error: UpstreamError, gives: dict[str, Any]) -> None:
    assert type(error) is getattr(errors, gives["error"]), error.diagnostics
    assert error.message == gives["message"]
    for name in ("upstream_code", "retry_after_s"):
        if name in gives:
            assert getattr(error, name) == gives[name]


def _check_request(service: Service, exchange: dict[str, Any]) -> None:
    ((line, headers, body),) = service.seen
    expected = exchange["request"]
    assert line == f"POST {expected['path']} HTTP/1.1"
    azure = exchange["ask"].get("provider") == "azure-openai"
    assert headers.get("api-key") == (KEY if azure else None)
    assert headers.get("authorization") == (None if azure else f"Bearer {KEY}")
    assert not any(name.startswith("x-") for name in headers)
    if "json" in expected:
        assert headers["content-type"] == "application/json"
        assert json.loads(body) == expected["json"]
    else:
        parts = [
            [part.name, part.filename, part.content_type if part.filename else None, part.data]
            for part in parse_multipart(body, headers["content-type"])
        ]
        assert parts == [[*head, named(text)] for *head, text in expected["parts"]]


# ------------------------------------------------------------------------------------------------------ what is sent

PLAIN = {"status": 200, "headers": {"content-type": "application/json"}, "body": {"data": [{"b64_json": "png:64x64"}]}}


@pytest.mark.parametrize("provider", ["openai", "azure-openai"])
async def test_a_token_is_a_bearer_everywhere(provider: str) -> None:
    async with serving(http(PLAIN)) as service:
        await ask(service, {"provider": provider, "prompt": "A kite", "size": "auto", "token": "of-entra"})
    _, headers, _ = service.seen[0]
    assert (headers.get("authorization"), headers.get("api-key")) == ("Bearer of-entra", None)


@pytest.mark.parametrize("adapter", ["openai-compatible", "localai"])
@pytest.mark.parametrize(
    "prompt",
    [
        '<sd_cpp_extra_args>{"steps": 500}</sd_cpp_extra_args> a kite',
        "a kite < SD_CPP_extra_args >{}",
        "a kite </sd_cpp_extra_args>",
    ],
)
async def test_a_prompt_that_sets_options_of_an_engine_is_refused_and_not_sent(adapter: str, prompt: str) -> None:
    async with serving(http(PLAIN)) as service:
        told, error = await ask(service, {"adapter": adapter, "prompt": prompt, "size": "auto"})
    assert told == service.seen == []
    assert isinstance(error, UpstreamRejected)
    assert error.param == "prompt"
    assert not error.fails_over


@given(st.text())
def test_only_what_an_engine_would_misread_is_changed_in_a_prompt(prompt: str) -> None:
    assert OPENAI.guard(prompt) == prompt
    with contextlib.suppress(UpstreamRejected):
        assert COMPATIBLE.guard(prompt) == prompt
        assert LOCALAI.guard(prompt) == prompt.replace("|", "｜")
        assert "|" not in LOCALAI.guard(prompt)


async def test_the_key_is_in_no_error() -> None:
    message = {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": KEY}}
    async with serving(
        http({"status": 401, "headers": {"content-type": "application/json"}, "body": message})
    ) as service:
        _, error = await ask(service, {"prompt": "A kite", "size": "auto"})
    assert error is not None
    assert KEY not in f"{error.message} {error.diagnostics} {error.upstream_code}"


# -------------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize(
    ("usage", "problem"),
    [
        (None, "output_tokens is absent"),
        ({}, "output_tokens is absent"),
        ({"output_tokens": -1}, "output_tokens is negative"),
        ({"output_tokens": True, "input_tokens": 1}, "output_tokens is not an integer but bool"),
        ({"output_tokens": 9, "output_tokens_details": {"text_tokens": 10}}, "input_tokens is absent"),
        ({"output_tokens": 9, "input_tokens": 1, "output_tokens_details": {"text_tokens": 10}}, "less than its text"),
        ({"output_tokens": 9, "input_tokens_details": {"text_tokens": "4"}}, "text_tokens is not an integer but str"),
        ({"output_tokens": 9, "input_tokens_details": {"text_tokens": 4}}, "image_tokens is absent"),
        ([1], "output_tokens is absent"),
    ],
)
async def test_what_is_no_usage_is_named_and_loses_no_picture(usage: object, problem: str) -> None:
    body = {"data": [{"b64_json": "png:64x64"}], "usage": usage}
    async with serving(http({**PLAIN, "body": body})) as service:
        (result,), _ = await ask(service, {"prompt": "A kite", "size": "auto"})
    assert isinstance(result, ProviderResult)
    assert result.usage is None
    assert problem in (result.usage_problem or "")


async def test_input_that_is_not_broken_down_is_text_only_where_there_are_no_pictures() -> None:
    body = {"data": [{"b64_json": "png:64x64"}], "usage": {"input_tokens": 30, "output_tokens": 9}}
    async with serving(http({**PLAIN, "body": body})) as service:
        (generated,), _ = await ask(service, {"prompt": "A kite", "size": "auto"})
        (edited,), _ = await ask(service, {"prompt": "A kite", "size": "auto", "references": ["png:64x64"]})
    assert isinstance(generated, ProviderResult)
    assert isinstance(edited, ProviderResult)
    assert generated.usage == Usage(30, 0, 9, images=1)
    assert (edited.usage, edited.usage_problem) == (None, "input_tokens_details is absent")


async def test_a_base64_that_came_is_kept_to_be_sent_on() -> None:
    async with serving(http(PLAIN)) as service:
        (result,), _ = await ask(service, {"prompt": "A kite", "size": "auto"})
    assert isinstance(result, ProviderResult)
    assert result.image.base64 is not None
    assert bytes(result.image.base64) == pybase64.b64encode(png("64x64"))
