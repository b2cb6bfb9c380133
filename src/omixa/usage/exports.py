"""Rows for other programs: usage records and transfers of a period, a page at a time. Functions of an open transaction.

Pages follow each other by id or by place in the chain, so that a period of any length needs the memory of one page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Integer, bindparam, case, select

from omixa.domain.access import Mode
from omixa.domain.ids import first_id
from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, request, transfer, usage_record
from omixa.usage.records import add_up, decode_usages

What = Literal["usage", "transfers"]

PAGE = 500
# A request is captured within this of when it was made, whatever the clocks of servers say.
_SLACK_MS = 86_400_000

USAGE_COLUMNS = (
    *("request_id", "at", "key_id", "model", "operation", "images", "input_text_tokens", "input_image_tokens"),
    *("output_image_tokens", "output_text_tokens", "billed_amount", "refunded_amount", "adjustment", "adjusted_amount"),
    *("price_version", "markup_ppm"),
)
TRANSFER_COLUMNS = (
    *("transfer_id", "at", "kind", "direction", "amount", "request_id", "reverses_id", "external_ref", "reason"),
    *("place", "hash"),
)


@dataclass(frozen=True, slots=True)
class Period:
    """Whose rows, and from when until before when, in Unix milliseconds."""

    workspace_id: str
    mode: Mode
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of text and numbers in the order of the columns; `cursor` asks for the next page, None behind the last."""

    rows: Sequence[tuple[str | int, ...]]
    cursor: str | None


_usage = (
    select(
        usage_record,
        request.c.operation,
        request.c.refunded_amount,
        request.c.adjusted_amount,
    )
    .join(request, request.c.id == usage_record.c.request_id)
    .where(
        request.c.workspace_id == bindparam("workspace_id"),
        request.c.mode == bindparam("mode"),
        request.c.id > bindparam("after"),
        request.c.id < bindparam("before"),
        usage_record.c.at_ms >= bindparam("since"),
        usage_record.c.at_ms < bindparam("until"),
    )
    .order_by(request.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_transfers = (
    select(
        transfer,
        case((transfer.c.credit_account_id == account.c.id, "credit"), else_="debit").label("direction"),
    )
    .join(account, account.c.id == transfer.c.chain_account_id)
    .where(
        account.c.workspace_id == bindparam("workspace_id"),
        account.c.mode == bindparam("mode"),
        transfer.c.chain_seq > bindparam("after"),
        transfer.c.at_ms >= bindparam("since"),
        transfer.c.at_ms < bindparam("until"),
    )
    .order_by(transfer.c.chain_seq)
    .limit(bindparam("limit", type_=Integer))
)


def columns(what: What) -> tuple[str, ...]:
    """Return the names of an export's columns."""
    return USAGE_COLUMNS if what == "usage" else TRANSFER_COLUMNS


def read_page(tx: Transaction, what: What, period: Period, cursor: str | None) -> Page:
    """Return a page of usage records by request, or of transfers by place in the chain."""
    same = {"workspace_id": period.workspace_id, "mode": period.mode, "limit": PAGE}
    times = {"since": period.since_ms, "until": period.until_ms}
    if what == "usage":
        after = cursor or first_id("req", max(period.since_ms - _SLACK_MS, 0))
        found = tx.all(_usage, after=after, before=first_id("req", period.until_ms + _SLACK_MS), **same, **times)
        return Page([_usage_row(row) for row in found], found[-1]["request_id"] if len(found) == PAGE else None)
    found = tx.all(_transfers, after=int(cursor or 0), **same, **times)
    return Page([_transfer_row(row) for row in found], str(found[-1]["chain_seq"]) if len(found) == PAGE else None)


def _usage_row(row: Row) -> tuple[str | int, ...]:
    usage = add_up(decode_usages(row["usage_json"]))
    adjusted = row["adjusted_amount"]
    return (
        row["request_id"],
        iso_time(row["at_ms"]),
        row["key_id"],
        row["model"],
        row["operation"],
        usage.images,
        usage.input_text_tokens,
        usage.input_image_tokens,
        usage.output_image_tokens,
        usage.output_text_tokens,
        format_usd(row["amount"]),
        format_usd(row["refunded_amount"]),
        "" if not adjusted else "dearer" if adjusted > 0 else "cheaper",
        format_usd(abs(adjusted)),
        row["price_version_id"],
        row["markup_ppm"],
    )


def _transfer_row(row: Row) -> tuple[str | int, ...]:
    return (
        row["id"],
        iso_time(row["at_ms"]),
        row["kind"],
        row["direction"],
        format_usd(row["amount"]),
        row["request_id"] or "",
        row["reverses_id"] or "",
        row["external_ref"] or "",
        row["reason"],
        row["chain_seq"],
        row["hash"],
    )
