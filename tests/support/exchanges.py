"""Exchanges with a provider over real sockets: a server that answers always the same, and what a call makes of that."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pybase64
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image as Pictures

from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.images import Image, ImageRequest
from omixa.domain.models import Deployment
from omixa.engines.conversions import Conversions
from omixa.imaging.inspect import inspect
from omixa.providers.adapters import adapters
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.transport import HttpTransport

KEY = "AKIDOFOPERATOR:secret-of-the-operator-0123456789"
CATALOGUE = load_catalogue()
# What stands before the paths of a provider.
PREFIXES = {"gemini": "/v1beta", "openrouter": "/api/v1", "bedrock": ""}

_PICTURE = re.compile(r"(png|jpeg|webp):(\d+x\d+)")


@cache
def encoded(name: str) -> bytes:
    """Return a picture of one colour, named by its format and size such as png:64x64."""
    found = _PICTURE.fullmatch(name)
    assert found is not None, name
    width, height = map(int, found[2].split("x"))
    buffer = io.BytesIO()
    Pictures.new("RGB", (width, height), "teal").save(buffer, found[1].upper())
    return buffer.getvalue()


def picture(name: str) -> Image:
    return Image(encoded(name), inspect(encoded(name)))


def with_pictures(text: str) -> str:
    """Return a text with the base64 of each picture in the place of its name."""
    return _PICTURE.sub(lambda name: pybase64.b64encode_as_string(encoded(name[0])), text)


def call(provider: str, model: str, *references: Image, size: str = "auto", **changed: Any) -> ProviderCall:
    """Return a call of a model at a provider; what is `changed` belongs to the request, or to the deployment."""
    offer = CATALOGUE.offer(provider, model)
    request = ImageRequest(
        model=offer.model,
        prompt="A red kite",
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
    deployment = Deployment(
        id=f"{provider}/prod",
        provider=provider,
        model=offer.model,
        endpoint="",
        deployment_name=offer.name,
        api_key=Secret(KEY),
        bearer_token=None,
        modes=frozenset({"live"}),
    )
    of_request = {name: value for name, value in changed.items() if hasattr(request, name)}
    of_deployment = {name: value for name, value in changed.items() if name not in of_request}
    return ProviderCall(replace(request, **of_request), offer, replace(deployment, **of_deployment), "req_1", 2)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Peer:
    """A provider that answers always the same. `endpoint` is its address while it listens."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    body: Any = None
    seen: list[Seen] = field(default_factory=list)
    endpoint: str = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Peer]:
        """Answer on a port of this machine."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", self._answer)
        async with TestServer(application, host="127.0.0.1") as server:
            self.endpoint = str(server.make_url("")).rstrip("/")
            yield self

    async def _answer(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.raw_path, headers, await request.read()))
        body = self.body if isinstance(self.body, bytes) else with_pictures(json.dumps(self.body)).encode()
        return web.Response(status=self.status, headers=self.headers, body=body)


async def ask(peer: Peer, wanted: ProviderCall) -> ProviderResult:
    """Return what a call gives with such a provider. Raises what the adapter raises."""
    provider = wanted.deployment.provider
    with contextlib.closing(Conversions(1, waiting=16)) as conversions:
        async with peer.listening(), HttpTransport() as http:
            deployment = replace(wanted.deployment, endpoint=peer.endpoint + PREFIXES[provider])
            adapter = adapters(http, conversions)[CATALOGUE.providers[provider].adapter]
            events = [event async for event in adapter.generate(replace(wanted, deployment=deployment))]
    (result,) = events
    assert isinstance(result, ProviderResult)
    return result
