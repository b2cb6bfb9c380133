"""The answer without its pictures: what was delivered, what it used, what it cost and how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omixa.billing.pricing import Charge, LineItem
from omixa.domain.images import ImageRequest, Usage, share_tokens
from omixa.domain.models import Model, Offer
from omixa.domain.money import PICO_PER_USD, format_usd
from omixa.errors import OmixaError
from omixa.gateway.attempts import AttemptLog, Delivery
from omixa.gateway.rehearsals import rehearsal_json
from omixa.gateway.run import Run
from omixa.usage.records import add_up


@dataclass(frozen=True, slots=True)
class Failure:
    """A picture of a request that could not be made while others could."""

    image_index: int
    error: OmixaError


def build_envelope(
    run: Run,
    model: Model,
    created: int,
    charge: Charge,
    billed_micro_usd: int,
    held_micro_usd: int,
    deliveries: Sequence[Delivery],
    failures: Sequence[Failure],
    calls: AttemptLog,
) -> dict[str, Any]:
    """Return the JSON values of an answer, without `data`. Key order is the order in which people read it.

    `usage_by_image` and `provenance` inside `omixa` say of each picture, in the order of `data`, what it used and what became of
    its Content Credentials.
    """
    first, prices = deliveries[0], run.terms.prices
    inputs = run.request.input_images
    shares = share_tokens([image.info.pixels for image in inputs], first.usage.input_image_tokens)
    usage = add_up(delivery.usage for delivery in deliveries)
    return {
        "created": created,
        "size": first.image.info.size,
        "output_format": first.image.info.format,
        "quality": run.request.quality,
        "background": first.background,
        "usage": usage_json(usage) | {"billed_amount": format_usd(billed_micro_usd)},
        "omixa": {
            "request_id": run.id,
            "mode": run.principal.mode,
            "operation": run.request.operation,
            "requested_model": run.requested_model,
            "model": model.id,
            "route": first.deployment.id,
            "provider": first.deployment.provider,
            "simulated": first.deployment.is_simulated,
            "price_version": prices.version,
            "currency": prices.currency,
            "line_items": [line_item_json(item) for item in charge.items],
            "exact_amount": format_exact(charge.exact_pico_usd),
            "markup_ppm": charge.markup_ppm,
            "rounded_to": format_usd(prices.rounding.unit_micro_usd),
            "rounding": prices.rounding.direction,
            "held_amount": format_usd(held_micro_usd),
            "billed_amount": format_usd(billed_micro_usd),
            "usage_by_image": [usage_json(delivery.usage) for delivery in deliveries],
            "input_images": [
                input_image_json(image.info.format, image.info.size, image.info.pixels, tokens)
                for image, tokens in zip(inputs, shares, strict=True)
            ],
            "attempts": calls.told(),
            "ignored_parameters": _ignored(run.request, first.offer),
            "emulated": _emulated(run.request, deliveries),
            "provenance": [delivery.provenance for delivery in deliveries],
            "failed": [
                {"image": failure.image_index, "code": failure.error.code, "message": failure.error.message}
                for failure in failures
            ],
            **_rehearsal(run, calls, billed_micro_usd),
        },
    }


def reissue_envelope(
    envelope: Mapping[str, Any], run: Run, created: int, charge: Charge, billed_micro_usd: int, held_micro_usd: int
) -> dict[str, Any]:
    """Return a parked answer as that of another request, which pays for it at its own terms."""
    prices, billed, parked = run.terms.prices, format_usd(billed_micro_usd), envelope["omixa"]
    return {
        **envelope,
        "created": created,
        "usage": {**envelope["usage"], "billed_amount": billed},
        "omixa": {
            **parked,
            "request_id": run.id,
            "parked_from": parked.get("parked_from", parked["request_id"]),
            "price_version": prices.version,
            "currency": prices.currency,
            "line_items": [line_item_json(item) for item in charge.items],
            "exact_amount": format_exact(charge.exact_pico_usd),
            "markup_ppm": charge.markup_ppm,
            "rounded_to": format_usd(prices.rounding.unit_micro_usd),
            "rounding": prices.rounding.direction,
            "held_amount": format_usd(held_micro_usd),
            "billed_amount": billed,
        },
    }


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return usage under the names of OpenAI's Images API."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"text_tokens": usage.input_text_tokens, "image_tokens": usage.input_image_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"text_tokens": usage.output_text_tokens, "image_tokens": usage.output_image_tokens},
        "total_tokens": usage.total_tokens,
        "images": usage.images,
        "usage_estimated": usage.estimated,
    }


def input_image_json(format: str, size: str, pixels: int, tokens: int) -> dict[str, Any]:
    """Return what a receipt says of a picture that was given."""
    return {"format": format, "size": size, "pixels": pixels, "tokens": tokens}


def line_item_json(item: LineItem) -> dict[str, Any]:
    """Return a line of a receipt."""
    return {
        "component": item.component,
        "quantity": item.quantity,
        "unit_price": item.usd,
        "per": item.per,
        "amount": format_exact(item.amount_pico_usd),
    }


def format_exact(pico_usd: int) -> str:
    """Return pico-USD as a decimal string with all twelve digits."""
    sign = "-" if pico_usd < 0 else ""
    whole, rest = divmod(abs(pico_usd), PICO_PER_USD)
    return f"{sign}{whole}.{rest:012d}"


def _rehearsal(run: Run, calls: AttemptLog, billed_micro_usd: int) -> dict[str, Any]:
    if run.rehearsal is None:
        return {}
    return {"rehearsal": rehearsal_json(run.rehearsal.record, len(calls.history), billed_micro_usd)}


def _ignored(request: ImageRequest, offer: Offer) -> list[str]:
    """Return what was given and changes nothing.

    A lossless picture has no use for a quality of compression, and previews have no place but a stream.
    """
    without_effect = set(offer.ignored)
    if request.output_format == "png":
        without_effect.add("output_compression")
    if not request.stream:
        without_effect.add("partial_images")
    return sorted(without_effect & request.given)


def _emulated(request: ImageRequest, deliveries: Sequence[Delivery]) -> list[Mapping[str, str]]:
    seen: dict[str, Mapping[str, str]] = {}
    for delivery in deliveries:
        for note in delivery.emulated:
            seen.setdefault(note["parameter"], note)
    if request.n > 1:
        seen["n"] = {"parameter": "n", "how": f"{request.n} calls of the provider, one picture each"}
    return list(seen.values())
