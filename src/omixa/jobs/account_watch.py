"""Lets a running server serve from accounts that were stored, changed or removed meanwhile, wherever that was done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from omixa.domain.accounts import ProviderAccount
from omixa.errors import OmixaError
from omixa.gateway.accounts import Accounts

log = logging.getLogger(__name__)

# Between two looks at what other processes have changed. What is changed in this one is seen at once.
WATCH_INTERVAL_S = 2.0


class AccountWatch:
    """Keep it entered while serving: `async with watch`. `use` is called with all accounts when they are others than before."""

    def __init__(
        self, accounts: Accounts, use: Callable[[Sequence[ProviderAccount]], None], known: Sequence[ProviderAccount]
    ) -> None:
        self._accounts = accounts
        self._use = use
        self._known = list(known)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="account-watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
