"""Reference pictures in a request: every form that clients write, and what is wrong with the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from omixa.catalogue.bodies import Body, shortened
from omixa.catalogue.checks import MAX_INPUT_IMAGES
from omixa.domain.images import Image
from omixa.domain.models import Model, Parameter
from omixa.errors import InvalidRequest
from omixa.imaging.dataurl import load_input_image
from omixa.imaging.inspect import UnacceptableImage

FORM = '{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}'

_ERROR_PLACE = re.compile(r" - at `\$(.*)`$")


class _Address(msgspec.Struct, forbid_unknown_fields=True):
    url: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    image_url: _Address | str
    type: Literal["image_url"] = "image_url"


_ITEMS = msgspec.json.Decoder(list[_Item | str])


def read_pictures(parameter: Parameter, body: Body, model: Model) -> tuple[Image, ...]:
    """Return the pictures of a field, each checked from its header. Raises InvalidRequest that names the picture at fault."""
    addresses = _addresses(parameter.name, body)
    _check_number(parameter, len(addresses), model)
    return tuple(
        _read(address, f"{parameter.name}[{position}]", body.pictures) for position, address in enumerate(addresses)
    )


def _addresses(name: str, body: Body) -> list[str]:
    try:
        items = _ITEMS.decode(body.fields[name])
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} is not valid UTF-8.", code="invalid_json", param=name) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong_form(name, str(error)) from None
    return [_address(item) for item in items]


def _address(item: _Item | str) -> str:
    if isinstance(item, str):
        return item
    return item.image_url if isinstance(item.image_url, str) else item.image_url.url


def _wrong_form(name: str, reason: str) -> InvalidRequest:
    place = _ERROR_PLACE.search(reason)
    param = name + (place[1] if place else "")
    reason = reason[: place.start()] if place else reason
    return InvalidRequest(
        f"{name} must be an array of pictures such as {FORM}. At {param}: {shortened(reason)}.",
        code="unknown_parameter" if "unknown field" in reason else "invalid_type",
        param=param,
    )


def _check_number(parameter: Parameter, number: int, model: Model) -> None:
    # The file's own maximum is never above MAX_INPUT_IMAGES; the smaller of both is what counts.
    most = min(parameter.maximum or MAX_INPUT_IMAGES, MAX_INPUT_IMAGES)
    if number > most:
        raise InvalidRequest(
            f"{parameter.name} has {number} pictures; {model.id} takes at most {most}.", param=parameter.name
        )


def _read(address: str, param: str, pictures: Mapping[str, memoryview]) -> Image:
    try:
        return load_input_image(pictures.get(address, address))
    except UnacceptableImage as error:
        raise InvalidRequest(f"{param}: {error.message}.", code=error.reason_code, param=param) from None
