"""Digests by which a provider's credential is known again, without anybody being able to tell it from them."""

from __future__ import annotations

import hashlib
import hmac

from omixa.domain.access import Secret


class CredentialDigests:
    """Makes them. The key is derived from the pepper, so they fit between servers that share a ledger and nowhere else."""

    def __init__(self, pepper: Secret) -> None:
        self._key = hmac.digest(bytes.fromhex(pepper.reveal()), b"credentials", hashlib.sha256)

    def of(self, *parts: str) -> str:
        """Return the digest of where a credential is used, and of itself: HMAC-SHA-256, in hexadecimal."""
        # With the lengths, so that no two lists of parts read alike.
        text = "".join(f"{len(part)}:{part}" for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
