"""Results that go away before their time: because somebody asks for it, or because they are delivered."""

from __future__ import annotations

import asyncio
import logging

from omixa.access import store
from omixa.domain.access import Mode
from omixa.errors import OmixaError, RequestInProgress, ResultNotFound
from omixa.gateway.idempotency import RUNNING_RETRY_AFTER_S
from omixa.gateway.workspaces import require_reason
from omixa.storage import retention
from omixa.storage.blobs import Blobs
from omixa.storage.database import Database, Transaction
from omixa.storage.retention import Deleted

log = logging.getLogger(__name__)

# How long a delivered result is kept where it is kept until it is delivered: the last bytes of an answer may still be on their
# way when the connection breaks, and whoever has paid must be able to ask again.
DELIVERED_MS = 60_000


class Deletion:
    """Deletes results. What they cost and why stays."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def delete(
        self, request_id: str, *, owner: tuple[str, Mode] | None, actor: str, reason: str | None = None
    ) -> None:
        """Delete a result everywhere: its row, its files, and what is parked. When this returns, it is gone.

        `owner` is the workspace's id and the mode whose request it must be; an operator, who gives a reason, may name any. It
        may be called again, for example because the files could not be deleted. Raises ResultNotFound, RequestInProgress,
        StorageUnavailable, or InvalidRequest for a reason that cannot be kept.
        """
        if reason is not None:
            require_reason(reason)

        def operation(tx: Transaction) -> Deleted | None:
            found = retention.delete(tx, request_id, owner=owner)
            if found is not None and found.is_new:
                details = {} if reason is None else {"reason": reason}
                store.audit(tx, actor=actor, action="result.deleted", target=request_id, details=details)
            return found

        found = await self._database.write(operation)
        if found is None:
            raise ResultNotFound(f"There is no request {request_id[:80]}.", param="request")
        if found.state == "held":
            raise RequestInProgress(f"{request_id} is still in progress.", retry_after_s=RUNNING_RETRY_AFTER_S)
        # A request may have left more than one file: one that was parked, one that was stored before a ledger came back.
        for identifier in found.request_ids:
            for name in await asyncio.to_thread(self._blobs.find, identifier):
                await self._blobs.delete(name)
        if found.state == "released" and not found.is_new:
            raise ResultNotFound(f"{request_id} failed: it has no result, and nothing was charged.", param="request")

    async def delivered(self, request_id: str) -> None:
        """Let a result go that its client has got. When the ledger cannot be written, it goes when its time has passed."""
        try:
            await self._database.write(lambda tx: retention.end_in(tx, request_id, DELIVERED_MS))
        except OmixaError as error:
            log.warning("result.kept_after_delivery", extra={"request_id": request_id, "code": error.code})
