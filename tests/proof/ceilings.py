"""Random usages of random requests: none costs more than the ceiling that is held for it."""

from __future__ import annotations

import random

from omixa.billing.pricing import MAX_MARKUP_PPM, MIN_MARKUP_PPM, price_ceiling, rate
from omixa.domain.images import ImageInfo, Usage
from omixa.domain.money import PPM
from tests.proof.part import Part, Result, Task
from tests.support.ledger import MODEL, PRICES

REQUESTS_BETWEEN_SIGNS = 10_000


def run(task: Task) -> Result:
    """Rate random usages within the model's bounds at random markups, for as many requests as asked for."""
    chance = task.chance()
    pictures = 0
    bounds, window = MODEL.bounds, MODEL.context_window_tokens
    reference = ImageInfo("png", 1024, 1024, 1, has_alpha=False)
    for number in range(1, task.size + 1):
        n, references, markup_ppm = chance.randint(1, 10), chance.randint(0, 1), _a_markup(chance)
        cutouts = chance.randint(0, 1)
        prompt_bytes = chance.choice((chance.randint(1, 400), chance.randint(1, 200_000)))
        ceiling = price_ceiling(
            PRICES,
            bounds,
            prompt_bytes=prompt_bytes,
            context_window_tokens=window,
            input_images=[reference] * references,
            n=n,
            cutouts=cutouts,
            markup_ppm=markup_ppm,
        )
        usages = [
            Usage(
                chance.choice((chance.randint(0, min(prompt_bytes, window)), min(prompt_bytes, window))),
                references * chance.randint(bounds.input_image_tokens_min, bounds.input_image_tokens_max),
                chance.choice((chance.randint(0, bounds.output_image_tokens_max), bounds.output_image_tokens_max)),
                images=1,
                estimated=chance.random() < 0.1,
                cutouts=chance.randint(0, cutouts),
            )
            for _ in range(chance.randint(0, n))
        ]
        price = rate(usages, PRICES, markup_ppm=markup_ppm)
        assert 0 <= price.amount_micro_usd <= ceiling.amount_micro_usd, (usages, markup_ppm)
        pictures += len(usages)
        if number % REQUESTS_BETWEEN_SIGNS == 0 or number == task.size:
            task.progress(number)
    return Result({"requests": task.size, "pictures": pictures})


def _a_markup(chance: random.Random) -> int:
    return chance.choice(
        (0, chance.randint(MIN_MARKUP_PPM, 0), chance.randint(0, PPM), chance.randint(0, MAX_MARKUP_PPM))
    )


PART = Part(
    name="ceilings",
    title="Random usages within the model's bounds, at random markups",
    passes_when="no request costs more than the ceiling that is held for it",
    run=run,
    unit="requests",
    size=1_000_000,
    share=250_000,
    small=5_000,
)
