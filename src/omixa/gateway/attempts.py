"""One picture from the first deployment that gives one. The only place that decides "again?"."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

from omixa.billing.pricing import estimate_usage, rate, usage_of_refusal
from omixa.billing.sanity import impossible, surprising
from omixa.catalogue.emulation import CUTOUT_MODEL
from omixa.catalogue.loader import Catalogue
from omixa.domain.images import Image, ImageRequest, Provenance, Usage
from omixa.domain.models import Deployment, Model, Offer
from omixa.errors import (
    BackgroundNotRemoved,
    ClientGone,
    LedgerUnavailable,
    OmixaError,
    Overloaded,
    UpstreamError,
    UpstreamProtocol,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
)
from omixa.gateway.cutouts import Cutouts
from omixa.gateway.late import LateAnswers, Outcome, Spoken
from omixa.gateway.provenance import Credentials
from omixa.gateway.run import Run, TimedCall
from omixa.gateway.settlement import Settlement
from omixa.providers.base import PartialImage, Provider, ProviderCall, ProviderResult
from omixa.routing.router import Permit, Router
from omixa.usage.records import CostBasis, EndedAttempt, StartedAttempt, new_attempt_id

log = logging.getLogger(__name__)

# Calls for one picture. After a failure for which the provider may charge, at most one more.
MAX_ATTEMPTS = 3
MAX_DIAGNOSTICS = 1000
# What is told of a call whose picture came from another one first.
SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A picture as the caller gets it, what it used, and what the gateway had to do to it.

    `background` is "transparent" or "opaque".
    """

    image: Image
    usage: Usage
    deployment: Deployment
    offer: Offer
    emulated: tuple[Mapping[str, str], ...]
    provenance: Provenance
    background: str = "opaque"


@dataclass(slots=True)
class AttemptLog:
    """All calls of a run: numbers them and keeps how they ended until the run settles."""

    request_id: str
    _count: int = 0
    _open: dict[str, StartedAttempt] = field(default_factory=dict)
    ended: list[EndedAttempt] = field(default_factory=list)
    history: list[Mapping[str, object]] = field(default_factory=list)
    # How long calls took, by their number.
    took_ms: dict[int, float] = field(default_factory=dict)

    def timeline(self) -> list[TimedCall]:
        """Return the calls that have ended, in the order in which they began."""
        numbers = (int(str(call["attempt"])) for call in self.told())
        return [
            TimedCall(n, str(call["route"]), str(call["outcome"]), self.took_ms.get(n, 0.0))
            for n, call in zip(numbers, self.told(), strict=True)
        ]

    def start(self, deployment: Deployment, image_index: int) -> StartedAttempt:
        """Give a new call its number."""
        self._count += 1
        started = StartedAttempt(
            new_attempt_id(), self.request_id, self._count, image_index, deployment.provider, deployment.id
        )
        self._open[started.id] = started
        return started

    def end(self, ended: EndedAttempt) -> None:
        """Keep how a call ended."""
        started = self._open.pop(ended.id)
        self.ended.append(ended)
        self.history.append(
            {
                "attempt": started.n,
                "image": started.image_index,
                "route": started.deployment,
                "outcome": ended.error_code or "ok",
            }
        )

    def told(self) -> list[Mapping[str, object]]:
        """Return what callers are told of the calls that have ended, in the order in which they began."""
        return sorted(self.history, key=itemgetter("attempt"))

    def is_open(self, started: StartedAttempt) -> bool:
        """Tell whether a call has not ended yet."""
        return started.id in self._open

    def supersede(self, started: StartedAttempt, as_it_is: EndedAttempt) -> None:
        """End a call whose picture is not needed any more, `as_it_is` unless it has ended by itself.

        One that has delivered meanwhile keeps what the provider said; its picture is dropped.
        """
        if self.is_open(started):
            self.end(as_it_is)
            return
        for index, ended in enumerate(self.ended):
            if ended.id == started.id and ended.state == "ok":
                self.ended[index] = replace(ended, state="superseded", error_code=SUPERSEDED)
                self.history[index] = {**self.history[index], "outcome": SUPERSEDED}

    def abandon(self, outcome: str) -> None:
        """End the calls that are still open, when a run breaks in the middle."""
        for started in list(self._open.values()):
            self.end(EndedAttempt(started.id, "unknown", None, None, outcome, None, None, 0, "none"))


