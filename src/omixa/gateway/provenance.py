"""Where a picture says that it comes from: Content Credentials (C2PA) of its provider, and the operator's own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omixa import __version__
from omixa.catalogue.loader import Catalogue
from omixa.domain.images import Image, ImageRequest, Provenance
from omixa.domain.models import Deployment, DigitalSource
from omixa.engines.conversions import Conversions
from omixa.engines.notary import Identity, Signing
from omixa.errors import OmixaError
from omixa.imaging.refusals import UnacceptableImage

log = logging.getLogger(__name__)

_SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# An edit has something of a picture that was there before.
_OF_EDITS: Mapping[DigitalSource, str] = {
    "trainedAlgorithmicMedia": "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia": "compositeSynthetic",
    "algorithmicallyEnhanced": "algorithmicallyEnhanced",
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Says what became of a provider's credentials, and signs what has none, where there is an `identity` to sign with."""

    catalogue: Catalogue
    conversions: Conversions
    identity: Identity | None

    async def complete(
        self, made: Image, finished: Image, request: ImageRequest, deployment: Deployment
    ) -> tuple[Image, Provenance]:
        """Return the picture as it is delivered. `made` is what the provider made, `finished` what was asked for.

        A provider's own signature is never replaced while it holds. A picture that cannot be signed is delivered without: it
        has been paid for.
        """
        if finished.info.has_credentials:
            return finished, "kept"
        lost: Provenance = "lost" if made.info.has_credentials else "none"
        if self.identity is None:
            return finished, lost
        parent = (bytes(made.data), made.info.format) if made.info.has_credentials else None
        manifest = _manifest(_actions(self._source(request, deployment), request.model, converted=parent is not None))
        job = Signing(self.identity, bytes(finished.data), finished.info.format, manifest, parent)
        try:
            return await self.conversions.sign(job), "signed"
        except (UnacceptableImage, OmixaError) as error:
            log.error("credentials.not_signed", extra={"model": request.model, "reason": error.message})
            return finished, lost

    def _source(self, request: ImageRequest, deployment: Deployment) -> str:
        """Return where the pixels come from, as IPTC names it."""
        model = self.catalogue.resolve(request.model)
        source = "algorithmicMedia" if deployment.is_simulated else model.digital_source
        return _OF_EDITS[source] if request.operation == "edit" else source


def sample(identity: Identity, picture: bytes) -> Signing:
    """Return what signs a PNG on trial, to know that an identity can."""
    return Signing(identity, picture, "png", _manifest(_actions("algorithmicMedia", "Omixa", converted=False)))


def _manifest(actions: list[dict[str, Any]]) -> dict[str, object]:
    """Return what is signed. It says nothing of the prompt, the caller or the request."""
    return {
        "claim_generator_info": [{"name": "Omixa", "version": __version__}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
    }


def _actions(source: str, model: str, *, converted: bool) -> list[dict[str, Any]]:
    if converted:
        # What the provider signed stays readable inside, as that of the parent.
        opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
        return [opened, {"action": "c2pa.converted", "softwareAgent": {"name": "Omixa", "version": __version__}}]
    return [{"action": "c2pa.created", "digitalSourceType": _SOURCES + source, "softwareAgent": {"name": model}}]
