"""A workspace whose prompts are refused again and again has to stop for the day, because somebody pays for that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

from omixa.config import LimitSettings
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.servers import Gateway, running_gateway

API = "/api/v1"
CREATE = f"{API}/images/generations"
MODEL = "MAI-Image-2.5"
# The simulator's filter refuses this word. Three tokens and more cost 15 millionths of a dollar at least.
REFUSED: dict[str, Any] = {"model": MODEL, "prompt": "A forbidden-test-word on a beach"}
GOOD: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("strict")
    with running_gateway(directory, limits=LimitSettings(refusal_cost_per_day="0.000050")) as running:
        yield running


@pytest.fixture
def client(strict: Gateway, workspace: str) -> Iterator[httpx.Client]:
    with strict.client(strict.key("test", workspace)) as opened:
        opened.event_hooks["response"] = [Document(opened.get("/openapi.json").json()).check]
        yield opened


def refuse_until_the_limit(client: httpx.Client) -> httpx.Response:
    """Ask for what is refused until that has cost too much, and return the first other answer."""
    for _ in range(20):
        answer = client.post(CREATE, json=REFUSED)
        if answer.status_code != 400:
            return answer
        assert answer.json()["error"]["code"] == "content_policy_violation"
    raise AssertionError("there is no limit")


def test_refusals_cost_the_caller_nothing_and_end_at_the_limit(client: httpx.Client) -> None:
    limited = refuse_until_the_limit(client)
    assert limited.status_code == 429
    error = limited.json()["error"]
    assert (error["code"], error["type"]) == ("refusal_limit", "rate_limit_error")
    assert "the limit is $0.000050 a day" in error["message"]
    wait_s = int(limited.headers["retry-after"])
    assert 0 < wait_s <= 86_400
    assert limited.headers["x-should-retry"] == ("true" if wait_s <= 120 else "false")
    refused = client.get(f"{API}/usage/requests").json()["data"]
    assert len(refused) > 1
    assert {one["billed_amount"] for one in refused} == {"0.000000"}
    receipt = client.get(f"{API}/requests/{refused[0]['id']}/receipt").json()
    assert receipt["attempts"][0]["cost_basis"] == "estimated"
    # What is good is refused as well: nobody knows before.
    assert client.post(CREATE, json=GOOD).status_code == 429
    estimate = client.post(f"{API}/images/estimate", json=GOOD).json()
    assert (estimate["admitted"], estimate["refusal"]["code"]) == (False, "refusal_limit")
    assert client.get(f"{API}/balance").json()["available"] == "1000.000000"


def test_the_official_client_does_not_wait_for_tomorrow(strict: Gateway, client: httpx.Client) -> None:
    limited = refuse_until_the_limit(client)
    if int(limited.headers["retry-after"]) <= 120:
        # So close to midnight it rightly waits.
        return
    asked: list[httpx.Request] = []
    key = client.headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(trust_env=False, verify=False, event_hooks={"request": [asked.append]}) as transport:
        sdk = openai.OpenAI(base_url=strict.api, api_key=key, max_retries=3, http_client=transport)
        with pytest.raises(openai.RateLimitError) as refused:
            sdk.images.generate(**GOOD)
    assert (refused.value.code, len(asked)) == ("refusal_limit", 1)


@pytest.mark.parametrize("value", ["-1", "1e3", "0.0000001", "five"])
def test_a_limit_that_is_no_amount_stops_the_start(tmp_path: Path, value: str) -> None:
    done = Omixa(tmp_path, {"OMIXA_LIMITS_REFUSAL_COST_PER_DAY": value}).run("config", "check")
    assert done.returncode == 78
    assert "OMIXA_LIMITS_REFUSAL_COST_PER_DAY" in done.stderr
