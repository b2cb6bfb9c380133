"""Answers of calls that were given up: what they cost is learned, and nothing else changes."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omixa.config import RoutingSettings
from omixa.domain.access import RateLimits
from omixa.providers.late import Waiting
from omixa.providers.wire import Timeouts
from omixa.routing.latency import LEAST_CALLS
from omixa.services import Services
from omixa.usage.operators import find_for_operator
from tests.support.faults import MODEL, Customer, FaultyGateway, Outcome, customer, eventually, running_faulty_gateway
from tests.support.proxies import Proxy, running_proxy
from tests.support.servers import Simulator, running_gateway, running_simulator

OPERATIONS = pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
# Of a call whose answer comes late, and what makes it that.
LIMIT_S = 0.3
LATE = "slow=0.9"


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the next calls, so many of them, be given up soon."""
    left = [0]

    def timeouts(waiting: Waiting | None, **usual: float) -> Timeouts:
        limits = Timeouts(**usual, waiting=waiting)
        if not left[0]:
            return limits
        left[0] -= 1
        return dataclasses.replace(limits, first_byte_s=LIMIT_S)

    monkeypatch.setattr("omixa.providers.single.Timeouts", timeouts)
    return lambda calls: left.__setitem__(0, calls)


def in_flight(gateway: FaultyGateway) -> int:
    """Return how many calls occupy the deployments."""

    async def count(_: Services) -> int:
        return sum(standing.in_flight for standing in gateway.router.standings())

    return gateway.gateway.call(count)


def wait_until_late(gateway: FaultyGateway, outcome: Outcome) -> None:
    eventually(lambda: gateway.attempts(outcome.request_id)[0]["late_at_ms"])


@pytest.mark.matrix("23")
@OPERATIONS
@FORMS
def test_what_a_late_answer_cost_is_known_though_the_request_failed(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    impatience: Callable[[int], None],
    edit: bool,
    stream: bool,
) -> None:
    faulty.simulator.play(LATE)
    impatience(1)
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    assert outcome.error is not None
    assert outcome.error["code"] == "provider_timeout"
    (given_up,) = faulty.attempts(outcome.request_id)
    assert (given_up["state"], given_up["cost_basis"], given_up["late_at_ms"]) == ("unknown", "estimated", None)
    assert in_flight(faulty) == 1
    settled = faulty.request(outcome.request_id)
    wait_until_late(faulty, outcome)
    # A call in time says what such a picture costs.
    faulty.router.enable("one")
    faulty.simulator.play("")
    (made,) = faulty.attempts(buyer.ask(reference=square if edit else None).request_id)
    (heard,) = faulty.attempts(outcome.request_id)
    assert (heard["state"], heard["cost_basis"]) == ("failed_billed", "reported")
    assert (heard["cost_pico_usd"], heard["usage_json"]) == (made["cost_pico_usd"], made["usage_json"])
    assert heard["provider_request_id"] in {entry["request_id"] for entry in faulty.simulator.log()}
    assert (heard["error_code"], heard["ended_at_ms"]) == (given_up["error_code"], given_up["ended_at_ms"])
    # Nothing is charged for it, and what was decided is as it was.
    assert faulty.request(outcome.request_id) == settled
    assert faulty.charges(outcome.request_id) == []
    assert buyer.get(f"/requests/{outcome.request_id}/result").status_code == 404
    if not stream:
        assert 'desc="test/one provider_timeout"' in outcome.headers["server-timing"]
    (step,) = buyer.get(f"/requests/{outcome.request_id}").json()["attempts"]
    assert step["outcome"] == "provider_timeout"
    assert step["late_ms"] >= step["duration_ms"]
    (call,) = buyer.get(f"/requests/{outcome.request_id}/receipt").json()["attempts"]
    assert (call["outcome"], call["cost_basis"]) == ("provider_timeout", "reported")
    assert call["late_at"] > call["sent_at"]
    eventually(lambda: in_flight(faulty) == 0)
    assert faulty.findings() == []


