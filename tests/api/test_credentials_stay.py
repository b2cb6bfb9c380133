"""Nothing that a caller can send takes an operator's credential to another address."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2 as httpx
import pytest

from tests.support.footprint import footprint
from tests.support.servers import Gateway, Simulator, running_simulator

CREATE = "/api/v1/images/generations"
REQUEST = {"model": "MAI-Image-2.5", "prompt": "A calm lake at dawn"}
# By such words other gateways let a request say where it goes, and with what.
FIELDS = (
    *("api_base", "base_url", "endpoint", "url", "api_key", "api_version", "organization", "provider", "deployment"),
    *("headers", "extra_headers", "extra_body", "custom_llm_provider", "vertex_project", "proxy", "webhook_url"),
)
HEADERS = (
    *("x-base-url", "x-api-base", "x-portkey-custom-host", "x-target-url", "x-forwarded-host", "forwarded", "api-key"),
    *("x-original-url", "x-rewrite-url", "proxy", "helicone-target-url"),
)


@pytest.fixture(scope="module")
def thief() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_request_names_another_address(
    live_client: httpx.Client, gateway: Gateway, foundry: Simulator, thief: Simulator, field: str
) -> None:
    before, calls = footprint(gateway), len(foundry.log())
    for value in (thief.url, {"url": thief.url, "authorization": "Bearer x"}):
        refused = live_client.post(CREATE, json={**REQUEST, field: value})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == field
    assert footprint(gateway) == before
    assert (len(foundry.log()), thief.log()) == (calls, [])


@pytest.mark.parametrize("header", HEADERS)
def test_no_header_and_no_query_leads_elsewhere(
    live_client: httpx.Client, foundry: Simulator, thief: Simulator, header: str
) -> None:
    calls = len(foundry.log())
    answer = live_client.post(
        CREATE, json=REQUEST, headers={header: thief.url}, params={"api_base": thief.url, "endpoint": thief.url}
    )
    assert answer.status_code in {200, 400}
    # Where it was served, the operator's own endpoint has served it.
    assert len(foundry.log()) - calls == (answer.status_code == 200)
    assert thief.log() == []
