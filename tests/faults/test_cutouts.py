"""A transparent background for a model that has none: a step of its own on the bill, which costs nothing when it fails."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
from PIL import Image

from omixa.config import EmulationSettings
from omixa.engines.workers import Workers
from tests.support.document import Document
from tests.support.faults import MODEL, Customer, FaultyGateway, Outcome, customer, eventually, running_faulty_gateway
from tests.support.imagefiles import saved
from tests.support.pictures import data_url, mask, picture, reference
from tests.support.servers import Gateway, Simulator
from tests.support.workers import hold, release

PROMPT = "One red running shoe, minimal white studio, soft light"
API = "/api/v1"
CUTOUT = {"component": "background_removal", "unit_price": "0.003", "per": 1}
FORMS = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def cutting(several_deployments: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyGateway]:
    """A gateway whose operator allows a transparent background, and masks, with one worker; at the end its ledger is clean."""
    emulation = EmulationSettings(masks=MODEL, transparency=MODEL)
    with (
        Workers(1, waiting=1) as workers,
        running_faulty_gateway(
            tmp_path_factory.mktemp("cutting"), several_deployments, emulation=emulation, own_workers=workers
        ) as running,
    ):
        yield running
        running.wait_for_runs()
        assert running.findings() == []


@pytest.fixture
def client(cutting: FaultyGateway, workspace: str) -> Iterator[Customer]:
    """A workspace with ten dollars; the provider behaves."""
    cutting.plan("one")
    cutting.simulator.play("")
    with customer(cutting.gateway, workspace) as opened:
        document = Document(opened.client.get("/openapi.json").json())
        opened.client.event_hooks["response"] = [document.check]
        yield opened
    cutting.wait_for_runs()


def ask(client: Customer, **fields: Any) -> Outcome:
    return client.ask(prompt=PROMPT, background="transparent", **fields)


def made(outcome: Outcome) -> list[Image.Image]:
    assert outcome.error is None, outcome.text[:500]
    assert outcome.status == 200
    return [Image.open(io.BytesIO(base64.b64decode(encoded))) for encoded in outcome.pictures]


def micro(amount: str) -> int:
    return int(amount.replace(".", ""))


def extras(outcome: Outcome) -> list[dict[str, Any]]:
    return [line for line in outcome.omixa["line_items"] if line["component"] == CUTOUT["component"]]


# --------------------------------------------------------------------------------------------------------------- refused


@FORMS
def test_it_is_refused_unless_the_operator_allows_it(live_client: httpx.Client, stream: bool) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "background": "transparent", "stream": stream}
    error = live_client.post(f"{API}/images/generations", json=body).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_value", "background")
    assert "emulation.transparency" in error["message"]


def test_what_does_not_go_together_is_refused(client: Customer) -> None:
    masked = {"input_images": [reference(width=900, height=600)], "mask": data_url(mask(900, 600, (0, 0, 300, 300)))}
    for fields in ({"output_format": "jpeg"}, masked):
        outcome = ask(client, **fields)
        assert outcome.error is not None
        assert (outcome.status, outcome.error["param"]) == (400, "background")
    assert client.spent_micro_usd == 0


# ----------------------------------------------------------------------------------------------------------------- made


@FORMS
def test_the_background_is_gone_and_stands_on_the_bill(client: Customer, cutting: FaultyGateway, stream: bool) -> None:
    body = {"model": MODEL, "prompt": PROMPT, "background": "transparent"}
    told = client.client.post(f"{API}/images/estimate", json=body).json()
    outcome = ask(client, stream=stream)
    (cut,) = made(outcome)
    assert (cut.size, cut.mode) == ((1024, 1024), "RGBA")
    assert cut.getchannel("A").getextrema() == (0, 255)
    assert cut.getpixel((0, 0))[3] == 0  # type: ignore[index]
    (line,) = extras(outcome)
    assert line == {**CUTOUT, "quantity": 1, "amount": "0.003000000000"}
    omixa = outcome.omixa
    assert told["expected"]["amount"] == omixa["billed_amount"]
    assert told["expected"]["line_items"][-1] == line
    assert told["ceiling"]["amount"] == omixa["held_amount"]
    assert told["ceiling"]["line_items"][-1] == line
    assert client.spent_micro_usd == micro(omixa["billed_amount"])
    assert [note["parameter"] for note in omixa["emulated"]] == ["background"]
    assert [(call["route"], call["outcome"]) for call in omixa["attempts"]] == [
        ("test/one", "ok"),
        ("embedded/omixa-cutout-1", "ok"),
    ]
    calls = cutting.attempts(outcome.request_id)
    assert [(call["state"], call["cost_basis"]) for call in calls] == [("ok", "reported")] * 2
    receipt = client.get(f"/requests/{outcome.request_id}/receipt").json()
    assert receipt["line_items"] == omixa["line_items"]


def test_without_it_nothing_is_added(client: Customer) -> None:
    plain, cut = client.ask(prompt=PROMPT), ask(client)
    assert extras(plain) == []
    assert micro(cut.omixa["billed_amount"]) - micro(plain.omixa["billed_amount"]) == 3000
    assert micro(cut.omixa["held_amount"]) - micro(plain.omixa["held_amount"]) == 3000


def test_every_picture_of_a_request_is_cut_out(client: Customer) -> None:
    outcome = ask(client, n=2, size="1024x1536", output_format="webp")
    assert [cut.size for cut in made(outcome)] == [(1024, 1536)] * 2
    assert all(cut.getchannel("A").getextrema()[0] == 0 for cut in made(outcome))
    assert extras(outcome)[0]["quantity"] == 2
    assert {note["parameter"] for note in outcome.omixa["emulated"]} == {"background", "size", "output_format", "n"}
    assert len(outcome.omixa["attempts"]) == 4


def test_it_is_charged_beside_the_flat_price(client: Customer, cutting: FaultyGateway) -> None:
    cutting.simulator.play("nousage")
    outcome = ask(client)
    assert made(outcome)
    assert [line["component"] for line in outcome.omixa["line_items"]] == ["image", "background_removal"]
    assert client.spent_micro_usd == 33_000 + 3_000


def test_an_edit_is_cut_out_too(client: Customer) -> None:
    outcome = ask(client, reference=data_url(picture(width=1024, height=1024)))
    assert outcome.omixa["operation"] == "edit"
    assert made(outcome)[0].mode == "RGBA"


def test_the_model_says_that_it_can(client: Customer) -> None:
    model = client.get(f"/models/{MODEL}").json()
    capabilities = model["capabilities"]
    assert (capabilities["transparency"], capabilities["transparency_policy"]) == (True, "cutout")
    assert [extra["component"] for extra in model["prices"]["extras"]] == ["background_removal"]


def test_the_models_page_shows_the_price(cutting: FaultyGateway) -> None:
    with cutting.gateway.client(None) as reader:
        page = reader.get(f"/docs/models/{MODEL}.md").text
    (line,) = (line for line in page.splitlines() if "Background removal" in line)
    assert "0.003" in line
    assert "per cutout" in line


# --------------------------------------------------------------------------------------------------------------- faults


def check_free(cutting: FaultyGateway, client: Customer, outcome: Outcome, spent: int) -> None:
    """Check that a request whose picture could not be cut out was released, and its provider's cost kept."""
    assert outcome.error is not None
    assert outcome.error["code"] == "background_not_removed"
    assert "Nothing was charged" in outcome.error["message"]
    assert client.spent_micro_usd == spent
    assert cutting.request(outcome.request_id)["state"] == "released"
    assert cutting.charges(outcome.request_id) == []
    painted, cut = cutting.attempts(outcome.request_id)
    assert (painted["state"], cut["state"], cut["cost_pico_usd"]) == ("ok", "failed_free", 0)
    assert painted["cost_pico_usd"] > 0


