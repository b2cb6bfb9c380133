"""Paint each picture once: a few are kept, and requests for one that is in the making wait for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import pybase64

from omixa.engines.painters import Painters

PICTURES_KEPT_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sketch:
    """All that decides a picture; the same sketch gives the same bytes."""

    prompt: str
    width: int
    height: int
    variant: int
    references: tuple[bytes, ...] = ()

    @property
    def key(self) -> bytes:
        """Return a digest that stands for the sketch."""
        digest = hashlib.sha256(f"{self.width} {self.height} {self.variant} ".encode() + self.prompt.encode())
        for reference in self.references:
            digest.update(hashlib.sha256(reference).digest())
        return digest.digest()


class Studio:
    """Gives pictures as base64."""

    def __init__(self, painters: Painters) -> None:
        self._painters = painters
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._painting: dict[bytes, asyncio.Task[bytes]] = {}

    async def picture(self, sketch: Sketch) -> bytes:
        """Return the PNG in base64. Raises InvalidRequest when a reference cannot be decoded."""
        key = sketch.key
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._painting.get(key)
        if task is None:
            task = self._painting[key] = asyncio.create_task(self._paint(key, sketch))
        # Shielded, because somebody else may be waiting for the same picture.
        return await asyncio.shield(task)

    async def _paint(self, key: bytes, sketch: Sketch) -> bytes:
        try:
            png = await self._painters.paint(
                sketch.prompt,
                width=sketch.width,
                height=sketch.height,
                variant=sketch.variant,
                reference=sketch.references[0] if sketch.references else None,
            )
            encoded = pybase64.b64encode(png)
        finally:
            del self._painting[key]
        self._keep(key, encoded)
        return encoded

    def _keep(self, key: bytes, encoded: bytes) -> None:
        self._kept[key] = encoded
        self._kept_bytes += len(encoded)
        while self._kept_bytes > PICTURES_KEPT_MAX_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])
