"""From usage to money: receipts add up, absurd usage is refused, the ceiling is one. Golden prices have a file of their own."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import ROUND_HALF_UP, Decimal

import pytest

from omixa.billing.pricing import MAX_COUNT, estimate_usage, price_ceiling, rate
from omixa.catalogue.loader import load_catalogue
from omixa.domain.images import Image, ImageInfo, ImageRequest, Usage
from omixa.domain.models import NativeSize, PriceComponent, PriceList
from omixa.domain.money import Rounding, format_usd

CATALOGUE = load_catalogue()
MODEL = CATALOGUE.resolve("MAI-Image-2.5")
OFFER = CATALOGUE.offer("foundry", "MAI-Image-2.5")
(PRICES,), (COSTS,) = MODEL.price_lists, OFFER.costs


def test_the_receipt_of_a_mixed_request_adds_up_each_component() -> None:
    charge = rate([Usage(15, 0, 1024, 1), Usage(15, 0, 9, 1, estimated=True), Usage(15, 0, 1014, 1)], PRICES)
    assert [(item.component, item.quantity) for item in charge.items] == [
        ("input_text", 30),
        ("input_image", 0),
        ("output_image", 2038),
        ("image", 1),
    ]
    assert sum(item.amount_pico_usd for item in charge.items) == charge.exact_pico_usd


def test_an_estimated_usage_costs_the_fallback_alone() -> None:
    charge = rate([Usage(15, 1024, 1024, 1, estimated=True)], PRICES)
    assert [item.component for item in charge.items] == ["image"]
    assert charge.fallback


def test_a_count_below_zero_is_not_made_good_by_another_picture() -> None:
    with pytest.raises(ValueError, match="output_image_tokens"):
        rate([Usage(output_image_tokens=-1, images=1), Usage(output_image_tokens=5, images=1)], PRICES)


def test_the_receipt_reads_like_the_price_list_and_adds_up() -> None:
    charge = rate([Usage(15, 1024, 1024, 1)], PRICES)
    assert [(item.component, item.quantity, item.usd, item.per) for item in charge.items] == [
        ("input_text", 15, "5.00", 10**6),
        ("input_image", 1024, "5.00", 10**6),
        ("output_image", 1024, "33.00", 10**6),
    ]
    assert sum(item.amount_pico_usd for item in charge.items) == charge.exact_pico_usd


def test_half_up_agrees_with_decimal_arithmetic() -> None:
    prices = PriceList("t", "USD", datetime.date(2026, 1, 1), (), COSTS.fallback, Rounding(10, "half_up"))
    for pico, markup_ppm in [(333, 0), (333_333, 500_000), (5_000_001, -1), (12_345, 999_999), (49_999_999, 3)]:
        component = PriceComponent("x", "images", pico, "0", 1)
        priced = dataclasses.replace(prices, components=(component,))
        for images in (1_000, 1_001, 7_777):
            exact = Decimal(pico * images) * (1_000_000 + markup_ppm) / 10**12
            units = max(1, int((exact / 10).to_integral_value(ROUND_HALF_UP)))
            assert rate([Usage(images=images)], priced, markup_ppm=markup_ppm).amount_micro_usd == units * 10


@pytest.mark.parametrize("field", ["input_text_tokens", "input_image_tokens", "output_image_tokens"])
@pytest.mark.parametrize("count", [-1, MAX_COUNT + 1, 10**30])
def test_absurd_counts_are_refused(field: str, count: int) -> None:
    with pytest.raises(ValueError, match=field):
        rate([dataclasses.replace(Usage(images=1), **{field: count})], PRICES)


def test_a_count_that_is_not_an_integer_is_refused() -> None:
    with pytest.raises(TypeError):
        rate([Usage(output_image_tokens=1024.0)], PRICES)  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize("markup_ppm", [-1_000_001, 100_000_001])
def test_absurd_markups_are_refused(markup_ppm: int) -> None:
    with pytest.raises(ValueError, match="markup"):
        rate([Usage()], PRICES, markup_ppm=markup_ppm)


def test_a_price_that_cannot_be_stored_is_refused() -> None:
    dear = dataclasses.replace(PRICES, components=(PriceComponent("x", "images", 10**12, "1", 1),))
    with pytest.raises(ValueError, match="too large"):
        rate([Usage(images=10**7)], dear)


def test_the_ceiling_of_the_example() -> None:
    reference = ImageInfo("png", 1024, 1024, 1000, has_alpha=False)
    ceiling = price_ceiling(
        PRICES, MODEL.bounds, prompt_bytes=74, context_window_tokens=32_000, input_images=[reference], n=1
    )
    # 74 x 5 + 1,056 x 5 + 1,056 x 33 = 40,498
    assert format_usd(ceiling.amount_micro_usd) == "0.040500"


def test_the_context_window_bounds_a_long_prompt() -> None:
    ceiling = price_ceiling(
        PRICES, MODEL.bounds, prompt_bytes=10**9, context_window_tokens=32_000, input_images=[], n=10
    )
    # 10 x (32,000 x 5 + 1,056 x 33) = 1,948,480
    assert format_usd(ceiling.amount_micro_usd) == "1.948500"


def test_the_ceiling_is_the_fallback_where_that_is_dearer() -> None:
    dear = dataclasses.replace(
        PRICES, fallback=PriceComponent("image", "images", 10**12, "1", 1), components=PRICES.components
    )
    ceiling = price_ceiling(dear, MODEL.bounds, prompt_bytes=1, context_window_tokens=32_000, input_images=[], n=3)
    assert ceiling.fallback
    assert format_usd(ceiling.amount_micro_usd) == "3.000000"


def _request(size: str, *references: tuple[int, int]) -> ImageRequest:
    images = tuple(Image(b"", ImageInfo("png", width, height, 0, has_alpha=False)) for width, height in references)
    given = frozenset({"model", "prompt"})
    return ImageRequest("MAI-Image-2.5", "x", 15, 1, size, "auto", "auto", "png", None, images, False, 0, given)


@pytest.mark.parametrize(
    ("size", "references", "expected"),
    [
        ("auto", [], Usage(15, 0, 1024, 1, estimated=True)),
        ("1024x1024", [], Usage(15, 0, 1024, 1, estimated=True)),
        ("1024x1536", [], Usage(15, 0, 1014, 1, estimated=True)),
        ("1536x1024", [], Usage(15, 0, 1014, 1, estimated=True)),
        ("auto", [(1024, 1024)], Usage(15, 1024, 1024, 1, estimated=True)),
        ("auto", [(10, 10)], Usage(15, 1024, 1024, 1, estimated=True)),
        ("auto", [(4000, 4000)], Usage(15, 1056, 1024, 1, estimated=True)),
        ("auto", [(1040, 1024), (10, 10)], Usage(15, 2064, 1024, 1, estimated=True)),
    ],
)
def test_usage_is_estimated_by_the_formulas(size: str, references: list[tuple[int, int]], expected: Usage) -> None:
    assert estimate_usage(_request(size, *references), MODEL.bounds, OFFER) == expected


def test_a_picture_that_arrived_is_measured() -> None:
    picture = Image(b"", ImageInfo("png", 912, 1152, 0, has_alpha=False))
    usage = estimate_usage(_request("auto", (1200, 1500)), MODEL.bounds, OFFER, picture)
    assert usage == Usage(15, 1056, 1026, 1, estimated=True)


def test_what_the_gateway_does_besides_is_charged_beside_either_rule_and_only_where_it_was_done() -> None:
    reported = Usage(input_text_tokens=15, output_image_tokens=1024, images=1, cutouts=1)
    estimated = dataclasses.replace(reported, estimated=True)
    for usage in (reported, estimated):
        with_it = rate([usage, usage], PRICES)
        without = rate([dataclasses.replace(usage, cutouts=0)] * 2, PRICES)
        assert with_it.exact_pico_usd - without.exact_pico_usd == 2 * PRICES.extras[0].unit_price_pico_usd
        assert [item.quantity for item in with_it.items if item.component == "background_removal"] == [2]
        assert all(item.component != "background_removal" for item in without.items)


def test_what_a_list_has_no_price_for_is_never_free() -> None:
    with pytest.raises(ValueError, match="has no price for taking backgrounds away"):
        rate([Usage(images=1, cutouts=1)], dataclasses.replace(PRICES, extras=()))


def test_a_size_that_counts_by_itself_is_not_measured() -> None:
    sizes = {**OFFER.sizes, "1024x1536": NativeSize(848, 1264, "2:3", "1K", tokens=1120)}
    offer = dataclasses.replace(OFFER, sizes=sizes)
    picture = Image(b"", ImageInfo("png", 900, 1300, 0, has_alpha=False))
    for arrived in (None, picture):
        usage = estimate_usage(_request("1024x1536"), MODEL.bounds, offer, arrived)
        assert usage.output_image_tokens == 1120
    assert estimate_usage(_request("auto"), MODEL.bounds, offer, picture).output_image_tokens == 1142


def test_words_that_were_only_thought_are_charged_and_within_the_ceiling() -> None:
    thinking = PriceComponent("output_text", "output_text_tokens", 12_000_000, "12.00", 10**6)
    prices = dataclasses.replace(PRICES, components=(*PRICES.components, thinking))
    usage = Usage(15, 0, 1024, images=1, output_text_tokens=180)
    assert usage.output_tokens == 1204
    assert rate([usage], prices).exact_pico_usd - rate([usage], PRICES).exact_pico_usd == 180 * 12_000_000
    bounds = dataclasses.replace(MODEL.bounds, output_text_tokens_max=180)
    ceiling = price_ceiling(prices, bounds, prompt_bytes=15, context_window_tokens=32_000, input_images=[], n=1)
    assert ceiling.items[-1].quantity == 180
