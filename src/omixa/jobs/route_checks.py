"""Asks providers for nothing whether what failed is well again, so that no request has to find that out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar

from omixa.errors import UpstreamError
from omixa.jobs.job import Job
from omixa.providers.checks import Checks
from omixa.routing.router import Check, Router

log = logging.getLogger(__name__)

ROUND_S = 1.0
AT_A_TIME = 8


class RouteChecks(Job):
    """Keep it entered while serving: `async with checks`. `interval_s` is between two looks at an account without credit."""

    name: ClassVar[str] = "route-checks"

    def __init__(self, router: Router, checks: Checks, *, interval_s: float) -> None:
        self._router = router
        self._checks = checks
        self._interval_s = interval_s

    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the one round that never ends, or none where nothing is to be checked."""
        return (self._check_for_ever(),) if self._interval_s else ()

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
