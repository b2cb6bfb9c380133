"""Several keys behind one model, each a simulated provider of its own: what one that fails costs, and what all of them do."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omixa.domain.access import RateLimits
from omixa.routing.health import BASE_COOLDOWN_S, MAX_COOLDOWN_S
from tests.support.catalogues import copy_catalogue
from tests.support.faults import (
    NAMES,
    PROMPT,
    Customer,
    FaultyGateway,
    Outcome,
    customer,
    running_faulty_gateway,
    running_providers,
    use_all,
)
from tests.support.servers import Simulator

OPERATIONS = pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
# Nobody listens there.
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def keys() -> Iterator[dict[str, Simulator]]:
    """Three providers, with a deployment each."""
    with running_providers() as running:
        yield running


@pytest.fixture
def several(faulty: FaultyGateway, keys: dict[str, Simulator]) -> FaultyGateway:
    """The gateway in front of the three, all well, the first one first."""
    use_all(faulty, keys)
    return faulty


def calls(keys: dict[str, Simulator]) -> Counter[str]:
    return Counter({name: len(simulator.log()) for name, simulator in keys.items()})


def routes(outcome: Outcome) -> list[str]:
    return [attempt["route"].removeprefix("test/") for attempt in outcome.omixa["attempts"]]


@FORMS
@pytest.mark.parametrize(
    "scenario",
    ["down", "429x*", "429(retry_after=3)x*", "503x*", "500x*", "resetx*", "htmlx*", "badbase64x*", "emptyx*"],
)
def test_a_key_that_fails_costs_one_further_attempt_and_one_probe_in_a_cooldown(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator], scenario: str, stream: bool
) -> None:
    if scenario == "down":
        others = (several.deployment(name, keys[name].url) for name in NAMES[1:])
        several.router.use(several.deployment("one", NOWHERE), *others)
    else:
        keys["one"].play(scenario)
    told_s = 3 if "retry_after" in scenario else 1 if scenario.startswith("429") else None
    cooldown_s = told_s or BASE_COOLDOWN_S
    for _ in range(4):
        outcomes = [buyer.ask(stream=stream) for _ in range(4)]
        assert [outcome.error for outcome in outcomes] == [None] * 4
        # The first one finds out, or probes; the others go straight to a key that serves.
        assert [routes(outcome) for outcome in outcomes] == [["one", "two"], ["two"], ["two"], ["two"]]
        several.router.turn(cooldown_s + 0.1)
        cooldown_s = told_s or min(2 * cooldown_s, MAX_COOLDOWN_S)
    keys["one"].play("")
    if scenario != "down":
        assert [routes(buyer.ask(stream=stream)) for _ in range(3)] == [["one"]] * 3


@FORMS
@pytest.mark.parametrize("scenario", ["401", "403", "quota"])
def test_a_key_that_is_refused_is_not_used_until_the_operator_acts(
    several: FaultyGateway,
    buyer: Customer,
    keys: dict[str, Simulator],
    caplog: pytest.LogCaptureFixture,
    scenario: str,
    stream: bool,
) -> None:
    """Rows 2 and 3."""
    keys["one"].play(f"{scenario},ok")
    assert routes(buyer.ask(stream=stream)) == ["one", "two"]
    (record,) = [record for record in caplog.records if record.message == "route.disabled"]
    assert (record.levelname, record.__dict__["route"], record.__dict__["left"]) == ("ERROR", "test/one", 2)
    for _ in range(3):
        several.router.turn(10 * MAX_COOLDOWN_S)
        assert routes(buyer.ask(stream=stream)) == ["two"]
    assert several.router.enable("one") == ["test/one"]
    assert routes(buyer.ask(stream=stream)) == ["one"]


@pytest.mark.matrix("1", "34")
@OPERATIONS
@FORMS
def test_when_all_limit_their_rate_the_shortest_wait_is_told(
    several: FaultyGateway,
    buyer: Customer,
    keys: dict[str, Simulator],
    square: str,
    caplog: pytest.LogCaptureFixture,
    edit: bool,
    stream: bool,
) -> None:
    reference = square if edit else None
    for name, seconds in zip(NAMES, (40, 20, 30), strict=True):
        keys[name].play(f"429(retry_after={seconds})")
    before = calls(keys)
    outcome = buyer.ask(stream=stream, reference=reference)
    assert outcome.error is not None
    assert outcome.error["code"] == "provider_rate_limited"
    if not stream:
        assert (outcome.status, outcome.headers["retry-after"]) == (429, "20")
    assert [call["deployment"] for call in several.attempts(outcome.request_id)] == [f"test/{name}" for name in NAMES]
    after = calls(keys)
    assert after == before + Counter(dict.fromkeys(NAMES, 1))
    levels = [record.levelname for record in caplog.records if record.message == "route.cooling"]
    assert levels == ["WARNING", "WARNING", "ERROR"]
    several.router.turn(5)
    outcome = buyer.ask(stream=stream, reference=reference)
    assert outcome.error is not None
    assert outcome.error["code"] == "all_keys_cooling"
    if not stream:
        assert (outcome.status, outcome.headers["retry-after"]) == (503, "15")
        assert outcome.headers["x-should-retry"] == "true"
    assert calls(keys) == after
    assert several.attempts(outcome.request_id) == []
    assert several.request(outcome.request_id)["state"] == "released"
    assert buyer.spent_micro_usd == 0
    several.router.turn(15)
    assert routes(buyer.ask(stream=stream, reference=reference)) == ["two"]


@pytest.mark.matrix("35")
@OPERATIONS
@FORMS
def test_without_a_retry_left_the_first_failure_is_told(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator], square: str, edit: bool, stream: bool
) -> None:
    reference = square if edit else None
    several.router.spend_retries()
    keys["one"].play("503")
    before = calls(keys)
    outcome = buyer.ask(stream=stream, reference=reference)
    assert outcome.error is not None
    assert outcome.error["code"] == "provider_unavailable"
    assert calls(keys) - before == Counter(one=1)
    assert buyer.spent_micro_usd == 0
    several.router.turn(1)
    keys["two"].play("503")
    assert routes(buyer.ask(stream=stream, reference=reference)) == ["two", "three"]


@FORMS
def test_a_refusal_is_shown_to_no_other_key(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator], stream: bool
) -> None:
    """Row 5."""
    keys["one"].play("filter")
    before = calls(keys)
    outcome = buyer.ask(stream=stream)
    assert outcome.error is not None
    assert outcome.error["code"] == "content_policy_violation"
    assert calls(keys) - before == Counter(one=1)
    # It was no fault of the key.
    assert routes(buyer.ask(stream=stream, prompt=f"{PROMPT}!")) == ["one"]


def test_the_last_key_serves_until_it_has_failed_five_times(several: FaultyGateway, buyer: Customer) -> None:
    several.plan("one")
    several.simulator.play("500x4,ok,500x5")
    codes = [None if (found := buyer.ask().error) is None else found["code"] for _ in range(11)]
    assert codes == ["provider_error"] * 4 + [None] + ["provider_error"] * 5 + ["all_keys_cooling"]


@FORMS
def test_answers_from_before_are_given_while_all_keys_fail(
    several: FaultyGateway, buyer: Customer, stream: bool
) -> None:
    buyer.client.headers["idempotency-key"] = "k"
    made = buyer.ask(stream=stream)
    several.plan("one")
    several.simulator.play("401")
    del buyer.client.headers["idempotency-key"]
    assert buyer.ask(prompt="another").error is not None
    failed = buyer.ask(prompt="a third").error
    assert failed is not None
    assert failed["code"] == "no_healthy_route"
    buyer.client.headers["idempotency-key"] = "k"
    again = buyer.ask(stream=stream)
    assert (again.error, again.pictures) == (None, made.pictures)


def test_many_at_once_all_get_their_picture_though_a_key_is_down(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator]
) -> None:
    others = [several.deployment(name, keys[name].url) for name in NAMES[1:]]
    several.router.use(several.deployment("one", NOWHERE), *others)
    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(lambda number: buyer.ask(prompt=f"{PROMPT} {number}"), range(64)))
    assert [outcome.error for outcome in outcomes] == [None] * 64
    tried = Counter(route for outcome in outcomes for route in routes(outcome))
    # Those that were on their way when the first one failed.
    assert 1 <= tried["one"] <= 8
    assert max(len(routes(outcome)) for outcome in outcomes) == 2
    assert buyer.spent_micro_usd == sum(int(one.usage["billed_amount"].replace(".", "")) for one in outcomes)


def test_a_key_that_never_answers_is_left_alone_after_one_request(keys: dict[str, Simulator], tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path / "catalogue")
    offer = catalogue / "providers" / "foundry.toml"
    offer.write_text(offer.read_text().replace("first_byte_timeout_s = 300", "first_byte_timeout_s = 0.5"))
    assert "first_byte_timeout_s = 0.5" in offer.read_text()
    with running_faulty_gateway(tmp_path / "data", keys["one"], catalogue_dir=str(catalogue)) as faulty:
        for simulator in keys.values():
            simulator.play("")
        faulty.router.use(*(faulty.deployment(name, keys[name].url) for name in NAMES))
        with customer(faulty.gateway, "default") as buyer:
            keys["one"].play("hangx*")
            found = [routes(buyer.ask()) for _ in range(4)]
            keys["one"].play("")
        assert found == [["one", "two"], ["two"], ["two"], ["two"]]
        assert faulty.findings() == []


# ------------------------------------------------------------------------------------------------------------------- room


def test_pictures_wait_for_room_and_keep_the_providers_limit(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator]
) -> None:
    """Of a request for six pictures, no two are made at the same key at the same time."""
    limits = RateLimits(0, 0, 1)
    several.router.use(
        *(dataclasses.replace(several.deployment(name, keys[name].url), limits=limits) for name in NAMES)
    )
    for simulator in keys.values():
        simulator.play("slow=0.1x*")
    outcome = buyer.ask(n=6)
    for simulator in keys.values():
        simulator.play("")
    assert len(outcome.pictures) == 6
    assert len(routes(outcome)) == 6
    assert set(routes(outcome)) == set(NAMES)
    assert {one.in_flight for one in several.router.standings()} == {0}
    assert sorted(call["n"] for call in several.attempts(outcome.request_id)) == [1, 2, 3, 4, 5, 6]


@FORMS
def test_a_rate_that_is_used_up_is_told_before_the_provider_would_tell_it(
    several: FaultyGateway, buyer: Customer, keys: dict[str, Simulator], stream: bool
) -> None:
    limits = RateLimits(2, 0, 0)
    several.router.use(
        *(dataclasses.replace(several.deployment(name, keys[name].url), limits=limits) for name in NAMES)
    )
    before = calls(keys)
    assert [routes(buyer.ask(stream=stream)) for _ in range(6)] == [["one"]] * 2 + [["two"]] * 2 + [["three"]] * 2
    outcome = buyer.ask(stream=stream)
    assert outcome.error is not None
    assert outcome.error["code"] == "no_capacity"
    if not stream:
        assert outcome.status == 429
        assert 0 < int(outcome.headers["retry-after"]) <= 61
    assert calls(keys) - before == Counter(one=2, two=2, three=2)
    assert several.request(outcome.request_id)["state"] == "released"
    several.router.turn(62)
    assert routes(buyer.ask(stream=stream)) == ["one"]
