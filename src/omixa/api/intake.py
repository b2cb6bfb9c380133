"""A request for pictures as it comes in: its body, checked against the model, and the price that its caller allows.

Making pictures and estimating their price begin here, so that both accept and refuse the same requests in the same words.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from omixa.api.exchange import Exchange
from omixa.api.forms import FORM, FormReader
from omixa.api.models import allowed_model
from omixa.api.repeats import body_digest, fingerprint, idempotency_key
from omixa.catalogue.edits import EditField, as_edit
from omixa.catalogue.pictures import picture_fields
from omixa.catalogue.validation import Body, parse_body, requested_model, validate
from omixa.domain.images import ImageRequest
from omixa.domain.models import Model
from omixa.domain.money import parse_usd
from omixa.domain.scenarios import Scenario, parse_scenario, split_prompt
from omixa.errors import InvalidRequest
from omixa.gateway.quotes import CAP_HEADER
from omixa.gateway.rehearsals import SIMULATE_HEADER, SIMULATE_MAX_CHARACTERS
from omixa.limits.bodies import ByteLease
from omixa.services import Services

# Bodies over this size are checked in a thread, so that a large picture or a long prompt does not hold up other requests.
INLINE_BODY_BYTES = 64 * 1024

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Asked:
    """A checked request, its model, the name by which the model was called, and the most that it may cost, if that is said.

    `picture_fields` are the places of its pictures in the body, for `gateway/preparing.py`. `fingerprint` is the same for every
    request that asks for the same, and None where no repeat could be known for one. `rehearsal` is a scenario to play, and what
    names the request for it.
    """

    request: ImageRequest
    picture_fields: Sequence[str]
    model: Model
    requested_model: str
    cap_micro_usd: int | None
    fingerprint: str | None
    rehearsal: tuple[Scenario, str] | None = None


Intake = Callable[[Exchange, Services, ByteLease], Awaitable[Asked]]


async def read_request(exchange: Exchange, services: Services, lease: ByteLease) -> Asked:
    """Read the body and check every field. Raises what reading a body, validation and a malformed cap can raise."""
    cap = _cap(exchange)
    exchange.require_media_type(JSON)
    return await _checked(exchange, services, await _read_json(exchange, services, lease), None, cap)


async def read_edit(exchange: Exchange, services: Services, lease: ByteLease) -> Asked:
    """Read a form, or JSON in OpenAI's words for edits, and check every field. Raises what `read_request` raises."""
    cap = _cap(exchange)
    if exchange.require_media_type(FORM, JSON) == JSON:
        return await _checked(exchange, services, await _read_json(exchange, services, lease), "images", cap)
    return await _checked(exchange, services, await _read_form(exchange, services, lease), "image", cap)


@dataclass(frozen=True, slots=True)
class _Received:
    """A body that has arrived, its length in bytes and how to read it."""

    size: int
    parse: Callable[[], Body]


async def _read_json(exchange: Exchange, services: Services, lease: ByteLease) -> _Received:
    settings = services.settings
    body = await exchange.read_body(limit=settings.max_body_bytes, timeout_s=settings.body_timeout_s, lease=lease)
    return _Received(len(body), functools.partial(parse_body, body))


async def _read_form(exchange: Exchange, services: Services, lease: ByteLease) -> _Received:
    settings = services.settings
    reader = FormReader(exchange.header(b"content-type") or "")
    size = await exchange.pass_body(
        reader.feed, limit=settings.max_body_bytes, timeout_s=settings.body_timeout_s, lease=lease
    )
    return _Received(size, reader.finish)


async def _checked(
    exchange: Exchange, services: Services, received: _Received, edited: EditField | None, cap_micro_usd: int | None
) -> Asked:
    """Check a body; `edited` is what it calls the pictures to edit, where it must have some."""
    told = _scenario(exchange)

    def check() -> Asked:
        body = received.parse()
        name = requested_model(body, services.catalogue.names_near)
        model = allowed_model(exchange, services, name)
        spelled = model if edited is None else as_edit(model, edited)
        request = validate(body, spelled, services.tokenizer)
        fields = picture_fields(edited or "input_images", body, len(request.input_images))
        return Asked(
            request,
            fields,
            model,
            name,
            cap_micro_usd,
            fingerprint(exchange, body, services.workspaces.fingerprint_key),
            _rehearsal(exchange, services, model, request.prompt, body, told),
        )

    return check() if received.size <= INLINE_BODY_BYTES else await asyncio.to_thread(check)


def _scenario(exchange: Exchange) -> Scenario | None:
    """Return the scenario that the header wants. Raises InvalidRequest for one that is none, and always with a live key."""
    text = exchange.sole_header(SIMULATE_HEADER)
    if text is None:
        return None
    if exchange.principal.mode == "live":
        raise InvalidRequest(
            f"{SIMULATE_HEADER} is for test keys (omx_test_…): failures are never rehearsed at a real provider. Leave it out.",
            param=SIMULATE_HEADER,
        )
    try:
        if len(text) > SIMULATE_MAX_CHARACTERS:
            raise ValueError(f"It must have at most {SIMULATE_MAX_CHARACTERS} characters; got {len(text)}.")
        return parse_scenario(text)
    except ValueError as error:
        raise InvalidRequest(f"{SIMULATE_HEADER}: {error}", param=SIMULATE_HEADER) from None


def _rehearsal(
    exchange: Exchange, services: Services, model: Model, prompt: str, body: Body, told: Scenario | None
) -> tuple[Scenario, str] | None:
    """Return what the header, or else the prompt, wants to be played. Raises InvalidRequest where nobody plays it."""
    mode = exchange.principal.mode
    scenario = split_prompt(prompt)[0] if told is None and mode == "test" else told
    if not scenario:
        return None
    if not any(one.is_simulated for one in services.router.configured(model, mode)):
        if told is None:
            return None
        raise InvalidRequest(
            f"{SIMULATE_HEADER} works with models that a simulator plays for test keys; {model.id} runs inside Omixa and has no"
            " provider that could fail.",
            param=SIMULATE_HEADER,
        )
    name = idempotency_key(exchange) or body_digest(exchange, body, services.workspaces.fingerprint_key)
    return scenario, f"{exchange.principal.key_id} {name}"


def _cap(exchange: Exchange) -> int | None:
    text = exchange.sole_header(CAP_HEADER)
    if text is None:
        return None
    try:
        return parse_usd(text)
    except ValueError:
        raise InvalidRequest(
            f"{CAP_HEADER} must be an amount in US dollars, digits with at most six after the point, for example 0.05;"
            f' got "{text[:40]}".',
            param=CAP_HEADER,
        ) from None
