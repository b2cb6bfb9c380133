"""The body of a request as its fields, without reading through the megabytes of its pictures.

A JSON parser costs about a millisecond for each megabyte, every time it passes over a picture. So in a large body the long
data URLs are found first, by a search for their quotation marks, and a short word stands for each of them while the rest is
parsed. That is exact: only the inside of a string without escapes is replaced, so the rest is JSON if and only if the whole
is, except for characters that no string may have; those are no base64 either and refused when the string itself is read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec
from blake3 import blake3

from omixa.errors import InvalidRequest

# Bodies from this size on are searched for data URLs, and this many are taken out: more than any model accepts.
LIFT_FROM_BYTES = 64 * 1024
MAX_LIFTED = 32
# A wrong value is shown up to this many characters.
MAX_SHOWN_CHARS = 80

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NULL = b"null"
_HEAD = re.compile(rb'"data:image/[A-Za-z]+;base64,')
_PLACE = re.compile(r" \(byte (\d+)\)$")
_UNPAIRED = re.compile(
    rb"\\u[dD](?:[89abAB][\da-fA-F]{2}(?!\\u[dD][c-fC-F])|[c-fC-F][\da-fA-F]{2}(?<!\\u[dD][89abAB]..\\u[dD]...))"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form: its bytes, and the media type in lower case that its part declares, if any."""

    data: bytes
    media_type: str | None


@dataclass(frozen=True, slots=True)
class Body:
    """The fields of a JSON object or of a form.

    `pictures` are views of the data URLs that were taken out, by the words in their place. A form has `files` beside its fields,
    and what it writes of numbers and truth is text: `textual` says so.
    """

    fields: Mapping[str, msgspec.Raw]
    pictures: Mapping[str, memoryview]
    files: Mapping[str, tuple[Upload, ...]] = field(default_factory=dict)
    textual: bool = False

    @property
    def names(self) -> Iterator[str]:
        """Yield the names of everything that is given."""
        yield from self.fields
        yield from self.files

    def given(self, name: str) -> bool:
        """Tell whether a field has a value; null counts as none."""
        if name in self.files:
            return True
        return name in self.fields and bytes(memoryview(self.fields[name])[: len(_NULL) + 1]) != _NULL

    def value(self, name: str) -> object:
        """Return the value of a field. Raises InvalidRequest when it is a file, is not UTF-8, or a number out of range."""
        if name in self.files:
            raise InvalidRequest(
                f"{name} must be text; its part has a file name, as only pictures have.",
                code="invalid_type",
                param=name,
            )
        value = self._decoded(name, self.fields[name])
        if isinstance(value, str) and value in self.pictures:
            return self._decoded(name, b'"%b"' % bytes(self.pictures[value]))
        return value

    def shown(self, name: str) -> str:
        """Return the beginning of a field's value as it was written, for an error message."""
        written = memoryview(self.fields[name])
        picture = self.pictures.get(str(written[1 : MAX_SHOWN_CHARS + 1], "utf-8", "replace").removesuffix('"'))
        return shortened(written) if picture is None else '"' + shortened(picture)

    def canonical(self) -> Iterator[bytes | memoryview]:
        """Yield the body in one spelling, with the fields of every object in the order of their names and no white space.

        The pictures are pieces of the body itself, without a copy; the files of a form follow as their digests. Raises
        InvalidRequest as `value` does.
        """
        fields = {name: self._decoded(name, text) for name, text in self.fields.items()}
        yield from self._with_pictures(msgspec.json.encode(fields, order="sorted"))
        for name, uploads in sorted(self.files.items()):
            for upload in uploads:
                digest = blake3(upload.data).hexdigest()
                yield b"\n" + msgspec.json.encode([name, upload.media_type, digest])

    def _with_pictures(self, spelled: bytes) -> Iterator[bytes | memoryview]:
        if not self.pictures:
            yield spelled
            return
        words = re.compile(b"(" + b"|".join(re.escape(word.encode()) for word in self.pictures) + b")")
        # Every second piece is a word.
        for number, piece in enumerate(words.split(spelled)):
            yield self.pictures[piece.decode()] if number % 2 else piece

    def _decoded(self, name: str, text: bytes | msgspec.Raw) -> object:
        try:
            return msgspec.json.decode(text)
        except UnicodeDecodeError:
            raise InvalidRequest(f"{name} is not valid UTF-8.", code="invalid_json", param=name) from None
        except RecursionError:
            raise InvalidRequest(f"{name} is nested too deeply.", param=name) from None
        except msgspec.ValidationError as error:
            raise InvalidRequest(f"{name} is not a usable value: {error}.", param=name) from None
        except msgspec.DecodeError as error:
            raise InvalidRequest(f"{name} is not valid JSON: {error}.", code="invalid_json", param=name) from None


def shortened(text: memoryview | str) -> str:
    """Return at most MAX_SHOWN_CHARS of a text, with an ellipsis where some is missing."""
    start = text[: MAX_SHOWN_CHARS + 1]
    shown = start if isinstance(start, str) else str(start, "utf-8", "replace")
    return shown if len(text) <= MAX_SHOWN_CHARS else shown[:MAX_SHOWN_CHARS] + "…"


def parse_body(body: bytes) -> Body:
    """Return the fields of a JSON object. Raises InvalidRequest with the place for anything else, whatever the bytes are."""
    text, pictures = _lift(body)
    try:
        return Body(_FIELDS.decode(text), pictures)
    except (ValueError, RecursionError) as error:
        raise _refusal(body, error) from None


def _lift(body: bytes) -> tuple[bytes, dict[str, memoryview]]:
    """Return the body with a word in the place of each long data URL, and the data URLs by their words."""
    pictures: dict[str, memoryview] = {}
    if len(body) < LIFT_FROM_BYTES:
        return body, pictures
    # Nobody can write these words into a prompt: they are new for each body.
    nonce = secrets.token_hex(16)
    pieces: list[bytes] = []
    kept = quote = 0
    for number in range(MAX_LIFTED):
        quote = body.find(b'"data:image/', quote)
        end = body.find(b'"', quote + 1)
        if quote < 0 or end < 0:
            break
        if _HEAD.match(body, quote) and body[quote - 1 : quote] != b"\\" and body.find(b"\\", quote, end) < 0:
            word = f"picture {number} {nonce}"
            pictures[word] = memoryview(body)[quote + 1 : end]
            pieces += (body[kept : quote + 1], word.encode())
            kept = end
        quote = end
    return b"".join((*pieces, body[kept:])), pictures


def _refusal(body: bytes, error: ValueError | RecursionError) -> InvalidRequest:
    if isinstance(error, RecursionError):
        return _invalid("it is nested too deeply")
    if isinstance(error, UnicodeDecodeError):
        return _invalid("a field name is not valid UTF-8")
    if isinstance(error, msgspec.ValidationError):
        return InvalidRequest(f"The body must be a JSON object. {error}.", code="invalid_type")
    return _invalid(_fault(body))


def _fault(body: bytes) -> str:
    if surrogate := _UNPAIRED.search(body):
        return f"{surrogate[0].decode()} is half of a surrogate pair and no character; write both halves, or UTF-8"
    # The error at hand may count in the text without pictures; the place is that of a second try with the whole.
    try:
        _FIELDS.decode(body)
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        place = _PLACE.search(reason)
        if place is not None:
            position = int(place[1])
            line, column = body.count(b"\n", 0, position) + 1, position - body.rfind(b"\n", 0, position)
            return f"{reason[: place.start()]} at line {line}, column {column}"
    return f"it ends too early, after {len(body)} bytes"


def _invalid(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {reason}.", code="invalid_json")
