"""Prices on the command line: what is in force, who would pay more, what is left, and what each workspace pays."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from omixa.domain.times import utc_today
from tests.support.catalogues import MODEL_FILE, add_prices, copy_catalogue, price_list, remove_prices
from tests.support.commands import Omixa

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
TODAY = utc_today()
MONTH = f"{TODAY:%Y-%m}"
NEXT_YEAR = datetime.date(TODAY.year + 1, 1, 1)
EXIT_FAILURE, EXIT_USAGE, EXIT_CONFIG = 1, 2, 78


@pytest.fixture(scope="module")
def omixa(tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    """The command on a data directory where `list-price` made two requests and `half-price` one of two pictures."""
    directory = tmp_path_factory.mktemp("prices")
    catalogue = copy_catalogue(directory / "catalogue")
    omixa = Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data"), "OMIXA_CATALOGUE_DIR": str(catalogue)})
    keys = {
        name: omixa("keys", "create", "--workspace", name, "--mode", "test") for name in ("list-price", "half-price")
    }
    with omixa.serving("serve", "--port", "0") as server:
        with server.client(keys["list-price"]) as client:
            for _ in range(2):
                assert client.post(CREATE, json=BODY).status_code == 200
        told = omixa("workspaces", "set-markup", "--workspace", "half-price", "--ppm", "-500000", "--reason", "test")
        assert told == "half-price pays the price lists -500000 ppm; before it was +0 ppm."
        with server.client(keys["half-price"]) as client:
            assert client.post(CREATE, json={**BODY, "n": 2}).status_code == 200
            failed = client.post(CREATE, json={**BODY, "prompt": "sim:500 a red kite"})
            assert failed.status_code == 502
        assert server.stop() == 0
    return omixa


@pytest.fixture
def dearer(omixa: Omixa, tmp_path: Path) -> Path:
    """A model file whose newest list charges 5 cents for a picture."""
    catalogue = copy_catalogue(tmp_path / "catalogue")
    add_prices(catalogue, price_list(NEXT_YEAR, "0.05"))
    return catalogue / MODEL_FILE


def test_a_price_change_shows_who_pays_how_much_more(omixa: Omixa, dearer: Path) -> None:
    report = omixa.json("prices", "diff", str(dearer), "--month", MONTH, "--mode", "test")
    assert list(report["new_versions"]) == [MODEL]
    assert report["new_versions"][MODEL].startswith(f"mai-image-2.5@{NEXT_YEAR}#")
    half, whole = report["rows"]
    assert (half["workspace"], half["requests"], half["new"]) == ("half-price", 1, "0.050000")
    assert (whole["workspace"], whole["requests"], whole["new"]) == ("list-price", 2, "0.100000")
    for row in (half, whole):
        # Nothing has changed since it was charged.
        assert row["old"] == row["charged"]
        assert Decimal(row["difference"]) == Decimal(row["new"]) - Decimal(row["old"])
        share = Decimal(row["difference"]) / Decimal(row["old"]) * 100
        assert row["percent"] == str(share.quantize(Decimal("0.01")))
    assert Decimal(report["difference"]) == sum(Decimal(row["difference"]) for row in report["rows"])
    shown = omixa("prices", "diff", str(dearer), "--month", MONTH, "--mode", "test")
    assert f"{MODEL}: {report['new_versions'][MODEL]}, from {NEXT_YEAR}" in shown
    assert half["difference"] in shown


def test_without_a_change_nothing_changes(omixa: Omixa) -> None:
    assert omixa("prices", "diff", "--mode", "test") == "The newest prices are in force: nothing would change."
    assert omixa.json("prices", "diff", "--month", "2020-02")["rows"] == []


def test_prices_to_come_are_compared_and_listed(omixa: Omixa, dearer: Path) -> None:
    tomorrow = omixa.with_variables(OMIXA_CATALOGUE_DIR=str(dearer.parent.parent))
    report = tomorrow.json("prices", "diff", "--month", MONTH, "--mode", "test")
    assert [row["new"] for row in report["rows"]] == ["0.050000", "0.100000"]
    current, later = tomorrow.price_lists(MODEL)
    assert (current["status"], later["status"]) == ("in force", "to come")
    assert later["prices"] == {"image": "0.05 / 1"}
    _, withdrawn = omixa.price_lists(MODEL)
    assert withdrawn["status"] == "withdrawn"
    assert omixa("prices", "list").splitlines()[0].split() == ["model", "version", "effective_from", "status"]


def test_the_margin_is_the_charges_less_all_costs(omixa: Omixa) -> None:
    (row,) = omixa.json("prices", "margin", "--month", MONTH, "--mode", "test")
    assert (row["month"], row["model"], row["provider"], row["requests"]) == (MONTH, MODEL, "foundry", 3)
    charged = sum(
        Decimal(request["billed"])
        for name in ("list-price", "half-price")
        for request in omixa.json("usage", "list", "--workspace", name, "--mode", "test")
    )
    assert Decimal(row["charged"]) == charged
    # Four pictures of 1,024 output tokens for 47 and of 10 text tokens for 5 micro-USD, as Foundry sells them.
    text_tokens = (Decimal(row["cost_reported"]) - 4 * 1024 * Decimal("0.000047")) / Decimal("0.000005")
    assert text_tokens == int(text_tokens)
    assert 4 <= text_tokens <= 4 * 20
    assert Decimal(row["cost_estimated"]) == 0
    # The provider may charge for the call that failed.
    assert (row["unknown_calls"], Decimal(row["absorbed"]) > 0) == (1, True)
    margin = charged - Decimal(row["cost_reported"]) - Decimal(row["absorbed"])
    assert Decimal(row["margin"]) == margin
    assert row["margin_percent"] == str((margin / charged * 100).quantize(Decimal("0.01")))
    assert omixa.json("prices", "margin", "--mode", "live") == []
    assert row["margin"] in omixa("prices", "margin", "--mode", "test")


def test_a_published_price_that_was_changed_stops_every_command(omixa: Omixa, tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path / "catalogue")
    path = catalogue / MODEL_FILE
    path.write_text(path.read_text().replace('usd = "33.00"', 'usd = "34.00"'))
    changed = omixa.with_variables(OMIXA_CATALOGUE_DIR=str(catalogue))
    for command in ("serve --port 0", "prices list"):
        refused = changed.run(*command.split())
        assert (refused.returncode, refused.stdout) == (EXIT_CONFIG, "")
        assert f"the price list of {MODEL} from 2026-11-01 was published as mai-image-2.5@2026-11-01#" in refused.stderr
        assert "add a price list with a later effective_from" in refused.stderr
        assert "Traceback" not in refused.stderr
    listed = {model["id"]: model for model in omixa.json("models", "list")}
    assert listed[MODEL]["prices"]["output_image"] == "33.00 / 1,000,000"


def test_faults_of_the_catalogue_are_told_with_their_place(omixa: Omixa, tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path / "catalogue")
    remove_prices(catalogue)
    for directory, message in ((catalogue, "no model has a price"), (tmp_path / "none", "the catalogue has no models")):
        refused = omixa.with_variables(OMIXA_CATALOGUE_DIR=str(directory)).run("models", "list")
        assert (refused.returncode, refused.stdout) == (EXIT_CONFIG, "")
        assert message in refused.stderr


def test_workspaces_are_listed_with_their_markup(omixa: Omixa) -> None:
    rows = {row["name"]: row["markup_ppm"] for row in omixa.json("workspaces", "list")}
    assert rows == {"default": 0, "half-price": -500_000, "list-price": 0}
    told = omixa.json("workspaces", "set-markup", "--workspace", "list-price", "--ppm", "7", "--reason", "test")
    assert told == {"workspace": "list-price", "markup_ppm": 7, "before_ppm": 0}
    omixa("workspaces", "set-markup", "--workspace", "list-price", "--ppm", "0", "--reason", "test")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("workspaces set-markup --ppm -1000001 --reason x", EXIT_FAILURE, "from -1000000 to 100000000"),
        ("workspaces set-markup --ppm 100000001 --reason x", EXIT_FAILURE, "from -1000000 to 100000000"),
        ("workspaces set-markup --ppm 1.5 --reason x", EXIT_USAGE, "not a valid int"),
        ("workspaces set-markup --ppm 1", EXIT_USAGE, "--reason"),
        ("workspaces set-markup --ppm 1 --reason x --workspace nowhere", EXIT_FAILURE, "no workspace"),
        ("prices diff --month november", EXIT_USAGE, "write it as 2026-11"),
        ("prices diff nothing.toml", EXIT_USAGE, "nothing.toml"),
    ],
)
def test_mistakes_are_explained(omixa: Omixa, arguments: str, code: int, message: str) -> None:
    refused = omixa.run(*arguments.split())
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
