"""Delivers what the outbox holds, at least once: an attempt is recorded before it is made, and its success afterwards."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, ClassVar

from omixa.billing.alerts import BALANCE_LOW_LETTER
from omixa.jobs.job import Job
from omixa.mail import Mailer
from omixa.storage import outbox
from omixa.storage.database import Database
from omixa.storage.outbox import MAX_ATTEMPTS, Message
from omixa.webhooks import Webhook

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 5.0
BATCH = 50


class Courier(Job):
    """Keep it entered while serving. Events are logged, and posted where there is a webhook; letters need a mailer."""

    name: ClassVar[str] = "courier"

    def __init__(self, database: Database, mailer: Mailer | None, webhook: Webhook | None = None) -> None:
        self._database = database
        self._mailer = mailer
        self._webhook = webhook

    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return the one round that never ends."""
        return (self._deliver_for_ever(),)

    async def deliver(self) -> int:
        """Attempt what is due, and return how much of it has arrived."""
        messages = await self._database.read(functools.partial(outbox.due, limit=BATCH))
        return sum([await self._attempt(message) for message in messages])

    async def _attempt(self, message: Message) -> bool:
        if not await self._database.write(functools.partial(outbox.claim, message=message)):
            return False
        try:
            await self._tell(message)
        except OSError as error:
            is_last = message.attempts + 1 == MAX_ATTEMPTS
            report = log.error if is_last else log.warning
            report(
                "outbox.given_up" if is_last else "outbox.failed",
                extra={"message_id": message.id, "topic": message.topic, "reason": type(error).__name__},
            )
            return False
        await self._database.write(functools.partial(outbox.mark_delivered, message=message))
        return True

    async def _tell(self, message: Message) -> None:
        if message.topic == BALANCE_LOW_LETTER:
            await self._write_of_low_balance(message)
            return
        log.warning(message.topic, extra={"message_id": message.id, **message.payload})
        if self._webhook is not None:
            await self._webhook.send(
                message_id=message.id, topic=message.topic, at_ms=message.created_at_ms, data=message.payload
            )

    async def _write_of_low_balance(self, message: Message) -> None:
        said = message.payload
        if self._mailer is None:
            return
        await self._mailer.send(
            to=said["email"],
            subject=f"Omixa: {said['workspace']} has less than ${said['threshold']} left",
            text=(
                f"Workspace {said['workspace']} has a balance of ${said['posted']} in {said['mode']} mode, which is below"
                f" the threshold of ${said['threshold']}.\n\nRequests are refused when it does not cover them any more."
                " Add credit in time.\n"
            ),
            message_id=message.id,
        )

    async def _deliver_for_ever(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            try:
                await self.deliver()
            except Exception:
                log.exception("courier.round_failed")
