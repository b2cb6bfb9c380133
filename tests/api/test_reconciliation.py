"""A provider's usage file against the calls: every line is explained to the micro, also of calls whose answer never arrived."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from omixa.billing.reconciliation import Report
from omixa.billing.verify import verify
from omixa.domain.times import iso_time, utc_today
from omixa.errors import Conflict, InvalidRequest, NotFound
from omixa.gateway.reconciliation import Imported, Reconciliation
from omixa.services import Services, deployments
from omixa.storage.database import Row
from omixa.storage.tables import attempt, audit_log
from tests.support.servers import Gateway, Simulator, running_gateway, running_simulator

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
PICO = Decimal(10) ** 12
# What the provider does, and how the gateway knows what the call costs: before reconciliation, and after.
CALLS = {
    "ok": ("ok", "reported", "ok", "reported"),
    "nousage": ("ok", "estimated", "ok", "reported"),
    "429": ("failed_free", "none", "failed_free", "none"),
    # The catalogue says that a refusal may be billed; this provider does not do it.
    "filter": ("failed_billed", "estimated", "failed_free", "none"),
    # The answer was cut: there is no id of the provider to match by.
    "reset": ("unknown", "estimated", "failed_billed", "reported"),
    "short": ("unknown", "estimated", "failed_billed", "reported"),
    "badjson": ("unknown", "estimated", "failed_billed", "reported"),
    "empty": ("unknown", "estimated", "failed_billed", "reported"),
    # Nothing was made, so nothing is billed.
    "500": ("unknown", "estimated", "failed_free", "none"),
}


@dataclass
class Books:
    """A gateway, the provider behind it and the file in which the provider bills."""

    gateway: Gateway
    provider: Simulator
    file: Path

    def ask(self, scenario: str, key: str) -> Row:
        """Make a request that the provider answers in some way and return its call."""
        self.provider.play(scenario)
        self.gateway.forget_faults()
        with self.gateway.client(key) as client:
            answer = client.post(CREATE, json={"model": MODEL, "prompt": f"A red kite, {scenario}"})
        made = answer.json()
        return self.call_of(made["omixa"]["request_id"] if answer.status_code == 200 else made["error"]["request_id"])

    def call_of(self, request_id: str) -> Row:
        statement = select(attempt).where(attempt.c.request_id == bindparam("request_id"))
        (row,) = self.gateway.call(
            lambda services: services.database.read(lambda tx: tx.all(statement, request_id=request_id))
        )
        return dict(row)

    def key(self, workspace: str) -> str:
        self.gateway.grant(10_000_000, workspace=workspace)
        return self.gateway.key("live", workspace)

    def lines(self) -> list[dict[str, str]]:
        with self.file.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def _work(self, services: Services) -> Reconciliation:
        names = {one.id: one.deployment_name for one in deployments(services.settings, services.catalogue)}
        return Reconciliation(services.database, "foundry", names)

    def load(self, file: Path | None = None, *, whole_day: bool = True) -> Imported:
        day = utc_today() if whole_day else None
        since = None if day is None else day - datetime.timedelta(days=1)

        async def work(services: Services) -> Imported:
            return await self._work(services).import_file(file or self.file, since=since, until=day, actor="test")

        return self.gateway.call(work)

    def report(self) -> Report:
        return self.gateway.call(lambda services: self._work(services).report())

    def accept(self, finding_id: str) -> None:
        self.gateway.call(
            lambda services: self._work(services).accept(finding_id, note="asked the provider", actor="test")
        )

    def change(self, call: Row, **values: object) -> None:
        statement = update(attempt).where(attempt.c.id == bindparam("call")).values(values)
        self.gateway.call(lambda services: services.database.write(lambda tx: tx.execute(statement, call=call["id"])))

    def verified(self) -> bool:
        return self.gateway.call(lambda services: services.database.read(verify)).clean


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    file = tmp_path / "usage.csv"
    with running_simulator(usage_file=file) as provider, running_gateway(tmp_path / "data", provider) as gateway:
        opened = Books(gateway, provider, file)
        yield opened
        assert opened.verified()


def cost(call: Row) -> tuple[str, str]:
    return call["state"], call["cost_basis"]


def write(path: Path, *lines: dict[str, Any]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for line in lines for name in line}))
        writer.writeheader()
        writer.writerows(lines)
    return path


def test_every_line_and_every_call_is_explained_to_the_micro(books: Books, workspace: str) -> None:
    key = books.key(workspace)
    calls = {scenario: books.ask(scenario, key) for scenario in CALLS}
    for scenario, (state, basis, *_) in CALLS.items():
        assert cost(calls[scenario]) == (state, basis), scenario
    # Somebody else uses the same resource.
    for _ in range(2):
        books.provider.play("")
        books.provider.paint(model=MODEL, prompt="A stranger's kite", width=1024, height=1024)
    # Play money is not the provider's.
    with books.gateway.client(books.gateway.key("test", workspace)) as client:
        assert client.post(CREATE, json={"model": MODEL, "prompt": "A red kite"}).status_code == 200
    imported = books.load()
    lines = books.lines()
    assert (imported.new_lines, imported.summary.line_count) == (len(lines), len(lines))
    report = books.report()
    billed = sum(Decimal(line["amount"]) for line in lines)
    assert sum(lines.amount_pico_usd for lines in report.lines.values()) == billed * PICO
    assert report.calls == {"explained": len(CALLS), "open": 0}
    assert (report.lines["none"].count, report.findings["no_attempt", "open"]) == (2, 2)
    strangers = [
        line for line in lines if line["provider_request_id"] in {one.provider_request_id for one in report.listed}
    ]
    assert len(strangers) == 2
    # What is left is ours: our costs are its sum, to the last digit.
    after = {scenario: books.call_of(call["request_id"]) for scenario, call in calls.items()}
    ours = billed - sum(Decimal(line["amount"]) for line in strangers)
    assert sum(call["cost_pico_usd"] for call in after.values()) == ours * PICO
    for scenario, (*_, state, basis) in CALLS.items():
        assert cost(after[scenario]) == (state, basis), scenario
    assert report.lines["hour"].count >= 2
    assert report.findings["unknown_billed", "explained"] == 4
    assert report.findings["unknown_free", "explained"] == 2
    assert set(report.findings) == {
        ("no_attempt", "open"),
        ("unknown_billed", "explained"),
        ("unknown_free", "explained"),
    }


def test_a_file_and_its_lines_count_once(books: Books, workspace: str, tmp_path: Path) -> None:
    key = books.key(workspace)
    books.ask("ok", key)
    first = books.load()
    again = books.load()
    assert (again.repeated, again.new_lines, again.file_id) == (True, 0, first.file_id)
    books.ask("ok", key)
    # A later export brings the earlier line again.
    longer = books.load()
    assert (longer.repeated, longer.new_lines, longer.summary.line_count) == (False, 1, 2)
    assert books.report().lines["request"].count == 2
    # Two equal lines without an id are two calls, in every file.
    line = {"time": iso_time(0), "model": "another", "amount": "0.01"}
    assert books.load(write(tmp_path / "a.csv", line, line), whole_day=False).new_lines == 2
    assert books.load(write(tmp_path / "b.csv", line, line, line), whole_day=False).new_lines == 1
    assert books.report().lines["none"].count == 3
    imports = select(audit_log).where(audit_log.c.action == "statement.imported")
    rows = books.gateway.call(lambda services: services.database.read(lambda tx: tx.all(imports)))
    assert len(rows) == 4


def test_differences_stay_open_until_somebody_accepts_them(books: Books, workspace: str, tmp_path: Path) -> None:
    key = books.key(workspace)
    dearer, missing = books.ask("ok", key), books.ask("ok", key)
    (line, _) = books.lines()
    amount = Decimal(line["amount"]) + Decimal("0.01")
    books.load(write(tmp_path / "changed.csv", {**line, "amount": f"{amount}"}))
    report = books.report()
    assert report.calls == {"explained": 0, "open": 2}
    found = {finding.kind: finding for finding in report.listed}
    assert set(found) == {"price_differs", "not_billed"}
    assert found["price_differs"].attempt_id == dearer["id"]
    assert found["price_differs"].billed_pico_usd == amount * PICO
    assert found["price_differs"].expected_pico_usd == dearer["cost_pico_usd"]
    assert (found["not_billed"].attempt_id, found["not_billed"].billed_pico_usd) == (missing["id"], 0)
    for finding in found.values():
        books.accept(finding.id)
        with pytest.raises(Conflict):
            books.accept(finding.id)
    with pytest.raises(NotFound):
        books.accept("find_none")
    assert books.report().calls == {"explained": 2, "open": 0}
    assert books.report().listed == []
    assert books.call_of(dearer["request_id"])["cost_pico_usd"] == amount * PICO
    assert books.call_of(missing["request_id"])["cost_pico_usd"] == 0


def test_a_later_file_explains_what_was_missing_and_opens_what_it_contradicts(
    books: Books, workspace: str, tmp_path: Path
) -> None:
    call = books.ask("ok", books.key(workspace))
    (line,) = books.lines()
    other = {**line, "provider_request_id": "somebody-else"}
    books.load(write(tmp_path / "first.csv", other))
    assert [finding.kind for finding in books.report().listed] == ["not_billed", "no_attempt"]
    # The call's price comes in two parts.
    whole = Decimal(line["amount"])
    parts = [{**line, "amount": f"{part}"} for part in (Decimal("0.01"), whole - Decimal("0.01"))]
    books.load(write(tmp_path / "second.csv", *parts))
    report = books.report()
    assert report.calls == {"explained": 1, "open": 0}
    assert report.findings["not_billed", "explained"] == 1
    assert [finding.kind for finding in report.listed] == ["no_attempt"]
    # It is billed once more.
    books.load(write(tmp_path / "third.csv", {**line, "amount": "0.02"}))
    report = books.report()
    assert report.calls == {"explained": 0, "open": 1}
    found = next(finding for finding in report.listed if finding.kind == "price_differs")
    assert (found.attempt_id, found.billed_pico_usd) == (call["id"], (whole + Decimal("0.02")) * PICO)


def test_that_nothing_is_billed_counts_only_where_a_file_covers_the_time(
    books: Books, workspace: str, tmp_path: Path
) -> None:
    books.ask("500", books.key(workspace))
    long_ago = {"time": "2020-02-02T02:02:02Z", "model": MODEL, "amount": "0.01", "deployment": MODEL}
    books.load(write(tmp_path / "old.csv", long_ago), whole_day=False)
    assert books.report().calls == {"explained": 0, "open": 1}
    books.load(write(tmp_path / "new.csv", {**long_ago, "amount": "0.02"}))
    assert books.report().calls == {"explained": 1, "open": 0}


def test_cut_calls_take_only_lines_of_their_model_deployment_and_hour(
    books: Books, workspace: str, tmp_path: Path
) -> None:
    call = books.ask("reset", books.key(workspace))
    (line,) = books.lines()
    at_ms = call["sent_at_ms"]
    wrong = [
        {**line, "provider_request_id": "x1", "model": "MAI-Image-2.6"},
        {**line, "provider_request_id": "x2", "deployment": "another"},
        {**line, "provider_request_id": "x3", "time": iso_time(at_ms - 3_601_000)},
        {**line, "provider_request_id": "x4", "time": iso_time(at_ms + 3_602_000)},
    ]
    books.load(write(tmp_path / "wrong.csv", *wrong), whole_day=False)
    assert books.report().lines["none"].count == len(wrong)
    # The file covers the call's time, so nothing is billed for it, as far as is known.
    assert cost(books.call_of(call["request_id"])) == ("failed_free", "none")
    right = [
        {**line, "provider_request_id": "", "time": iso_time(at_ms - 1_000_000), "amount": "0.07"},
        {**line, "provider_request_id": "", "time": iso_time(at_ms - 3_000_000), "amount": "0.08"},
    ]
    books.load(write(tmp_path / "right.csv", *right), whole_day=False)
    report = books.report()
    assert (report.lines["hour"].count, report.calls["open"]) == (1, 0)
    assert cost(books.call_of(call["request_id"])) == ("failed_billed", "reported")


def test_calls_that_are_open_for_too_long_are_an_alert(books: Books, workspace: str) -> None:
    call = books.ask("ok", books.key(workspace))
    assert books.report().overdue == 0
    books.change(call, ended_at_ms=call["ended_at_ms"] - 36 * 86_400_000)
    assert books.report().overdue == 1
    books.load()
    assert books.report().overdue == 0


FAULTS = {
    "an empty file": ("", "the file is empty"),
    "only a header": ("time,model,amount\n", "no lines"),
    "a column too few": ("time,model\n", 'the column "amount" is missing'),
    "an unknown column": ("time,model,amount,colour\n", 'unknown column "colour"'),
    "a column twice": ("time,model,amount,amount\n", "there twice"),
    "a cell too few": ("time,model,amount\n2026-11-26T10:00:00Z,m\n", "line 2: 2 cells, the header has 3"),
    "a time without a zone": ("time,model,amount\n2026-11-26T10:00:00,m,1\n", "line 2: time"),
    "an amount with a comma": ('time,model,amount\n2026-11-26T10:00:00Z,m,"1,5"\n', "line 2: amount"),
    "an amount with an exponent": ("time,model,amount\n2026-11-26T10:00:00Z,m,1e5\n", "line 2: amount"),
    "another currency": ("time,model,amount,currency\n2026-11-26T10:00:00Z,m,1,EUR\n", "line 2: currency"),
    "no model": ("time,model,amount\n2026-11-26T10:00:00Z,,1\n", "line 2: model"),
    "a quantity below zero": ("time,model,amount,images\n2026-11-26T10:00:00Z,m,1,-1\n", "line 2: images"),
    "an endless line": ("time,model,amount\n" + "x" * 20_000, "longer than"),
    "an open quote": ('time,model,amount\n2026-11-26T10:00:00Z,"m,1\n', "line 2"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_with_a_fault_is_refused_whole_with_its_place(gateway: Gateway, tmp_path: Path, fault: str) -> None:
    text, message = FAULTS[fault]
    path = tmp_path / "bad.csv"
    path.write_text(text)

    async def work(services: Services) -> None:
        reconciliation = Reconciliation(services.database, "foundry", {})
        before = await reconciliation.report()
        with pytest.raises(InvalidRequest, match=r"^bad\.csv: ") as caught:
            await reconciliation.import_file(path, since=None, until=None, actor="test")
        assert message in caught.value.message
        after = await reconciliation.report()
        assert (after.files, after.lines) == (before.files, before.lines)

    gateway.call(work)


def test_bytes_that_are_no_text_are_refused(gateway: Gateway, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(b"time,model,amount\n\xff\xfe")

    async def work(services: Services) -> None:
        with pytest.raises(InvalidRequest, match="line"):
            await Reconciliation(services.database, "foundry", {}).import_file(
                path, since=None, until=None, actor="test"
            )

    gateway.call(work)
