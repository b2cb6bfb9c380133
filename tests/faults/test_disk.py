"""A disk that is full or broken: 503, nothing charged, no further request admitted, the process ends, a new start is clean."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest

from omixa.cli.context import EXIT_IO_ERROR
from omixa.gateway import results
from omixa.services import Services
from omixa.storage.database import Transaction
from tests.support.faults import (
    CREATE,
    CREDIT,
    Customer,
    FaultyGateway,
    customer,
    eventually,
    request_body,
    running_faulty_gateway,
)
from tests.support.servers import Simulator
from tests.support.serving import ServerProcess, findings, open_account, serving

OPERATIONS = pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
TEN_DOLLARS = ("10.000000", "0.000000")


# --------------------------------------------------------------------------------------------------- results, in process


def _fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def _break_write(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setattr(os, "writev", _fail_with(errno.ENOSPC))


def _break_sync(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setattr(os, "fsync", _fail_with(errno.EIO))


def _break_rename(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    monkeypatch.setattr(Path, "rename", _fail_with(errno.EIO))


def _break_directory(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> None:
    (data_dir / "results").write_text("no directory")


@pytest.mark.matrix("29")
@pytest.mark.parametrize("break_disk", [_break_write, _break_sync, _break_rename, _break_directory])
@OPERATIONS
@FORMS
def test_a_result_that_cannot_be_made_durable_is_not_charged(
    several_deployments: Simulator,
    tmp_path: Path,
    square: str,
    monkeypatch: pytest.MonkeyPatch,
    break_disk: Callable[[pytest.MonkeyPatch, Path], None],
    stream: bool,
    edit: bool,
) -> None:
    with (
        running_faulty_gateway(tmp_path, several_deployments) as faulty,
        customer(faulty.gateway, "default") as buyer,
    ):
        monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
        break_disk(monkeypatch, tmp_path)
        outcome = buyer.ask(stream=stream, reference=square if edit else None)
        assert outcome.error is not None
        assert outcome.error["code"] == "storage_unavailable"
        if not stream:
            assert (outcome.status, outcome.headers["retry-after"]) == (503, "5")
        assert buyer.balance == TEN_DOLLARS
        row = faulty.request(outcome.request_id)
        assert (row["state"], row["outcome"]) == ("released", "storage_unavailable")
        _check_admission_is_closed(faulty, buyer, several_deployments)
        monkeypatch.undo()
        assert faulty.findings() == []
    if break_disk is _break_directory:
        (tmp_path / "results").unlink()
    _check_new_start(several_deployments, tmp_path)


def _check_admission_is_closed(faulty: FaultyGateway, buyer: Customer, provider: Simulator) -> None:
    ready = buyer.client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (503, "failed")
    assert ready.json()["reason"]
    assert buyer.client.get("/healthz").status_code == 200
    before = faulty.request_count(), len(provider.log())
    for stream in (False, True):
        refused = buyer.ask(stream=stream)
        assert refused.status == 503
        assert refused.error is not None
        assert refused.error["code"] in {"storage_unavailable", "ledger_unavailable"}
    assert (faulty.request_count(), len(provider.log())) == before


def _check_new_start(provider: Simulator, data_dir: Path) -> None:
    """Nothing half written has a result's name, and the next request works."""
    with (
        running_faulty_gateway(data_dir, provider) as faulty,
        customer(faulty.gateway, "default") as buyer,
    ):
        assert [path for path in (data_dir / "results").glob("*/*") if path.suffix != ".unfinished"] == []
        assert buyer.ask().status == 200
        assert faulty.findings() == []


# ---------------------------------------------------------------------------------------------------- ledger, in process


def _break_ledger(tx: Transaction) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    raise error


@OPERATIONS
@FORMS
def test_a_ledger_on_a_broken_disk_admits_nothing(
    several_deployments: Simulator, tmp_path: Path, square: str, stream: bool, edit: bool
) -> None:
    with (
        running_faulty_gateway(tmp_path, several_deployments) as faulty,
        customer(faulty.gateway, "default") as buyer,
    ):
        with pytest.raises(Exception, match="ledger cannot be written"):
            faulty.gateway.call(lambda services: services.database.write(_break_ledger))
        before = len(several_deployments.log())
        outcome = buyer.ask(stream=stream, reference=square if edit else None)
        assert outcome.status == 503
        assert outcome.error is not None
        assert outcome.headers["retry-after"] == "5"
        assert len(several_deployments.log()) == before
        assert buyer.balance == TEN_DOLLARS
        _check_admission_is_closed(faulty, buyer, several_deployments)
    _check_new_start(several_deployments, tmp_path)


