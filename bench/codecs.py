"""`python -m bench.codecs`: what converting a picture apart from the server costs, beside the codec alone.

A conversion goes to another process, which decodes the provider's PNG and encodes it, and comes back. The codec alone is Pillow
doing the same with the same settings here. Both take the same picture in turn, so that the machine's load meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import io
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image as Pillow

from bench.machine import facts
from bench.meter import Meter
from omixa.domain.images import ImageFormat
from omixa.engines.conversions import Conversions
from omixa.engines.illustrator import Commission, Illustrator
from omixa.imaging.codec import DEFAULT_JPEG_QUALITY, DEFAULT_WEBP_QUALITY
from omixa.imaging.inputs import load_input
from omixa.imaging.inspect import inspect
from omixa.imaging.png import check_png

RESULTS = Path(__file__).with_name("results") / "codecs.md"
PROMPT = "A lighthouse on a cliff above a stormy sea at dusk"
SIDE = 1024
FORMATS: tuple[ImageFormat, ...] = ("jpeg", "webp")
# A conversion may take this much of what the codec takes alone.
TARGET = 1.2
# What is only looked at is timed in so many repetitions.
GLANCES = 200


@dataclass(frozen=True)
class Sample:
    """What one way of converting took in each round, in ms: on the clock, and of processors, in all processes together."""

    clock_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """Both ways to a format."""

    format: ImageFormat
    apart: Sample = field(default_factory=Sample)
    alone: Sample = field(default_factory=Sample)

    @property
    def clock_ratio(self) -> float:
        """Return the median of the rounds' ratios on the clock."""
        return _ratio(self.apart.clock_ms, self.alone.clock_ms)

    @property
    def cpu_ratio(self) -> float:
        """Return the median of the rounds' ratios of processor time."""
        return _ratio(self.apart.cpu_ms, self.alone.cpu_ms)


def _ratio(apart: Sequence[float], alone: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(apart, alone, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, tell, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.codecs", description="Conversions beside the codec alone.")
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="how often everything is measured (25)")
    options = parser.parse_args(arguments)
    *_, png = Illustrator().carry_out(Commission(PROMPT, (SIDE, SIDE)))
    pairs = asyncio.run(_measure(png, options.rounds))
    text = _table(png, pairs)
    print(text)
    RESULTS.write_text(text)
    return 0


async def _measure(png: bytes, rounds: int) -> list[Pair]:
    conversions, meter = Conversions(1, waiting=1), Meter(os.getpid())
    pairs = list(map(Pair, FORMATS))

    async def apart(format: ImageFormat) -> bytes:
        return bytes((await conversions.convert(png, format=format)).data)

    async def alone(format: ImageFormat) -> bytes:
        return _alone(png, format)

    async def timed(way: Callable[[ImageFormat], Awaitable[bytes]], pair: Pair, sample: Sample) -> bytes:
        meter.start()
        begin = time.perf_counter()
        made = await way(pair.format)
        sample.clock_ms.append(1000 * (time.perf_counter() - begin))
        sample.cpu_ms.append(1000 * (meter.stop().cpu_s or 0.0))
        return made

    try:
        # Starts the process.
        await apart("jpeg")
        for _ in range(rounds):
            for pair in pairs:
                same = await timed(apart, pair, pair.apart) == await timed(alone, pair, pair.alone)
                assert same, "both must make the same of it"
    finally:
        await asyncio.to_thread(conversions.close)
    return pairs


def _alone(png: bytes, format: ImageFormat) -> bytes:
    with Pillow.open(io.BytesIO(png), formats=("PNG",)) as opened:
        picture = opened.convert("RGB")
    stream = io.BytesIO()
    if format == "jpeg":
        picture.save(stream, "JPEG", quality=DEFAULT_JPEG_QUALITY, subsampling="4:4:4")
    else:
        picture.save(stream, "WEBP", quality=DEFAULT_WEBP_QUALITY, method=2)
    return stream.getvalue()


def _table(png: bytes, pairs: Sequence[Pair]) -> str:
    known = facts(Path(__file__).parent)
    where = ", ".join(known[name] for name in ("system", "processor", "memory"))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    passed, taken = _glance_ms(lambda: (inspect(png), check_png(png))), _glance_ms(lambda: load_input(png))
    lines = [
        "# Converting pictures apart from the server",
        "",
        f"{now}, {where}, Python {known['python']}, Pillow {Pillow.__version__}, commit {known['commit']}.",
        f"A PNG of {SIDE}x{SIDE}, {len(png):,} bytes, by the illustrator; medians of {len(pairs[0].alone.cpu_ms)} rounds.",
        "",
        "| PNG to | apart, ms | codec alone, ms | ratio | apart, ms of CPU | codec alone, ms of CPU | ratio |",
        "| --- | --: | --: | --: | --: | --: | --: |",
        *(
            f"| {pair.format} | {statistics.median(pair.apart.clock_ms):.1f} | {statistics.median(pair.alone.clock_ms):.1f}"
            f" | {pair.clock_ratio:.2f} | {statistics.median(pair.apart.cpu_ms):.1f}"
            f" | {statistics.median(pair.alone.cpu_ms):.1f} | {pair.cpu_ratio:.2f} |"
            for pair in pairs
        ),
        "",
        *(
            f"- {pair.format}: {pair.clock_ratio:.2f} on the clock, {'within' if pair.clock_ratio <= TARGET else 'above'} the"
            f" target of {TARGET}."
            for pair in pairs
        ),
        "",
        f"Passed through, the same PNG is looked at in {passed:.2f} ms, and as the input of an edit in {taken:.2f} ms.",
    ]
    return "\n".join(lines) + "\n"


def _glance_ms(look: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for _ in range(GLANCES):
        look()
    return 1000 * (time.perf_counter() - begin) / GLANCES


if __name__ == "__main__":
    raise SystemExit(main())
