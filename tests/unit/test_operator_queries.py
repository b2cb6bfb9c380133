"""What the pages of operators ask is found by an index, however large the tables are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omixa.access import audit
from omixa.billing import reconciliation
from omixa.storage.database import Database
from omixa.usage import holdings, operators
from tests.support.places import Clock, SqlitePlace


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(SqlitePlace(tmp_path / "omixa.db").create().backend(Clock()), on_fatal=print)
    opened.open()
    yield opened
    opened.close()


def plan(database: Database, statement: Any, **values: object) -> str:
    """Return how SQLite would find the rows of a statement."""
    sql, constants = database.compiled(statement)
    connection = database.backend.connect(read_only=True)
    try:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", {**constants, **values}).fetchall()
        return "; ".join(row["detail"] for row in rows)
    finally:
        connection.close()


def test_calls_that_failed_are_found_without_those_that_went_well(database: Database) -> None:
    values = {"limit": 50, "deployment": "a/b", "after": "att_1"}
    for query in operators._FAILED.values():
        found = plan(database, query, **values)
        assert "USING COVERING INDEX attempt_that_failed" in found, found
        assert "SEARCH attempt USING PRIMARY KEY (id=?)" in found, found


def test_the_last_calls_are_read_from_the_end(database: Database) -> None:
    found = plan(database, operators._mix, since="att_1", limit=10)
    assert "SEARCH attempt USING PRIMARY KEY (id>?)" in found


@pytest.mark.parametrize("filters", [(), ("actor",), ("action",), ("target",), ("action", "actor", "target")])
@pytest.mark.parametrize("is_first", [True, False])
def test_entries_of_the_audit_log_are_found_by_what_is_asked_for(
    database: Database, filters: tuple[str, ...], is_first: bool
) -> None:
    values = {"limit": 50, "before": 10, "actor": "a", "action": "b", "target": "c"}
    found = plan(database, audit._QUERIES[frozenset(filters), is_first], **values)
    assert "TEMP B-TREE" not in found, found
    if filters:
        assert "audit_by_" in found, found


def test_open_findings_are_found_without_those_that_are_explained(database: Database) -> None:
    assert "finding_to_explain" in plan(database, reconciliation._open_page, limit=50, after="")
    assert "finding_to_explain" in plan(database, reconciliation._open_counts)


def test_a_page_of_workspaces_reads_its_own_days_alone(database: Database) -> None:
    assert "SEARCH workspace" in plan(database, holdings._page, first="", limit=50)
    for query in (holdings._spent, holdings._corrected):
        found = plan(database, query, workspace_id="ws_1", since="2026-11-01")
        assert "USING PRIMARY KEY (workspace_id=? AND mode=? AND day>?)" in found, found
