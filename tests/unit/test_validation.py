"""Bodies in, complete requests or clear refusals out; whatever the bytes are, nothing else comes out."""

from __future__ import annotations

import base64
import io
import json
import random
from typing import Any

import jsonschema
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omixa.catalogue.bodies import LIFT_FROM_BYTES
from omixa.catalogue.loader import load_catalogue
from omixa.catalogue.schema import json_schema
from omixa.catalogue.validation import parse_body, requested_model, validate
from omixa.domain.images import ImageRequest
from omixa.errors import InvalidRequest
from omixa.tokens import Tokenizer

MODEL = load_catalogue().resolve("MAI-Image-2.5")
TOKENIZER = Tokenizer()
LEAST = {"model": "MAI-Image-2.5", "prompt": "a cat"}


def _png(width: int = 64, height: int = 64, *, noise: bool = False) -> bytes:
    picture = PIL.Image.new("RGB", (width, height), (200, 120, 40))
    if noise:
        picture = PIL.Image.frombytes("RGB", (width, height), random.Random(1).randbytes(3 * width * height))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _data_url(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


SMALL = _data_url(_png())
# Random pixels do not compress, so this one is over the size from which data URLs are taken out before parsing.
LARGE_PNG = _png(200, 200, noise=True)
LARGE = _data_url(LARGE_PNG)
assert len(LARGE) > LIFT_FROM_BYTES


def _check(body: bytes) -> ImageRequest:
    fields = parse_body(body)
    assert isinstance(requested_model(fields, lambda: [MODEL.id]), str)
    return validate(fields, MODEL, TOKENIZER)


def _request(**fields: Any) -> ImageRequest:
    return _check(json.dumps(LEAST | fields).encode())


def _refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        _request(**fields)
    return caught.value


# ------------------------------------------------------------------------------------------------------------- the body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "ends too early, after 0 bytes"),
        (b'{"model": "x"', "ends too early, after 13 bytes"),
        (b'{"a": 1} x', "trailing characters at line 1, column 11"),
        (b'{\n "a": 1,\n "b": tru }', "line 3, column 8"),
        (b'\xef\xbb\xbf{"a": 1}', "line 1, column 1"),
        (b"{'a': 1}", "line 1, column 2"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b'{"a": 01}', "line 1"),
        (b'{"a": "\n"}', "line 1, column 8"),
        (b'{"\xff": 1}', "field name is not valid UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (rb'{"prompt": "\ud800"}', r"\ud800 is half of a surrogate pair"),
        (rb'{"prompt": "\ud83d\ude00 \ude00 and more text"}', r"\ude00 is half of a surrogate pair"),
        (b'{"prompt": "' + LARGE.encode() + b'", "n": }', "line 1, column"),
    ],
)
def test_a_body_that_is_not_json_is_refused_with_the_place(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(body)
    assert caught.value.code == "invalid_json"
    assert message in caught.value.message


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true"])
def test_a_body_that_is_not_an_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="JSON object"):
        parse_body(body)


