"""GET /requests/{id}/receipt: what a request cost and why, as JSON for programs, as text, or as PDF for the files."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.queries import ReceiptQuery, parse_query
from omixa.api.receipt_pdf import receipt_pdf
from omixa.api.receipt_text import receipt_text
from omixa.billing.receipts import Call, Receipt, read_receipt
from omixa.domain.images import share_tokens
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time, iso_time_or_none
from omixa.errors import RequestInProgress, RequestNotFound
from omixa.gateway.idempotency import RUNNING_RETRY_AFTER_S
from omixa.gateway.receipt import format_exact, line_item_json, usage_json
from omixa.gateway.rehearsals import rehearsal_json
from omixa.services import Services
from omixa.storage.database import Row, Transaction
from omixa.usage.analytics import find_result
from omixa.usage.records import add_up

Form = Literal["json", "text", "pdf"]
_MEDIA_TYPES: Mapping[Form, str] = {
    "json": "application/json",
    "text": "text/plain",
    "pdf": "application/pdf",
}
FURTHER_TYPES = (_MEDIA_TYPES["text"], _MEDIA_TYPES["pdf"])
_RENDERERS: Mapping[Form, Callable[[shapes.RequestReceipt], bytes]] = {
    "json": msgspec.json.encode,
    "text": receipt_text,
    "pdf": receipt_pdf,
}


async def get_receipt(exchange: Exchange, services: Services) -> None:
    """Send the receipt of a request. Raises RequestNotFound, or RequestInProgress while nothing is settled."""
    query, request_id, principal = (
        parse_query(exchange, ReceiptQuery),
        exchange.path_parameters["request"],
        exchange.principal,
    )

    def read(tx: Transaction) -> Receipt | None:
        place = find_result(tx, principal.workspace_id, principal.mode, request_id)
        if place is None:
            raise RequestNotFound(f"There is no request {request_id[:80]}.", param="request")
        return read_receipt(tx, request_id)

    receipt = await services.database.read(read)
    if receipt is None:
        raise RequestInProgress(
            f"{request_id} is still in progress and has no receipt yet.", retry_after_s=RUNNING_RETRY_AFTER_S
        )
    form = _accepted(exchange.header(b"accept") or "") if isinstance(query.format, UnsetType) else query.format
    # Setting a page takes some ten milliseconds, for which nobody else should wait.
    body = await asyncio.to_thread(_RENDERERS[form], receipt_shape(receipt))
    media_type = _MEDIA_TYPES[form] + ("; charset=utf-8" if form == "text" else "")
    headers = [(b"vary", b"accept")]
    if form == "pdf":
        headers.append((b"content-disposition", f'inline; filename="receipt-{receipt.request_id}.pdf"'.encode()))
    await exchange.respond(200, media_type.encode(), body, headers)


def _accepted(accept: str) -> Form:
    """Return the form that a header Accept likes best; JSON where it likes several, anything or nothing of ours as well."""
    liking = {form: _quality(accept, media_type) for form, media_type in _MEDIA_TYPES.items()}
    return max(liking, key=lambda form: liking[form])


def _quality(accept: str, media_type: str) -> int:
    """Return how much a media type is liked, in thousandths; the most specific range that matches decides (RFC 9110, 12.5.1)."""
    best = (-1, 0)
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        specific = ("*/*", media_type.partition("/")[0] + "/*", media_type)
        if name in specific:
            quality = next((_thousandths(part[2:]) for part in parameters if part.startswith("q=")), 1000)
            best = max(best, (specific.index(name), quality))
    return best[1]


def _thousandths(text: str) -> int:
    whole, _, rest = text.partition(".")
    digits = rest[:3].ljust(3, "0")
    return min(int(whole) * 1000 + int(digits), 1000) if whole.isdecimal() and digits.isdecimal() else 0


# ---------------------------------------------------------------------------------------------------------------- shapes


def receipt_shape(receipt: Receipt) -> shapes.RequestReceipt:
    """Return a receipt as it is sent."""
    charge, prices = receipt.charge, receipt.prices
    usage = add_up(receipt.usages) if receipt.usages else None
    return shapes.RequestReceipt(
        request_id=receipt.request_id,
        workspace=receipt.workspace,
        mode=receipt.mode,
        key_id=receipt.key_id,
        model=receipt.model,
        requested_model=receipt.parameters["requested_model"],
        operation=receipt.operation,
        state=receipt.state,
        outcome=receipt.outcome,
        requested_at=iso_time(receipt.created_at_ms),
        settled_at=iso_time(receipt.ended_at_ms),
        images_asked=receipt.parameters["n"],
        usage=None if usage is None else msgspec.convert(usage_json(usage), shapes.Usage),
        input_images=_input_images(receipt),
        price_version=prices.version,
        currency=prices.currency,
        line_items=[msgspec.convert(line_item_json(item), shapes.LineItem) for item in charge.items] if charge else [],
        exact_amount=format_exact(charge.exact_pico_usd if charge else 0),
        markup_ppm=charge.markup_ppm if charge else 0,
        rounded_to=format_usd(prices.rounding.unit_micro_usd),
        rounding=prices.rounding.direction,
        held_amount=format_usd(receipt.held),
        billed_amount=format_usd(receipt.billed),
        released_amount=format_usd(receipt.held - receipt.billed),
        absorbed_amount=format_usd(receipt.absorbed),
        refunded_amount=format_usd(receipt.refunded),
        adjusted_amount=format_usd(receipt.adjusted),
        paid_amount=format_usd(receipt.billed + receipt.adjusted - receipt.refunded),
        attempts=[_call(call) for call in receipt.calls],
        cost_amount=format_exact(sum(call.cost_pico_usd or 0 for call in receipt.calls)),
        transfers=[_transfer(row) for row in receipt.transfers],
        rehearsal=rehearsal_shape(receipt.parameters, len(receipt.calls), receipt.billed),
    )


def rehearsal_shape(
    parameters: Mapping[str, Any], provider_calls: int, billed_micro_usd: int
) -> shapes.Rehearsal | UnsetType:
    """Return what a request rehearsed, if it did."""
    record = parameters.get("rehearsal")
    if record is None:
        return UNSET
    return msgspec.convert(rehearsal_json(record, provider_calls, billed_micro_usd), shapes.Rehearsal)


def _input_images(receipt: Receipt) -> list[shapes.InputImage]:
    """Return the pictures that were given; where none was made of them, nothing was counted."""
    given = receipt.parameters.get("input_images", ())
    pixels = [math.prod(map(int, image["size"].split("x"))) for image in given]
    counted = share_tokens(pixels, receipt.usages[0].input_image_tokens) if receipt.usages else [0] * len(given)
    return [
        shapes.InputImage(format=image["format"], size=image["size"], pixels=area, tokens=tokens)
        for image, area, tokens in zip(given, pixels, counted, strict=True)
    ]


def _call(call: Call) -> shapes.ReceiptCall:
    return shapes.ReceiptCall(
        attempt=call.n,
        image=call.image_index,
        route=call.deployment,
        outcome="ok" if call.state == "ok" else call.error_code or call.state,
        sent_at=iso_time(call.sent_at_ms),
        ended_at=iso_time_or_none(call.ended_at_ms),
        late_at=iso_time_or_none(call.late_at_ms),
        cost_amount=format_exact(call.cost_pico_usd or 0),
        cost_basis=call.cost_basis or "none",
    )


def _transfer(row: Row) -> shapes.ReceiptTransfer:
    return shapes.ReceiptTransfer(
        id=row["id"],
        kind=row["kind"],
        debit_account=row["debit_account_id"],
        credit_account=row["credit_account_id"],
        amount=format_usd(row["amount"]),
        request_id=row["request_id"],
        reason=row["reason"],
        reverses=row["reverses_id"],
        external_ref=row["external_ref"],
        recorded_at=iso_time(row["at_ms"]),
        chain_account=row["chain_account_id"],
        chain_seq=row["chain_seq"],
        prev_hash=row["prev_hash"],
        hash=row["hash"],
    )
