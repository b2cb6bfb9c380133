"""Which deployment serves a call: the healthy ones that have room, best first, and a short queue for when none has.

All decisions are made on the event loop, from what this server has seen itself, with a few look-ups for each deployment of the
model. A caller holds a `Permit` for each call and says how the call ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from omixa.domain.access import UNCONSTRAINED, Mode
from omixa.domain.models import Deployment, Model
from omixa.domain.routes import NOTHING, Memory
from omixa.errors import (
    AllKeysCooling,
    NoAllowedRoute,
    NoCapacity,
    NoHealthyRoute,
    OmixaError,
    Overloaded,
    UpstreamCredentials,
    UpstreamError,
)
from omixa.routing.budget import Budget, HedgeBudget, RetryBudget
from omixa.routing.health import NS_PER_S, Breaker, State
from omixa.routing.latency import Latency
from omixa.routing.policies import POLICIES, Candidate, PolicyName, Wanted, order

log = logging.getLogger(__name__)

DEFAULT_QUEUE_LENGTH = 100
DEFAULT_QUEUE_WAIT_S = 10.0
# What callers are told to wait where only the end of somebody else's call makes room.
BUSY_RETRY_S = 2
ANYTHING = Wanted()


@dataclass(slots=True)
class Route:
    """A deployment with what this server knows of it."""

    deployment: Deployment
    breaker: Breaker
    budget: Budget
    latency: Latency
    # When its provider was last asked for nothing how it does.
    checked_ns: int | None = None

    def admits(self, now_ns: int) -> bool:
        """Tell whether a call may begin."""
        return self.breaker.admits(now_ns) and self.budget.admits(now_ns)

    @property
    def mark(self) -> tuple[object, ...]:
        """Return what is another one whenever there is something new to remember."""
        return *self.breaker.mark, self.latency.mark

    def remember(self, now_ns: int) -> Memory:
        """Return what is to be kept beyond this process."""
        return replace(self.breaker.remember(now_ns), calls=self.latency.remember(now_ns))


@dataclass(frozen=True, slots=True)
class Standing:
    """A route as people read it.

    `cooling_s` is how long it is still left alone, `reason` why its credential is out of use, `is_spent` that this is for want of
    credit, `p95_s` how long its slow calls take, None while too little is known, `checked_ago_s` how long ago its provider was
    last asked for nothing, None where it was not.
    """

    deployment: Deployment
    state: State
    in_flight: int
    cooling_s: float
    strikes: int
    ejections: int
    reason: str | None
    is_spent: bool
    p95_s: float | None
    checked_ago_s: float | None


@dataclass(eq=False, slots=True)
class Check:
    """Leave to ask an account's provider once, for nothing, how it does. `close` must be called at the end.

    While it is open, it is the one call that tries those deployments of the account which could not be reached.
    """

    deployment: Deployment
    _router: Router
    _routes: Sequence[Route]

    def answered(self, *, has_credit: bool) -> None:
        """Say that the provider is there and takes the credential, and whether it says that there is credit."""
        now_ns = self._router.clock_ns()
        for route in self._routes:
            if route.breaker.is_spent and has_credit:
                route.breaker.try_again(now_ns)
            elif route.breaker.disabled is None:
                route.breaker.succeeded(is_probe=True)
        self._routes = ()

    def failed(self, error: UpstreamError) -> None:
        """Say how asking failed. Only that nobody is there, or that the credential is refused, says something of pictures.

        A 403 does not: a key may be good for pictures and for nothing else.
        """
        if any(route.breaker.disabled is not None for route in self._routes):
            return
        if error.never_arrived:
            for route in self._routes:
                route.breaker.failed(error, self._router.clock_ns(), is_probe=True, is_last=False)
            self._routes = ()
        elif (
            isinstance(error, UpstreamCredentials)
            and error.upstream_status != 403
            and all(map(self._router.serves_from, self._routes))
        ):
            # Of a credential that was replaced meanwhile it would say nothing that matters now.
            self._router.disable(self.deployment.account, error.upstream_code or error.code)
            log.error("route.disabled", extra={"account": self.deployment.account, "code": error.code})

    def close(self) -> None:
        """Leave the rest to a call that makes a picture: whoever answers anything has been reached."""
        for route in self._routes:
            route.breaker.is_unreachable = False
            route.breaker.give_up_probe()
        self._routes = ()
        self._router.pump_all()


@dataclass(eq=False, slots=True)
class Permit:
    """Leave to make one call to one deployment. `close` must be called at the end, and may be more than once."""

    deployment: Deployment
    _router: Router
    _pool: _Pool
    _route: Route
    _began_ns: int
    _is_probe: bool
    _was_sent: bool = False
    # When the call was sent, until it is known how long it took.
    _sent_ns: int | None = None
    _is_open: bool = True
    _has_place: bool = True

    @property
    def is_probe(self) -> bool:
        """Tell whether the call tries if a deployment that was left alone is back."""
        return self._is_probe

    @property
    def patience_s(self) -> float | None:
        """Return after how long the call is so slow that a second one is worth it, None where none is."""
        return self._router.patience_s(self._route)

    def hedge(self, wanted: Wanted) -> Permit | None:
        """Return leave for a second call beside this slow one, None where none can be made now."""
        return self._router.hedge(self._pool, wanted, self.deployment)

    def begin(self) -> None:
        """Say that from now on the provider may hear of the call."""
        self._was_sent, self._sent_ns = True, self._router.clock_ns()

    def succeeded(self) -> None:
        """Say that the provider gave what it should. Said again, it means nothing more."""
        if self._sent_ns is not None:
            now_ns = self._router.clock_ns()
            self._route.latency.learn(now_ns - self._sent_ns, now_ns)
            self._sent_ns = None
        self._note_health()

    def failed(self, error: UpstreamError) -> None:
        """Say how the call failed."""
        if error.proves_health and error.upstream_status is not None:
            self._note_health()
            return
        self._router.note_failure(self._pool, self._route, error, is_probe=self._is_probe)
        self._is_probe = False

    def superseded(self) -> None:
        """Say that another call was quicker. It took at least so long, which is all that is known of it."""
        if self._sent_ns is not None:
            now_ns = self._router.clock_ns()
            self._route.latency.learn(now_ns - self._sent_ns, now_ns)
            self._sent_ns = None

    def hand_over(self) -> Permit:
        """Return the leave of whoever goes on with a call that was given up: with its place, and without a say in health."""
        lasting = replace(self, _is_probe=False)
        self._has_place, self._sent_ns = False, None
        return lasting

    def close(self) -> None:
        """Make room for others. A call that was never sent leaves no trace; one without a verdict says nothing of health."""
        if self._is_open:
            self._is_open = False
            if self._has_place:
                self._route.budget.end(self._began_ns, was_sent=self._was_sent)
            if self._is_probe:
                self._route.breaker.give_up_probe()
            self._router.pump(self._pool)

    def _note_health(self) -> None:
        self._route.breaker.succeeded(is_probe=self._is_probe)
        self._is_probe = False


@dataclass(eq=False, slots=True)
class _Waiter:
    wanted: Wanted
    tried: Collection[str]
    permit: asyncio.Future[Permit]


@dataclass(eq=False, slots=True)
class _Pool:
    """The routes of a model in a mode, in the order of the configuration, and who waits for one of them."""

    model: str
    mode: Mode
    routes: tuple[Route, ...]
    waiting: deque[_Waiter] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None

    def allowed(self, wanted: Wanted) -> Sequence[Route]:
        """Return the routes that a request may use, well or not."""
        if wanted.constraints == UNCONSTRAINED:
            return self.routes
        return [route for route in self.routes if route.deployment.is_within(wanted.constraints)]


class Router:
    """Knows the configured deployments, in the operator's order. `cost_of` tells what a picture costs at one, in pico-USD."""

    def __init__(
        self,
        deployments: Sequence[Deployment],
        *,
        policy: PolicyName = "weighted",
        queue_length: int = DEFAULT_QUEUE_LENGTH,
        queue_wait_s: float = DEFAULT_QUEUE_WAIT_S,
        hedge_percent: int = 0,
        cost_of: Callable[[Deployment], int] = lambda _: 0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        draw: random.Random | None = None,
    ) -> None:
        self._policy = POLICIES[policy]
        self._queue_length = queue_length
        self._queue_wait_s = queue_wait_s
        self._hedges = HedgeBudget(hedge_percent) if hedge_percent else None
        self._cost_of = cost_of
        self.clock_ns = clock_ns
        self._draw = draw or random.Random()  # noqa: S311 - nothing secret depends on it
        self._routes: tuple[Route, ...] = ()
        self._pools: dict[tuple[str, Mode], _Pool] = {}
        self._retries: dict[str, RetryBudget] = {}
        self.configure(deployments)

    def configure(self, deployments: Sequence[Deployment]) -> None:
        """Serve from these deployments. What is known of one that was there before, with the same credential, is kept."""
        now_ns = self.clock_ns()
        before = {route.deployment.id: route for route in self._routes}
        self._routes = tuple(self._route(one, before.get(one.id)) for one in deployments)
        for one in deployments:
            self._retries.setdefault(one.provider, RetryBudget(now_ns))
        by_pool: dict[tuple[str, Mode], list[Route]] = {}
        for route in self._routes:
            for mode in route.deployment.modes:
                by_pool.setdefault((route.deployment.model.lower(), mode), []).append(route)
        left, self._pools = self._pools, {}
        for key, routes in by_pool.items():
            pool = left.pop(key) if key in left else _Pool(routes[0].deployment.model, key[1], ())
            pool.routes = tuple(routes)
            self._pools[key] = pool
        for pool in left.values():
            pool.routes = ()
        # Who waits may have something new to wait for, or nothing any more.
        for pool in (*left.values(), *self._pools.values()):
            self.pump(pool)

    def _route(self, deployment: Deployment, before: Route | None) -> Route:
        if before is None or not deployment.is_same_place_as(before.deployment):
            breaker = Breaker(self._draw)
            breaker.disabled = deployment.fault or None
            return Route(deployment, breaker, Budget(deployment.limits), Latency())
        before.budget.allow(deployment.limits)
        before.deployment = deployment
        return before

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return every configured deployment."""
        return tuple(route.deployment for route in self._routes)

    def configured(self, model: Model, mode: Mode, wanted: Wanted = ANYTHING) -> tuple[Deployment, ...]:
        """Return the deployments of a model that a request may use, healthy or not; never empty.

        Raises NoHealthyRoute, NoAllowedRoute.
        """
        return tuple(route.deployment for route in self._pool(model, mode, wanted).allowed(wanted))

    def plan(self, model: Model, mode: Mode, wanted: Wanted = ANYTHING) -> tuple[Deployment, ...]:
        """Return the deployments that would be tried now, in order. Raises what `acquire` would raise at once."""
        pool, now_ns = self._pool(model, mode, wanted), self.clock_ns()
        ready = [route for route in pool.allowed(wanted) if route.admits(now_ns)]
        if not ready:
            refusal = self._refusal(pool, wanted, (), now_ns)
            if refusal is not None:
                raise refusal
            ready = _usable(pool, wanted, (), now_ns)
        return tuple(one.deployment for one in self._order(ready, wanted))

    # ----------------------------------------------------------------------------------------------------------- permits

    def claim(self, model: Model, mode: Mode, wanted: Wanted = ANYTHING) -> Permit | None:
        """Return leave for a request's first call, or None when it has to wait.

        Raises NoHealthyRoute without any deployment, NoAllowedRoute without one that it may use.
        """
        return self._claim_in_turn(self._pool(model, mode, wanted), wanted, ())

    async def acquire(
        self, model: Model, mode: Mode, wanted: Wanted = ANYTHING, *, tried: Collection[str] = (), until: float
    ) -> Permit:
        """Wait for leave to call a deployment that was not tried yet, at most until a time of the event loop.

        Raises AllKeysCooling when all have failed and are left alone, NoHealthyRoute when none is left at all, NoAllowedRoute
        when it may use none, NoCapacity or Overloaded when none has room in time.
        """
        pool = self._pool(model, mode, wanted)
        if (permit := self._claim_in_turn(pool, wanted, tried)) is not None:
            return permit
        if (refusal := self._refusal(pool, wanted, tried, self.clock_ns())) is not None:
            raise refusal
        if len(pool.waiting) >= self._queue_length:
            raise self._no_room(pool, wanted, tried)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(wanted, tried, loop.create_future())
        pool.waiting.append(waiter)
        self.pump(pool)
        try:
            async with asyncio.timeout_at(min(until, loop.time() + self._queue_wait_s)):
                return await waiter.permit
        except BaseException as error:
            _forget(pool, waiter)
            if isinstance(error, TimeoutError):
                raise self._no_room(pool, wanted, tried) from None
            raise

    def may_retry(self, permit: Permit) -> bool:
        """Tell whether a further attempt may be made, and count it."""
        return self._retries[permit.deployment.provider].take(self.clock_ns())

    def patience_s(self, route: Route) -> float | None:
        """Return after how long a call is so slow that a second one is worth it; None without hedging or knowledge."""
        if self._hedges is None or route.deployment.in_process:
            return None
        p95_ns = route.latency.p95_ns(self.clock_ns())
        return None if p95_ns is None else p95_ns / NS_PER_S

    def hedge(self, pool: _Pool, wanted: Wanted, slow: Deployment) -> Permit | None:
        """Return leave for a second call beside a slow one, at another deployment that is well and has room now.

        Who waits for room goes first, and a call that tries whether a deployment is back is no help.
        """
        if self._hedges is None:
            return None
        permit = self._claim_in_turn(pool, wanted, {slow.id})
        if permit is not None and (permit.is_probe or not self._hedges.take()):
            permit.close()
            return None
        return permit

    def _claim_in_turn(self, pool: _Pool, wanted: Wanted, tried: Collection[str]) -> Permit | None:
        """Return leave where there is some now, after those who came earlier: what they leave, none of them may use."""
        self.pump(pool)
        return self._claim(pool, wanted, tried)

    def _claim(self, pool: _Pool, wanted: Wanted, tried: Collection[str]) -> Permit | None:
        now_ns = self.clock_ns()
        ready = [route for route in pool.allowed(wanted) if route.deployment.id not in tried and route.admits(now_ns)]
        if not ready:
            return None
        route = ready[0]
        if len(ready) > 1:
            first = self._order(ready, wanted)[0].deployment.id
            route = next(one for one in ready if one.deployment.id == first)
        is_probe = route.breaker.begin(now_ns)
        route.budget.begin(now_ns)
        if not tried:
            self._retries[route.deployment.provider].count_request()
            if self._hedges is not None:
                self._hedges.count_picture()
        return Permit(route.deployment, self, pool, route, now_ns, is_probe)

    def _order(self, routes: Iterable[Route], wanted: Wanted) -> list[Candidate]:
        now_ns = self.clock_ns()
        candidates = [
            Candidate(
                route.deployment, route.budget.in_flight, self._cost_of(route.deployment), route.latency.p95_ns(now_ns)
            )
            for route in routes
        ]
        return order(candidates, self._policy, wanted, self._draw)

    def pump(self, pool: _Pool) -> None:
        """Give those who wait what there is, in the order in which they came.

        One who may not use what there is keeps nobody behind from it, and loses nothing: what becomes free and is allowed to
        both, the earlier one gets.
        """
        if not pool.waiting:
            return
        now_ns = self.clock_ns()
        for waiter in list(pool.waiting):
            if waiter.permit.done():
                # Its time has passed, or its caller has left.
                pool.waiting.remove(waiter)
            elif (permit := self._claim(pool, waiter.wanted, waiter.tried)) is not None:
                pool.waiting.remove(waiter)
                waiter.permit.set_result(permit)
            elif (refusal := self._refusal(pool, waiter.wanted, waiter.tried, self.clock_ns())) is not None:
                pool.waiting.remove(waiter)
                waiter.permit.set_exception(refusal)
            elif not waiter.tried and waiter.wanted.constraints == UNCONSTRAINED:
                # Whoever comes later may use no more than this one.
                break
        self._wind(pool, now_ns)

    def _wind(self, pool: _Pool, now_ns: int) -> None:
        """Look again when the next deployment has room, if time alone brings that.

        One that had room at `now_ns`, before all who wait were looked at, may be used by none of them.
        """
        if pool.timer is not None:
            pool.timer.cancel()
            pool.timer = None
        if pool.waiting:
            waits = [wait for route in pool.routes if (wait := _wait_ns(route, now_ns))]
            if waits:
                delay_s = min(waits) / NS_PER_S + 0.001
                pool.timer = asyncio.get_running_loop().call_later(delay_s, self.pump, pool)

    # ---------------------------------------------------------------------------------------------------------- refusals

    def _pool(self, model: Model, mode: Mode, wanted: Wanted) -> _Pool:
        pool = self._pools.get((model.id.lower(), mode))
        if pool is None:
            raise NoHealthyRoute(
                f"No provider is configured for {model.id} with live keys. Store an account with `omixa accounts add`, or"
                " set OMIXA_FOUNDRY_ENDPOINT and OMIXA_FOUNDRY_API_KEY, or [foundry] or [[deployments]] in omixa.toml, and"
                " start again; a test key (omx_test_…) works without a provider."
                if mode == "live"
                else f"No simulator is configured for {model.id} with test keys."
            )
        if not pool.allowed(wanted):
            raise NoAllowedRoute(
                f"This workspace may only use {wanted.constraints}, and no deployment of {model.id} is there."
                " Nothing was held or sent."
            )
        return pool

    def _refusal(self, pool: _Pool, wanted: Wanted, tried: Collection[str], now_ns: int) -> OmixaError | None:
        """Return why waiting does not help, or None where it does."""
        routes = _usable(pool, wanted, tried, now_ns)
        if not routes:
            return NoHealthyRoute(
                f"No deployment of {pool.model} can be used: the provider refuses the operator's credentials."
                " Nothing was charged."
            )
        if all(route.breaker.state(now_ns) == "cooling" for route in routes):
            return AllKeysCooling(
                f"Every deployment of {pool.model} failed a moment ago and is left alone for now. Nothing was charged.",
                retry_after_s=_seconds(min(route.breaker.cooling_ns(now_ns) for route in routes)),
            )
        waits = [_wait_ns(route, now_ns) for route in routes]
        known = [wait for wait in waits if wait is not None]
        if len(known) == len(waits) and min(known) > self._queue_wait_s * NS_PER_S:
            return self._limited(pool, min(known))
        return None

    def _no_room(self, pool: _Pool, wanted: Wanted, tried: Collection[str]) -> OmixaError:
        now_ns = self.clock_ns()
        waits = [_wait_ns(route, now_ns) for route in _usable(pool, wanted, tried, now_ns)]
        known = [wait for wait in waits if wait is not None]
        if known and len(known) == len(waits):
            return self._limited(pool, min(known))
        return Overloaded(
            f"All deployments of {pool.model} are busy. Nothing was charged. Try again shortly.",
            retry_after_s=BUSY_RETRY_S,
        )

    def _limited(self, pool: _Pool, wait_ns: int) -> OmixaError:
        return NoCapacity(
            f"{pool.model} is asked for more often than its deployments may be asked. Nothing was charged.",
            retry_after_s=_seconds(wait_ns),
        )

    # ------------------------------------------------------------------------------------------------------------ health

    def note_failure(self, pool: _Pool, route: Route, error: UpstreamError, *, is_probe: bool) -> None:
        """Take a failed call into account, and tell the operator what that means."""
        deployment, now_ns = route.deployment, self.clock_ns()
        # Of a credential that was replaced meanwhile, a failure says nothing that matters now.
        if deployment.in_process or not self.serves_from(route):
            return
        others = [one for one in pool.routes if one is not route and one.breaker.state(now_ns) == "closed"]
        if not error.fails_over and not error.proves_health:
            log.error("route.misconfigured", extra={"route": deployment.id, "code": error.code})
        if not route.breaker.failed(error, now_ns, is_probe=is_probe, is_last=not others):
            return
        facts = {"route": deployment.id, "code": error.code, "upstream_status": error.upstream_status}
        if route.breaker.disabled is not None:
            self.disable(deployment.account, route.breaker.disabled, is_spent=route.breaker.is_spent)
            log.error("route.disabled", extra={**facts, "account": deployment.account, "left": len(others)})
        else:
            cooling_s = _seconds(route.breaker.cooling_ns(now_ns))
            level = logging.WARNING if others else logging.ERROR
            log.log(level, "route.cooling", extra={**facts, "cooling_s": cooling_s, "left": len(others)})

    def disable(self, account: str, reason: str, *, is_spent: bool = False) -> None:
        """Take an account out of use until the operator acts. `is_spent` says that it has no credit left."""
        for route in self._routes:
            if account and route.deployment.account == account:
                route.breaker.disabled, route.breaker.is_spent = reason, is_spent

    def enable(self, name: str) -> list[str]:
        """Use an account again, named by itself or by a deployment, as if nothing had happened; return its ids."""
        # What is served inside this process belongs to no account.
        names = {name} - {""}
        found = [route for route in self._routes if names & {route.deployment.id, route.deployment.account}]
        accounts = {route.deployment.account for route in found} - {""}
        found = [route for route in self._routes if route in found or route.deployment.account in accounts]
        for route in found:
            route.breaker.enable()
            route.breaker.disabled = route.deployment.fault or None
        self.pump_all()
        return [route.deployment.id for route in found]

    def due_checks(self, can_ask: Callable[[Deployment], bool], *, every_s: float, limit: int) -> list[Check]:
        """Return leave to ask the providers of accounts for nothing, where the answer can change something, `limit` at most.

        That is for deployments that could not be reached, when their time alone is over, and for accounts without credit,
        `every_s` seconds after the last time. Those who ask must close each.
        """
        now_ns = self.clock_ns()
        due: dict[str, list[Route]] = {}
        for route in self._networked():
            breaker, account = route.breaker, route.deployment.account
            if not account or (account not in due and len(due) >= limit) or not can_ask(route.deployment):
                continue
            if breaker.disabled is not None:
                waits = route.checked_ns is not None and now_ns < route.checked_ns + every_s * NS_PER_S
                is_due = breaker.is_spent and not waits
            else:
                is_due = breaker.is_unreachable and breaker.state(now_ns) == "half_open" and breaker.admits(now_ns)
            if is_due:
                due.setdefault(account, []).append(route)
        for route in (route for routes in due.values() for route in routes):
            route.checked_ns = now_ns
            if route.breaker.disabled is None:
                route.breaker.begin(now_ns)
        return [Check(routes[0].deployment, self, routes) for routes in due.values()]

    def serves_from(self, route: Route) -> bool:
        """Tell whether a route is still one of those that serve, and no other has taken its place."""
        return any(one is route for one in self._routes)

    def pump_all(self) -> None:
        """Give all who wait what there is."""
        for pool in self._pools.values():
            self.pump(pool)

    def marks(self) -> dict[str, tuple[object, ...]]:
        """Return, by deployment, what is another one whenever there is something new to remember of it."""
        return {route.deployment.id: route.mark for route in self._networked()}

    def remember(self) -> list[tuple[Deployment, Memory]]:
        """Return what is to be kept beyond this process of every deployment that is somewhere else."""
        now_ns = self.clock_ns()
        return [(route.deployment, route.remember(now_ns)) for route in self._networked()]

    def recall(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what was kept, by deployment, before the first call."""
        now_ns = self.clock_ns()
        for route in self._networked():
            memory = memories.get(route.deployment.id, NOTHING)
            route.breaker.recall(memory, now_ns)
            route.latency.recall(memory.calls, now_ns)

    def _networked(self) -> Iterator[Route]:
        return (route for route in self._routes if not route.deployment.in_process)

    def standings(self) -> list[Standing]:
        """Return how every deployment stands now."""
        now_ns = self.clock_ns()
        return [
            Standing(
                deployment=route.deployment,
                state=route.breaker.state(now_ns),
                in_flight=route.budget.in_flight,
                cooling_s=route.breaker.cooling_ns(now_ns) / NS_PER_S,
                strikes=route.breaker.strikes,
                ejections=route.breaker.ejections,
                reason=route.breaker.disabled,
                is_spent=route.breaker.is_spent,
                p95_s=None if (p95_ns := route.latency.p95_ns(now_ns)) is None else p95_ns / NS_PER_S,
                checked_ago_s=None if route.checked_ns is None else (now_ns - route.checked_ns) / NS_PER_S,
            )
            for route in self._routes
        ]


def _forget(pool: _Pool, waiter: _Waiter) -> None:
    """Take out a waiter who has left, also one that has just been given what it waited for."""
    if waiter in pool.waiting:
        pool.waiting.remove(waiter)
    elif waiter.permit.done() and not waiter.permit.cancelled() and waiter.permit.exception() is None:
        waiter.permit.result().close()


def _usable(pool: _Pool, wanted: Wanted, tried: Collection[str], now_ns: int) -> list[Route]:
    """Return the routes that a request may use, that were not tried and whose credential is good."""
    return [
        route
        for route in pool.allowed(wanted)
        if route.deployment.id not in tried and route.breaker.state(now_ns) != "disabled"
    ]


def _wait_ns(route: Route, now_ns: int) -> int | None:
    """Return how long until a call may begin, None where only the end of another call, or the operator, brings that."""
    state = route.breaker.state(now_ns)
    if state == "disabled" or route.budget.is_full or not (state == "cooling" or route.breaker.admits(now_ns)):
        return None
    return max(route.breaker.cooling_ns(now_ns), route.budget.wait_ns(now_ns))


def _seconds(wait_ns: int) -> int:
    """Return whole seconds, at least one."""
    return max(1, -(-wait_ns // NS_PER_S))
