"""Small WebPs of kept pictures, made when somebody first looks at one and held in memory, up to a bound.

They are never stored, so nothing of a picture is left when it is deleted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from omixa.domain.images import Image, ImageInfo
from omixa.engines.conversions import Conversions
from omixa.gateway.results import BrokenResult, Results
from omixa.imaging.refusals import UnacceptableImage
from omixa.limits.slots import Slots

MEDIA_TYPE = "image/webp"
# The longer side, in pixels.
MAX_SIDE = 320
QUALITY = 75
# What is held in memory: some thousand thumbnails.
CACHE_BYTES = 32 * 1024 * 1024
# Thumbnails that are made or wait for that. One is made at a time, so that no paid picture waits for them.
MAX_WAITING = 64

_Key = tuple[str, int]


class Thumbnails:
    """Makes and remembers thumbnails."""

    def __init__(self, results: Results, conversions: Conversions, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._results = results
        self._conversions = conversions
        self._cache_bytes = cache_bytes
        self._turn = asyncio.Lock()
        self._waiting = Slots(MAX_WAITING, "thumbnails are being made")
        # The one that was looked at last stands last.
        self._made: OrderedDict[_Key, Image] = OrderedDict()
        self._bytes = 0
        self._making: dict[_Key, asyncio.Task[Image]] = {}

    async def get(self, request_id: str, ref: str, digest: str, index: int) -> Image:
        """Return a thumbnail of a stored picture. Raises BrokenResult, Overloaded, or StorageUnavailable."""
        key = (request_id, index)
        if (made := self._made.get(key)) is not None:
            self._made.move_to_end(key)
            return made
        making = self._making.get(key)
        if making is None:
            making = asyncio.create_task(self._make(key, ref, digest), name=f"thumbnail {request_id}")
            self._making[key] = making
            making.add_done_callback(lambda done: self._ended(key, done))
        # Whoever leaves does not take it from the others who wait for it.
        return await asyncio.shield(making)

    def _ended(self, key: _Key, making: asyncio.Task[Image]) -> None:
        del self._making[key]
        # Asked for here, so that asyncio does not call an error forgotten when nobody waits any more.
        if not making.cancelled():
            making.exception()

    def forget(self, request_id: str) -> None:
        """Drop what is remembered of a request's pictures."""
        for key in [key for key in self._made if key[0] == request_id]:
            self._bytes -= len(self._made.pop(key).data)

    async def _make(self, key: _Key, ref: str, digest: str) -> Image:
        request_id, index = key
        with self._waiting.slot():
            async with self._turn:
                picture = await self._results.picture(request_id, ref, digest, index)
                try:
                    made = await self._conversions.convert(
                        picture.data, format="webp", quality=QUALITY, size=small_size(picture.info)
                    )
                except UnacceptableImage as error:
                    raise BrokenResult(f"the picture cannot be decoded: {error.message}") from error
        self._remember(key, made)
        return made

    def _remember(self, key: _Key, made: Image) -> None:
        self._made[key] = made
        self._bytes += len(made.data)
        while self._bytes > self._cache_bytes:
            _, oldest = self._made.popitem(last=False)
            self._bytes -= len(oldest.data)


def small_size(info: ImageInfo) -> tuple[int, int] | None:
    """Return width and height of a picture's thumbnail, in its shape; None for one that is small already and keeps its size."""
    longer = max(info.width, info.height)
    if longer <= MAX_SIDE:
        return None
    return max(1, info.width * MAX_SIDE // longer), max(1, info.height * MAX_SIDE // longer)
