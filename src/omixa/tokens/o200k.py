"""Counts the tokens of a text with the o200k encoding, in bounded time and without any network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from .vocabulary import read_ranks

if TYPE_CHECKING:
    from tiktoken import Encoding

MAX_TOKEN_BYTES = 128
"""The longest token of the vocabulary, a run of blanks. A text has at least one token for this many bytes."""

MAX_COUNTED_CHARS = 500_000
"""How much of a text is encoded. tiktoken 0.14 panics on one million blanks in a row and needs about 1 µs a character
for the worst texts, so this is half a second and half of the way to the panic."""

SLICE_CHARS = 16_384
"""A text is encoded in slices of about this length, so that one far over its limit costs little more than the limit."""

# Which characters make one piece before the bytes are merged: part of the encoding, as the vocabulary is.
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PIECES = "|".join(
    (
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + _CONTRACTION,
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + _CONTRACTION,
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)

# No piece holds a blank after something else than blanks, nor a mark or line break after an ideograph or a kana, so a
# text may be cut there without changing a single token.
_CUT = re.compile(r"(?<=\S)(?= )|(?<=[\u4e00-\u9fa5\u3041-\u3096\u30a1-\u30fa])(?=[\n,.!?、。，！？])")


@dataclass(frozen=True, slots=True)
class TokenCount:
    """How many tokens a text has. If it is not `exact`, `tokens` is a proven lower bound: there may be more."""

    tokens: int
    exact: bool


class Tokenizer:
    """Counts o200k tokens. Reads the vocabulary on first use; any number of threads may share one instance."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._encoding: Encoding | None = None

    def load(self) -> None:
        """Read the vocabulary now, so that the first text need not wait for it (about 0.4 s)."""
        self._loaded()

    def count(self, text: str, *, limit: int | None = None) -> TokenCount:
        """Return the number of tokens of `text`; what looks like a special token counts as ordinary text.

        The answer is exact unless the text is proven to be over `limit` tokens, where counting stops early, or it goes
        on after the last cut within MAX_COUNTED_CHARS characters. So with exact=False a text is either over the limit
        or too long to be counted, and never a usual prompt. Takes at most about half a second, without the interpreter
        lock; lone surrogates count as U+FFFD.
        """
        bound = _lower_bound(text)
        if limit is not None and bound > limit:
            return TokenCount(bound, exact=False)
        encode = self._loaded().encode_ordinary
        counted = start = 0
        for end in _cuts(text):
            counted += len(encode(text[start:end]))
            start = end
            if limit is not None and counted > limit:
                break
        return TokenCount(counted + _lower_bound(text[start:]), exact=start == len(text))

    def _loaded(self) -> Encoding:
        with self._lock:
            if self._encoding is None:
                self._encoding = _build_encoding()
            return self._encoding


def _build_encoding() -> Encoding:
    from tiktoken import Encoding

    ranks = read_ranks()
    encoding = Encoding("o200k_base", pat_str=_PIECES, mergeable_ranks=ranks, special_tokens={})
    # The encoding keeps this dictionary for pickling alone; the copy it works with is its own.
    ranks.clear()
    return encoding


def _lower_bound(text: str) -> int:
    # A lone surrogate becomes one byte here and three in the encoder, so the bound stays below.
    return -(-len(text.encode("utf-8", "replace")) // MAX_TOKEN_BYTES)


def _cuts(text: str, slice_chars: int = SLICE_CHARS, max_chars: int = MAX_COUNTED_CHARS) -> Iterator[int]:
    """Yield ascending positions where `text` may be cut; the last is its end, if that is within `max_chars`."""
    start = 0
    while cut := _CUT.search(text, start + slice_chars, max_chars + 1):
        start = cut.start()
        yield start
    if start < len(text) <= max_chars:
        yield len(text)
