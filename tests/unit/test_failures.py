"""What error bodies of any shape mean, how long to wait, and what of them a caller may read."""

from __future__ import annotations

import datetime
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.errors import (
    UpstreamBusy,
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamMisconfigured,
    UpstreamProtocol,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamRejected,
)
from omixa.providers.failures import (
    MAX_CODE,
    MAX_ERROR_BODY_BYTES,
    MAX_REASON,
    MAX_RETRY_AFTER_S,
    Complaint,
    failed_answer,
    read_complaint,
    retry_after_s,
    unusable_answer,
)
from omixa.providers.wire import MAX_DIAGNOSTICS, WireResponse

NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=datetime.UTC)


def answer(status: int, body: Any = b"", **headers: str) -> WireResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return WireResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw, 0.0)


@pytest.mark.parametrize(
    ("status", "kind", "client_status", "fails_over", "ambiguous"),
    [
        (300, UpstreamRedirected, 502, False, False),
        (307, UpstreamRedirected, 502, False, False),
        (400, UpstreamRejected, 400, False, False),
        (401, UpstreamCredentials, 503, True, False),
        (402, UpstreamQuota, 503, True, False),
        (403, UpstreamCredentials, 503, True, False),
        (404, UpstreamMisconfigured, 503, True, False),
        (405, UpstreamMisconfigured, 503, True, False),
        (408, UpstreamFailed, 502, True, True),
        (409, UpstreamFailed, 502, True, True),
        (413, UpstreamRejected, 400, False, False),
        (422, UpstreamRejected, 400, False, False),
        (429, UpstreamRateLimited, 429, True, False),
        (431, UpstreamMisconfigured, 503, True, False),
        (500, UpstreamFailed, 502, True, True),
        (502, UpstreamFailed, 502, True, True),
        (503, UpstreamBusy, 503, True, False),
        (504, UpstreamFailed, 502, True, True),
        (524, UpstreamFailed, 502, True, True),
        (529, UpstreamRateLimited, 429, True, False),
        (204, UpstreamProtocol, 502, True, True),
    ],
)
def test_the_status_alone_decides_when_the_body_says_nothing(
    status: int, kind: type[UpstreamError], client_status: int, fails_over: bool, ambiguous: bool
) -> None:
    error = failed_answer(answer(status, b"\xff\x00 not json"))
    assert type(error) is kind
    assert (error.status, error.fails_over, error.ambiguous) == (client_status, fails_over, ambiguous)
    assert (error.upstream_status, error.upstream_code, error.diagnostics) == (status, None, str(status))


REFUSALS = [
    (400, {"error": {"code": "content_safety_violation", "message": "m"}}),
    (400, {"error": {"code": "moderation_blocked", "type": "image_generation_user_error", "message": "m"}}),
    (400, {"error": {"code": "contentFilter", "message": "m"}}),
    (400, {"error": {"code": "content_filter", "message": "m"}}),
    (400, {"error": {"type": "content_policy_violation", "message": "m"}}),
    (400, {"error": {"code": "x", "inner_error": {"code": "ResponsibleAIPolicyViolation"}, "message": "m"}}),
    (400, {"error": {"code": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "m"}}),
    (400, {"error": {"status": "PROHIBITED_CONTENT", "code": 400, "message": "m"}}),
    (422, {"detail": [{"loc": ["body"], "msg": "m", "type": "content_policy_violation"}]}),
    (403, {"name": "content_moderation", "errors": ["m"]}),
    (400, {"status": "Request Moderated"}),
    (400, {"status": "Content Moderated"}),
    (400, {"error": "CONTENT_FILTERED"}),
    (400, {"message": "Filter reason: prompt"}),
]


