"""What holds for every usage: the ceiling is one, prices grow with counts, and rounding never takes or gives a unit."""

from __future__ import annotations

import dataclasses
import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from omixa.billing.pricing import MAX_MARKUP_PPM, MIN_MARKUP_PPM, Charge, price_ceiling, rate
from omixa.catalogue.loader import load_catalogue
from omixa.domain.images import ImageInfo, Usage
from omixa.domain.models import PriceComponent, PriceList, UsageBounds
from omixa.domain.money import PPM, Rounding

MODEL = load_catalogue().resolve("MAI-Image-2.5")
(PRICES,) = MODEL.price_lists
COUNTS = ("input_text_tokens", "input_image_tokens", "output_image_tokens", "output_text_tokens", "images")

markups = st.integers(MIN_MARKUP_PPM, MAX_MARKUP_PPM)
counts = st.integers(0, 10**6)
usages = st.builds(Usage, counts, counts, counts, counts, st.booleans(), st.integers(0, 10), counts)
pico_prices = st.integers(0, 10**10)


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    """Any price list: prices of any size, any subset of counts, an extra, any rounding. Half of the time the one of the model."""
    if draw(st.booleans()):
        return PRICES
    counted = draw(st.lists(st.sampled_from(COUNTS), max_size=6))
    components = tuple(PriceComponent(f"c{i}", name, draw(pico_prices), "0", 1) for i, name in enumerate(counted))
    fallback = PriceComponent("image", "images", draw(pico_prices), "0", 1)
    rounding = Rounding(draw(st.sampled_from([1, 3, 100, 10_000])), draw(st.sampled_from(["up", "half_up"])))
    extra = PriceComponent("extra", "cutouts", draw(pico_prices), "0", 1)
    return PriceList("t", "USD", datetime.date(2026, 1, 1), components, fallback, rounding, (extra,))


@st.composite
def bounded_usages(draw: st.DrawFn) -> tuple[list[Usage], UsageBounds, int, int, int, int, int]:
    """Usages within their bounds, with the bounds, prompt bytes, context window, number of references, pictures and cutouts."""
    low, high = sorted((draw(st.integers(0, 5000)), draw(st.integers(0, 5000))))
    bounds = UsageBounds(draw(st.integers(0, 5000)), low, high, draw(st.integers(0, 5000)))
    prompt_bytes, window = draw(st.integers(0, 50_000)), draw(st.integers(1, 50_000))
    references, n, cutouts = draw(st.integers(0, 16)), draw(st.integers(1, 10)), draw(st.integers(0, 1))
    usage = st.builds(
        Usage,
        input_text_tokens=st.integers(0, min(prompt_bytes, window)),
        input_image_tokens=st.integers(0, references * bounds.input_image_tokens_max),
        output_image_tokens=st.integers(0, bounds.output_image_tokens_max),
        output_text_tokens=st.integers(0, bounds.output_text_tokens_max),
        images=st.just(1),
        estimated=st.booleans(),
        cutouts=st.integers(0, cutouts),
    )
    return draw(st.lists(usage, max_size=n)), bounds, prompt_bytes, window, references, n, cutouts


@settings(deadline=None)
@given(bounded_usages(), price_lists(), markups)
def test_no_usage_within_the_bounds_costs_more_than_the_ceiling(
    case: tuple[list[Usage], UsageBounds, int, int, int, int, int], prices: PriceList, markup_ppm: int
) -> None:
    pictures, bounds, prompt_bytes, window, references, n, cutouts = case
    ceiling = price_ceiling(
        prices,
        bounds,
        prompt_bytes=prompt_bytes,
        context_window_tokens=window,
        input_images=[ImageInfo("png", 1, 1, 1, has_alpha=False)] * references,
        n=n,
        cutouts=cutouts,
        markup_ppm=markup_ppm,
    )
    assert rate(pictures, prices, markup_ppm=markup_ppm).amount_micro_usd <= ceiling.amount_micro_usd


@settings(deadline=None)
@given(usages, price_lists(), markups, st.sampled_from((*COUNTS, "cutouts")), st.integers(0, 10**6))
def test_more_is_never_cheaper(usage: Usage, prices: PriceList, markup_ppm: int, count: str, more: int) -> None:
    larger = dataclasses.replace(usage, **{count: getattr(usage, count) + more})
    before, after = rate([usage], prices, markup_ppm=markup_ppm), rate([larger], prices, markup_ppm=markup_ppm)
    assert before.exact_pico_usd <= after.exact_pico_usd
    assert before.amount_micro_usd <= after.amount_micro_usd


@settings(deadline=None)
@given(usages, price_lists(), markups, markups)
def test_a_higher_markup_is_never_cheaper(usage: Usage, prices: PriceList, one: int, other: int) -> None:
    low, high = (rate([usage], prices, markup_ppm=markup).amount_micro_usd for markup in sorted((one, other)))
    assert low <= high


@settings(deadline=None)
@given(st.lists(usages, max_size=10), price_lists(), markups)
def test_the_exact_price_is_that_of_each_picture_alone(parts: list[Usage], prices: PriceList, markup_ppm: int) -> None:
    alone = sum(rate([part], prices).exact_pico_usd for part in parts)
    assert rate(parts, prices, markup_ppm=markup_ppm).exact_pico_usd == alone


@settings(deadline=None)
@given(usages, price_lists(), markups)
def test_the_charge_is_the_exact_price_rounded_once(usage: Usage, prices: PriceList, markup_ppm: int) -> None:
    charge = rate([usage], prices, markup_ppm=markup_ppm)
    assert charge.exact_pico_usd == sum(item.amount_pico_usd for item in charge.items)
    assert all(item.amount_pico_usd == item.quantity * item.unit_price_pico_usd for item in charge.items)
    # Both in millionths of a pico-USD, so that the comparison is exact.
    exact, unit = charge.exact_pico_usd * (PPM + markup_ppm), prices.rounding.unit_micro_usd * 10**12
    above = charge.amount_micro_usd * 10**12 - exact
    assert charge.amount_micro_usd % prices.rounding.unit_micro_usd == 0
    assert (charge.amount_micro_usd == 0) == (exact == 0)
    if prices.rounding.direction == "up":
        assert 0 <= above < unit
    elif charge.amount_micro_usd == prices.rounding.unit_micro_usd:
        assert -unit < 2 * above < 2 * unit
    else:
        assert -unit < 2 * above <= unit


@settings(deadline=None)
@given(usages, price_lists(), markups)
def test_the_same_usage_has_the_same_price_for_ever(usage: Usage, prices: PriceList, markup_ppm: int) -> None:
    first: Charge = rate([usage], prices, markup_ppm=markup_ppm)
    assert first == rate([dataclasses.replace(usage)], dataclasses.replace(prices), markup_ppm=markup_ppm)


@settings(deadline=None)
@given(st.lists(usages, max_size=10))
def test_one_rounding_is_never_dearer_than_one_for_each_picture(parts: list[Usage]) -> None:
    together = rate(parts, PRICES).amount_micro_usd
    assert together <= sum(rate([part], PRICES).amount_micro_usd for part in parts)
