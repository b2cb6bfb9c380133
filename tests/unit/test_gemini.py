"""Gemini's wire format where golden exchanges would repeat themselves: every refusal, every failure, usage of any shape."""

from __future__ import annotations

from typing import Any

import pybase64
import pytest

from omixa.domain.access import Secret
from omixa.domain.images import Usage
from omixa.errors import UpstreamProtocol, UpstreamRefused
from tests.support.exchanges import Peer, ask, call, encoded

MODEL = "gemini-3.1-flash-image"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def candidate(*parts: object, reason: str | None = "STOP") -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, **({} if reason is None else {"finishReason": reason})}]}


def picture_part(name: str = "png:1024x1024", **more: object) -> dict[str, Any]:
    return {"inlineData": {"mimeType": f"image/{name.partition(':')[0]}", "data": name}, **more}


@pytest.mark.parametrize(
    "reason",
    ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "OF_TOMORROW"],
)
async def test_a_blocked_prompt_is_a_refusal(reason: str) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await ask(Peer(body={"promptFeedback": {"blockReason": reason}}), call("gemini", MODEL))
    assert caught.value.upstream_code == reason
    assert caught.value.code == "content_policy_violation"


async def test_a_blocked_prompt_is_a_refusal_also_beside_a_candidate() -> None:
    body = {**candidate({"text": "No."}), "promptFeedback": {"blockReason": "OTHER"}}
    with pytest.raises(UpstreamRefused):
        await ask(Peer(body=body), call("gemini", MODEL))


@pytest.mark.parametrize(
    "reason",
    [
        *("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    ],
)
@pytest.mark.parametrize("parts", [(), ({"text": "I cannot paint that."},)])
async def test_a_candidate_that_a_filter_ended_is_a_refusal(reason: str, parts: tuple[object, ...]) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await ask(Peer(body=candidate(*parts, reason=reason)), call("gemini", MODEL))
    assert caught.value.upstream_code == reason
    assert not caught.value.fails_over


@pytest.mark.parametrize("reason", ["NO_IMAGE", "IMAGE_OTHER", "MAX_TOKENS", "STOP", "OTHER", None])
async def test_an_end_without_a_picture_is_a_failure(reason: str | None) -> None:
    with pytest.raises(UpstreamProtocol) as caught:
        await ask(Peer(body=candidate({"text": "Here it is."}, reason=reason)), call("gemini", MODEL))
    assert (reason or "no reason given") in caught.value.diagnostics


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"candidates": []},
        {"candidates": None},
        {"candidates": [{"finishReason": "STOP"}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": {}},
        {"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}]},
        candidate({"inlineData": {"mimeType": "image/png", "data": "!AAA"}}),
        candidate({"inlineData": {"mimeType": "image/png", "data": "QUJD"}}),
        candidate({"inlineData": {"mimeType": "image/gif", "data": "png:1024x1024"}}),
        candidate(picture_part(thought=True)),
        candidate(picture_part("png:3000x3000")),
        b"<html>Busy</html>",
        b'{"candidates":',
        b"[]",
        b"null",
        b"[" * 10_000,
    ],
)
async def test_an_answer_without_a_usable_picture_is_a_failure(body: object) -> None:
    with pytest.raises(UpstreamProtocol, match="no usable picture"):
        await ask(Peer(body=body), call("gemini", MODEL))


async def test_a_picture_with_a_wrong_bit_is_refused() -> None:
    spoilt = bytearray(encoded("png:1024x1024"))
    spoilt[len(spoilt) // 2] ^= 1
    part = {"inlineData": {"mimeType": "image/png", "data": pybase64.b64encode_as_string(bytes(spoilt))}}
    with pytest.raises(UpstreamProtocol) as caught:
        await ask(Peer(body=candidate(part)), call("gemini", MODEL))
    assert "checksum" in caught.value.diagnostics


async def test_a_picture_counts_whatever_ended_the_answer() -> None:
    result = await ask(Peer(body=candidate(picture_part(), reason="MAX_TOKENS")), call("gemini", MODEL))
    assert result.image.info.size == "1024x1024"


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"promptTokenCount": 4, "candidatesTokenCount": 1120}, Usage(4, 0, 1120, 1)),
        (
            {"promptTokenCount": 4, "candidatesTokenCount": 1150, "candidatesTokensDetails": []},
            Usage(4, 0, 0, 1, output_text_tokens=1150),
        ),
        (
            {"promptTokenCount": 4, "candidatesTokenCount": 1120, "thoughtsTokenCount": 10**12},
            Usage(4, 0, 1120, 1, output_text_tokens=10**12),
        ),
    ],
)
async def test_usage_is_read_as_it_is_reported(metadata: object, expected: Usage) -> None:
    result = await ask(Peer(body={**candidate(picture_part()), "usageMetadata": metadata}), call("gemini", MODEL))
    assert (result.usage, result.usage_problem) == (expected, None)


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        (7, "absent"),
        ({}, "promptTokenCount is absent"),
        ({"promptTokenCount": -1, "candidatesTokenCount": 1}, "promptTokenCount is negative"),
        ({"promptTokenCount": 1, "candidatesTokenCount": "many"}, "not an integer"),
        ({"promptTokenCount": 1, "candidatesTokenCount": 1, "thoughtsTokenCount": True}, "not an integer"),
        ({"promptTokenCount": 1, "candidatesTokenCount": 1, "candidatesTokensDetails": 7}, "no list of objects"),
        ({"promptTokenCount": 1, "candidatesTokenCount": 1, "candidatesTokensDetails": [7]}, "no list of objects"),
        (
            {
                "promptTokenCount": 1,
                "candidatesTokenCount": 1,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2}],
            },
            "more than all tokens",
        ),
        (
            {
                "promptTokenCount": 1,
                "candidatesTokenCount": 1,
                "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": None}],
            },
            "tokenCount is absent",
        ),
    ],
)
async def test_what_is_no_usage_does_not_lose_the_picture(metadata: object, problem: str) -> None:
    result = await ask(Peer(body={**candidate(picture_part()), "usageMetadata": metadata}), call("gemini", MODEL))
    assert result.usage is None
    assert problem in (result.usage_problem or "")


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [
        ({"api_key": Secret("key")}, {"x-goog-api-key": "key"}),
        ({"api_key": None, "bearer_token": Secret("token")}, {"authorization": "Bearer token"}),
        ({"api_key": None}, {}),
    ],
)
async def test_one_credential_is_sent(credentials: dict[str, Any], expected: dict[str, str]) -> None:
    peer = Peer(body=candidate(picture_part()))
    await ask(peer, call("gemini", MODEL, **credentials))
    headers = peer.seen[0].headers
    assert {name: headers[name] for name in ("x-goog-api-key", "authorization") if name in headers} == expected


async def test_a_name_of_a_model_cannot_lead_elsewhere() -> None:
    peer = Peer(body=candidate(picture_part()))
    await ask(peer, call("gemini", MODEL, deployment_name="../../files?x=1#"))
    assert peer.seen[0].path == "/v1beta/models/..%2F..%2Ffiles%3Fx=1%23:generateContent"
