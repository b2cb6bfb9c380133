"""GET /docs/models/{id}/cost: what pictures cost, for the calculator on a model's page. Nobody has to sign in for it."""

from __future__ import annotations

import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from omixa.api.exchange import Exchange
from omixa.api.queries import Query, parse_query
from omixa.domain.money import format_usd
from omixa.errors import InvalidRequest, NoPrice
from omixa.web.models import Seller, expected_charge, short_usd

MAX_PICTURES = 1_000_000


class CostQuery(Query):
    """How many pictures of which size, by prompts of which length."""

    size: Annotated[str, Meta(description="One of the sizes that the model accepts.")] = "auto"
    pictures: Annotated[int, Meta(ge=1, le=MAX_PICTURES, description="How many, each by a request of its own.")] = 1
    prompt_tokens: Annotated[int, Meta(ge=1, le=1_000_000, description="The length of each prompt.")] = 1


class Cost(msgspec.Struct):
    """The answer. Amounts are US dollars at list price, without the markup or discount of a workspace."""

    pictures: int
    each: str
    amount: str
    shown: str
    price_version: str


def cost(exchange: Exchange, seller: Seller, day: datetime.date) -> Cost:
    """Return the price of pictures. Raises InvalidRequest, or NoPrice where no price list is in force."""
    query = parse_query(exchange, CostQuery)
    if query.size not in seller.offer.sizes:
        raise InvalidRequest(f"size must be one of {', '.join(seller.offer.sizes)}.", param="size")
    if query.prompt_tokens > seller.model.context_window_tokens:
        raise InvalidRequest(
            f"prompt_tokens must be at most {seller.model.context_window_tokens}.", param="prompt_tokens"
        )
    prices = seller.model.prices_on(day)
    if prices is None:
        raise NoPrice(f"{seller.model.id} has no price in force.")
    charge = expected_charge(seller, prices, day, size=query.size, prompt_tokens=query.prompt_tokens)
    if charge is None:
        raise InvalidRequest(f"What a picture of {seller.model.id} costs is not known before it is made.", param="size")
    # Each picture is a request, and each request is rounded by itself.
    amount = charge.amount_micro_usd * query.pictures
    return Cost(
        pictures=query.pictures,
        each=format_usd(charge.amount_micro_usd),
        amount=format_usd(amount),
        shown=short_usd(amount),
        price_version=prices.version,
    )
