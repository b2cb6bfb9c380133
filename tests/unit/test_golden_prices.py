"""Prices that were worked out one by one, in tests/golden/prices.toml: the arithmetic is checked first, then the code."""

from __future__ import annotations

import dataclasses
import datetime
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from omixa.billing.pricing import rate
from omixa.catalogue.loader import load_catalogue
from omixa.domain.images import Usage
from omixa.domain.models import PriceComponent, PriceList, UsageField
from omixa.domain.money import PPM, Rounding, format_usd, parse_unit_price

GOLDEN = tomllib.loads((Path(__file__).parent.parent / "golden/prices.toml").read_text(encoding="utf-8"))
VECTORS: list[dict[str, Any]] = GOLDEN["vectors"]
COUNTS: tuple[UsageField, UsageField, UsageField] = ("input_text_tokens", "input_image_tokens", "output_image_tokens")
MICRO = 10**6


def _component(name: str, counts: UsageField, price: str) -> PriceComponent:
    """Return a component whose price is given in micro-USD, which is the same number as US dollars for a million."""
    return PriceComponent(name, counts, parse_unit_price(price, MICRO), price, MICRO)


def _price_list(name: str) -> PriceList:
    table = GOLDEN["lists"][name]
    return PriceList(
        version=name,
        currency="USD",
        effective_from=datetime.date(2026, 11, 1),
        components=tuple(
            _component(counts, counts, price)
            for counts, price in zip((*COUNTS, "images"), _prices(table), strict=True)
            if price != "0"
        ),
        fallback=_component("image", "images", table["image"]),
        rounding=Rounding(table["unit"], table["direction"]),
    )


def _prices(table: dict[str, Any]) -> list[str]:
    """Return the prices of the three kinds of tokens and of a picture, which most lists do not charge for as such."""
    return [*table["prices"], table.get("picture", "0")]


LISTS = {name: _price_list(name) for name in GOLDEN["lists"]}


def _work_through(vector: dict[str, Any]) -> Fraction:
    """Check a vector's own arithmetic, step by step with exact fractions, and return its price before the markup."""
    table = GOLDEN["lists"][vector["list"]]
    addition, *markup, rounding = vector["work"].split("; ")
    terms, _, stated = addition.partition(" = ")
    quantities = [sum(counts) for counts in zip(*vector["pictures"], strict=True)] or [0, 0, 0]
    prices = [*_prices(table), table["image"]]
    lines = zip([*quantities, len(vector["pictures"]), vector["estimated"]], prices, strict=True)
    assert terms == (" + ".join(f"{count}*{price}" for count, price in lines if count and price != "0") or "0")
    exact = marked_up = Fraction(stated)
    assert exact == sum(
        Fraction(count) * Fraction(price)
        for count, price in (term.split("*") for term in terms.split(" + ") if "*" in term)
    )
    if markup:
        factor, _, stated = markup[0].removeprefix("*").partition(" = ")
        assert Fraction(factor) == 1 + Fraction(vector["markup_ppm"], PPM)
        marked_up = exact * Fraction(factor)
        assert marked_up == Fraction(stated)
    assert bool(markup) == bool(vector["markup_ppm"])
    _round(marked_up, rounding, table)
    assert Fraction(rounding.partition(" = ")[2]) == Fraction(vector["billed"]) * MICRO
    return exact


def _round(price: Fraction, rounding: str, table: dict[str, Any]) -> None:
    """Check the last step: the multiple of the unit that is stated lies where its rule says."""
    rule, _, stated = rounding.partition(" = ")
    unit = table["unit"]
    assert rule == f"{'up' if table['direction'] == 'up' else 'nearest'} {unit}"
    above = Fraction(stated) - price
    assert Fraction(stated) % unit == 0
    if table["direction"] == "up":
        assert 0 <= above < unit
    elif 0 < price < unit:
        assert Fraction(stated) == unit
    else:
        assert -unit < 2 * above <= unit


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{vector['list']}: {vector['work']}" for vector in VECTORS])
def test_golden_price(vector: dict[str, Any]) -> None:
    exact = _work_through(vector)
    reported = [Usage(*counts, images=1) for counts in vector["pictures"]]
    estimated = [Usage(15, 1024, 1024, 1, estimated=True)] * vector["estimated"]
    for usages in (reported + estimated, estimated + reported[::-1]):
        charge = rate(usages, LISTS[vector["list"]], markup_ppm=vector["markup_ppm"])
        assert charge.exact_pico_usd == exact * MICRO
        assert format_usd(charge.amount_micro_usd) == vector["billed"]
        assert charge.fallback == bool(estimated)
        assert sum(item.amount_pico_usd for item in charge.items) == charge.exact_pico_usd


def test_there_are_enough_golden_prices() -> None:
    assert len(VECTORS) >= 200
    assert len({vector["work"] for vector in VECTORS}) >= 190
    assert {vector["list"] for vector in VECTORS} == set(LISTS)


def test_the_golden_lists_are_those_of_the_catalogue() -> None:
    catalogue = load_catalogue()
    model, offer = catalogue.resolve("MAI-Image-2.5"), catalogue.offer("foundry", "MAI-Image-2.5")
    illustrator = catalogue.resolve("omixa-illustrator-1")
    for golden, real in (
        (LISTS["sold"], model.price_lists[0]),
        (LISTS["cost"], offer.costs[0]),
        (LISTS["drawn"], illustrator.price_lists[0]),
    ):
        assert [dataclasses.replace(line, name="", usd="", per=1) for line in golden.lines] == [
            dataclasses.replace(line, name="", usd="", per=1) for line in dataclasses.replace(real, extras=()).lines
        ]
        assert golden.rounding == real.rounding


def test_a_background_that_is_taken_away_costs_what_was_worked_out_by_hand() -> None:
    """15 text tokens at 5 and 1,024 of the picture at 33 millionths are 75 + 33,792; with 3,000 that is 36,867, up to 36,900."""
    (prices,) = load_catalogue().resolve("MAI-Image-2.5").price_lists
    charge = rate([Usage(input_text_tokens=15, output_image_tokens=1024, images=1, cutouts=1)], prices)
    assert (charge.exact_pico_usd, charge.amount_micro_usd) == (36_867 * MICRO, 36_900)
    assert [item.amount_pico_usd for item in charge.items] == [75 * MICRO, 0, 33_792 * MICRO, 3_000 * MICRO]
