"""fal.ai's queue: hand a job in, ask after it, collect what it gave, fetch the picture from fal's own hosts.

Source: the inference API, the queue's pages and the page of each model. The addresses of a job are used as they came: they hold
less than the model's path. A job that is completed can still have failed; how is known when its answer is collected. fal tells no
usage.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from omixa.domain.images import Image, ImageFormat
from omixa.engines.conversions import Conversions
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.client import USUAL_PACE, Client, Pace, decoded
from omixa.providers.pictures import acceptable, check_picture, data_url, native_format, tiles_used
from omixa.providers.wire import Transport, WireResponse

_RUNNING: Final = frozenset({"IN_QUEUE", "IN_PROGRESS"})
_EVERY: Final[tuple[ImageFormat, ...]] = ("png", "jpeg", "webp")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """A model at fal: its path, the one for edits, what its input is, which formats it makes, and whether sizes are exact.

    `counts` says that its tokens are what others report of the model, so that pictures must not stand for them.
    """

    path: str
    edits: str
    fields: Callable[[ProviderCall, ImageFormat, Sequence[str]], Mapping[str, object]]
    formats: tuple[ImageFormat, ...]
    exact: bool = False
    counts: bool = False


class _Queued(msgspec.Struct):
    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


class _Status(msgspec.Struct):
    status: str


class _File(msgspec.Struct):
    url: str


class _Output(msgspec.Struct):
    images: list[_File] = []
    image: _File | None = None


_QUEUED = msgspec.json.Decoder(_Queued)
_STATUS = msgspec.json.Decoder(_Status)
_OUTPUT = msgspec.json.Decoder(_Output)


class FalProvider:
    """Makes pictures through the queue."""

    def __init__(self, transport: Transport, conversions: Conversions, pace: Pace = USUAL_PACE) -> None:
        self._transport = transport
        self._pace = pace
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        endpoint = _ENDPOINTS[call.offer.model]
        client = Client(self._transport, call, header="authorization", scheme="Key ", pace=self._pace)
        references = [await acceptable(image, call, self._conversions) for image in call.request.input_images]
        wanted = native_format(call, endpoint.formats)
        body = await asyncio.to_thread(_body, endpoint, call, wanted, references)
        path = endpoint.edits if references else endpoint.path
        response = await client.submit(f"/{path}", "application/json", (body,))
        try:
            job = decoded(response, _QUEUED)
            client.took(job.request_id, response)
            await client.follow(job.status_url, _is_done, cancel=("PUT", job.cancel_url))
            response = await client.collect(job.response_url)
            data = await client.fetch(_address(decoded(response, _OUTPUT)))
            # What has no word for its format gives the one that it likes.
            formats = (wanted,) if endpoint.formats else _EVERY
            image = check_picture(data, call, *formats, exact=endpoint.exact)
        except ValueError as error:
            raise client.unusable(response, error) from error
        usage = None if endpoint.counts else tiles_used(call, image.info)
        problem = "fal reports no usage" if endpoint.counts else None
        yield ProviderResult(image, usage, client.request_id, problem)


def _body(endpoint: _Endpoint, call: ProviderCall, wanted: ImageFormat, references: Sequence[Image]) -> bytes:
    return msgspec.json.encode(endpoint.fields(call, wanted, [data_url(image) for image in references]))


def _is_done(response: WireResponse) -> bool | None:
    status = decoded(response, _STATUS).status
    if status in _RUNNING:
        return None
    if status != "COMPLETED":
        raise ValueError(f'the job has the status "{status}"')
    return True


def _address(output: _Output) -> str:
    found = output.images[0] if output.images else output.image
    if found is None:
        raise ValueError("the answer holds no picture")
    return found.url


# --------------------------------------------------------------------------------------------------------- the models


def _mai(call: ProviderCall, wanted: ImageFormat, pictures: Sequence[str]) -> Mapping[str, object]:
    ratio = "auto" if pictures and call.request.size == "auto" else call.offer.sizes[call.request.size].aspect_ratio
    given = {"image_urls": pictures} if pictures else {}
    return {"prompt": call.request.prompt, **given, "num_images": 1, "aspect_ratio": ratio, "output_format": wanted}


def _flux(call: ProviderCall, wanted: ImageFormat, pictures: Sequence[str]) -> Mapping[str, object]:
    size = call.offer.sizes[call.request.size]
    shape: object = {"width": size.width, "height": size.height}
    if pictures and call.request.size == "auto":
        shape = "auto"
    given = {"image_urls": pictures} if pictures else {}
    return {"prompt": call.request.prompt, **given, "image_size": shape, "output_format": wanted}


def _clarity(call: ProviderCall, _: ImageFormat, pictures: Sequence[str]) -> Mapping[str, object]:
    words = {"prompt": call.request.prompt} if call.request.prompt else {}
    return {"image_url": pictures[0], "upscale_factor": call.request.scale, **words}


_ENDPOINTS: Mapping[str, _Endpoint] = {
    "MAI-Image-2.5": _Endpoint(
        "microsoft/mai-image-2.5/text-to-image", "microsoft/mai-image-2.5/edit", _mai, _EVERY, counts=True
    ),
    "flux-2-pro": _Endpoint("fal-ai/flux-2-pro", "fal-ai/flux-2-pro/edit", _flux, ("png", "jpeg"), exact=True),
    "clarity-upscaler": _Endpoint("fal-ai/clarity-upscaler", "fal-ai/clarity-upscaler", _clarity, ()),
}
