"""Answers as bytes: a picture's text is passed on as it came or, where there is none, made piece by piece while it is sent.

The same functions render an answer for the first time and again later from the stored result, so both are equal to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pybase64

from omixa.domain.images import Image
from omixa.gateway.run import Answer, Run
from omixa.providers.base import PartialImage

# Bytes of a picture that are encoded at a time: a multiple of three, so that the pieces of base64 fit together.
_PIECE_BYTES = 3 * 96 * 1024

_PREFIXES = {"generation": "image_generation", "edit": "image_edit"}


@dataclass(frozen=True, slots=True)
class Shown:
    """How pictures are shown: inside the answer, by a link to each, or both."""

    inline: bool
    links: Sequence[str] = ()


INLINE = Shown(inline=True)


def render_answer(answer: Answer, shown: Shown = INLINE) -> tuple[int, Iterator[bytes | memoryview]]:
    """Return the length of the JSON answer in bytes, and its pieces."""
    frames = _frames(answer, shown)
    length = sum(map(len, frames))
    if shown.inline:
        length += sum([4 * ((len(image.data) + 2) // 3) for image in answer.images])
    return length, _pieces(answer, frames, shown)


def _pieces(answer: Answer, frames: Sequence[bytes], shown: Shown) -> Iterator[bytes | memoryview]:
    for index, image in enumerate(answer.images):
        yield frames[index]
        if shown.inline:
            yield from _base64(image)
    yield frames[-1]


def _frames(answer: Answer, shown: Shown) -> list[bytes]:
    """Return what stands before each picture of an answer, and behind the last."""
    created, rest = answer.envelope["created"], {**answer.envelope}
    del rest["created"]
    head, tail = b'{"created":%d,"data":[{"b64_json":' % created, b"}]," + msgspec.json.encode(rest)[1:]
    if not shown.links:
        return [head + b'"', *[b'","url":null},{"b64_json":"'] * (len(answer.images) - 1), b'","url":null' + tail]
    opening, closing = (b'"', b'"') if shown.inline else (b"null", b"")
    *links, last = [closing + b',"url":' + msgspec.json.encode(link) for link in shown.links]
    return [head + opening, *[link + b'},{"b64_json":' + opening for link in links], last + tail]


def preview_event(run: Run, preview: PartialImage) -> Iterator[bytes | memoryview]:
    """Yield the event of a picture in the making."""
    rest = {
        "created_at": int(time.time()),
        "partial_image_index": preview.index,
        "size": preview.image.info.size,
        "quality": run.request.quality,
        "background": run.request.background,
        "output_format": preview.image.info.format,
    }
    yield from _event(f"{_PREFIXES[run.request.operation]}.partial_image", preview.image, rest)


def completed_event(answer: Answer, index: int, shown: Shown = INLINE) -> Iterator[bytes | memoryview]:
    """Yield the event of one finished picture. Its usage is that picture's own; the request's bill stands on the last."""
    envelope = answer.envelope
    omixa = envelope["omixa"]
    usage: dict[str, Any] = dict(omixa["usage_by_image"][index])
    last = index + 1 == len(answer.images)
    if last:
        usage["billed_amount"] = envelope["usage"]["billed_amount"]
    image = answer.images[index]
    rest = {
        "created_at": envelope["created"],
        "size": image.info.size,
        "quality": envelope["quality"],
        "background": envelope["background"],
        "output_format": image.info.format,
        "usage": usage,
        "omixa": omixa if last else {"request_id": omixa["request_id"], "image": index},
    }
    if shown.links:
        rest = {"url": shown.links[index], **rest}
    yield from _event(f"{_PREFIXES[omixa['operation']]}.completed", image, rest, inline=shown.inline)


def _event(name: str, image: Image, rest: Mapping[str, Any], *, inline: bool = True) -> Iterator[bytes | memoryview]:
    head = f'event: {name}\ndata: {{"type":"{name}","b64_json":'
    yield (head + ('"' if inline else "null")).encode()
    if inline:
        yield from _base64(image)
    yield (b'",' if inline else b",") + msgspec.json.encode(rest)[1:] + b"\n\n"


def error_event(body: bytes) -> bytes:
    """Return an error as the last event of a stream."""
    return b"data: " + body + b"\n\n"


def _base64(image: Image) -> Iterator[bytes | memoryview]:
    if image.base64 is not None:
        yield image.base64
        return
    view = memoryview(image.data)
    for start in range(0, len(view), _PIECE_BYTES):
        yield pybase64.b64encode(view[start : start + _PIECE_BYTES])
