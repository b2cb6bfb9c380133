"""Golden prices, worked out by hand: a text or reference token costs 5 micro-USD, an output token 33."""

from __future__ import annotations

import dataclasses
import datetime
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

import pytest

from omixa.billing.pricing import MAX_COUNT, estimate_usage, price_ceiling, rate
from omixa.catalogue.loader import load_catalogue
from omixa.domain.images import Image, ImageInfo, ImageRequest, Usage
from omixa.domain.models import PriceComponent, PriceList
from omixa.domain.money import Rounding, format_usd

CATALOGUE = load_catalogue()
MODEL = CATALOGUE.resolve("MAI-Image-2.5")
OFFER = CATALOGUE.offer("foundry", "MAI-Image-2.5")
(PRICES,), (COSTS,) = MODEL.price_lists, OFFER.costs

# text, reference and output tokens, pictures, markup in ppm -> exact micro-USD before the markup, what is billed
SOLD = [
    (15, 1024, 1024, 1, 0, "38987", "0.039000"),  # the example: 75 + 5,120 + 33,792
    (15, 0, 1024, 1, 0, "33867", "0.033900"),  # 75 + 33,792
    (0, 0, 1024, 1, 0, "33792", "0.033800"),
    (0, 0, 1014, 1, 0, "33462", "0.033500"),  # 832x1248
    (20, 0, 1014, 1, 0, "33562", "0.033600"),
    (0, 0, 576, 1, 0, "19008", "0.019100"),  # 768x768
    (0, 0, 1026, 1, 0, "33858", "0.033900"),  # 912x1152, a long edit
    (15, 1026, 1026, 1, 0, "39063", "0.039100"),
    (0, 0, 1032, 1, 0, "34056", "0.034100"),  # 1032x1024, the largest seen
    (0, 0, 1056, 1, 0, "34848", "0.034900"),  # the bound
    (1, 0, 0, 1, 0, "5", "0.000100"),  # nothing is free by rounding
    (0, 1, 0, 1, 0, "5", "0.000100"),
    (0, 0, 1, 1, 0, "33", "0.000100"),
    (19, 0, 0, 1, 0, "95", "0.000100"),
    (20, 0, 0, 1, 0, "100", "0.000100"),  # exactly one unit
    (21, 0, 0, 1, 0, "105", "0.000200"),
    (40, 0, 0, 1, 0, "200", "0.000200"),
    (0, 0, 100, 1, 0, "3300", "0.003300"),
    (0, 0, 101, 1, 0, "3333", "0.003400"),
    (0, 0, 0, 0, 0, "0", "0.000000"),  # an explicit zero is a value
    (0, 0, 0, 1, 0, "0", "0.000000"),
    (32_000, 0, 1024, 1, 0, "193792", "0.193800"),  # 160,000 + 33,792
    (32_000, 1056, 1056, 1, 0, "200128", "0.200200"),  # 160,000 + 5,280 + 34,848
    (30, 2048, 2048, 2, 0, "77974", "0.078000"),  # two examples
    (3, 0, 3072, 3, 0, "101391", "0.101400"),
    (31, 0, 2048, 2, 0, "67739", "0.067800"),
    (150, 10_240, 10_240, 10, 0, "389870", "0.389900"),  # ten examples are cheaper than 10 x 0.039000
    (150, 0, 10_240, 10, 0, "338670", "0.338700"),
    (150, 0, 10_140, 10, 0, "335370", "0.335400"),
    (320_000, 10_560, 10_560, 10, 0, "2001280", "2.001300"),
    (1_000_000, 0, 0, 1, 0, "5000000", "5.000000"),  # as the price list reads
    (0, 1_000_000, 0, 1, 0, "5000000", "5.000000"),
    (0, 0, 1_000_000, 1, 0, "33000000", "33.000000"),
    (15, 1024, 1024, 1, 100_000, "38987", "0.042900"),  # + 10 %: 42,885.7
    (15, 1024, 1024, 1, 200_000, "38987", "0.046800"),  # + 20 %: 46,784.4
    (15, 1024, 1024, 1, -100_000, "38987", "0.035100"),  # - 10 %: 35,088.3
    (15, 1024, 1024, 1, -500_000, "38987", "0.019500"),  # - 50 %: 19,493.5
    (15, 1024, 1024, 1, 1_000_000, "38987", "0.078000"),  # + 100 %: 77,974
    (15, 1024, 1024, 1, -1_000_000, "38987", "0.000000"),  # a gift
    (20, 0, 0, 1, 1, "100", "0.000200"),  # 100.0001 is over the unit
    (20, 0, 0, 1, -1, "100", "0.000100"),
    (20, 0, 0, 1, 1_000_000, "100", "0.000200"),
    (15, 1024, 1024, 1, 333_333, "38987", "0.052000"),  # 51,982.6536...
]

# The same counts at the provider's cost: 5, 8 and 47 micro-USD, to the nearest micro.
COST = [
    (15, 1024, 1024, "0.056395"),  # 75 + 8,192 + 48,128
    (15, 0, 1024, "0.048203"),
    (0, 0, 1024, "0.048128"),
    (0, 0, 1014, "0.047658"),
    (0, 1, 0, "0.000008"),
    (1, 0, 0, "0.000005"),
    (32_000, 1056, 1056, "0.218080"),  # 160,000 + 8,448 + 49,632
    (0, 0, 0, "0.000000"),
]

FALLBACK = [(1, 0, "0.033000"), (2, 0, "0.066000"), (3, 0, "0.099000"), (10, 0, "0.330000"), (0, 0, "0.000000")]
FALLBACK += [(1, 10_000, "0.033400"), (1, 100_000, "0.036300"), (7, -500_000, "0.115500")]

