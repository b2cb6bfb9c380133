"""Bodies of multipart/form-data whose parts are never joined, so that pictures stay where they are. Source: RFC 7578."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping

from omixa.domain.images import MEDIA_TYPES, Image

_EXTENSIONS: Mapping[str, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}


def form(
    texts: Mapping[str, str], pictures: Iterable[tuple[str, Image]] = ()
) -> tuple[str, tuple[bytes | memoryview, ...]]:
    """Return the content type and the parts of a body; texts first, then each picture under its name as a file."""
    boundary = secrets.token_hex(16)
    heads = [_head(boundary, f'name="{name}"') + text.encode() for name, text in texts.items()]
    parts: list[bytes | memoryview] = [b"\r\n".join(heads)]
    for number, (name, image) in enumerate(pictures, 1):
        filename = f"image-{number}.{_EXTENSIONS[image.info.format]}"
        head = _head(boundary, f'name="{name}"; filename="{filename}"', MEDIA_TYPES[image.info.format])
        parts += [b"\r\n" + head, image.data]
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", tuple(parts)


def _head(boundary: str, disposition: str, media_type: str | None = None) -> bytes:
    content_type = f"Content-Type: {media_type}\r\n" if media_type else ""
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n{content_type}\r\n".encode()
