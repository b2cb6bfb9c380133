"""The o200k vocabulary as one small file: 199,998 byte strings in rank order, each after one byte of length, in xz.

The file is 0.8 MB where the original list is 3.6 MB. scripts/refresh_vocabulary.py makes it; LICENSE.o200k.txt says
where the byte strings come from.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from importlib.resources import files

VOCABULARY_FILE = "o200k.xz"
VOCABULARY_SIZE = 199_998

# Two neighbouring entries rarely line up in four bytes, so the position bits that xz assumes only cost space.
_FILTERS = ({"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0},)


def pack(tokens: Iterable[bytes]) -> bytes:
    """Return the compressed file of `tokens`, given in rank order and 1 to 255 bytes long each."""
    return lzma.compress(b"".join(bytes([len(token)]) + token for token in tokens), filters=_FILTERS)


def unpack(packed: bytes) -> Iterator[bytes]:
    """Yield the tokens of a file made by `pack`, in rank order."""
    plain = lzma.decompress(packed)
    start = 0
    while start < len(plain):
        end = start + 1 + plain[start]
        yield plain[start + 1 : end]
        start = end


def read_ranks() -> dict[bytes, int]:
    """Return the rank of each token of the file that ships with Omixa."""
    packed = files(__package__).joinpath(VOCABULARY_FILE).read_bytes()
    return {token: rank for rank, token in enumerate(unpack(packed))}
