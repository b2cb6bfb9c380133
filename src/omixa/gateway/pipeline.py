"""The sentence that Omixa is: checked, priced, held, made, stored, captured, recorded.

`Pipeline.execute` is one request from its hold to its answer. What came before (authentication, validation) and what comes
after (the answer on the wire) is in `api/`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from omixa.billing.ledger import Hold, StoredResult
from omixa.billing.pricing import Charge, Terms, rate
from omixa.domain.access import Principal
from omixa.domain.images import Image, Usage
from omixa.domain.models import Model
from omixa.domain.times import utc_today
from omixa.errors import ClientGone, InternalError, OmixaError, PriceChanged, SettlementUnavailable
from omixa.gateway import quotes
from omixa.gateway.attempts import AttemptLog, Attempts, Call, Delivery
from omixa.gateway.idempotency import Earlier, Remains
from omixa.gateway.receipt import Failure, build_envelope, reissue_envelope
from omixa.gateway.replay import Replays
from omixa.gateway.results import BrokenResult, Results, Settling
from omixa.gateway.run import Answer, Run
from omixa.gateway.settlement import Settlement
from omixa.routing.router import Router
from omixa.storage.repeats import ParkedResult
from omixa.usage.records import EndedAttempt, StartedAttempt, UsageRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Made:
    """What is to be charged for. `envelope` makes the answer from its time, the charge and what is billed of it.

    `route` is the deployment that made the first picture.
    """

    usages: tuple[Usage, ...]
    images: tuple[Image, ...]
    envelope: Callable[[int, Charge, int], Mapping[str, Any]]
    route: str
    attempts: Sequence[EndedAttempt] = ()
    parked_from: str | None = None


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Executes runs. `deadline_s` bounds all attempts of a run together, and the wait for the ledger after them.

    `today` says which price list is in force. `refusal_limit_pico_usd` is what content refusals of a workspace may cost
    the operator in a day.
    """

    router: Router
    attempts: Attempts
    settlement: Settlement
    results: Results
    replays: Replays
    deadline_s: float
    refusal_limit_pico_usd: int
    today: Callable[[], datetime.date] = utc_today

    def terms(self, principal: Principal, model: Model) -> Terms:
        """Return at which prices a request is held now. Raises NoPrice."""
        return quotes.terms(principal, model, self.today())

    async def execute(self, run: Run, model: Model) -> Answer:
        """Make the pictures and charge for them, or give what an earlier request brought.

        Raises an OmixaError after the hold is released.
        """
        calls, first = self._claim(run, model)
        try:
            while True:
                with run.timed("hold"):
                    ceiling, found = await self._authorise(run, model, _started(first))
                if found is not None:
                    # Nothing is called for what was made before.
                    _give_back(first)
                if not isinstance(found, Earlier):
                    break
                if (answer := await self.replays.answer(run, found)) is not None:
                    return answer
                calls, first = self._claim(run, model)
            return await self._carry_out(run, model, ceiling, calls, first, found)
        finally:
            _give_back(first)

    async def _carry_out(
        self,
        run: Run,
        model: Model,
        ceiling: Charge,
        calls: AttemptLog,
        first: Sequence[Call | None],
        parked: ParkedResult | None,
    ) -> Answer:
        """Make the pictures, or take those that were parked, and charge for them; release the hold when that fails."""
        deadline = asyncio.get_running_loop().time() + self.deadline_s
        try:
            if run.client_gone:
                raise ClientGone("The client left before the request was sent to a provider.")
            run.admit()
            if parked is not None:
                made = await self._parked(run, ceiling, parked)
            else:
                with run.timed("provider"):
                    deliveries, failures = await self._make(run, calls, first, deadline)
                made = _made(run, model, ceiling, calls, deliveries, failures)
            answer = await self._settle(run, model, ceiling, made, deadline)
        except Exception as error:
            raise await self._released(run, calls, error) from error
        if run.rehearsal is not None:
            run.rehearsal.end()
        if parked is not None:
            # The answer has a place of its own now; its pictures are views of the old file, which stay good.
            await self.results.discard(parked.ref)
        return answer

    def _claim(self, run: Run, model: Model) -> tuple[AttemptLog, list[Call | None]]:
        """Return the first call of each picture, None for one that has to wait for room. Raises NoHealthyRoute."""
        calls = AttemptLog(run.id)
        run.timeline = calls.timeline
        permits = [self.router.claim(model, run.principal.mode, run.wanted) for _ in range(run.request.n)]
        return calls, [
            None if permit is None else Call(permit, calls.start(permit.deployment, index))
            for index, permit in enumerate(permits)
        ]

    async def _authorise(
        self, run: Run, model: Model, first: Sequence[StartedAttempt]
    ) -> tuple[Charge, Earlier | ParkedResult | None]:
        """Hold the highest price, or find what answers instead; return both.

        Where the markup was changed meanwhile, the request is priced once more.
        """
        ceiling = self._ceiling(run, model)
        try:
            found = await self.settlement.authorise(self._hold(run, model, ceiling), first, run.identity)
        except PriceChanged as changed:
            run.terms = dataclasses.replace(run.terms, markup_ppm=changed.markup_ppm)
            ceiling = self._ceiling(run, model)
            found = await self.settlement.authorise(self._hold(run, model, ceiling), first, run.identity)
        return ceiling, found

    def _ceiling(self, run: Run, model: Model) -> Charge:
        ceiling = quotes.ceiling(run.request, model, run.terms)
        quotes.require_within(run.cap_micro_usd, ceiling)
        return ceiling

    async def _make(
        self,
        run: Run,
        calls: AttemptLog,
        first: Sequence[Call | None],
        deadline: float,
    ) -> tuple[list[Delivery], list[Failure]]:
        """Return what arrived, in order, and what did not. Raises the first error when nothing arrived."""
        outcomes = await _outcomes(
            [self.attempts.first_success(run, calls, index, call, deadline) for index, call in enumerate(first)]
        )
        deliveries = [outcome for outcome in outcomes if isinstance(outcome, Delivery)]
        errors = [(index, outcome) for index, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
        for _, error in errors:
            if not deliveries or not isinstance(error, OmixaError) or isinstance(error, ClientGone):
                raise error
        return deliveries, [Failure(index, error) for index, error in errors if isinstance(error, OmixaError)]

    async def _parked(self, run: Run, ceiling: Charge, parked: ParkedResult) -> Made:
        """Return what was made for an earlier request and never charged."""
        try:
            content = await self.results.content(parked.request_id, parked.ref, parked.digest)
        except BrokenResult as error:
            log.error("result.broken", extra={"request_id": parked.request_id, "ref": parked.ref, "reason": str(error)})
            await self.settlement.forget_parked(parked.request_id)
            raise SettlementUnavailable(
                "The picture that was kept for this request is damaged. Nothing was charged. Try again.",
                retry_after_s=1,
            ) from error
        held = ceiling.amount_micro_usd

        def envelope(created: int, charge: Charge, billed: int) -> Mapping[str, Any]:
            return reissue_envelope(content.manifest.envelope, run, created, charge, billed, held)

        route = content.manifest.envelope["omixa"]["route"]
        return Made(content.manifest.settling.usages, content.images, envelope, route, parked_from=parked.request_id)

    async def _settle(self, run: Run, model: Model, ceiling: Charge, made: Made, deadline: float) -> Answer:
        charge = rate(made.usages, run.terms.prices, markup_ppm=run.terms.markup_ppm)
        held = ceiling.amount_micro_usd
        billed = min(charge.amount_micro_usd, held)
        if billed < charge.amount_micro_usd:
            # The provider reported more than the model's proven bound: the customer pays the hold, the operator the rest.
            log.error(
                "usage.above_bound", extra={"request_id": run.id, "model": model.id, "price": charge.amount_micro_usd}
            )
        envelope = made.envelope(int(time.time()), charge, billed)
        settling = Settling(made.usages, tuple(made.attempts))
        with run.timed("store"):
            result = await self.results.keep(
                run.id,
                self.settlement.node.epoch,
                envelope,
                made.images,
                settling,
                run.principal.result_retention_ms,
            )
        run.stored = result

        async def secure() -> StoredResult:
            run.stored = await self.results.secure(run.id, result)
            return run.stored

        record = UsageRecord(
            request_id=run.id,
            workspace_id=run.principal.workspace_id,
            key_id=run.principal.key_id,
            mode=run.principal.mode,
            model=model.id,
            usages=made.usages,
            exact_pico_usd=charge.exact_pico_usd,
            amount_micro_usd=billed,
            markup_ppm=charge.markup_ppm,
            price_version_id=run.terms.prices.version,
            route=made.route,
        )
        with run.timed("capture"):
            await self.settlement.capture(
                record,
                result,
                made.attempts,
                parked_from=made.parked_from,
                prompt=run.request.prompt if run.principal.keeps_prompts else None,
                until=deadline,
                secure=secure,
            )
        return Answer(run.id, envelope, made.images, envelope["created"] * 1000 + result.retention_ms)

    async def _released(self, run: Run, calls: AttemptLog, error: Exception) -> OmixaError:
        """Release the hold and return what the caller is told."""
        if isinstance(error, OmixaError):
            told: OmixaError = error
        else:
            log.error("run.failed", extra={"request_id": run.id}, exc_info=error)
            told = InternalError(f"Omixa failed on request {run.id}. Nothing was charged.")
        calls.abandon(told.code)
        try:
            await self.settlement.release(run.id, told.code, calls.ended, _remains(run, told))
        except OmixaError as failed:
            # The answer is sent all the same: the sweeper releases the hold when the ledger is back.
            log.warning("run.release_failed", extra={"request_id": run.id, "code": failed.code})
        return told

    def _hold(self, run: Run, model: Model, ceiling: Charge) -> Hold:
        request, principal = run.request, run.principal
        return Hold(
            request_id=run.id,
            workspace_id=principal.workspace_id,
            account_id=principal.account_id,
            key_id=principal.key_id,
            mode=principal.mode,
            model=model.id,
            operation=request.operation,
            parameters_json=_parameters_json(run),
            amount_micro_usd=ceiling.amount_micro_usd,
            price_version_id=run.terms.prices.version,
            markup_ppm=run.terms.markup_ppm,
            owner_node=self.settlement.node.id,
            owner_epoch=self.settlement.node.epoch,
            deadline_ms=int(self.deadline_s * 1000),
            # A request with a key is recognised by that alone.
            fingerprint=None if run.identity is None or run.identity.key is not None else run.identity.fingerprint,
            refusal_limit_pico_usd=self.refusal_limit_pico_usd,
        )


async def _outcomes(works: Sequence[Coroutine[Any, Any, Delivery]]) -> list[Delivery | BaseException]:
    """Return what each of several works brought, or its error. One alone needs no task of its own and raises its error."""
    if len(works) == 1:
        return [await works[0]]
    return await asyncio.gather(*works, return_exceptions=True)


def _started(first: Sequence[Call | None]) -> list[StartedAttempt]:
    return [call.started for call in first if call is not None]


def _give_back(first: Sequence[Call | None]) -> None:
    """Make room for others, where a call is over or was never made."""
    for call in first:
        if call is not None:
            call.permit.close()


def _made(
    run: Run,
    model: Model,
    ceiling: Charge,
    calls: AttemptLog,
    deliveries: Sequence[Delivery],
    failures: Sequence[Failure],
) -> Made:
    def envelope(created: int, charge: Charge, billed: int) -> Mapping[str, Any]:
        held = ceiling.amount_micro_usd
        return build_envelope(run, model, created, charge, billed, held, deliveries, failures, calls)

    usages = tuple(delivery.usage for delivery in deliveries)
    images = tuple(delivery.image for delivery in deliveries)
    return Made(usages, images, envelope, deliveries[0].deployment.id, calls.ended)


def _remains(run: Run, told: OmixaError) -> Remains | None:
    """Return what repeats of a released request are answered with: its refusal, or a result that could not be charged."""
    if told.is_kept and run.identity is not None:
        return Remains(refusal=told, refusal_retention_ms=run.identity.retention_ms)
    if isinstance(told, SettlementUnavailable) and run.stored is not None and run.stored.data is None:
        return Remains(parked=run.stored)
    return None


def _parameters_json(run: Run) -> str:
    """Return what was asked for, without the prompt and without pictures."""
    request = run.request
    return msgspec.json.encode(
        {
            "requested_model": run.requested_model,
            "n": request.n,
            "size": request.size,
            "scale": request.scale,
            "quality": request.quality,
            "background": request.background,
            "moderation": request.moderation,
            "input_fidelity": request.input_fidelity,
            "output_format": request.output_format,
            "output_compression": request.output_compression,
            "stream": request.stream,
            "partial_images": request.partial_images,
            "prompt_tokens": request.prompt_tokens,
            "input_images": [_picture(image) for image in request.input_images],
            "mask": None if request.mask is None else _picture(request.mask),
            "given": sorted(request.given),
            **({} if run.rehearsal is None else {"rehearsal": run.rehearsal.record}),
        }
    ).decode()


def _picture(image: Image) -> dict[str, object]:
    return {"format": image.info.format, "size": image.info.size, "size_bytes": image.info.size_bytes}
