"""Questions that cost nothing: who answers them, and what the router makes of the answers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.models import Deployment
from omixa.errors import (
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.jobs.route_checks import RouteChecks
from omixa.providers.checks import Checks
from omixa.providers.transport import HttpTransport
from omixa.routing.health import BASE_COOLDOWN_S
from omixa.routing.router import Check, Router
from omixa.simulator import flux, foundry, gemini, openai, openrouter, replicate, stability
from omixa.simulator.service import SimulatorOptions
from tests.support.servers import running_app, tokenizer, workers

CATALOGUE = load_catalogue()
MODEL = CATALOGUE.resolve("MAI-Image-2.5")
FORMATS = {provider.id: provider.adapter for provider in CATALOGUE.providers.values()}
KEY = "the-right-key"
NOWHERE = "http://127.0.0.1:1"
# Where each provider's own address ends.
PATHS = {"openai": "/v1", "azure-openai": "/openai/v1", "openrouter": "/api/v1", "gemini": "/v1beta"}
PLAYED_BY = {"azure-openai": "openai", "foundry-flux": "flux"}
# Google says with a 400 that it does not know a key.
REFUSED = {"flux": 403, "gemini": 400}


@pytest.fixture(scope="module")
def addresses() -> Iterator[Mapping[str, str]]:
    """The addresses of all providers that answer something for nothing."""
    apps = {
        "flux": flux.create_app(SimulatorOptions(KEY), workers()),
        "foundry": foundry.create_app(foundry.FoundrySimulatorOptions(KEY), workers(), tokenizer=tokenizer()),
        "gemini": gemini.create_app(SimulatorOptions(KEY), workers(), tokenizer=tokenizer()),
        "openai": openai.create_app(openai.OpenAISimulatorOptions(KEY), workers(), tokenizer=tokenizer()),
        "openrouter": openrouter.create_app(SimulatorOptions(KEY), workers(), tokenizer=tokenizer()),
        "replicate": replicate.create_app(SimulatorOptions(KEY), workers()),
        "stability": stability.create_app(SimulatorOptions(KEY), workers()),
    }
    with contextlib.ExitStack() as stack:
        found = {name: stack.enter_context(running_app(app)) for name, app in apps.items()}
        yield {**found, **{name: found[player] for name, player in PLAYED_BY.items()}}


def deployment(name: str, **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "id": f"{name}/{MODEL.id}",
        "provider": "foundry",
        "model": MODEL.id,
        "endpoint": NOWHERE,
        "deployment_name": name,
        "api_key": Secret(KEY),
        "bearer_token": None,
        "modes": frozenset({"live"}),
        "account": name,
    }
    return Deployment(**{**fields, **changes})


class Asking:
    """A router on a clock that the test turns, and its checks over real connections."""

    def __init__(self, *deployments: Deployment) -> None:
        self.now_ns = 10**15
        self.router = Router(deployments, policy="priority", clock_ns=lambda: self.now_ns, draw=random.Random(1))

    def turn(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def fail(self, error: UpstreamError) -> None:
        permit = self.router.claim(MODEL, "live")
        assert permit is not None
        permit.begin()
        permit.failed(error)
        permit.close()

    def states(self) -> list[str]:
        return [one.state for one in self.router.standings()]

    def due(self) -> list[Check]:
        return self.router.due_checks(lambda _: True, every_s=300, limit=8)

    def ask(self) -> int:
        async def work() -> int:
            async with HttpTransport() as http:
                return await RouteChecks(self.router, Checks(http, FORMATS), interval_s=300).check()

        return asyncio.run(work())


@pytest.mark.parametrize(
    "provider",
    ["foundry", "foundry-flux", "gemini", "openai", "azure-openai", "openrouter", "replicate", "stability", "flux"],
)
def test_every_provider_answers_its_question(addresses: Mapping[str, str], provider: str) -> None:
    one = deployment("a", provider=provider, endpoint=addresses[provider] + PATHS.get(provider, ""))

    async def work() -> None:
        async with HttpTransport() as http:
            checks = Checks(http, FORMATS)
            assert checks.can_ask(one)
            assert await checks.ask(one) == (provider in ("stability", "flux"))
            for wrong in (
                dataclasses.replace(one, api_key=Secret("another-key")),
                dataclasses.replace(one, api_key=None, bearer_token=Secret("another-key")),
            ):
                with pytest.raises(UpstreamCredentials) as caught:
                    await checks.ask(wrong)
                assert caught.value.upstream_status == REFUSED.get(provider, 401)
            with pytest.raises(UpstreamUnreachable):
                await checks.ask(dataclasses.replace(one, endpoint=NOWHERE))

    asyncio.run(work())


def test_whoever_has_nothing_to_ask_is_not_asked() -> None:
    async def work() -> None:
        async with HttpTransport() as http:
            checks = Checks(http, FORMATS)
            for provider in ("fal", "bedrock", "embedded"):
                assert not checks.can_ask(deployment("a", provider=provider))
            assert not checks.can_ask(deployment("a", api_key=None))

    asyncio.run(work())


def test_what_could_not_be_reached_comes_back_without_a_request(addresses: Mapping[str, str]) -> None:
    there = Asking(deployment("a", endpoint=addresses["foundry"]), deployment("b"))
    there.fail(UpstreamUnreachable("x"))
    assert there.ask() == 0
    there.turn(BASE_COOLDOWN_S + 1)
    assert there.states() == ["half_open", "closed"]
    assert there.ask() == 1
    assert there.states() == ["closed", "closed"]
    there.turn(7)
    assert [one.checked_ago_s for one in there.router.standings()] == [7, None]
    assert there.ask() == 0


def test_what_is_still_away_is_left_alone_for_longer_after_one_question_in_a_cooldown() -> None:
    away = Asking(deployment("a"), deployment("b"))
    away.fail(UpstreamUnreachable("x"))
    for ejections in (2, 3, 4):
        away.turn(301)
        assert away.ask() == 1
        assert away.ask() == 0
        (first, _) = away.router.standings()
        assert (first.state, first.ejections) == ("cooling", ejections)
        assert first.cooling_s >= 0.8 * BASE_COOLDOWN_S * 2 ** (ejections - 1)


def test_while_it_is_asked_no_request_tries_it() -> None:
    asking = Asking(deployment("a"), deployment("b"))
    asking.fail(UpstreamUnreachable("x"))
    asking.turn(301)
    (check,) = asking.due()
    assert asking.due() == []
    for _ in range(3):
        permit = asking.router.claim(MODEL, "live")
        assert permit is not None
        assert permit.deployment.account == "b"
        permit.close()
    check.answered(has_credit=False)
    check.close()
    assert asking.states() == ["closed", "closed"]


@pytest.mark.parametrize(
    "failure",
    [UpstreamFailed("x"), UpstreamTimeout("x"), UpstreamRateLimited("x"), UpstreamRateLimited("x", retry_after_s=9)],
)
def test_a_list_of_models_does_not_end_an_outage_of_pictures(failure: UpstreamError) -> None:
    asking = Asking(deployment("a"), deployment("b"))
    asking.fail(failure)
    asking.turn(301)
    assert asking.states() == ["half_open", "closed"]
    assert asking.due() == []


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (lambda: UpstreamCredentials("x", upstream_status=401), "disabled"),
        # A key may be good for pictures and for nothing else.
        (lambda: UpstreamCredentials("x", upstream_status=403), "half_open"),
        (lambda: UpstreamQuota("x", upstream_status=402), "half_open"),
        (lambda: UpstreamFailed("x", upstream_status=500), "half_open"),
        (lambda: UpstreamTimeout("x"), "half_open"),
    ],
)
def test_other_answers_leave_the_rest_to_one_call(answer: Callable[[], UpstreamError], state: str) -> None:
    asking = Asking(deployment("a"), deployment("b"))
    asking.fail(UpstreamUnreachable("x"))
    asking.turn(301)
    (check,) = asking.due()
    check.failed(answer())
    check.close()
    assert asking.states() == [state, "closed"]
    assert asking.due() == []
    permit = asking.router.claim(MODEL, "live")
    assert permit is not None
    assert permit.deployment.account == ("b" if state == "disabled" else "a")


def test_an_account_that_has_credit_again_is_tried_by_one_call(addresses: Mapping[str, str]) -> None:
    place = addresses["stability"]
    account = Asking(deployment("a", provider="stability", endpoint=place), deployment("b"))
    account.fail(UpstreamQuota("x"))
    assert account.states() == ["disabled", "closed"]
    assert account.ask() == 1
    assert account.states() == ["half_open", "closed"]
    account.fail(UpstreamQuota("x"))
    assert (account.states(), account.ask()) == (["disabled", "closed"], 0)
    account.turn(301)
    assert account.ask() == 1


@pytest.mark.parametrize("answer", [None, UpstreamCredentials("x", upstream_status=401), UpstreamUnreachable("x")])
def test_an_account_of_which_no_credit_is_known_stays_out_of_use(answer: UpstreamError | None) -> None:
    asking = Asking(deployment("a"), deployment("b"))
    asking.fail(UpstreamQuota("x", upstream_code="insufficient_quota"))
    (check,) = asking.due()
    if answer is None:
        check.answered(has_credit=False)
    else:
        check.failed(answer)
    check.close()
    assert asking.states() == ["disabled", "closed"]
    assert asking.router.standings()[0].reason == "insufficient_quota"


def test_a_refused_credential_is_not_asked_about() -> None:
    asking = Asking(deployment("a"), deployment("b"))
    asking.fail(UpstreamCredentials("x"))
    asking.turn(10_000)
    assert asking.due() == []
