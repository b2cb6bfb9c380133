"""Prompts over HTTP: kept where a workspace asks for it, found by their words, and gone when it changes its mind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import bindparam, select

from omixa.access import store
from omixa.storage.tables import prompt
from tests.support.document import Document
from tests.support.servers import Gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
LOG = f"{API}/usage/requests"
SETTINGS = f"{API}/settings/results"


@pytest.fixture
def live(live_client: httpx.Client, document: Document) -> httpx.Client:
    """A client with a live key and ten dollars, each answer of which is held against the document."""
    live_client.event_hooks["response"] = [document.check]
    return live_client


@pytest.fixture
def keeping(live: httpx.Client) -> httpx.Client:
    """The same, of a workspace that keeps its prompts."""
    assert live.patch(SETTINGS, json={"keep_prompts": True}).json()["keep_prompts"] is True
    return live


@pytest.fixture
def stranger(gateway: Gateway, workspace: str, document: Document) -> Iterator[httpx.Client]:
    """A client with a live key of another workspace, which keeps its prompts too."""
    gateway.grant(10_000_000, workspace=f"{workspace}-stranger")
    with gateway.client(gateway.key("live", f"{workspace}-stranger")) as opened:
        opened.event_hooks["response"] = [document.check]
        opened.patch(SETTINGS, json={"keep_prompts": True}).raise_for_status()
        yield opened


def make(client: httpx.Client, text: str, headers: dict[str, str] | None = None, **fields: Any) -> str:
    answer = client.post(CREATE, json={"model": MODEL, "prompt": text, **fields}, headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


def search(client: httpx.Client, words: str, **query: Any) -> Any:
    return client.get(LOG, params={"prompt": words, **query}).raise_for_status().json()


def found(client: httpx.Client, words: str, **query: Any) -> list[str]:
    return [one["id"] for one in search(client, words, **query)["data"]]


def told(client: httpx.Client, request_id: str) -> str | None:
    text: str | None = client.get(f"{API}/requests/{request_id}/images").raise_for_status().json()["prompt"]
    return text


def kept(gateway: Gateway, workspace: str) -> list[tuple[str, str]]:
    query = select(prompt).where(prompt.c.workspace_id == bindparam("of_workspace"))
    rows = gateway.read(lambda tx: tx.all(query, of_workspace=store.find_workspace(tx, workspace)))
    return [(row["request_id"], row["text"]) for row in rows]


def refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def test_nothing_is_kept_and_nothing_searched_unless_a_workspace_asks_for_it(
    gateway: Gateway, live: httpx.Client, workspace: str
) -> None:
    before = make(live, "A red kite")
    assert told(live, before) is None
    assert refused(live.get(LOG, params={"prompt": "kite"})) == (400, "invalid_value", "prompt")
    assert kept(gateway, workspace) == []
    live.patch(SETTINGS, json={"keep_prompts": True})
    after = make(live, "A red Kite over stubble")
    assert (told(live, before), told(live, after)) == (None, "A red Kite over stubble")
    assert found(live, "KITE red") == [after]
    assert found(live, "fox") == []
    assert kept(gateway, workspace) == [(after, "A red Kite over stubble")]


def test_turning_it_off_deletes_them_all(gateway: Gateway, keeping: httpx.Client, workspace: str) -> None:
    made = [make(keeping, f"A red kite, number {n}") for n in range(3)]
    assert len(kept(gateway, workspace)) == 3
    assert keeping.patch(SETTINGS, json={"keep_prompts": False}).json()["keep_prompts"] is False
    assert kept(gateway, workspace) == []
    assert told(keeping, made[0]) is None
    assert refused(keeping.get(LOG, params={"prompt": "kite"})) == (400, "invalid_value", "prompt")
    # What was deleted does not come back.
    keeping.patch(SETTINGS, json={"keep_prompts": True})
    assert found(keeping, "kite") == []


def test_where_nothing_is_kept_no_prompt_is(gateway: Gateway, keeping: httpx.Client, workspace: str) -> None:
    make(keeping, "A red kite")
    changed = keeping.patch(SETTINGS, json={"retention_hours": 0}).json()
    assert (changed["retention_hours"], changed["keep_prompts"]) == (0, True)
    assert kept(gateway, workspace) == []
    make(keeping, "A red kite again")
    assert kept(gateway, workspace) == []
    assert refused(keeping.get(LOG, params={"prompt": "kite"})) == (400, "invalid_value", "prompt")


def test_a_deleted_result_takes_its_prompt_along(gateway: Gateway, keeping: httpx.Client, workspace: str) -> None:
    gone, other = make(keeping, "A red kite"), make(keeping, "Another red kite")
    assert keeping.delete(f"{API}/requests/{gone}/result").status_code == 200
    assert kept(gateway, workspace) == [(other, "Another red kite")]
    assert found(keeping, "kite") == [other]


def test_a_prompt_belongs_to_the_request_that_was_charged(
    gateway: Gateway, keeping: httpx.Client, workspace: str
) -> None:
    key = {"idempotency-key": "one"}
    first = make(keeping, "A red kite", key)
    assert make(keeping, "A red kite", key) == first
    retried = {"x-stainless-retry-count": "0"}
    second = make(keeping, "A red fox", retried)
    make(keeping, "A red fox", {"x-stainless-retry-count": "1"})
    refusal = keeping.post(CREATE, json={"model": MODEL, "prompt": "A red owl", "size": "7x7"})
    assert refusal.status_code == 400
    texts = kept(gateway, workspace)
    assert {(first, "A red kite"), (second, "A red fox")} <= set(texts)
    assert [text for _, text in texts].count("A red kite") == 1
    assert "A red owl" not in str(texts)


def test_nobody_else_finds_them(
    gateway: Gateway, keeping: httpx.Client, stranger: httpx.Client, workspace: str, document: Document
) -> None:
    mine = make(keeping, "A red kite")
    theirs = make(stranger, "A red kite")
    assert (found(keeping, "kite"), found(stranger, "kite")) == ([mine], [theirs])
    assert found(stranger, "") == [theirs]
    assert stranger.get(f"{API}/requests/{mine}/images").status_code == 404
    # Live and test are apart, for keys of one workspace too.
    with gateway.client(gateway.key("test", workspace)) as other:
        other.event_hooks["response"] = [document.check]
        play = make(other, "A kite to play with")
        assert (found(other, "kite"), found(keeping, "kite")) == ([play], [mine])
        assert other.get(f"{API}/requests/{mine}/images").status_code == 404


def test_pages_are_followed_and_other_filters_count(keeping: httpx.Client) -> None:
    made = [make(keeping, f"A red kite, number {n}") for n in range(3)]
    make(keeping, "A fox")
    seen: list[str] = []
    answer = keeping.get(LOG, params={"prompt": "kite number", "limit": 2, "state": "captured"})
    while True:
        page = answer.json()
        seen += [one["id"] for one in page["data"]]
        assert page["has_more"] == ("link" in answer.headers)
        if not page["has_more"]:
            break
        assert page["last_id"] == seen[-1]
        answer = keeping.get(answer.links["next"]["url"])
    assert sorted(seen) == sorted(made)
    assert seen == sorted(seen, reverse=True)
    assert found(keeping, "kite", outcome="invalid_value") == []
    assert found(keeping, "kite", model=MODEL.lower(), since="2020-01-01") == sorted(made, reverse=True)
    assert found(keeping, "kite", until="2020-01-01") == []


@pytest.mark.parametrize("words", ["%", "_", "\\", "' OR ''='", "\u202e", "%00", "[a-z]", "*"])
def test_no_character_means_anything(keeping: httpx.Client, words: str) -> None:
    make(keeping, "A red kite")
    assert found(keeping, words) == []
    exact = make(keeping, f"x{words}y")
    assert found(keeping, words) == [exact]


def test_a_question_has_an_end(keeping: httpx.Client) -> None:
    assert found(keeping, "x" * 200) == []
    assert refused(keeping.get(LOG, params={"prompt": "x" * 201})) == (400, "invalid_value", "prompt")


def test_a_hostile_prompt_is_kept_as_it_is(keeping: httpx.Client) -> None:
    hostile = "</script><img src=x onerror=alert(1)> \u202e\u2067 \U0001f98a " + "A" * 10_000
    made = make(keeping, hostile)
    assert told(keeping, made) == hostile[:10_000]
    assert found(keeping, "onerror=ALERT(1) \U0001f98a") == [made]
