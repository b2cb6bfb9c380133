"""Statements over HTTP and on the command line."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import httpx2 as httpx
import pytest
from sqlalchemy import update

from omixa.billing import months
from omixa.domain.times import month_before, start_of, utc_today
from omixa.storage.tables import workspace as workspaces
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.servers import Gateway

STATEMENTS = "/api/v1/statements"
# A statement is closed some minutes after its month, so in the first minutes of one the last is not there yet.
MONTH = month_before(month_before(utc_today()))


@pytest.fixture
def old_workspace(gateway: Gateway, workspace: str, live_client: httpx.Client) -> str:
    """A workspace that has existed for two whole months, with all that can be closed of it closed."""
    created = update(workspaces).where(workspaces.c.name == workspace).values(created_at_ms=start_of(MONTH))
    gateway.write(lambda tx: tx.execute(created))
    principal = gateway.call(lambda services: services.workspaces.find(workspace))
    account = gateway.read(lambda tx: months.find_account(tx, principal, "live"))
    gateway.write(lambda tx: months.close_months(tx, account))
    return workspace


@pytest.fixture(scope="module")
def described(gateway: Gateway) -> Document:
    with gateway.client(None) as client:
        return Document(client.get("/openapi.json").json())


def test_closed_months_are_listed_and_shown(live_client: httpx.Client, old_workspace: str, described: Document) -> None:
    listed = live_client.get(STATEMENTS).raise_for_status().json()
    described.check_value("StatementList", listed)
    oldest = listed["data"][-1]
    assert (oldest["month"], oldest["workspace"], oldest["mode"]) == (f"{MONTH:%Y-%m}", old_workspace, "live")
    assert (oldest["opening"], oldest["lines"], oldest["closing"]) == ("0.000000", [], "0.000000")
    assert live_client.get(f"{STATEMENTS}/{MONTH:%Y-%m}").json() == oldest


@pytest.mark.parametrize("month", [f"{utc_today():%Y-%m}", "1999-01", "soon", "2026-13"])
def test_an_open_month_has_no_statement(live_client: httpx.Client, month: str) -> None:
    answer = live_client.get(f"{STATEMENTS}/{month}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "statement_not_found")


def test_others_statements_are_not_shown(gateway: Gateway, old_workspace: str, live_client: httpx.Client) -> None:
    with gateway.client(gateway.key("live", f"not-{old_workspace}")) as stranger:
        assert stranger.get(STATEMENTS).json()["data"] == []
    with gateway.client(gateway.key("test", old_workspace)) as player:
        assert player.get(STATEMENTS).json()["data"] == []


def test_the_command_line_closes_and_shows(tmp_path: Path) -> None:
    omixa = Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data")})
    omixa("keys", "create", "--mode", "test")
    assert omixa("statements", "close") == "0 months closed."
    assert omixa("statements", "list") == "No month of default is closed yet."
    refused = omixa.run("statements", "show", "2020-01")
    assert (refused.returncode, "is not closed" in refused.stderr) == (1, True)
    age(tmp_path / "data" / "omixa.db")
    assert int(omixa("statements", "close").partition(" ")[0]) >= 2
    month = f"{MONTH:%Y-%m}"
    assert omixa.json("statements", "list")[-1]["month"] == month
    assert omixa.json("statements", "show", month)["closing"] == "0.000000"
    assert omixa("statements", "show", month).splitlines()[0].split() == ["kind", "transfers", "amount"]
    assert omixa.run("ledger", "verify").returncode == 0


def age(path: Path) -> None:
    """Let the workspace have existed for two whole months."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE workspace SET created_at_ms = ?", (start_of(MONTH),))
        connection.commit()
