"""Identifiers: a prefix that tells the kind and 128 bits that sort by time, for example req_01k9m4…"""

from __future__ import annotations

import os
import time

# Crockford's base 32 in lower case: no i, l, o or u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DIGITS = 26


def new_id(prefix: str) -> str:
    """Return `prefix_` and 26 base-32 digits: 48 bits of Unix milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return prefix + "_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (_DIGITS - 1), -1, -5))
