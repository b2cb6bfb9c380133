"""OpenRouter's wire format where golden exchanges would repeat themselves: costs and usage of any shape, and broken answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from omixa.domain.images import Usage
from omixa.errors import UpstreamProtocol
from tests.support.exchanges import Peer, ask, call, with_pictures

MODEL = "MAI-Image-2.5"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def painted(**fields: Any) -> Peer:
    return Peer(body={"data": [{"b64_json": "png:1024x1024", "media_type": "image/png"}], **fields})


@pytest.mark.parametrize(
    ("cost", "pico_usd"),
    [
        ("0", 0),
        ("0.034916", 34_916_000_000),
        ("3.4916e-2", 34_916_000_000),
        ("0.0349160000004999", 34_916_000_000),
        ("0.0349160000005", 34_916_000_001),
        ("0.1", 100_000_000_000),
        ("1000", 10**15),
        ("1000.01", None),
        ("-0.01", None),
        ("1e400", None),
        ("null", None),
    ],
)
async def test_a_cost_is_kept_as_it_is_printed(cost: str, pico_usd: int | None) -> None:
    peer = painted(usage={"prompt_tokens": 20, "completion_tokens": 1024, "cost": 7.25})
    peer.body = _text(peer).replace(b"7.25", cost.encode())
    result = await ask(peer, call("openrouter", MODEL))
    assert result.cost_pico_usd == pico_usd
    assert result.usage == Usage(20, 0, 1024, 1)


def _text(peer: Peer) -> bytes:
    return with_pictures(json.dumps(peer.body)).encode()


@pytest.mark.parametrize(
    "usage",
    [
        7,
        [],
        {},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1.5},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1, "completion_tokens": 1, "cost": "much"},
        {"prompt_tokens": 1, "completion_tokens": 1, "cost": {}},
    ],
)
async def test_what_is_no_usage_does_not_lose_the_picture(usage: object) -> None:
    result = await ask(painted(usage=usage), call("openrouter", MODEL))
    assert result.image.info.size == "1024x1024"
    assert result.usage is None
    assert result.usage_problem
    assert result.cost_pico_usd is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": []},
        {"data": None},
        {"data": [{}]},
        {"data": [{"b64_json": "!AAA"}]},
        {"data": [{"b64_json": "QUJD"}]},
        {"data": [{"b64_json": "png:1024x1024", "media_type": "image/jpeg"}]},
        {"data": [{"b64_json": "png:1344x768"}]},
        {"data": [{"b64_json": "png:2048x2048"}]},
        b"<html>Busy</html>",
        b'{"data":',
        b"[" * 10_000,
    ],
)
async def test_an_answer_without_a_usable_picture_is_a_failure(body: object) -> None:
    with pytest.raises(UpstreamProtocol, match="no usable picture"):
        await ask(Peer(body=body), call("openrouter", MODEL))
