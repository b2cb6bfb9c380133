"""Budgets from the command line to what customers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import openai
import pytest

from omixa.billing.budgets import Period
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.servers import Gateway

API = "/api/v1"
CREATE = f"{API}/images/generations"
CEILING = "0.035100"
EXIT_FAILURE, EXIT_USAGE = 1, 2


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    test_client.event_hooks["response"] = [document.check]
    return test_client


def key_id(client: httpx.Client) -> str:
    client.post(CREATE, json={"model": "MAI-Image-2.5", "prompt": "A red kite over a stubble field at dusk"})
    found: str = client.get(f"{API}/usage/requests").json()["data"][0]["key_id"]
    return found


def set_key_budget(gateway: Gateway, key: str, **limits: int | None) -> None:
    given: dict[Period, int | None] = {"day": limits["day"]} if "day" in limits else {"month": limits["month"]}
    gateway.call(lambda services: services.allowances.set_key_budget(key, given, actor="test"))


def test_without_a_budget_the_list_is_empty(client: httpx.Client) -> None:
    assert client.get(f"{API}/budgets").json() == {"object": "list", "currency": "USD", "data": []}


def test_a_request_past_the_budget_is_refused_with_its_name_and_end(
    gateway: Gateway, client: httpx.Client, example: dict[str, object]
) -> None:
    key = key_id(client)
    set_key_budget(gateway, key, month=100_000)
    assert client.post(CREATE, json=example).status_code == 200
    before = client.get(f"{API}/budgets").json()["data"]
    assert [(one["scope"], one["period"], one["limit"], one["spent"], one["held"]) for one in before] == [
        ("key", "month", "0.100000", "0.067800", "0.000000")
    ]
    assert before[0]["available"] == "0.032200"
    estimate = client.post(f"{API}/images/estimate", json=example).json()
    assert (estimate["admitted"], estimate["refusal"]["code"]) == (False, "budget_exceeded")
    refused = client.post(CREATE, json=example)
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("budget_exceeded", "billing_error")
    assert error["message"] == estimate["refusal"]["message"]
    for part in (
        f"up to ${CEILING}",
        "monthly budget of this key",
        "$0.100000",
        "$0.067800 are spent",
        before[0]["resets_at"],
    ):
        assert part in error["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert client.get(f"{API}/budgets").json()["data"] == before
    assert client.get(f"{API}/requests/{refused.headers['x-request-id']}").status_code == 404
    with gateway.client(None) as stranger:
        assert stranger.get(f"{API}/budgets").status_code == 401


def test_streams_are_refused_before_they_begin(
    gateway: Gateway, client: httpx.Client, example: dict[str, object]
) -> None:
    set_key_budget(gateway, key_id(client), month=0)
    refused = client.post(CREATE, json={**example, "stream": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")


def test_of_concurrent_requests_exactly_those_are_served_that_the_budget_covers(
    gateway: Gateway, workspace: str, new_key: Callable[..., str], example: dict[str, object]
) -> None:
    key = new_key()
    # Room for three ceilings at a time; what each frees at its end is less than a fourth needs.
    limits: dict[Period, int | None] = {"day": 130_000}
    gateway.call(lambda services: services.allowances.set_workspace_budget(workspace, "test", limits, actor="test"))

    async def ask() -> list[int]:
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=60, verify=False) as client:
            answers = await asyncio.gather(*(client.post(CREATE, json=example) for _ in range(20)))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(ask()) == [200] * 3 + [402] * 17


def test_the_official_client_does_not_try_again(
    gateway: Gateway, client: httpx.Client, example: dict[str, Any]
) -> None:
    set_key_budget(gateway, key_id(client), day=0)
    asked: list[httpx.Request] = []
    key = client.headers["authorization"].removeprefix("Bearer ")
    with httpx.Client(trust_env=False, verify=False, event_hooks={"request": [asked.append]}) as transport:
        sdk = openai.OpenAI(base_url=gateway.api, api_key=key, max_retries=3, http_client=transport)
        with pytest.raises(openai.APIStatusError) as refused:
            sdk.images.generate(**example)
    assert (refused.value.status_code, refused.value.code, len(asked)) == (402, "budget_exceeded", 1)


# ----------------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def omixa(tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    directory = tmp_path_factory.mktemp("budgets")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")})


def test_a_key_is_created_with_budgets_that_can_be_changed_and_taken_away(omixa: Omixa) -> None:
    created = omixa.json("keys", "create", "--mode", "test", "--budget-day", "5.00", "--budget-month", "100")
    zero = {"spent": "0.000000", "held": "0.000000"}
    (day, month) = omixa.json("budgets", "list", "--workspace", "default")
    assert day.pop("resets_at").endswith("T00:00:00.000Z")
    assert day == {
        "workspace": "default",
        "mode": "test",
        "key": created["id"],
        "period": "day",
        "limit": "5.000000",
        "available": "5.000000",
        **zero,
    }
    assert (month["period"], month["limit"]) == ("month", "100.000000")
    assert "may spend $6.500000 a day" in omixa("keys", "set-budget", created["id"], "--day", "6.50")
    (left,) = omixa.json("keys", "set-budget", created["id"], "--day", "none")
    assert (left["period"], left["limit"]) == ("month", "100.000000")
    assert omixa("keys", "set-budget", created["id"], "--month", "none") == f"{created['id']} has no budget."
    assert "No budgets yet" in omixa("budgets", "list")


def test_a_workspace_has_budgets_of_its_own_in_each_mode(omixa: Omixa) -> None:
    omixa("workspaces", "set-budget", "--month", "50")
    (live,) = omixa.json("workspaces", "set-budget", "--mode", "test", "--day", "2")
    assert (live["period"], live["limit"]) == ("day", "2.000000")
    listed = omixa("budgets", "list")
    assert [line.split()[1:4] for line in listed.splitlines()[1:]] == [["live", "all", "month"], ["test", "all", "day"]]
    for mode in ("live", "test"):
        omixa("workspaces", "set-budget", "--mode", mode, "--day", "none", "--month", "none")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["keys", "set-budget", "key_none", "--day", "1"], EXIT_FAILURE, "There is no active key key_none."),
        (["workspaces", "set-budget", "--workspace", "none", "--day", "1"], EXIT_FAILURE, 'no workspace "none"'),
        (["budgets", "list", "--workspace", "none"], EXIT_FAILURE, 'no workspace "none"'),
        (["workspaces", "set-budget"], EXIT_USAGE, "give --day, --month or both"),
        (["workspaces", "set-budget", "--day", "-1"], EXIT_USAGE, "is not an amount"),
        (["keys", "create", "--mode", "test", "--budget-day", "1e3"], EXIT_USAGE, "is not an amount"),
    ],
)
def test_what_cannot_be_set_is_named(omixa: Omixa, arguments: list[str], code: int, message: str) -> None:
    done = omixa.run(*arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
