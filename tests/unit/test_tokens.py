"""Token counting: the original vocabulary, the same counts as the plain encoder, bounded work for hostile texts."""

from __future__ import annotations

import base64
import hashlib
import socket
from concurrent.futures import ThreadPoolExecutor
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken import Encoding

from omixa.tokens.o200k import (
    MAX_COUNTED_CHARS,
    MAX_TOKEN_BYTES,
    TokenCount,
    Tokenizer,
    _build_encoding,
    _cuts,
)
from omixa.tokens.vocabulary import VOCABULARY_SIZE, pack, read_ranks, unpack

EXAMPLE = "A premium black and white product dashboard, clean glass UI, high contrast."
ORIGINAL_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"

# Texts where a cut at a wrong place would show: blanks, breaks, contractions, digits, marks, ideographs and kana.
TRICKY = st.text(alphabet=" \n\r\t\u00a0\u3000\x1c'sSlLtaA19/!,-\u0301\u0e01水です。，é😀\ud800", max_size=60)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer()


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return _build_encoding()


def test_the_vocabulary_is_the_original() -> None:
    ranks = read_ranks()
    lines = (base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
    assert len(ranks) == VOCABULARY_SIZE
    assert max(map(len, ranks)) == MAX_TOKEN_BYTES
    assert hashlib.sha256(b"".join(lines)).hexdigest() == ORIGINAL_SHA256


@settings(max_examples=20)
@given(st.lists(st.binary(min_size=1, max_size=255)))
def test_a_packed_vocabulary_comes_back(tokens: list[bytes]) -> None:
    assert list(unpack(pack(tokens))) == tokens


def test_the_public_example_counts_fifteen(tokenizer: Tokenizer) -> None:
    assert tokenizer.count(EXAMPLE) == TokenCount(15, exact=True)
    assert tokenizer.count(EXAMPLE, limit=15) == TokenCount(15, exact=True)
    assert tokenizer.count("") == TokenCount(0, exact=True)


def test_special_tokens_are_ordinary_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("<|endoftext|>").tokens == 7


def test_counting_needs_no_network() -> None:
    with patch.object(socket, "socket", side_effect=AssertionError("no network is allowed")):
        assert Tokenizer().count(EXAMPLE).tokens == 15


def test_threads_share_one_vocabulary() -> None:
    shared = Tokenizer()
    with ThreadPoolExecutor(8) as pool:
        encodings = set(pool.map(lambda _: shared._loaded(), range(32)))
        assert len(encodings) == 1
        assert {count.tokens for count in pool.map(shared.count, [EXAMPLE] * 32)} == {15}


@given(st.one_of(TRICKY, st.text(max_size=60)), st.integers(1, 8))
def test_cutting_changes_no_token(encoding: Encoding, text: str, slice_chars: int) -> None:
    ends = list(_cuts(text, slice_chars))
    slices = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert "".join(slices) == text
    assert [token for part in slices for token in encoding.encode_ordinary(part)] == encoding.encode_ordinary(text)


@given(TRICKY, st.integers(1, 8), st.integers(1, 70))
def test_cuts_stay_within_the_bound(text: str, slice_chars: int, max_chars: int) -> None:
    ends = list(_cuts(text, slice_chars, max_chars))
    assert ends == sorted(set(ends))
    assert all(end <= max_chars for end in ends)
    assert (ends[-1:] == [len(text)]) or not text or len(text) > max_chars


@given(st.one_of(TRICKY, st.text()), st.integers(0, 40))
def test_an_inexact_count_is_over_the_limit_and_below_the_truth(
    tokenizer: Tokenizer, encoding: Encoding, text: str, limit: int
) -> None:
    truth = len(encoding.encode_ordinary(text))
    count = tokenizer.count(text, limit=limit)
    assert count.tokens == truth if count.exact else limit < count.tokens <= truth


def test_a_long_prose_stops_soon_after_its_limit(tokenizer: Tokenizer) -> None:
    text = EXAMPLE * 4_000
    truth = tokenizer.count(text)
    count = tokenizer.count(text, limit=1_000)
    assert truth.exact
    assert not count.exact
    assert 1_000 < count.tokens < truth.tokens


def test_a_text_far_over_its_limit_is_not_encoded() -> None:
    untouched = Tokenizer()
    assert untouched.count(" " * 4_000_000, limit=31_249) == TokenCount(31_250, exact=False)
    assert untouched._encoding is None


@pytest.mark.parametrize(
    "unit", ["a", " ", "1", "\n", "é", "水", "😀", "=", "\u3000", "\u0301", "\ud800", " a", "水。"]
)
def test_floods_are_counted_or_bounded(tokenizer: Tokenizer, unit: str) -> None:
    short = tokenizer.count((unit * 50_000)[:50_000], limit=1_000_000)
    assert short.exact
    flood = tokenizer.count((unit * 4_000_000)[:4_000_000], limit=32_000)
    assert not flood.exact
    assert flood.tokens >= 4_000_000 // MAX_TOKEN_BYTES


def test_the_longest_counted_run_of_blanks_does_not_panic(tokenizer: Tokenizer) -> None:
    assert tokenizer.count(" " * MAX_COUNTED_CHARS) == TokenCount(3_907, exact=True)
    assert not tokenizer.count(" " * (MAX_COUNTED_CHARS + 1)).exact
