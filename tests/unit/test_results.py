"""A stored result comes back byte for byte, and any other byte is noticed."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from omixa.domain.images import Image, ImageInfo
from omixa.gateway.results import BrokenResult, Settling, pack, unpack

ENVELOPE = {"created": 1, "usage": {"billed_amount": "0.039000"}, "omixa": {"attempts": [1, None, "ok", True, 1.5]}}
SETTLING = Settling()

images = st.builds(
    lambda data, kind, width, height, alpha: Image(data, ImageInfo(kind, width, height, len(data), alpha)),
    st.binary(max_size=300),
    st.sampled_from(["png", "jpeg", "webp"]),
    st.integers(1, 4096),
    st.integers(1, 4096),
    st.booleans(),
)


def an_image(data: bytes) -> Image:
    return Image(data, ImageInfo("png", 2, 3, len(data), False))


@settings(deadline=None)
@given(st.lists(images, max_size=10))
def test_any_pictures_come_back(pictures: list[Image]) -> None:
    pieces, digest = pack("req_1", 7, ENVELOPE, pictures, SETTLING)
    manifest, unpacked = unpack(b"".join(pieces), digest)
    assert unpacked == pictures
    assert (manifest.request_id, manifest.owner_epoch, manifest.envelope) == ("req_1", 7, ENVELOPE)


def test_the_manifest_describes_every_picture() -> None:
    pieces, digest = pack("req_1", 1, ENVELOPE, [an_image(b"first"), an_image(b"second")], SETTLING)
    manifest, _ = unpack(b"".join(pieces), digest)
    assert [image.blake3 for image in manifest.images] == [blake3(data).hexdigest() for data in (b"first", b"second")]
    assert [image.size_bytes for image in manifest.images] == [5, 6]


def test_pictures_are_not_copied() -> None:
    image = an_image(b"large")
    pieces, _ = pack("req_1", 1, ENVELOPE, [image], SETTLING)
    assert pieces[-1] is image.data


def test_every_changed_byte_is_noticed() -> None:
    pieces, digest = pack("req_1", 1, {"a": 1}, [an_image(b"first"), an_image(b"second")], SETTLING)
    whole = b"".join(pieces)
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1
        with pytest.raises(BrokenResult):
            unpack(bytes(broken), digest)


def test_every_missing_or_added_byte_is_noticed() -> None:
    pieces, digest = pack("req_1", 1, {"a": 1}, [an_image(b"picture")], SETTLING)
    whole = b"".join(pieces)
    for length in range(len(whole)):
        with pytest.raises(BrokenResult):
            unpack(whole[:length], digest)
    with pytest.raises(BrokenResult, match="longer"):
        unpack(whole + b"x", digest)


def test_a_result_of_another_request_is_noticed() -> None:
    first, _ = pack("req_1", 1, ENVELOPE, [an_image(b"picture")], SETTLING)
    _, digest = pack("req_2", 1, ENVELOPE, [an_image(b"picture")], SETTLING)
    with pytest.raises(BrokenResult, match="manifest"):
        unpack(b"".join(first), digest)
