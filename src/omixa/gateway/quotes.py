"""What a request costs at most and, where that can be known before, what it costs."""

from __future__ import annotations

import dataclasses
import datetime

from omixa.billing.pricing import Charge, Terms, estimate_usage, price_ceiling, rate
from omixa.domain.access import Principal
from omixa.domain.images import ImageRequest
from omixa.domain.models import Model, Offer
from omixa.domain.money import format_usd
from omixa.errors import NoPrice, PriceAboveCap

CAP_HEADER = "Omixa-Max-Cost"


def terms(principal: Principal, model: Model, day: datetime.date) -> Terms:
    """Return at which prices a request is held on a day. Raises NoPrice when the model has none in force."""
    prices = model.prices_on(day)
    if prices is None:
        raise NoPrice(f"{model.id} has no price in force, so it cannot be called. Nothing was held or sent.")
    return Terms(day, prices, principal.markup_ppm)


def ceiling(request: ImageRequest, model: Model, terms: Terms) -> Charge:
    """Return the highest charge that a request can reach: what is held for it."""
    return price_ceiling(
        terms.prices,
        model.bounds.at(request.quality),
        prompt_bytes=len(request.prompt.encode()),
        context_window_tokens=model.context_window_tokens,
        input_images=[image.info for image in request.input_images],
        n=request.n,
        cutouts=cutouts(request, model),
        markup_ppm=terms.markup_ppm,
    )


def cutouts(request: ImageRequest, model: Model) -> int:
    """Return how many backgrounds the gateway takes away for each picture of a request: one or none."""
    return 1 if model.cuts_out(request.background) else 0


def expected(request: ImageRequest, model: Model, offer: Offer, terms: Terms) -> Charge | None:
    """Return the charge when all pictures arrive and the provider counts as the gateway does; None where that is not known.

    A new picture has the size that is asked for. An edit has its reference's shape, which the provider chooses, and some models
    use as many tokens as they need; so where tokens have a price, nothing but a ceiling can be told before.
    """
    counts_tokens = any(component.counts != "images" for component in terms.prices.components)
    if counts_tokens and (request.operation == "edit" or not model.counts_by_size):
        return None
    estimate = estimate_usage(request, model.bounds, offer)
    usage = dataclasses.replace(estimate, estimated=False, cutouts=cutouts(request, model))
    return rate([usage] * request.n, terms.prices, markup_ppm=terms.markup_ppm)


def require_within(cap_micro_usd: int | None, highest: Charge) -> None:
    """Raise PriceAboveCap when a request can cost more than its caller allows; None allows any price."""
    if cap_micro_usd is not None and highest.amount_micro_usd > cap_micro_usd:
        raise PriceAboveCap(
            f"This request can cost up to ${format_usd(highest.amount_micro_usd)}, more than the"
            f" ${format_usd(cap_micro_usd)} that {CAP_HEADER} allows. Nothing was held or sent."
            " Ask for less, or allow more.",
            param=CAP_HEADER,
        )
