"""A second call beside one that takes longer than calls usually do: one picture, one charge, and what the loser costs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from omixa.errors import LedgerUnavailable
from omixa.routing.latency import LEAST_CALLS
from omixa.usage.records import EndedAttempt, StartedAttempt
from tests.support.faults import NAMES, Customer, FaultyGateway, Outcome, running_providers, use_all
from tests.support.servers import Simulator

# So that it ends after what comes at once, and long before anybody gives up.
LATER = "slow=0.5"


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, Simulator]]:
    """Three providers, with a deployment each."""
    with running_providers() as running:
        yield running


@pytest.fixture
def hedging(faulty: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]) -> Iterator[FaultyGateway]:
    """The gateway in front of the three, which knows how long the first takes, and may ask for one picture twice."""
    use_all(faulty, providers)
    for _ in range(LEAST_CALLS):
        assert calls(buyer.ask()) == [("one", "ok")]
    faulty.router.allow_hedges(1)
    yield faulty
    faulty.router.allow_hedges(0)


def calls(outcome: Outcome) -> list[tuple[str, str]]:
    return [(attempt["route"].removeprefix("test/"), attempt["outcome"]) for attempt in outcome.omixa["attempts"]]


def recorded(gateway: FaultyGateway, outcome: Outcome) -> list[tuple[str, str, str]]:
    return [
        (call["deployment"].removeprefix("test/"), call["state"], call["cost_basis"])
        for call in gateway.attempts(outcome.request_id)
    ]


def test_the_second_call_wins_over_a_slow_one(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]
) -> None:
    spent = buyer.spent_micro_usd
    providers["one"].play("hang")
    outcome = buyer.ask()
    assert calls(outcome) == [("one", "superseded"), ("two", "ok")]
    assert recorded(hedging, outcome) == [("one", "superseded", "estimated"), ("two", "ok", "reported")]
    slow, quick = hedging.attempts(outcome.request_id)
    assert slow["cost_pico_usd"] > 0
    assert quick["provider_request_id"]
    # The customer pays for one picture.
    (charge,) = hedging.charges(outcome.request_id)
    assert buyer.spent_micro_usd - spent == charge
    assert hedging.findings() == []
    # There is none left to ask twice for, so the next one waits for the first provider.
    providers["one"].play("")
    assert calls(buyer.ask()) == [("one", "ok")]


def test_the_first_call_wins_when_it_is_quicker_after_all(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]
) -> None:
    providers["one"].play(LATER)
    providers["two"].play("hang")
    outcome = buyer.ask()
    assert calls(outcome) == [("one", "ok"), ("two", "superseded")]
    assert recorded(hedging, outcome) == [("one", "ok", "reported"), ("two", "superseded", "estimated")]
    assert len(hedging.charges(outcome.request_id)) == 1
    assert hedging.findings() == []


@pytest.mark.parametrize(("scenario", "state"), [("503", "failed_free"), ("500", "unknown")])
def test_the_second_call_stands_in_for_a_first_one_that_fails(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator], scenario: str, state: str
) -> None:
    providers["one"].play(scenario)
    providers["two"].play(LATER)
    outcome = buyer.ask()
    assert [(name, kind) for name, kind, _ in recorded(hedging, outcome)] == [("one", state), ("two", "ok")]
    assert hedging.findings() == []


@pytest.mark.parametrize("scenario", ["503", "500"])
def test_a_second_call_that_fails_harms_nobody(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator], scenario: str
) -> None:
    providers["one"].play(LATER)
    providers["two"].play(scenario)
    outcome = buyer.ask()
    assert [name for name, kind, _ in recorded(hedging, outcome) if kind == "ok"] == ["one"]
    assert len(recorded(hedging, outcome)) == 2
    assert hedging.findings() == []


def test_when_both_fail_safely_the_third_provider_serves(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]
) -> None:
    providers["one"].play("503")
    providers["two"].play("503")
    outcome = buyer.ask()
    assert outcome.error is None
    assert [name for name, _, _ in recorded(hedging, outcome)] == list(NAMES)


def test_when_the_second_call_may_have_been_charged_for_nobody_else_is_called(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]
) -> None:
    spent = buyer.spent_micro_usd
    providers["one"].play("500")
    providers["two"].play("500")
    outcome = buyer.ask()
    assert outcome.error is not None
    assert [(name, kind) for name, kind, _ in recorded(hedging, outcome)] == [("one", "unknown"), ("two", "unknown")]
    assert buyer.spent_micro_usd == spent
    assert hedging.findings() == []


def test_a_refusal_is_told_at_once_whatever_the_second_call_does(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]
) -> None:
    providers["one"].play("filter")
    providers["two"].play("hang")
    outcome = buyer.ask()
    assert outcome.error is not None
    assert outcome.status == 400
    assert [name for name, _, _ in recorded(hedging, outcome)] == ["one", "two"]
    assert recorded(hedging, outcome)[1][1] == "superseded"
    assert hedging.charges(outcome.request_id) == []
    assert hedging.findings() == []


def test_a_stream_is_asked_for_once(hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator]) -> None:
    providers["one"].play(LATER)
    assert calls(buyer.ask(stream=True)) == [("one", "ok")]


def test_a_second_call_that_cannot_be_recorded_is_not_made(
    hedging: FaultyGateway, buyer: Customer, providers: dict[str, Simulator], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(ended: EndedAttempt | None, started: StartedAttempt) -> None:
        raise LedgerUnavailable("The ledger is away.")

    assert hedging.gateway.services is not None
    monkeypatch.setattr(hedging.gateway.services.pipeline.attempts.settlement, "next_attempt", away)
    providers["one"].play(LATER)
    asked = len(providers["two"].log())
    outcome = buyer.ask()
    assert calls(outcome) == [("one", "ok"), ("two", "ledger_unavailable")]
    assert recorded(hedging, outcome) == [("one", "ok", "reported")]
    assert len(providers["two"].log()) == asked
    assert hedging.findings() == []
