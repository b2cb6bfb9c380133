"""Sign pictures with Content Credentials (C2PA) of the operator's own, by the library of the standard's authors."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omixa.domain.images import MEDIA_TYPES, Image, ImageFormat
from omixa.errors import InvalidRequest
from omixa.imaging.inspect import inspect

# A thumbnail would cost more than everything else, and a picture that is checked here would be read once more.
_SETTINGS = {"builder": {"thumbnail": {"enabled": False}}, "verify": {"verify_after_sign": False}}
_PARENT = "parent"
# A white pixel, to try a certificate with.
SAMPLE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose credentials they are: a chain of certificates and its private key, both PEM files, and the key's algorithm."""

    certificate: Path
    private_key: Path
    algorithm: str


@dataclass(frozen=True, slots=True)
class Signing:
    """A picture, and the manifest that is to be signed into it, as JSON values.

    `parent` is the picture that it was made from, where that has credentials of its own.
    """

    identity: Identity
    data: bytes
    format: ImageFormat
    manifest: dict[str, object]
    parent: tuple[bytes, ImageFormat] | None = None


class Notary:
    """Signs, inside a worker."""

    def carry_out(self, job: Signing) -> Iterator[Image]:
        """Yield the signed picture. Raises InvalidRequest that says why it cannot be signed."""
        try:
            import c2pa
        except ImportError as error:
            raise InvalidRequest("the library c2pa-python is not installed; omixa[c2pa] brings it") from error
        try:
            yield _signed(job)
        except (OSError, c2pa.C2paError) as error:
            raise InvalidRequest(f"{type(error).__name__}: {error}") from error


def _signed(job: Signing) -> Image:
    import c2pa

    identity = job.identity
    # Read for every picture, so that a renewed certificate needs no restart.
    certificate, private_key = identity.certificate.read_bytes(), identity.private_key.read_bytes()
    info = c2pa.C2paSignerInfo(identity.algorithm.encode(), certificate, private_key, None)
    with (
        c2pa.Context(c2pa.Settings.from_dict(_SETTINGS), c2pa.Signer.from_info(info)) as context,
        c2pa.Builder(job.manifest, context) as builder,
    ):
        if job.parent is not None:
            data, kind = job.parent
            ingredient = {"title": "the picture as its provider made it", "relationship": "parentOf", "label": _PARENT}
            builder.add_ingredient(ingredient, MEDIA_TYPES[kind], io.BytesIO(data))
        signed = io.BytesIO()
        builder.sign(MEDIA_TYPES[job.format], io.BytesIO(job.data), signed)
    return Image(signed.getvalue(), inspect(signed.getvalue()))