@FORMS
def test_a_picture_in_which_nothing_stands_out_is_free(client: Customer, cutting: FaultyGateway, stream: bool) -> None:
    grey = base64.b64encode(saved(Image.new("RGB", (1024, 1024), "#808080"), "png")).decode()
    usage = {"num_output_tokens": 1024, "num_input_text_tokens": 12, "num_input_image_tokens": 0}
    cutting.raw.status, cutting.raw.calls = 200, 0
    cutting.raw.body = msgspec.json.encode({"data": [{"b64_json": grey}], "usage": usage})
    cutting.router.use(cutting.deployment("raw", "simulator://raw"), cutting.deployment("one"))
    outcome = ask(client, stream=stream)
    check_free(cutting, client, outcome, 0)
    if not stream:
        assert (outcome.status, outcome.headers["x-should-retry"]) == (503, "false")
    assert cutting.raw.calls == 1


@FORMS
def test_a_worker_that_dies_costs_nothing_and_the_next_picture_is_made(
    client: Customer, cutting: FaultyGateway, stream: bool
) -> None:
    assert made(ask(client))
    spent, calls = client.spent_micro_usd, len(cutting.simulator.log())
    workers = cutting.gateway.workers
    (pid,) = workers.pids
    cutting.simulator.play("slow=0.5")
    outcomes: list[Outcome] = []
    asking = threading.Thread(target=lambda: outcomes.append(ask(client, stream=stream)))
    asking.start()
    eventually(lambda: len(cutting.simulator.log()) > calls)
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: workers.unfinished == 1)
    os.kill(pid, signal.SIGKILL)
    asking.join()
    check_free(cutting, client, outcomes[0], spent)
    assert made(ask(client))


def test_a_full_pool_is_waited_for_because_the_provider_has_been_paid(client: Customer, cutting: FaultyGateway) -> None:
    gateway: Gateway = cutting.gateway

    async def fill(_: object) -> Any:
        held = await hold(gateway.workers, 1)
        waiting = asyncio.ensure_future(hold(gateway.workers, 1))
        await asyncio.sleep(0)
        return held, waiting

    held, waiting = gateway.call(fill)
    outcomes: list[Outcome] = []
    asking = threading.Thread(target=lambda: outcomes.append(ask(client)))
    asking.start()
    eventually(lambda: cutting.runs.count == 1)

    async def let_go(_: object) -> None:
        release(held)
        await held[0].picture
        further = await waiting
        release(further)
        await further[0].picture

    gateway.call(let_go)
    asking.join()
    assert made(outcomes[0])


@FORMS
def test_a_provider_that_fails_leaves_nothing_to_cut_out(
    client: Customer, cutting: FaultyGateway, stream: bool
) -> None:
    cutting.simulator.play("500")
    outcome = ask(client, stream=stream)
    assert outcome.error is not None
    assert len(cutting.attempts(outcome.request_id)) == 1
    assert client.spent_micro_usd == 0