def test_a_late_answer_teaches_how_long_pictures_take_and_is_no_success(
    faulty: FaultyGateway, buyer: Customer, impatience: Callable[[int], None]
) -> None:
    faulty.plan("one", "two")
    faulty.simulator.play(LATE)
    impatience(1)
    outcome = buyer.ask()
    assert [attempt["outcome"] for attempt in outcome.omixa["attempts"]] == ["provider_timeout", "ok"]
    wait_until_late(faulty, outcome)
    (first, _) = faulty.router.standings()
    assert first.state == "cooling"
    (route, _) = faulty.router._routes
    assert len(route.latency.remember(faulty.router.clock_ns())) == 1


@pytest.fixture(scope="module")
def proxy(several_deployments: Simulator) -> Iterator[Proxy]:
    with running_proxy(several_deployments.url) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "state", "basis"),
    [
        ("503", "failed_free", "none"),
        ("filter", "failed_billed", "estimated"),
        ("500", "unknown", "estimated"),
        ("html", "unknown", "estimated"),
        ("empty", "unknown", "estimated"),
        ("nousage", "failed_billed", "estimated"),
    ],
)
def test_a_late_failure_says_whether_it_is_charged_for(
    faulty: FaultyGateway,
    buyer: Customer,
    proxy: Proxy,
    impatience: Callable[[int], None],
    fault: str,
    state: str,
    basis: str,
) -> None:
    faulty.router.use(faulty.deployment("one", proxy.url))
    proxy.play("late=1")
    faulty.simulator.play(fault)
    impatience(1)
    outcome = buyer.ask()
    wait_until_late(faulty, outcome)
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"], call["error_code"]) == (state, basis, "provider_timeout")
    assert (call["cost_pico_usd"] > 0) is (state != "failed_free")
    assert faulty.charges(outcome.request_id) == []
    assert faulty.findings() == []


def test_the_picture_of_the_slower_of_two_calls_costs_what_it_says(
    faulty: FaultyGateway, buyer: Customer, proxy: Proxy
) -> None:
    """The loser of a hedge: superseded it stays, and its cost is no estimate any more."""
    faulty.router.use(faulty.deployment("one", proxy.url), faulty.deployment("two"))
    proxy.play("")
    for _ in range(LEAST_CALLS):
        buyer.ask()
    faulty.router.allow_hedges(1)
    proxy.play("late=1")
    spent = buyer.spent_micro_usd
    outcome = buyer.ask()
    faulty.router.allow_hedges(0)
    assert [attempt["outcome"] for attempt in outcome.omixa["attempts"]] == ["superseded", "ok"]
    wait_until_late(faulty, outcome)
    slow, quick = faulty.attempts(outcome.request_id)
    assert (slow["state"], slow["cost_basis"]) == ("superseded", "reported")
    assert slow["cost_pico_usd"] == quick["cost_pico_usd"]
    (charge,) = faulty.charges(outcome.request_id)
    assert buyer.spent_micro_usd - spent == charge
    assert faulty.findings() == []


def test_a_call_that_is_listened_to_keeps_its_place_at_the_provider(
    faulty: FaultyGateway, buyer: Customer, impatience: Callable[[int], None]
) -> None:
    one_at_a_time = dataclasses.replace(faulty.deployment("one"), limits=RateLimits(concurrent_images=1))
    faulty.router.use(one_at_a_time, faulty.deployment("two"))
    faulty.simulator.play(LATE)
    impatience(1)
    outcome = buyer.ask()
    # It is left alone as well, until the operator says otherwise; what says no then is its place.
    faulty.router.enable("one")
    during = buyer.ask()
    wait_until_late(faulty, outcome)
    eventually(lambda: in_flight(faulty) == 0)
    after = buyer.ask()
    assert [one.omixa["route"] for one in (outcome, during, after)] == ["test/two", "test/two", "test/one"]


