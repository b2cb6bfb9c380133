"""Decoding happens in other processes: what breaks a decoder, or its memory, is refused and takes nothing along."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator

import pytest
from PIL import Image as Pillow

from omixa.engines.conversions import Conversions
from omixa.errors import EngineBusy
from omixa.imaging.codec import convert
from omixa.imaging.inspect import MAX_INPUT_PIXELS, UnacceptableImage
from tests.support.imagefiles import END, PIXELS, encoded, header, png, saved

MIB = 1 << 20
# What serves: the application, everything that is opened with it, and the embedded models' side of the pipe.
_SERVING = """
import sys
import omixa.app, omixa.cli.serve, omixa.engines.conversions, omixa.engines.workers, omixa.gateway.preparing
import omixa.providers.embedded, omixa.providers.foundry, omixa.providers.transport, omixa.server, omixa.simulator.foundry
print(sorted(name for name in sys.modules if name.partition(".")[0] == "PIL" or name == "omixa.imaging.codec"))
"""


@pytest.fixture(scope="module")
def conversions() -> Iterator[Conversions]:
    pool = Conversions(1, waiting=8)
    yield pool
    pool.close()


async def test_a_picture_is_what_the_codec_makes_of_it(conversions: Conversions) -> None:
    data = encoded("png", "RGBA", size=(300, 200))
    for options in ({"format": "jpeg", "quality": 40}, {"format": "webp"}, {"format": "png", "size": (20, 30)}):
        assert await conversions.convert(memoryview(data), **options) == convert(data, **options)  # type: ignore[arg-type]


async def test_a_mask_becomes_white_where_the_picture_may_change(conversions: Conversions) -> None:
    half, open_at = (128, 0, 0, 254), (20, 10, 60, 30)
    image = Pillow.new("RGBA", (90, 50), half)
    image.paste((255, 255, 255, 0), open_at)
    # What is only nearly transparent may not change.
    image.paste((255, 255, 255, 1), (0, 0, 5, 5))
    white = await conversions.white_mask(saved(image, "png"))
    assert (white.info.format, white.info.size, white.info.has_alpha) == ("png", "90x50", False)
    expected = Pillow.new("L", (90, 50), 0)
    expected.paste(255, open_at)
    with Pillow.open(io.BytesIO(white.data)) as found:
        assert (found.mode, found.tobytes()) == ("L", expected.tobytes())


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (png(header(4, 4), PIXELS, END), "invalid_image"),
        (saved(Pillow.new("RGBA", (9, 9), (0, 0, 0, 255)), "png"), "mask_without_alpha"),
    ],
    ids=["damaged", "closed"],
)
async def test_a_mask_that_lets_nothing_change_is_refused(conversions: Conversions, broken: bytes, reason: str) -> None:
    with pytest.raises(UnacceptableImage) as caught:
        await conversions.white_mask(broken)
    assert caught.value.reason_code == reason


async def test_a_damaged_picture_is_refused_and_the_next_one_is_not(conversions: Conversions) -> None:
    with pytest.raises(UnacceptableImage, match="its pixels are damaged") as caught:
        await conversions.convert(png(header(4, 4), PIXELS, END), format="png")
    assert caught.value.reason_code == "invalid_image"
    assert (await conversions.convert(encoded("jpeg"), format="png")).info.size == "24x16"


async def test_a_picture_that_needs_more_memory_than_there_is_breaks_alone() -> None:
    large = saved(Pillow.new("RGB", (7000, MAX_INPUT_PIXELS // 7000)), "png")
    pool = Conversions(1, waiting=1, max_bytes=512 * MIB)
    try:
        with pytest.raises(UnacceptableImage, match="it breaks its decoder"):
            await pool.convert(large, format="webp")
        assert (await pool.convert(encoded("webp"), format="png")).info.size == "24x16"
    finally:
        await asyncio.to_thread(pool.close)


async def test_only_so_many_wait() -> None:
    pool = Conversions(1, waiting=0)
    try:
        busy = asyncio.ensure_future(pool.convert(encoded("png", size=(2000, 2000)), format="webp"))
        await asyncio.sleep(0)
        with pytest.raises(EngineBusy):
            await pool.convert(encoded("png"), format="webp")
        assert (await busy).info.format == "webp"
    finally:
        await asyncio.to_thread(pool.close)


def test_what_serves_loads_no_decoder() -> None:
    done = subprocess.run([sys.executable, "-c", _SERVING], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
