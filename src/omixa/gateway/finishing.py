"""From the picture that a provider made to the picture that was asked for."""

from __future__ import annotations

from collections.abc import Mapping

from omixa.catalogue.loader import Catalogue
from omixa.domain.images import Image, ImageRequest
from omixa.engines.conversions import Composition, Conversions


class Finisher:
    """Resamples and encodes; a picture that already is what was asked for passes untouched."""

    def __init__(self, conversions: Conversions, catalogue: Catalogue) -> None:
        self._conversions = conversions
        self._catalogue = catalogue

    async def finish(self, image: Image, request: ImageRequest) -> tuple[Image, tuple[Mapping[str, str], ...]]:
        """Return the picture as asked for, and what had to be done. Raises ValueError when it cannot be decoded."""
        if request.mask is not None and self._catalogue.resolve(request.model).mask_policy == "composite":
            return await self._composed(image, request, request.mask)
        size = None if request.size in ("auto", image.info.size) else request.size
        if size is None and request.output_format == image.info.format:
            return image, ()
        finished = await self._conversions.convert(
            image.data, format=request.output_format, quality=request.output_compression, size=_sides(size)
        )
        return finished, tuple(_notes(image, request, size))

    async def _composed(
        self, image: Image, request: ImageRequest, mask: Image
    ) -> tuple[Image, tuple[Mapping[str, str], ...]]:
        """Lay the original over the edit again outside the mask."""
        composition = Composition(
            original=bytes(request.input_images[0].data),
            edited=bytes(image.data),
            mask=bytes(mask.data),
            format=request.output_format,
            quality=request.output_compression,
            size=None if request.size == "auto" else _sides(request.size),
        )
        composed = await self._conversions.compose(composition)
        how = "the whole picture was edited, and the original laid over it outside the mask"
        size = None if composed.info.size == image.info.size else composed.info.size
        return composed, ({"parameter": "mask", "how": how}, *_notes(image, request, size))


def _sides(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    width, height = size.split("x")
    return int(width), int(height)


def _notes(image: Image, request: ImageRequest, size: str | None) -> list[Mapping[str, str]]:
    notes: list[Mapping[str, str]] = []
    if size is not None:
        notes.append({"parameter": "size", "how": f"painted at {image.info.size} and resampled to {size}"})
    if request.output_format != image.info.format:
        how = f"encoded as {request.output_format} from the provider's {image.info.format}"
        notes.append({"parameter": "output_format", "how": how})
    return notes
