"""What a request leaves behind: rows, money and files. What is refused leaves nothing of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import bindparam, func, select

from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, metadata, workspace
from tests.support.servers import Gateway

TABLES = ("request", "attempt", "transfer", "usage_record", "usage_day")

_counts = {name: select(func.count().label("rows")).select_from(metadata.tables[name]) for name in TABLES}
_money = select(func.sum(account.c.posted).label("posted"), func.sum(account.c.held).label("held"))
_account = (
    select(account.c.posted, account.c.held)
    .join(workspace, workspace.c.id == account.c.workspace_id)
    .where(workspace.c.name == bindparam("name"), account.c.mode == bindparam("of_mode"))
)


@dataclass(frozen=True)
class Footprint:
    """How many rows the tables have, the money of all accounts in micro-USD, and the files of results."""

    rows: Mapping[str, int]
    posted: int
    held: int
    results: frozenset[str]


def footprint(gateway: Gateway) -> Footprint:
    """Return what a gateway's ledger and data directory hold now."""

    def read(tx: Transaction) -> tuple[dict[str, int], Row]:
        return {name: _one(tx.first(count))["rows"] for name, count in _counts.items()}, _one(tx.first(_money))

    rows, sums = gateway.read(read)
    files = Path(gateway.settings.data_dir).glob("results/**/*")
    return Footprint(rows, sums["posted"], sums["held"], frozenset(file.as_posix() for file in files if file.is_file()))


def money(gateway: Gateway, name: str, mode: str) -> tuple[int, int]:
    """Return what a workspace's account has posted and held, in micro-USD."""
    row = gateway.read(lambda tx: _one(tx.first(_account, name=name, of_mode=mode)))
    return row["posted"], row["held"]


def _one(row: Row | None) -> Row:
    assert row is not None
    return row
