"""FLUX.2 by Black Forest Labs: their own API, where a picture is a job that is asked after, and Microsoft Foundry's.

Source: the API references of both. At Black Forest Labs the path is the model, a refusal is a status of the job and comes with
HTTP 200, and the picture lies for ten minutes on a host that must not see the key. Foundry usually answers at once, with the
picture in base64; its documentation also allows for an address, and for a job.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import msgspec
import pybase64

from omixa.domain.images import ImageFormat
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamJobFailed
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.client import USUAL_PACE, Client, Pace, decoded
from omixa.providers.pictures import acceptable, check_picture, native_format, tiles_used
from omixa.providers.wire import Transport, WireResponse

_FORMATS: Final[tuple[ImageFormat, ...]] = ("png", "jpeg")
_CREDITS: Final = re.compile(rb"([0-9]{1,6})(?:\.([0-9]{1,10}))?")
_PICO_PER_CREDIT: Final = 10**10
_FOUNDRY_PATH: Final = "/providers/blackforestlabs/v1/{model}?api-version=preview"
# As Foundry's catalogue calls them; a deployment of another name is called by that.
_FOUNDRY_NAMES: Mapping[str, str] = {"flux-2-pro": "FLUX.2-pro", "flux-2-flex": "FLUX.2-flex"}


class _Datum(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Reply(msgspec.Struct):
    """An answer of either service: of a job, of its end, or of the picture itself."""

    id: str | None = None
    polling_url: str | None = None
    data: list[_Datum] = []
    cost: msgspec.Raw = msgspec.Raw(b"null")


class _Sample(msgspec.Struct):
    sample: str


class _Job(msgspec.Struct):
    status: str
    result: _Sample | None = None
    details: Any = None


_REPLY = msgspec.json.Decoder(_Reply)
_JOB = msgspec.json.Decoder(_Job)


class FluxProvider:
    """Paints at Black Forest Labs."""

    def __init__(self, transport: Transport, conversions: Conversions, pace: Pace = USUAL_PACE) -> None:
        self._transport = transport
        self._pace = pace
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        client = Client(self._transport, call, header="x-key", pace=self._pace)
        body = await _body(call, self._conversions, {})
        yield await _picture(client, call, f"/v1/{call.deployment.deployment_name}", body)


class FoundryFluxProvider:
    """Paints on Microsoft Foundry."""

    def __init__(self, transport: Transport, conversions: Conversions, pace: Pace = USUAL_PACE) -> None:
        self._transport = transport
        self._pace = pace
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        model, name = call.offer.model, call.deployment.deployment_name
        client = Client(self._transport, call, header="authorization", scheme="Bearer ", pace=self._pace)
        called = _FOUNDRY_NAMES.get(model, model) if name == model else name
        body = await _body(call, self._conversions, {"model": called, "num_images": 1})
        yield await _picture(client, call, _FOUNDRY_PATH.format(model=model), body)


# ------------------------------------------------------------------------------------------------------- the request


async def _body(call: ProviderCall, conversions: Conversions, first: Mapping[str, object]) -> bytes:
    """Return the fields of a picture. Without a size an edit has the shape of its first reference."""
    references = [await acceptable(image, call, conversions) for image in call.request.input_images]
    fields: dict[str, object] = {**first, "prompt": call.request.prompt}
    if not (references and call.request.size == "auto"):
        size = call.offer.sizes[call.request.size]
        fields |= {"width": size.width, "height": size.height}
    fields["output_format"] = native_format(call, _FORMATS)

    def encode() -> bytes:
        for number, image in enumerate(references, 1):
            name = "input_image" if number == 1 else f"input_image_{number}"
            fields[name] = pybase64.b64encode_as_string(image.data)
        return msgspec.json.encode(fields)

    return await asyncio.to_thread(encode) if references else encode()


# -------------------------------------------------------------------------------------------------------- the answer


async def _picture(client: Client, call: ProviderCall, path: str, body: bytes) -> ProviderResult:
    response = await client.submit(path, "application/json", (body,))
    try:
        reply = await asyncio.to_thread(decoded, response, _REPLY)
        client.took(reply.id, response)
        data = await _data(client, reply)
        image = check_picture(data, call, native_format(call, _FORMATS))
    except ValueError as error:
        raise client.unusable(response, error) from error
    cost = _pico_usd(bytes(reply.cost))
    return ProviderResult(image, tiles_used(call, image.info), client.request_id, cost_pico_usd=cost)


def _pico_usd(credits: bytes) -> int | None:
    """Return what a job costs, which is told in credits of a cent as a JSON number; None where that is no sensible one."""
    match = _CREDITS.fullmatch(credits)
    return None if match is None else int(match[1]) * _PICO_PER_CREDIT + int((match[2] or b"").ljust(10, b"0"))


async def _data(client: Client, reply: _Reply) -> bytes:
    """Return the picture that an answer holds, or that it says where to find."""
    first = reply.data[0] if reply.data else _Datum()
    if first.b64_json is not None:
        return await asyncio.to_thread(pybase64.b64decode, first.b64_json, validate=True)
    if first.url is not None:
        return await client.fetch(first.url)
    if reply.polling_url is None:
        raise ValueError("the answer holds neither a picture nor a job")
    return await client.fetch(await client.follow(reply.polling_url, _sample))


def _sample(response: WireResponse) -> str | None:
    """Return where the picture of a job lies, None while it is being made. Raises UpstreamJobFailed, ValueError."""
    job = decoded(response, _JOB)
    if job.status == "Pending":
        return None
    if job.status == "Error":
        raise UpstreamJobFailed("The provider failed to make the picture.", diagnostics=f"Error {job.details or ''}")
    if job.status != "Ready" or job.result is None:
        # Moderation too, which whoever reads the answer recognises by its name.
        raise ValueError(f'the job has the status "{job.status}"')
    return job.result.sample
