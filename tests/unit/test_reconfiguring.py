"""What a router keeps of what it has learned when the deployments become others, on a clock that the tests turn."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import RateLimits, Secret
from omixa.domain.models import Deployment
from omixa.errors import NoHealthyRoute, UpstreamCredentials, UpstreamError, UpstreamUnreachable
from omixa.routing.health import MAX_COOLDOWN_S, NS_PER_S
from omixa.routing.latency import LEAST_CALLS
from omixa.routing.router import Permit, Router

MODEL = load_catalogue().resolve("MAI-Image-2.5")
FAR = 1e12


def deployment(name: str, **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "id": name,
        "provider": "foundry",
        "model": MODEL.id,
        "endpoint": "https://x.example",
        "deployment_name": name,
        "api_key": Secret("k"),
        "bearer_token": None,
        "modes": frozenset({"live"}),
        "account": name,
    }
    return Deployment(**{**fields, **changes})


class Routes:
    """A router by the order of its deployments, and its clock."""

    def __init__(self, *deployments: Deployment) -> None:
        self.now_ns = 10**15
        self.router = Router(deployments, policy="priority", clock_ns=lambda: self.now_ns, draw=random.Random(1))

    def turn(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)

    def claim(self) -> Permit:
        permit = self.router.claim(MODEL, "live")
        assert permit is not None
        return permit

    def end(self, error: UpstreamError | None = None, permit: Permit | None = None) -> str:
        """Let the next call, or this one, end well or so, and return whose it was."""
        permit = permit or self.claim()
        permit.begin()
        if error is None:
            permit.succeeded()
        else:
            permit.failed(error)
        permit.close()
        return permit.deployment.id

    @property
    def states(self) -> dict[str, str]:
        return {one.deployment.id: one.state for one in self.router.standings()}


def test_what_did_not_change_keeps_its_health_its_pace_and_its_calls() -> None:
    routes = Routes(deployment("a"), deployment("b"), deployment("c", limits=RateLimits(100, 0, 0)))
    routes.end(UpstreamCredentials("x"))
    routes.end(UpstreamUnreachable("x"))
    for _ in range(LEAST_CALLS):
        permit = routes.claim()
        permit.begin()
        routes.turn(0.5)
        permit.succeeded()
        permit.close()
    under_way = routes.claim()
    routes.router.configure(
        [
            deployment("a", weight=9),
            deployment("b", region="x"),
            deployment("c", limits=RateLimits(6, 0, 0)),
            deployment("d"),
        ]
    )
    assert routes.states == {"a": "disabled", "b": "cooling", "c": "closed", "d": "closed"}
    third = routes.router.standings()[2]
    assert (third.p95_s, third.in_flight) == (0.5, 1)
    # Those that went out before count against the new limit.
    assert routes.end() == "d"
    routes.end(permit=under_way)
    assert routes.router.standings()[2].in_flight == 0
    routes.router.configure([deployment("b")])
    assert routes.states == {"b": "cooling"}


@pytest.mark.parametrize(
    "change",
    [
        {"api_key": Secret("another")},
        {"api_key": None, "bearer_token": Secret("k")},
        {"endpoint": "https://y.example"},
        {"deployment_name": "other"},
        {"api_key": None, "entra_scope": "scope"},
    ],
)
def test_another_credential_or_place_begins_anew(change: dict[str, Any]) -> None:
    routes = Routes(deployment("a"), deployment("b"))
    routes.end(UpstreamCredentials("x"))
    routes.router.configure([deployment("a", **change), deployment("b")])
    assert routes.states == {"a": "closed", "b": "closed"}
    assert routes.end() == "a"


def test_a_call_that_went_out_with_an_old_key_says_nothing_of_the_new_one() -> None:
    routes = Routes(deployment("a"), deployment("b"))
    late = routes.claim()
    routes.router.configure([deployment("a", api_key=Secret("another")), deployment("b")])
    routes.end(UpstreamCredentials("x"), late)
    assert routes.states == {"a": "closed", "b": "closed"}
    assert routes.end() == "a"


def test_one_that_cannot_be_used_is_out_of_use_until_it_is_another() -> None:
    routes = Routes(deployment("a", fault="credential_unreadable", api_key=None), deployment("b"))
    assert routes.states == {"a": "disabled", "b": "closed"}
    assert routes.router.standings()[0].reason == "credential_unreadable"
    routes.router.enable("a")
    routes.turn(10 * MAX_COOLDOWN_S)
    assert (routes.states["a"], routes.end()) == ("disabled", "b")
    routes.router.configure([deployment("a"), deployment("b")])
    assert (routes.states["a"], routes.end()) == ("closed", "a")


def test_those_who_wait_get_what_comes_and_hear_when_nothing_is_left() -> None:
    async def work() -> None:
        one = RateLimits(0, 0, 1)
        routes = Routes(deployment("a", limits=one))
        busy = routes.claim()
        waiting = [asyncio.create_task(routes.router.acquire(MODEL, "live", until=FAR)) for _ in range(2)]
        await asyncio.sleep(0)
        routes.router.configure([deployment("a", limits=one), deployment("b", limits=one)])
        assert (await waiting[0]).deployment.id == "b"
        assert not waiting[1].done()
        routes.router.configure([])
        with pytest.raises(NoHealthyRoute):
            await waiting[1]
        with pytest.raises(NoHealthyRoute):
            routes.router.claim(MODEL, "live")
        # What was under way ends as it does, and leaves nothing behind.
        routes.end(UpstreamCredentials("x"), busy)
        assert routes.states == {}

    asyncio.run(asyncio.wait_for(work(), 30))
