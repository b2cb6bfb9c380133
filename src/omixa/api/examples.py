"""Examples for the API document, made by the code that makes real answers: they cannot differ from what is sent."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import msgspec

from omixa.api.rendering import completed_event, render_answer
from omixa.billing.pricing import Terms, estimate_usage, rate
from omixa.catalogue.checks import CARRIED, CARRIED_BY_SOME
from omixa.catalogue.loader import Catalogue
from omixa.domain.access import Principal
from omixa.domain.images import Image, ImageInfo, ImageRequest, Usage
from omixa.domain.models import Deployment, Model, Offer, PriceList
from omixa.domain.times import utc_date
from omixa.gateway import quotes
from omixa.gateway.attempts import AttemptLog, Delivery
from omixa.gateway.receipt import build_envelope
from omixa.gateway.run import Answer, Run
from omixa.usage.records import EndedAttempt

REQUEST_ID = "req_01kc7m9e5x2v8q4t6w0y3z1b9d"
CREATED = 1_795_442_709
# The smallest PNG stands for every picture.
PNG_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
# Of the example prompt of MAI-Image-2.5 and of one picture of 1024x1024.
PROMPT_TOKENS = 15
IMAGE_TOKENS = 1024
_SIDE = 1024


def example_request(model: Model) -> dict[str, Any]:
    """Return a request with a reference picture, where the model takes one."""
    if not model.takes_pictures:
        return dict(model.example)
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG_BASE64}"}}
    return {**model.example, "input_images": [picture]}


def example_edit(model: Model) -> dict[str, Any]:
    """Return a request of the edit route as JSON."""
    return {**model.example, "images": [{"image_url": f"data:image/png;base64,{PNG_BASE64}"}]}


def example_answer(catalogue: Catalogue) -> dict[str, Any]:
    """Return the answer to the example request of the first model."""
    return _json(_edit_of_first(catalogue))


def example_stream(catalogue: Catalogue) -> str:
    """Return the same answer as server-sent events."""
    return ": keep-alive\n\n" + b"".join(completed_event(_edit_of_first(catalogue), 0)).decode()


def example_generation(model: Model, offer: Offer, prices: PriceList, prompt_tokens: int) -> dict[str, Any]:
    """Return the answer to a model's example request, as it is without a reference picture where the model can do without."""
    request = plain_request(model, prompt_tokens)
    usage = replace(estimate_usage(request, model.bounds, offer), estimated=False)
    native = offer.sizes[request.size]
    width, height = map(int, request.size.split("x")) if "x" in request.size else (native.width, native.height)
    picture = Image(
        base64.b64decode(PNG_BASE64), ImageInfo(request.output_format, width, height, 1_500_000, has_alpha=False)
    )
    return _json(_answer(model, offer, prices, request, usage, picture))


def plain_request(model: Model, prompt_tokens: int) -> ImageRequest:
    """Return a model's example as a checked request; it has a picture only where the model needs one."""
    if model.needs_pictures:
        return _request(model, (_reference(),), prompt_tokens, frozenset(example_request(model)))
    return _request(model, (), prompt_tokens, frozenset(model.example))


def _reference() -> Image:
    return Image(base64.b64decode(PNG_BASE64), ImageInfo("png", _SIDE, _SIDE, 1_500_000, has_alpha=False))


def _json(answer: Answer) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.json.decode(b"".join(render_answer(answer)[1]))
    return values


def _edit_of_first(catalogue: Catalogue) -> Answer:
    model = min((model for model in catalogue.models.values() if model.price_lists), key=lambda model: model.id)
    offer = catalogue.seller(model)
    assert offer is not None, "what has a price is sold by somebody"
    reference = _reference()
    request = _request(model, (reference,), PROMPT_TOKENS, frozenset(example_request(model)))
    usage = Usage(PROMPT_TOKENS, IMAGE_TOKENS, IMAGE_TOKENS, images=1)
    return _answer(model, offer, model.price_lists[-1], request, usage, reference)


def _answer(
    model: Model, offer: Offer, prices: PriceList, request: ImageRequest, usage: Usage, picture: Image
) -> Answer:
    terms = Terms(utc_date(CREATED * 1000), prices, markup_ppm=0)
    charge = rate([usage] * request.n, prices)
    principal = Principal("ws_…", "default", "acc_…", "key_…", "live", None)
    background = "transparent" if request.background == "transparent" else "opaque"
    delivery = replace(_delivery(model, offer, usage, picture), background=background)
    calls = AttemptLog(REQUEST_ID)
    for index in range(request.n):
        started = calls.start(delivery.deployment, index)
        calls.end(EndedAttempt(started.id, "ok", None, 200, None, None, usage, 0, "reported"))
    envelope = build_envelope(
        Run(REQUEST_ID, principal, request, model.id, terms),
        model,
        CREATED,
        charge,
        charge.amount_micro_usd,
        quotes.ceiling(request, model, terms).amount_micro_usd,
        [delivery] * request.n,
        [],
        calls,
    )
    return Answer(REQUEST_ID, envelope, (delivery.image,) * request.n)


def _request(model: Model, references: tuple[Image, ...], prompt_tokens: int, given: frozenset[str]) -> ImageRequest:
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in model.parameters}
    values |= model.example
    return ImageRequest(
        **{name: values[name] for name in CARRIED.keys() - {"input_images"}},
        **{name: values[name] for name in CARRIED_BY_SOME if name in values},
        prompt_tokens=prompt_tokens,
        input_images=references,
        given=given,
    )


def _delivery(model: Model, offer: Offer, usage: Usage, image: Image) -> Delivery:
    deployment = Deployment(
        id=f"{offer.provider}/{model.id}",
        provider=offer.provider,
        model=model.id,
        endpoint="https://…",
        deployment_name=model.id,
        api_key=None,
        bearer_token=None,
        modes=frozenset({"live"}),
    )
    return Delivery(image, usage, deployment, offer, emulated=(), provenance="none")
