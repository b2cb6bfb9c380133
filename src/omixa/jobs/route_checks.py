"""Asks providers for nothing whether what failed is well again, so that no request has to find that out."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

from omixa.errors import UpstreamError
from omixa.providers.checks import Checks
from omixa.routing.router import Check, Router

log = logging.getLogger(__name__)

ROUND_S = 1.0
AT_A_TIME = 8


class RouteChecks:
    """Keep it entered while serving: `async with checks`. `interval_s` is between two looks at an account without credit."""

    def __init__(self, router: Router, checks: Checks, *, interval_s: float) -> None:
        self._router = router
        self._checks = checks
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._interval_s:
            self._task = asyncio.create_task(self._check_for_ever(), name="route-checks")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def check(self) -> int:
        """Ask for everything that is due, and return how many were asked."""
        due = self._router.due_checks(self._checks.can_ask, every_s=self._interval_s, limit=AT_A_TIME)
        await asyncio.gather(*map(self._ask, due))
        return len(due)

    async def _ask(self, check: Check) -> None:
        try:
            check.answered(has_credit=await self._checks.ask(check.deployment))
            log.info("route.checked", extra={"account": check.deployment.account, "result": "ok"})
        except UpstreamError as error:
            check.failed(error)
            log.info("route.checked", extra={"account": check.deployment.account, "result": error.code})
        finally:
            check.close()

    async def _check_for_ever(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            try:
                await self.check()
            except Exception:
                log.exception("route_checks.round_failed")
