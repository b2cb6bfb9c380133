"""Multipart forms written by hand, so that they can be wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

BOUNDARY = "edge-7MA4YWxkTrZu0gW"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, data: bytes | str, filename: str | None = None, media_type: str | None = None, *more: str) -> bytes:
    """Return a part with its headers. A `filename` makes it a file."""
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f'Content-Disposition: form-data; name="{name}"{file}']
    lines += [] if media_type is None else [f"Content-Type: {media_type}"]
    return raw_part("\r\n".join([*lines, *more]).encode(), data.encode() if isinstance(data, str) else data)


def raw_part(headers: bytes, data: bytes) -> bytes:
    return b"--" + BOUNDARY.encode() + b"\r\n" + headers + b"\r\n\r\n" + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """Return a whole form."""
    return b"".join(parts) + b"--" + BOUNDARY.encode() + b"--\r\n"


def split(body: bytes, places: Iterable[int]) -> list[bytes]:
    """Return a body in pieces, cut at some places."""
    cuts = [0, *sorted({place for place in places if 0 < place < len(body)}), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(cuts)]
