"""Cookies of sessions, one-time links, and what forms carry: random tokens of which only digests are stored.

All keys are derived from the server's pepper: whoever can read the database cannot sign in, and whoever can write it cannot make
a session either.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

from omixa.domain.access import Secret

_BYTES = 32


def generate_token() -> Secret:
    """Return a token with 256 bits of randomness, of letters that need no escaping in addresses and cookies."""
    return Secret(secrets.token_urlsafe(_BYTES))


class SessionKeys:
    """Turns tokens into what is stored of them and into what forms carry."""

    def __init__(self, pepper: Secret) -> None:
        self._pepper = bytes.fromhex(pepper.reveal())

    def session_digest(self, token: Secret) -> str:
        """Return what is stored and looked up of a session's cookie, in hexadecimal."""
        return self._mac(b"session", token).hex()

    def link_digest(self, token: Secret) -> str:
        """Return what is stored and looked up of a one-time link, in hexadecimal."""
        return self._mac(b"sign-in-link", token).hex()

    def form_token(self, token: Secret) -> str:
        """Return what every form of a cookie's owner carries, so that nobody else can send one in their name."""
        return self._mac(b"form", token).hex()

    def is_form_token(self, token: Secret, given: str) -> bool:
        """Tell whether a form carries what it must. Takes the same time wherever it differs."""
        return hmac.compare_digest(self.form_token(token).encode(), given.encode())

    def derived(self, part: str, token: Secret) -> str:
        """Return one of several texts that only this gateway can make of a token, in letters that addresses take."""
        return base64.urlsafe_b64encode(self._mac(part.encode(), token)).decode().rstrip("=")

    def _mac(self, purpose: bytes, token: Secret) -> bytes:
        key = hmac.digest(self._pepper, purpose, hashlib.sha256)
        return hmac.digest(key, token.reveal().encode(), hashlib.sha256)