@dataclass(frozen=True, slots=True)
class Call:
    """A call that may begin: leave to make it, and its number."""

    permit: Permit
    started: StartedAttempt


@dataclass(frozen=True, slots=True)
class Attempts:
    """Calls providers for a run.

    `finish` turns what a provider made into what was asked for; a picture that cannot be decoded there counts as a bad
    answer of the provider.
    """

    catalogue: Catalogue
    providers: Mapping[str, Provider]
    router: Router
    settlement: Settlement
    cutouts: Cutouts
    finish: Callable[[Image, ImageRequest], Awaitable[tuple[Image, tuple[Mapping[str, str], ...]]]]
    credentials: Credentials
    late: LateAnswers

    async def first_success(
        self, run: Run, calls: AttemptLog, image_index: int, first: Call | None, deadline: float
    ) -> Delivery:
        """Return the first picture that a deployment delivers. `deadline` is a time of the event loop.

        `first` is the call that was recorded together with the hold, None when no deployment had room then. Raises the last
        attempt's UpstreamError, or at once one that must not be tried elsewhere; what Router.acquire raises when nothing could be
        called at all; ClientGone when the client left before anything was sent, or later when the offer says that its call is
        cancelled then.
        """
        call = first or await self._first_call(run, calls, image_index, deadline)
        tried: dict[str, UpstreamError] = {}
        while True:
            try:
                with closing(call.permit):
                    return await self._quickest(run, calls, call, tried, deadline)
            except UpstreamError as error:
                deployment = call.permit.deployment
                ended = self._failure(run, call.started, deployment, error)
                calls.end(ended)
                # What may have been charged for already is tried once more, and not twice.
                last_chance = any(earlier.ambiguous for earlier in tried.values())
                tried[_route(run, call)] = error
                exhausted = len(tried) == _most_calls(run) or asyncio.get_running_loop().time() >= deadline
                _shorten_wait(error, tried.values())
                # Whoever has seen a picture in the making would see another one begin.
                shown = image_index in run.previewed
                if exhausted or last_chance or shown or not error.fails_over:
                    raise
                following = await self._next_call(run, calls, call, tried, deadline)
                if following is None:
                    raise
                call = following
                try:
                    await self.settlement.next_attempt(ended, call.started)
                except BaseException:
                    call.permit.close()
                    raise
            except ClientGone as error:
                calls.end(EndedAttempt(call.started.id, "failed_free", None, None, error.code, None, None, 0, "none"))
                raise

    async def _first_call(self, run: Run, calls: AttemptLog, image_index: int, deadline: float) -> Call:
        """Wait for room, then record the call."""
        permit = await self.router.acquire(self._model(run), run.principal.mode, run.wanted, until=deadline)
        try:
            if run.client_gone:
                raise ClientGone("The client left before the request was sent to a provider.")
            started = calls.start(permit.deployment, image_index)
            await self.settlement.next_attempt(None, started)
        except BaseException:
            permit.close()
            raise
        return Call(permit, started)

    async def _next_call(
        self, run: Run, calls: AttemptLog, failed: Call, tried: Mapping[str, UpstreamError], deadline: float
    ) -> Call | None:
        """Return the call that follows a failed one, None when there is none left to make."""
        try:
            permit = await self.router.acquire(
                self._model(run), run.principal.mode, run.wanted, tried=tried, until=deadline
            )
        except OmixaError:
            return None
        if run.rehearsal is None and not self.router.may_retry(permit):
            log.warning("attempt.no_retry_left", extra={"request_id": run.id, "provider": permit.deployment.provider})
            permit.close()
            return None
        return Call(permit, calls.start(permit.deployment, failed.started.image_index))

    async def _quickest(
        self, run: Run, calls: AttemptLog, call: Call, tried: dict[str, UpstreamError], deadline: float
    ) -> Delivery:
        """Return what a call delivers, or what a second one does that begins when the first takes unusually long.

        Raises the failure of the first; that of the second, which counts as one that was tried, is ended then.
        """
        patience_s = None if tried else self._patience_s(run, call)
        if patience_s is None:
            return await self._attempt(run, calls, call, deadline)
        making = asyncio.create_task(self._attempt(run, calls, call, deadline))
        try:
            await asyncio.wait({making}, timeout=patience_s)
            hedge = None if making.done() else await self._hedge(run, calls, call)
            if hedge is None:
                return await making
            with closing(hedge.permit):
                return await self._first_of_two(run, calls, (call, making), hedge, tried, deadline)
        finally:
            await _cancel(making)

    def _patience_s(self, run: Run, call: Call) -> float | None:
        """Return how long to wait for a call before a second one is made beside it, None where none is to be made.

        A stream may show the first call's previews, and cutting out is no provider's work.
        """
        model = self._model(run)
        if not model.cheap or run.request.stream or run.rehearsal is not None or model.cuts_out(run.request.background):
            return None
        return call.permit.patience_s

    async def _hedge(self, run: Run, calls: AttemptLog, slow: Call) -> Call | None:
        """Record a second call beside a slow one, None when there is none to make."""
        permit = slow.permit.hedge(run.wanted)
        if permit is None:
            return None
        started = calls.start(permit.deployment, slow.started.image_index)
        try:
            await self.settlement.next_attempt(None, started)
        except (LedgerUnavailable, Overloaded) as error:
            # What cannot be recorded now is not sent; the first call goes on.
            permit.close()
            calls.end(EndedAttempt(started.id, "failed_free", None, None, error.code, None, None, 0, "none"))
            return None
        except BaseException:
            permit.close()
            raise
        log.info(
            "attempt.hedged",
            extra={"request_id": run.id, "slow": slow.permit.deployment.id, "route": permit.deployment.id},
        )
        return Call(permit, started)

    async def _first_of_two(
        self,
        run: Run,
        calls: AttemptLog,
        first: tuple[Call, asyncio.Task[Delivery]],
        hedge: Call,
        tried: dict[str, UpstreamError],
        deadline: float,
    ) -> Delivery:
        """Return the picture that comes first; the other call is broken off. See `_quickest`."""
        call, making = first
        hedging = asyncio.create_task(self._attempt(run, calls, hedge, deadline))
        is_won = False
        try:
            await asyncio.wait({making, hedging}, return_when=asyncio.FIRST_COMPLETED)
            if making.done() and not _fails_over(making):
                return making.result()
            try:
                delivery = await hedging
            except UpstreamError as error:
                tried[_route(run, hedge)] = error
                return await making
            except ClientGone:
                return await making
            is_won = True
            await self._lose(run, calls, call, making)
            return delivery
        finally:
            if not is_won:
                await self._lose(run, calls, hedge, hedging)

    async def _lose(self, run: Run, calls: AttemptLog, call: Call, making: asyncio.Task[Delivery]) -> None:
        """Break off a call that another one was quicker than, and end it as what it was. What it costs is the operator's."""
        await _cancel(making)
        failure = _failure_of(making)
        if failure is None:
            # How long a call took to fail says nothing of how long pictures take.
            call.permit.superseded()
            calls.supersede(call.started, self._superseded(run, call))
        elif calls.is_open(call.started):
            calls.end(self._failure(run, call.started, call.permit.deployment, failure))

    def _superseded(self, run: Run, call: Call) -> EndedAttempt:
        offer = self.catalogue.offer(call.permit.deployment.provider, run.request.model)
        usages = () if offer.on_disconnect == "cancel" else (self._estimate(run, offer),)
        cost = rate(usages, offer.cost_on(run.terms.day)).exact_pico_usd
        basis: CostBasis = "estimated" if usages else "none"
        return EndedAttempt(call.started.id, "superseded", None, None, SUPERSEDED, None, None, cost, basis)

    def _model(self, run: Run) -> Model:
        return self.catalogue.resolve(run.request.model)

    async def _attempt(self, run: Run, calls: AttemptLog, making: Call, deadline: float) -> Delivery:
        """Make a call and tell the router how it went."""
        making.permit.begin()
        began = time.perf_counter()
        try:
            delivery = await self._delivered(run, calls, making, deadline)
        except UpstreamError as error:
            making.permit.failed(error)
            raise
        finally:
            calls.took_ms[making.started.n] = (time.perf_counter() - began) * 1000
        making.permit.succeeded()
        return delivery

    async def _delivered(self, run: Run, calls: AttemptLog, making: Call, deadline: float) -> Delivery:
        deployment, started = making.permit.deployment, making.started
        offer = self.catalogue.offer(deployment.provider, run.request.model)
        asked = _left_to_provider(run.request, self._model(run))
        scenario = "" if run.rehearsal is None else run.rehearsal.next_step()
        call = ProviderCall(asked, offer, deployment, run.id, started.image_index, scenario)
        result = await self._unless_departed(run, call, making, deadline)
        usage, ended = self._success(run, call, started, result)
        if self.catalogue.resolve(run.request.model).cuts_out(run.request.background):
            calls.end(ended)
            # The provider has done its part, well.
            making.permit.succeeded()
            making.permit.close()
            finished, emulated = await self._cut_out(run, calls, ended, result.image, started.image_index, deadline)
            usage = replace(usage, cutouts=1)
        else:
            finished, emulated = await self._finished(run, result.image)
            calls.end(ended)
        image, provenance = await self.credentials.complete(result.image, finished, run.request, deployment)
        transparent = run.request.background == "transparent" or (result.has_transparency and image.info.has_alpha)
        background = "transparent" if transparent else "opaque"
        return Delivery(image, usage, deployment, offer, emulated, provenance, background)

    def _success(
        self, run: Run, call: ProviderCall, started: StartedAttempt, result: ProviderResult
    ) -> tuple[Usage, EndedAttempt]:
        """Return what a picture is charged by, and how its call ended."""
        usage, remark = self._usage(run, call, result)
        # What the provider says that it charges is better than what its price list gives.
        told = result.cost_pico_usd
        cost_pico_usd = rate([usage], call.offer.cost_on(run.terms.day)).exact_pico_usd if told is None else told
        return usage, EndedAttempt(
            id=started.id,
            state="ok",
            provider_request_id=result.provider_request_id,
            upstream_status=200,
            error_code=None,
            diagnostics=remark,
            usage=usage,
            cost_pico_usd=cost_pico_usd,
            cost_basis="estimated" if usage.estimated and told is None else "reported",
        )

    def _came_late(self, run: Run, call: ProviderCall, started: StartedAttempt, outcome: Outcome) -> EndedAttempt:
        """Return what became of a call that was given up. A picture that nobody had is billed all the same."""
        if isinstance(outcome, UpstreamError):
            return self._failure(run, started, call.deployment, outcome)
        return replace(self._success(run, call, started, outcome)[1], state="failed_billed")

    async def _cut_out(
        self, run: Run, calls: AttemptLog, made: EndedAttempt, image: Image, image_index: int, deadline: float
    ) -> tuple[Image, tuple[Mapping[str, str], ...]]:
        """Return the picture as asked for without its background, and what had to be done. Raises BackgroundNotRemoved.

        The provider has done its part, so whatever fails here is not tried elsewhere.
        """
        cut = await self.cutouts.take(run, calls, made, image, image_index, deadline)
        try:
            finished, emulated = await self._finished(run, cut)
        except UpstreamError as error:
            raise BackgroundNotRemoved(
                f"The picture was made and cut out, but could not be finished: {error.message} Nothing was charged for it."
            ) from error
        how = {"parameter": "background", "how": f"made opaque, and its background taken away by {CUTOUT_MODEL}"}
        return finished, (how, *emulated)

    def _usage(self, run: Run, call: ProviderCall, result: ProviderResult) -> tuple[Usage, str | None]:
        """Return what a picture is charged by, and what the operator should know about the provider's report."""
        model, usage, problem = self.catalogue.resolve(run.request.model), result.usage, result.usage_problem
        if usage is not None:
            problem = impossible(usage, model, run.request)
            if problem is None:
                return usage, surprising(usage, run.request)
        log.warning("usage.refused", extra={"request_id": run.id, "route": call.deployment.id, "problem": problem})
        return self._estimate(run, call.offer, result.image), f"usage refused: {problem}"

    def _estimate(self, run: Run, offer: Offer, picture: Image | None = None) -> Usage:
        return estimate_usage(run.request, self.catalogue.resolve(run.request.model).bounds, offer, picture)

    async def _unless_departed(self, run: Run, call: ProviderCall, making: Call, deadline: float) -> ProviderResult:
        """Return the result; a provider that does not bill what is cancelled need not finish for a client that has left."""
        if call.offer.on_disconnect == "finish":
            return await self._result(run, call, making, deadline)
        working = asyncio.create_task(self._result(run, call, making, deadline))
        leaving = asyncio.create_task(run.departed())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientGone("The client left, and the provider's call was cancelled. Nothing was charged.")
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def _result(self, run: Run, call: ProviderCall, making: Call, deadline: float) -> ProviderResult:
        def carry_out(call: ProviderCall) -> Coroutine[Any, Any, ProviderResult]:
            return self._carried_out(run, call)

        if self.late.can_hear(call):
            started = making.started
            spoken = Spoken(run, making.permit, lambda outcome: self._came_late(run, call, started, outcome))
            return await self.late.result(call, spoken, carry_out, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                return await carry_out(call)
        except TimeoutError as error:
            raise UpstreamTimeout("The provider did not answer before the request's deadline.") from error

    async def _carried_out(self, run: Run, call: ProviderCall) -> ProviderResult:
        async with aclosing(self.providers[call.deployment.provider].generate(call)) as events:
            async for event in events:
                if not isinstance(event, PartialImage):
                    return event
                if not call.is_late:
                    run.emit(event, call.index)
        raise UpstreamProtocol("The provider gave no picture.")

    async def _finished(self, run: Run, image: Image) -> tuple[Image, tuple[Mapping[str, str], ...]]:
        try:
            with run.timed("convert"):
                return await self.finish(image, run.request)
        except ValueError as error:
            raise UpstreamProtocol(
                "The provider's picture could not be decoded.", diagnostics=str(error)[:MAX_DIAGNOSTICS]
            ) from error

    def _failure(self, run: Run, started: StartedAttempt, deployment: Deployment, error: UpstreamError) -> EndedAttempt:
        offer = self.catalogue.offer(deployment.provider, run.request.model)
        prices = offer.cost_on(run.terms.day)
        usage = self._estimate(run, offer) if error.ambiguous else Usage()
        if isinstance(error, UpstreamRefused):
            usage = usage_of_refusal(self._estimate(run, offer), offer)
        cost = rate([usage], prices).exact_pico_usd
        log.warning(
            "attempt.failed",
            extra={
                "request_id": run.id,
                "attempt": started.n,
                "route": deployment.id,
                "code": error.code,
                "upstream_status": error.upstream_status,
                "upstream_code": error.upstream_code,
            },
        )
        return EndedAttempt(
            id=started.id,
            state="unknown" if error.ambiguous else "failed_billed" if cost else "failed_free",
            provider_request_id=error.provider_request_id,
            upstream_status=error.upstream_status,
            # The provider's own words stand in the diagnostics, and may repeat the prompt: this one is shown to the caller.
            error_code=error.code,
            diagnostics=None if run.principal.keeps_nothing else error.diagnostics[:MAX_DIAGNOSTICS] or None,
            usage=None,
            cost_pico_usd=cost,
            cost_basis="estimated" if error.ambiguous or cost else "none",
        )


def _failure_of(task: asyncio.Task[Delivery]) -> UpstreamError | None:
    """Return the provider's failure with which a call has ended, None when it goes on, was broken off or ended otherwise."""
    error = task.exception() if task.done() and not task.cancelled() else None
    return error if isinstance(error, UpstreamError) else None


def _fails_over(task: asyncio.Task[Delivery]) -> bool:
    """Tell whether a call has ended with a failure after which another provider may be tried."""
    failure = _failure_of(task)
    return failure is not None and failure.fails_over


async def _cancel(task: asyncio.Task[Delivery]) -> None:
    """Break off a call and wait until it is."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        # Whoever wanted to know has asked by now; asking here keeps asyncio from calling a failure forgotten.
        task.exception()


def _left_to_provider(request: ImageRequest, model: Model) -> ImageRequest:
    """Return what a provider is asked for: without what the gateway does itself."""
    if model.cuts_out(request.background):
        request = replace(request, background="opaque")
    return replace(request, mask=None) if request.mask and model.mask_policy == "composite" else request


def _most_calls(run: Run) -> int:
    return MAX_ATTEMPTS if run.rehearsal is None else run.rehearsal.scenario.routes


def _route(run: Run, call: Call) -> str:
    """Return what a call has used up: its deployment, or one of the routes of a rehearsal, which all lead to the simulator."""
    deployment = call.permit.deployment.id
    return deployment if run.rehearsal is None else f"{deployment} {call.started.n}"


def _shorten_wait(last: UpstreamError, failures: Iterable[UpstreamError]) -> None:
    """Let a rate limit tell the shortest wait of all that were told: that deployment is free first."""
    if isinstance(last, UpstreamRateLimited):
        waits = [error.retry_after_s for error in failures if isinstance(error, UpstreamRateLimited)]
        last.retry_after_s = min((wait for wait in waits if wait is not None), default=None)
