"""Stripe: a page on which a customer pays, and signed events that tell what became of the payment.

Spoken through Stripe's own library. Sources: https://docs.stripe.com/api/checkout/sessions/create and
https://docs.stripe.com/webhooks#verify-manually.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from omixa.domain.access import Secret
from omixa.errors import InvalidRequest, PaymentUnavailable

log = logging.getLogger(__name__)

# How far an event's time may be from this machine's. Source: the default of Stripe's library.
TOLERANCE_S = 300
CURRENCY = "usd"
_TIMEOUT_S = 20
_RETRIES = 2

Cents = Annotated[int, Meta(ge=0, le=10**12)]
DisputeState = Literal["open", "won", "lost"]

# What a dispute's status means for the money; inquiries (warning_…) have not moved any.
_DISPUTE_STATES: dict[str, DisputeState] = {
    "needs_response": "open",
    "under_review": "open",
    "lost": "lost",
    "won": "won",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a customer is to pay: everything that the payment's event has to name again."""

    id: str
    gateway: str
    workspace_id: str
    amount_cents: int


@dataclass(frozen=True, slots=True)
class CheckoutPage:
    """Where a customer pays."""

    session_id: str
    url: str


class Payment(Struct, frozen=True):
    """A checkout session in an event. Fields that are not used here are left out."""

    id: str
    payment_status: str
    currency: str | None = None
    amount_total: Cents | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] | None = None


class RefundedCharge(Struct, frozen=True):
    """A charge in an event; `amount_refunded` is what has been given back of it so far, in cents."""

    id: str
    amount_refunded: Cents
    payment_intent: str | None = None


class Dispute(Struct, frozen=True):
    """A dispute in an event; `amount` is in cents."""

    id: str
    amount: Cents
    status: str
    payment_intent: str | None = None

    @property
    def state(self) -> DisputeState | None:
        """Return where it stands, None where no money has moved."""
        return _DISPUTE_STATES.get(self.status)


News = Payment | RefundedCharge | Dispute

_OBJECTS: dict[str, type[Payment | RefundedCharge | Dispute]] = {
    "checkout.session.completed": Payment,
    "checkout.session.async_payment_succeeded": Payment,
    "charge.refunded": RefundedCharge,
    "charge.dispute.created": Dispute,
    "charge.dispute.updated": Dispute,
    "charge.dispute.closed": Dispute,
    "charge.dispute.funds_withdrawn": Dispute,
    "charge.dispute.funds_reinstated": Dispute,
}


class _Data(Struct, frozen=True):
    object: msgspec.Raw


class _Event(Struct, frozen=True):
    id: str
    type: str
    livemode: bool
    data: _Data


class Stripe:
    """A way to Stripe. `api_base` is its address; `return_url` is where it sends the browser, which credits nothing."""

    def __init__(self, *, api_key: Secret, webhook_secret: Secret, api_base: str, return_url: str) -> None:
        # Here, because nobody else should wait for this library.
        import stripe

        self._stripe = stripe
        self._http = stripe.AIOHTTPClient(timeout=_TIMEOUT_S)
        self._client = stripe.StripeClient(
            api_key.reveal(),
            base_addresses={"api": api_base},
            http_client=self._http,
            max_network_retries=_RETRIES,
        )
        self._secret = webhook_secret
        self._return_url = return_url
        # Keys of Stripe's test mode move no money, so their events are worth none here.
        self._is_live = not api_key.reveal().startswith(("sk_test_", "rk_test_"))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def open_page(self, order: Order) -> CheckoutPage:
        """Create the page on which an order is paid; the same order gets the same page. Raises PaymentUnavailable."""
        metadata = {"omixa_gateway": order.gateway, "omixa_workspace": order.workspace_id, "omixa_order": order.id}
        try:
            session = await self._client.v1.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "client_reference_id": order.id,
                    "line_items": [
                        {
                            "price_data": {
                                "currency": CURRENCY,
                                "unit_amount": order.amount_cents,
                                "product_data": {"name": "Omixa credit"},
                            },
                            "quantity": 1,
                        }
                    ],
                    "metadata": metadata,
                    "payment_intent_data": {"metadata": metadata},
                    "success_url": self._return_url,
                    "cancel_url": self._return_url,
                },
                {"idempotency_key": order.id},
            )
        except self._stripe.StripeError as error:
            log.error("payment.failed", extra={"order": order.id, "error": type(error).__name__, "code": error.code})
            raise PaymentUnavailable("The payment provider did not open a page. Nothing was charged.") from error
        if session.url is None:
            raise PaymentUnavailable("The payment provider gave no address. Nothing was charged.")
        return CheckoutPage(session.id, session.url)

    def read_event(self, body: bytes, signature: str | None) -> News | None:
        """Return what an event tells, None when it is of no interest. Raises InvalidRequest unless Stripe signed it just now."""
        self._verify(body, signature)
        try:
            event = msgspec.json.decode(body, type=_Event)
            kind = _OBJECTS.get(event.type)
            if kind is None or event.livemode != self._is_live:
                log.info("payment.event_ignored", extra={"event": event.id, "type": event.type})
                return None
            return msgspec.json.decode(event.data.object, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"The event is not one of Stripe's: {error}", code="invalid_json") from error

    def _verify(self, body: bytes, signature: str | None) -> None:
        try:
            # The comparison takes only ASCII; a header of other characters is no signature.
            if signature is None or not signature.isascii():
                raise ValueError("there is no signature")
            self._stripe.WebhookSignature.verify_header(body, signature, self._secret.reveal(), TOLERANCE_S)
            at_s = next(int(item[2:]) for item in signature.split(",") if item.startswith("t="))
            if at_s > time.time() + TOLERANCE_S:
                raise ValueError("the time lies ahead")
        except (self._stripe.SignatureVerificationError, ValueError) as error:
            raise InvalidRequest(
                "The header Stripe-Signature does not sign this body within the last five minutes.",
                code="invalid_signature",
                param="Stripe-Signature",
            ) from error
