"""Bedrock's wire format where golden exchanges would repeat themselves: signatures, refusals and broken answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.requests import Request

from omixa.domain.access import Secret
from omixa.errors import UpstreamCredentials, UpstreamProtocol, UpstreamRefused
from omixa.simulator import bedrock
from tests.support.exchanges import Peer, Seen, ask, call

MODEL = "stable-image-core"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def painted() -> Peer:
    return Peer(body={"seeds": [1], "finish_reasons": [None], "images": ["png:1024x1024"]})


def checked(seen: Seen, secret: str, region: str) -> bool:
    """Tell whether a request carries the signature that it must have, by the rules and without AWS's library."""
    scope = {
        "type": "http",
        "path": seen.path,
        "raw_path": seen.path.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in seen.headers.items()],
    }
    found = re.search(r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})", seen.headers["authorization"])
    assert found is not None
    signed = found[1].split(";")
    assert {"content-type", "host", "x-amz-date"} <= set(signed)
    return bedrock.signature(Request(scope), seen.body, secret, region, signed) == found[2]


@pytest.mark.parametrize("region", ["", "eu-central-1"])
@pytest.mark.parametrize(
    "model", ["stability.stable-image-core-v1:1", "arn:aws:bedrock:us-west-2:1:inference-profile/x y"]
)
async def test_a_request_is_signed(region: str, model: str) -> None:
    peer = painted()
    await ask(peer, call("bedrock", MODEL, api_key=Secret("AKID:wJalr/secret+"), region=region, deployment_name=model))
    (seen,) = peer.seen
    where = region or "us-west-2"
    assert (
        f"Credential=AKID/{seen.headers['x-amz-date'][:8]}/{where}/bedrock/aws4_request"
        in seen.headers["authorization"]
    )
    assert checked(seen, "wJalr/secret+", where)
    assert not checked(seen, "wJalr/secret", where)
    assert not checked(Seen(seen.path, seen.headers, seen.body + b" "), "wJalr/secret+", where)
    assert not checked(Seen(seen.path + "s", seen.headers, seen.body), "wJalr/secret+", where)


async def test_an_old_signature_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = painted()
    await ask(peer, call("bedrock", MODEL, api_key=Secret("AKID:secret")))
    assert checked(peer.seen[0], "secret", "us-west-2")
    monkeypatch.setattr(bedrock, "CLOCK_SKEW_S", -1)
    assert not checked(peer.seen[0], "secret", "us-west-2")


async def test_a_session_is_signed_with_its_token() -> None:
    peer = painted()
    await ask(peer, call("bedrock", MODEL, api_key=Secret("AKID:secret:token-of-the-session")))
    assert peer.seen[0].headers["x-amz-security-token"] == "token-of-the-session"
    assert "x-amz-security-token" in peer.seen[0].headers["authorization"]
    assert checked(peer.seen[0], "secret", "us-west-2")


async def test_a_bedrock_key_is_a_bearer_token() -> None:
    peer = painted()
    await ask(peer, call("bedrock", MODEL, api_key=None, bearer_token=Secret("bedrock-key")))
    assert peer.seen[0].headers["authorization"] == "Bearer bedrock-key"


@pytest.mark.parametrize("key", ["AKID", "AKID:", ":secret"])
async def test_a_key_that_is_no_pair_is_the_operators_fault_and_nothing_is_sent(key: str) -> None:
    peer = painted()
    with pytest.raises(UpstreamCredentials) as caught:
        await ask(peer, call("bedrock", MODEL, api_key=Secret(key)))
    assert "ACCESS_KEY_ID:SECRET_ACCESS_KEY" in caught.value.diagnostics
    assert peer.seen == []


@pytest.mark.parametrize(
    "reason", ["Filter reason: prompt", "Filter reason: output image", "Filter reason: input image", "FILTER REASON: x"]
)
@pytest.mark.parametrize("images", [None, [], ["png:1024x1024"]])
async def test_a_filter_is_a_refusal_also_with_a_picture(reason: str, images: object) -> None:
    body = {"finish_reasons": [reason], **({} if images is None else {"images": images})}
    with pytest.raises(UpstreamRefused) as caught:
        await ask(Peer(body=body), call("bedrock", MODEL))
    assert caught.value.upstream_code == reason
    assert not caught.value.fails_over


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"images": []},
        {"images": None, "finish_reasons": None},
        {"images": ["!AAA"], "finish_reasons": [None]},
        {"images": ["QUJD"], "finish_reasons": [None]},
        {"images": ["jpeg:1024x1024"], "finish_reasons": [None]},
        {"images": ["png:1536x640"], "finish_reasons": [None]},
        {"images": ["png:4096x4096"], "finish_reasons": [None]},
        {"images": ["png:1024x1024"], "finish_reasons": ["Inference error"]},
        {"images": {}, "finish_reasons": [None]},
        b"<html>Busy</html>",
        b"[" * 10_000,
    ],
)
async def test_an_answer_without_a_usable_picture_is_a_failure(body: object) -> None:
    with pytest.raises(UpstreamProtocol, match="no usable picture"):
        await ask(Peer(body=body), call("bedrock", MODEL))


async def test_a_secret_is_in_no_error() -> None:
    secret: Any = "wJalrXUtnFEMI/K7MDENG"
    peer = Peer(403, {"x-amzn-errortype": "AccessDeniedException"}, {"message": f"{secret} may not do this"})
    with pytest.raises(UpstreamCredentials) as caught:
        await ask(peer, call("bedrock", MODEL, api_key=Secret(f"AKID:{secret}")))
    assert secret not in f"{caught.value.message} {caught.value.diagnostics} {caught.value.upstream_code}"
