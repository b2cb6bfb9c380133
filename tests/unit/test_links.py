"""Signed links: only what this server has written counts, and only until it ends."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omixa.access.keys import generate_pepper
from omixa.access.links import Claim, LinkSigner
from omixa.domain.access import Secret
from omixa.errors import BadLink

PATH = "/results/req_01m8c5h99r2gchzspmvy6nvwys/0.png"
SIGNER = LinkSigner(Secret("ab" * 32))
END = 1_795_708_392


def claim(link: str) -> Claim:
    """Return what a link claims."""
    path, _, query = link.partition("?")
    parts = dict(part.split("=") for part in query.split("&"))
    return Claim(path, parts["expires"], parts["signature"])


def refusal(claimed: Claim, *, now_s: int = END - 1, signer: LinkSigner = SIGNER) -> str:
    with pytest.raises(BadLink) as refused:
        signer.check(claimed, now_s=now_s)
    return refused.value.code


def test_a_link_counts_until_it_ends() -> None:
    signed = claim(SIGNER.sign(PATH, END))
    assert signed.path == PATH
    assert SIGNER.check(signed, now_s=END - 1) == END
    assert refusal(signed, now_s=END) == "link_expired"


def test_another_pepper_signs_other_links() -> None:
    assert refusal(claim(SIGNER.sign(PATH, END)), signer=LinkSigner(generate_pepper())) == "invalid_link"


TEXT = st.text(max_size=60) | st.none()


@given(st.text(max_size=60), TEXT, TEXT)
@example(PATH, str(END), "")
@example(PATH, None, None)
@example(PATH, f"{END}&signature=", "x")
@example(PATH, "٣", "x")
@example(PATH, "9" * 400, "x")
def test_nothing_but_a_signature_opens_a_picture(path: str, expires: str | None, signature: str | None) -> None:
    assert refusal(Claim(path, expires, signature)) == "invalid_link"


@given(st.integers(0, 10**12 - 1), st.data())
def test_no_part_of_a_link_can_be_changed(expires_s: int, data: st.DataObject) -> None:
    signed = claim(SIGNER.sign(PATH, expires_s))
    parts = [signed.path, str(signed.expires), str(signed.signature)]
    which = data.draw(st.integers(0, 2))
    place = data.draw(st.integers(0, len(parts[which]) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != parts[which][place]))
    parts[which] = parts[which][:place] + other + parts[which][place + 1 :]
    assert refusal(Claim(*parts), now_s=0) == "invalid_link"
