"""A network that loses an answer after it was charged: what each client does about it, and what that costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.clients.conftest import CREDIT, Books
from tests.support.clients import Client, ClientFailed, Library
from tests.support.cutting import Cutter
from tests.support.footprint import money

MODEL = "omixa-illustrator-1"
PROMPT = "A red kite over a stubble field at dusk"
KEY = {"headers": {"Idempotency-Key": "order-4711"}}
# OpenAI's own client for Python is tested in tests/api/test_retries.py.
COUNTING = (Client("openai_node"), Client("litellm_python"), Client("langchain_js"))
NOT_COUNTING = (
    (Client("vercel_ai", "openai"), "generate"),
    (Client("vercel_ai", "compatible"), "generate"),
    (Client("vercel_ai", "compatible"), "edit"),
)


@pytest.fixture
def lossy(cutter: Cutter, books: Books) -> dict[str, str]:
    """The address of a network that loses the first answer as soon as it is charged."""
    cutter.cuts.append(lambda: money(books.gateway, books.workspace, "live")[0] < CREDIT)
    return {"base_url": f"http://127.0.0.1:{cutter.port}/api/v1", "api_key": books.key}


@pytest.mark.parametrize("client", COUNTING, ids=str)
def test_a_client_that_counts_its_tries_is_charged_once(
    client: Client,
    library: Callable[[str], Library],
    lossy: dict[str, str],
    cutter: Cutter,
    books: Books,
) -> None:
    made = library(client.library).call("generate", client=lossy, model=MODEL, prompt=PROMPT)
    assert len(made["pictures"]) == 1
    assert cutter.connections == 2
    assert [entry["joined_requests"] for entry in books.log()] == [1]
    assert books.charges() == [("0.002000", 1)]


@pytest.mark.parametrize(("client", "call"), NOT_COUNTING, ids=str)
def test_a_client_that_does_not_is_charged_once_with_a_key(
    client: Client,
    library: Callable[[str], Library],
    lossy: dict[str, str],
    cutter: Cutter,
    books: Books,
    files: list[str],
    opened: Callable[[str], Image.Image],
    call: str,
) -> None:
    fields: dict[str, Any] = {"images": files[:1]} if call == "edit" else {}
    made = library(client.library).call(
        call, client=lossy, model=MODEL, prompt=PROMPT, **client.fields, **fields, **KEY
    )
    (picture,) = made["pictures"]
    assert opened(picture).format == "PNG"
    assert cutter.connections == 2
    assert made["request_ids"] == [books.log()[0]["id"]]
    assert books.charges() == [("0.002000", 1)]


def test_a_client_that_neither_counts_nor_sends_a_key_has_asked_twice(
    library: Callable[[str], Library], lossy: dict[str, str], cutter: Cutter, books: Books
) -> None:
    library("vercel_ai").call("generate", client=lossy, model=MODEL, prompt=PROMPT, provider="compatible")
    assert cutter.connections == 2
    assert books.charges() == [("0.002000", 1)] * 2


@pytest.mark.parametrize("client", [Client("litellm_python"), Client("openai_node")], ids=str)
def test_an_edit_that_is_not_tried_again_is_kept_for_its_client(
    client: Client, library: Callable[[str], Library], lossy: dict[str, str], books: Books, files: list[str]
) -> None:
    # Both send the file as a stream, which cannot be sent again.
    with pytest.raises(ClientFailed):
        library(client.library).call("edit", client=lossy, model=MODEL, prompt=PROMPT, images=files[:1])
    assert books.charges() == [("0.002000", 1)]
    kept = books.client.get(f"/api/v1/requests/{books.log()[0]['id']}/result")
    assert kept.json()["omixa"]["billed_amount"] == "0.002000"
