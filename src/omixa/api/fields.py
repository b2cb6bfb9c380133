"""Small JSON bodies: read within bounds, and every field held against the shape that the API document shows."""

from __future__ import annotations

import datetime
import re
from typing import Any, TypeVar

import msgspec
from msgspec import UnsetType

from omixa.api.exchange import Exchange
from omixa.api.intake import JSON
from omixa.api.shapes import Shape
from omixa.billing.budgets import Period
from omixa.catalogue.bodies import Body, parse_body
from omixa.domain.money import parse_usd
from omixa.domain.times import end_of
from omixa.errors import (
    InvalidRequest,
    OmixaError,
    Overloaded,
    RequestTimeout,
    TooLarge,
    UnsupportedMediaType,
)
from omixa.services import Services

S = TypeVar("S", bound=Shape)

MAX_BODY_BYTES = 16 * 1024

# What reading a body can raise.
OF_BODIES: tuple[type[OmixaError], ...] = (InvalidRequest, RequestTimeout, TooLarge, UnsupportedMediaType, Overloaded)

_PLACE = re.compile(r" - at `\$\.(\w+)[^`]*`$")
_MISSING = re.compile(r"^Object missing required field `(\w+)`$")


async def read_fields(exchange: Exchange, services: Services, kind: type[S], *, most_bytes: int = MAX_BODY_BYTES) -> S:
    """Return a body. Raises InvalidRequest, which names the field, for what its shape does not have, or what OF_BODIES names."""
    exchange.require_media_type(JSON)
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=most_bytes, timeout_s=services.settings.body_timeout_s, lease=lease)
        return _held_against(kind, parse_body(body))


def _held_against(kind: type[S], body: Body) -> S:
    known = kind.__struct_fields__
    for name in body.fields:
        if name not in known:
            raise InvalidRequest(
                f'There is no field "{name[:80]}"; this takes {", ".join(known)}.',
                code="unknown_parameter",
                param=name[:80],
            )
    values = {name: _storable(name, body.value(name)) for name in body.fields}
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        text = str(error)
    missing = _MISSING.fullmatch(text)
    if missing is not None:
        raise InvalidRequest(f"{missing[1]} is missing.", code="missing_required_parameter", param=missing[1])
    place = _PLACE.search(text)
    assert place is not None, "every other mistake has a place"
    name, said = place[1], text[: place.start()]
    if said.startswith("Invalid enum value"):
        said = f"expected one of {', '.join(_choices(_schema(kind)[name]))}"
    elif "date" in said and not said.startswith("Expected"):
        said = "expected a day such as 2026-11-23"
    # What was given is not repeated: it may be a secret.
    raise InvalidRequest(
        f"{name}: {said[0].lower()}{said[1:]}.", code="invalid_type" if "`, got `" in said else None, param=name
    )


def _schema(kind: type[Shape]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind])
    properties: dict[str, Any] = components[kind.__name__]["properties"]
    return properties


def _choices(schema: object) -> list[str]:
    """Return the words that a schema lists, wherever in it."""
    if isinstance(schema, dict):
        own = [str(one) for one in schema.get("enum", ())]
        return own or [word for inner in schema.values() for word in _choices(inner)]
    return [word for inner in schema for word in _choices(inner)] if isinstance(schema, list) else []


def _storable(name: str, value: object) -> object:
    """Return a value. Raises InvalidRequest for a text with the character that no database keeps."""
    if isinstance(value, str) and "\0" in value:
        raise InvalidRequest(f"{name} has the character U+0000, which no text may have.", param=name)
    if isinstance(value, list):
        for one in value:
            _storable(name, one)
    return value


def read_usd(text: str, name: str) -> int:
    """Return an amount of US dollars in micro-USD. Raises InvalidRequest, which names the field, for what is none."""
    try:
        return parse_usd(text)
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}", param=name) from error


def read_budgets(day: str | UnsetType | None, month: str | UnsetType | None) -> dict[Period, int | None]:
    """Return the budgets that are given, in micro-USD, None for none. Raises InvalidRequest, which names the field."""
    given: dict[Period, str | UnsetType | None] = {"day": day, "month": month}
    return {
        period: None if text is None else read_usd(text, f"budget_{period}")
        for period, text in given.items()
        if not isinstance(text, UnsetType)
    }


def read_last_day(day: datetime.date | None) -> int | None:
    """Return when a day has ended, in Unix milliseconds. Raises InvalidRequest for one that is too far away."""
    try:
        return None if day is None else end_of(day)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("expires: that day is too far away.", param="expires") from error
