"""A receipt as plain text."""

from __future__ import annotations

from collections.abc import Iterator

from omixa.api import shapes
from omixa.api.receipt_sheet import NOTE, PLAY_MONEY, Table, sheet, spans

_GAP = "  "


def receipt_text(receipt: shapes.RequestReceipt) -> bytes:
    """Return a receipt as lines of UTF-8."""
    return "\n".join(_lines(receipt)).encode() + b"\n"


def _lines(receipt: shapes.RequestReceipt) -> Iterator[str]:
    yield f"RECEIPT  {receipt.billed_amount} {receipt.currency}"
    if receipt.mode == "test":
        yield PLAY_MONEY
    for table in sheet(receipt):
        yield ""
        if table.title:
            yield table.title
            yield "-" * len(table.title)
        yield from _table(table)
    yield ""
    yield NOTE


def _table(table: Table) -> Iterator[str]:
    lines = [table.header, *table.rows] if table.header else list(table.rows)
    sentences = [line for line in lines if spans(line)]
    widths = [max(len(line[column]) for line in lines if line not in sentences) for column in range(len(lines[0]))]
    longest = max((len(_GAP.join((line[0], line[-1]))) for line in sentences if line[-1]), default=0)
    widths[0] += max(longest - len(_GAP) * (len(widths) - 1) - sum(widths), 0)
    total = len(_GAP) * (len(widths) - 1) + sum(widths)
    for line in lines:
        if line in sentences:
            yield (line[0] + line[-1].rjust(total - len(line[0]))).rstrip()
        else:
            yield _GAP.join(_cells(line, widths, table)).rstrip()


def _cells(line: tuple[str, ...], widths: list[int], table: Table) -> Iterator[str]:
    for column, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.rjust(width) if column in table.figures else cell.ljust(width)
