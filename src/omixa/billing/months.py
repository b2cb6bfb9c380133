"""Monthly statements: what an account had, what moved by kind, what it had then. Functions of an open transaction.

A statement covers a stretch of the account's chain of transfers, from behind the last statement's end to the last transfer of its
month, and names the hash there. So stretches neither overlap nor leave anything out, and a transfer whose time a clock set back
falls into the statement that is open. Months are UTC months of the database's time.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Integer, and_, bindparam, case, func, or_, select

from omixa.billing.ledger import lock_account
from omixa.domain.access import Mode
from omixa.domain.times import month_after, month_before, start_of, utc_date
from omixa.storage.chain import GENESIS_HASH
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import account, statement, transfer, workspace

# How long after its end a month is closed: longer than any transaction that began in it can last.
CLOSE_AFTER_MS = 600_000


@dataclass(frozen=True, slots=True)
class Line:
    """The transfers of one kind: how many, and what they changed, below zero where they took money away."""

    kind: str
    transfers: int
    amount: int


@dataclass(frozen=True, slots=True)
class Statement:
    """An account's month, as YYYY-MM. Amounts are micro-USD; `last_seq` and `last_hash` are its end in the chain."""

    month: str
    opening: int
    lines: tuple[Line, ...]
    closing: int
    last_seq: int
    last_hash: str
    closed_at_ms: int


_insert_statement = insert_into(statement)
_statements = (
    select(statement)
    .where(statement.c.account_id == bindparam("account_id"))
    .order_by(statement.c.month.desc())
    .limit(bindparam("limit", type_=Integer))
)
_statement = select(statement).where(
    statement.c.account_id == bindparam("account_id"), statement.c.month == bindparam("month")
)
_created = (
    select(workspace.c.created_at_ms)
    .join(account, account.c.workspace_id == workspace.c.id)
    .where(account.c.id == bindparam("account_id"))
)
_end = (
    select(transfer.c.chain_seq, transfer.c.hash)
    .where(transfer.c.chain_account_id == bindparam("account_id"), transfer.c.at_ms < bindparam("before"))
    .order_by(transfer.c.chain_seq.desc())
    .limit(1)
)
_lines = (
    select(
        transfer.c.kind,
        func.count().label("transfers"),
        func.sum(
            case((transfer.c.credit_account_id == bindparam("account_id"), transfer.c.amount), else_=-transfer.c.amount)
        ).label("amount"),
    )
    .where(
        transfer.c.chain_account_id == bindparam("account_id"),
        transfer.c.chain_seq > bindparam("after_seq"),
        transfer.c.chain_seq <= bindparam("last_seq"),
    )
    .group_by(transfer.c.kind)
    .order_by(transfer.c.kind)
)
_last_month = (
    select(statement.c.account_id.label("id"), func.max(statement.c.month).label("month"))
    .group_by(statement.c.account_id)
    .subquery()
)
_unclosed = (
    select(account.c.id)
    .join(workspace, workspace.c.id == account.c.workspace_id)
    .outerjoin(_last_month, _last_month.c.id == account.c.id)
    .where(
        workspace.c.created_at_ms < bindparam("before"),
        or_(_last_month.c.month.is_(None), _last_month.c.month < bindparam("month")),
    )
    .order_by(account.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_account = select(account.c.id).where(
    and_(account.c.workspace_id == bindparam("workspace_id"), account.c.mode == bindparam("mode"))
)


def unclosed_accounts(tx: Transaction, *, limit: int) -> Sequence[str]:
    """Return accounts of which a month is over and not closed yet."""
    last = _last_closable(tx.now_ms())
    rows = tx.all(_unclosed, before=start_of(month_after(last)), month=f"{last:%Y-%m}", limit=limit)
    return [str(row["id"]) for row in rows]


def close_months(tx: Transaction, account_id: str) -> int:
    """Close every month of an account that is over, oldest first, and return how many. What is closed stays as it is."""
    lock_account(tx, account_id)
    last = _last_closable(tx.now_ms())
    newest = next(iter(list_statements(tx, account_id, limit=1)), None)
    month = _first_month(tx, account_id) if newest is None else month_after(_first_day(newest.month))
    closed = 0
    while month <= last:
        newest = _close(tx, account_id, month, newest)
        month = month_after(month)
        closed += 1
    return closed


def list_statements(tx: Transaction, account_id: str, *, limit: int) -> list[Statement]:
    """Return an account's statements, newest first."""
    return [_read(row) for row in tx.all(_statements, account_id=account_id, limit=limit)]


def find_statement(tx: Transaction, account_id: str, month: str) -> Statement | None:
    """Return the statement of a month, YYYY-MM."""
    row = tx.first(_statement, account_id=account_id, month=month)
    return None if row is None else _read(row)


def find_account(tx: Transaction, workspace_id: str, mode: Mode) -> str:
    """Return the account whose statements a workspace has in a mode."""
    row = tx.first(_account, workspace_id=workspace_id, mode=mode)
    assert row is not None, "every workspace has both accounts"
    return str(row["id"])


def read_lines(tx: Transaction, account_id: str, *, after_seq: int, last_seq: int) -> tuple[Line, ...]:
    """Add up a stretch of an account's chain by kind."""
    rows = tx.all(_lines, account_id=account_id, after_seq=after_seq, last_seq=last_seq)
    return tuple(Line(row["kind"], row["transfers"], row["amount"]) for row in rows)


def _close(tx: Transaction, account_id: str, month: datetime.date, before: Statement | None) -> Statement:
    opening, after_seq, last_hash = (
        (0, 0, GENESIS_HASH) if before is None else (before.closing, before.last_seq, before.last_hash)
    )
    end = tx.first(_end, account_id=account_id, before=start_of(month_after(month)))
    last_seq = after_seq
    if end is not None and end["chain_seq"] > after_seq:
        last_seq, last_hash = end["chain_seq"], end["hash"]
    lines = read_lines(tx, account_id, after_seq=after_seq, last_seq=last_seq)
    closing = opening + sum(line.amount for line in lines)
    made = Statement(f"{month:%Y-%m}", opening, lines, closing, last_seq, last_hash, tx.now_ms())
    tx.execute(
        _insert_statement,
        account_id=account_id,
        month=made.month,
        opening=opening,
        lines_json=msgspec.json.encode(lines).decode(),
        closing=closing,
        last_seq=last_seq,
        last_hash=last_hash,
        closed_at_ms=made.closed_at_ms,
    )
    return made


def _read(row: Row) -> Statement:
    return Statement(
        row["month"],
        row["opening"],
        msgspec.json.decode(row["lines_json"], type=tuple[Line, ...]),
        row["closing"],
        row["last_seq"],
        row["last_hash"],
        row["closed_at_ms"],
    )


def _last_closable(now_ms: int) -> datetime.date:
    return month_before(utc_date(now_ms - CLOSE_AFTER_MS))


def _first_month(tx: Transaction, account_id: str) -> datetime.date:
    row = tx.first(_created, account_id=account_id)
    assert row is not None, "the account was found in this transaction"
    return utc_date(row["created_at_ms"]).replace(day=1)


def _first_day(month: str) -> datetime.date:
    return datetime.date.fromisoformat(f"{month}-01")
