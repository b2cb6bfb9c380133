"""The bytes that go over the wire: pictures of a wanted length, the provider's answers, and the requests."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType

from bench.works import AnswerName, Operation

SIDE = 1024
ROW_BYTES = 1 + 3 * SIDE
PROMPT = "A premium black and white product dashboard, clean glass UI, high contrast."

# Lengths of the pictures. In base64 they are a third longer: 8 KB, 1.5 MB and 4 MB.
PICTURE_BYTES = MappingProxyType({"8k": 6_144, "1500k": 1_125_000, "4000k": 3_000_000})
# A form carries the file itself, which makes it as long as the edit in JSON.
FILE_BYTES = 4_000_000
BOUNDARY = "f3a90c5e71d24b8896e07c2d5ab81f43"

# What 1024 rows of zeros become, and what deflate adds to each row of noise, both a little too high: a comment fills the rest.
_FLAT_BYTES = 3_300
_NOISE_ROW_BYTES = ROW_BYTES + 4


def picture(size_bytes: int) -> bytes:
    """Return a complete 1024x1024 RGB PNG of exactly this length: rows of noise, then black, and a comment."""
    noise_rows = max(0, min(SIDE, (size_bytes - _FLAT_BYTES) // _NOISE_ROW_BYTES))
    noise = random.Random(size_bytes)
    rows = b"".join(b"\0" + noise.randbytes(ROW_BYTES - 1) for _ in range(noise_rows))
    pixels = zlib.compress(rows + bytes(ROW_BYTES * (SIDE - noise_rows)), 9)
    head = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    tail = _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    comment = b"Comment\0"
    filling = size_bytes - len(head) - len(tail) - len(_chunk(b"tEXt", comment))
    assert filling >= 0, "the picture is longer than wanted"
    return head + _chunk(b"tEXt", comment + b"." * filling) + tail


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def provider_answer(name: AnswerName) -> bytes:
    """Return the JSON with which the provider answers."""
    document = {
        "created": 1_780_000_000,
        "model": "MAI-Image-2.5",
        "size": f"{SIDE}x{SIDE}",
        "data": [{"b64_json": base64.b64encode(picture(PICTURE_BYTES[name])).decode()}],
        "usage": {"num_output_tokens": 1024, "num_input_text_tokens": 16, "num_input_image_tokens": 0},
    }
    return json.dumps(document, separators=(",", ":")).encode()


def request_body(operation: Operation) -> tuple[str, bytes]:
    """Return what a client sends and of which type it is; an edit carries a reference picture, 4 MB as a data URL or a file.

    The last two kinds of work are for Omixa alone: it draws, or encodes the provider's picture again.
    """
    body: dict[str, object] = {"model": "MAI-Image-2.5", "prompt": PROMPT, "n": 1, "size": f"{SIDE}x{SIDE}"}
    if operation == "illustration":
        body["model"] = "omixa-illustrator-1"
    if operation == "conversion":
        body["output_format"] = "webp"
    if operation == "form":
        return f"multipart/form-data; boundary={BOUNDARY}", _form(body, picture(FILE_BYTES))
    if operation == "edit":
        url = "data:image/png;base64," + base64.b64encode(picture(PICTURE_BYTES["4000k"])).decode()
        body["input_images"] = [{"type": "image_url", "image_url": {"url": url}}]
    return "application/json", json.dumps(body).encode()


def _form(fields: Mapping[str, object], file: bytes) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    texts = "".join(f'{head}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    opening = f'{head}"image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    return f"{texts}{opening}".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
