"""Decode and encode pictures in processes of their own: a decoder that a picture breaks takes nothing else along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from omixa.domain.images import Image, ImageFormat
from omixa.engines.masks import MaskCheck, unreadable
from omixa.engines.workers import WORKER_MAX_BYTES, Workers
from omixa.errors import EngineBroke, EngineTimeout, InvalidRequest
from omixa.imaging.refusals import UnacceptableImage

# The largest picture that is let in takes some seconds; the rest is waiting for a process.
CONVERSION_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Conversion:
    """A picture and what is to become of it, as `imaging.codec.convert` takes them."""

    data: bytes
    format: ImageFormat
    quality: int | None
    size: tuple[int, int] | None


class Converter:
    """Carries conversions out, inside a worker."""

    def carry_out(self, job: Conversion) -> Iterator[Image]:
        """Yield the picture. Raises InvalidRequest when it cannot be decoded."""
        # Here, so that no decoder is ever loaded into a process that serves.
        from omixa.imaging.codec import convert

        try:
            yield convert(job.data, format=job.format, quality=job.quality, size=job.size)
        except UnacceptableImage as error:
            raise InvalidRequest(error.message, code=error.reason_code) from error


class Conversions:
    """Converts a few pictures at a time, apart from what paints, which takes longer. `close` it at the end."""

    def __init__(self, processes: int, *, waiting: int, max_bytes: int = WORKER_MAX_BYTES) -> None:
        self._workers = Workers(processes, waiting=waiting, max_bytes=max_bytes)

    async def convert(
        self,
        data: bytes | memoryview,
        *,
        format: ImageFormat,
        quality: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> Image:
        """Return what `imaging.codec.convert` returns. Raises EngineBusy when too many wait, and UnacceptableImage.

        A picture that breaks its decoder, or keeps it busy for too long, is not acceptable either.
        """
        job = Conversion(bytes(data), format, quality, size)
        try:
            return await self._workers.finished(Converter, job, timeout_s=CONVERSION_TIMEOUT_S)
        except InvalidRequest as error:
            raise UnacceptableImage(error.code, error.message) from error
        except (EngineBroke, EngineTimeout) as error:
            raise UnacceptableImage("invalid_image", "the picture cannot be decoded: it breaks its decoder") from error

    async def check_mask(self, mask: bytes | memoryview) -> None:
        """Raise InvalidRequest when a mask cannot be decoded, or lets nothing change, and EngineBusy when too many wait."""
        try:
            await self._workers.finished(MaskCheck, bytes(mask), timeout_s=CONVERSION_TIMEOUT_S)
        except (EngineBroke, EngineTimeout) as error:
            raise unreadable() from error

    def close(self) -> None:
        """Finish what is being converted and end the processes. Blocking."""
        self._workers.close()
