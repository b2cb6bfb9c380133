"""Answers a repeat with what an earlier request brought: read back from the store, or waited for while it is being made."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace

from omixa.errors import InternalError, LedgerUnavailable, RequestInProgress
from omixa.gateway.idempotency import RUNNING_RETRY_AFTER_S, Earlier
from omixa.gateway.results import BrokenResult, Results
from omixa.gateway.run import Answer, Run
from omixa.gateway.settlement import Settlement
from omixa.storage.repeats import EarlierRequest

log = logging.getLogger(__name__)

# Between looks at a request that is being made, perhaps by another process.
JOIN_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class Replays:
    """Answers of earlier requests. `patience_s` is how long a retry waits for the request that it has joined."""

    settlement: Settlement
    results: Results
    patience_s: float

    async def answer(self, run: Run, earlier: Earlier) -> Answer | None:
        """Return the answer of the earlier request as the run's own, or None when that one failed and this one must run.

        Raises the earlier request's refusal, RequestInProgress when it takes too long, InternalError when its answer is damaged.
        """
        run.earlier = earlier
        if earlier.ref is None and earlier.refusal is None:
            # A stream may begin: its comments keep the connection alive.
            run.admit()
            ended = await self._ended(earlier)
            if ended is None:
                run.earlier = None
                return None
            run.earlier = earlier = ended
        if earlier.refusal is not None:
            run.admit()
            raise earlier.refusal.error()
        assert earlier.ref is not None
        assert earlier.digest is not None
        answer = await load_answer(self.results, earlier.request_id, earlier.ref, earlier.digest, earlier.kept_until_ms)
        run.admit()
        return _marked(answer) if earlier.joined else answer

    async def _ended(self, earlier: Earlier) -> Earlier | None:
        """Wait for the end of a request and return how it answers, or None when it failed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.patience_s):
                while True:
                    found = await self._outcome(earlier.request_id)
                    if not isinstance(found, EarlierRequest):
                        return found
                    await asyncio.sleep(JOIN_POLL_S)
        raise RequestInProgress(
            f"{earlier.request_id}, of which this is a retry, is still in progress.",
            retry_after_s=RUNNING_RETRY_AFTER_S,
        )

    async def _outcome(self, request_id: str) -> Earlier | EarlierRequest | None:
        while True:
            try:
                return await self.settlement.outcome(request_id)
            except LedgerUnavailable:
                # The request itself waits for the ledger too.
                await asyncio.sleep(JOIN_POLL_S)


async def load_answer(results: Results, request_id: str, ref: str, digest: str, kept_until_ms: int) -> Answer:
    """Return a stored answer. Raises InternalError when it is damaged."""
    try:
        return await results.load(request_id, ref, digest, kept_until_ms)
    except BrokenResult as error:
        raise damaged(request_id, ref, error) from error


def damaged(request_id: str, ref: str, error: BrokenResult) -> InternalError:
    """Tell the operator that stored bytes are not a result, and return what the caller is told."""
    log.error("result.broken", extra={"request_id": request_id, "ref": ref, "reason": str(error)})
    return InternalError(f"The stored result of {request_id} is damaged. The operator has been told.")


def _marked(answer: Answer) -> Answer:
    """Return an answer that says that a retry got it."""
    omixa = {**answer.envelope["omixa"], "joined_request": True}
    return replace(answer, envelope={**answer.envelope, "omixa": omixa})
