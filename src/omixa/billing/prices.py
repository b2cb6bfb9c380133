"""Price lists in the database: written once, so that every charge can be computed again for ever."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import bindparam, select

from omixa.domain.models import Model, PriceList
from omixa.errors import InternalError
from omixa.storage.database import Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import price_version

_insert_version = insert_into(price_version)
_version = select(price_version.c.model, price_version.c.components_json).where(price_version.c.id == bindparam("id"))


def publish_prices(tx: Transaction, models: Iterable[Model]) -> None:
    """Write down each model's price list where it is missing. Raises InternalError when a version has another content."""
    for model in models:
        _publish(tx, model)


def _publish(tx: Transaction, model: Model) -> None:
    prices = model.prices
    known = tx.first(_version, id=prices.version)
    if known is None:
        tx.execute(
            _insert_version,
            id=prices.version,
            model=model.id,
            currency=prices.currency,
            effective_from=prices.effective_from.isoformat(),
            components_json=msgspec.json.encode(prices).decode(),
            created_at_ms=tx.now_ms(),
        )
    elif (known["model"], _decode(known["components_json"])) != (model.id, prices):
        raise InternalError(f"price version {prices.version} exists with another content; prices need a new version")


def load_prices(tx: Transaction, version: str) -> PriceList:
    """Return the price list of a version. Raises InternalError when there is none."""
    row = tx.first(_version, id=version)
    if row is None:
        raise InternalError(f"there is no price version {version}")
    return _decode(row["components_json"])


def _decode(components_json: str) -> PriceList:
    return msgspec.json.decode(components_json, type=PriceList)
