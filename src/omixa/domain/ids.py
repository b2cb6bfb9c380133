"""Identifiers: a prefix that tells the kind and 128 bits that sort by time, for example req_01k9m4…"""

from __future__ import annotations

import random
import time

# Crockford's base 32 in lower case: no i, l, o or u.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Two digits at a time halve the work.
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)
_BITS = 130


def new_id(prefix: str) -> str:
    """Return `prefix_` and 26 base-32 digits: 48 bits of Unix milliseconds, then 80 random bits."""
    # Unique, not secret: nothing is granted to whoever knows an id, and the system's own source would cost a system call.
    return _text(prefix, (time.time_ns() // 1_000_000) << 80 | random.getrandbits(80))


def first_id(prefix: str, at_ms: int) -> str:
    """Return the least of all ids that were made at a time in Unix milliseconds or after it."""
    return _text(prefix, at_ms << 80)


def _text(prefix: str, number: int) -> str:
    return prefix + "_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(_BITS - 10, -1, -10)])
