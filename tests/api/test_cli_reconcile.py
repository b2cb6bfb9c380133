"""Reconciliation from the command line, with the provider and a gateway that is killed as processes of their own."""

from __future__ import annotations

import csv
import threading
from decimal import Decimal
from pathlib import Path

import httpx2 as httpx
import pytest

from omixa.domain.times import utc_today
from tests.support.commands import Omixa
from tests.support.servers import SIMULATOR_API_KEY, Simulator

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
EXIT_FAILURE = 1


def test_a_killed_gateway_and_its_provider_agree_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    options = (
        "--port",
        "0",
        "--api-key",
        SIMULATOR_API_KEY,
        "--deployment",
        f"mine={MODEL}",
        "--usage-file",
        str(file),
    )
    with Omixa(tmp_path).serving("simulate", "foundry", *options) as provider:
        variables = {
            "OMIXA_FOUNDRY_ENDPOINT": provider.url,
            "OMIXA_FOUNDRY_API_KEY": SIMULATOR_API_KEY,
            "OMIXA_FOUNDRY_DEPLOYMENT": "mine",
            "OMIXA_DATA_DIR": str(tmp_path / "data"),
        }
        omixa, simulator = Omixa(tmp_path, variables), Simulator(provider.port)
        omixa("credits", "grant", "--mode", "live", "--amount", "1.00", "--reason", "test")
        key = omixa("keys", "create", "--mode", "live")
        with omixa.serving("serve", "--port", "0") as server, server.client(key) as client:
            assert client.post(CREATE, json=BODY).status_code == 200
            simulator.play("slow=600")
            asking = threading.Thread(target=_ask_in_vain, args=(client,))
            asking.start()
            while len(simulator.log()) < 2:
                pass
            server.process.kill()
            asking.join()
        simulator.play("")
        simulator.paint(model="mine", prompt="A stranger's kite", width=1024, height=1024)
        with omixa.serving("serve", "--port", "0") as server:
            assert server.stop() == 0
        with file.open(newline="") as opened:
            lines = list(csv.DictReader(opened))
        assert [line["deployment"] for line in lines] == ["mine"] * 3
        days = ("--from", str(utc_today()), "--to", str(utc_today()))
        imported = omixa.json("reconcile", "import", str(file), "--provider", "foundry", *days)
        assert (imported["lines"], imported["new_lines"], imported["repeated"]) == (3, 3, False)
        assert Decimal(imported["amount"]) == sum(Decimal(line["amount"]) for line in lines)
        report = omixa.json("reconcile", "report")
        assert report == imported["report"]
        assert (report["calls"], report["overdue"]) == ({"explained": 2, "open": 0}, 0)
        assert {way: found["count"] for way, found in report["lines"].items()} == {"request": 1, "hour": 1, "none": 1}
        (finding,) = report["open"]
        assert finding["kind"] == "no_attempt"
        assert "It was imported before." in omixa("reconcile", "import", str(file), *days)
        assert finding["finding"] in omixa("reconcile", "report")
        omixa("reconcile", "accept", finding["finding"], "--note", "a test from the portal")
        assert omixa.json("reconcile", "report")["open"] == []
        assert omixa.json("ledger", "verify")["clean"]
        margin = omixa.json("prices", "margin")
        ours = sum(Decimal(row[name]) for row in margin for name in ("cost_reported", "cost_estimated", "absorbed"))
        assert ours + Decimal(finding["billed"]) == Decimal(imported["amount"])
        assert provider.stop() == 0


def _ask_in_vain(client: httpx.Client) -> None:
    with pytest.raises(httpx.TransportError):
        client.post(CREATE, json={**BODY, "prompt": "A kite that nobody sees"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("reconcile import bad.csv", 'bad.csv: line 1: the column "time" is missing'),
        ("reconcile import good.csv --provider nobody", '"nobody" is not a provider; known: '),
        ("reconcile import good.csv --from 2026-11-02 --to 2026-11-01", "after the last one"),
        ("reconcile report --provider nobody", "is not a provider"),
        ("reconcile accept find_none --note x", "no finding find_none"),
    ],
)
def test_mistakes_are_explained(tmp_path: Path, arguments: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text("model,amount\nm,1\n")
    (tmp_path / "good.csv").write_text("time,model,amount\n2026-11-26T10:00:00Z,m,1\n")
    refused = Omixa(tmp_path).run(*arguments.split())
    assert (refused.returncode, refused.stdout) == (EXIT_FAILURE, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
