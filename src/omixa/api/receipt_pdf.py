"""A receipt as a PDF of A4 pages, equal to the byte each time it is made.

Uses the fonts that every PDF reader has, so that nothing has to be registered or embedded. They are Latin: other letters, which
only the reason of a correction can have, become question marks here and are whole in the other forms.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from omixa.api import shapes
from omixa.api.receipt_sheet import NOTE, PLAY_MONEY, Table, sheet, spans

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

_INK, _GREY, _RULE, _WARNING = "#111827", "#6b7280", "#d1d5db", "#b45309"
_BODY_PT, _SMALL_PT, _HASH_PT = 9, 7.5, 8
_HASH_CHARS = 64
# What the library leaves free on each side inside a page's margins.
_FRAME_PT = 6
_NAME_WIDTH_MM = 34


def receipt_pdf(receipt: shapes.RequestReceipt) -> bytes:
    """Return a receipt as a PDF file."""
    # Here, because the library takes a fifth of a second to load and most servers never make a PDF.
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=20 * mm - _FRAME_PT,
        rightMargin=20 * mm - _FRAME_PT,
        topMargin=18 * mm,
        bottomMargin=22 * mm,
        title=f"Receipt {receipt.request_id}",
        author="Omixa",
        creator="Omixa",
        subject=f"{receipt.billed_amount} {receipt.currency}, {receipt.settled_at}",
        invariant=1,
    )

    def decorate(canvas: Canvas, _: Any) -> None:
        _decorate(canvas, receipt)

    document.build(_story(receipt, document.width - 2 * _FRAME_PT), onFirstPage=decorate, onLaterPages=decorate)
    return buffer.getvalue()


def _decorate(canvas: Canvas, receipt: shapes.RequestReceipt) -> None:
    """Draw what stands on every page, and date the file by its request instead of by the clock."""
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm

    stamp = "".join(character for character in receipt.settled_at[:19] if character.isdigit())
    canvas.setDateFormatter(lambda *_: f"D:{stamp}+00'00'")
    canvas.setStrokeColor(_RULE)
    canvas.line(20 * mm, 16 * mm, A4[0] - 20 * mm, 16 * mm)
    canvas.setFillColor(_GREY)
    canvas.setFont("Helvetica", _SMALL_PT)
    canvas.drawString(20 * mm, 12 * mm, receipt.request_id)
    canvas.drawRightString(A4[0] - 20 * mm, 12 * mm, f"Page {canvas.getPageNumber()}")


def _story(receipt: shapes.RequestReceipt, width: float) -> list[Any]:
    from reportlab.lib.colors import HexColor
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import mm
    from reportlab.platypus import CondPageBreak, KeepTogether, Paragraph, Spacer

    body = ParagraphStyle("body", fontName="Helvetica", fontSize=_BODY_PT, leading=12, textColor=HexColor(_INK))
    heading = ParagraphStyle("heading", body, fontName="Helvetica-Bold", fontSize=10, spaceBefore=12, spaceAfter=4)
    small = ParagraphStyle("small", body, fontSize=_SMALL_PT, textColor=HexColor(_GREY))
    story: list[Any] = [_title(receipt, width), Spacer(0, 8)]
    if receipt.mode == "test":
        warning = ParagraphStyle("warning", body, fontName="Helvetica-Bold", textColor=HexColor(_WARNING), spaceAfter=6)
        story.append(Paragraph(PLAY_MONEY, warning))
    for table in sheet(receipt):
        title = [Paragraph(table.title, heading)] if table.title else []
        if table.header:
            # A long list may run over pages, but not leave its title and a row or two behind.
            story += [CondPageBreak(35 * mm), *title, _figures(table, width, body)]
        else:
            story.append(KeepTogether([*title, _facts(table, width, body)]))
    return [*story, Spacer(0, 14), Paragraph(NOTE, small)]


def _title(receipt: shapes.RequestReceipt, width: float) -> Any:
    from reportlab.platypus import Table as PdfTable

    rows = [["Receipt", f"{receipt.billed_amount} {receipt.currency}"], ["Omixa, gateway for AI images", "billed"]]
    style: list[Any] = [
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 20),
        ("FONT", (0, 1), (-1, 1), "Helvetica", _BODY_PT),
        ("TEXTCOLOR", (0, 0), (-1, 0), _INK),
        ("TEXTCOLOR", (0, 1), (-1, 1), _GREY),
        ("ALIGN", (1, 0), (1, -1), "RIGHT"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, 0), 12),
        ("LINEBELOW", (0, 1), (-1, 1), 1, _INK),
        ("BOTTOMPADDING", (0, 1), (-1, 1), 8),
    ]
    return PdfTable(rows, colWidths=[width / 2, width / 2], style=style)


def _facts(table: Table, width: float, body: Any) -> Any:
    """Return pairs of a name and a value."""
    from reportlab.lib.units import mm
    from reportlab.platypus import Paragraph
    from reportlab.platypus import Table as PdfTable

    rows = [[name, Paragraph(_set(value), body)] for name, value in table.rows]
    style = [*_plain(), ("TEXTCOLOR", (0, 0), (0, -1), _GREY)]
    return PdfTable(rows, colWidths=[_NAME_WIDTH_MM * mm, width - _NAME_WIDTH_MM * mm], style=style)


def _set(value: str) -> str:
    """Return a value as markup; hashes are set in a face whose digits are easy to compare."""
    text = escape(value.encode("cp1252", "replace").decode("cp1252"))
    return f'<font face="Courier" size="{_HASH_PT}">{text}</font>' if len(value) == _HASH_CHARS else text


def _figures(table: Table, width: float, body: Any) -> Any:
    """Return a table with a header. Text wraps; figures never do."""
    from reportlab.pdfbase.pdfmetrics import stringWidth
    from reportlab.platypus import Paragraph
    from reportlab.platypus import Table as PdfTable

    padding = 8
    last = len(table.header) - 1
    lines = [table.header, *table.rows]
    natural = [
        max(stringWidth(line[column], "Helvetica-Bold", _BODY_PT) for line in lines if column or not spans(line))
        + padding
        for column in range(last + 1)
    ]
    # The widest column of words takes what is left, and wraps where that is too little.
    words = max((column for column in range(last + 1) if column not in table.figures), key=natural.__getitem__)
    natural[words] = width - sum(natural) + natural[words]
    rows: list[list[Any]] = [list(table.header)]
    for number, row in enumerate(table.rows):
        wraps = number not in table.totals and not spans(row)
        rows.append(
            [Paragraph(escape(cell), body) if wraps and column == words else cell for column, cell in enumerate(row)]
        )
    style = [
        *_plain(),
        ("TEXTCOLOR", (0, 0), (-1, 0), _GREY),
        ("FONT", (0, 0), (-1, 0), "Helvetica", _SMALL_PT),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, _RULE),
        *(("ALIGN", (column, 0), (column, -1), "RIGHT") for column in table.figures),
        *(("FONT", (0, row + 1), (-1, row + 1), "Helvetica-Bold", _BODY_PT) for row in table.totals),
        *(("LINEABOVE", (0, row + 1), (-1, row + 1), 0.5, _RULE) for row in table.totals),
        *(("SPAN", (0, number), (last - 1, number)) for number, line in enumerate(lines) if spans(line)),
    ]
    return PdfTable(rows, colWidths=natural, style=style, repeatRows=1)


def _plain() -> list[Any]:
    return [
        ("FONT", (0, 0), (-1, -1), "Helvetica", _BODY_PT),
        ("TEXTCOLOR", (0, 0), (-1, -1), _INK),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("LEFTPADDING", (1, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ]
