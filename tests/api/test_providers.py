"""Models of several providers through the whole gateway: what thoughts cost, and what a provider says that it charges."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.simulator.gemini import MODELS as GEMINI
from tests.support.commands import Omixa, Server
from tests.support.pictures import data_url, picture

KEY = "AKID:key-of-the-simulators"
PROMPT = "A glass teapot on a slate table"
EXIT_CONFIG = 78
# What the simulated OpenRouter and the catalogue's list of its costs agree upon, in dollars for a token.
WORDS, PICTURE = Decimal("0.000005"), Decimal("0.000047")


def generate(client: httpx.Client, model: str, **fields: Any) -> httpx.Response:
    return client.post("/api/v1/images/generations", json={"model": model, "prompt": PROMPT, **fields})


@pytest.mark.parametrize("model", sorted(GEMINI))
def test_thoughts_are_a_line_of_the_bill(test_client: httpx.Client, model: str) -> None:
    made = generate(test_client, model, size="1024x1536")
    assert made.status_code == 200, made.text
    answer = made.json()
    told, lines = answer["usage"], {line["component"]: line for line in answer["omixa"]["line_items"]}
    thoughts = GEMINI[model].thoughts
    assert told["output_tokens_details"] == {"text_tokens": thoughts, "image_tokens": 1120}
    assert told["output_tokens"] == 1120 + thoughts
    assert (lines["output_text"]["quantity"], lines["output_image"]["quantity"]) == (thoughts, 1120)
    assert answer["size"] == "1024x1536"
    exact = sum(Decimal(line["amount"]) for line in lines.values())
    assert Decimal(answer["omixa"]["exact_amount"]) == exact
    assert 0 <= Decimal(answer["omixa"]["billed_amount"]) - exact < Decimal("0.0001")
    assert Decimal(answer["omixa"]["held_amount"]) >= Decimal(answer["omixa"]["billed_amount"])


def test_several_pictures_are_reworked_into_one(test_client: httpx.Client) -> None:
    given = [data_url(picture(width=96, height=64)), data_url(picture(width=64, height=64))]
    made = generate(test_client, "gemini-3.1-flash-image", input_images=given)
    assert made.status_code == 200, made.text
    assert made.json()["usage"]["input_tokens_details"]["image_tokens"] == 2 * 1120


def test_a_refusal_that_is_a_200_is_free_and_says_so(test_client: httpx.Client) -> None:
    for prompt in ("sim:filter a red kite", "a forbidden-test-word"):
        made = generate(test_client, "gemini-3.1-flash-image", prompt=prompt)
        assert (made.status_code, made.json()["error"]["code"]) == (400, "content_policy_violation")
        found = test_client.get(f"/api/v1/requests/{made.headers['x-request-id']}").json()
        assert Decimal(found["billed_amount"]) == 0


def test_more_thoughts_than_there_can_be_cost_the_flat_price(test_client: httpx.Client) -> None:
    made = generate(test_client, "gemini-3.1-flash-image", prompt="sim:bigusage a red kite").json()
    assert made["usage"]["usage_estimated"]
    assert [line["component"] for line in made["omixa"]["line_items"]] == ["image"]


# --------------------------------------------------------------------------------------------------------- live accounts


@pytest.fixture(scope="module")
def omixa(tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    directory = tmp_path_factory.mktemp("providers")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data"), "THE_KEY": KEY})


@pytest.fixture(scope="module")
def server(omixa: Omixa) -> Iterator[Server]:
    options = ("--port", "0", "--api-key", KEY)
    with (
        omixa.serving("simulate", "openrouter", *options) as openrouter,
        omixa.serving("simulate", "bedrock", *options) as bedrock,
    ):
        (omixa.directory / "omixa.toml").write_text(f"""
[[deployments]]
name = "router"
provider = "openrouter"
endpoint = "{openrouter.url}/api/v1"
api_key_env = "THE_KEY"

[[deployments]]
name = "aws"
provider = "bedrock"
endpoint = "{bedrock.url}"
region = "us-west-2"
api_key_env = "THE_KEY"
""")
        with omixa.serving("serve", "--port", "0") as running:
            yield running


@pytest.fixture(scope="module")
def live_key(omixa: Omixa) -> str:
    omixa("credits", "grant", "--mode", "live", "--amount", "25", "--reason", "test")
    return omixa("keys", "create", "--mode", "live")


def test_the_cost_is_what_the_provider_says(omixa: Omixa, server: Server, live_key: str) -> None:
    with server.client(live_key) as client:
        made = generate(client, "MAI-Image-2.5").json()
    assert made["omixa"]["route"] == "router/MAI-Image-2.5"
    words = made["usage"]["input_tokens_details"]["text_tokens"]
    rows = omixa.json("prices", "margin", "--mode", "live")
    (row,) = (row for row in rows if row["provider"] == "openrouter")
    assert Decimal(row["cost_reported"]) == words * WORDS + 1024 * PICTURE
    assert Decimal(row["cost_estimated"]) == 0


def test_signed_requests_are_taken(omixa: Omixa, server: Server, live_key: str) -> None:
    with server.client(live_key) as client:
        made = generate(client, "stable-image-core", size="1024x1536")
    assert made.status_code == 200, made.text
    answer = made.json()
    assert (answer["omixa"]["route"], answer["size"]) == ("aws/stable-image-core", "1024x1536")
    rows = omixa.json("prices", "margin", "--mode", "live")
    (row,) = (row for row in rows if row["provider"] == "bedrock")
    assert Decimal(row["cost_reported"]) == Decimal("0.04")


def test_the_ledger_is_right(omixa: Omixa, server: Server) -> None:
    assert omixa.run("ledger", "verify").returncode == 0


@pytest.mark.parametrize("key", ["AKID", "AKID:", ":secret"])
def test_a_key_that_cannot_sign_is_told_at_the_start(tmp_path: Path, key: str) -> None:
    (tmp_path / "omixa.toml").write_text(f"""
[[deployments]]
name = "aws"
provider = "bedrock"
endpoint = "https://bedrock-runtime.us-west-2.amazonaws.com"
api_key = "{key}"
""")
    done = Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data")}).run("serve", "--port", "0")
    assert done.returncode == EXIT_CONFIG
    assert "ACCESS_KEY_ID:SECRET_ACCESS_KEY" in done.stderr
    assert "Traceback" not in done.stderr
