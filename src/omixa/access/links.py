"""Links to pictures: whoever has one may fetch one picture until a time, and needs no key for it.

Nothing is stored of a link. It carries its end and a signature over its path and its end; the key of the signature is derived
from the server's pepper, so all servers that share a ledger honour each other's links, and a new pepper ends them all.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from omixa.domain.access import Secret
from omixa.errors import BadLink

_EXPIRES = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a link says of itself, as it was written; a part that is missing is None."""

    path: str
    expires: str | None
    signature: str | None


class LinkSigner:
    """Signs links and checks them."""

    def __init__(self, pepper: Secret) -> None:
        self._key = hmac.digest(bytes.fromhex(pepper.reveal()), b"links", hashlib.sha256)

    def sign(self, path: str, expires_s: int) -> str:
        """Return the path with its end, in Unix seconds, and its signature."""
        return f"{path}?expires={expires_s}&signature={self._signature(path, str(expires_s))}"

    def check(self, claim: Claim, *, now_s: int) -> int:
        """Return the end of a link. Raises BadLink; takes the same time wherever signatures differ."""
        if claim.expires is None or claim.signature is None or not _EXPIRES.fullmatch(claim.expires):
            raise BadLink("This is not a whole link: it ends with expires=… and signature=….")
        expected = self._signature(claim.path, claim.expires)
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
            raise BadLink("The signature does not fit this link. Copy the whole link, or ask for a new one.")
        expires_s = int(claim.expires)
        if now_s >= expires_s:
            raise BadLink(
                "The time of this link has passed. Whoever has the key of its request can ask for a new one.",
                code="link_expired",
            )
        return expires_s

    def _signature(self, path: str, expires: str) -> str:
        message = f"{path}?expires={expires}".encode()
        return base64.urlsafe_b64encode(hmac.digest(self._key, message, hashlib.sha256)).decode().rstrip("=")
