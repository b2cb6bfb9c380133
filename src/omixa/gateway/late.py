"""Answers that come when nobody waits for them any more: of calls whose time was over, or whose picture another one made first.

What was decided stays decided. The request is settled without them; then the call's own record learns what came of it, above all
what it cost the operator, which was an estimate until then. Their pictures are dropped as they arrive.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from omixa.errors import OmixaError, UpstreamError, UpstreamTimeout
from omixa.gateway.run import Run
from omixa.gateway.settlement import Settlement
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.late import Waiting
from omixa.routing.router import Permit
from omixa.usage.records import EndedAttempt

log = logging.getLogger(__name__)

Outcome = ProviderResult | UpstreamError


@dataclass(frozen=True, slots=True)
class Spoken:
    """A call on its way. `judge` says how it ended, of what came of it."""

    run: Run
    permit: Permit
    judge: Callable[[Outcome], EndedAttempt]


class LateAnswers:
    """Listens to calls that were given up, to `most` at a time and to each for `wait_s` seconds. Close it before the transports.

    The next ones are broken off, and all are with `wait_s` 0.
    """

    def __init__(self, settlement: Settlement, *, wait_s: float, most: int) -> None:
        self._settlement = settlement
        self._wait_s = wait_s
        self._most = most
        self._listening: set[asyncio.Task[None]] = set()

    def can_hear(self, call: ProviderCall) -> bool:
        """Tell whether a call can be listened to: what works inside this process has no bill that could come late."""
        return self._wait_s > 0 and not call.deployment.in_process

    async def result(
        self,
        call: ProviderCall,
        spoken: Spoken,
        carry_out: Callable[[ProviderCall], Coroutine[Any, Any, ProviderResult]],
        deadline: float,
    ) -> ProviderResult:
        """Return what a call brings until its own time is over or `deadline`, a time of the event loop.

        Whoever is cancelled while waiting gives the call up as well, unless its offer says that it costs nothing then. Raises an
        UpstreamError.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[ProviderResult] = loop.create_future()

        def part(error: UpstreamError) -> bool:
            if not self._listen(working, spoken, was_needed=True):
                return False
            if not outcome.done():
                outcome.set_exception(error)
            return True

        def expire() -> None:
            if not outcome.done():
                outcome.set_exception(UpstreamTimeout("The provider did not answer before the request's deadline."))

        waiting = Waiting(part)
        working = loop.create_task(carry_out(replace(call, waiting=waiting)))
        working.add_done_callback(lambda done: _tell(outcome, done))
        timer = loop.call_at(deadline, expire)
        was_needed = True
        try:
            return await outcome
        except asyncio.CancelledError:
            was_needed = False
            raise
        finally:
            timer.cancel()
            if not working.done() and not waiting.is_over:
                may_listen = waiting.is_sent and (was_needed or call.offer.on_disconnect == "finish")
                waiting.is_over = may_listen and self._listen(working, spoken, was_needed=was_needed)
                if not waiting.is_over:
                    working.cancel()
                    await asyncio.wait({working})

    def _listen(self, working: asyncio.Task[ProviderResult], spoken: Spoken, *, was_needed: bool) -> bool:
        if len(self._listening) >= self._most:
            log.info("late.not_heard", extra={"request_id": spoken.run.id, "listening": len(self._listening)})
            return False
        # The place at the deployment stays taken: its provider still works.
        permit = spoken.permit.hand_over()
        task = asyncio.create_task(self._hear(working, replace(spoken, permit=permit), was_needed=was_needed))
        self._listening.add(task)
        task.add_done_callback(self._listening.discard)
        return True

    async def _hear(self, working: asyncio.Task[ProviderResult], spoken: Spoken, *, was_needed: bool) -> None:
        with closing(spoken.permit):
            try:
                await asyncio.wait({working}, timeout=self._wait_s)
            finally:
                working.cancel()
                await asyncio.wait({working})
            came_at = asyncio.get_running_loop().time()
            outcome = _outcome(working)
            if isinstance(outcome, ProviderResult) or (outcome is None and not was_needed):
                # It is no success of the deployment, but tells how long its pictures take, or longer than what.
                spoken.permit.superseded()
        if outcome is None:
            log.info("late.silence", extra={"request_id": spoken.run.id, "route": spoken.permit.deployment.id})
            return
        # The call's record is written with the request's end, and what is known better corrects it.
        await spoken.run.over()
        ended = spoken.judge(outcome)
        ago_s = asyncio.get_running_loop().time() - came_at
        try:
            await self._settlement.answered_late(ended, came_ago_ms=round(ago_s * 1000))
        except OmixaError as error:
            log.warning("late.not_recorded", extra={"request_id": spoken.run.id, "code": error.code})
            return
        facts = {"attempt": ended.id, "state": ended.state, "cost_basis": ended.cost_basis}
        log.info("late.recorded", extra={"request_id": spoken.run.id, **facts})

    async def close(self) -> None:
        """Hang up on every call; what is not known of it stays so."""
        listening = set(self._listening)
        for task in listening:
            task.cancel()
        if listening:
            await asyncio.wait(listening)


def _tell(outcome: asyncio.Future[ProviderResult], done: asyncio.Task[ProviderResult]) -> None:
    """Tell whoever still waits how the call ended. Asking for it keeps asyncio from calling a failure forgotten."""
    error = None if done.cancelled() else done.exception()
    if outcome.done():
        return
    if done.cancelled():
        outcome.cancel()
    elif error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(done.result())


def _outcome(working: asyncio.Task[ProviderResult]) -> Outcome | None:
    """Return what came of a call, None where nothing was heard."""
    if working.cancelled():
        return None
    error = working.exception()
    if error is None:
        return working.result()
    if isinstance(error, UpstreamError):
        return error
    log.error("late.failed", exc_info=error)
    return None