def test_as_many_calls_are_listened_to_as_the_operator_allows(
    tmp_path: Path, several_deployments: Simulator, impatience: Callable[[int], None]
) -> None:
    calls, heard = 6, 2
    routing = RoutingSettings(late_answers=heard)
    with (
        running_faulty_gateway(tmp_path, several_deployments, routing=routing) as gateway,
        customer(gateway.gateway, "default") as buyer,
        ThreadPoolExecutor(calls) as clients,
    ):
        several_deployments.play(f"slow=2x{calls}")
        impatience(calls)
        outcomes = list(clients.map(lambda _: buyer.ask(), range(calls)))
        assert {outcome.status for outcome in outcomes} == {504}
        assert in_flight(gateway) == heard

        def states() -> Counter[str]:
            return Counter(gateway.attempts(outcome.request_id)[0]["state"] for outcome in outcomes)

        eventually(lambda: states()["failed_billed"] == heard)
        assert states() == {"failed_billed": heard, "unknown": calls - heard}
        assert in_flight(gateway) == 0
        assert gateway.findings() == []


def test_a_server_that_stops_hangs_up(tmp_path: Path, impatience: Callable[[int], None]) -> None:
    with running_simulator(deployments={MODEL: MODEL}) as simulator:
        with running_gateway(tmp_path, simulator) as gateway, customer(gateway, "default") as buyer:
            simulator.play("hang")
            impatience(1)
            outcome = buyer.ask()
            assert outcome.status == 504
            began = time.monotonic()
        # Its bound is two minutes; nobody waits for that.
        assert time.monotonic() - began < gateway.settings.routing.late_answer_s / 2
        with running_gateway(tmp_path, simulator) as again:
            view = again.call(
                lambda services: services.database.read(lambda tx: find_for_operator(tx, outcome.request_id))
            )
    assert view is not None
    (call,) = view.calls
    assert (call.state, call.cost_basis, call.late_at_ms) == ("unknown", "estimated", None)


@FORMS
def test_a_call_is_listened_to_beyond_the_deadline_of_its_request(
    tmp_path: Path, several_deployments: Simulator, stream: bool
) -> None:
    with (
        running_faulty_gateway(tmp_path, several_deployments, run_deadline_s=1.0) as gateway,
        customer(gateway.gateway, "default") as buyer,
    ):
        several_deployments.play("slow=2")
        outcome = buyer.ask(stream=stream)
        assert outcome.error is not None
        assert outcome.error["code"] == "provider_timeout"
        wait_until_late(gateway, outcome)
        (call,) = gateway.attempts(outcome.request_id)
        assert (call["state"], call["cost_basis"]) == ("failed_billed", "reported")
        assert gateway.charges(outcome.request_id) == []
        assert gateway.findings() == []


def test_nobody_listens_where_the_operator_does_not_want_it(
    tmp_path: Path, several_deployments: Simulator, impatience: Callable[[int], None]
) -> None:
    routing = RoutingSettings(late_answer_s=0)
    with (
        running_faulty_gateway(tmp_path, several_deployments, routing=routing) as gateway,
        customer(gateway.gateway, "default") as buyer,
    ):
        several_deployments.play("hang")
        impatience(1)
        assert buyer.ask().status == 504
        assert in_flight(gateway) == 0


def test_a_call_that_stays_silent_is_left_in_the_end(
    tmp_path: Path, several_deployments: Simulator, impatience: Callable[[int], None]
) -> None:
    routing = RoutingSettings(late_answer_s=0.4)
    with (
        running_faulty_gateway(tmp_path, several_deployments, routing=routing) as gateway,
        customer(gateway.gateway, "default") as buyer,
    ):
        several_deployments.play("hang")
        impatience(1)
        outcome = buyer.ask()
        assert in_flight(gateway) == 1
        eventually(lambda: in_flight(gateway) == 0)
        (call,) = gateway.attempts(outcome.request_id)
        assert (call["state"], call["cost_basis"], call["late_at_ms"]) == ("unknown", "estimated", None)
        assert gateway.findings() == []
