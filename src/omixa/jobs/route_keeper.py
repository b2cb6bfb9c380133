"""Keeps what the router learns beyond the life of a process, and tells other servers which credentials are out of use.

Nothing of it is on the way of a request: rounds are some seconds apart, write only what has changed since the last one, and
where the database is away, the next one makes up for it. What a killed process learned since its last round is lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, ClassVar

from omixa.domain.models import Deployment
from omixa.domain.routes import Memory
from omixa.errors import OmixaError
from omixa.jobs.job import Job
from omixa.routing.router import Router
from omixa.storage import routes
from omixa.storage.database import Database, Transaction
from omixa.storage.routes import Place, Refusal

log = logging.getLogger(__name__)

ROUND_S = 5.0
# The last round of a server that stops.
LAST_ROUND_S = 5.0


class RouteKeeper(Job):
    """Call `recall` once before serving, then keep it entered while serving: `async with keeper`.

    `digest_of` gives the keyed digest of a list of texts.
    """

    name: ClassVar[str] = "route-keeper"

    def __init__(self, database: Database, router: Router, *, node_id: str, digest_of: Callable[..., str]) -> None:
        self._database = database
        self._router = router
        self._node_id = node_id
        self._digest_of = digest_of
        # What was written of each deployment, and the credentials that were out of use for all, as of the last round.
        self._marks: Mapping[str, tuple[object, ...]] = router.marks()
        self._refused: Mapping[str, Refusal] = {}

    async def recall(self) -> None:
        """Go on from what this server knew when it stopped; of a credential that has changed since, nothing is believed."""
        kept, self._refused = await self._database.read(
            lambda tx: (routes.recall(tx, self._node_id), routes.refused(tx))
        )
        known = {self._place(one) for one in self._router.deployments}
        self._router.recall({place.deployment: memory for place, memory in kept.items() if place in known})
        self._obey(self._refused)
        self._marks = self._router.marks()

    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the one round that never ends."""
        return (self._keep_for_ever(),)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, traceback)
        try:
            async with asyncio.timeout(LAST_ROUND_S):
                await self._round()
        except TimeoutError:
            log.warning("routes.not_kept", extra={"reason": "the database takes too long"})

    async def keep(self) -> None:
        """Write what has changed, and obey what other servers have found out about credentials."""
        marks, before = self._router.marks(), self._marks
        changed = {
            self._place(deployment): memory
            for deployment, memory in self._router.remember()
            if before.get(deployment.id) != marks[deployment.id]
        }
        own, known = self._own_refusals(), self._refused
        refused = {digest: refusal for digest, refusal in own.items() if digest not in known}
        accepted = [digest for digest in self._digests() if digest in known and digest not in own]
        if changed or refused or accepted:
            await self._database.write(lambda tx: _write(tx, self._node_id, changed, refused, accepted))
            self._marks = marks
        now_refused = await self._database.read(routes.refused)
        # What has changed here since this round began is for the next one to tell.
        if self._own_refusals() == own:
            self._obey(now_refused)
            self._refused = now_refused

    def _obey(self, refused: Mapping[str, Refusal]) -> None:
        """Leave the credentials alone that other servers have found refused, and use those that are not refused any more."""
        own = self._own_refusals()
        for digest, account in self._digests().items():
            refusal = refused.get(digest)
            if refusal is not None and digest not in own:
                self._router.disable(account, refusal.reason, is_spent=refusal.spent)
                log.error("route.disabled", extra={"account": account, "code": refusal.reason})
            elif refusal is None and digest in own:
                self._router.enable(account)
                log.info("route.enabled", extra={"account": account})

    def _own_refusals(self) -> dict[str, Refusal]:
        """Return the digests of the credentials that are out of use at this server."""
        return {
            self._digest(one.deployment): Refusal(one.reason, one.is_spent)
            for one in self._router.standings()
            if one.reason is not None and one.deployment.account and not one.deployment.fault
        }

    def _digests(self) -> dict[str, str]:
        """Return the accounts by the digests of their credentials."""
        return {self._digest(one): one.account for one in self._router.deployments if one.account}

    def _place(self, deployment: Deployment) -> Place:
        return Place(deployment.id, self._digest(deployment))

    def _digest(self, deployment: Deployment) -> str:
        secret = deployment.api_key or deployment.bearer_token
        kind = "key" if deployment.api_key is not None else deployment.entra_scope or "token"
        credential = "" if secret is None else secret.reveal()
        return self._digest_of(deployment.provider, deployment.account, deployment.endpoint, kind, credential)

    async def _keep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(ROUND_S)
            await self._round()

    async def _round(self) -> None:
        """Keep what there is, whatever becomes of that: no request may suffer from it."""
        try:
            await self.keep()
        except OmixaError as error:
            log.warning("routes.not_kept", extra={"reason": error.message})
        except Exception:
            log.exception("routes.not_kept")


def _write(
    tx: Transaction,
    node_id: str,
    changed: Mapping[Place, Memory],
    refused: Mapping[str, Refusal],
    accepted: list[str],
) -> None:
    routes.remember(tx, node_id, changed)
    for digest, refusal in refused.items():
        routes.refuse(tx, digest, refusal)
    for digest in accepted:
        routes.accept(tx, digest)
