"""What holds of health and budgets whatever happens, on a clock that the tests turn."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Constraints, RateLimits, Secret
from omixa.domain.models import Deployment
from omixa.errors import (
    AllKeysCooling,
    NoAllowedRoute,
    NoCapacity,
    NoHealthyRoute,
    Overloaded,
    UpstreamBusy,
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamProtocol,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.routing.budget import (
    MAX_SAVED_HEDGES,
    MAX_SAVED_RETRIES,
    RETRIES_PER_S,
    RETRY_PART,
    STARTING_RETRIES,
    WINDOW_S,
    Budget,
    HedgeBudget,
    RetryBudget,
)
from omixa.routing.health import BASE_COOLDOWN_S, LAST_STRIKES, MAX_COOLDOWN_S, NS_PER_S, Breaker
from omixa.routing.latency import CALLS, LEAST_CALLS, MEMORY_S, Latency
from omixa.routing.policies import POLICIES, Candidate, PolicyName, Wanted, order
from omixa.routing.router import Permit, Router

MODEL = load_catalogue().resolve("MAI-Image-2.5")
FAR = 1e12

FAILURES: list[Callable[[], UpstreamError]] = [
    lambda: UpstreamUnreachable("x"),
    lambda: UpstreamFailed("x"),
    lambda: UpstreamTimeout("x", strikes=2),
    lambda: UpstreamProtocol("x", strikes=2),
    lambda: UpstreamBusy("x"),
    lambda: UpstreamBusy("x", retry_after_s=20),
    lambda: UpstreamRateLimited("x"),
    lambda: UpstreamRateLimited("x", retry_after_s=7),
    lambda: UpstreamRateLimited("x", retry_after_s=9999),
]
seeds = st.integers(0, 2**32)
failures = st.sampled_from(FAILURES)
# Seconds between calls: close together, and about a minute.
moments = st.one_of(st.integers(0, 3), st.integers(50, 65))


class Clock:
    """A clock that stands until it is turned."""

    def __init__(self) -> None:
        self.now_ns = 10**15

    def __call__(self) -> int:
        return self.now_ns

    def turn(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


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


def router(clock: Clock, *names: str, queue_wait_s: float = 10, **changes: Any) -> Router:
    found = [deployment(name, **changes) for name in names]
    return Router(
        found, policy="priority", clock_ns=clock, draw=random.Random(1), queue_length=3, queue_wait_s=queue_wait_s
    )


def fail(permit: Permit, error: UpstreamError) -> None:
    permit.begin()
    permit.failed(error)
    permit.close()


def succeed(permit: Permit) -> None:
    permit.begin()
    permit.succeeded()
    permit.close()


def claim(routes: Router) -> Permit:
    permit = routes.claim(MODEL, "live")
    assert permit is not None
    return permit


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


# ----------------------------------------------------------------------------------------------------------------- health


@given(seeds, st.lists(failures, min_size=1, max_size=20), st.booleans())
def test_cooldowns_grow_within_their_bounds_and_let_one_probe_through(
    seed: int, kinds: list[Callable[[], UpstreamError]], is_last: bool
) -> None:
    breaker, clock, grown = Breaker(random.Random(seed)), Clock(), 0
    for kind in kinds:
        assert breaker.admits(clock())
        is_probe = breaker.begin(clock())
        assert is_probe == (breaker.state(clock()) == "half_open")
        if is_probe:
            assert not breaker.admits(clock())
        error = kind()
        breaker.failed(error, clock(), is_probe=is_probe, is_last=is_last)
        cooling_s = breaker.cooling_ns(clock()) / NS_PER_S
        if breaker.state(clock()) == "closed":
            assert is_last
            assert 0 < breaker.strikes < LAST_STRIKES
            continue
        assert not breaker.admits(clock())
        if error.retry_after_s is not None:
            assert cooling_s == min(error.retry_after_s, MAX_COOLDOWN_S)
        else:
            most = min(BASE_COOLDOWN_S * 2**grown, MAX_COOLDOWN_S)
            assert 0.8 * most <= cooling_s <= most
            grown += 1
        clock.turn(cooling_s - 0.001)
        assert breaker.state(clock()) == "cooling"
        clock.turn(0.002)
        assert breaker.state(clock()) == "half_open"


@given(seeds, failures, st.integers(0, 12))
def test_a_success_of_the_probe_brings_it_back_and_other_successes_do_not(
    seed: int, kind: Callable[[], UpstreamError], times: int
) -> None:
    breaker, clock = Breaker(random.Random(seed)), Clock()
    for _ in range(times + 1):
        breaker.failed(kind(), clock(), is_probe=breaker.begin(clock()), is_last=False)
        breaker.succeeded(is_probe=False)
        assert not breaker.admits(clock())
        clock.turn(MAX_COOLDOWN_S + 1)
    breaker.succeeded(is_probe=breaker.begin(clock()))
    assert (breaker.state(clock()), breaker.ejections) == ("closed", 0)


@given(st.lists(failures, max_size=8))
def test_calls_that_began_before_do_not_lengthen_a_cooldown(kinds: list[Callable[[], UpstreamError]]) -> None:
    breaker, clock = Breaker(random.Random(1)), Clock()
    breaker.failed(UpstreamUnreachable("x"), clock(), is_probe=False, is_last=False)
    before = breaker.cooling_ns(clock())
    told = [0]
    for kind in kinds:
        error = kind()
        breaker.failed(error, clock(), is_probe=False, is_last=False)
        told.append(min(error.retry_after_s or 0, MAX_COOLDOWN_S) * NS_PER_S)
    # Only a provider that names a later time is listened to.
    assert breaker.cooling_ns(clock()) == max(before, *told)
    assert breaker.ejections == 1


@pytest.mark.parametrize("error", [UpstreamCredentials("x"), UpstreamQuota("x")])
def test_a_refused_credential_is_out_of_use_for_its_whole_account_until_the_operator_acts(error: UpstreamError) -> None:
    clock = Clock()
    routes = Router(
        [deployment("a/1", account="a"), deployment("a/2", account="a"), deployment("b", account="b")],
        policy="priority",
        clock_ns=clock,
    )
    fail(claim(routes), error)
    clock.turn(10 * MAX_COOLDOWN_S)
    for _ in range(5):
        permit = claim(routes)
        assert permit.deployment.id == "b"
        succeed(permit)
    assert routes.enable("a/2") == ["a/1", "a/2"]
    assert routes.enable("nobody") == []
    permit = claim(routes)
    assert permit.deployment.id == "a/1"
    permit.close()


def test_without_any_good_credential_there_is_no_route() -> None:
    async def check() -> None:
        routes = router(Clock(), "a", "b")
        fail(claim(routes), UpstreamCredentials("x"))
        fail(claim(routes), UpstreamQuota("x"))
        assert routes.claim(MODEL, "live") is None
        with pytest.raises(NoHealthyRoute):
            await routes.acquire(MODEL, "live", until=FAR)

    run(check())


def test_a_refusal_says_that_the_deployment_works() -> None:
    clock = Clock()
    routes = router(clock, "a", "b")
    fail(claim(routes), UpstreamUnreachable("x"))
    clock.turn(BASE_COOLDOWN_S + 1)
    fail(claim(routes), UpstreamRefused("x", upstream_status=400))
    assert [one.state for one in routes.standings()] == ["closed", "closed"]


def test_what_runs_in_the_process_is_never_left_alone() -> None:
    routes = router(Clock(), "a", in_process=True)
    for _ in range(3 * LAST_STRIKES):
        fail(claim(routes), UpstreamFailed("x"))
    claim(routes).close()


def test_when_all_are_left_alone_the_earliest_is_told_and_nobody_is_called() -> None:
    async def check() -> None:
        clock = Clock()
        routes = router(clock, "a", "b", "c")
        for seconds in (40, 20, 30):
            fail(claim(routes), UpstreamRateLimited("x", retry_after_s=seconds))
        clock.turn(5)
        assert routes.claim(MODEL, "live") is None
        with pytest.raises(AllKeysCooling) as caught:
            await routes.acquire(MODEL, "live", until=FAR)
        assert caught.value.retry_after_s == 15
        clock.turn(15)
        probe = claim(routes)
        assert probe.deployment.id == "b"
        assert routes.claim(MODEL, "live") is None
        succeed(probe)
        assert claim(routes).deployment.id == "b"

    run(check())


@given(seeds, st.lists(st.tuples(st.sampled_from("abc"), failures, st.floats(0, 400)), max_size=60))
def test_beside_a_probe_nobody_calls_its_deployment(
    seed: int, steps: list[tuple[str, Callable[[], UpstreamError], float]]
) -> None:
    clock = Clock()
    found = [deployment(name) for name in "abc"]
    routes = Router(found, clock_ns=clock, draw=random.Random(seed))
    for bad, kind, seconds in steps:
        before = {one.deployment.id: one for one in routes.standings()}
        permit = routes.claim(MODEL, "live")
        if permit is not None:
            standing = before[permit.deployment.id]
            assert standing.state in ("closed", "half_open")
            if standing.state == "half_open":
                beside = [one for _ in range(3) if (one := routes.claim(MODEL, "live")) is not None]
                assert all(one.deployment.id != permit.deployment.id for one in beside)
                for one in beside:
                    one.close()
            if permit.deployment.id == bad:
                fail(permit, kind())
            else:
                succeed(permit)
        clock.turn(seconds)
    assert all(one.in_flight == 0 for one in routes.standings())


# ---------------------------------------------------------------------------------------------------------------- budgets


@given(
    st.integers(0, 6),
    st.integers(0, 6),
    st.integers(0, 3),
    st.lists(st.tuples(moments, st.booleans(), st.booleans()), min_size=5),
)
def test_no_minute_and_no_moment_has_more_calls_than_may_be(
    requests: int, images: int, at_a_time: int, steps: list[tuple[float, bool, bool]]
) -> None:
    budget, clock = Budget(RateLimits(requests, images, at_a_time)), Clock()
    most = min((limit for limit in (requests, images) if limit), default=10**9)
    sent: list[int] = []
    running: list[tuple[int, bool]] = []
    for seconds, is_sent, ends in steps:
        clock.turn(seconds)
        if ends and running:
            began, was_sent = running.pop()
            budget.end(began, was_sent=was_sent)
        window = [at for at in sent if at > clock() - WINDOW_S * NS_PER_S]
        unsent = sum(not was_sent for _, was_sent in running)
        if budget.admits(clock()):
            budget.begin(clock())
            running.append((clock(), is_sent))
            if is_sent:
                sent.append(clock())
                assert len(window) < most
            assert not at_a_time or len(running) <= at_a_time
        elif not at_a_time or len(running) < at_a_time:
            # It says no only when it has to, and then how long.
            assert len(window) + unsent >= most
            assert 0 < budget.wait_ns(clock()) <= WINDOW_S * NS_PER_S
    assert budget.in_flight == len(running)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50), st.integers(0, 400))))
def test_further_attempts_stay_within_a_fifth_and_ten_a_second(steps: list[tuple[float, int, int]]) -> None:
    clock = Clock()
    budget, start = RetryBudget(clock()), clock()
    requests = taken = 0
    for seconds, asked, wanted in steps:
        clock.turn(seconds)
        for _ in range(asked):
            budget.count_request()
        requests += asked
        got = sum(budget.take(clock()) for _ in range(wanted))
        assert got <= MAX_SAVED_RETRIES
        taken += got
        gained = (clock() - start) / NS_PER_S * RETRIES_PER_S + requests / RETRY_PART
        assert taken <= STARTING_RETRIES + gained
        if got < wanted:
            assert not budget.take(clock())


@given(st.integers(1, 2), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 50))))
def test_second_calls_stay_within_their_part_of_the_pictures(percent: int, steps: list[tuple[int, int]]) -> None:
    budget = HedgeBudget(percent)
    pictures = taken = 0
    for asked, wanted in steps:
        for _ in range(asked):
            budget.count_picture()
        pictures += asked
        got = sum(budget.take() for _ in range(wanted))
        assert got <= MAX_SAVED_HEDGES
        taken += got
        assert taken * 100 <= pictures * percent
        if got < wanted:
            assert not budget.take()


# ------------------------------------------------------------------------------------------------------------------ queue


def test_those_who_wait_are_served_in_their_order_and_the_queue_is_bounded() -> None:
    async def check() -> None:
        routes = router(Clock(), "a", limits=RateLimits(0, 0, 1))
        first = claim(routes)
        assert routes.claim(MODEL, "live") is None
        waiting = [asyncio.create_task(routes.acquire(MODEL, "live", until=FAR)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await routes.acquire(MODEL, "live", until=FAR)
        for task in waiting:
            assert not task.done()
            first.close()
            first = await task
            # Nobody passes those who wait.
            assert routes.claim(MODEL, "live") is None
        first.close()
        claim(routes).close()

    run(check())


def test_nobody_passes_those_who_wait_for_time_to_make_room() -> None:
    async def check() -> None:
        clock = Clock()
        routes = router(clock, "a", limits=RateLimits(1, 0, 0), queue_wait_s=100)
        succeed(claim(routes))
        first = asyncio.create_task(routes.acquire(MODEL, "live", until=FAR))
        await asyncio.sleep(0)
        clock.turn(WINDOW_S)
        assert routes.claim(MODEL, "live") is None
        second = asyncio.create_task(routes.acquire(MODEL, "live", until=FAR))
        succeed(await first)
        assert not second.done()
        second.cancel()

    run(check())


def test_whoever_leaves_the_queue_takes_nothing_along() -> None:
    async def check() -> None:
        routes = router(Clock(), "a", limits=RateLimits(0, 0, 1))
        first = claim(routes)
        waiting = [asyncio.create_task(routes.acquire(MODEL, "live", until=FAR)) for _ in range(2)]
        await asyncio.sleep(0)
        first.close()
        # The first one has its permit already, and has not heard of it yet.
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        (await waiting[1]).close()
        loop = asyncio.get_running_loop()
        held = claim(routes)
        with pytest.raises(Overloaded):
            await routes.acquire(MODEL, "live", until=loop.time() + 0.01)
        held.close()
        assert [one.in_flight for one in routes.standings()] == [0]

    run(check())


def test_a_wait_that_is_too_long_is_told_at_once() -> None:
    async def check() -> None:
        clock = Clock()
        routes = router(clock, "a", "b", limits=RateLimits(1, 0, 0))
        for name in "ab":
            permit = claim(routes)
            assert permit.deployment.id == name
            succeed(permit)
            clock.turn(2)
        with pytest.raises(NoCapacity) as caught:
            await routes.acquire(MODEL, "live", until=FAR)
        assert caught.value.retry_after_s == WINDOW_S - 4
        clock.turn(WINDOW_S - 4)
        succeed(await routes.acquire(MODEL, "live", until=FAR))

    run(check())


def test_a_call_that_was_never_sent_does_not_count() -> None:
    clock = Clock()
    routes = router(clock, "a", limits=RateLimits(1, 0, 1))
    for _ in range(10):
        claim(routes).close()
    succeed(claim(routes))
    assert routes.claim(MODEL, "live") is None


def test_those_who_wait_hear_when_all_have_failed() -> None:
    async def check() -> None:
        routes = router(Clock(), "a", limits=RateLimits(0, 0, 1))
        first = claim(routes)
        waiting = asyncio.create_task(routes.acquire(MODEL, "live", until=FAR))
        await asyncio.sleep(0)
        fail(first, UpstreamRateLimited("x", retry_after_s=33))
        with pytest.raises(AllKeysCooling) as caught:
            await waiting
        assert caught.value.retry_after_s == 33

    run(check())


# ------------------------------------------------------------------------------------------------------------ constraints


def bound(*regions: str, providers: tuple[str, ...] | None = None) -> Wanted:
    return Wanted("ws", "auto", Constraints(None if providers is None else frozenset(providers), frozenset(regions)))


def in_regions(clock: Clock, **regions: str) -> Router:
    """Return a router with one call at a time for each deployment, which are named with their regions."""
    found = [deployment(name, region=region, limits=RateLimits(0, 0, 1)) for name, region in regions.items()]
    return Router(found, policy="priority", clock_ns=clock, queue_length=3)


places = st.sampled_from(["", "sweden", "Virginia", "tokyo"])
sellers = st.sampled_from(["foundry", "openai", "embedded"])


@given(
    st.lists(st.tuples(sellers, places, st.booleans()), min_size=1, max_size=6),
    st.none() | st.frozensets(sellers, max_size=3),
    st.none() | st.frozensets(places.map(str.lower).filter(bool), max_size=3),
    st.lists(st.sampled_from(["claim", "fail", "succeed", "turn"]), max_size=30),
)
def test_no_request_goes_where_its_workspace_may_not(
    found: list[tuple[str, str, bool]],
    providers: frozenset[str] | None,
    regions: frozenset[str] | None,
    steps: list[str],
) -> None:
    async def check() -> None:
        clock, wanted = Clock(), Wanted("ws", "auto", Constraints(providers, regions))
        deployments = [
            deployment(f"d{number}", provider=provider, region=region, in_process=in_process)
            for number, (provider, region, in_process) in enumerate(found)
        ]
        allowed = {
            one.id
            for one in deployments
            if (providers is None or one.provider in providers)
            and (regions is None or one.in_process or one.region.lower() in regions)
        }
        routes = Router(deployments, clock_ns=clock, draw=random.Random(1))
        if not allowed:
            for refused in (routes.claim, routes.plan, routes.configured):
                with pytest.raises(NoAllowedRoute):
                    refused(MODEL, "live", wanted)
            with pytest.raises(NoAllowedRoute):
                await routes.acquire(MODEL, "live", wanted, until=FAR)
            return
        assert {one.id for one in routes.configured(MODEL, "live", wanted)} == allowed
        for step in steps:
            if step == "turn":
                clock.turn(4)
            elif (permit := routes.claim(MODEL, "live", wanted)) is None:
                # All that it may use have failed, whatever the others do.
                with pytest.raises(AllKeysCooling):
                    await routes.acquire(MODEL, "live", wanted, until=asyncio.get_running_loop().time() + 0.01)
            else:
                assert permit.deployment.id in allowed
                assert {one.id for one in routes.plan(MODEL, "live", wanted)} <= allowed
                if step == "fail":
                    fail(permit, UpstreamUnreachable("x"))
                elif step == "succeed":
                    succeed(permit)
                else:
                    permit.close()

    run(check())


def test_the_refusal_says_what_is_allowed_and_names_no_account() -> None:
    routes = router(Clock(), "secret-account")
    with pytest.raises(NoAllowedRoute) as caught:
        routes.claim(MODEL, "live", bound("swedencentral", "tokyo", providers=("openai",)))
    assert "providers openai and regions swedencentral, tokyo" in caught.value.message
    assert "secret-account" not in caught.value.message


def test_one_who_may_not_use_what_is_free_keeps_nobody_from_it_and_loses_nothing() -> None:
    async def check() -> None:
        routes = in_regions(Clock(), a="sweden", b="tokyo")
        first, second = claim(routes), claim(routes)
        bound_one = asyncio.create_task(routes.acquire(MODEL, "live", bound("sweden"), until=FAR))
        await asyncio.sleep(0)
        later = asyncio.create_task(routes.acquire(MODEL, "live", until=FAR))
        await asyncio.sleep(0)
        # What the first one may not use goes to the one behind.
        second.close()
        assert (await later).deployment.id == "b"
        assert not bound_one.done()
        # Nobody passes the first one where both may go.
        another = asyncio.create_task(routes.acquire(MODEL, "live", until=FAR))
        await asyncio.sleep(0)
        first.close()
        assert routes.claim(MODEL, "live") is None
        assert (await bound_one).deployment.id == "a"
        assert not another.done()
        another.cancel()

    run(check())


def test_a_queue_of_those_who_may_not_use_it_leaves_a_deployment_to_others() -> None:
    async def check() -> None:
        routes = in_regions(Clock(), a="sweden", b="tokyo")
        held = claim(routes)
        waiting = [asyncio.create_task(routes.acquire(MODEL, "live", bound("sweden"), until=FAR)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await routes.acquire(MODEL, "live", bound("sweden"), until=FAR)
        permit = claim(routes)
        assert permit.deployment.id == "b"
        permit.close()
        permit = await routes.acquire(MODEL, "live", tried=["a"], until=FAR)
        assert permit.deployment.id == "b"
        permit.close()
        held.close()
        for task in waiting:
            permit = await task
            assert permit.deployment.id == "a"
            permit.close()

    run(check())


def test_a_deployment_that_nobody_who_waits_may_use_sets_no_alarm() -> None:
    async def check() -> None:
        clock = Clock()
        routes = in_regions(clock, a="sweden", b="tokyo")
        held = claim(routes)
        waiting = asyncio.create_task(routes.acquire(MODEL, "live", bound("sweden"), until=FAR))
        await asyncio.sleep(0)
        assert all(pool.timer is None for pool in routes._pools.values())
        held.close()
        (await waiting).close()

    run(check())


# --------------------------------------------------------------------------------------------------------------- policies


qualities = st.sampled_from(["low", "medium", "high"])
candidates = st.lists(
    st.builds(
        lambda number, weight, priority, qualities, in_flight, cost, p95: Candidate(
            deployment(f"d{number}", weight=weight, priority=priority, qualities=qualities), in_flight, cost, p95
        ),
        st.integers(0, 10**6),
        st.integers(1, 1000),
        st.integers(0, 3),
        st.frozensets(qualities, max_size=2),
        st.integers(0, 100),
        st.integers(0, 5),
        st.none() | st.integers(1, 5),
    ),
    max_size=8,
    unique_by=lambda one: one.deployment.id,
)


@given(candidates, seeds, st.sampled_from(sorted(POLICIES)), st.builds(Wanted, st.text(max_size=9), qualities))
def test_every_policy_keeps_all_and_puts_lower_priorities_first(
    found: list[Candidate], seed: int, policy: PolicyName, wanted: Wanted
) -> None:
    ordered = order(found, POLICIES[policy], wanted, random.Random(seed))
    assert Counter(ordered) == Counter(found)
    priorities = [one.deployment.priority for one in ordered]
    assert priorities == sorted(priorities)
    for one, other in itertools.pairwise(ordered):
        if one.deployment.priority == other.deployment.priority:
            if policy == "cheapest":
                assert one.cost_pico_usd <= other.cost_pico_usd
            if policy == "least_busy":
                assert one.in_flight * other.deployment.weight <= other.in_flight * one.deployment.weight
            if policy == "priority":
                assert found.index(one) < found.index(other)
            if policy == "fastest":
                assert one.p95_ns is None or (other.p95_ns is not None and one.p95_ns <= other.p95_ns)
            if policy == "quality":
                # There for this quality, for all of them, for others.
                ranks = [
                    (wanted.quality not in two.deployment.qualities, bool(two.deployment.qualities))
                    for two in (one, other)
                ]
                assert ranks[0] <= ranks[1]
    if policy == "sticky":
        assert ordered == order(found[::-1], POLICIES[policy], wanted, random.Random(seed + 1))


def test_weights_are_shares_of_the_first_places() -> None:
    found = [Candidate(deployment(name, weight=weight), 0, 0) for name, weight in (("a", 1), ("b", 3))]
    draw = random.Random(7)
    first = Counter(order(found, POLICIES["weighted"], Wanted(), draw)[0].deployment.id for _ in range(4000))
    assert 2850 < first["b"] < 3150


def test_sticky_workspaces_stay_and_are_shared_out_by_weight() -> None:
    found = [Candidate(deployment(name, weight=weight), 0, 0) for name, weight in (("a", 1), ("b", 3), ("c", 4))]

    def first(workspace: int, candidates: list[Candidate]) -> str:
        return order(candidates, POLICIES["sticky"], Wanted(f"ws_{workspace}"), random.Random())[0].deployment.id

    homes = {workspace: first(workspace, found) for workspace in range(4000)}
    shares = Counter(homes.values())
    assert 400 < shares["a"] < 600
    assert 1350 < shares["b"] < 1650
    # Without one of them, the workspaces of the others stay where they are.
    left = {workspace: first(workspace, found[:2]) for workspace in homes}
    assert all(left[workspace] == home for workspace, home in homes.items() if home != "c")


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=3 * CALLS))
def test_the_learned_p95_is_one_of_the_last_durations_and_95_of_100_are_no_longer(durations: list[int]) -> None:
    latency, now_ns = Latency(), 10**15
    for took_ns in durations:
        latency.learn(took_ns, now_ns)
    known = durations[-CALLS:]
    p95_ns = latency.p95_ns(now_ns + MEMORY_S * NS_PER_S - 1)
    if len(known) < LEAST_CALLS:
        assert p95_ns is None
        return
    assert p95_ns in known
    assert sum(took_ns <= p95_ns for took_ns in known) >= 0.95 * len(known) > sum(took_ns < p95_ns for took_ns in known)
    assert latency.p95_ns(now_ns + MEMORY_S * NS_PER_S) is None


def test_the_router_learns_from_pictures_and_not_from_refusals() -> None:
    clock = Clock()
    routes = Router([deployment("a"), deployment("b")], policy="fastest", clock_ns=clock, draw=random.Random(1))
    seconds = {"a": 2.0, "b": 1.0}
    seen: list[str] = []
    for _ in range(4 * LEAST_CALLS):
        permit = claim(routes)
        seen.append(permit.deployment.id)
        permit.begin()
        clock.turn(seconds[permit.deployment.id])
        permit.succeeded()
        permit.succeeded()
        permit.close()
    assert Counter(seen)["a"] == LEAST_CALLS
    assert {one.deployment.id: one.p95_s for one in routes.standings()} == seconds
    quick = claim(routes)
    quick.begin()
    quick.failed(UpstreamRefused("x", upstream_status=400))
    quick.close()
    assert {one.deployment.id: one.p95_s for one in routes.standings()} == seconds
