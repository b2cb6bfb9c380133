"""Refunds and re-ratings from the command line to what customers read of them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2 as httpx
import pytest

from omixa.domain.times import utc_today
from tests.support.catalogues import add_prices, copy_catalogue, price_list
from tests.support.commands import Omixa

MODEL = "MAI-Image-2.5"
API = "/api/v1"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
TODAY = utc_today()
EXIT_FAILURE, EXIT_USAGE = 1, 2


@dataclass
class Shop:
    """A running server and a customer with a discount of a tenth."""

    omixa: Omixa
    client: httpx.Client

    def make(self) -> dict[str, Any]:
        answer = self.client.post(f"{API}/images/generations", json=BODY)
        assert answer.status_code == 200, answer.text[:500]
        made: dict[str, Any] = answer.json()["omixa"]
        return made

    def request(self, request_id: str) -> dict[str, Any]:
        read: dict[str, Any] = self.client.get(f"{API}/requests/{request_id}").json()
        return read

    def balance(self) -> Decimal:
        return Decimal(self.client.get(f"{API}/balance").json()["available"])

    def day(self) -> dict[str, Any]:
        (row,) = self.client.get(f"{API}/usage/rollups").json()["data"]
        return dict(row)

    def rerate(self, version: str, *options: str) -> dict[str, Any]:
        days = ("--from", str(TODAY), "--to", str(utc_today()))
        command = ("ledger", "rerate", "--model", MODEL.lower(), "--mode", "test", *days, "--price-version", version)
        done = self.omixa.run(*command, "--reason", "wrong price", *options, "--json")
        report: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == bool(report["left"])
        return report


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    directory = tmp_path_factory.mktemp("corrections")
    catalogue = copy_catalogue(directory / "catalogue")
    add_prices(catalogue, price_list(datetime.date(TODAY.year + 1, 1, 1), "0.02"))
    omixa = Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data"), "OMIXA_CATALOGUE_DIR": str(catalogue)})
    key = omixa("keys", "create", "--mode", "test")
    omixa("workspaces", "set-markup", "--ppm", "-100000", "--reason", "test")
    with omixa.serving("serve", "--port", "0") as server:
        with server.client(key) as client:
            yield Shop(omixa, client)
        assert omixa.json("ledger", "verify")["clean"]
        assert server.stop() == 0


def test_a_refund_shows_beside_the_charge(shop: Shop) -> None:
    made, before = shop.make(), shop.balance()
    request_id, billed = made["request_id"], made["billed_amount"]
    told = shop.omixa.json("refunds", "create", request_id, "--amount", "0.01", "--reason", "blurred", "--key", "t-1")
    assert (told["amount"], told["charged"], told["repeated"]) == ("0.010000", billed, False)
    again = shop.omixa("refunds", "create", request_id, "--amount", "0.01", "--reason", "blurred", "--key", "t-1")
    assert "was refunded before under this key" in again
    assert shop.balance() == before + Decimal("0.01")
    seen = shop.request(request_id)
    assert (seen["billed_amount"], seen["refunded_amount"], seen["adjusted_amount"]) == (billed, "0.010000", "0.000000")
    (correction,) = seen["corrections"]
    assert (correction["id"], correction["kind"], correction["amount"]) == (told["id"], "refund", "0.010000")
    rest = shop.omixa("refunds", "create", request_id, "--reason", "all of it")
    assert f"${billed} of ${billed} in all" in rest
    refused = shop.omixa.run("refunds", "create", request_id, "--reason", "more")
    assert (refused.returncode, refused.stdout) == (EXIT_FAILURE, "")
    assert "$0.000000 of that can still be refunded" in refused.stderr
    assert shop.day()["refunded_amount"] == billed
    assert f"refunded ${billed}" in shop.omixa("usage", "show", request_id)
    row = next(row for row in shop.omixa.json("usage", "list", "--mode", "test") if row["request"] == request_id)
    assert (row["billed"], row["refunded"]) == (billed, billed)


def test_a_rerating_keeps_the_markup_and_shows_beside_the_charge(shop: Shop) -> None:
    made, before = shop.make(), shop.balance()
    _, later = shop.omixa.price_lists(MODEL)
    foreseen = shop.rerate(later["version"], "--dry-run")
    assert shop.balance() == before
    report = shop.rerate(later["version"])
    assert foreseen == {**report, "dry_run": True}
    assert report["counts"]["posted"] >= 1
    # Two cents less a tenth, for every request that was not given back in whole.
    credited = Decimal(made["billed_amount"]) - Decimal("0.018")
    seen = shop.request(made["request_id"])
    assert (seen["billed_amount"], Decimal(seen["adjusted_amount"])) == (made["billed_amount"], -credited)
    assert [(one["kind"], Decimal(one["amount"])) for one in seen["corrections"]] == [("adjustment", credited)]
    total = sum(Decimal(row["difference"]) for row in report["workspaces"])
    assert shop.balance() == before - total
    day = shop.day()
    assert Decimal(day["adjusted_amount"]) == total
    assert shop.rerate(later["version"])["counts"]["posted"] == 0
    (margin,) = shop.omixa.json("prices", "margin", "--mode", "test")
    assert (Decimal(margin["adjusted"]), margin["refunded"]) == (total, day["refunded_amount"])
    earned = Decimal(margin["charged"]) - Decimal(margin["refunded"]) + Decimal(margin["adjusted"])
    costs = sum(Decimal(margin[name]) for name in ("cost_reported", "cost_estimated", "absorbed"))
    assert Decimal(margin["margin"]) == earned - costs


def test_what_cannot_be_adjusted_is_named_and_fails_the_command(shop: Shop) -> None:
    made = shop.make()
    shop.omixa("refunds", "create", made["request_id"], "--reason", "all of it")
    _, later = shop.omixa.price_lists(MODEL)
    days = ("--from", str(TODAY), "--to", str(utc_today()))
    command = ("ledger", "rerate", "--model", MODEL, "--mode", "test", *days, "--price-version", later["version"])
    done = shop.omixa.run(*command, "--label", "another", "--reason", "test")
    assert done.returncode == EXIT_FAILURE
    assert f"{made['request_id']} refunded: $-" in done.stdout
    assert "not adjusted: more than the new price was refunded" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("refunds create req_none --reason x", EXIT_FAILURE, "no request req_none"),
        ("refunds create req_none --reason x --amount 1,5", EXIT_USAGE, "--amount"),
        ("refunds create req_none --reason x --amount 0", EXIT_FAILURE, "above 0"),
        (
            "ledger rerate --model dall-e --from 2026-11-01 --to 2026-11-02 --price-version x --reason x",
            EXIT_FAILURE,
            MODEL,
        ),
        (
            f"ledger rerate --model {MODEL} --from 2026-11-01 --to 2026-11-02 --price-version x --reason x",
            1,
            "prices list",
        ),
        (f"ledger rerate --model {MODEL} --from yesterday --to 2026-11-02 --price-version x --reason x", 2, "--from"),
    ],
)
def test_mistakes_are_explained(shop: Shop, arguments: str, code: int, message: str) -> None:
    refused = shop.omixa.run(*arguments.split())
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
