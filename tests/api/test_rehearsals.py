"""Fault rehearsal for users: a test key's client meets what it wants to meet, and reads what it would have come to."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2 as httpx
import pytest

from omixa.domain.scenarios import STEPS, Scenario, parse_scenario
from omixa.gateway.rehearsals import EARLIER_KEPT, PAUSE_MAX_S, PLAYS_KEPT, Rehearsals
from tests.support.document import events
from tests.support.pictures import picture, reference
from tests.support.servers import Gateway, Simulator

CREATE, EDIT = "/api/v1/images/generations", "/api/v1/images/edits"
HEADER = "Omixa-Simulate"
MAI = {"model": "MAI-Image-2.5", "prompt": "A red kite over a stubble field at dusk"}
PRICE = "0.033900"
# A model of each simulator that plays for test keys, and what it costs.
EACH = {
    "MAI-Image-2.5": "0.033900",
    "gpt-image-2": None,
    "gemini-3.1-flash-image": None,
    "flux-2-pro": "0.030000",
    "stable-image-core": "0.030000",
}


def simulated(client: httpx.Client, scenario: str, path: str = CREATE, **fields: Any) -> httpx.Response:
    return client.post(path, json={**MAI, **fields}, headers={HEADER: scenario})


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['error']['code']} {answer.json()['error']['param']}"


def details(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/v1/requests/{answer.headers['x-request-id']}").json()
    return found


# --------------------------------------------------------------------------------------------------------------- the play


def test_a_client_that_repeats_meets_one_step_after_the_other(test_client: httpx.Client) -> None:
    scenario = "429(retry_after=7)x2, then ok"
    answers = [simulated(test_client, scenario) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"
    first, second = (answer.headers["x-request-id"] for answer in answers[:2])
    played = answers[2].json()["omixa"]["rehearsal"]
    assert played.pop("waited_ms") >= 0
    assert played == {
        "scenario": "429(retry_after=7)x2,ok",
        "tries": 3,
        "earlier_requests": [first, second],
        "provider_calls": 1,
        "live_amount": PRICE,
    }
    told = details(test_client, answers[2])
    assert told["rehearsal"]["live_amount"] == told["billed_amount"] == PRICE
    assert "rehearsal" not in told["parameters"]
    failed = details(test_client, answers[1])
    assert (failed["rehearsal"]["tries"], failed["rehearsal"]["live_amount"]) == (2, "0.000000")
    assert failed["rehearsal"]["earlier_requests"] == [first]
    # It has brought a picture: the same begins at the beginning.
    again = simulated(test_client, scenario)
    assert again.status_code == 429
    assert details(test_client, again)["rehearsal"]["tries"] == 1


@pytest.mark.parametrize("form", ["json", "text", "pdf"])
def test_the_receipt_says_that_it_was_a_rehearsal(test_client: httpx.Client, form: str) -> None:
    simulated(test_client, "503, then ok")
    made = simulated(test_client, "503, then ok")
    receipt = test_client.get(f"/api/v1/requests/{made.headers['x-request-id']}/receipt", params={"format": form})
    assert receipt.status_code == 200
    if form == "json":
        assert receipt.json()["rehearsal"]["tries"] == 2
        assert receipt.json()["rehearsal"]["live_amount"] == PRICE
    elif form == "text":
        assert "Rehearsal" in receipt.text
        assert "503,ok" in receipt.text
        assert f"{PRICE} USD" in receipt.text
    else:
        assert receipt.content.startswith(b"%PDF")


def test_without_a_scenario_nothing_is_a_rehearsal(test_client: httpx.Client) -> None:
    made = test_client.post(CREATE, json=MAI)
    assert "rehearsal" not in made.json()["omixa"]
    assert "rehearsal" not in details(test_client, made)
    receipt = test_client.get(f"/api/v1/requests/{made.headers['x-request-id']}/receipt")
    assert "rehearsal" not in receipt.json()


def test_where_several_routes_lead_to_it_the_gateway_fails_over(test_client: httpx.Client) -> None:
    made = simulated(test_client, "429x2, then ok; routes=3")
    assert made.status_code == 200, made.text
    assert [one["outcome"] for one in made.json()["omixa"]["attempts"]] == ["provider_rate_limited"] * 2 + ["ok"]
    assert made.json()["omixa"]["rehearsal"]["provider_calls"] == 3
    assert made.json()["omixa"]["rehearsal"]["live_amount"] == PRICE
    # After a failure that may have been charged there is one more call, after a refusal none.
    assert simulated(test_client, "500,429,ok; routes=3").status_code == 429
    refused = simulated(test_client, "429,filter,ok; routes=3")
    assert code(refused) == "400 content_policy_violation None"
    assert len(details(test_client, refused)["attempts"]) == 2


def test_a_prompt_says_the_same_where_headers_cannot_be_sent(test_client: httpx.Client) -> None:
    body = {**MAI, "prompt": f"sim:429x1;latency=0.01 {MAI['prompt']}"}
    failed, made = (test_client.post(CREATE, json=body) for _ in range(2))
    assert (failed.status_code, made.status_code) == (429, 200)
    played = made.json()["omixa"]["rehearsal"]
    assert (played["scenario"], played["tries"]) == ("429; latency=0.01s", 2)
    # The picture is that of the words behind it.
    assert made.json()["data"] == test_client.post(CREATE, json=MAI).json()["data"]
    # A header goes before the prompt.
    assert test_client.post(CREATE, json=body, headers={HEADER: "503"}).status_code == 503


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("edit", [False, True])
@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("429", "provider_rate_limited"),
        ("500", "provider_error"),
        ("filter", "content_policy_violation"),
        ("reset", "provider_error"),
        ("html", "bad_provider_response"),
        ("badbase64", "bad_provider_response"),
        ("empty", "bad_provider_response"),
    ],
)
def test_failures_reach_streams_and_edits(
    test_client: httpx.Client, step: str, told: str, edit: bool, stream: bool
) -> None:
    fields = {"stream": stream, **({"input_images": [reference()]} if edit else {})}
    failed = simulated(test_client, f"{step}, then ok", **fields)
    error = events(failed.text)[-1]["error"] if stream else failed.json()["error"]
    assert error["code"] == told
    made = simulated(test_client, f"{step}, then ok", **fields)
    answer = events(made.text)[-1] if stream else made.json()
    assert answer["omixa"]["rehearsal"]["tries"] == 2


def test_a_form_rehearses_too(test_client: httpx.Client) -> None:
    files = [("image", ("kite.png", picture(), "image/png"))]

    def send() -> int:
        return test_client.post(EDIT, data=MAI, files=files, headers={HEADER: "502, then ok"}).status_code

    # The boundary of a form is another one each time, which makes no other request of it.
    assert [send(), send(), send()] == [502, 200, 502]


@pytest.mark.parametrize("model", EACH)
def test_every_simulator_plays(test_client: httpx.Client, model: str) -> None:
    answers = [simulated(test_client, "503, then ok; latency=0.01", model=model) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 200], answers[1].text
    assert answers[1].json()["omixa"]["rehearsal"]["tries"] == 2
    if EACH[model] is not None:
        assert answers[1].json()["omixa"]["rehearsal"]["live_amount"] == EACH[model]


def test_a_job_that_is_asked_after_plays_what_was_wanted_when_it_was_handed_in(test_client: httpx.Client) -> None:
    failed, made = (simulated(test_client, "truncated, then ok", model="flux-2-pro") for _ in range(2))
    assert (code(failed), made.status_code) == ("502 bad_provider_response None", 200)


def test_a_missing_usage_costs_the_flat_price(test_client: httpx.Client) -> None:
    made = simulated(test_client, "nousage")
    assert made.json()["usage"]["usage_estimated"] is True
    assert made.json()["omixa"]["rehearsal"]["live_amount"] == "0.033000"


def test_of_several_pictures_each_takes_a_step(test_client: httpx.Client) -> None:
    made = simulated(test_client, "ok, 500, then ok", n=3)
    assert len(made.json()["data"]) == 2
    assert made.json()["omixa"]["rehearsal"]["provider_calls"] == 3
    assert made.json()["omixa"]["rehearsal"]["live_amount"] == made.json()["usage"]["billed_amount"]


def test_those_who_rehearse_beside_each_other_do_not_disturb_each_other(gateway: Gateway, workspace: str) -> None:
    """Several keys ask for the same at the same time, and one of them under keys of its own."""

    def rehearse(number: int) -> list[int]:
        with gateway.client(gateway.key("test", workspace)) as client:
            return [simulated(client, "429x2, then ok").status_code for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rehearse, range(4))) == [[429, 429, 200]] * 4
    with gateway.client(gateway.key("test", workspace)) as client:
        told = []
        for name in ("a", "b", "a", "b"):
            headers = {HEADER: "429, then ok", "idempotency-key": f"{workspace}-{name}"}
            told.append(client.post(CREATE, json=MAI, headers=headers).status_code)
        assert told == [429, 429, 200, 200]


def test_a_repeat_with_its_key_gets_the_stored_answer(test_client: httpx.Client, workspace: str) -> None:
    headers = {HEADER: "429, then ok", "idempotency-key": workspace}
    failed, made, again = (test_client.post(CREATE, json=MAI, headers=headers) for _ in range(3))
    assert (failed.status_code, made.status_code) == (429, 200)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.content == made.content


# ------------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("scenario", ["418", "429x0", "429; latency=61s", "", "ok; speed=3", "x" * 257, "429," * 60])
def test_what_is_no_scenario_is_told_with_what_is(test_client: httpx.Client, scenario: str) -> None:
    answer = simulated(test_client, scenario)
    if not scenario:
        # Nothing is rehearsed.
        assert answer.status_code == 200
        return
    assert code(answer) == f"400 invalid_value {HEADER}"
    message = answer.json()["error"]["message"]
    assert HEADER in message
    if len(scenario) < 200:
        assert all(name in message for name in STEPS)
        assert "latency" in message
    assert test_client.get("/api/v1/usage/requests").json()["data"] == []


def test_a_live_key_cannot_rehearse(live_client: httpx.Client, foundry: Simulator) -> None:
    before = len(foundry.log())
    for scenario in ("429", "nonsense"):
        answer = simulated(live_client, scenario)
        assert code(answer) == f"400 invalid_value {HEADER}"
        assert "never rehearsed at a real provider" in answer.json()["error"]["message"]
    assert len(foundry.log()) == before
    assert live_client.get("/api/v1/balance").json()["held"] == "0.000000"
    # A live prompt that looks like a scenario is a prompt, and no provider is told of any scenario.
    assert live_client.post(CREATE, json={**MAI, "prompt": "a kite"}).status_code == 200


def test_a_model_that_runs_here_has_no_provider_that_fails(test_client: httpx.Client) -> None:
    answer = simulated(test_client, "429", model="omixa-illustrator-1")
    assert code(answer) == f"400 invalid_value {HEADER}"
    assert "omixa-illustrator-1" in answer.json()["error"]["message"]
    painted = test_client.post(CREATE, json={"model": "omixa-illustrator-1", "prompt": "sim:429 a fox"})
    assert painted.status_code == 200
    assert base64.b64decode(painted.json()["data"][0]["b64_json"])


def test_an_estimate_refuses_the_same(test_client: httpx.Client) -> None:
    answer = test_client.post("/api/v1/images/estimate", json=MAI, headers={HEADER: "418"})
    assert code(answer) == f"400 invalid_value {HEADER}"


# ----------------------------------------------------------------------------------------------------------------- by name


def test_a_play_is_forgotten_after_a_pause_and_when_there_are_too_many() -> None:
    now_s = 0.0
    rehearsals, scenario = Rehearsals(lambda: now_s), parse_scenario("429x2")
    assert rehearsals.begin("req_a", "one", scenario).next_step() == "429"
    now_s += PAUSE_MAX_S
    second = rehearsals.begin("req_b", "one", scenario)
    assert (second.record["tries"], second.record["waited_ms"]) == (2, int(PAUSE_MAX_S * 1000))
    now_s += PAUSE_MAX_S + 1
    assert rehearsals.begin("req_c", "one", scenario).record["tries"] == 1
    for number in range(PLAYS_KEPT):
        rehearsals.begin("req_d", f"other {number}", scenario)
    assert rehearsals.begin("req_e", "one", scenario).record["tries"] == 1


def test_the_tries_that_are_named_are_bounded() -> None:
    rehearsals, scenario = Rehearsals(), Scenario()
    for number in range(EARLIER_KEPT + 5):
        rehearsals.begin(str(number), "one", scenario)
    record = rehearsals.begin("last", "one", scenario).record
    assert record["tries"] == EARLIER_KEPT + 6
    assert record["earlier_requests"] == [str(number) for number in range(5, EARLIER_KEPT + 5)]


def test_the_end_of_an_older_play_is_not_the_end_of_a_newer_one() -> None:
    rehearsals, scenario = Rehearsals(), parse_scenario("429x2")
    older = rehearsals.begin("a", "one", scenario)
    older.end()
    newer = rehearsals.begin("b", "one", scenario)
    older.end()
    assert newer.next_step() == "429"
    assert rehearsals.begin("c", "one", scenario).record["tries"] == 2
