"""Credentials at rest: what opens one, and that nothing else does."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.access.envelopes import (
    KEY_BYTES,
    MasterKey,
    NotOpened,
    Sealed,
    binding,
    fingerprint,
    generate_master_key,
    rewrap,
    seal,
    unseal,
)
from omixa.domain.access import Secret

KEYS = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES).map(MasterKey)
TEXTS = st.text(max_size=200)
BINDINGS = st.builds(binding, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS)


def opens(key: MasterKey, sealed: Sealed, bound_to: bytes) -> bool:
    try:
        unseal(key, sealed, bound_to)
    except NotOpened:
        return False
    return True


@given(key=KEYS, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=2000), bound_to=BINDINGS)
def test_what_was_sealed_opens_and_shows_nothing_before(key: MasterKey, text: str, bound_to: bytes) -> None:
    sealed = seal(key, Secret(text), bound_to)
    assert unseal(key, sealed, bound_to) == Secret(text)
    if len(text) > 3:
        assert text.encode() not in sealed.ciphertext + sealed.wrapped_key


@given(key=KEYS, other=KEYS, mine=BINDINGS, others=BINDINGS)
def test_another_key_or_another_purpose_opens_nothing(
    key: MasterKey, other: MasterKey, mine: bytes, others: bytes
) -> None:
    sealed = seal(key, Secret("key"), mine)
    assert opens(other, sealed, mine) == (other == key)
    assert opens(other, replace(sealed, key_id=other.id), mine) == (other == key)
    assert opens(key, sealed, others) == (others == mine)


@given(key=KEYS, where=st.sampled_from(["wrapped_key", "ciphertext"]), at=st.integers(0), bit=st.integers(0, 7))
def test_one_bit_that_is_turned_closes_it(key: MasterKey, where: str, at: int, bit: int) -> None:
    sealed = seal(key, Secret("a key of a provider"), b"me")
    content = bytearray(getattr(sealed, where))
    content[at % len(content)] ^= 1 << bit
    assert not opens(key, replace(sealed, **{where: bytes(content)}), b"me")
    assert not opens(key, replace(sealed, **{where: bytes(content[: at % len(content)])}), b"me")


@given(old=KEYS, new=KEYS, others=KEYS)
def test_a_new_master_key_opens_what_was_wrapped_again_and_the_old_one_does_not(
    old: MasterKey, new: MasterKey, others: MasterKey
) -> None:
    sealed = seal(old, Secret("key"), b"me")
    again = rewrap(old, new, sealed, b"me")
    assert unseal(new, again, b"me") == Secret("key")
    # What is encrypted stays as it is: only its data key is wrapped anew.
    assert again.ciphertext == sealed.ciphertext
    assert opens(old, again, b"me") == (old == new)
    if others != old:
        with pytest.raises(NotOpened, match=old.id):
            rewrap(others, new, sealed, b"me")


def test_the_halves_of_two_rows_do_not_fit_together() -> None:
    key = generate_master_key()
    one, two = seal(key, Secret("one"), b"me"), seal(key, Secret("two"), b"me")
    assert not opens(key, replace(one, ciphertext=two.ciphertext), b"me")
    assert not opens(key, replace(one, wrapped_key=two.wrapped_key), b"me")


@given(first=st.tuples(*[TEXTS] * 5), second=st.tuples(*[TEXTS] * 5))
def test_no_two_purposes_are_written_alike(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    assert (binding(*first) == binding(*second)) == (first == second)


def test_names_of_keys_tell_them_apart_and_nothing_else() -> None:
    key = generate_master_key()
    assert key.value.hex()[:8] not in key.id
    assert key.value.hex() not in repr(key)
    assert len({generate_master_key().id for _ in range(100)}) == 100
    assert fingerprint(Secret("key")) == hashlib.sha256(b"key").hexdigest()[:8]
    with pytest.raises(ValueError, match="32"):
        MasterKey(b"short")
