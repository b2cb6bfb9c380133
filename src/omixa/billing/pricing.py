"""From usage to money: pure functions on integers, exact until one rounding at the end.

Line items are exact pico-USD at list price and add up to `Charge.exact_pico_usd`, also an integer. A markup is kept beside
that sum instead of being folded into it, because a sum times parts per million need not be whole; the charge is the exact
product, rounded once by the rule of the price list. So usage, price list and markup give the same charge for ever.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from omixa.domain.images import PIXELS_PER_TOKEN, Image, ImageInfo, ImageRequest, Usage
from omixa.domain.models import Offer, PriceComponent, PriceList, UsageBounds
from omixa.domain.money import MAX_AMOUNT_MICRO_USD, PPM

# A count above this is not usage but a mistake: two thousand times what a picture with sixteen references can use.
MAX_COUNT = 10**8
# Exact prices are stored as signed 64-bit integers.
MAX_EXACT_PICO_USD = 2**63 - 1
# A discount cannot take more than the whole price; a markup above a hundredfold is a slip of the pen.
MIN_MARKUP_PPM = -PPM
MAX_MARKUP_PPM = 100 * PPM


@dataclass(frozen=True, slots=True)
class Terms:
    """At which prices a request is charged: settled at its hold, on this UTC day, whatever changes before its capture."""

    day: datetime.date
    prices: PriceList
    markup_ppm: int


class LineItem(NamedTuple):
    """One line of a receipt: `quantity` units at a price that reads `usd` for each `per` units, before any markup."""

    component: str
    quantity: int
    unit_price_pico_usd: int
    usd: str
    per: int
    amount_pico_usd: int


@dataclass(frozen=True, slots=True)
class Charge:
    """A rated usage. `exact_pico_usd` is the sum of the items, `amount_micro_usd` that sum with the markup, rounded once.

    `fallback` says that the price list's flat price was used for at least one picture whose usage was only estimated.
    """

    items: tuple[LineItem, ...]
    exact_pico_usd: int
    markup_ppm: int
    amount_micro_usd: int
    fallback: bool


def rate(usages: Sequence[Usage], prices: PriceList, *, markup_ppm: int = 0) -> Charge:
    """Return the price of what the pictures of a request used, one usage each: every one by its own rule, rounded once.

    A reported usage costs its components, an estimated one the fallback price alone. A line item counts all pictures to which
    its component applies. What the gateway did besides costs the extras. `markup_ppm` is in parts per million, a discount below
    zero. Raises ValueError for counts below zero or above MAX_COUNT, for a markup outside -100 % to 10,000 %, for a price that
    does not fit in 64 bits, and for what the list has no price for.
    """
    reported = [usage for usage in usages if not usage.estimated]
    estimated = [usage for usage in usages if usage.estimated]
    items = [_line_item(component, reported) for component in prices.components] if reported else []
    if estimated:
        items.append(_line_item(prices.fallback, estimated))
    items += _extras(usages, prices)
    return _charge(tuple(items), prices, markup_ppm, bool(estimated))


def _extras(usages: Sequence[Usage], prices: PriceList) -> list[LineItem]:
    items = [_line_item(extra, usages) for extra in prices.extras]
    if sum([item.quantity for item in items]) < sum([usage.cutouts for usage in usages]):
        raise ValueError(f"{prices.version} has no price for taking backgrounds away")
    return [item for item in items if item.quantity]


def price_ceiling(
    prices: PriceList,
    bounds: UsageBounds,
    *,
    prompt_bytes: int,
    context_window_tokens: int,
    input_images: Sequence[ImageInfo],
    n: int,
    cutouts: int = 0,
    markup_ppm: int = 0,
) -> Charge:
    """Return the highest charge that `rate` can give for up to n pictures within the bounds, each estimated or not.

    Prices are not negative, so a price list is monotone in every count and its highest price is that of the highest counts.
    A text token is at least one byte of UTF-8, and each picture reads the prompt and all references anew. Pictures are added,
    so no mixture of the two rules is dearer than the dearer rule for all. `cutouts` is how many backgrounds of each picture the
    gateway takes away.
    """
    worst = Usage(
        input_text_tokens=min(prompt_bytes, context_window_tokens),
        input_image_tokens=len(input_images) * bounds.input_image_tokens_max,
        output_image_tokens=bounds.output_image_tokens_max,
        output_text_tokens=bounds.output_text_tokens_max,
        images=1,
        cutouts=cutouts,
    )
    flat = Usage(images=1, estimated=True, cutouts=cutouts)
    charges = (rate([usage] * n, prices, markup_ppm=markup_ppm) for usage in (worst, flat))
    return max(charges, key=lambda charge: charge.amount_micro_usd)


def estimate_usage(request: ImageRequest, bounds: UsageBounds, offer: Offer, picture: Image | None = None) -> Usage:
    """Return what one picture of a request presumably used, for a provider that reports nothing.

    Text is the gateway's own count, a reference one token for each 32 x 32 pixels within the bounds. The output is the same
    for `picture` as the provider made it or, when none arrived, for the size that it was asked to paint.
    """
    native = offer.sizes[request.size]
    references = (_tiles(image.info) for image in request.input_images)
    return Usage(
        input_text_tokens=request.prompt_tokens,
        input_image_tokens=sum(
            min(max(tokens, bounds.input_image_tokens_min), bounds.input_image_tokens_max) for tokens in references
        ),
        # A count that goes by the size that was asked for is the same whatever arrived.
        output_image_tokens=_tiles(picture.info) if picture and native.tokens is None else native.output_tokens,
        images=1,
        estimated=True,
    )


def usage_of_refusal(estimate: Usage, offer: Offer) -> Usage:
    """Return what a provider bills of a picture that its content filter refused, from an estimate of the whole picture."""
    if offer.charges_on_refusal == "nothing":
        return Usage()
    if offer.charges_on_refusal == "input":
        return replace(estimate, output_image_tokens=0, images=0, estimated=False)
    return replace(estimate, estimated=False)


def _tiles(picture: ImageInfo) -> int:
    return picture.pixels // PIXELS_PER_TOKEN


def _line_item(component: PriceComponent, usages: Sequence[Usage]) -> LineItem:
    quantity = 0
    for usage in usages:
        # index() refuses a float that slipped in from a provider's answer.
        count = operator.index(getattr(usage, component.counts))
        if not 0 <= count <= MAX_COUNT:
            raise ValueError(f"{component.counts} is {count}: a count is from 0 to {MAX_COUNT}")
        quantity += count
    price = component.unit_price_pico_usd
    return LineItem(component.name, quantity, price, component.usd, component.per, quantity * price)


def _charge(items: tuple[LineItem, ...], prices: PriceList, markup_ppm: int, fallback: bool) -> Charge:
    if not MIN_MARKUP_PPM <= markup_ppm <= MAX_MARKUP_PPM:
        raise ValueError(f"a markup of {markup_ppm} ppm is outside {MIN_MARKUP_PPM} to {MAX_MARKUP_PPM}")
    exact_pico_usd = sum([item.amount_pico_usd for item in items])
    amount_micro_usd = prices.rounding.charge(exact_pico_usd, markup_ppm=markup_ppm)
    if exact_pico_usd > MAX_EXACT_PICO_USD or amount_micro_usd > MAX_AMOUNT_MICRO_USD:
        raise ValueError("the price is too large to be stored")
    return Charge(items, exact_pico_usd, markup_ppm, amount_micro_usd, fallback)