def test_the_place_is_counted_in_the_whole_body() -> None:
    body = json.dumps({"input_images": [LARGE]}).encode()[:-1] + b', "n": x}'
    with pytest.raises(InvalidRequest, match=f"column {len(body) - 1}") as caught:
        parse_body(body)
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "missing_required_parameter"),
        (b'{"model": null}', "missing_required_parameter"),
        (b'{"model": 3}', "invalid_type"),
        (b'{"model": ["MAI-Image-2.5"]}', "invalid_type"),
        (b'{"model": "\xff"}', "invalid_json"),
    ],
)
def test_the_model_must_be_named(body: bytes, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requested_model(parse_body(body), lambda: [MODEL.id])
    assert (caught.value.param, caught.value.code) == ("model", code)


def test_the_model_name_is_given_as_it_was_written() -> None:
    assert requested_model(parse_body(b'{"model": "mai-image-2.5"}'), lambda: [MODEL.id]) == "mai-image-2.5"


# ------------------------------------------------------------------------------------------------------- what is accepted


def test_the_least_request_is_complete() -> None:
    assert _request() == ImageRequest(
        model="MAI-Image-2.5",
        prompt="a cat",
        prompt_tokens=2,
        n=1,
        size="auto",
        quality="auto",
        background="auto",
        output_format="png",
        output_compression=None,
        input_images=(),
        stream=False,
        partial_images=0,
        given=frozenset({"model", "prompt"}),
        moderation="auto",
        input_fidelity="auto",
    )


def test_the_example_of_the_documentation_is_accepted() -> None:
    assert _check(json.dumps(dict(MODEL.example)).encode()).prompt_tokens > 10


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"n": 10}, {"n": 10}),
        ({"size": "1024x1536"}, {"size": "1024x1536"}),
        ({"quality": "high"}, {"quality": "high"}),
        ({"quality": "standard"}, {"quality": "auto"}),
        ({"background": "opaque"}, {"background": "opaque"}),
        ({"output_format": "webp", "output_compression": 0}, {"output_format": "webp", "output_compression": 0}),
        ({"output_format": "jpeg", "output_compression": 55}, {"output_compression": 55}),
        ({"output_compression": 100}, {"output_compression": 100}),
        ({"stream": True, "partial_images": 3}, {"stream": True}),
        (
            {
                "moderation": "low",
                "input_fidelity": "high",
                "style": "vivid",
                "user": "u",
                "response_format": "b64_json",
            },
            {},
        ),
        ({"user": "x" * 512}, {}),
        ({"input_images": []}, {"input_images": ()}),
        ({"prompt": "Ein Löwe 🦁 bei Nacht"}, {"prompt": "Ein Löwe 🦁 bei Nacht"}),
    ],
)
def test_accepted_values(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    request = _request(**fields)
    assert {name: getattr(request, name) for name in expected} == expected
    assert request.given == {"model", "prompt", *fields}


def test_null_counts_as_absent() -> None:
    optional = {parameter.name: None for parameter in MODEL.parameters if not parameter.required}
    assert _request(**optional) == _request()


# -------------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "code", "message"),
    [
        ({"prompt": None}, "prompt", "missing_required_parameter", "prompt is required"),
        ({"prompt": ""}, "prompt", "invalid_value", "non-empty string"),
        ({"prompt": " \n\t"}, "prompt", "invalid_value", "must not be blank"),
        ({"prompt": ["a"]}, "prompt", "invalid_type", 'got ["a"]'),
        ({"prompt": "a\0b"}, "prompt", "invalid_value", "NUL"),
        ({"n": 0}, "n", "invalid_value", "n must be an integer from 1 to 10; got 0."),
        ({"n": 11}, "n", "invalid_value", "got 11."),
        ({"n": 10**30}, "n", "invalid_value", "n must be an integer from 1 to 10"),
        ({"n": True}, "n", "invalid_type", "got true."),
        ({"n": 1.0}, "n", "invalid_type", "got 1.0."),
        ({"n": "2"}, "n", "invalid_type", 'got "2".'),
        ({"n": [1]}, "n", "invalid_type", "got [1]."),
        (
            {"size": "512x512"},
            "size",
            "invalid_value",
            'size must be one of auto, 1024x1024, 1024x1536, 1536x1024; got "512x512".',
        ),
        ({"size": 1024}, "size", "invalid_type", "got 1024."),
        ({"quality": "hd"}, "quality", "unsupported_value", 'quality "hd" is not supported by MAI-Image-2.5'),
        ({"quality": "best"}, "quality", "invalid_value", "one of auto, low, medium, high"),
        ({"quality": "*"}, "quality", "invalid_value", "one of auto, low, medium, high"),
        ({"background": "transparent"}, "background", "unsupported_value", "opaque background"),
        ({"mask": SMALL}, "mask", "unsupported_value", "by words only"),
        ({"mask": {"anything": 1}}, "mask", "unsupported_value", "by words only"),
        ({"response_format": "html"}, "response_format", "invalid_value", "one of b64_json, url"),
        ({"style": "grim"}, "style", "invalid_value", "vivid, natural"),
        ({"user": "x" * 513}, "user", "invalid_value", "at most 512 characters"),
        ({"user": "\0"}, "user", "invalid_value", "NUL"),
        ({"stream": "true"}, "stream", "invalid_type", "true or false"),
        ({"stream": 1}, "stream", "invalid_type", "true or false"),
        ({"partial_images": 4}, "partial_images", "invalid_value", "from 0 to 3"),
        ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "invalid_value", "0 to 100"),
        ({"output_compression": 80}, "output_compression", "invalid_value", "jpeg or webp"),
        ({"seed": 1}, "seed", "unknown_parameter", "MAI-Image-2.5 accepts: model, prompt, n"),
        ({"output_fromat": "png"}, "output_fromat", "unknown_parameter", "Did you mean output_format?"),
        ({"input_images": SMALL}, "input_images", "invalid_type", "array of pictures"),
        ({"input_images": [1]}, "input_images[0]", "invalid_type", "input_images[0]"),
        ({"input_images": [{}]}, "input_images[0]", "invalid_type", "image_url"),
        ({"input_images": [{"image_url": {}}]}, "input_images[0].image_url", "invalid_type", "url"),
        ({"input_images": [{"image_url": SMALL, "type": "file"}]}, "input_images[0].type", "invalid_type", "file"),
        ({"input_images": [{"image_url": SMALL, "detail": "low"}]}, "input_images[0]", "unknown_parameter", "detail"),
        (
            {"input_images": [SMALL] * 2},
            "input_images",
            "invalid_value",
            "has 2 pictures; MAI-Image-2.5 takes at most 1",
        ),
        ({"input_images": [SMALL] * 17}, "input_images", "invalid_value", "at most 1"),
    ],
)
def test_refusals_name_the_field_and_what_is_accepted(
    fields: dict[str, Any], param: str, code: str, message: str
) -> None:
    refusal = _refusal(**fields)
    assert (refusal.param, refusal.code) == (param, code)
    assert message in refusal.message


