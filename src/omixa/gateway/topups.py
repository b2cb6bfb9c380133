"""Top-ups: an order, the page on which it is paid, and the signed events that credit it or take it back.

The page to which the browser returns plays no part in this: only events of the payment provider move money.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from omixa.access import store
from omixa.billing import topups
from omixa.billing.ledger import workspace_account
from omixa.billing.topups import Reversal, Taken
from omixa.domain.access import Member, Principal
from omixa.domain.money import format_usd
from omixa.errors import Forbidden, InvalidRequest
from omixa.payments.stripe import CURRENCY, Dispute, News, Order, Payment, Stripe
from omixa.storage.database import Database, Operation, Transaction

log = logging.getLogger(__name__)

MICRO_PER_CENT = 10_000
ACTOR = "stripe"


@dataclass(frozen=True, slots=True)
class TopUpPage:
    """An order that waits to be paid, and where that is done."""

    order_id: str
    amount_micro_usd: int
    url: str


class TopUps:
    """Sells credit of at least `least_micro_usd` and at most `most_micro_usd`. `gateway` is this ledger's own name."""

    def __init__(
        self, database: Database, stripe: Stripe, *, gateway: str, least_micro_usd: int, most_micro_usd: int
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._gateway = gateway
        self._least = least_micro_usd
        self._most = most_micro_usd

    async def order(self, principal: Principal, amount_micro_usd: int) -> TopUpPage:
        """Open a page on which a top-up is paid. Raises Forbidden for play money, InvalidRequest, PaymentUnavailable."""
        if principal.mode != "live":
            raise Forbidden("Play money is not for sale. Use a live key.", code="live_key_required")
        return await self._order(
            principal.workspace_id,
            amount_micro_usd,
            lambda tx: topups.order(
                tx,
                workspace_id=principal.workspace_id,
                account_id=principal.account_id,
                key_id=principal.key_id,
                amount_micro_usd=amount_micro_usd,
            ),
        )

    async def order_in_person(self, member: Member, amount_micro_usd: int) -> TopUpPage:
        """Open a page on which a member pays a top-up of live credit. Raises InvalidRequest, PaymentUnavailable."""
        return await self._order(
            member.workspace_id,
            amount_micro_usd,
            lambda tx: topups.order(
                tx,
                workspace_id=member.workspace_id,
                account_id=workspace_account(tx, member.workspace_id, "live"),
                person_id=member.person_id,
                amount_micro_usd=amount_micro_usd,
            ),
        )

    async def _order(self, workspace_id: str, amount_micro_usd: int, record: Operation[str]) -> TopUpPage:
        cents, rest = divmod(amount_micro_usd, MICRO_PER_CENT)
        if rest or not self._least <= amount_micro_usd <= self._most:
            raise InvalidRequest(
                f"A top-up is a whole number of cents from {format_usd(self._least)} to {format_usd(self._most)} USD.",
                param="amount",
            )
        order_id = await self._database.write(record)
        page = await self._stripe.open_page(Order(order_id, self._gateway, workspace_id, cents))
        return TopUpPage(order_id, amount_micro_usd, page.url)

    async def receive(self, body: bytes, signature: str | None) -> None:
        """Do what a signed event says, once. Raises InvalidRequest for one that is not signed or contradicts its order."""
        news = self._stripe.read_event(body, signature)
        if isinstance(news, Payment):
            await self._paid(news)
        elif news is not None:
            await self._reversed(news)

    async def _paid(self, payment: Payment) -> None:
        named = payment.metadata or {}
        # Another gateway, or another shop of the same account.
        if named.get("omixa_gateway") != self._gateway or payment.payment_status != "paid":
            return
        in_dollars = (payment.currency or "").lower() == CURRENCY and payment.amount_total is not None
        order_id = named.get("omixa_order", "")

        def operation(tx: Transaction) -> tuple[str | None, Taken | None]:
            transfer_id, taken = topups.book(
                tx,
                order_id,
                workspace_id=named.get("omixa_workspace"),
                amount_micro_usd=(payment.amount_total or 0) * MICRO_PER_CENT if in_dollars else None,
                session_id=payment.id,
                payment_id=payment.payment_intent,
            )
            if transfer_id is not None:
                details = {"topup": order_id, "session": payment.id}
                store.audit(tx, actor=ACTOR, action="credit.topped_up", target=transfer_id, details=details)
            _audit(tx, taken)
            return transfer_id, taken

        try:
            await self._database.write(operation)
        except InvalidRequest as error:
            log.error("topup.mismatch", extra={"order": order_id, "session": payment.id, "reason": error.message})
            raise

    async def _reversed(self, news: News) -> None:
        reversal = _reversal(news)
        if reversal is None:
            return

        def operation(tx: Transaction) -> Taken | None:
            taken = topups.reverse(tx, reversal)
            _audit(tx, taken)
            return taken

        taken = await self._database.write(operation)
        if taken is not None:
            log.warning("topup.reversed", extra={"topup": taken.topup_id, "owed_micro_usd": taken.owed_micro_usd})


def _reversal(news: News) -> Reversal | None:
    """Return what an event takes back; None when it moves no money or belongs to no payment of a page."""
    if isinstance(news, Payment) or news.payment_intent is None:
        return None
    if isinstance(news, Dispute):
        state = news.state
        if state is None:
            return None
        return Reversal(news.id, news.payment_intent, news.amount * MICRO_PER_CENT, state)
    return Reversal(news.id, news.payment_intent, news.amount_refunded * MICRO_PER_CENT, "refunded")


def _audit(tx: Transaction, taken: Taken | None) -> None:
    if taken is not None:
        details = {"amount": format_usd(taken.amount_micro_usd), "owed": format_usd(taken.owed_micro_usd)}
        store.audit(tx, actor=ACTOR, action="credit.topup_reversed", target=taken.topup_id, details=details)