# text, reference and output tokens of each picture that has its usage, pictures without one, markup -> exact, billed
MIXED = [
    ([(15, 1024, 1024)], 1, 0, "71987", "0.072000"),  # 38,987 + 33,000
    ([(15, 0, 1024)], 2, 0, "99867", "0.099900"),  # 33,867 + 2 x 33,000
    ([(0, 0, 1024)], 1, 0, "66792", "0.066800"),
    ([(15, 0, 1024), (15, 0, 1024)], 1, 0, "100734", "0.100800"),
    ([(15, 0, 1024), (15, 0, 1014)], 1, 0, "100404", "0.100500"),
    ([(15, 0, 1024)] * 9, 1, 0, "337803", "0.337900"),
    ([(15, 1024, 1024)], 9, 0, "335987", "0.336000"),
    ([(20, 0, 0)], 1, 0, "33100", "0.033100"),  # exactly a unit above the fallback
    ([(21, 0, 0)], 1, 0, "33105", "0.033200"),
    ([(0, 0, 0)], 1, 0, "33000", "0.033000"),  # a reported zero stays free beside an estimate
    ([(15, 1024, 1024)], 1, 100_000, "71987", "0.079200"),  # + 10 %: 79,185.7
    ([(15, 1024, 1024)], 1, -500_000, "71987", "0.036000"),  # - 50 %: 35,993.5
    ([], 0, 0, "0", "0.000000"),
]


@pytest.mark.parametrize(("text", "reference", "output", "images", "markup_ppm", "exact_micro", "billed"), SOLD)
def test_golden_prices(
    text: int, reference: int, output: int, images: int, markup_ppm: int, exact_micro: str, billed: str
) -> None:
    charge = rate([Usage(text, reference, output, images)], PRICES, markup_ppm=markup_ppm)
    assert charge.exact_pico_usd == int(exact_micro) * 10**6
    assert format_usd(charge.amount_micro_usd) == billed
    assert charge.markup_ppm == markup_ppm
    assert not charge.fallback


@pytest.mark.parametrize(("text", "reference", "output", "billed"), COST)
def test_golden_costs(text: int, reference: int, output: int, billed: str) -> None:
    assert format_usd(rate([Usage(text, reference, output, 1)], COSTS).amount_micro_usd) == billed


@pytest.mark.parametrize(("images", "markup_ppm", "billed"), FALLBACK)
def test_an_estimated_usage_costs_the_fallback_for_each_picture(images: int, markup_ppm: int, billed: str) -> None:
    usage = Usage(15, 1024, 1024, images, estimated=True)
    charge = rate([usage], PRICES, markup_ppm=markup_ppm)
    assert format_usd(charge.amount_micro_usd) == billed
    assert [item.component for item in charge.items] == ["image"]
    assert charge.fallback


@pytest.mark.parametrize(("reported", "estimated", "markup_ppm", "exact_micro", "billed"), MIXED)
def test_each_picture_is_priced_by_its_own_rule_and_the_request_rounded_once(
    reported: list[tuple[int, int, int]], estimated: int, markup_ppm: int, exact_micro: str, billed: str
) -> None:
    usages = [Usage(*counts, 1) for counts in reported] + [Usage(15, 1024, 1024, 1, estimated=True)] * estimated
    for order in (usages, usages[::-1]):
        charge = rate(order, PRICES, markup_ppm=markup_ppm)
        assert charge.exact_pico_usd == int(exact_micro) * 10**6
        assert format_usd(charge.amount_micro_usd) == billed
        assert charge.fallback == bool(estimated)


def test_the_receipt_of_a_mixed_request_adds_up_each_component() -> None:
    charge = rate([Usage(15, 0, 1024, 1), Usage(15, 0, 9, 1, estimated=True), Usage(15, 0, 1014, 1)], PRICES)
    assert [(item.component, item.quantity) for item in charge.items] == [
        ("input_text", 30),
        ("input_image", 0),
        ("output_image", 2038),
        ("image", 1),
    ]
    assert sum(item.amount_pico_usd for item in charge.items) == charge.exact_pico_usd


def test_a_count_below_zero_is_not_made_good_by_another_picture() -> None:
    with pytest.raises(ValueError, match="output_image_tokens"):
        rate([Usage(output_image_tokens=-1, images=1), Usage(output_image_tokens=5, images=1)], PRICES)


def test_there_are_enough_golden_prices() -> None:
    assert len(SOLD) + len(COST) + len(FALLBACK) >= 40


def test_the_receipt_reads_like_the_price_list_and_adds_up() -> None:
    charge = rate([Usage(15, 1024, 1024, 1)], PRICES)
    assert [(item.component, item.quantity, item.usd, item.per) for item in charge.items] == [
        ("input_text", 15, "5.00", 10**6),
        ("input_image", 1024, "5.00", 10**6),
        ("output_image", 1024, "33.00", 10**6),
    ]
    assert sum(item.amount_pico_usd for item in charge.items) == charge.exact_pico_usd


def test_prices_agree_with_decimal_arithmetic() -> None:
    for text, reference, output, images, markup_ppm, _, billed in SOLD:
        exact = 5 * text + 5 * reference + 33 * output
        marked_up = Decimal(exact) * (1_000_000 + markup_ppm) / 1_000_000
        assert Decimal(billed) * 10_000 == (marked_up / 100).to_integral_value(ROUND_CEILING), (text, images)


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
    return ImageRequest("MAI-Image-2.5", "x", 15, 1, size, "auto", "auto", "png", None, images, False, given)


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
