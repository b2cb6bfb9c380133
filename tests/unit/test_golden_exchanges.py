"""Exchanges with providers whose pictures are jobs, or bytes, from tests/golden: what is sent, and what comes of the answers.

In the JSON of a golden file HERE is the provider's own address, `png:64x48` the base64 of such a PNG, and `data:png:64x48`
the same as a data URL. An answer with a `picture` is its bytes.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pybase64
import pytest

from omixa import errors
from omixa.domain.images import Image, Usage
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamError
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.transport import HttpTransport
from omixa.simulator.multipart import parse_multipart
from tests.support.pictures import mask
from tests.support.wires import (
    KEY,
    PROMPT,
    Answer,
    Asked,
    Wire,
    ask,
    call,
    encoded,
    nobody_waits,
    picture,
    png,
    speaking,
)

ROOT = Path(__file__).parents[1] / "golden"
PROVIDERS = ("fal", "flux", "foundry-flux", "replicate", "stability")
GOLDEN = {
    f"{provider}/{path.stem}": path.read_text(encoding="utf-8")
    for provider in PROVIDERS
    for path in sorted((ROOT / provider).glob("*.json"))
}
SUCCESSES = {name: text for name, text in GOLDEN.items() if "error" not in json.loads(text)["gives"]}
# Whoever makes jobs there can be asked to stop.
CANCELLED = ("fal", "replicate")
CREDENTIALS = ("x-key", "authorization", "api-key")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def conversions() -> Iterator[Conversions]:
    with contextlib.closing(Conversions(1, waiting=1)) as pool:
        yield pool


@pytest.mark.parametrize(("name", "text"), GOLDEN.items(), ids=GOLDEN.keys())
async def test_golden_exchange(name: str, text: str, conversions: Conversions) -> None:
    golden = json.loads(text)
    gives = golden["gives"]
    answers = [_answer(exchange["answer"]) for exchange in golden["exchanges"]]
    async with speaking(*answers) as wire, HttpTransport() as http:
        wanted = _call(name.partition("/")[0], golden, wire)
        if "error" in gives:
            with pytest.raises(UpstreamError) as caught:
                await ask(http, wanted, conversions)
            _check_error(caught.value, gives)
        else:
            _check_result(await ask(http, wanted, conversions), gives)
    requests = [exchange["request"] for exchange in golden["exchanges"]]
    for asked, expected in zip(wire.asked, requests, strict=True):
        _check_request(asked, expected, wire)


@pytest.mark.parametrize(("name", "text"), SUCCESSES.items(), ids=SUCCESSES.keys())
async def test_a_late_answer_says_the_same_of_its_cost(name: str, text: str, conversions: Conversions) -> None:
    """Its job is cancelled where that can be, and its end is asked for, but no picture is fetched."""
    golden, provider = json.loads(text), name.partition("/")[0]
    answers = [_answer(exchange["answer"]) for exchange in golden["exchanges"]]
    cancels = provider in CANCELLED and len(answers) > 2
    if cancels:
        answers.insert(1, Answer(202, "{}", {"content-type": "application/json"}))
    async with speaking(*answers) as wire, HttpTransport() as http:
        wanted = replace(_call(provider, golden, wire), waiting=nobody_waits())
        result = await ask(http, wanted, conversions)
    gives = golden["gives"]
    assert result.image.data == b""
    if provider != "stability":
        # There the price is a picture's, of whatever size that comes in.
        usage = gives["usage"]
        assert result.usage == (None if usage is None else Usage(**usage, estimated=_is_guessed(golden)))
    assert result.cost_pico_usd == gives.get("cost_pico_usd")
    assert result.provider_request_id == gives["provider_request_id"]
    assert any("cancel" in one.path for one in wire.asked) is cancels
    assert all(one.method == "POST" or "accept" in one.headers for one in wire.asked)


def _is_guessed(golden: dict[str, Any]) -> bool:
    """Tell whether nobody can know the shape of a picture that was not seen: an edit has that of its reference, or so."""
    ask = golden.get("ask", {})
    return ask.get("size", "auto") == "auto" and bool(ask.get("references")) and golden["gives"]["usage"] is not None


def _written(value: Any) -> Any:
    """Return JSON with base64 in the place of the pictures that it names."""
    if isinstance(value, dict):
        return {name: _written(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    match = re.fullmatch(r"(data:)?png:(\d+x\d+)", value) if isinstance(value, str) else None
    if match is None:
        return PROMPT if value == "PROMPT" else value
    data = pybase64.b64encode_as_string(png(match[2]))
    return f"data:image/png;base64,{data}" if match[1] else data


def _named(name: str) -> bytes:
    """Return the bytes of a picture that is called png:64x48, jpeg:64x48 or webp:64x48."""
    kind, _, size = name.partition(":")
    return png(size) if kind == "png" else encoded(kind, size)


def _answer(answer: dict[str, Any]) -> Answer:
    body = _named(answer["picture"]) if "picture" in answer else answer.get("body", "")
    body = json.dumps(_written(body)) if isinstance(body, dict) else body
    return Answer(answer.get("status", 200), body, answer.get("headers", {"content-type": "application/json"}))


def _call(provider: str, golden: dict[str, Any], wire: Wire) -> ProviderCall:
    fields: dict[str, Any] = dict(golden.get("ask", {}))
    references = [_reference(name) for name in fields.pop("references", ())]
    if "mask" in fields:
        width, height, *open_at = fields["mask"]
        fields["mask"] = picture(mask(width, height, tuple(open_at)))
    name = fields.pop("deployment", "")
    wanted = call(provider, golden["model"], wire.url, *references, deployment_name=name, **fields)
    return replace(wanted, offer=replace(wanted.offer, **golden.get("offer", {})))


def _reference(name: str) -> Image:
    return picture(_named(name))


def _check_result(result: ProviderResult, gives: dict[str, Any]) -> None:
    assert result.image == picture(_named(gives["picture"]))
    usage = gives["usage"]
    assert result.usage == (None if usage is None else Usage(**usage))
    assert (result.usage_problem is None) is (usage is not None)
    assert result.provider_request_id == gives["provider_request_id"]
    assert result.cost_pico_usd == gives.get("cost_pico_usd")
    assert result.has_transparency is gives.get("has_transparency", False)


def _check_error(error: UpstreamError, gives: dict[str, Any]) -> None:
    assert type(error) is getattr(errors, gives["error"]), error.diagnostics
    assert error.message == gives["message"]
    for name in ("upstream_status", "upstream_code", "retry_after_s", "provider_request_id", "ambiguous"):
        if name in gives:
            assert getattr(error, name) == gives[name], name
    assert KEY not in f"{error.message} {error.diagnostics} {error.upstream_code}"


def _check_request(asked: Asked, expected: dict[str, Any], wire: Wire) -> None:
    assert f"{asked.method} {asked.path}" == expected["line"]
    told = {name: value.replace("KEY", KEY) for name, value in expected.get("headers", {}).items()}
    assert {name: asked.headers.get(name) for name in told} == told
    # The credential stands where it belongs, and in no other header.
    assert {name for name in CREDENTIALS if name in asked.headers} == {name for name in CREDENTIALS if name in told}
    assert not any(name.startswith("x-omixa") for name in asked.headers)
    if "json" in expected:
        assert asked.headers["content-type"] == "application/json"
        assert json.loads(asked.body) == _written(expected["json"])
    elif "parts" in expected:
        parts = [
            [part.name, part.filename, part.content_type if part.filename else None, part.data]
            for part in parse_multipart(asked.body, asked.headers["content-type"])
        ]
        assert parts == [[*head, _part(text)] for *head, text in expected["parts"]]
    else:
        assert asked.body == b""


def _part(text: str) -> bytes:
    if text.startswith("mask:"):
        return (ROOT / "stability" / text.removeprefix("mask:")).read_bytes()
    return _named(text) if re.fullmatch(r"(png|jpeg|webp):\d+x\d+", text) else text.replace("PROMPT", PROMPT).encode()
