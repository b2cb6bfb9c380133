"""A receipt as people read it: a few titled tables, which text and PDF set each in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UnsetType

from omixa.api import shapes
from omixa.domain.money import format_usd, parse_usd

PLAY_MONEY = "TEST MODE: play money, painted by the simulator"
NOTE = "Amounts are exact to the digit and without tax. This is not a tax invoice."


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a title. `figures` are the columns that stand to the right, `totals` the rows that stand out.

    Without a header the first cell of a row names the others.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    figures: frozenset[int] = frozenset()
    totals: frozenset[int] = frozenset()


def sheet(receipt: shapes.RequestReceipt) -> list[Table]:
    """Return what stands on a receipt, from top to bottom."""
    return [
        _request(receipt),
        *_rehearsal(receipt),
        *_input_images(receipt),
        _price(receipt),
        _hold(receipt),
        *_corrections(receipt),
        _attempts(receipt),
        *(_transfer(transfer, receipt) for transfer in receipt.transfers),
    ]


def spans(row: tuple[str, ...]) -> bool:
    """Tell whether a row is a sentence with, at most, a figure at its end: it may run over the columns between."""
    return len(row) > 2 and not any(row[1:-1])


def _request(receipt: shapes.RequestReceipt) -> Table:
    images = 0 if receipt.usage is None else receipt.usage.images
    outcome = "charged" if receipt.state == "captured" else f"not charged: {receipt.outcome}"
    rows = [
        ("Request", receipt.request_id),
        ("Workspace", receipt.workspace),
        ("API key", receipt.key_id),
        ("Model", receipt.model),
        ("Asked for", f"{receipt.operation}, {_counted(receipt.images_asked, 'picture')}"),
        ("Delivered", _counted(images, "picture")),
        ("Outcome", outcome),
        ("Requested", _time(receipt.requested_at)),
        ("Settled", _time(receipt.settled_at)),
        ("Price list", receipt.price_version),
    ]
    return Table("", (), rows)


def _rehearsal(receipt: shapes.RequestReceipt) -> list[Table]:
    played = receipt.rehearsal
    if isinstance(played, UnsetType):
        return []
    tries = f"{played.tries}, {played.waited_ms:,} ms after the first" if played.tries > 1 else "1"
    rows = [
        ("Scenario", played.scenario),
        ("Try of the client", tries),
        *(("Tried before, not charged", earlier) for earlier in played.earlier_requests),
        ("Calls of the provider", str(played.provider_calls)),
        ("A live key would have paid", f"{played.live_amount} {receipt.currency}"),
    ]
    return [Table("Rehearsal", (), rows)]


def _input_images(receipt: shapes.RequestReceipt) -> list[Table]:
    rows = [
        (str(number), image.format, image.size, f"{image.pixels:,}", f"{image.tokens:,}")
        for number, image in enumerate(receipt.input_images, 1)
    ]
    header = ("Picture", "Format", "Size", "Pixels", "Tokens")
    return [Table("Pictures that were given", header, rows, frozenset({3, 4}))] if rows else []


def _price(receipt: shapes.RequestReceipt) -> Table:
    rows = [
        (item.component.replace("_", " "), f"{item.quantity:,}", f"{item.unit_price} per {item.per:,}", item.amount)
        for item in receipt.line_items
    ]
    totals = {len(rows)}
    rows.append(("Sum", "", "", receipt.exact_amount))
    if receipt.markup_ppm:
        rows.append(
            ("Markup on the sum" if receipt.markup_ppm > 0 else "Discount", "", _percent(receipt.markup_ppm), "")
        )
    if receipt.usage is not None and receipt.usage.usage_estimated:
        rows.append(("The provider reported no usable usage for a picture: the flat price applies.", "", "", ""))
    rounded = f"rounded {'up' if receipt.rounding == 'up' else 'half up'} once to {receipt.rounded_to}"
    absorbed = parse_usd(receipt.absorbed_amount)
    if absorbed:
        price = format_usd(parse_usd(receipt.billed_amount) + absorbed)
        rows.append((f"Price, {rounded}", "", "", price))
        rows.append(("Above the hold, borne by the operator", "", "", f"-{receipt.absorbed_amount}"))
    totals.add(len(rows))
    rows.append(("Billed" if absorbed else f"Billed, {rounded}", "", "", receipt.billed_amount))
    header = ("Item", "Quantity", f"Unit price, {receipt.currency}", f"Amount, {receipt.currency}")
    return Table("Price", header, rows, frozenset({1, 2, 3}), frozenset(totals))


def _hold(receipt: shapes.RequestReceipt) -> Table:
    rows = [
        ("Held before the first call", receipt.held_amount),
        ("Charged", receipt.billed_amount),
        ("Given back", receipt.released_amount),
    ]
    return Table("Hold", ("Step", f"Amount, {receipt.currency}"), rows, frozenset({1}))


def _corrections(receipt: shapes.RequestReceipt) -> list[Table]:
    if len(receipt.transfers) <= 1:
        return []
    rows = [("Charged", receipt.billed_amount), ("Adjusted to other prices", receipt.adjusted_amount)]
    if parse_usd(receipt.refunded_amount):
        rows.append(("Refunded", f"-{receipt.refunded_amount}"))
    rows.append(("Paid in the end", receipt.paid_amount))
    header = ("Step", f"Amount, {receipt.currency}")
    return [Table("Corrections", header, rows, frozenset({1}), frozenset({len(rows) - 1}))]


def _attempts(receipt: shapes.RequestReceipt) -> Table:
    rows: list[tuple[str, ...]] = [
        (
            str(call.attempt),
            str(call.image + 1),
            call.route,
            call.outcome if call.late_at is None else f"{call.outcome}, answered late",
            _clock(call.sent_at, receipt.requested_at),
            call.cost_basis,
            call.cost_amount,
        )
        for call in receipt.attempts
    ]
    rows.append(("Cost to the operator", "", "", "", "", "", receipt.cost_amount))
    header = ("Call", "Picture", "Route", "Outcome", "Sent, UTC", "Basis", f"Cost, {receipt.currency}")
    title = "Calls of providers and what they cost the operator"
    return Table(title, header, rows, frozenset({6}), frozenset({len(rows) - 1}))


def _transfer(transfer: shapes.ReceiptTransfer, receipt: shapes.RequestReceipt) -> Table:
    rows = [
        ("Transfer", f"{transfer.id}, {transfer.kind} of {transfer.amount} {receipt.currency}"),
        ("From", transfer.debit_account),
        ("To", transfer.credit_account),
        *([("Reason", " ".join(transfer.reason.split()))] if transfer.reason else []),
        ("Recorded", _time(transfer.recorded_at)),
        ("Place in chain", f"{transfer.chain_seq:,} of account {transfer.chain_account}"),
        ("Hash before", transfer.prev_hash),
        ("Hash", transfer.hash),
    ]
    return Table("Entry in the ledger", (), rows)


def _percent(ppm: int) -> str:
    whole, rest = divmod(abs(ppm), 10_000)
    return f"{whole}.{rest:04d} %"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clock(instant: str, begun: str) -> str:
    """Return a time of day, with its date where that is not the request's."""
    date, _, time = instant.removesuffix("Z").partition("T")
    return time if begun.startswith(date) else f"{date} {time}"


def _time(instant: str) -> str:
    return instant.replace("T", " ").replace("Z", " UTC")
