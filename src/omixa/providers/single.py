"""What providers share that answer one request with one picture: an adapter says only what is written and what is read."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence

from omixa.domain.images import Image
from omixa.engines.conversions import Conversions
from omixa.providers.answers import aside
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.failures import failed_answer, unusable_answer
from omixa.providers.pictures import acceptable
from omixa.providers.wire import Timeouts, Transport, WireRequest, WireResponse


def post(
    call: ProviderCall,
    path: str,
    content_type: str,
    body_parts: Sequence[bytes | memoryview],
    *,
    key_header: str | None = None,
    accept: str = "application/json",
) -> WireRequest:
    """Return a request to a deployment. Its key stands in `key_header`, where that is given, else it is sent as a bearer."""
    headers = {"content-type": content_type, "accept": accept, **call.simulator_headers}
    if key_header is not None and call.deployment.api_key is not None:
        headers[key_header] = call.deployment.api_key.reveal()
    elif call.credential is not None:
        headers["authorization"] = f"Bearer {call.credential}"
    return WireRequest(call.deployment.endpoint.rstrip("/") + path, headers, body_parts)


def limits(call: ProviderCall) -> Timeouts:
    """Return how long the exchange of a call may take that brings its picture."""
    offer = call.offer
    return Timeouts(first_byte_s=offer.first_byte_timeout_s, total_s=offer.total_timeout_s, waiting=call.waiting)


class SingleExchange(ABC):
    """Sends one request for each picture; large ones are written and read aside."""

    def __init__(self, transport: Transport, conversions: Conversions) -> None:
        self._transport = transport
        self._conversions = conversions

    @abstractmethod
    def write(self, call: ProviderCall, references: Sequence[Image]) -> WireRequest:
        """Return the request; the references are in formats that the offer takes. Raises an UpstreamError."""

    @abstractmethod
    def read(self, response: WireResponse, call: ProviderCall) -> ProviderResult:
        """Return the picture of a 200. Raises ValueError when there is none, or an UpstreamError that knows why."""

    def secret(self, call: ProviderCall) -> str | None:
        """Return what diagnostics must not repeat."""
        return call.credential

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        references = [await acceptable(image, call, self._conversions) for image in call.request.input_images]
        request = await aside(sum(len(one.data) for one in references), functools.partial(self.write, call, references))
        response = await self._transport.send(request, limits(call))
        yield await aside(len(response.body), functools.partial(self._result, response, call))

    def _result(self, response: WireResponse, call: ProviderCall) -> ProviderResult:
        if response.status != 200:
            raise failed_answer(response, secret=self.secret(call))
        try:
            return self.read(response, call)
        except (ValueError, RecursionError) as error:
            raise unusable_answer(response, str(error), secret=self.secret(call)) from error
