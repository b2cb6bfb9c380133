"""Multipart forms as they arrive (RFC 7578): bounded in every direction, kept in memory only, and the same for any pieces.

The parser finds parts in the bytes; what a form may be is decided here. Nothing but their presence matters of file names: they
are neither kept nor written anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from omixa.catalogue.bodies import Body, Upload, shortened
from omixa.errors import InvalidRequest, TooLarge, UnsupportedMediaType

FORM = "multipart/form-data"
# The pictures to edit. Clients with several repeat this field or write it with brackets.
PICTURES = "image"

MAX_PARTS = 64
MAX_PART_HEADERS = 8
MAX_PART_HEADER_BYTES = 4096
MAX_FILE_BYTES = 50 * 1024 * 1024
MAX_TEXT_BYTES = 1024 * 1024
MAX_BOUNDARY_BYTES = 70

_BRACKETS = f"{PICTURES}[]"
# ASCII is a part of UTF-8.
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_ENCODINGS = frozenset({"binary", "8bit", "7bit"})


class FormReader:
    """Takes the bytes of one form in pieces of any size; `finish` gives its fields and files.

    Raises InvalidRequest, TooLarge and UnsupportedMediaType as soon as the form is known to be wrong. `feed` looks for
    boundaries and keeps the pieces; joining them is left to `finish`, which may run in a thread.
    """

    def __init__(self, content_type: str) -> None:
        boundary = _boundary(content_type)
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=MAX_PART_HEADER_BYTES,
            max_header_count=MAX_PART_HEADERS,
            max_segment_count=MAX_PARTS,
            # Of file names, any bytes are taken; names of fields are read as UTF-8 below.
            header_charset="latin-1",
        )
        self._opening = b"--" + boundary
        # What has arrived of the first boundary; None behind it.
        self._start: bytes | None = b""
        self._parts: list[_Part] = []
        self._names: set[str] = set()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        if self._start is not None:
            piece = self._start + piece
            self._start = piece
            if not piece.startswith(self._opening[: len(piece)]):
                raise _malformed("it does not begin with the boundary that Content-Type names")
            if len(piece) < len(self._opening):
                return
            self._start = None
        if not piece:
            return
        try:
            for event in self._parser.parse(piece):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is not None:
                    self._parts[-1].add(event)
        except MultipartError as error:
            raise _refusal(error) from None

    def _begin(self, segment: MultipartSegment) -> None:
        part = _Part(segment)
        if part.name in self._names and part.name != PICTURES:
            shown = shortened(part.name)
            raise InvalidRequest(f"{shown} is given more than once.", param=shown)
        self._names.add(part.name)
        self._parts.append(part)

    def finish(self) -> Body:
        """Return the fields and files. The reader is empty afterwards."""
        try:
            self._parser.close()
        except MultipartError:
            raise _malformed("it ends before its last boundary") from None
        fields: dict[str, msgspec.Raw] = {}
        files: dict[str, tuple[Upload, ...]] = {}
        for part in self._parts:
            if part.is_file:
                files[part.name] = (*files.get(part.name, ()), Upload(part.take(), part.media_type))
            else:
                fields[part.name] = part.text()
        return Body(fields, {}, files, textual=True)


class _Part:
    """A part on its way."""

    def __init__(self, segment: MultipartSegment) -> None:
        headers = _headers(segment)
        # The parser reads bytes as Latin-1, which loses none of them.
        self.name: str = segment.name.encode("latin-1", "replace").decode("utf-8", "replace")
        if not self.name:
            raise _malformed("a part has no name")
        if self.name == _BRACKETS:
            self.name = PICTURES
        self.is_file: bool = segment.filename is not None or "filename*=" in headers["Content-Disposition"].lower()
        self.media_type: str | None = segment.content_type
        self._check_encoding(headers.get("Content-Transfer-Encoding", "binary"), segment.charset or "utf-8")
        self._most = MAX_FILE_BYTES if self.is_file else MAX_TEXT_BYTES
        self._size = 0
        self._pieces: list[bytes] = []

    def _check_encoding(self, encoding: str, charset: str) -> None:
        shown = shortened(self.name)
        if encoding.strip().lower() not in _ENCODINGS:
            raise UnsupportedMediaType(
                f"{shown} is encoded as {shortened(encoding)}; send the bytes as they are.", param=shown
            )
        if not self.is_file and charset.lower() not in _CHARSETS:
            raise UnsupportedMediaType(f"{shown} is written in {shortened(charset)}; send UTF-8.", param=shown)

    def add(self, piece: bytes) -> None:
        """Keep a piece. Raises TooLarge."""
        self._size += len(piece)
        if self._size > self._most:
            shown = shortened(self.name)
            raise TooLarge(
                f"{shown} is over {self._most} bytes, the most of one {'file' if self.is_file else 'text'} in a form.",
                param=shown,
            )
        self._pieces.append(piece)

    def take(self) -> bytes:
        """Return the bytes and forget them."""
        data, self._pieces = b"".join(self._pieces), []
        return data

    def text(self) -> msgspec.Raw:
        """Return the text as a JSON string."""
        try:
            return msgspec.Raw(msgspec.json.encode(self.take().decode()))
        except UnicodeDecodeError:
            shown = shortened(self.name)
            raise InvalidRequest(f"{shown} is not valid UTF-8.", code="invalid_form", param=shown) from None


def _headers(segment: MultipartSegment) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in segment.headerlist:
        if name in headers:
            raise _malformed(f"a part has two headers {name}")
        # A bare line feed is among them: the parser sees it only when a piece happens to end behind it.
        if any(character < " " or character == "\x7f" for character in value):
            raise _malformed("a header of a part has a control character")
        headers[name] = value
    return headers


def _boundary(content_type: str) -> bytes:
    text: str = parse_options_header(content_type)[1].get("boundary", "")
    if not 0 < len(text) <= MAX_BOUNDARY_BYTES or not text.isascii() or not text.isprintable():
        raise InvalidRequest(
            f"Content-Type must name the boundary of the form, {FORM}; boundary=…, in 1 to {MAX_BOUNDARY_BYTES} characters."
            " Clients do that by themselves when the header is left to them.",
            code="invalid_form",
            param="Content-Type",
        )
    return text.encode()


def _refusal(error: MultipartError) -> InvalidRequest | TooLarge:
    if isinstance(error, ParserLimitReached):
        return TooLarge(
            f"A form may have up to {MAX_PARTS} parts, each with up to {MAX_PART_HEADERS} headers of up to"
            f" {MAX_PART_HEADER_BYTES} bytes."
        )
    reason = str(error).replace("segment", "part")
    return _malformed(reason[:1].lower() + reason[1:])


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not a valid multipart form: {reason}.", code="invalid_form")
