"""Golden exchanges, written from what the providers say of themselves: the request that is sent, and what its answer means.

Each file of tests/golden/PROVIDER is one: what is asked for, the request, the answer, and what it gives.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omixa import errors
from omixa.domain.images import Usage
from omixa.errors import UpstreamError
from tests.support.exchanges import KEY, PREFIXES, Peer, ask, call, picture, with_pictures
from tests.support.wires import nobody_waits

FILES = [
    pytest.param(provider, path.read_text(encoding="utf-8"), id=f"{provider}-{path.stem}")
    for provider in PREFIXES
    for path in sorted((Path(__file__).parents[1] / "golden" / provider).glob("*.json"))
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(("provider", "text"), FILES)
async def test_golden_exchange(provider: str, text: str) -> None:
    exchange = json.loads(text)
    wanted = exchange["ask"]
    references = [picture(name) for name in wanted.pop("references", ())]
    peer = Peer(**exchange["answer"])
    made = call(provider, wanted.pop("model"), *references, **wanted)
    gives = exchange["gives"]
    if "error" in gives:
        with pytest.raises(UpstreamError) as caught:
            await ask(peer, made)
        _check_error(caught.value, gives)
    else:
        result = await ask(peer, made)
        assert result.image == picture(gives["picture"])
        assert result.usage == (Usage(**gives["usage"], images=1) if gives["usage"] is not None else None)
        assert (result.usage_problem is None) == (gives["usage"] is not None)
        assert result.provider_request_id == gives.get("provider_request_id")
        assert result.cost_pico_usd == gives.get("cost_pico_usd")
    _check_request(peer, exchange["request"])


@pytest.mark.parametrize(("provider", "text"), FILES)
async def test_a_late_answer_says_the_same_of_its_cost(provider: str, text: str) -> None:
    exchange = json.loads(text)
    wanted, gives = exchange["ask"], exchange["gives"]
    references = [picture(name) for name in wanted.pop("references", ())]
    made = replace(call(provider, wanted.pop("model"), *references, **wanted), waiting=nobody_waits())
    if exchange["answer"].get("status", 200) != 200:
        with pytest.raises(UpstreamError) as caught:
            await ask(Peer(**exchange["answer"]), made)
        assert type(caught.value) is getattr(errors, gives["error"])
        return
    if "error" in gives:
        # It is a fault of the picture, at which nobody looks, or of what is said in its place.
        return
    result = await ask(Peer(**exchange["answer"]), made)
    assert result.image.data == b""
    usage = None if gives["usage"] is None else Usage(**gives["usage"], images=1)
    if provider != "bedrock":
        # There the price is a picture's, of whatever size that comes in.
        assert result.usage == usage
    assert result.provider_request_id == gives.get("provider_request_id")
    assert result.cost_pico_usd == gives.get("cost_pico_usd")


def _check_error(error: UpstreamError, gives: dict[str, Any]) -> None:
    assert type(error) is getattr(errors, gives["error"]), error.diagnostics
    assert error.message == gives["message"]
    for name in ("upstream_status", "upstream_code", "retry_after_s", "provider_request_id"):
        if name in gives:
            assert getattr(error, name) == gives[name]
    assert KEY.partition(":")[2] not in f"{error.message} {error.diagnostics}"


def _check_request(peer: Peer, expected: dict[str, Any]) -> None:
    (seen,) = peer.seen
    assert seen.path == expected["path"]
    for name, value in expected["headers"].items():
        assert seen.headers[name] == value.replace("KEY", KEY)
    assert not any(name.startswith("x-omixa") for name in seen.headers)
    assert seen.headers["content-type"] == "application/json"
    assert seen.json == json.loads(with_pictures(json.dumps(expected["json"])))
