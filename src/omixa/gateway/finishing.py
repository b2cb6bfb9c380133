"""From the picture that a provider made to the picture that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from omixa.domain.images import Image, ImageRequest
from omixa.imaging.codec import convert


class Finisher:
    """Resample and encode in a few threads; a picture that already is what was asked for passes untouched."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="omixa-codec")

    async def finish(self, image: Image, request: ImageRequest) -> tuple[Image, tuple[Mapping[str, str], ...]]:
        """Return the picture as asked for, and what had to be done. Raises ValueError when it cannot be decoded."""
        size = None if request.size in ("auto", image.info.size) else request.size
        if size is None and request.output_format == image.info.format:
            return image, ()
        finished = await asyncio.get_running_loop().run_in_executor(self._threads, _convert, image, request, size)
        return finished, tuple(_notes(image, request, size))

    def close(self) -> None:
        """Finish what is being converted. Blocking."""
        self._threads.shutdown(wait=True)


def _convert(image: Image, request: ImageRequest, size: str | None) -> Image:
    target = None
    if size is not None:
        width, height = size.split("x")
        target = (int(width), int(height))
    return convert(image.data, format=request.output_format, quality=request.output_compression, size=target)


def _notes(image: Image, request: ImageRequest, size: str | None) -> list[Mapping[str, str]]:
    notes: list[Mapping[str, str]] = []
    if size is not None:
        notes.append({"parameter": "size", "how": f"painted at {image.info.size} and resampled to {size}"})
    if request.output_format != image.info.format:
        how = f"encoded as {request.output_format} from the provider's {image.info.format}"
        notes.append({"parameter": "output_format", "how": how})
    return notes
