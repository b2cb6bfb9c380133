"""Forms in pieces: what is read does not depend on the pieces, limits hold, and whatever the bytes are, there is an answer."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omixa.api import forms
from omixa.api.forms import FormReader
from omixa.catalogue.bodies import Body, Upload
from omixa.errors import CallerError, InvalidRequest, TooLarge, UnsupportedMediaType
from tests.support.forms import BOUNDARY, CONTENT_TYPE, form, part, raw_part, split

DELIMITER = f"\r\n--{BOUNDARY}".encode()


def read(pieces: Iterable[bytes], content_type: str = CONTENT_TYPE) -> Body:
    reader = FormReader(content_type)
    for piece in pieces:
        reader.feed(piece)
    return reader.finish()


def outcome(pieces: Iterable[bytes]) -> Body | type[CallerError]:
    """Return the form, or how it is refused."""
    try:
        return read(pieces)
    except CallerError as error:
        return type(error)


def refusal(body: bytes, content_type: str = CONTENT_TYPE) -> CallerError:
    with pytest.raises(CallerError) as caught:
        read([body], content_type)
    return caught.value


def texts(body: Body) -> dict[str, str]:
    return {name: msgspec.json.decode(value, type=str) for name, value in body.fields.items()}


# ------------------------------------------------------------------------------------------------------ what comes out

# Bytes that look like the boundary are the hard ones.
_tricky = st.lists(
    st.one_of(
        st.binary(max_size=8), st.sampled_from([b"\r", b"\n", b"\r\n", b"--", DELIMITER[:-1], DELIMITER[2:-1], b"\0"])
    ),
    max_size=6,
).map(b"".join)
_data = _tricky.filter(lambda data: DELIMITER not in b"\r\n" + data + b"\r\n")
_texts = st.dictionaries(
    st.from_regex(r"[a-z_\[\]]{1,12}", fullmatch=True).filter(lambda name: name not in ("image", "image[]")),
    st.text().filter(lambda text: BOUNDARY not in text),
    max_size=4,
)
_places = st.lists(st.integers(0, 2000), max_size=12)


@given(_texts, st.lists(_data, max_size=3), _places)
def test_everything_comes_out_whole_however_it_is_cut(
    fields: dict[str, str], files: list[bytes], places: list[int]
) -> None:
    parts = [part(name, text) for name, text in fields.items()]
    parts += [part("image[]", data, "a.png", "image/png") for data in files]
    found = read(split(form(*parts), places))
    assert texts(found) == fields
    assert found.files == ({"image": tuple(Upload(data, "image/png") for data in files)} if files else {})
    assert found.textual


_lines = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="prompt"',
        b'content-disposition: form-data; name=image; filename="x"',
        b'Content-Disposition: form-data; name="\xc3\xa4"',
        b'Content-Disposition: form-data; name="a\nb"',
        b"Content-Disposition: attachment",
        b"Content-Type: text/plain; charset=utf-16",
        b"Content-Transfer-Encoding: base64",
        b"Content-Length: 3",
        b" folded",
        b"nonsense",
        b"",
    ]
)
_sections = st.one_of(
    st.builds(lambda lines, data: raw_part(b"\r\n".join(lines), data), st.lists(_lines, max_size=3), _tricky),
    st.builds(part, st.sampled_from(["prompt", "n", "image"]), _tricky, st.sampled_from([None, "", "a.png"])),
    st.sampled_from([b"--" + BOUNDARY.encode(), b"\r\n", b"--", b"preamble", b"\n"]),
    _tricky,
)


@given(st.lists(_sections, max_size=5).map(b"".join), st.sampled_from([b"", form(), form() + b"epilogue"]), _places)
@example(b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", form(), [31])
@example(raw_part(b'Content-Disposition: form-data; name="a\nb"', b"1"), form(), [70])
@example(raw_part(b"X: a\nb\r\nX: b\r\nContent-Disposition: form-data; name=n", b"1"), form(), [30])
def test_anything_is_the_same_however_it_is_cut(body: bytes, ending: bytes, places: list[int]) -> None:
    whole = outcome([body + ending])
    assert outcome(split(body + ending, places)) == whole
    assert outcome(split(body + ending, range(len(body + ending)))) == whole


@given(st.binary(max_size=200), st.text(max_size=60))
def test_any_bytes_of_any_type_have_an_answer(body: bytes, content_type: str) -> None:
    for announced in (CONTENT_TYPE, content_type, f"multipart/form-data; boundary={content_type}"):
        with pytest.raises(CallerError):
            read([body], announced)


def test_pieces_may_be_empty() -> None:
    assert texts(read([b"", form(part("prompt", "A kite")), b""])) == {"prompt": "A kite"}


def test_what_follows_the_last_boundary_does_not_count() -> None:
    body = form(part("prompt", "A kite"))
    assert read([body + b"and more"]) == read([body]) == read([body[:-2]]) == read([body[:-2], b"\r", b"\n", b"more"])


def test_brackets_and_repetition_mean_the_same() -> None:
    one, two = b"one", b"two"
    for first, second in (("image", "image"), ("image[]", "image[]"), ("image", "image[]")):
        found = read([form(part(first, one, "1"), part("n", "2"), part(second, two, "2"))])
        assert found.files == {"image": (Upload(one, None), Upload(two, None))}
        assert texts(found) == {"n": "2"}


@pytest.mark.parametrize(
    "filename",
    [
        b'filename=""',
        b"filename=a.png",
        b'filename="../../etc/passwd"',
        b'filename="C:\\\\x\\\\a.png"',
        b'filename="%00%0d%0a%22;"',
        b'filename="\xff\xfe\x80"',
        b"filename*=UTF-8''%e2%82%ac.png",
        b'filename="' + b"a" * 3000 + b'"',
    ],
)
def test_names_of_files_do_not_matter(filename: bytes) -> None:
    body = form(raw_part(b'Content-Disposition: form-data; name="image"; ' + filename, b"data"))
    assert read([body]).files == {"image": (Upload(b"data", None),)}


def test_names_and_texts_are_utf_8() -> None:
    found = read([form(part("größe", "schön", None, "text/plain; charset=UTF-8"))])
    assert texts(found) == {"größe": "schön"}


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=" + "a" * 71,
        'multipart/form-data; boundary="a\u00e4"',
        'multipart/form-data; boundary="a\nb"',
        "",
    ],
)
def test_a_boundary_is_needed(content_type: str) -> None:
    error = refusal(form(), content_type)
    assert (error.status, error.code, error.param) == (400, "invalid_form", "Content-Type")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "ends before its last boundary"),
        (b"--" + BOUNDARY.encode(), "ends before its last boundary"),
        (form(part("n", "1"))[:-6], "ends before its last boundary"),
        (b"\r\n" + form(part("n", "1")), "does not begin with the boundary"),
        (b"--another\r\n", "does not begin with the boundary"),
        (b"--" + BOUNDARY.encode() + b"\nContent", "line break after first boundary"),
        (form(part("n", "1") + b"--" + BOUNDARY.encode() + b"x"), "unexpected bytes after boundary"),
        (form(raw_part(b"Content-Type: text/plain", b"1")), "missing Content-Disposition"),
        (
            form(raw_part(b'Content-Disposition: attachment; name="n"', b"1")),
            "Content-Disposition part header: Wrong type",
        ),
        (form(raw_part(b"Content-Disposition: form-data", b"1")), "a part has no name"),
        (form(part("", "1")), "a part has no name"),
        (form(part("n", "1", None, None, "Content-Length: 2")), "does not match Content-Length"),
        (form(part("n\0", "1")), "control character"),
        (form(part("n\nm", "1")), "control character"),
        (
            form(part("n", "1", None, None, 'Content-Disposition: form-data; name="m"')),
            "two headers Content-Disposition",
        ),
        (form(raw_part(b"nonsense", b"1")), "malformed part header"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes, reason: str) -> None:
    error = refusal(body)
    assert (error.status, error.code) == (400, "invalid_form")
    assert reason in error.message


def test_a_field_is_given_once() -> None:
    for body in (form(part("n", "1"), part("n", "1")), form(part("mask", b"", "a"), part("mask", b"", "b"))):
        error = refusal(body)
        assert isinstance(error, InvalidRequest)
        assert "more than once" in error.message
        assert error.param in ("n", "mask")


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "nonsense", ""])
def test_other_charsets_are_refused(charset: str) -> None:
    body = form(part("prompt", "x", None, f'text/plain; charset="{charset or "é"}"'))
    error = refusal(body)
    assert isinstance(error, UnsupportedMediaType)
    assert error.param == "prompt"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_encoded_parts_are_refused(encoding: str) -> None:
    error = refusal(form(part("image", "aGk=", "a.png", None, f"Content-Transfer-Encoding: {encoding}")))
    assert isinstance(error, UnsupportedMediaType)
    assert (error.param, encoding in error.message) == ("image", True)


def test_text_that_is_not_utf_8_is_refused() -> None:
    error = refusal(form(part("prompt", b"\xff")))
    assert (error.status, error.code, error.param) == (400, "invalid_form", "prompt")


# --------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "filename", "limit"), [("image", "a", "MAX_FILE_BYTES"), ("prompt", None, "MAX_TEXT_BYTES")]
)
def test_parts_have_a_largest_size(
    monkeypatch: pytest.MonkeyPatch, name: str, filename: str | None, limit: str
) -> None:
    monkeypatch.setattr(forms, limit, 1000)
    read([form(part(name, b"a" * 1000, filename))])
    error = refusal(form(part(name, b"a" * 1001, filename)))
    assert isinstance(error, TooLarge)
    assert (error.param, "1000 bytes" in error.message) == (name, True)


def test_a_part_that_is_too_large_is_refused_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_FILE_BYTES", 1000)
    reader = FormReader(CONTENT_TYPE)
    with pytest.raises(TooLarge):
        reader.feed(part("image", b"a" * 1100, "a"))


@pytest.mark.parametrize(
    ("body", "accepted"),
    [
        (form(*(part(f"f{number}", "") for number in range(forms.MAX_PARTS))), True),
        (form(*(part(f"f{number}", "") for number in range(forms.MAX_PARTS + 1))), False),
        (form(part("n", "1", None, None, *(f"X-{number}: 1" for number in range(forms.MAX_PART_HEADERS - 1)))), True),
        (form(part("n", "1", None, None, *(f"X-{number}: 1" for number in range(forms.MAX_PART_HEADERS)))), False),
        (form(part("n", "1", None, None, "X: " + "a" * (forms.MAX_PART_HEADER_BYTES - 3))), True),
        (form(part("n", "1", None, None, "X: " + "a" * (forms.MAX_PART_HEADER_BYTES - 2))), False),
        (raw_part(b"X: " + b"a" * 10_000, b"")[:9000], False),
    ],
    ids=["parts", "too many parts", "headers", "too many headers", "header", "too long a header", "endless header"],
)
def test_parts_and_their_headers_are_counted(body: bytes, accepted: bool) -> None:
    if accepted:
        read([body])
    else:
        assert isinstance(refusal(body), TooLarge)


def test_a_picture_is_not_copied_more_than_once() -> None:
    data = bytes(range(256)) * 16_384
    body = form(part("image", data, "a.png"))
    pieces = split(body, range(0, len(body), 65_536))
    tracemalloc.start()
    try:
        found = read(pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.files["image"][0].data == data
    # The joined picture, beside the pieces that were there before; only those at its ends are cut.
    assert peak < len(data) + 256 * 1024
