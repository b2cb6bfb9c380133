"""Passwords: which are taken, and how they are hashed. Argon2id with the second recommendation of RFC 9106."""

from __future__ import annotations

import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from omixa.errors import InvalidRequest

MIN_CHARS = 12
MAX_CHARS = 256
# Fewer different characters are a pattern, not a password.
_MIN_DIFFERENT = 5


def require_password(password: str, name: str) -> None:
    """Raise InvalidRequest unless a password is good enough for a person of that name."""
    if not MIN_CHARS <= len(password) <= MAX_CHARS:
        raise InvalidRequest(
            f"A password has from {MIN_CHARS} to {MAX_CHARS} characters. Several words in a row are a good one.",
            param="password",
        )
    if len(set(password)) < _MIN_DIFFERENT or name in password.lower():
        raise InvalidRequest(
            f"Choose a password without your name in it and of at least {_MIN_DIFFERENT} different characters.",
            param="password",
        )


class Passwords:
    """Hashes and verifies. Each takes 64 MiB and a while by design, so call it in a thread."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        # What the password of nobody is held against, so that it takes as long. Made when it is first needed.
        self._nobodys = ""

    def hash(self, password: str) -> str:
        """Return the hash of a password with its parameters and salt."""
        return self._hasher.hash(_normal(password))

    def verify(self, known: str | None, password: str) -> bool:
        """Tell whether a password fits a hash. Without a hash it takes as long and never does."""
        if not self._nobodys:
            self._nobodys = self._hasher.hash("nobody's")
        try:
            self._hasher.verify(known or self._nobodys, _normal(password))
        except (VerificationError, InvalidHashError):
            return False
        return known is not None

    def is_outdated(self, known: str) -> bool:
        """Tell whether a hash was made with other parameters than those that count now."""
        return self._hasher.check_needs_rehash(known)


def _normal(password: str) -> str:
    """Return one spelling of letters that keyboards spell in several ways."""
    return unicodedata.normalize("NFKC", password)