def test_a_ledger_that_breaks_while_a_picture_is_made_charges_nothing(
    several_deployments: Simulator, tmp_path: Path
) -> None:
    """The provider's picture is dropped: the hold goes back when the gateway starts again."""
    with (
        running_faulty_gateway(tmp_path, several_deployments) as faulty,
        customer(faulty.gateway, "default") as buyer,
    ):
        several_deployments.play("slow=0.3")
        before = len(several_deployments.log())

        def break_it(services: Services) -> Awaitable[None]:
            return services.database.write(_break_ledger)

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(buyer.ask)
            eventually(lambda: len(several_deployments.log()) > before)
            with pytest.raises(Exception, match="ledger cannot be written"):
                faulty.gateway.call(break_it)
            outcome = asking.result()
        assert outcome.status == 503
        assert outcome.error is not None
        assert outcome.error["code"] == "settlement_unavailable"
    with running_faulty_gateway(tmp_path, several_deployments) as faulty:
        row = faulty.request(outcome.request_id)
        assert (row["state"], row["outcome"]) == ("released", "interrupted")
        assert faulty.charges(outcome.request_id) == []
        assert faulty.findings() == []
        # The picture is parked for a repeat of the request.
        assert [path.name for path in (tmp_path / "results").glob("*/*")] == [outcome.request_id]


# ------------------------------------------------------------------------------------------------- processes that must end

# Less than a picture; more than a picture, but less than the ledger's log after some requests.
NO_RESULT_BYTES, NO_LEDGER_BYTES = 200_000, 900_000
MAX_WAVES = 20


@pytest.mark.parametrize(
    ("max_file_bytes", "at_once", "codes"),
    [
        (NO_RESULT_BYTES, 1, {"storage_unavailable"}),
        (NO_LEDGER_BYTES, 8, {"ledger_unavailable", "settlement_unavailable", "storage_unavailable"}),
    ],
    ids=["results", "ledger"],
)
def test_a_server_on_a_full_disk_stops_and_recovers(
    foundry: Simulator, tmp_path: Path, max_file_bytes: int, at_once: int, codes: set[str]
) -> None:
    foundry.play("")
    key = open_account(tmp_path, CREDIT)
    with serving(tmp_path, foundry.url, max_file_bytes=max_file_bytes) as server:
        billed, failures = _ask_until_it_stops(server, key, at_once)
        assert server.wait() == EXIT_IO_ERROR
    assert "stopped:" in server.log
    assert failures
    assert failures <= codes
    with serving(tmp_path, foundry.url) as server:
        assert findings(tmp_path) == ()
        with _client(server, key) as client:
            balance = client.get("/api/v1/balance").json()
            assert balance["held"] == "0.000000"
            assert CREDIT - int(balance["posted"].replace(".", "")) == sum(billed)
            assert client.post(CREATE, json=request_body()).status_code == 200


def _client(server: ServerProcess, key: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False, verify=False)


def _ask_until_it_stops(server: ServerProcess, key: str, at_once: int) -> tuple[list[int], set[str]]:
    """Send waves of requests until one fails; return what was billed, in micro-USD, and the codes of the failures."""

    def ask(_: int) -> int | str:
        with _client(server, key) as client:
            try:
                answer = client.post(CREATE, json=request_body())
            except httpx.TransportError:
                # The server ends while others still ask: nobody answers, or hangs up on them.
                return "gone"
        body = answer.json()
        if answer.status_code == 200:
            return int(body["usage"]["billed_amount"].replace(".", ""))
        assert answer.status_code == 503
        return str(body["error"]["code"])

    outcomes: list[int | str] = []
    with ThreadPoolExecutor(at_once) as pool:
        for _ in range(MAX_WAVES):
            outcomes += pool.map(ask, range(at_once))
            if any(isinstance(outcome, str) for outcome in outcomes):
                break
    billed = [outcome for outcome in outcomes if isinstance(outcome, int)]
    return billed, {outcome for outcome in outcomes if isinstance(outcome, str)} - {"gone"}
