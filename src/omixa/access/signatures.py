"""Signed requests: what is signed, with which secret, and for how long a signature counts. docs/signing.md is for clients.

The secret is derived from the server's pepper and the key's id: whoever reads the database alone cannot sign, and nothing has to
be stored that could be read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

from omixa.domain.access import Secret
from omixa.errors import BadSignature

TIMESTAMP_HEADER = "X-Omixa-Timestamp"
SIGNATURE_HEADER = "X-Omixa-Signature"
# How far a request's time may be from the server's, in either direction.
WINDOW_S = 300

_SECRET_PREFIX = "omx_sign_"  # noqa: S105 - what the secret begins with
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of itself: Unix seconds as they were written, and 64 hexadecimal digits."""

    timestamp: str
    signature: str


def signing_secret(pepper: Secret, key_id: str) -> Secret:
    """Return the secret with which requests of a key are signed: omx_sign_ and 64 hexadecimal digits."""
    message = b"signing:" + key_id.encode()
    return Secret(_SECRET_PREFIX + hmac.new(bytes.fromhex(pepper.reveal()), message, hashlib.sha256).hexdigest())


def sign(secret: Secret, timestamp: str, method: str, target: bytes, body: bytes) -> str:
    """Return the signature of a request: HMAC-SHA-256 over `timestamp.METHOD.path.body`, in hexadecimal.

    The key of the HMAC is the secret's text. `target` is the path with its query, as it stands in the request line.
    """
    head = f"{timestamp}.{method}.".encode() + target + b"."
    mac = hmac.new(secret.reveal().encode(), head, hashlib.sha256)
    mac.update(body)
    return mac.hexdigest()


def read_claim(timestamp: str | None, signature: str | None, *, now_s: int) -> Claim:
    """Return what the two headers claim. Raises BadSignature when one is missing or malformed, or the time is too far off."""
    if timestamp is None or signature is None:
        raise BadSignature(
            f"This key takes signed requests only. Send {TIMESTAMP_HEADER} and {SIGNATURE_HEADER}: sha256=….",
            code="missing_signature",
        )
    if not _TIMESTAMP.fullmatch(timestamp):
        raise BadSignature(f"{TIMESTAMP_HEADER} must be Unix time in whole seconds.", param=TIMESTAMP_HEADER)
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise BadSignature(f"{SIGNATURE_HEADER} must be sha256= and 64 hexadecimal digits.", param=SIGNATURE_HEADER)
    if abs(now_s - int(timestamp)) > WINDOW_S:
        raise BadSignature(
            f"{TIMESTAMP_HEADER} is more than {WINDOW_S} seconds from this server's time, {now_s}."
            " Sign the request anew, and check the clock.",
            code="signature_expired",
            param=TIMESTAMP_HEADER,
        )
    return Claim(timestamp, found[1].lower())


def check_claim(claim: Claim, secret: Secret, method: str, target: bytes, body: bytes) -> None:
    """Raise BadSignature unless a request is signed as it claims. Takes the same time wherever the signatures differ."""
    expected = sign(secret, claim.timestamp, method, target, body)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise BadSignature(
            f"{SIGNATURE_HEADER} does not fit this request. It is the HMAC-SHA-256 of timestamp.METHOD.path.body with the"
            " key's signing secret; the path includes the query, and the body is what is sent, byte for byte.",
            param=SIGNATURE_HEADER,
        )