@pytest.mark.parametrize("raw", [b"1e400", b"1e999999", b"-1e400", b"9" * 5000, b"-0", b"1E0"])
def test_strange_numbers_are_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _check(b'{"model": "m", "prompt": "p", "n": ' + raw + b"}")
    assert caught.value.param == "n"


@pytest.mark.parametrize("name", ["prompt", "size", "user", "input_images"])
def test_bytes_that_are_not_utf_8_are_refused(name: str) -> None:
    value = b'["\xff\xfe"]' if name == "input_images" else b'"\xff\xfe"'
    fields = {"model": b'"m"', "prompt": b'"p"', name: value}
    body = b"{" + b",".join(b'"%b":%b' % (key.encode(), value) for key, value in fields.items()) + b"}"
    with pytest.raises(InvalidRequest, match="UTF-8") as caught:
        _check(body)
    assert caught.value.param == name


def test_messages_stay_short_whatever_was_sent() -> None:
    long = "x" * 2_000_000
    for fields in ({"size": long}, {"n": long}, {long: 1}, {"input_images": [{long: 1}]}, {"prompt": [long]}):
        refusal = _refusal(**fields)
        assert len(refusal.message) < 500
        assert len(refusal.param or "") < 200


def test_a_prompt_over_the_context_window_is_refused_with_its_count() -> None:
    assert _request(prompt="cat " * 31_999).prompt_tokens <= 32_000
    refusal = _refusal(prompt="cat " * 40_000)
    assert (refusal.param, refusal.code) == ("prompt", "context_length_exceeded")
    assert "context window of MAI-Image-2.5 is 32,000 tokens" in refusal.message
    counted = int("".join(filter(str.isdigit, refusal.message.partition(" tokens")[0])))
    assert counted > 32_000
    huge = _refusal(prompt="z" * 10_000_000)
    assert "at least" in huge.message


