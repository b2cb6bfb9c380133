"""API keys: how they look, how they are checked without a database, and how they are stored.

A key is omx_live_ or omx_test_, 32 random base-62 characters and 6 characters of checksum, so that a typing error or a
half-copied key is refused at once and a scanner can recognise a leaked one. Only its HMAC under the server's pepper is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass

from omixa.domain.access import Mode, Secret
from omixa.errors import Unauthenticated

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_LENGTH = 32
_CHECKSUM_LENGTH = 6
_PREFIXES: tuple[tuple[str, Mode], ...] = (("omx_live_", "live"), ("omx_test_", "test"))
PEPPER_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A well-formed key. `secret` is the whole text."""

    mode: Mode
    secret: Secret

    @property
    def last4(self) -> str:
        """Return the last characters, by which people tell their keys apart."""
        return self.secret.reveal()[-4:]

    def digest(self, pepper: Secret) -> str:
        """Return what is stored and looked up: HMAC-SHA-256 of the key under the pepper, in hexadecimal."""
        # Every request does this, and hmac.digest would let go of Python's lock for these few bytes.
        return hmac.new(bytes.fromhex(pepper.reveal()), self.secret.reveal().encode(), hashlib.sha256).hexdigest()


def generate_key(mode: Mode) -> ApiKey:
    """Return a new key with 190 bits of randomness."""
    body = f"omx_{mode}_" + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_LENGTH))
    return ApiKey(mode, Secret(body + _checksum(body)))


def parse_key(text: str) -> ApiKey:
    """Return a well-formed key. Raises Unauthenticated, before any database is asked, for anything else."""
    for prefix, mode in _PREFIXES:
        body, checksum = text[:-_CHECKSUM_LENGTH], text[-_CHECKSUM_LENGTH:]
        if text.startswith(prefix) and len(text) == len(prefix) + _RANDOM_LENGTH + _CHECKSUM_LENGTH:
            if text.isascii() and hmac.compare_digest(_checksum(body), checksum):
                return ApiKey(mode, Secret(text))
            raise Unauthenticated("The API key is misspelt: its checksum does not fit. Copy the whole key again.")
    raise Unauthenticated("The API key is malformed: it starts with omx_live_ or omx_test_ and is 47 characters long.")


def generate_pepper() -> Secret:
    """Return a new pepper, in hexadecimal."""
    return Secret(secrets.token_hex(PEPPER_BYTES))


def fingerprint_key(pepper: Secret) -> bytes:
    """Return 32 bytes that only servers with this pepper know."""
    return hmac.digest(bytes.fromhex(pepper.reveal()), b"fingerprints", hashlib.sha256)


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
