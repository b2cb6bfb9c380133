"""What a request leaves behind: rows, money and files. What is refused leaves nothing of them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TABLES = ("request", "attempt", "transfer", "usage_record", "usage_day")


@dataclass(frozen=True)
class Footprint:
    """How many rows the tables have, the money of all accounts in micro-USD, and the files of results."""

    rows: Mapping[str, int]
    posted: int
    held: int
    results: frozenset[str]


def footprint(data_dir: str | Path) -> Footprint:
    """Return what lies in a data directory now."""
    path = Path(data_dir)
    with contextlib.closing(sqlite3.connect(path / "omixa.db")) as database:
        rows = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
        posted, held = database.execute("SELECT total(posted), total(held) FROM account").fetchone()
    results = frozenset(file.as_posix() for file in path.glob("results/**/*") if file.is_file())
    return Footprint(rows, int(posted), int(held), results)


def money(data_dir: str | Path, workspace: str, mode: str) -> tuple[int, int]:
    """Return what an account has posted and held, in micro-USD."""
    with contextlib.closing(sqlite3.connect(Path(data_dir) / "omixa.db")) as database:
        posted, held = database.execute(
            "SELECT posted, held FROM account JOIN workspace ON workspace.id = workspace_id WHERE name = ? AND mode = ?",
            (workspace, mode),
        ).fetchone()
    return posted, held