# ------------------------------------------------------------------------------------------------------------- pictures


def _forms(url: str) -> list[Any]:
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"image_url": {"url": url}},
        {"image_url": url},
        url,
    ]


@pytest.mark.parametrize("form", range(5))
@pytest.mark.parametrize(("url", "side"), [(SMALL, 64), (LARGE, 200)], ids=["small", "large"])
def test_a_reference_is_read_in_every_form(form: int, url: str, side: int) -> None:
    request = _request(input_images=[_forms(url)[form]])
    assert request.operation == "edit"
    assert (request.input_images[0].info.width, request.input_images[0].info.height) == (side, side)
    assert request.input_images[0].data == base64.b64decode(url.partition(",")[2])


@pytest.mark.parametrize("url", [SMALL, LARGE], ids=["small", "large"])
def test_escaped_slashes_are_understood(url: str) -> None:
    escaped = json.dumps(LEAST | {"input_images": _forms(url)[:1]}).replace("/", r"\/").encode()
    assert rb"\/" in escaped
    assert _check(escaped).input_images == _request(input_images=_forms(url)[:1]).input_images


def test_a_large_picture_is_a_view_of_the_body() -> None:
    body = parse_body(json.dumps(LEAST | {"input_images": [LARGE]}).encode())
    (picture,) = body.pictures.values()
    assert bytes(picture) == LARGE.encode()
    assert sum(len(memoryview(value)) for value in body.fields.values()) < 1000


@pytest.mark.parametrize(
    "url",
    ["https://example.com/cat.png", "data:image/png;base64,@@@@", "data:image/png;base64,", "", "x", LARGE[:-1] + "\n"],
    ids=range(6),
)
def test_a_picture_that_cannot_be_used_is_refused_by_its_number(url: str) -> None:
    refusal = _refusal(input_images=[url])
    assert refusal.param == "input_images[0]"
    assert refusal.code != "invalid_request"
    assert len(refusal.message) < 500


def test_an_address_is_never_fetched_and_the_message_says_so() -> None:
    refusal = _refusal(input_images=[{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}])
    assert (refusal.code, refusal.param) == ("image_url_not_inline", "input_images[0]")
    assert "never fetches" in refusal.message


def test_control_characters_in_a_large_picture_are_refused() -> None:
    body = json.dumps(LEAST | {"input_images": [LARGE]}).encode()
    for wrong in (b"\n", b"\0", b"\xff", b"\t"):
        with pytest.raises(InvalidRequest) as caught:
            _check(body.replace(LARGE[-20:].encode(), wrong + LARGE[-19:].encode()))
        assert caught.value.param == "input_images[0]"
        with pytest.raises(InvalidRequest):
            _check(body.replace(b"image/png;", b"image/png" + wrong + b";"))


def test_a_long_data_url_elsewhere_is_what_it_was() -> None:
    assert _request(prompt="data:image/" + "cat " * 20_000).prompt == "data:image/" + "cat " * 20_000
    assert '"data:image/png;base64,' in _refusal(size=LARGE).message
    unknown = _refusal(**{LARGE: 1})
    assert (unknown.param or "").startswith("data:image/png;base64,")
    quoted = f'Say "{LARGE}" and \\"{LARGE}'
    assert _check(json.dumps(LEAST | {"prompt": "x", "user": "y", "n": 1}).encode()).n == 1
    assert _refusal(size=quoted).message.startswith("size must be one of")


@pytest.mark.parametrize(
    ("size", "width", "height", "accepted"),
    [
        ("auto", 300, 700, True),
        ("1024x1024", 512, 512, True),
        ("1024x1024", 512, 520, True),
        ("1024x1024", 512, 523, False),
        ("1024x1024", 523, 512, False),
        ("1024x1536", 832, 1248, True),
        ("1024x1536", 512, 512, False),
        ("1536x1024", 600, 400, True),
        ("1536x1024", 400, 600, False),
    ],
)
def test_an_edit_keeps_the_shape_of_its_reference(size: str, width: int, height: int, accepted: bool) -> None:
    picture = _data_url(_png(width, height))
    if accepted:
        assert _request(size=size, input_images=[picture]).size == size
    else:
        refusal = _refusal(size=size, input_images=[picture])
        assert refusal.param == "size"
        assert 'size "auto"' in refusal.message


