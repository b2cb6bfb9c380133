"""A transparent background for models that have none: the embedded cutout model takes the background away from their pictures.

That is a call of its own, recorded before it begins and priced by the model's own list. The provider's call has ended well by
then and its cost is known, so it is never made again because of what happens here.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omixa.billing.pricing import rate
from omixa.catalogue.emulation import CUTOUT_MODEL
from omixa.catalogue.loader import Catalogue
from omixa.domain.images import Image, ImageRequest
from omixa.errors import BackgroundNotRemoved, EngineTimeout, UpstreamBusy, UpstreamError
from omixa.gateway.pauses import LoopTime
from omixa.providers.base import Provider, ProviderCall, ProviderResult
from omixa.routing.router import Router
from omixa.usage.records import EndedAttempt, StartedAttempt

if TYPE_CHECKING:
    from omixa.gateway.attempts import AttemptLog
    from omixa.gateway.run import Run
    from omixa.gateway.settlement import Settlement

# Between two tries while too many wait for the embedded models.
PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Cutouts:
    """Takes the background away from pictures that have been made."""

    catalogue: Catalogue
    provider: Provider
    router: Router
    settlement: Settlement

    async def take(
        self, run: Run, calls: AttemptLog, made: EndedAttempt, image: Image, image_index: int, deadline: LoopTime
    ) -> Image:
        """Return the picture with real transparency. `made` is how the call ended that brought it; it is recorded first.

        While too many wait, it waits too, until a time of the event loop: the provider has been paid. Raises
        BackgroundNotRemoved, and SettlementUnavailable when the hold is gone.
        """
        (deployment,) = self.router.configured(self.catalogue.resolve(CUTOUT_MODEL), run.principal.mode)[:1]
        offer = self.catalogue.offer(deployment.provider, CUTOUT_MODEL)
        started = calls.start(deployment, image_index)
        await self.settlement.next_attempt(made, started)
        call = ProviderCall(_request(image), offer, deployment, run.id, image_index)
        try:
            with run.timed("cutout"):
                result = await self._result(call, deadline)
        except UpstreamError as error:
            calls.end(_failure(started, error))
            raise BackgroundNotRemoved(
                f"The picture was made, but its background could not be taken away: {error.message} Nothing was charged"
                " for it."
            ) from error
        cost = rate([result.usage] if result.usage else [], offer.cost_on(run.terms.day))
        calls.end(EndedAttempt(started.id, "ok", None, None, None, None, result.usage, cost.exact_pico_usd, "reported"))
        return result.image

    async def _result(self, call: ProviderCall, deadline: LoopTime) -> ProviderResult:
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    try:
                        return await self._once(call)
                    except UpstreamBusy:
                        await asyncio.sleep(PAUSE_S)
        except TimeoutError as error:
            raise EngineTimeout("It took longer than the request may.") from error

    async def _once(self, call: ProviderCall) -> ProviderResult:
        async with aclosing(self.provider.generate(call)) as events:
            results = [event async for event in events if isinstance(event, ProviderResult)]
        return results[0]


def _request(image: Image) -> ImageRequest:
    return ImageRequest(
        model=CUTOUT_MODEL,
        prompt="",
        prompt_tokens=0,
        n=1,
        size="auto",
        quality="auto",
        background="transparent",
        output_format="png",
        output_compression=None,
        input_images=(image,),
        stream=False,
        partial_images=0,
        given=frozenset(),
    )


def _failure(started: StartedAttempt, error: UpstreamError) -> EndedAttempt:
    return EndedAttempt(started.id, "failed_free", None, None, error.code, error.diagnostics or None, None, 0, "none")
