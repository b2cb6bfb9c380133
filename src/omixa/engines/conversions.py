"""Decode and encode pictures in processes of their own: a decoder that a picture breaks takes nothing else along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from omixa.domain.images import Image, ImageFormat
from omixa.engines.notary import Notary, Signing
from omixa.engines.workers import WORKER_MAX_BYTES, Engine, Workers
from omixa.errors import EngineBroke, EngineTimeout, InvalidRequest
from omixa.imaging.refusals import UnacceptableImage

J = TypeVar("J")
T = TypeVar("T")

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


@dataclass(frozen=True, slots=True)
class MaskedEdit:
    """A picture and the mask that says where it may change."""

    picture: bytes
    mask: bytes


class MaskCheck:
    """Looks, inside a worker, for what the headers of a masked edit do not tell."""

    def carry_out(self, job: MaskedEdit) -> Iterator[None]:
        """Yield nothing of interest. Raises InvalidRequest, with `mask` as its param where that is at fault."""
        from omixa.imaging.codec import decode
        from omixa.imaging.masks import read_region, require_shape

        try:
            shown = decode(job.picture).size
        except UnacceptableImage as error:
            raise InvalidRequest(error.message, code=error.reason_code) from error
        try:
            require_shape(read_region(job.mask), shown)
        except UnacceptableImage as error:
            raise InvalidRequest(f"mask: {error.message}.", code=error.reason_code, param="mask") from error
        yield None


@dataclass(frozen=True, slots=True)
class MaskToWhiten:
    """A mask of an edit, transparent where the picture may change."""

    mask: bytes


class MaskWhitener:
    """Turns masks, inside a worker, into what engines want whose masks are white where the picture may change."""

    def carry_out(self, job: MaskToWhiten) -> Iterator[Image]:
        """Yield the mask. Raises InvalidRequest when it cannot be decoded, or lets nothing change."""
        from omixa.imaging.inspect import inspect
        from omixa.imaging.masks import white_mask

        try:
            png = white_mask(job.mask)
            yield Image(png, inspect(png))
        except UnacceptableImage as error:
            raise InvalidRequest(error.message, code=error.reason_code) from error


@dataclass(frozen=True, slots=True)
class Composition:
    """What `imaging.composite.compose` takes."""

    original: bytes
    edited: bytes
    mask: bytes
    format: ImageFormat
    quality: int | None
    size: tuple[int, int] | None


class Compositor:
    """Lays originals over their edits, inside a worker."""

    def carry_out(self, job: Composition) -> Iterator[Image]:
        """Yield the picture. Raises InvalidRequest when one of the three cannot be decoded."""
        from omixa.imaging.composite import compose

        try:
            yield compose(job.original, job.edited, job.mask, format=job.format, quality=job.quality, size=job.size)
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
        return await self._done(Converter, Conversion(bytes(data), format, quality, size))

    async def check_mask(self, picture: bytes | memoryview, mask: bytes | memoryview) -> None:
        """Decode a picture and its mask, to know that an edit can be made of them.

        Raises InvalidRequest where the mask is at fault, UnacceptableImage where the picture is, and EngineBusy.
        """
        await self._done(MaskCheck, MaskedEdit(bytes(picture), bytes(mask)))

    async def white_mask(self, mask: bytes | memoryview) -> Image:
        """Return what `imaging.masks.white_mask` returns. Raises what `convert` raises."""
        return await self._done(MaskWhitener, MaskToWhiten(bytes(mask)))

    async def compose(self, job: Composition) -> Image:
        """Return what `imaging.composite.compose` returns. Raises what `convert` raises."""
        return await self._done(Compositor, job)

    async def sign(self, job: Signing) -> Image:
        """Return the picture with credentials. Raises what `convert` raises."""
        return await self._done(Notary, job)

    async def _done(self, engine: Callable[[], Engine[J, T]], job: J) -> T:
        try:
            return await self._workers.finished(engine, job, timeout_s=CONVERSION_TIMEOUT_S)
        except InvalidRequest as error:
            if error.param is not None:
                raise
            raise UnacceptableImage(error.code, error.message) from error
        except (EngineBroke, EngineTimeout) as error:
            raise UnacceptableImage("invalid_image", "the picture cannot be decoded: it breaks its decoder") from error

    def close(self) -> None:
        """Finish what is being converted and end the processes. Blocking."""
        self._workers.close()
