"""Exports as files: CSV that no spreadsheet takes for a formula, or JSON, made page by page while they are sent."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import AsyncIterator, Sequence
from typing import Literal

import msgspec

from omixa.storage.database import Database
from omixa.usage import exports
from omixa.usage.exports import Page, Period, What

Form = Literal["csv", "json"]

# What a spreadsheet takes for the beginning of a formula. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def export(database: Database, what: What, period: Period, form: Form) -> AsyncIterator[bytes]:
    """Give a file piece by piece. Each page is a read of its own: what is posted meanwhile may be in a later one."""
    columns = exports.columns(what)
    cursor: str | None = None
    is_first = True
    while is_first or cursor is not None:
        page = await database.read(functools.partial(exports.read_page, what=what, period=period, cursor=cursor))
        yield _csv(columns, page, is_first=is_first) if form == "csv" else _json(columns, page, is_first=is_first)
        cursor, is_first = page.cursor, False
    if form == "json":
        yield b"]}\n"


def _csv(columns: Sequence[str], page: Page, *, is_first: bool) -> bytes:
    return csv_lines([columns, *page.rows] if is_first else page.rows)


def csv_lines(rows: Sequence[Sequence[str | int]]) -> bytes:
    """Return rows as CSV (RFC 4180) that no spreadsheet takes for formulas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


def direction(amount: int, above: str, below: str) -> str:
    """Return the word for an amount that may be below zero; nothing for zero. A file has the amount without its sign."""
    return above if amount > 0 else below if amount < 0 else ""


def harmless(cell: str | int) -> str | int:
    """Return a cell that no spreadsheet runs: an apostrophe in front makes it text. Numbers are what they are."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _json(columns: Sequence[str], page: Page, *, is_first: bool) -> bytes:
    rows = [msgspec.json.encode(dict(zip(columns, row, strict=True))) for row in page.rows]
    opening = b'{"object":"list","data":[' if is_first else b"," if rows else b""
    return opening + b"\n" * bool(rows) + b",\n".join(rows)
