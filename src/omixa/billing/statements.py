"""A provider's usage file: CSV with one line for each call, or for each part of a call, that the provider bills.

    provider_request_id,time,model,deployment,resource,
        input_text_tokens,input_image_tokens,output_image_tokens,output_text_tokens,images,currency,amount

The header names the columns, in any order. `time`, `model` and `amount` must be there, the others may be missing or empty. Times
are ISO 8601 with a zone, amounts US dollars with up to twelve digits after the point, below zero for what the provider gives
back. The file is read line by line.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import msgspec
from sqlalchemy import bindparam, select, update

from omixa.domain.ids import new_id
from omixa.domain.money import PICO_PER_USD
from omixa.domain.times import parse_iso_time
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import provider_file, provider_statement

REQUIRED = ("time", "model", "amount")
QUANTITIES = ("input_text_tokens", "input_image_tokens", "output_image_tokens", "output_text_tokens", "images")
OPTIONAL = ("provider_request_id", "deployment", "resource", *QUANTITIES, "currency")
# Larger files are split; what is remembered of each line takes about a hundred bytes.
MAX_LINES = 500_000
MAX_LINE_CHARS = 16_384
MAX_TEXT_CHARS = 256
MAX_QUANTITY = 10**12
# Amounts are stored as signed 64-bit integers.
MAX_AMOUNT_PICO_USD = 10**18
CURRENCY = "USD"

_AMOUNT = re.compile(r"(-?)([0-9]{1,9})(?:\.([0-9]{1,12}))?")
_CHUNK_BYTES = 1 << 20


class StatementError(ValueError):
    """A usage file cannot be read. The message names the line and the column."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """What a provider bills. `key` names the content, and which of several equal lines of its file it is."""

    key: str
    provider_request_id: str | None
    at_ms: int
    model: str
    deployment: str | None
    resource: str | None
    quantities: Mapping[str, int]
    amount_pico_usd: int


@dataclass(frozen=True, slots=True)
class FileSummary:
    """A usage file that can be imported."""

    name: str
    digest: str
    line_count: int
    first_at_ms: int
    last_at_ms: int
    amount_pico_usd: int


def summarize(path: Path) -> FileSummary:
    """Read a file to its end. Raises StatementError at the first fault, OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    count = amount = 0
    first = last = None
    for line in read_lines(path):
        count += 1
        amount += line.amount_pico_usd
        first = line.at_ms if first is None else min(first, line.at_ms)
        last = line.at_ms if last is None else max(last, line.at_ms)
    if first is None or last is None:
        raise StatementError("the file has no lines behind its header")
    return FileSummary(path.name[:MAX_TEXT_CHARS], digest.hexdigest(), count, first, last, amount)


def read_lines(path: Path) -> Iterator[StatementLine]:
    """Give the lines of a file one by one. Raises StatementError at the first fault."""
    seen: Counter[bytes] = Counter()
    count = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_bounded(file), strict=True)
        try:
            columns = _columns(next(reader, None))
            for cells in reader:
                if not cells:
                    continue
                count += 1
                if count > MAX_LINES:
                    raise StatementError(f"the file has more than {MAX_LINES} lines; split it")
                yield _line(columns, cells, seen)
        except (StatementError, csv.Error, UnicodeDecodeError) as error:
            raise StatementError(f"line {reader.line_num}: {error}") from error


def _bounded(file: TextIO) -> Iterator[str]:
    while text := file.readline(MAX_LINE_CHARS + 1):
        if len(text) > MAX_LINE_CHARS:
            raise StatementError(f"longer than {MAX_LINE_CHARS} characters")
        yield text


def _columns(header: Sequence[str] | None) -> Sequence[str]:
    if header is None:
        raise StatementError("the file is empty")
    names = [name.strip() for name in header]
    known = {*REQUIRED, *OPTIONAL}
    if unknown := [name for name in names if name not in known]:
        raise StatementError(f'unknown column "{unknown[0][:80]}"; columns are: {", ".join((*REQUIRED, *OPTIONAL))}')
    if missing := [name for name in REQUIRED if name not in names]:
        raise StatementError(f'the column "{missing[0]}" is missing')
    if len(set(names)) < len(names):
        raise StatementError("a column is there twice")
    return names


