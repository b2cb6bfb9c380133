"""Reference pictures in a request: every form that clients write, and what is wrong with the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from omixa.catalogue.bodies import Body, Upload, shortened
from omixa.catalogue.checks import MAX_INPUT_IMAGES
from omixa.domain.images import Image
from omixa.domain.models import Model, Parameter
from omixa.errors import InvalidRequest
from omixa.imaging.dataurl import load_input_image
from omixa.imaging.declared import load_file
from omixa.imaging.inspect import NAMES, UnacceptableImage, format_of

FORM = '{"type": "image_url", "image_url": {"url": "data:image/png;base64,…"}}'

T = TypeVar("T")

_ERROR_PLACE = re.compile(r" - at `\$(.*)`$")


class _Address(msgspec.Struct, forbid_unknown_fields=True):
    url: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    image_url: _Address | str | msgspec.UnsetType = msgspec.UNSET
    file_id: str | msgspec.UnsetType = msgspec.UNSET
    type: Literal["image_url"] = "image_url"


_ITEM = msgspec.json.Decoder(_Item | str)
_ITEMS = msgspec.json.Decoder(list[_Item | str])


def read_pictures(parameter: Parameter, body: Body, model: Model) -> tuple[Image, ...]:
    """Return the pictures of a field, each checked from its header. Raises InvalidRequest that names the picture at fault."""
    name = parameter.name
    sources: Sequence[str | Upload] = body.files[name] if name in body.files else _addresses(name, body)
    _check_number(parameter, len(sources), model)
    fields = picture_fields(name, body, len(sources))
    pictures = tuple(_read(source, field, body.pictures) for source, field in zip(sources, fields, strict=True))
    for picture, field in zip(pictures, fields, strict=True):
        _check_pixels(parameter, picture, field, model)
    return pictures


def picture_fields(name: str, body: Body, number: int) -> list[str]:
    """Return the place in the body of each of so many pictures of a field."""
    # A form says that there are several by repeating the field; one that stands alone has no number.
    if number == 1 and body.textual:
        return [name]
    return [f"{name}[{position}]" for position in range(number)]


def read_mask(parameter: Parameter, body: Body, model: Model, pictures: Sequence[Image]) -> Image:
    """Return the mask of an edit, checked from its header against the first picture. Raises InvalidRequest.

    Whether any of its pixels is transparent is known only to a decoder.
    """
    name = parameter.name
    if not pictures:
        edited = next(one.name for one in model.parameters if one.type == "images")
        raise InvalidRequest(f"{name} needs the picture that it belongs to: give it in {edited}.", param=name)
    source = body.files[name][0] if name in body.files else _sole_address(name, body)
    mask = _read(source, name, body.pictures)
    # By its bytes: the info of what is to be decoded names what it will be.
    found = format_of(mask.data)
    if found != "png":
        raise InvalidRequest(
            f"{name} must be a PNG, transparent where the edit may change something; this is a {NAMES[found]}.",
            code="unsupported_image_format",
            param=name,
        )
    if not mask.info.has_alpha:
        raise InvalidRequest(
            f"{name} has no alpha channel; an edit changes only what is fully transparent in it.",
            code="mask_without_alpha",
            param=name,
        )
    if mask.info.size != pictures[0].info.size:
        raise InvalidRequest(
            f"{name} is {mask.info.size}, and the first picture is {pictures[0].info.size} as it is shown; both must be equally"
            " large.",
            code="mask_size_mismatch",
            param=name,
        )
    return mask


def _addresses(name: str, body: Body) -> list[str]:
    items = _decoded(_ITEMS, name, body)
    return [_address(item, name, f"[{position}]") for position, item in enumerate(items)]


def _sole_address(name: str, body: Body) -> str:
    return _address(_decoded(_ITEM, name, body), name)


def _decoded(decoder: msgspec.json.Decoder[T], name: str, body: Body) -> T:
    if body.textual:
        raise InvalidRequest(
            f'{name} must be a file: give its part a file name, as in filename="picture.png"; cURL takes {name}=@picture.png.',
            code="invalid_type",
            param=name,
        )
    try:
        return decoder.decode(body.fields[name])
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} is not valid UTF-8.", code="invalid_json", param=name) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _wrong_form(name, str(error), several=decoder is _ITEMS) from None


def _address(item: _Item | str, name: str, place: str = "") -> str:
    if isinstance(item, str):
        return item
    if item.file_id is not msgspec.UNSET:
        raise InvalidRequest(
            f"{name}{place}.file_id is not supported: Omixa keeps no files, so there are no ids of them."
            " Send the picture as a data URL in image_url.",
            code="unsupported_value",
            param=f"{name}{place}.file_id",
        )
    if item.image_url is msgspec.UNSET:
        missing = f"Object missing required field `image_url` - at `${place}`"
        raise _wrong_form(name, missing, several=bool(place))
    return item.image_url if isinstance(item.image_url, str) else item.image_url.url


def _wrong_form(name: str, reason: str, *, several: bool) -> InvalidRequest:
    place = _ERROR_PLACE.search(reason)
    param = name + (place[1] if place else "")
    reason = reason[: place.start()] if place else reason
    return InvalidRequest(
        f"{name} must be {'an array of pictures' if several else 'a picture'} such as {FORM}. At {param}: {shortened(reason)}.",
        code="unknown_parameter" if "unknown field" in reason else "invalid_type",
        param=param,
    )


def _check_number(parameter: Parameter, number: int, model: Model) -> None:
    # The file's own maximum is never above MAX_INPUT_IMAGES; the smaller of both is what counts.
    most = min(parameter.maximum or MAX_INPUT_IMAGES, MAX_INPUT_IMAGES)
    least = parameter.minimum or 0
    if least <= number <= most:
        return
    raise InvalidRequest(
        f"{parameter.name} has {number} pictures; {model.id} takes at "
        + (f"most {most}." if number > most else f"least {least}."),
        param=parameter.name,
    )


def _check_pixels(parameter: Parameter, picture: Image, field: str, model: Model) -> None:
    pixels = picture.info.width * picture.info.height
    if parameter.max_pixels is not None and pixels > parameter.max_pixels:
        raise InvalidRequest(
            f"{field}: the picture is {picture.info.size}, {pixels:,} pixels; {model.id} takes at most"
            f" {parameter.max_pixels:,}.",
            code="image_too_large",
            param=field,
        )


def _read(source: str | Upload, param: str, pictures: Mapping[str, memoryview]) -> Image:
    try:
        if isinstance(source, Upload):
            return load_file(source.data, source.media_type)
        return load_input_image(pictures.get(source, source))
    except UnacceptableImage as error:
        raise InvalidRequest(f"{param}: {error.message}.", code=error.reason_code, param=param) from None
