"""A stand-in for Stripe: an API on loopback that takes only what Stripe documents, and events signed as Stripe signs them."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "sk_live_" + "k" * 24
WEBHOOK_SECRET = "whsec_" + "s" * 24

# Required fields of the form that creates a session, in Stripe's notation. Source: https://docs.stripe.com/api/checkout/sessions
_REQUIRED = {
    "mode": "payment",
    "line_items[0][quantity]": "1",
    "line_items[0][price_data][currency]": "usd",
}
_KNOWN = {
    *_REQUIRED,
    *("client_reference_id", "success_url", "cancel_url"),
    *("line_items[0][price_data][unit_amount]", "line_items[0][price_data][product_data][name]"),
}


@dataclass
class FakeStripe:
    """What Stripe would know: its sessions by their id, and what it answers next instead of a session."""

    port: int = 0
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_key: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    failing: int | None = None
    calls: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def create(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer one creation as Stripe does."""
        self.calls += 1
        if self.failing is not None:
            return self.failing, {"error": {"type": "api_error", "message": "out of order"}}
        if headers.get("authorization") != f"Bearer {API_KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key"}}
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return 400, _refused("content-type")
        fields = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True, keep_blank_values=True))
        for name, value in fields.items():
            if name not in _KNOWN and not name.startswith(("metadata[", "payment_intent_data[metadata][")):
                return 400, _refused(name)
            if not value:
                return 400, _refused(name)
        if any(fields.get(name) != value for name, value in _REQUIRED.items()) or _KNOWN - set(fields):
            return 400, _refused("missing")
        key = headers["idempotency-key"]
        if key in self.by_key:
            before, session_id = self.by_key[key]
            return (200, self.sessions[session_id]) if before == body else (400, _refused("idempotency"))
        metadata = {name[9:-1]: value for name, value in fields.items() if name.startswith("metadata[")}
        session_id = f"cs_live_{secrets.token_hex(16)}"
        self.sessions[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "livemode": True,
            "mode": "payment",
            "status": "open",
            "payment_status": "unpaid",
            "currency": "usd",
            "amount_total": int(fields["line_items[0][price_data][unit_amount]"]),
            "client_reference_id": fields["client_reference_id"],
            "payment_intent": None,
            "metadata": metadata,
            "url": f"https://checkout.example/c/{session_id}",
        }
        self.by_key[key] = (body, session_id)
        return 200, self.sessions[session_id]

    def only_session(self) -> dict[str, Any]:
        """Return the newest session."""
        return list(self.sessions.values())[-1]


def _refused(name: str) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", "param": name, "message": f"Received unknown parameter: {name}"}}


@contextlib.contextmanager
def running_stripe() -> Iterator[FakeStripe]:
    """Run the stand-in on a free port of loopback."""
    stripe = FakeStripe()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = stripe.create(headers, body) if self.path == "/v1/checkout/sessions" else (404, {})
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stripe.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield stripe
        server.shutdown()
        thread.join()


# ----------------------------------------------------------------------------------------------------------------- events


def event(kind: str, subject: dict[str, Any], *, livemode: bool = True) -> bytes:
    """Return the body of an event, in the shape in which Stripe sends them."""
    return json.dumps(
        {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "api_version": "2026-04-22.dahlia",
            "created": int(time.time()),
            "livemode": livemode,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": kind,
            "data": {"object": subject},
        },
        indent=2,
    ).encode()


def signed(body: bytes, *, secret: str = WEBHOOK_SECRET, at_s: int | None = None) -> str:
    """Return the header that signs a body, computed by hand. Source: https://docs.stripe.com/webhooks#verify-manually"""
    at_s = int(time.time()) if at_s is None else at_s
    digest = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest},v0={'0' * 64}"


def paid(session: dict[str, Any], payment_id: str, **changes: Any) -> bytes:
    """Return the event of a paid session."""
    done = {"status": "complete", "payment_status": "paid", "payment_intent": payment_id}
    return event("checkout.session.completed", {**session, **done, **changes})


def refunded(payment_id: str, cents: int, total: int) -> bytes:
    """Return the event of a charge of which so much has been refunded by now."""
    charge = {"object": "charge", "amount": total, "currency": "usd", "refunded": cents == total}
    return event(
        "charge.refunded",
        {**charge, "id": f"ch_{payment_id[3:]}", "amount_refunded": cents, "payment_intent": payment_id},
    )


def disputed(payment_id: str, cents: int, status: str, kind: str = "created", dispute: str = "dp_1") -> bytes:
    """Return an event of a dispute."""
    subject = {"object": "dispute", "currency": "usd", "reason": "fraudulent", "charge": f"ch_{payment_id[3:]}"}
    return event(
        f"charge.dispute.{kind}",
        {**subject, "id": f"{dispute}_{payment_id}", "amount": cents, "status": status, "payment_intent": payment_id},
    )
