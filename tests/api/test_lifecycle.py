"""The end of a model: announced by headers and on its page, and then it is not found; nothing is held or charged for it."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.domain.times import utc_today
from tests.support.catalogues import copy_catalogue
from tests.support.document import Document
from tests.support.pictures import reference
from tests.support.servers import Gateway, running_gateway

API = "/api/v1"
TODAY = utc_today()
DAY = datetime.timedelta(days=1)
OLD, GONE, NEW = "omixa-illustrator-1", "omixa-upscale-1", "MAI-Image-2.5"
# Far enough that no test run reaches it.
SUNSET = TODAY + 30 * DAY


def _age(catalogue: Path, model: str, **days: datetime.date) -> None:
    file = catalogue / "models" / f"{model}.toml"
    lines = "".join(f"{name} = {day.isoformat()}\n" for name, day in days.items()) + f'successor = "{NEW}"\n'
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("released =", f"{lines}released =", 1), encoding="utf-8")


@pytest.fixture(scope="module")
def ageing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a model that is deprecated, and one that was retired today."""
    catalogue = copy_catalogue(tmp_path_factory.mktemp("ageing") / "catalogue")
    _age(catalogue, OLD, deprecated=TODAY - DAY, retires=SUNSET)
    _age(catalogue, GONE, deprecated=TODAY - 30 * DAY, retires=TODAY)
    with running_gateway(tmp_path_factory.mktemp("data"), catalogue_dir=str(catalogue)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(ageing: Gateway) -> Iterator[httpx.Client]:
    with ageing.client(ageing.key("test")) as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Document:
    return Document(client.get("/openapi.json").json())


def told(answer: httpx.Response) -> tuple[str | None, str | None]:
    return answer.headers.get("deprecation"), answer.headers.get("sunset")


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a generation": (f"{API}/images/generations", {}),
    "a stream": (f"{API}/images/generations", {"stream": True}),
    "an edit": (f"{API}/images/edits", {"images": [reference()]}),
    "an estimate": (f"{API}/images/estimate", {}),
}


@pytest.mark.parametrize(("path", "fields"), REQUESTS.values(), ids=REQUESTS.keys())
def test_answers_of_a_deprecated_model_announce_its_end(
    client: httpx.Client, document: Document, path: str, fields: dict[str, Any]
) -> None:
    answer = client.post(path, json={"model": OLD, "prompt": "A red kite", **fields})
    assert answer.status_code == 200, answer.text[:300]
    document.check(answer)
    deprecation, sunset = told(answer)
    assert deprecation is not None
    assert sunset is not None
    since = datetime.datetime.fromtimestamp(int(deprecation.removeprefix("@")), datetime.UTC)
    assert (since.date(), since.time()) == (TODAY - DAY, datetime.time())
    assert parsedate_to_datetime(sunset).date() == SUNSET


def test_other_models_say_nothing_of_an_end(client: httpx.Client) -> None:
    answer = client.post(f"{API}/images/estimate", json={"model": NEW, "prompt": "A red kite"})
    assert told(answer) == (None, None)


def test_the_models_description_says_it(client: httpx.Client, document: Document) -> None:
    answer = client.get(f"{API}/models/{OLD}")
    document.check(answer)
    assert told(answer)[0] is not None
    model = answer.json()
    assert (model["deprecated"], model["retires"], model["successor"]) == (
        (TODAY - DAY).isoformat(),
        SUNSET.isoformat(),
        NEW,
    )
    other = client.get(f"{API}/models/{NEW}").json()
    assert (other["deprecated"], other["retires"], other["successor"]) == (None, None, None)


def test_the_models_page_says_it(client: httpx.Client) -> None:
    for page in (client.get(f"/docs/models/{OLD}").text, client.get(f"/docs/models/{OLD}.md").text):
        assert (TODAY - DAY).isoformat() in page
        assert SUNSET.isoformat() in page
        assert NEW in page
    assert "eprecated since" not in client.get(f"/docs/models/{NEW}").text


@pytest.mark.parametrize(
    "path",
    [f"{API}/images/generations", f"{API}/images/estimate", f"{API}/models/{GONE}", f"{API}/models/{GONE}/schema"],
)
def test_a_retired_model_is_not_found_and_its_successor_is_named(
    client: httpx.Client, document: Document, path: str
) -> None:
    before = client.get(f"{API}/balance").json()
    body = {"model": GONE, "input_images": [reference()]}
    answer = client.get(path) if "/models/" in path else client.post(path, json=body)
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert f"it was retired on {TODAY}. Use {NEW} instead." in error["message"]
    assert client.get(f"{API}/balance").json() == before


def test_a_retired_model_is_listed_no_more(client: httpx.Client) -> None:
    listed = {model["id"] for model in client.get(f"{API}/models").json()["data"]}
    assert GONE not in listed
    assert {OLD, NEW} <= listed
