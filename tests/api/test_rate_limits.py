"""Rate limits through HTTP: refusals before any money, headers on every answer, places that are always given back."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import openai
import pytest

from omixa.services import Services
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.servers import Gateway, Simulator

API = "/api/v1"
CREATE = f"{API}/images/generations"
MODEL = "MAI-Image-2.5"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
EXIT_FAILURE, EXIT_USAGE = 1, 2

Limited = Callable[..., httpx.Client]


@pytest.fixture
def limited(gateway: Gateway, workspace: str, document: Document) -> Iterator[Limited]:
    """A maker of clients whose key has limits; live keys have ten dollars."""
    opened: list[httpx.Client] = []

    def make(mode: Any = "test", **limits: int) -> httpx.Client:
        async def create(services: Services) -> str:
            _, secret = await services.workspaces.create_key(
                workspace=workspace, mode=mode, name="", models=None, actor="test", limits=limits
            )
            return secret.reveal()

        if mode == "live":
            gateway.grant(10_000_000, workspace=workspace)
        client = gateway.client(gateway.call(create))
        client.event_hooks["response"] = [document.check]
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.close()


def in_progress(gateway: Gateway) -> int:
    async def count(services: Services) -> int:
        return sum(services.rates.in_progress.values())

    return gateway.call(count)


def wait_until_all_places_are_back(gateway: Gateway) -> None:
    while in_progress(gateway):
        pass


def rate_headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if "ratelimit" in name}


# ------------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("change", "status"),
    [({}, 200), ({"stream": True}, 200), ({"n": 0}, 400), ({"model": "no-such"}, 404), ({"prompt": 1}, 400)],
)
def test_every_answer_tells_both_families_of_headers(limited: Limited, change: dict[str, Any], status: int) -> None:
    answer = limited(requests_per_minute=10, images_per_minute=20).post(CREATE, json=BODY | change)
    assert answer.status_code == status
    assert rate_headers(answer).keys() == {
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-ratelimit-limit-images",
        "x-ratelimit-remaining-images",
        "x-ratelimit-reset-images",
        "ratelimit-policy",
        "ratelimit",
    }
    assert answer.headers["x-ratelimit-limit-requests"] == "10"
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert answer.headers["ratelimit-policy"] == '"key-requests";q=10;w=60, "key-images";q=20;qu="images";w=60'


def test_without_a_limit_there_are_no_headers(limited: Limited) -> None:
    answer = limited(requests_per_minute=0, images_per_minute=0).post(CREATE, json=BODY)
    assert (answer.status_code, rate_headers(answer)) == (200, {})


def test_the_usual_limits_are_generous(limited: Limited) -> None:
    answer = limited().post(CREATE, json=BODY)
    assert answer.headers["x-ratelimit-limit-requests"] == "600000"


def test_the_body_may_ask_before_the_gateway_answers(limited: Limited) -> None:
    client = limited(requests_per_minute=10)
    assert "ratelimit" not in client.get(f"{API}/balance").headers
    with httpx.Client(base_url=client.base_url, trust_env=False, verify=False) as stranger:
        assert "ratelimit" not in stranger.post(CREATE, json=BODY).headers


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_request_too_many_is_refused_and_nothing_is_held(limited: Limited) -> None:
    client = limited(requests_per_minute=2)
    for _ in range(2):
        assert client.post(CREATE, json=BODY).status_code == 200
    before = client.get(f"{API}/balance").json()
    refused = client.post(CREATE, json=BODY)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("rate_limited", "rate_limit_error")
    assert "This key may make 2 requests per minute" in error["message"]
    assert 0 < int(refused.headers["retry-after-ms"]) <= 30_000
    assert 0 < int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-should-retry"] == "true"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert client.get(f"{API}/balance").json() == before
    assert client.get(f"{API}/requests/{refused.headers['x-request-id']}").status_code == 404
    estimate = client.post(f"{API}/images/estimate", json=BODY)
    assert estimate.status_code == 200, "an estimate is no request for pictures"


def test_requests_that_are_wrong_count_too(limited: Limited) -> None:
    client = limited(requests_per_minute=2)
    assert [client.post(CREATE, content=b"{").status_code for _ in range(3)] == [400, 400, 429]


def test_pictures_count_and_not_requests_alone(limited: Limited) -> None:
    client = limited(images_per_minute=4)
    assert client.post(CREATE, json=BODY | {"n": 3}).status_code == 200
    estimate = client.post(f"{API}/images/estimate", json=BODY | {"n": 3}).json()
    assert (estimate["admitted"], estimate["refusal"]["code"]) == (False, "rate_limited")
    refused = client.post(CREATE, json=BODY | {"n": 3, "stream": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
    assert client.post(CREATE, json=BODY).status_code == 200
    wrong = client.post(CREATE, json=BODY | {"n": 5})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "n")


def test_a_changed_limit_is_obeyed_within_seconds(gateway: Gateway, limited: Limited) -> None:
    client = limited()
    client.post(CREATE, json=BODY)
    key_id = client.get(f"{API}/usage/requests").json()["data"][0]["key_id"]
    gateway.call(lambda services: services.allowances.set_key_limits(key_id, {"requests_per_minute": 1}, actor="test"))
    while client.post(CREATE, content=b"{").status_code == 400:
        pass
    assert client.post(CREATE, content=b"{").json()["error"]["code"] == "rate_limited"


def test_a_workspace_has_limits_of_its_own(gateway: Gateway, workspace: str, limited: Limited) -> None:
    first, second = limited(), limited()
    changes = {"requests_per_minute": 3}
    gateway.call(lambda services: services.allowances.set_workspace_limits(workspace, changes, actor="test"))
    statuses = [client.post(CREATE, content=b"{").status_code for client in (first, second, first, second)]
    assert statuses == [400, 400, 400, 429]
    refused = second.post(CREATE, content=b"{")
    assert "This workspace may make 3 requests per minute" in refused.json()["error"]["message"]
    assert '"workspace-requests";r=0' in refused.headers["ratelimit"]


# ------------------------------------------------------------------------------------------------------------ at a time


def test_pictures_at_a_time_are_bounded_and_their_places_come_back(
    gateway: Gateway, foundry: Simulator, limited: Limited
) -> None:
    client = limited("live", concurrent_images=2)
    foundry.play("slow=0.5x2")
    answers: list[httpx.Response] = []
    making = threading.Thread(target=lambda: answers.append(client.post(CREATE, json=BODY | {"n": 2})))
    making.start()
    while in_progress(gateway) < 2:
        pass
    refused = client.post(CREATE, json=BODY)
    making.join()
    assert (refused.status_code, answers[0].status_code) == (429, 200)
    assert "2 images at a time" in refused.json()["error"]["message"]
    assert '"key-concurrent-images";r=0' in refused.headers["ratelimit"]
    assert refused.headers["retry-after"] == "2"
    assert client.post(CREATE, json=BODY | {"n": 2}).status_code == 200
    wait_until_all_places_are_back(gateway)


@pytest.mark.parametrize("scenario", ["filter", "500x4", "nodata"])
def test_a_failed_run_gives_its_places_back(
    gateway: Gateway, foundry: Simulator, limited: Limited, scenario: str
) -> None:
    client = limited("live", concurrent_images=1)
    foundry.play(scenario)
    assert client.post(CREATE, json=BODY).status_code >= 400
    foundry.play("")
    assert client.post(CREATE, json=BODY).status_code == 200
    wait_until_all_places_are_back(gateway)


def test_a_request_without_money_gives_its_places_back(gateway: Gateway, limited: Limited) -> None:
    client = limited("live", concurrent_images=1)
    assert client.post(CREATE, json=BODY | {"n": 2}).status_code == 400
    headers = {"Omixa-Max-Cost": "0.000001"}
    for _ in range(3):
        assert client.post(CREATE, json=BODY, headers=headers).status_code == 402
    wait_until_all_places_are_back(gateway)


def test_a_client_that_leaves_gives_its_places_back_when_its_picture_is_made(
    gateway: Gateway, foundry: Simulator, limited: Limited
) -> None:
    client = limited("live", concurrent_images=1)
    foundry.play("slow=0.5")
    body = b'{"model":"MAI-Image-2.5","prompt":"A red kite"}'
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body)
        while not in_progress(gateway):
            pass
    assert client.post(CREATE, json=BODY).status_code == 429, "the picture is still being made and will be charged"
    wait_until_all_places_are_back(gateway)
    assert client.post(CREATE, json=BODY).status_code == 200


def test_of_concurrent_requests_no_more_than_allowed_run(
    gateway: Gateway, foundry: Simulator, limited: Limited
) -> None:
    client = limited("live", concurrent_images=3)
    foundry.play("slow=0.5x3")

    async def ask() -> list[int]:
        async with httpx.AsyncClient(
            base_url=gateway.url, headers=client.headers, timeout=60, verify=False, trust_env=False
        ) as many:
            answers = await asyncio.gather(*(many.post(CREATE, json=BODY) for _ in range(12)))
        return sorted(answer.status_code for answer in answers)

    assert asyncio.run(ask()) == [200] * 3 + [429] * 9
    wait_until_all_places_are_back(gateway)


# ------------------------------------------------------------------------------------------------------ official client


def test_the_official_client_waits_as_long_as_it_is_told_and_then_succeeds(gateway: Gateway, limited: Limited) -> None:
    client = limited(requests_per_minute=30)
    # Until there is nothing left, and the next one is more than a second away.
    while True:
        drained = client.post(CREATE, content=b"{")
        if drained.status_code == 429 and int(drained.headers["retry-after-ms"]) > 1000:
            break
    seen: list[int] = []
    key = client.headers["authorization"].removeprefix("Bearer ")
    hooks = {"response": [lambda answer: seen.append(answer.status_code)]}
    with httpx.Client(trust_env=False, verify=False, event_hooks=hooks) as transport:
        sdk = openai.OpenAI(base_url=gateway.api, api_key=key, max_retries=2, http_client=transport)
        made = sdk.images.generate(model=MODEL, prompt=BODY["prompt"])
        assert made.data
        assert made.data[0].b64_json
        assert seen == [429, 200]
        with pytest.raises(openai.RateLimitError) as refused:
            sdk.with_options(max_retries=0).images.generate(model=MODEL, prompt=BODY["prompt"])
    assert refused.value.code == "rate_limited"


# ----------------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def omixa(tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    directory = tmp_path_factory.mktemp("limits")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")})


def test_limits_are_set_changed_and_taken_away(omixa: Omixa) -> None:
    key = omixa.json("keys", "create", "--mode", "test", "--requests-per-minute", "60", "--concurrent-images", "4")[
        "id"
    ]
    (listed,) = omixa.json("keys", "list")
    assert listed["limits"] == "60 requests per minute, 4 images at a time"
    assert omixa.json("keys", "set-limits", key, "--requests-per-minute", "default", "--images-per-minute", "none") == {
        "requests_per_minute": None,
        "images_per_minute": 0,
        "concurrent_images": 4,
    }
    assert omixa("keys", "set-limits", key, "--concurrent-images", "none") == (
        f"{key}: any number of images per minute, any number of images at a time."
    )
    assert omixa("workspaces", "set-limits", "--images-per-minute", "100") == "default: 100 images per minute."
    assert omixa.json("workspaces", "list")[0]["limits"] == "100 images per minute"
    assert omixa("workspaces", "set-limits", "--images-per-minute", "default") == "default: the usual limits."


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["keys", "set-limits", "key_none", "--concurrent-images", "1"], EXIT_FAILURE, "no active key key_none"),
        (
            ["workspaces", "set-limits", "--workspace", "x", "--concurrent-images", "1"],
            EXIT_FAILURE,
            'no workspace "x"',
        ),
        (["workspaces", "set-limits", "--images-per-minute", "1000000001"], EXIT_FAILURE, "from 0, which is none, to"),
        (["workspaces", "set-limits", "--images-per-minute", "0"], EXIT_USAGE, "a whole number above 0"),
        (["workspaces", "set-limits", "--images-per-minute", "1.5"], EXIT_USAGE, "a whole number above 0"),
        (
            ["workspaces", "set-limits"],
            EXIT_USAGE,
            "give --requests-per-minute, --images-per-minute, --concurrent-images",
        ),
    ],
)
def test_what_cannot_be_set_is_named(omixa: Omixa, arguments: list[str], code: int, message: str) -> None:
    done = omixa.run(*arguments)
    assert done.returncode == code
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_the_usual_limits_are_options(omixa: Omixa) -> None:
    changed = omixa.with_variables(OMIXA_LIMITS_KEY_CONCURRENT_IMAGES="7")
    assert "7" in next(line for line in changed("config", "check").splitlines() if "key_concurrent_images" in line)
    wrong = omixa.with_variables(OMIXA_LIMITS_KEY_CONCURRENT_IMAGES="-1").run("config", "check")
    assert wrong.returncode == 78
    assert "OMIXA_LIMITS_KEY_CONCURRENT_IMAGES" in wrong.stderr