# --------------------------------------------------------------------------------------------------------- any bytes at all

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
known_names = st.sampled_from([parameter.name for parameter in MODEL.parameters])


def _outcome(body: bytes) -> ImageRequest | InvalidRequest:
    try:
        return _check(body)
    except InvalidRequest as refusal:
        return refusal


def _never_anything_else(body: bytes) -> None:
    outcome = _outcome(body)
    assert isinstance(outcome, ImageRequest) or len(outcome.message) < 1000


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_cleanly(body: bytes) -> None:
    _never_anything_else(body)


@settings(deadline=None)
@given(st.dictionaries(known_names, json_values, max_size=5), st.binary(max_size=3), st.integers(0, 400))
def test_any_values_are_refused_cleanly(fields: dict[str, Any], junk: bytes, position: int) -> None:
    body = json.dumps(LEAST | fields).encode()
    _never_anything_else(body)
    _never_anything_else(body[:position] + junk + body[position + len(junk) :])


texts = st.text(max_size=8) | st.lists(
    st.sampled_from(["data:image/png;base64,", "AAAA", "data:image/", '"', "\\", ":", ",", " ", "ü", "\n"]), max_size=6
).map("".join)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), texts, max_size=6))
def test_taking_pictures_out_changes_no_text(fields: dict[str, str]) -> None:
    body = parse_body(json.dumps(fields).encode() + b" " * LIFT_FROM_BYTES)
    assert {name: body.value(name) for name in body.fields} == fields


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(known_names, json_values, max_size=3), st.binary(max_size=3), st.integers(0, 400), st.booleans())
def test_taking_pictures_out_changes_nothing(fields: dict[str, Any], junk: bytes, position: int, front: bool) -> None:
    """A body over the limit, where data URLs are taken out, fares exactly as the same body under it."""
    small = json.dumps(LEAST | fields | {"user": SMALL}).encode()
    small = small[:position] + junk + small[position + len(junk) :]
    padding = b" " * LIFT_FROM_BYTES
    large = padding + small if front else small + padding
    alone, padded = _outcome(small), _outcome(large)
    assert alone == padded or (isinstance(alone, InvalidRequest) and isinstance(padded, InvalidRequest))


def _accepted(parameter: Any) -> st.SearchStrategy[Any]:
    if parameter.accepted:
        return st.sampled_from(parameter.accepted)
    if parameter.type == "integer":
        return st.integers(parameter.minimum - 1, parameter.maximum + 1)
    if parameter.type == "boolean":
        return st.booleans()
    if parameter.type == "images":
        return st.lists(st.sampled_from(_forms(SMALL)), max_size=2)
    return st.text(max_size=20)


drawn_requests = st.fixed_dictionaries(
    {parameter.name: _accepted(parameter) for parameter in MODEL.parameters if parameter.required},
    optional={parameter.name: _accepted(parameter) for parameter in MODEL.parameters if not parameter.required},
)
SCHEMA = jsonschema.Draft202012Validator(json_schema(MODEL))


@settings(deadline=None)
@given(drawn_requests)
def test_what_the_schema_accepts_is_accepted(fields: dict[str, Any]) -> None:
    # A schema cannot see the shape of a reference, so a size that would have to fit it is left out.
    if fields.get("input_images"):
        fields.pop("size", None)
    if SCHEMA.is_valid(fields):
        request = _check(json.dumps(fields).encode())
        assert request.given == set(fields)
    else:
        with pytest.raises(InvalidRequest):
            _check(json.dumps(fields).encode())
