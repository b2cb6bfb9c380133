"""Parse a complete multipart/form-data body that is already in memory and bounded. Source: RFC 7578."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message

PARTS_MAX = 64
PART_HEADERS_MAX_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Part:
    """One part. A file has a `filename`; a text field has None."""

    name: str
    filename: str | None
    content_type: str | None
    data: bytes


def parse_multipart(body: bytes, content_type: str) -> list[Part]:
    """Return the parts in their order. Raises ValueError when the body does not follow the format."""
    boundary = _boundary(content_type)
    # The line break in front of a delimiter belongs to it; the first delimiter may open the body without one.
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary, PARTS_MAX + 2)
    if len(sections) < 3:
        raise ValueError("the body does not contain the boundary that Content-Type names")
    if len(sections) > PARTS_MAX + 2:
        raise ValueError(f"more than {PARTS_MAX} parts")
    if not sections[-1].startswith(b"--"):
        raise ValueError("the closing boundary is missing")
    return [_part(section) for section in sections[1:-1]]


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise ValueError("Content-Type must be multipart/form-data with a boundary")
    return boundary.encode("latin-1", "replace")


def _part(section: bytes) -> Part:
    head, separator, data = section.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n") or len(head) > PART_HEADERS_MAX_BYTES:
        raise ValueError("a part has no complete headers")
    headers = message_from_bytes(head.removeprefix(b"\r\n"))
    name = headers.get_param("name", header="content-disposition")
    if not isinstance(name, str) or headers.get_content_disposition() != "form-data":
        raise ValueError("a part has no Content-Disposition of form-data with a name")
    declared = headers.get_content_type() if "content-type" in headers else None
    return Part(name, headers.get_filename(), declared, data)
