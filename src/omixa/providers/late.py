"""Calls that nobody waits for any more and that are listened to all the same, because what they cost is worth knowing.

From then on what arrives is kept without its pictures, so that it takes no memory, and no picture of it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from omixa.errors import UpstreamError

# Longer texts inside an answer are pictures. Nothing else that is read of one comes near.
MAX_TEXT_BYTES = 4096
# What is kept of an answer in all.
MAX_KEPT_BYTES = 256 * 1024

_QUOTE = b'"'
# What ends a text or hides its next character. A line break cannot stand inside one, so it ends whatever went wrong before.
_TEXT_MARK = re.compile(rb'["\\\r\n]')
_DATA_URL = re.compile(rb"data:[a-z/+.-]{1,64};base64,")


class Waiting:
    """Whether somebody waits for a call; shared by whoever waits and whoever carries the call out.

    `part` is asked with the failure when the time of the call is over, and returns whether the call is listened to from then on.
    `is_sent` says that the provider has the whole request, `is_over` that nobody waits.
    """

    __slots__ = ("_part", "is_over", "is_sent")

    def __init__(self, part: Callable[[UpstreamError], bool]) -> None:
        self._part = part
        self.is_sent = False
        self.is_over = False

    def give_up(self, error: UpstreamError) -> bool:
        """Stop waiting, with this failure. Returns whether to go on all the same; if not, the failure is to be raised."""
        if not self.is_over:
            self.is_over = self._part(error)
        return self.is_over


class PictureFilter:
    """Takes the pictures out of JSON, also inside events, while it arrives: long texts become empty ones.

    Of an address that holds a picture its beginning stays, so that it reads as one.
    """

    def __init__(self) -> None:
        # The text that is open, None between two texts and, with `_is_dropped`, for one that is too long.
        self._text: bytearray | None = None
        self._is_dropped = False
        self._is_escaped = False

    def take(self, piece: bytes) -> bytes:
        """Return what is to be kept of the next piece. A text that is still open is held back."""
        kept: list[bytes] = []
        position = 0
        while position < len(piece):
            if self._text is None and not self._is_dropped:
                quote = piece.find(_QUOTE, position)
                end = len(piece) if quote < 0 else quote + 1
                kept.append(piece[position:end])
                position = end
                self._text = None if quote < 0 else bytearray()
            elif self._is_escaped:
                self._is_escaped = False
                self._hold(piece[position : position + 1], kept)
                position += 1
            else:
                mark = _TEXT_MARK.search(piece, position)
                end = len(piece) if mark is None else mark.end()
                ends = mark is not None and mark[0] != b"\\"
                self._is_escaped = mark is not None and not ends
                self._hold(piece[position : end - ends], kept)
                if ends:
                    kept += [bytes(self._text or b""), piece[end - 1 : end]]
                    self._text, self._is_dropped = None, False
                position = end
        return b"".join(kept)

    def _hold(self, part: bytes, kept: list[bytes]) -> None:
        if self._text is None:
            return
        self._text += part
        if len(self._text) > MAX_TEXT_BYTES:
            beginning = _DATA_URL.match(self._text)
            kept.append(bytes(beginning[0]) if beginning else b"")
            self._text, self._is_dropped = None, True