@pytest.mark.parametrize(("status", "body"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_refusal_is_recognised_in_every_providers_words(status: int, body: Any) -> None:
    error = failed_answer(answer(status, body))
    assert type(error) is UpstreamRefused
    assert (error.status, error.code, error.fails_over) == (400, "content_policy_violation", False)
    assert type(unusable_answer(answer(200, body), "no picture")) is UpstreamRefused


def test_a_refusal_in_words_of_a_broken_service_is_not_one() -> None:
    assert type(failed_answer(answer(500, REFUSALS[0][1]))) is UpstreamFailed


@pytest.mark.parametrize("code", ["insufficient_quota", "InsufficientQuota", "billing_hard_limit_reached"])
def test_an_exhausted_account_is_not_a_rate_limit(code: str) -> None:
    for body in ({"error": {"code": code}}, {"error": {"type": code, "code": None}}):
        assert type(failed_answer(answer(429, body, retry_after="9"))) is UpstreamQuota


@pytest.mark.parametrize(
    ("param", "kind"), [("size", UpstreamRejected), ("model", UpstreamMisconfigured), (None, UpstreamMisconfigured)]
)
def test_a_404_on_a_field_is_the_callers(param: str | None, kind: type[UpstreamError]) -> None:
    assert type(failed_answer(answer(404, {"error": {"code": "x", "message": "m", "param": param}}))) is kind


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"code": "a", "message": "b"}}, Complaint(("a",), "b")),
        ({"error": {"code": 402, "message": "b", "type": "t"}}, Complaint(("402", "t"), "b")),
        ({"error": {"message": "b", "details": "c"}}, Complaint((), "b")),
        ({"error": {"code": "a", "details": "c"}}, Complaint(("a",), "c")),
        ({"error": "Something broke"}, Complaint(("Something broke",), "Something broke")),
        ({"detail": "no"}, Complaint((), "no")),
        ({"detail": [{"msg": "too long", "type": "string_too_long"}]}, Complaint(("string_too_long",), "too long")),
        ({"code": "a", "message": "b"}, Complaint(("a",), "b")),
        ({"error": {"code": True, "message": ["b"]}}, Complaint()),
        ({"error": {"code": "a\u0000b\n\u202ec", "message": "x\r\n\ty\u200b"}}, Complaint(("a b c",), "x y")),
        (["error"], Complaint()),
        ("error", Complaint()),
        (None, Complaint()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_usual_shapes_are_read(body: Any, expected: Complaint) -> None:
    assert read_complaint(json.dumps(body).encode()) == expected


def test_a_large_or_deep_body_is_not_looked_into() -> None:
    padding = " " * MAX_ERROR_BODY_BYTES
    assert read_complaint(json.dumps({"error": {"code": "a"}, "padding": padding}).encode()) == Complaint()
    assert read_complaint(b'{"error":' * 5000) == Complaint()
    assert read_complaint(b'{"error":{"code":1' + b"0" * 10_000 + b"}}") == Complaint()


def test_only_callers_who_can_act_read_the_reason() -> None:
    body = {"error": {"code": "x", "message": "Use a smaller picture."}}
    assert failed_answer(answer(400, body)).message == "The provider rejected this request: Use a smaller picture."
    for status in (307, 401, 402, 403, 404, 429, 500, 503):
        error = failed_answer(answer(status, body))
        assert "smaller" not in error.message
        assert error.diagnostics == f"{status} x Use a smaller picture."


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("see https://internal.invalid/x?sig=1 now", "see [removed] now"),
        ("key sk-proj-0123456789abcdef0123456789 is bad", "key [removed] is bad"),
        ("blocked by label 'SomeVeryLongLabelOfViolenceScore'", "blocked by label 'SomeVeryLongLabelOfViolenceScore'"),
        ("x" * 1000, "x" * (MAX_REASON - 1) + "…"),
    ],
    ids=lambda value: value[:20],
)
def test_the_reason_holds_no_address_and_no_token_and_is_short(message: str, shown: str) -> None:
    error = failed_answer(answer(400, {"error": {"message": message}}))
    assert error.message == f"The provider rejected this request: {shown}"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "1.2"}, 2),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "99999"}, MAX_RETRY_AFTER_S),
        ({"retry-after-ms": "2500"}, 3),
        ({"retry-after-ms": "2500", "retry-after": "9"}, 3),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 1),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "٧"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
    ids=str,
)
def test_how_long_to_wait(headers: dict[str, str], expected: int | None) -> None:
    assert retry_after_s(headers, NOW) == expected


