"""Further names of models: a tool that has another service's names built in gets a model of this one, and is told which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.servers import Gateway, running_gateway

API = "/api/v1"
MODEL = "omixa-illustrator-1"


@pytest.fixture(scope="module")
def aliased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    names = f"gpt-image-1={MODEL}, dall-e-3 = MAI-Image-2.5,"
    with running_gateway(tmp_path_factory.mktemp("aliased"), model_aliases=names) as gateway:
        yield gateway


@pytest.fixture
def client(aliased: Gateway) -> Iterator[httpx.Client]:
    with aliased.client(aliased.key("test")) as client:
        yield client


def ask(client: httpx.Client, model: str) -> httpx.Response:
    return client.post(f"{API}/images/generations", json={"model": model, "prompt": "a red kite"})


@pytest.mark.parametrize("name", ["gpt-image-1", "GPT-Image-1"])
def test_a_request_by_another_name_is_made_and_billed_as_the_models(
    client: httpx.Client, document: Document, name: str
) -> None:
    answer = ask(client, name)
    document.check(answer)
    omixa = answer.json()["omixa"]
    assert (omixa["requested_model"], omixa["model"], omixa["billed_amount"]) == (name, MODEL, "0.002000")
    receipt = client.get(f"{API}/requests/{omixa['request_id']}/receipt").json()
    assert (receipt["requested_model"], receipt["model"]) == (name, MODEL)
    assert client.get(f"{API}/usage/requests").json()["data"][0]["model"] == MODEL


def test_a_model_is_described_under_both_names_and_listed_under_its_own(client: httpx.Client) -> None:
    described = client.get(f"{API}/models/dall-e-3").json()
    assert described["id"] == "MAI-Image-2.5"
    assert "dall-e-3" not in client.get(f"{API}/models").text


def test_a_key_for_a_model_may_use_its_other_names(aliased: Gateway) -> None:
    with aliased.client(aliased.key("test", models=[MODEL])) as client:
        assert ask(client, "gpt-image-1").status_code == 200
        refused = ask(client, "dall-e-3")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")


def test_without_the_option_the_name_is_unknown(test_client: httpx.Client) -> None:
    assert ask(test_client, "gpt-image-1").status_code == 404


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("gpt-image-1", "pairs such as gpt-image-1=MAI-Image-2.5"),
        ("gpt-image-1=", "pairs such as"),
        ("=MAI-Image-2.5", "pairs such as"),
        ("gpt-image-1=Another", 'the model "Another" does not exist'),
        ("mai-image-2.5=omixa-illustrator-1", '"mai-image-2.5" is the name of a model'),
        ("a=MAI-Image-2.5,A=omixa-illustrator-1", '"A" stands for two models'),
    ],
)
def test_names_that_make_no_sense_are_told_and_nothing_starts(tmp_path: Path, names: str, reason: str) -> None:
    refused = Omixa(tmp_path, {"OMIXA_MODEL_ALIASES": names}).run("serve", "--port", "0")
    assert refused.returncode != 0
    assert reason in refused.stderr
