"""Server-sent events: comments while the model paints, one event per picture, and a charge that no hang-up can skip."""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx2 as httpx
import pytest

from omixa.domain.images import Image, Usage
from omixa.imaging.inspect import inspect
from omixa.providers.base import PartialImage, ProviderCall, ProviderEvent, ProviderResult
from omixa.services import Services
from tests.support.document import Document, events
from tests.support.footprint import footprint, money
from tests.support.pictures import picture, reference
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
PROMPT = "A red kite over a stubble field at dusk"
KEEP_ALIVE = ": keep-alive"
# So short that a comment comes while any picture is made, and long enough that it is not all that comes.
KEEP_ALIVE_S = 0.05


@pytest.fixture(scope="module")
def eager(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that comments often."""
    path = tmp_path_factory.mktemp("eager")
    with running_gateway(path, foundry, stream_keep_alive_s=KEEP_ALIVE_S) as running:
        yield running


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": PROMPT, "stream": True, **fields}


def stream(client: httpx.Client, **fields: Any) -> httpx.Response:
    answer = client.post(CREATE, json=body(**fields))
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    return answer


# ----------------------------------------------------------------------------------------------------------------- events


def test_a_picture_comes_as_one_event_with_its_usage_and_the_receipt(
    test_client: httpx.Client, document: Document
) -> None:
    plain = test_client.post(CREATE, json=body(stream=False)).json()
    answer = stream(test_client)
    document.check(answer)
    (event,) = events(answer.text)
    assert event["type"] == "image_generation.completed"
    assert f"event: {event['type']}\ndata: " in answer.text
    assert answer.text.endswith("\n\n")
    assert event["b64_json"] == plain["data"][0]["b64_json"]
    assert event["usage"] == plain["usage"]
    for name in ("size", "quality", "background", "output_format"):
        assert event[name] == plain[name]
    assert event["omixa"]["request_id"] == answer.headers["x-request-id"]
    assert event["omixa"]["line_items"] == plain["omixa"]["line_items"]


def test_headers_keep_proxies_from_holding_the_stream_back(test_client: httpx.Client) -> None:
    headers = stream(test_client).headers
    assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
    assert headers["omixa-mode"] == "test"


def test_several_pictures_are_several_events_whose_usage_adds_up(test_client: httpx.Client, document: Document) -> None:
    answer = stream(test_client, n=3, output_format="jpeg")
    document.check(answer)
    made = events(answer.text)
    assert [event["type"] for event in made] == ["image_generation.completed"] * 3
    assert len({event["b64_json"] for event in made}) == 3
    assert ["billed_amount" in event["usage"] for event in made] == [False, False, True]
    plain = test_client.get(f"{API}/requests/{answer.headers['x-request-id']}/result").json()
    for name in ("input_tokens", "output_tokens", "total_tokens", "images"):
        assert sum(event["usage"][name] for event in made) == plain["usage"][name]
    assert made[-1]["usage"]["billed_amount"] == plain["usage"]["billed_amount"]
    assert [event["b64_json"] for event in made] == [datum["b64_json"] for datum in plain["data"]]


def test_an_edit_has_a_prefix_of_its_own(test_client: httpx.Client, document: Document) -> None:
    answer = stream(test_client, input_images=[reference()])
    document.check(answer)
    assert [event["type"] for event in events(answer.text)] == ["image_edit.completed"]


def test_no_previews_are_invented(test_client: httpx.Client) -> None:
    answer = stream(test_client, partial_images=3)
    (event,) = events(answer.text)
    assert event["type"] == "image_generation.completed"
    assert event["omixa"]["ignored_parameters"] == ["partial_images"]


def test_comments_keep_the_connection_alive_while_the_model_paints(
    eager: Gateway, foundry: Simulator, workspace: str, document: Document
) -> None:
    eager.grant(1_000_000, workspace=workspace)
    foundry.play("slow=0.4")
    with eager.client(eager.key("live", workspace)) as client:
        answer = stream(client)
    document.check(answer)
    comments, _, event = answer.text.partition("event: ")
    assert comments.count(KEEP_ALIVE + "\n\n") >= 2
    assert comments.replace(KEEP_ALIVE + "\n\n", "") == ""
    assert event.startswith("image_generation.completed\n")


# ----------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"size": "13x13"}, 400, "invalid_value"),
        ({"model": "gpt-image-1"}, 404, "model_not_found"),
        ({"input_images": ["https://example.com/a.png"]}, 400, "image_url_not_inline"),
    ],
)
def test_a_refusal_before_the_hold_is_an_ordinary_error(
    test_client: httpx.Client, document: Document, gateway: Gateway, fields: dict[str, Any], status: int, code: str
) -> None:
    before = footprint(gateway)
    answer = test_client.post(CREATE, json=body(**fields))
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert footprint(gateway) == before


def test_missing_money_is_an_ordinary_error(gateway: Gateway, workspace: str, document: Document) -> None:
    with gateway.client(gateway.key("live", workspace)) as client:
        answer = client.post(CREATE, json=body())
    document.check(answer)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "insufficient_balance")


@pytest.mark.parametrize(
    ("scenario", "code"),
    [("filter", "content_policy_violation"), ("500", "provider_error"), ("429", "provider_rate_limited")],
)
def test_a_failure_after_the_hold_is_the_last_event_and_costs_nothing(
    live_client: httpx.Client,
    foundry: Simulator,
    document: Document,
    gateway: Gateway,
    workspace: str,
    scenario: str,
    code: str,
) -> None:
    foundry.play(scenario)
    answer = stream(live_client)
    document.check(answer)
    last = answer.text.removesuffix("\n\n").split("\n\n")[-1]
    assert last.startswith('data: {"error":{')
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["request_id"]) == (code, answer.headers["x-request-id"])
    assert "event:" not in answer.text
    assert money(gateway, workspace, "live") == (10_000_000, 0)


# ------------------------------------------------------------------------------------------------- clients that hang up


def wait_for_runs(gateway: Gateway) -> None:
    """Wait until nothing runs any more."""
    gateway.call(lambda services: services.runs.drain(30))


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "plain"])
def test_a_client_that_leaves_in_the_middle_pays_and_finds_its_picture(
    live_client: httpx.Client, foundry: Simulator, gateway: Gateway, workspace: str, document: Document, streaming: bool
) -> None:
    plain = live_client.post(CREATE, json=body(stream=False))
    foundry.play("slow=0.4")
    calls = len(foundry.log())
    leave_when(gateway, live_client, body(stream=streaming), lambda: len(foundry.log()) > calls)
    wait_for_runs(gateway)
    (summary,) = live_client.get(f"{API}/usage/requests", params={"limit": 1}).json()["data"]
    assert (summary["state"], summary["outcome"]) == ("captured", "ok")
    assert summary["billed_amount"] == plain.json()["usage"]["billed_amount"]
    billed = int(Decimal(summary["billed_amount"]) * 10**6)
    assert money(gateway, workspace, "live") == (10_000_000 - 2 * billed, 0)
    result = live_client.get(f"{API}/requests/{summary['id']}/result")
    document.check(result)
    # But for its id and its second, the answer is the plain one's to the byte.
    theirs, ours = result.json(), plain.json()
    same = plain.text.replace(ours["omixa"]["request_id"], summary["id"], 1).replace(
        f'"created":{ours["created"]}', f'"created":{theirs["created"]}', 1
    )
    assert result.text == same
    assert result.headers["omixa-cost"] == plain.headers["omixa-cost"]


def leave_when(gateway: Gateway, client: httpx.Client, fields: dict[str, Any], moment: Callable[[], bool]) -> None:
    """Send a request and hang up without reading once the moment has come."""
    content = json.dumps(fields).encode()
    head = (
        f"POST {CREATE} HTTP/1.1\r\nhost: omixa\r\nauthorization: {client.headers['authorization']}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        connection.sendall(head.encode() + content)
        while not moment():
            pass


# --------------------------------------------------------------------------------------------------------------- previews


class Previewer:
    """A provider that shows two previews before each picture."""

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        for index, width in enumerate((64, 128)):
            yield PartialImage(image(width), index)
        yield ProviderResult(image(1024), Usage(input_text_tokens=9, output_image_tokens=1024, images=1), "p-1")


def image(width: int) -> Image:
    data = picture("png", width, width)
    return Image(data, inspect(data))


def with_previews(services: Services) -> Services:
    attempts = dataclasses.replace(services.pipeline.attempts, providers={"foundry": Previewer()})
    return dataclasses.replace(services, pipeline=dataclasses.replace(services.pipeline, attempts=attempts))


@pytest.fixture(scope="module")
def previewing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway over a provider that really makes previews."""
    with running_gateway(tmp_path_factory.mktemp("previews"), adapt=with_previews) as running:
        yield running


def test_previews_of_a_provider_are_passed_on(previewing: Gateway, document: Document) -> None:
    with previewing.client(previewing.key("test")) as client:
        answer = stream(client)
    document.check(answer)
    made = events(answer.text)
    assert [event["type"] for event in made] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [event["partial_image_index"] for event in made[:2]] == [0, 1]
    assert [event["size"] for event in made] == ["64x64", "128x128", "1024x1024"]
    assert base64.b64decode(made[1]["b64_json"]) == picture("png", 128, 128)
    assert all("usage" not in event for event in made[:2])


def test_without_a_stream_previews_are_left_out(previewing: Gateway, document: Document) -> None:
    with previewing.client(previewing.key("test")) as client:
        answer = client.post(CREATE, json=body(stream=False))
    document.check(answer)
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == picture()