@given(st.text(max_size=60))
def test_any_retry_after_is_a_bounded_wait_or_none(text: str) -> None:
    wait = retry_after_s({"retry-after": text}, NOW)
    assert wait is None or 1 <= wait <= MAX_RETRY_AFTER_S


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "code", "message", "detail", "innererror", "type", "status", "param"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.integers(200, 599), st.binary(max_size=50) | json_values.map(msgspec.json.encode))
def test_any_answer_becomes_an_error_that_fits_its_bounds(status: int, body: bytes) -> None:
    for error in (failed_answer(answer(status, body)), unusable_answer(answer(status, body), "nothing")):
        assert error.message.isprintable()
        assert len(error.message) <= MAX_REASON + 64
        assert len(error.diagnostics) <= MAX_DIAGNOSTICS
        assert error.upstream_code is None or len(error.upstream_code) <= MAX_CODE


@pytest.mark.parametrize(
    ("delay", "wait_s"),
    [
        ("27s", 27),
        ("26.4s", 27),
        ("0s", 1),
        ("0.000001s", 1),
        ("100000s", MAX_RETRY_AFTER_S),
        ("27", None),
        ("-1s", None),
    ],
)
def test_a_wait_may_stand_in_the_details(delay: str, wait_s: int | None) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}, 7, {"retryDelay": {}}]
    body = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Too many.", "details": details}}
    assert failed_answer(answer(429, body)).retry_after_s == wait_s
    # A header is as good, and an answer that does not wait has none.
    assert failed_answer(answer(429, body, retry_after="3")).retry_after_s == 3
    assert failed_answer(answer(500, body)).retry_after_s is None


@pytest.mark.parametrize("reason", ["API_KEY_INVALID", "API_KEY_EXPIRED"])
def test_a_key_that_is_not_known_may_be_a_400(reason: str) -> None:
    error = failed_answer(answer(400, {"error": {"code": 400, "message": "Bad.", "details": [{"reason": reason}]}}))
    assert type(error) is UpstreamCredentials
    assert error.fails_over


def test_an_account_that_is_exhausted_may_be_a_400() -> None:
    assert type(failed_answer(answer(400, {"error": {"code": "billing_hard_limit_reached"}}))) is UpstreamQuota


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("ThrottlingException:http://internal.amazon.com/", UpstreamRateLimited),
        ("ServiceQuotaExceededException", UpstreamQuota),
        ("ValidationException", UpstreamRejected),
    ],
)
def test_an_error_may_be_named_in_a_header(header: str, kind: type[UpstreamError]) -> None:
    status = 429 if kind is UpstreamRateLimited else 400
    error = failed_answer(answer(status, {"message": "No."}, x_amzn_errortype=header))
    assert type(error) is kind
    assert error.upstream_code == header.partition(":")[0]


@pytest.mark.parametrize(
    "metadata",
    [
        {"flagged_input": "a", "reasons": ["violence"]},
        {"raw": '{"error": {"code": "content_safety_violation"}}'},
        {"raw": {"error": {"code": "content_filter"}}},
        {"raw": '{"code": "moderation_blocked"}'},
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_who_resells_a_model_passes_refusals_on(status: int, metadata: dict[str, Any]) -> None:
    body = {"error": {"code": status, "message": "Provider returned error", "metadata": metadata}}
    assert type(failed_answer(answer(status, body))) is UpstreamRefused


@pytest.mark.parametrize("metadata", [None, 7, [], {}, {"raw": None}, {"raw": "{"}, {"raw": "[" * 5000}, {"raw": "7"}])
def test_what_a_maker_did_not_say_is_no_refusal(metadata: object) -> None:
    body = {"error": {"code": 400, "message": "No.", "metadata": metadata}}
    assert type(failed_answer(answer(400, body))) is UpstreamRejected
