"""Selling prices over HTTP: the list in force at the hold, the workspace's markup, and models without a price."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.billing.verify import verify
from omixa.domain.times import utc_today
from omixa.services import Services
from tests.support.catalogues import MODEL_FILE, add_prices, copy_catalogue, price_list
from tests.support.servers import Gateway, Simulator, running_gateway, running_simulator

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
ESTIMATE = "/api/v1/images/estimate"
TODAY = utc_today()
TOMORROW = TODAY + datetime.timedelta(days=1)
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}


@dataclass
class Calendar:
    """A day that a test may change."""

    day: datetime.date = TODAY

    def __call__(self) -> datetime.date:
        return self.day


@pytest.fixture(scope="module")
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, provider: Simulator, calendar: Calendar) -> Iterator[Gateway]:
    """A gateway where a picture costs 2 cents from tomorrow on, and where a second model has no price at all."""
    catalogue = copy_catalogue(tmp_path_factory.mktemp("catalogue") / "data")
    add_prices(catalogue, price_list(TOMORROW, "0.02"))
    _add_model_without_a_price(catalogue)

    def adapt(services: Services) -> Services:
        return dataclasses.replace(services, pipeline=dataclasses.replace(services.pipeline, today=calendar))

    data_dir = tmp_path_factory.mktemp("shop")
    with running_gateway(data_dir, provider, adapt=adapt, catalogue_dir=str(catalogue)) as running:
        yield running
        found = running.call(lambda services: services.database.read(verify))
        assert found.findings == ()


def _add_model_without_a_price(catalogue: Path) -> None:
    text = (catalogue / MODEL_FILE).read_text()
    priced = text[: text.index("[[prices]]")] + text[text.index("[parameters.model]") :]
    (catalogue / "models/free.toml").write_text(priced.replace(MODEL, "MAI-Image-9"))
    offers = catalogue / "providers/foundry.toml"
    text = offers.read_text()
    offer = text.split("[[offers]]")[1]
    offers.write_text(f"{text}\n[[offers]]{offer.replace(MODEL, 'MAI-Image-9')}")


@pytest.fixture
def client(shop: Gateway, provider: Simulator, calendar: Calendar, workspace: str) -> Iterator[httpx.Client]:
    calendar.day = TODAY
    provider.play("")
    shop.grant(10_000_000, workspace=workspace)
    with shop.client(shop.key("live", workspace)) as opened:
        yield opened


def set_markup(shop: Gateway, workspace: str, ppm: int) -> None:
    shop.call(
        lambda services: services.workspaces.set_markup(
            workspace=workspace, markup_ppm=ppm, reason="test", actor="test"
        )
    )


def make(client: httpx.Client) -> dict[str, Any]:
    answer = client.post(CREATE, json=BODY)
    assert answer.status_code == 200, answer.text[:500]
    made: dict[str, Any] = answer.json()["omixa"]
    return made


def with_markup(exact: str, ppm: int) -> str:
    """Return a price with a markup, rounded up to a hundredth of a cent, by decimal arithmetic."""
    units = Decimal(exact) * (1_000_000 + ppm) / 1_000_000 * 10_000
    return f"{units.to_integral_value('ROUND_CEILING') / 10_000:.6f}"


# ------------------------------------------------------------------------------------------------------------ price lists


def test_the_list_in_force_is_the_one_that_is_charged(client: httpx.Client, calendar: Calendar) -> None:
    today = make(client)
    calendar.day = TOMORROW
    tomorrow = make(client)
    assert tomorrow["price_version"].startswith(f"mai-image-2.5@{TOMORROW}#")
    assert (tomorrow["billed_amount"], tomorrow["held_amount"]) == ("0.020000", "0.020000")
    assert today["billed_amount"] != tomorrow["billed_amount"]
    model = client.get(f"/api/v1/models/{MODEL}").json()
    assert (model["price_version"], model["prices"]["image"]) == (tomorrow["price_version"], "0.020000")
    assert client.post(ESTIMATE, json=BODY).json()["ceiling"]["amount"] == "0.020000"


def test_what_was_in_force_at_the_hold_is_charged_when_prices_and_markup_change_before_the_capture(
    client: httpx.Client, shop: Gateway, provider: Simulator, calendar: Calendar, workspace: str
) -> None:
    set_markup(shop, workspace, 100_000)
    provider.play("slow=0.3")
    seen, made = len(provider.log()), []
    asking = threading.Thread(target=lambda: made.append(make(client)))
    asking.start()
    while len(provider.log()) == seen:
        pass
    calendar.day = TOMORROW
    set_markup(shop, workspace, -500_000)
    asking.join()
    (omixa,) = made
    assert omixa["price_version"].startswith("mai-image-2.5@2026-11-01#")
    assert omixa["markup_ppm"] == 100_000
    assert omixa["billed_amount"] == with_markup(omixa["exact_amount"], 100_000)
    assert make(client)["billed_amount"] == "0.010000"
    stored = client.get(f"/api/v1/requests/{omixa['request_id']}").json()
    for name in ("price_version", "markup_ppm", "exact_amount", "billed_amount", "held_amount", "line_items"):
        assert stored[name] == omixa[name]


@pytest.mark.parametrize("path", [CREATE, ESTIMATE])
def test_a_model_without_a_price_cannot_be_called(client: httpx.Client, path: str, provider: Simulator) -> None:
    seen = len(provider.log())
    refused = client.post(path, json={**BODY, "model": "MAI-Image-9"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "price_missing")
    assert "MAI-Image-9 has no price in force" in refused.json()["error"]["message"]
    assert refused.headers["x-should-retry"] == "false"
    assert client.get("/api/v1/balance").json()["held"] == "0.000000"
    assert len(provider.log()) == seen
    model = client.get("/api/v1/models/MAI-Image-9").json()
    assert (model["prices"], model["price_version"]) == (None, None)


def test_a_model_cannot_be_called_before_its_first_list_begins(client: httpx.Client, calendar: Calendar) -> None:
    calendar.day = datetime.date(2026, 10, 31)
    refused = client.post(CREATE, json=BODY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "price_missing")


# ----------------------------------------------------------------------------------------------------------------- markup


@pytest.mark.parametrize("ppm", [-1_000_000, -333_333, -1, 1, 250_000, 3_000_000])
def test_the_markup_is_in_the_ceiling_the_charge_and_the_estimate(
    client: httpx.Client, shop: Gateway, workspace: str, ppm: int
) -> None:
    # A key that is remembered has to notice, too.
    plain = make(client)
    set_markup(shop, workspace, ppm)
    omixa = make(client)
    assert (omixa["markup_ppm"], omixa["exact_amount"]) == (ppm, plain["exact_amount"])
    assert omixa["billed_amount"] == with_markup(omixa["exact_amount"], ppm)
    estimate = client.post(ESTIMATE, json=BODY).json()
    assert estimate["ceiling"]["amount"] == omixa["held_amount"]
    assert estimate["expected"]["amount"] == omixa["billed_amount"]
    assert estimate["markup_ppm"] == ppm
    ceiling = estimate["ceiling"]
    assert ceiling["amount"] == with_markup(ceiling["exact_amount"], ppm)
    assert make(client)["billed_amount"] == omixa["billed_amount"]


def test_a_cap_is_compared_with_the_marked_up_ceiling(client: httpx.Client, shop: Gateway, workspace: str) -> None:
    held = make(client)["held_amount"]
    set_markup(shop, workspace, 100_000)
    refused = client.post(CREATE, json=BODY, headers={"Omixa-Max-Cost": held})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "max_cost_exceeded")
    assert client.get("/api/v1/balance").json()["held"] == "0.000000"
