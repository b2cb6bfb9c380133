"""Exports: every row of a period once, exact amounts, nothing that a spreadsheet would run, page by page."""

from __future__ import annotations

import csv
import datetime
import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.domain.times import utc_today
from omixa.gateway.exports import harmless
from omixa.usage import exports
from tests.support.commands import Omixa
from tests.support.servers import Gateway

EXPORT = "/api/v1/usage/export"
CREATE = "/api/v1/images/generations"


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.fixture
def made(test_client: httpx.Client, example: dict[str, object]) -> list[dict[str, Any]]:
    """Three requests that were charged."""
    bodies = [{**example, "prompt": f"A red kite over {number} fields"} for number in range(3)]
    return [test_client.post(CREATE, json=body).raise_for_status().json()["omixa"] for body in bodies]


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_usage_has_every_charged_request_once_however_long_a_page_is(
    test_client: httpx.Client, made: list[dict[str, Any]], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", page)
    answer = test_client.get(EXPORT)
    found = rows(answer)
    assert [(row["request_id"], row["billed_amount"]) for row in found] == [
        (one["request_id"], one["billed_amount"]) for one in made
    ]
    assert {row["images"] for row in found} == {"1"}
    today = utc_today()
    name = f"usage-{today.replace(day=1)}-{today}.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.text.endswith("\r\n")
    as_json = test_client.get(EXPORT, params={"format": "json"}).json()
    assert [{name: str(value) for name, value in row.items()} for row in as_json["data"]] == found


@pytest.mark.parametrize("page", [1, 500])
def test_transfers_add_up_to_the_balance(
    test_client: httpx.Client, made: list[dict[str, Any]], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "PAGE", page)
    found = rows(test_client.get(EXPORT, params={"what": "transfers"}))
    assert [row["kind"] for row in found] == ["topup", "charge", "charge", "charge"]
    assert [row["place"] for row in found] == ["1", "2", "3", "4"]
    signs = {"credit": 1, "debit": -1}
    total = sum(signs[row["direction"]] * Decimal(row["amount"]) for row in found)
    assert total == Decimal(test_client.get("/api/v1/balance").json()["posted"])
    assert [row["request_id"] for row in found][1:] == [one["request_id"] for one in made]


def test_a_period_has_its_own_rows_alone(test_client: httpx.Client, made: list[dict[str, Any]]) -> None:
    today = utc_today()
    for shift, count in ((-1, 0), (0, len(made)), (1, 0)):
        day = str(today + datetime.timedelta(days=shift))
        assert len(rows(test_client.get(EXPORT, params={"since": day, "until": day}))) == count
        transfers = rows(test_client.get(EXPORT, params={"since": day, "until": day, "what": "transfers"}))
        assert len(transfers) == (count + 1 if count else 0)
    empty = test_client.get(EXPORT, params={"since": "2020-01-01", "until": "2020-01-31", "format": "json"})
    assert empty.json() == {"object": "list", "data": []}


def test_nobody_sees_the_rows_of_others(gateway: Gateway, workspace: str, made: list[dict[str, Any]]) -> None:
    for key in (gateway.key("live", workspace), gateway.key("test", f"not-{workspace}")):
        with gateway.client(key) as stranger:
            assert rows(stranger.get(EXPORT)) == []
            found = rows(stranger.get(EXPORT, params={"what": "transfers"}))
            assert {row["kind"] for row in found} <= {"topup"}


@pytest.mark.parametrize("reason", ['=HYPERLINK("x")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", 'a "quoted", one'])
def test_no_cell_is_a_formula(gateway: Gateway, workspace: str, live_client: httpx.Client, reason: str) -> None:
    gateway.call(
        lambda services: services.workspaces.grant(
            workspace=workspace, mode="live", amount_micro_usd=1, reason=reason, actor="test"
        )
    )
    answer = live_client.get(EXPORT, params={"what": "transfers"})
    cells = [cell for row in csv.reader(io.StringIO(answer.text, newline="")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in {"=", "+", "-", "@", "\t", "\r"}]
    assert reason in cells or f"'{reason}" in cells
    as_json = live_client.get(EXPORT, params={"what": "transfers", "format": "json"}).json()
    assert reason in {row["reason"] for row in as_json["data"]}


def test_numbers_are_left_alone() -> None:
    assert [harmless(cell) for cell in (-5, "5", "-5")] == [-5, "5", "'-5"]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"format": "xlsx"}, "format"),
        ({"what": "prompts"}, "what"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-02-01", "until": "2026-01-31"}, "until"),
        ({"page": "2"}, "page"),
    ],
)
def test_what_cannot_be_exported_is_refused(test_client: httpx.Client, query: dict[str, str], param: str) -> None:
    answer = test_client.get(EXPORT, params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_the_command_line_writes_a_file(tmp_path: Path) -> None:
    omixa = Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data")})
    omixa("credits", "grant", "--mode", "live", "--amount", "2", "--reason", "=1+1")
    transfers = list(csv.DictReader(io.StringIO(omixa("usage", "export", "--what", "transfers"))))
    assert [(row["kind"], row["amount"], row["reason"]) for row in transfers] == [("topup", "2.000000", "'=1+1")]
    assert json.loads(omixa("usage", "export", "--format", "json")) == {"object": "list", "data": []}
    wrong = omixa.run("usage", "export", "--since", "2026-02-01", "--until", "2026-01-01")
    assert (wrong.returncode, "--until" in wrong.stderr) == (2, True)
