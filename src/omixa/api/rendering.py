"""Answers as bytes: a picture's text is passed on as it came or, where there is none, made piece by piece while it is sent.

The same functions render an answer for the first time and again later from the stored result, so both are equal to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pybase64

from omixa.domain.images import Image
from omixa.gateway.run import Answer, Run
from omixa.providers.base import PartialImage

# Bytes of a picture that are encoded at a time: a multiple of three, so that the pieces of base64 fit together.
_PIECE_BYTES = 3 * 96 * 1024

_PREFIXES = {"generation": "image_generation", "edit": "image_edit"}


def render_answer(answer: Answer) -> tuple[int, Iterator[bytes | memoryview]]:
    """Return the length of the JSON answer in bytes, and its pieces."""
    head, between, tail = _frame(answer)
    pictures = sum(4 * ((len(image.data) + 2) // 3) for image in answer.images)
    length = len(head) + pictures + len(between) * (len(answer.images) - 1) + len(tail)
    return length, _pieces(answer, head, between, tail)


def _pieces(answer: Answer, head: bytes, between: bytes, tail: bytes) -> Iterator[bytes | memoryview]:
    for index, image in enumerate(answer.images):
        yield between if index else head
        yield from _base64(image)
    yield tail


def _frame(answer: Answer) -> tuple[bytes, bytes, bytes]:
    created, rest = answer.envelope["created"], {**answer.envelope}
    del rest["created"]
    opening, closing = b'{"b64_json":"', b'","url":null}'
    head = b'{"created":%d,"data":[' % created + opening
    return head, closing + b"," + opening, closing + b"]," + msgspec.json.encode(rest)[1:]


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


def completed_event(answer: Answer, index: int) -> Iterator[bytes | memoryview]:
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
    yield from _event(f"{_PREFIXES[omixa['operation']]}.completed", image, rest)


def _event(name: str, image: Image, rest: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    yield f'event: {name}\ndata: {{"type":"{name}","b64_json":"'.encode()
    yield from _base64(image)
    yield b'",' + msgspec.json.encode(rest)[1:] + b"\n\n"


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
