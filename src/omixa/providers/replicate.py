"""Replicate's official models: a prediction that is waited for up to a minute, and asked after from then on.

Source: the pages on predictions, rate limits and error codes. A failure is a status of the prediction; that content was refused
is known by its words alone. Files are deleted after an hour and lie on a host that must not see the token.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from omixa.domain.images import ImageFormat
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamJobFailed
from omixa.providers.base import ProviderCall, ProviderEvent, ProviderResult
from omixa.providers.client import USUAL_PACE, Client, Pace, decoded
from omixa.providers.pictures import acceptable, check_picture, data_url, native_format, tiles_used
from omixa.providers.wire import MAX_DIAGNOSTICS, Method, Transport, WireResponse

_FORMATS: Final[tuple[ImageFormat, ...]] = ("png", "jpeg", "webp")
_NAMES: Mapping[ImageFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
_RUNNING: Final = frozenset({"starting", "processing"})
_REFUSES: Final = re.compile(r"\bnsfw\b|\bflagged\b|\bsensitive\b|content polic|\bmoderat", re.IGNORECASE)
# The longest that Replicate holds a request open.
_WAIT: Final = "wait=60"


class _Urls(msgspec.Struct):
    get: str
    cancel: str | None = None


class _Prediction(msgspec.Struct):
    id: str
    status: str
    urls: _Urls
    output: Any = None
    error: str | None = None


_PREDICTION = msgspec.json.Decoder(_Prediction)


class ReplicateProvider:
    """Makes pictures by predictions."""

    def __init__(self, transport: Transport, conversions: Conversions, pace: Pace = USUAL_PACE) -> None:
        self._transport = transport
        self._pace = pace
        self._conversions = conversions

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails."""
        name, fields = _MODELS[call.offer.model]
        client = Client(self._transport, call, header="authorization", scheme="Bearer ", pace=self._pace)
        references = [await acceptable(image, call, self._conversions) for image in call.request.input_images]
        wanted = native_format(call, _FORMATS)

        def body() -> bytes:
            return msgspec.json.encode({"input": fields(call, wanted, [data_url(image) for image in references])})

        encoded = await asyncio.to_thread(body)
        response = await client.submit(
            f"/v1/models/{name}/predictions", "application/json", (encoded,), {"prefer": _WAIT}
        )
        try:
            first = decoded(response, _PREDICTION)
            client.took(first.id, response)
            address = await self._finished(first, response, client)
            image = check_picture(await client.fetch(address), call, wanted)
        except ValueError as error:
            raise client.unusable(response, error) from error
        yield ProviderResult(image, tiles_used(call, image.info), client.request_id)

    async def _finished(self, first: _Prediction, response: WireResponse, client: Client) -> str:
        """Return where the picture is, once it is made."""
        done = _result(first, client, response)
        if done is not None:
            return done
        cancel: tuple[Method, str] | None = ("POST", first.urls.cancel) if first.urls.cancel else None

        def read(response: WireResponse) -> str | None:
            return _result(decoded(response, _PREDICTION), client, response)

        return await client.follow(first.urls.get, read, cancel=cancel)


def _result(prediction: _Prediction, client: Client, response: WireResponse) -> str | None:
    """Return where the picture is, None while it is being made. Raises UpstreamRefused, UpstreamJobFailed, ValueError."""
    if prediction.status in _RUNNING:
        return None
    if prediction.status == "succeeded":
        return _address(prediction.output)
    said = prediction.error or ""
    if prediction.status == "failed" and _REFUSES.search(said):
        raise client.refused(response, "flagged")
    if prediction.status in ("failed", "canceled", "aborted"):
        diagnostics = f"{prediction.status} {said}"[:MAX_DIAGNOSTICS]
        raise UpstreamJobFailed(
            "The provider failed to make the picture.",
            provider_request_id=client.request_id,
            diagnostics=diagnostics,
        )
    raise ValueError(f'the prediction has the status "{prediction.status}"')


def _address(output: object) -> str:
    """Return the address of the first file, in whichever shape a model gives it."""
    match output[0] if isinstance(output, list) and output else output:
        case str() as url:
            return url
        case {"url": str() as url}:
            return url
    raise ValueError("the prediction holds no picture")


# --------------------------------------------------------------------------------------------------------- the models


def _flux(call: ProviderCall, wanted: ImageFormat, pictures: Sequence[str]) -> Mapping[str, object]:
    size = call.offer.sizes[call.request.size]
    shape: dict[str, object] = {"aspect_ratio": "custom", "width": size.width, "height": size.height}
    if pictures and call.request.size == "auto":
        shape = {"aspect_ratio": "match_input_image", "resolution": "match_input_image"}
    given = {"input_images": pictures} if pictures else {}
    return {"prompt": call.request.prompt, **given, **shape, "output_format": _NAMES[wanted]}


_MODELS: Mapping[str, tuple[str, Callable[[ProviderCall, ImageFormat, Sequence[str]], Mapping[str, object]]]] = {
    "flux-2-pro": ("black-forest-labs/flux-2-pro", _flux),
}
