"""What is charged, for operators: every published price list with its standing, and what other lists would change."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omixa.billing.prices import list_prices
from omixa.billing.rerating import PriceComparison, compare_prices
from omixa.catalogue.loader import Catalogue, CatalogueError, read_candidate
from omixa.domain.access import Mode
from omixa.domain.models import Model, PriceList
from omixa.domain.times import month_after, start_of
from omixa.errors import InvalidRequest
from omixa.storage.database import Transaction

Standing = Literal["in force", "to come", "over", "withdrawn"]


@dataclass(frozen=True, slots=True)
class PublishedList:
    """A price list that was published for a model, and where it stands on a day."""

    model: str
    prices: PriceList
    standing: Standing


@dataclass(frozen=True, slots=True)
class PriceDifference:
    """What a month's usage costs at the lists in force and at others. `changed` are those others, by model."""

    month: datetime.date
    changed: Mapping[str, PriceList]
    rows: Sequence[PriceComparison]

    @property
    def difference_micro_usd(self) -> int:
        """Return how much more the others cost, below zero less."""
        return sum(row.difference_micro_usd for row in self.rows)


def read_candidate_text(text: str, directory: Path | None) -> Model:
    """Return the model of a file's text that is in no catalogue yet. Raises InvalidRequest.

    It may take parameters from a catalogue's directory, by default from the catalogue that comes with Omixa.
    """
    if not text.strip():
        raise InvalidRequest("Put the text of a model file into the field.", param="file")
    try:
        model = read_candidate(text.encode(errors="replace"), directory)
    except CatalogueError as error:
        raise InvalidRequest(str(error), param="file") from error
    if not model.price_lists:
        raise InvalidRequest("The model of this file has no price list.", param="file")
    return model


def published_lists(tx: Transaction, catalogue: Catalogue, today: datetime.date) -> list[PublishedList]:
    """Return every price list that was ever published, by model and day."""
    return [
        PublishedList(one.model, one.prices, _standing(one.prices, catalogue.models.get(one.model.lower()), today))
        for one in list_prices(tx)
    ]


def _standing(prices: PriceList, model: Model | None, today: datetime.date) -> Standing:
    if model is None or all(known.version != prices.version for known in model.price_lists):
        return "withdrawn"
    if prices.effective_from > today:
        return "to come"
    current = model.prices_on(today)
    return "in force" if current is not None and current.version == prices.version else "over"


def changed_lists(catalogue: Catalogue, candidates: Iterable[Model], today: datetime.date) -> dict[str, PriceList]:
    """Return the newest price lists of models, where they are not the ones in force."""
    in_force = lists_in_force(catalogue, today)
    newest = {model.id: model.price_lists[-1] for model in candidates if model.price_lists}
    return {model: prices for model, prices in newest.items() if prices != in_force.get(model)}


def lists_in_force(catalogue: Catalogue, today: datetime.date) -> dict[str, PriceList]:
    """Return the price list of each model on a day, without those that have none."""
    lists = {model.id: model.prices_on(today) for model in catalogue.models.values()}
    return {model: prices for model, prices in lists.items() if prices is not None}


def price_difference(
    tx: Transaction,
    catalogue: Catalogue,
    candidates: Iterable[Model],
    *,
    today: datetime.date,
    month: datetime.date,
    mode: Mode,
) -> PriceDifference:
    """Rate the usage of a month by the newest lists of models and by those in force. Nothing is written.

    Each workspace keeps the markup that it was charged with. All usage of the month is read where a list has changed.
    """
    changed = changed_lists(catalogue, candidates, today)
    if not changed:
        return PriceDifference(month, changed, ())
    rows = compare_prices(
        tx,
        lists_in_force(catalogue, today),
        changed,
        mode=mode,
        since_ms=start_of(month),
        until_ms=start_of(month_after(month)),
    )
    return PriceDifference(month, changed, rows)
