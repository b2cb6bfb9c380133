"""A provider on loopback that says what a test tells it to, one answer for each request, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from PIL import Image as Pictures

from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.images import Image, ImageRequest
from omixa.domain.models import Deployment
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamTimeout
from omixa.imaging.inspect import inspect
from omixa.providers.base import Provider, ProviderCall, ProviderResult
from omixa.providers.client import Pace
from omixa.providers.fal import FalProvider
from omixa.providers.flux import FluxProvider, FoundryFluxProvider
from omixa.providers.late import Waiting
from omixa.providers.replicate import ReplicateProvider
from omixa.providers.stability import StabilityProvider
from omixa.providers.wire import Transport

KEY = "key-of-the-operator-0123456789"
PROMPT = "A red kite"
# A job is asked after at once, so that no test waits.
HASTE = Pace(first_s=0.001, most_s=0.002)
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """What is said. In a text HERE stands for the provider's own address. A `cut` one ends after half of its body."""

    status: int = 200
    body: str | bytes | Mapping[str, Any] = ""
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    cut: bool = False
    silent: bool = False


@dataclass(frozen=True)
class Asked:
    """What was asked. Names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Wire:
    """The provider: its address, what it says and what it was asked."""

    answers: list[Answer]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, number: int) -> None:
        """Wait for so many requests."""
        while len(self.asked) < number:
            self.arrived.clear()
            await self.arrived.wait()

    def text(self, answer: Answer) -> bytes:
        body = answer.body
        if isinstance(body, Mapping):
            body = json.dumps(body)
        return body if isinstance(body, bytes) else body.replace("HERE", self.url).encode()


@asynccontextmanager
async def speaking(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """Run the provider. The last answer is repeated."""
    wire = Wire(list(answers))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                wire.asked.append(Asked(method, path, headers, body))
                answer = wire.answers.pop(0) if len(wire.answers) > 1 else wire.answers[0]
                wire.arrived.set()
                if answer.silent:
                    await reader.read()
                    return
                await _say(writer, answer, wire)
                if answer.cut:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    wire.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()


async def _say(writer: asyncio.StreamWriter, answer: Answer, wire: Wire) -> None:
    body = wire.text(answer)
    headers = {name: value.replace("HERE", wire.url) for name, value in answer.headers.items()}
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"content-length: {len(body)}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    writer.write(body[: len(body) // 2] if answer.cut else body)
    await writer.drain()


# ------------------------------------------------------------------------------------------------------------ pictures


@cache
def png(size: str) -> bytes:
    """Return a PNG of one colour; of a huge one only the head, which is enough to refuse it."""
    width, height = map(int, size.split("x"))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height if height < 9000 else 1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (b"IHDR", b"IDAT", b"IEND"), (header, rows, b"")))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def encoded(name: str, size: str) -> bytes:
    """Return a picture of one colour in a format of Pillow's."""
    width, height = map(int, size.split("x"))
    buffer = io.BytesIO()
    Pictures.new("RGB", (width, height), "teal").save(buffer, name)
    return buffer.getvalue()


def picture(data: bytes) -> Image:
    return Image(data, inspect(data))


def shown(size: str) -> Answer:
    """Return the answer that is a PNG."""
    return Answer(200, png(size), {"content-type": "image/png"})


# ------------------------------------------------------------------------------------------------------------- adapters

ADAPTERS: Mapping[str, Callable[[Transport, Conversions], Provider]] = {
    "fal": lambda transport, conversions: FalProvider(transport, conversions, HASTE),
    "flux": lambda transport, conversions: FluxProvider(transport, conversions, HASTE),
    "foundry-flux": lambda transport, conversions: FoundryFluxProvider(transport, conversions, HASTE),
    "replicate": lambda transport, conversions: ReplicateProvider(transport, conversions, HASTE),
    "stability": StabilityProvider,
}


def call(
    provider: str,
    model: str,
    endpoint: str,
    *references: Image,
    deployment_name: str = "",
    offer: Mapping[str, Any] | None = None,
    **fields: Any,
) -> ProviderCall:
    """Return a call of a provider's offer. `fields` are those of the request, `offer` what the offer says differently."""
    from dataclasses import replace

    values: dict[str, Any] = {
        "model": model,
        "prompt": PROMPT,
        "prompt_tokens": 4,
        "n": 1,
        "size": "auto",
        "quality": "auto",
        "background": "auto",
        "output_format": "png",
        "output_compression": None,
        "input_images": references,
        "stream": False,
        "partial_images": 0,
        "given": frozenset(),
    }
    deployment = Deployment(
        id=f"{provider}/prod",
        provider=provider,
        model=model,
        endpoint=endpoint,
        deployment_name=deployment_name or model,
        api_key=Secret(KEY),
        bearer_token=None,
        modes=frozenset({"live"}),
    )
    found = replace(load_catalogue().offer(provider, model), **(offer or {}))
    return ProviderCall(ImageRequest(**(values | fields)), found, deployment, "req_1", 2)


def nobody_waits() -> Waiting:
    """Return what says that a call was given up and is listened to."""
    waiting = Waiting(lambda _: True)
    assert waiting.give_up(UpstreamTimeout("The provider did not answer in time."))
    return waiting


async def ask(transport: Transport, wanted: ProviderCall, conversions: Conversions) -> ProviderResult:
    """Return what the adapter makes of a call."""
    adapter = ADAPTERS[wanted.deployment.provider](transport, conversions)
    events = [event async for event in adapter.generate(wanted)]
    assert len(events) == 1
    assert isinstance(events[0], ProviderResult)
    return events[0]


def paths(asked: Sequence[Asked]) -> list[str]:
    """Return the methods and paths that were asked for."""
    return [f"{one.method} {one.path}" for one in asked]
