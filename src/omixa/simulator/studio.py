"""Paint each picture once: a few are kept, and requests for one that is in the making wait for it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict

import pybase64

from omixa.engines.illustrator import Commission, Illustrator
from omixa.engines.workers import Workers

PICTURES_KEPT_MAX_BYTES = 64 * 1024 * 1024


class Studio:
    """Gives pictures as base64."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._painting: dict[bytes, asyncio.Task[bytes]] = {}

    async def picture(self, commission: Commission) -> bytes:
        """Return the PNG in base64. Raises what `Workers.run` raises."""
        key = _digest(commission)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._painting.get(key)
        if task is None:
            task = self._painting[key] = asyncio.create_task(self._paint(key, commission))
        # Shielded, because somebody else may be waiting for the same picture.
        return await asyncio.shield(task)

    async def _paint(self, key: bytes, commission: Commission) -> bytes:
        try:
            encoded = pybase64.b64encode(await self._workers.finished(Illustrator, commission))
        finally:
            del self._painting[key]
        self._keep(key, encoded)
        return encoded

    def _keep(self, key: bytes, encoded: bytes) -> None:
        self._kept[key] = encoded
        self._kept_bytes += len(encoded)
        while self._kept_bytes > PICTURES_KEPT_MAX_BYTES:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1])


def _digest(commission: Commission) -> bytes:
    """Return what stands for a commission: the same one gives the same picture."""
    digest = hashlib.sha256(f"{commission.size} {commission.variant} ".encode() + commission.prompt.encode())
    for reference in commission.references:
        digest.update(hashlib.sha256(reference).digest())
    return digest.digest()
