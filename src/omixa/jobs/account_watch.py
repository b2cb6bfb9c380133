"""Lets a running server serve from accounts that were stored, changed or removed meanwhile, wherever that was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, ClassVar

from omixa.domain.accounts import ProviderAccount
from omixa.errors import OmixaError
from omixa.gateway.accounts import Accounts
from omixa.jobs.job import Job

log = logging.getLogger(__name__)

# Between two looks at what other processes have changed. What is changed in this one is seen at once.
WATCH_INTERVAL_S = 2.0


class AccountWatch(Job):
    """Keep it entered while serving: `async with watch`. `use` is called with all accounts when they are others than before."""

    name: ClassVar[str] = "account-watch"

    def __init__(
        self, accounts: Accounts, use: Callable[[Sequence[ProviderAccount]], None], known: Sequence[ProviderAccount]
    ) -> None:
        self._accounts = accounts
        self._use = use
        self._known = list(known)

    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the one round that never ends."""
        return (self._watch(),)

    async def look(self) -> None:
        """Take over what has changed."""
        found = list(await self._accounts.serving())
        if found != self._known:
            self._use(found)
            self._known = found
            log.info("accounts.changed", extra={"accounts": ",".join(one.name for one in found) or "-"})

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(WATCH_INTERVAL_S):
                    await self._accounts.changed.wait()
            except TimeoutError:
                pass
            self._accounts.changed.clear()
            try:
                await self.look()
            except OmixaError as error:
                # The database is away. What is known goes on.
                log.warning("accounts.not_read", extra={"reason": error.message})
            except Exception:
                log.exception("accounts.look_failed")
