"""Every hostile file through HTTP: a picture or a refusal that names it, which costs nothing, and the server goes on."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx2 as httpx
import pytest

from omixa.billing.verify import verify
from omixa.services import Services
from tests.fuzz.hostile import ACCEPTED, EITHER, Hostile, files
from tests.fuzz.pictures import mutated
from tests.fuzz.seeds import seeds
from tests.support.document import Document
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.pictures import data_url, picture
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "omixa-illustrator-1"
EDIT, CREATE, ESTIMATE = (f"/api/v1/images/{name}" for name in ("edits", "generations", "estimate"))
CREDIT = 10_000_000


@pytest.fixture(scope="module")
def alone(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that nothing else uses."""
    with running_gateway(tmp_path_factory.mktemp("hostile"), foundry) as running:
        yield running


@pytest.fixture
def client(alone: Gateway, document: Document) -> Iterator[httpx.Client]:
    """A client with ten dollars, each answer of which is held against the document."""
    alone.grant(CREDIT)
    with alone.client(alone.key("live")) as opened:
        opened.event_hooks["response"] = [document.check]
        yield opened


def upload(client: httpx.Client, file: Hostile) -> httpx.Response:
    fields = {"model": MODEL, "prompt": "at night"}
    body = form(*(part(*one) for one in fields.items()), part("image", file.data, "a", file.media_type))
    return client.post(EDIT, content=body, headers={"content-type": CONTENT_TYPE})


def complaint(file: Hostile, answer: httpx.Response, *places: str) -> str | None:
    """Return what is wrong with the answer to a file."""
    if answer.status_code == 200:
        return None if file.outcome in (ACCEPTED, EITHER) else "was accepted"
    error = answer.json()["error"]
    if answer.status_code != 400 or error["param"] not in places or not error["message"]:
        return f"{answer.status_code} {error}"
    # What only a decoder sees is the embedded model's refusal, which does not say what is wrong.
    expected = (file.outcome, "provider_rejected_request") if file.outcome == "invalid_image" else (file.outcome,)
    return None if file.outcome == EITHER or error["code"] in expected else f"expected {file.outcome}, got {error}"


def test_there_are_enough_of_them() -> None:
    assert len(files()) >= 300
    assert [one.data for one in files()] == [one.data for one in files.__wrapped__()]


def test_every_hostile_file_is_a_picture_or_refused_with_its_place(client: httpx.Client, alone: Gateway) -> None:
    wrong, pictures = {}, 0
    for file in files():
        before = client.get("/api/v1/balance").json()["available"]
        answer = upload(client, file)
        if found := complaint(file, answer, "image", "input_images"):
            wrong[file.name] = found
        pictures += answer.status_code == 200
        paid = client.get("/api/v1/balance").json()["available"] != before
        assert paid is (answer.status_code == 200), file.name
    assert wrong == {}
    assert pictures >= sum(file.outcome == ACCEPTED for file in files())

    async def check(services: Services) -> list[str]:
        return list(map(str, (await services.database.read(verify)).findings))

    assert alone.call(check) == []


def test_hostile_data_urls_and_masks_are_refused_with_their_place(client: httpx.Client) -> None:
    """A share of them, since what is behind a data URL is the same as what is behind a file."""
    wrong = {}
    for file in files()[::9]:
        if not file.media_type.startswith("image/") or file.outcome in (ACCEPTED, EITHER):
            continue
        body = {"model": MODEL, "prompt": "at night"}
        images = [data_url(picture("png", 48, 32)), data_url(file.data, file.media_type)]
        answer = client.post(CREATE, json={**body, "input_images": images})
        if found := complaint(file, answer, "input_images[1]", "input_images"):
            wrong[f"{file.name} in JSON"] = found
        answer = client.post(CREATE, json={**body, "input_images": images[:1], "mask": images[1]})
        if found := complaint(file, answer, "mask"):
            wrong[f"{file.name} as mask"] = found
    assert wrong == {}


def test_broken_pictures_never_break_the_server(client: httpx.Client) -> None:
    """The fuzzer's pictures through HTTP: all are priced or refused, and some of those that are priced are edited."""
    seed = random.SystemRandom().randrange(2**32)
    chance, corpus, wrong, edited = random.Random(seed), seeds(), {}, 0
    for number in range(300):
        data = mutated(chance, corpus)
        kind = (
            "webp"
            if data[:4] == b"RIFF"
            else "jpeg"
            if data[:1] == b"\xff"
            else "png"
            if data[:1] == b"\x89"
            else "avif"
        )
        body = {"model": MODEL, "prompt": "at night", "input_images": [data_url(data, f"image/{kind}")]}
        answer = client.post(ESTIMATE, json=body)
        if answer.status_code == 200 and edited < 20:
            edited += 1
            answer = client.post(CREATE, json=body)
        if answer.status_code != 200 and (
            answer.status_code != 400 or not answer.json()["error"]["param"].startswith("input_images")
        ):
            wrong[f"seed {seed}, input {number}"] = f"{answer.status_code} {answer.text[:300]}"
    assert wrong == {}
    assert edited > 5
