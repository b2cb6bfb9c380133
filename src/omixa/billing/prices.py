"""Price lists in the database: written once, so that every charge can be computed again for ever."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, select

from omixa.domain.models import Model, PriceList
from omixa.domain.times import utc_date
from omixa.errors import InternalError, PublishedPriceChanged
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import price_version

_insert_version = insert_into(price_version)
_version = select(price_version).where(price_version.c.id == bindparam("id"))
_versions = select(price_version).order_by(price_version.c.model, price_version.c.effective_from, price_version.c.id)
_last_of_day = (
    select(price_version.c.id)
    .where(price_version.c.model == bindparam("model"), price_version.c.effective_from == bindparam("day"))
    .order_by(price_version.c.created_at_ms.desc())
)


@dataclass(frozen=True, slots=True)
class PublishedPrices:
    """A price list as it was published for a model."""

    model: str
    prices: PriceList
    published_at_ms: int


def publish_prices(tx: Transaction, models: Iterable[Model]) -> None:
    """Write down the price lists of models where they are missing.

    Raises PublishedPriceChanged when a list differs from what was published: under the same id ever, or for the same day once
    that has begun. Until then a list may still be corrected.
    """
    today = utc_date(tx.now_ms())
    for model in models:
        for prices in model.price_lists:
            _publish(tx, model.id, prices, today)


def _publish(tx: Transaction, model: str, prices: PriceList, today: datetime.date) -> None:
    known = tx.first(_version, id=prices.version)
    if known is not None:
        if (known["model"], _decode(known["components_json"])) != (model, prices):
            raise PublishedPriceChanged(
                f"price version {prices.version} was published with another content. What was published never changes:"
                " restore it, and add a price list with a later effective_from"
            )
        return
    day = prices.effective_from.isoformat()
    other = tx.first(_last_of_day, model=model, day=day)
    if other is not None and prices.effective_from <= today:
        raise PublishedPriceChanged(
            f"the price list of {model} from {day} was published as {other['id']} and is now {prices.version}. What was"
            " published and has begun never changes: restore it, and add a price list with a later effective_from"
        )
    tx.execute(
        _insert_version,
        id=prices.version,
        model=model,
        currency=prices.currency,
        effective_from=day,
        components_json=msgspec.json.encode(prices).decode(),
        created_at_ms=tx.now_ms(),
    )


def load_prices(tx: Transaction, version: str) -> PriceList:
    """Return the price list of a version. Raises InternalError when there is none."""
    found = find_prices(tx, version)
    if found is None:
        raise InternalError(f"there is no price version {version}")
    return found.prices


def find_prices(tx: Transaction, version: str) -> PublishedPrices | None:
    """Return a published version and whose it is, or None."""
    row = tx.first(_version, id=version)
    return None if row is None else _published(row)


def list_prices(tx: Transaction) -> list[PublishedPrices]:
    """Return all that was ever published, by model and day."""
    return [_published(row) for row in tx.all(_versions)]


def _published(row: Row) -> PublishedPrices:
    return PublishedPrices(row["model"], _decode(row["components_json"]), row["created_at_ms"])


def _decode(components_json: str) -> PriceList:
    return msgspec.json.decode(components_json, type=PriceList)