def _line(columns: Sequence[str], cells: Sequence[str], seen: Counter[bytes]) -> StatementLine:
    if len(cells) != len(columns):
        raise StatementError(f"{len(cells)} cells, the header has {len(columns)}")
    texts = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
    for name, text in texts.items():
        if len(text) > MAX_TEXT_CHARS:
            raise StatementError(f"{name}: longer than {MAX_TEXT_CHARS} characters")
    if not texts["model"]:
        raise StatementError("model: must not be empty")
    if texts.get("currency") and texts["currency"] != CURRENCY:
        raise StatementError(f"currency: must be {CURRENCY}")
    content = hashlib.sha256(msgspec.json.encode(sorted((name, text) for name, text in texts.items() if text))).digest()
    occurrence = seen[content]
    seen[content] += 1
    return StatementLine(
        key=f"{content.hex()}:{occurrence}",
        provider_request_id=texts.get("provider_request_id") or None,
        at_ms=_time(texts["time"]),
        model=texts["model"],
        deployment=texts.get("deployment") or None,
        resource=texts.get("resource") or None,
        quantities={name: _quantity(name, texts[name]) for name in QUANTITIES if texts.get(name)},
        amount_pico_usd=_amount(texts["amount"]),
    )


def _time(text: str) -> int:
    try:
        at_ms = parse_iso_time(text)
    except ValueError as error:
        raise StatementError("time: must be ISO 8601 with a zone, such as 2026-11-26T10:15:00Z") from error
    if at_ms < 0:
        raise StatementError("time: must not be before 1970")
    return at_ms


def _quantity(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,13}", text) or int(text) > MAX_QUANTITY:
        raise StatementError(f"{name}: must be a whole number up to {MAX_QUANTITY}")
    return int(text)


def _amount(text: str) -> int:
    match = _AMOUNT.fullmatch(text)
    amount = 0 if match is None else int(match[2]) * PICO_PER_USD + int((match[3] or "").ljust(12, "0"))
    if match is None or amount > MAX_AMOUNT_PICO_USD:
        raise StatementError("amount: must be US dollars up to 1000000, with at most twelve digits after the point")
    return -amount if match[1] else amount


# ------------------------------------------------------------------------------------------------------------- in the database

_file = select(provider_file).where(
    provider_file.c.provider == bindparam("provider"), provider_file.c.digest == bindparam("digest")
)
_insert_file = insert_into(
    provider_file,
    *("id", "provider", "name", "digest", "line_count", "covers_from_ms", "covers_until_ms", "imported_at_ms"),
)
_complete = (
    update(provider_file).where(provider_file.c.id == bindparam("file_id")).values(completed_at_ms=bindparam("now"))
)
_known_line = select(provider_statement.c.id).where(
    provider_statement.c.provider == bindparam("provider"), provider_statement.c.line_key == bindparam("line_key")
)
_insert_line = insert_into(
    provider_statement,
    *("id", "provider", "file_id", "line_key", "provider_request_id", "at_ms", "model", "deployment", "resource"),
    *("quantities_json", "amount_pico_usd"),
)


def begin_file(
    tx: Transaction, provider: str, summary: FileSummary, *, covers_from_ms: int, covers_until_ms: int
) -> tuple[str, bool]:
    """Return a file's id and whether all of it is in already; its row is written when the file is new."""
    known = tx.first(_file, provider=provider, digest=summary.digest)
    if known is not None:
        return known["id"], known["completed_at_ms"] is not None
    identifier = new_id("file")
    tx.execute(
        _insert_file,
        id=identifier,
        provider=provider,
        name=summary.name,
        digest=summary.digest,
        line_count=summary.line_count,
        covers_from_ms=covers_from_ms,
        covers_until_ms=covers_until_ms,
        imported_at_ms=tx.now_ms(),
    )
    return identifier, False


def insert_lines(tx: Transaction, provider: str, file_id: str, lines: Sequence[StatementLine]) -> int:
    """Write down the lines that no file has brought yet and return how many there were."""
    new = [line for line in lines if tx.first(_known_line, provider=provider, line_key=line.key) is None]
    tx.execute_many(_insert_line, [_row(provider, file_id, line) for line in new])
    return len(new)


def _row(provider: str, file_id: str, line: StatementLine) -> Row:
    return {
        "id": new_id("bill"),
        "provider": provider,
        "file_id": file_id,
        "line_key": line.key,
        "provider_request_id": line.provider_request_id,
        "at_ms": line.at_ms,
        "model": line.model,
        "deployment": line.deployment,
        "resource": line.resource,
        "quantities_json": msgspec.json.encode(line.quantities).decode(),
        "amount_pico_usd": line.amount_pico_usd,
    }


def complete_file(tx: Transaction, file_id: str) -> None:
    """Say that the last line of a file is in."""
    tx.execute(_complete, file_id=file_id, now=tx.now_ms())
