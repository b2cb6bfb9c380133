"""Results as links: who may fetch a picture and how, what is served, deletion that deletes, and how long anything is kept."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from blake3 import blake3
from PIL import Image as Pillow
from sqlalchemy import bindparam, select, update

from omixa.catalogue.bodies import parse_body
from omixa.config import LinkSettings
from omixa.domain.images import MEDIA_TYPES, ImageFormat
from omixa.engines.conversions import Conversions
from omixa.gateway import results, thumbnails
from omixa.gateway.deletion import DELIVERED_MS
from omixa.gateway.results import UNDELIVERED_MS
from omixa.gateway.verification import verify_all
from omixa.storage.tables import attempt, audit_log, request, small_result
from tests.support.document import Document, events
from tests.support.faults import eventually, raw_post
from tests.support.footprint import money
from tests.support.servers import Gateway, Simulator, running_gateway
from tests.support.serving import open_account, serving

MODEL = "MAI-Image-2.5"
ILLUSTRATOR = "omixa-illustrator-1"
API = "/api/v1"
CREATE = f"{API}/images/generations"
SETTINGS = f"{API}/settings/results"
PRICE = 33_900
CREDIT = 10_000_000
HOUR_MS = 3_600_000
Body = dict[str, Any]


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    """A client with a test key, each answer of which is held against the document."""
    test_client.event_hooks["response"] = [document.check]
    return test_client


@pytest.fixture
def live(live_client: httpx.Client, document: Document) -> httpx.Client:
    """The same with a live key and ten dollars."""
    live_client.event_hooks["response"] = [document.check]
    return live_client


@pytest.fixture
def stranger(gateway: Gateway, document: Document) -> Iterator[httpx.Client]:
    """A client without a key."""
    with gateway.client(None) as opened:
        opened.event_hooks["response"] = [document.check]
        yield opened


def make(client: httpx.Client, headers: dict[str, str] | None = None, **fields: Any) -> Body:
    body = {"model": MODEL, "prompt": "A red kite over stubble", **fields}
    answer = client.post(CREATE, json=body, headers=headers or {})
    assert answer.status_code == 200, answer.text
    made: Body = answer.json()
    return made


def id_of(made: Body) -> str:
    identifier: str = made["omixa"]["request_id"]
    return identifier


def result_path(made: Body) -> str:
    return f"{API}/requests/{id_of(made)}/result"


def kept_files(gateway: Gateway, request_id: str) -> list[str]:
    return gateway.call(_find(request_id))


def _find(request_id: str) -> Callable[..., Any]:
    async def find(services: Any) -> list[str]:
        found: list[str] = services.blobs.find(request_id)
        return found

    return find


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def pass_time(gateway: Gateway, request_id: str, expires_at_ms: int) -> None:
    """Let the time of a result end then."""
    change = update(request).where(request.c.id == bindparam("of_request")).values(result_expires_at_ms=expires_at_ms)
    gateway.write(lambda tx: tx.execute(change, of_request=request_id))


def row_of(gateway: Gateway, request_id: str) -> Any:
    query = select(request).where(request.c.id == bindparam("of_request"))
    return gateway.read(lambda tx: tx.first(query, of_request=request_id))


# ------------------------------------------------------------------------------------------------------------------ links


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("small", [False, True], ids=["file", "database"])
def test_a_link_leads_to_the_picture_without_a_key(
    client: httpx.Client,
    stranger: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    output_format: ImageFormat,
    small: bool,
) -> None:
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 1 << 24 if small else 0)
    made = make(client, response_format="url", n=2, output_format=output_format)
    again = client.get(result_path(made), params={"response_format": "b64_json"}).json()
    for index, datum in enumerate(made["data"]):
        assert (list(datum), datum["b64_json"]) == (["b64_json", "url"], None)
        served = stranger.get(datum["url"])
        assert served.status_code == 200
        assert served.content == base64.b64decode(again["data"][index]["b64_json"], validate=True)
        assert served.headers["content-type"] == MEDIA_TYPES[output_format]
        assert Pillow.open(io.BytesIO(served.content)).size == (1024, 1024)


def test_a_picture_is_served_so_that_no_browser_makes_anything_else_of_it(
    client: httpx.Client, stranger: httpx.Client
) -> None:
    made = make(client, response_format="url")
    served = stranger.get(made["data"][0]["url"])
    assert served.headers["x-content-type-options"] == "nosniff"
    assert served.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert served.headers["cross-origin-resource-policy"] == "cross-origin"
    assert served.headers["referrer-policy"] == "no-referrer"
    assert served.headers["content-disposition"] == f'inline; filename="{id_of(made)}-0.png"'
    assert "set-cookie" not in served.headers
    private, age, immutable = served.headers["cache-control"].split(", ")
    assert (private, immutable) == ("private", "immutable")
    assert 0 < int(age.removeprefix("max-age=")) <= 3_600
    refusal = stranger.get(made["data"][0]["url"] + "x")
    assert refusal.status_code == 403
    assert refusal.headers["x-content-type-options"] == "nosniff"
    assert refusal.headers["content-security-policy"] == "default-src 'none'; sandbox"


def test_no_answer_has_links_unless_they_are_asked_for(client: httpx.Client) -> None:
    for fields in ({}, {"response_format": "b64_json"}, {"response_format": None}):
        (datum,) = make(client, **fields)["data"]
        assert (datum["url"], type(datum["b64_json"])) == (None, str)


def test_a_stream_carries_links_where_they_are_asked_for(client: httpx.Client, stranger: httpx.Client) -> None:
    body = {"model": ILLUSTRATOR, "prompt": "a red fox", "n": 2, "stream": True, "partial_images": 1}
    answer = client.post(CREATE, json=body | {"response_format": "url"})
    completed = [event for event in events(answer.text) if event["type"].endswith(".completed")]
    assert [event["b64_json"] for event in completed] == [None, None]
    pictures = {stranger.get(event["url"]).content for event in completed}
    assert len(pictures) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda link: link.partition("?")[0], "invalid_link"),
        (lambda link: link.rpartition("&")[0], "invalid_link"),
        (lambda link: link.replace("/0.png", "/1.png"), "invalid_link"),
        (lambda link: link.replace("/0.png", "/0.thumbnail.webp"), "invalid_link"),
        (lambda link: link.replace("expires=", "expires=9"), "invalid_link"),
        (lambda link: link.replace("expires=", "expires=%20"), "invalid_link"),
        (lambda link: link[:-1] + ("A" if link[-1] != "A" else "B"), "invalid_link"),
        (lambda link: link.replace("signature=", "signature=%F0%9F%A6%8A"), "invalid_link"),
        (lambda link: link.partition("&signature=")[0] + "&signature=" + "A" * 43, "invalid_link"),
    ],
)
def test_a_forged_link_is_refused(
    client: httpx.Client, stranger: httpx.Client, change: Callable[[str], str], code: str
) -> None:
    link = make(client, response_format="url", n=2)["data"][0]["url"]
    assert stranger.get(link).status_code == 200
    assert refused(stranger.get(change(link))) == (403, code)


def test_a_link_is_for_its_own_request(client: httpx.Client, stranger: httpx.Client) -> None:
    first, second = make(client, response_format="url"), make(client, response_format="url")
    link = first["data"][0]["url"].replace(id_of(first), id_of(second))
    assert refused(stranger.get(link)) == (403, "invalid_link")


def test_what_is_no_part_of_a_link_is_named(client: httpx.Client, stranger: httpx.Client) -> None:
    link = make(client, response_format="url")["data"][0]["url"]
    assert refused(stranger.get(link + "&width=100")) == (400, "unknown_parameter")


def test_a_link_ends(gateway: Gateway, client: httpx.Client, stranger: httpx.Client) -> None:
    before = int(time.time())
    made = make(client, response_format="url")
    expires = int(parse_qs(urlsplit(made["data"][0]["url"]).query)["expires"][0])
    assert before + 3_600 <= expires <= int(time.time()) + 3_600

    async def old_link(services: Any) -> str:
        signed: str = services.links.sign(f"/results/{id_of(made)}/0.png", int(time.time()) - 1)
        return signed

    assert refused(stranger.get(gateway.call(old_link))) == (403, "link_expired")
    fresh = client.get(result_path(made), params={"response_format": "url"}).json()
    assert stranger.get(fresh["data"][0]["url"]).status_code == 200


def test_no_link_outlives_its_picture(gateway: Gateway, client: httpx.Client, stranger: httpx.Client) -> None:
    made = make(client, response_format="url")
    soon = int(time.time()) + 600
    pass_time(gateway, id_of(made), soon * 1000)
    fresh = client.get(result_path(made), params={"response_format": "url"}).json()["data"][0]["url"]
    assert parse_qs(urlsplit(fresh).query)["expires"] == [str(soon)]
    age = stranger.get(made["data"][0]["url"]).headers["cache-control"].split(", ")[1]
    assert int(age.removeprefix("max-age=")) <= 600
    pass_time(gateway, id_of(made), (soon - 601) * 1000)
    gone = stranger.get(made["data"][0]["url"])
    assert refused(gone) == (410, "result_expired")
    assert "omixa-cost" not in gone.headers


def test_a_repeat_gets_new_links_to_the_same_picture(live: httpx.Client, stranger: httpx.Client) -> None:
    first = make(live, {"idempotency-key": "one"}, response_format="url")
    again = make(live, {"idempotency-key": "one"}, response_format="url")
    assert {**again, "data": None} == {**first, "data": None}
    assert urlsplit(again["data"][0]["url"]).path == urlsplit(first["data"][0]["url"]).path
    assert stranger.get(again["data"][0]["url"]).content == stranger.get(first["data"][0]["url"]).content


def test_keys_that_clients_send_along_are_neither_needed_nor_looked_at(
    gateway: Gateway, client: httpx.Client, stranger: httpx.Client
) -> None:
    link = make(client, response_format="url")["data"][0]["url"]
    for authorization in ("Bearer omx_live_nonsense", "Basic eDp5", client.headers["authorization"]):
        served = stranger.get(link, headers={"authorization": authorization})
        assert served.status_code == 200


def test_a_key_opens_no_picture(client: httpx.Client) -> None:
    made = make(client, response_format="url")
    assert refused(client.get(f"/results/{id_of(made)}/0.png")) == (403, "invalid_link")


def test_links_begin_as_the_client_has_reached_the_server(gateway: Gateway, client: httpx.Client) -> None:
    link = make(client, response_format="url")["data"][0]["url"]
    assert link.startswith(f"{gateway.url}/results/")
    named = make(client, {"host": "omixa.example:8443"}, response_format="url")["data"][0]["url"]
    assert named.startswith("http://omixa.example:8443/results/")
    odd = make(client, {"host": 'x"/<script>'}, response_format="url")["data"][0]["url"]
    assert odd.startswith(f"{gateway.url}/results/")


def test_links_may_have_a_host_and_a_lifetime_of_their_own(tmp_path: Path) -> None:
    links = LinkSettings(base_url="https://pictures.example.org/omixa/", lifetime_minutes=5)
    with running_gateway(tmp_path, links=links) as gateway, gateway.client(gateway.key("test")) as client:
        before = int(time.time())
        made = make(client, response_format="url")
        link = urlsplit(made["data"][0]["url"])
        assert (link.scheme, link.netloc) == ("https", "pictures.example.org")
        assert link.path == f"/omixa/results/{id_of(made)}/0.png"
        assert before + 300 <= int(parse_qs(link.query)["expires"][0]) <= int(time.time()) + 300
        # A proxy in front takes its own part of the path away.
        assert client.get(f"{link.path.removeprefix('/omixa')}?{link.query}").status_code == 200


def test_links_outlive_a_restart(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway, gateway.client(gateway.key("test")) as client:
        link = urlsplit(make(client, response_format="url")["data"][0]["url"])
    with running_gateway(tmp_path) as gateway, gateway.client(None) as stranger:
        assert stranger.get(f"{link.path}?{link.query}").status_code == 200
    with running_gateway(tmp_path / "other") as other, other.client(None) as stranger:
        assert refused(stranger.get(f"{link.path}?{link.query}")) == (403, "invalid_link")


# ---------------------------------------------------------------------------------------------------------------- serving


def test_a_client_that_has_the_picture_is_told_so(client: httpx.Client, stranger: httpx.Client) -> None:
    made = make(client, response_format="url", n=2)
    first, second = (datum["url"] for datum in made["data"])
    tag = stranger.get(first).headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = stranger.get(first, headers={"if-none-match": given})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert stranger.get(second, headers={"if-none-match": tag}).status_code == 200


def test_the_headers_can_be_had_alone(client: httpx.Client, stranger: httpx.Client) -> None:
    link = make(client, response_format="url")["data"][0]["url"]
    whole, head = stranger.get(link), stranger.head(link)
    passing = {"date", "x-request-id", "cache-control"}
    assert head.content == b""
    assert {name: value for name, value in head.headers.items() if name not in passing} == {
        name: value for name, value in whole.headers.items() if name not in passing
    }


def test_a_part_can_be_had_alone(client: httpx.Client, stranger: httpx.Client) -> None:
    link = make(client, response_format="url")["data"][0]["url"]
    whole = stranger.get(link)
    data, size, tag = whole.content, len(whole.content), whole.headers["etag"]
    for asked, part in (
        ("bytes=0-0", data[:1]),
        ("bytes=8-", data[8:]),
        ("bytes=100-199", data[100:200]),
        (f"bytes=10-{size + 5}", data[10:]),
        ("bytes=-12", data[-12:]),
    ):
        served = stranger.get(link, headers={"range": asked})
        assert (served.status_code, served.content) == (206, part), asked
        start = data.index(part) if asked != "bytes=0-0" else 0
        assert served.headers["content-range"] == f"bytes {start}-{start + len(part) - 1}/{size}"
    for asked in (f"bytes={size}-", "bytes=5-4", "bytes=-", "bytes=0-1,4-5", "lines=1-2", f"bytes=-{size}", "bytes=-0"):
        assert (stranger.get(link, headers={"range": asked}).status_code) == 200, asked
    of_this = stranger.get(link, headers={"range": "bytes=0-1", "if-range": tag})
    of_another = stranger.get(link, headers={"range": "bytes=0-1", "if-range": '"another"'})
    assert (of_this.status_code, of_another.status_code) == (206, 200)


def test_a_damaged_picture_is_not_served(
    gateway: Gateway, client: httpx.Client, stranger: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
    made = make(client, response_format="url")
    (name,) = kept_files(gateway, id_of(made))
    path = Path(gateway.settings.data_dir) / "results" / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert refused(stranger.get(made["data"][0]["url"])) == (500, "internal_error")
    path.write_bytes(whole)
    assert stranger.get(made["data"][0]["url"]).status_code == 200


# ------------------------------------------------------------------------------------------------- lists and thumbnails


def test_pictures_are_listed_with_links(client: httpx.Client, stranger: httpx.Client) -> None:
    made = make(client, n=2, output_format="jpeg")
    listed = client.get(f"{API}/requests/{id_of(made)}/images").json()
    assert [one["index"] for one in listed["data"]] == [0, 1]
    for one, datum in zip(listed["data"], made["data"], strict=True):
        picture = base64.b64decode(datum["b64_json"])
        assert (one["output_format"], one["size"], one["size_bytes"]) == ("jpeg", "1024x1024", len(picture))
        assert stranger.get(one["url"]).content == picture


@pytest.mark.parametrize("model", [MODEL, ILLUSTRATOR])
def test_a_thumbnail_is_a_small_webp_of_its_picture(client: httpx.Client, stranger: httpx.Client, model: str) -> None:
    made = make(client, model=model, size="1024x1536", n=2)
    listed = client.get(f"{API}/requests/{id_of(made)}/images").json()
    for one, datum in zip(listed["data"], made["data"], strict=True):
        served = stranger.get(one["thumbnail_url"])
        assert served.headers["content-type"] == "image/webp"
        assert served.headers["x-content-type-options"] == "nosniff"
        small, large = (Pillow.open(io.BytesIO(data)) for data in (served.content, base64.b64decode(datum["b64_json"])))
        assert (small.format, small.size) == ("WEBP", (213, thumbnails.MAX_SIDE))
        assert len(served.content) < 30_000
        # The same picture: no pixel of both at 16x16 is far from the other.
        pairs = zip(_pixels(small), _pixels(large), strict=True)
        assert max(abs(one - other) for one, other in pairs) < 48


def _pixels(picture: Pillow.Image) -> bytes:
    return picture.convert("RGB").resize((16, 16), Pillow.Resampling.BOX).tobytes()


def test_thumbnails_are_remembered_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    original = Conversions.convert

    async def count(self: Conversions, *arguments: Any, **options: Any) -> Any:
        made.append("webp")
        return await original(self, *arguments, **options)

    monkeypatch.setattr(Conversions, "convert", count)
    with running_gateway(tmp_path) as gateway, gateway.client(gateway.key("test")) as client:

        def thumbnail_link() -> str:
            listed = client.get(f"{API}/requests/{id_of(make(client))}/images").json()
            link: str = listed["data"][0]["thumbnail_url"]
            return link

        links = [thumbnail_link() for _ in range(3)]
        sizes = [len(client.get(link).content) for link in links]
        assert [len(client.get(link).content) for link in links] == sizes
        assert len(made) == 3

        async def narrow(services: Any) -> None:
            services.thumbnails._cache_bytes = sizes[2]

        gateway.call(narrow)
        # One more makes room for itself alone.
        assert client.get(thumbnail_link()).status_code == 200
        assert [len(client.get(link).content) for link in links] == sizes
        assert len(made) == 7


# --------------------------------------------------------------------------------------------------------------- deletion


@pytest.mark.parametrize("small", [False, True], ids=["file", "database"])
def test_a_deleted_result_is_gone_everywhere_and_its_money_stays(
    gateway: Gateway,
    live: httpx.Client,
    stranger: httpx.Client,
    workspace: str,
    monkeypatch: pytest.MonkeyPatch,
    small: bool,
) -> None:
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 1 << 24 if small else 0)
    # Other tests of this gateway have broken results of theirs.
    found = gateway.call(lambda services: services.sweeper.check()).findings
    key = {"idempotency-key": "delete-me"}
    made = make(live, key, response_format="url")
    identifier, link = id_of(made), made["data"][0]["url"]
    listed = live.get(f"{API}/requests/{identifier}/images").json()["data"][0]
    assert stranger.get(listed["thumbnail_url"]).status_code == 200
    receipt = live.get(f"{API}/requests/{identifier}/receipt").json()
    assert len(kept_files(gateway, identifier)) == (0 if small else 1)

    deleted = live.delete(result_path(made))
    assert deleted.json() == {"object": "request.result", "id": identifier, "deleted": True}
    assert kept_files(gateway, identifier) == []
    stored = select(small_result).where(small_result.c.request_id == bindparam("of_request"))
    assert gateway.read(lambda tx: tx.first(stored, of_request=identifier)) is None

    for path in (result_path(made), f"{API}/requests/{identifier}/images"):
        answer = live.get(path)
        assert refused(answer) == (410, "result_deleted")
        assert answer.headers["omixa-cost"] == "0.033900"
    for address in (link, listed["url"], listed["thumbnail_url"]):
        answer = stranger.get(address)
        assert refused(answer) == (410, "result_deleted")
        assert "omixa-cost" not in answer.headers
    again = live.post(
        CREATE, json={"model": MODEL, "prompt": "A red kite over stubble", "response_format": "url"}, headers=key
    )
    assert refused(again) == (410, "result_deleted")

    assert live.get(f"{API}/requests/{identifier}/receipt").json() == receipt
    details = live.get(f"{API}/requests/{identifier}").json()
    assert (details["state"], details["billed_amount"]) == ("captured", "0.033900")
    assert details["result_deleted_at"] is not None
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)
    assert gateway.call(lambda services: services.sweeper.check()).findings == found


def test_a_result_may_be_deleted_again(gateway: Gateway, client: httpx.Client) -> None:
    made = make(client)
    first, again = client.delete(result_path(made)), client.delete(result_path(made))
    assert (first.status_code, again.status_code) == (200, 200)
    actions = select(audit_log).where(audit_log.c.target == bindparam("of_target"))
    logged = gateway.read(lambda tx: tx.all(actions, of_target=id_of(made)))
    assert [row["action"] for row in logged] == ["result.deleted"]
    assert logged[0]["actor"].startswith("key_")


def test_only_its_own_workspace_deletes_a_result(
    gateway: Gateway, client: httpx.Client, new_key: Callable[..., str], document: Document
) -> None:
    made = make(client)
    for key in (gateway.key("test", "another-workspace"), new_key("live")):
        with gateway.client(key) as other:
            answer = other.delete(result_path(made))
            document.check(answer)
            assert refused(answer) == (404, "result_not_found")
    assert client.get(result_path(made)).status_code == 200
    assert refused(client.delete(f"{API}/requests/req_unheardof/result")) == (404, "result_not_found")


def test_a_request_that_failed_has_nothing_to_delete(live: httpx.Client, foundry: Simulator) -> None:
    foundry.play("filter")
    answer = live.post(CREATE, json={"model": MODEL, "prompt": "x"})
    assert answer.status_code == 400
    missing = live.delete(f"{API}/requests/{answer.headers['x-request-id']}/result")
    assert refused(missing) == (404, "result_not_found")


def test_a_retry_of_a_deleted_request_is_not_charged_again(
    gateway: Gateway, live: httpx.Client, foundry: Simulator, workspace: str
) -> None:
    made = make(live, {"x-stainless-retry-count": "0"})
    live.delete(result_path(made))
    calls = len(foundry.log())
    body = {"model": MODEL, "prompt": "A red kite over stubble"}
    retry = live.post(CREATE, json=body, headers={"x-stainless-retry-count": "1"})
    assert refused(retry) == (410, "result_deleted")
    assert len(foundry.log()) == calls
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)
    # Who asks anew gets a new picture.
    assert id_of(make(live)) != id_of(made)


# -------------------------------------------------------------------------------------------------------------- retention


def test_a_workspace_tells_and_changes_how_its_results_are_kept(
    live: httpx.Client, client: httpx.Client, workspace: str
) -> None:
    usual = {
        "object": "result_settings",
        "workspace": workspace,
        "retention_hours": 72,
        "usual_retention_hours": 72,
        "is_usual": True,
        "response_format": "b64_json",
        "keep_prompts": False,
    }
    assert live.get(SETTINGS).json() == usual
    changed = live.patch(SETTINGS, json={"retention_hours": 2, "response_format": "url"})
    assert changed.json() == usual | {"retention_hours": 2, "is_usual": False, "response_format": "url"}
    assert client.get(SETTINGS).json() == changed.json()
    # What is not named stays.
    assert live.patch(SETTINGS, json={"retention_hours": None}).json() == usual | {"response_format": "url"}
    assert live.patch(SETTINGS, json={"response_format": "both"}).json() == usual | {"response_format": "both"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"retention_hours": -1}, (400, "invalid_value", "retention_hours")),
        ({"retention_hours": 73}, (400, "invalid_value", "retention_hours")),
        ({"retention_hours": "1"}, (400, "invalid_type", "retention_hours")),
        ({"retention_hours": True}, (400, "invalid_type", "retention_hours")),
        ({"response_format": "file"}, (400, "invalid_value", "response_format")),
        ({"response_format": None}, (400, "invalid_value", "response_format")),
        ({"keep_prompts": "yes"}, (400, "invalid_type", "keep_prompts")),
        ({"keep_prompts": 1}, (400, "invalid_type", "keep_prompts")),
        ({"keep_prompts": None}, (400, "invalid_type", "keep_prompts")),
        ({"retention": 1}, (400, "unknown_parameter", "retention")),
        ({}, (400, "missing_required_parameter", "retention_hours")),
        ([], (400, "invalid_type", None)),
    ],
)
def test_settings_that_cannot_be_are_refused(
    live: httpx.Client, body: object, expected: tuple[int, str, str | None]
) -> None:
    before = live.get(SETTINGS).json()
    answer = live.patch(SETTINGS, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == expected
    assert live.get(SETTINGS).json() == before


def test_a_test_key_changes_no_settings(client: httpx.Client) -> None:
    assert refused(client.patch(SETTINGS, json={"retention_hours": 1})) == (403, "live_key_required")


def test_a_workspace_may_have_links_by_default(live: httpx.Client, stranger: httpx.Client) -> None:
    live.patch(SETTINGS, json={"response_format": "url"})
    linked = make(live)["data"][0]
    assert linked["b64_json"] is None
    live.patch(SETTINGS, json={"response_format": "both"})
    both = make(live)["data"][0]
    assert stranger.get(both["url"]).content == base64.b64decode(both["b64_json"], validate=True)
    several = make(live, n=3)["data"]
    assert [stranger.get(datum["url"]).content for datum in several] == [
        base64.b64decode(datum["b64_json"], validate=True) for datum in several
    ]
    # What a request says comes first.
    asked = make(live, response_format="b64_json")["data"][0]
    assert (asked["url"], asked["b64_json"][:8]) == (None, "iVBORw0K")
    streamed = live.post(CREATE, json={"model": MODEL, "prompt": "x", "stream": True})
    event = events(streamed.text)[-1]
    assert stranger.get(event["url"]).content == base64.b64decode(event["b64_json"], validate=True)


def test_a_shorter_retention_counts_for_what_is_kept_already(
    gateway: Gateway, live: httpx.Client, stranger: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
    made = make(live, response_format="url")
    ended = row_of(gateway, id_of(made))["ended_at_ms"]
    assert row_of(gateway, id_of(made))["result_expires_at_ms"] == ended + 72 * HOUR_MS
    live.patch(SETTINGS, json={"retention_hours": 1})
    young = make(live)
    assert (
        row_of(gateway, id_of(young))["result_expires_at_ms"] - row_of(gateway, id_of(young))["ended_at_ms"] == HOUR_MS
    )
    gateway.call(lambda services: services.sweeper.sweep())
    assert row_of(gateway, id_of(made))["result_expires_at_ms"] == ended + HOUR_MS
    # A longer one does not bring back what was to go.
    live.patch(SETTINGS, json={"retention_hours": None})
    gateway.call(lambda services: services.sweeper.sweep())
    assert row_of(gateway, id_of(made))["result_expires_at_ms"] == ended + HOUR_MS
    pass_time(gateway, id_of(made), int(time.time() * 1000) - 1)
    gateway.call(lambda services: services.sweeper.sweep())
    assert kept_files(gateway, id_of(made)) == []
    assert refused(stranger.get(made["data"][0]["url"])) == (410, "result_expired")


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_where_nothing_is_kept_a_result_goes_soon_after_it_was_delivered(
    gateway: Gateway, live: httpx.Client, workspace: str, stream: bool
) -> None:
    live.patch(SETTINGS, json={"retention_hours": 0})
    key = {"idempotency-key": "deliver"}
    body = {"model": MODEL, "prompt": "A red kite over stubble", "stream": stream}
    answer = live.post(CREATE, json=body, headers=key)
    identifier = answer.headers["x-request-id"]

    def kept_ms() -> int:
        row = row_of(gateway, identifier)
        return int(row["result_expires_at_ms"] - row["ended_at_ms"])

    eventually(lambda: kept_ms() < UNDELIVERED_MS)
    assert row_of(gateway, identifier)["result_expires_at_ms"] <= int(time.time() * 1000) + DELIVERED_MS
    # Until then, who has lost it on the way can still have it.
    assert live.get(f"{API}/requests/{identifier}/result").status_code == 200
    pass_time(gateway, identifier, int(time.time() * 1000) - 1)
    gateway.call(lambda services: services.sweeper.sweep())
    assert kept_files(gateway, identifier) == []
    assert refused(live.post(CREATE, json=body, headers=key)) == (410, "result_expired")
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)
    assert live.get(f"{API}/requests/{identifier}/receipt").json()["billed_amount"] == "0.033900"


def test_links_lead_somewhere_for_a_while_where_nothing_is_kept(
    gateway: Gateway, live: httpx.Client, stranger: httpx.Client
) -> None:
    live.patch(SETTINGS, json={"retention_hours": 0})
    made = make(live, response_format="url")
    expires = int(parse_qs(urlsplit(made["data"][0]["url"]).query)["expires"][0])
    assert expires == made["created"] + UNDELIVERED_MS // 1000
    assert stranger.get(made["data"][0]["url"]).status_code == 200
    row = row_of(gateway, id_of(made))
    assert row["result_expires_at_ms"] == row["ended_at_ms"] + UNDELIVERED_MS


# ----------------------------------------------------------------------------------------------------------- what is left


def test_nothing_of_a_deleted_picture_stays_in_the_ledgers_file(tmp_path: Path) -> None:
    """A small result is in the database, where rows that are deleted leave their bytes unless they are overwritten."""
    with running_gateway(tmp_path) as gateway, gateway.client(gateway.key("test")) as client:
        made = make(client, model=ILLUSTRATOR, prompt="a red fox", output_format="webp", output_compression=20)
        picture = base64.b64decode(made["data"][0]["b64_json"])
        assert kept_files(gateway, id_of(made)) == [], "the picture is small"
        # From behind its header, and short enough to lie in one page of the file.
        parts = [picture[start : start + 64] for start in range(200, len(picture) - 64, 512)]
        assert len(parts) > 4
        assert _found(tmp_path, parts)
        assert client.delete(result_path(made)).status_code == 200
    # The server that stops writes its log into the file.
    assert not _found(tmp_path, parts)


def _found(directory: Path, parts: list[bytes]) -> list[bytes]:
    written = b"".join(path.read_bytes() for path in directory.glob("omixa.db*"))
    return [part for part in parts if part in written]


def test_no_log_names_a_link_a_key_or_a_prompt(tmp_path: Path, foundry: Simulator) -> None:
    with serving(tmp_path, foundry.url) as server:
        key = open_account(tmp_path, CREDIT)
        with httpx.Client(base_url=server.url, trust_env=False, verify=False, timeout=60) as client:
            # Not even where the workspace keeps its prompts, and looks for their words.
            client.headers["authorization"] = f"Bearer {key}"
            assert client.patch(SETTINGS, json={"keep_prompts": True}).status_code == 200
            made = make(client, prompt="unheardof-words", response_format="url")
            found = client.get(f"{API}/usage/requests", params={"prompt": "unheardof-words"})
            assert [one["id"] for one in found.json()["data"]] == [id_of(made)]
            assert client.get(f"{API}/usage/requests", params={"prompt": "unheardof-words" * 20}).status_code == 400
            for told in (
                f"/requests/{id_of(made)}",
                f"/requests/{id_of(made)}/receipt",
                "/usage/requests",
                "/usage/export",
            ):
                assert "unheardof-words" not in client.get(API + told).text
            link = made["data"][0]["url"]
            for address in (link, link[:-2], link.replace("/0.png", "/7.png")):
                client.get(address, headers={"authorization": f"Bearer {key}"})
            (file,) = tmp_path.glob("results/*/req_*")
            file.write_bytes(b"damaged")
            assert client.get(link).status_code == 500
            foundry.play("filter")
            body = {"model": MODEL, "prompt": "unheardof-words"}
            assert client.post(CREATE, json=body, headers={"authorization": f"Bearer {key}"}).status_code == 400
            foundry.play("")
    assert "result.broken" in server.log
    for secret in (key, parse_qs(urlsplit(link).query)["signature"][0], "unheardof-words", "signature="):
        assert secret not in server.log


def test_a_client_that_left_finds_its_result_where_nothing_is_kept(
    gateway: Gateway, live: httpx.Client, foundry: Simulator, workspace: str
) -> None:
    """Delivery is what counts: nobody pays for what he has not got."""
    live.patch(SETTINGS, json={"retention_hours": 0})
    foundry.play("slow=0.5")
    body = json.dumps({"model": MODEL, "prompt": "A red kite over stubble"}).encode()
    calls = len(foundry.log())
    with raw_post(gateway, live.headers["authorization"], body) as connection:
        eventually(lambda: len(foundry.log()) > calls)
        connection.close()
    log = f"{API}/usage/requests"
    eventually(lambda: live.get(log).json()["data"][0]["state"] == "captured")
    identifier = live.get(log).json()["data"][0]["id"]
    row = row_of(gateway, identifier)
    assert row["result_expires_at_ms"] == row["ended_at_ms"] + UNDELIVERED_MS
    assert live.get(f"{API}/requests/{identifier}/result").status_code == 200
    retry = live.post(
        CREATE, content=body, headers={"content-type": "application/json", "x-stainless-retry-count": "1"}
    )
    assert retry.headers["x-request-id"] == identifier
    assert money(gateway, workspace, "live") == (CREDIT - PRICE, 0)


def test_a_providers_words_are_not_kept_where_nothing_is(
    gateway: Gateway, live: httpx.Client, foundry: Simulator
) -> None:
    query = select(attempt.c.diagnostics).where(attempt.c.request_id == bindparam("of_request"))

    def words() -> str | None:
        foundry.play("filter")
        answer = live.post(CREATE, json={"model": MODEL, "prompt": "x"})
        row = gateway.read(lambda tx: tx.first(query, of_request=answer.headers["x-request-id"]))
        assert row is not None
        told: str | None = row["diagnostics"]
        return told

    assert words()
    live.patch(SETTINGS, json={"retention_hours": 0})
    assert words() is None


def test_what_is_kept_of_a_prompt_cannot_be_found_by_trying(gateway: Gateway, client: httpx.Client) -> None:
    """Prompts are short. Whoever reads the ledger and guesses one must not be able to tell that it is right."""
    body = {"model": MODEL, "prompt": "guess me"}
    counting = {"x-stainless-retry-count": "0"}
    made = client.post(CREATE, json=body, headers=counting)
    kept = row_of(gateway, made.headers["x-request-id"])
    spelled = b"".join(parse_body(json.dumps(body).encode()).canonical())
    plain = blake3(b"POST /v1/images/generations\n" + spelled).hexdigest()
    assert len(kept["fingerprint"]) == len(plain)
    assert kept["fingerprint"] != plain
    assert "guess me" not in str(dict(kept))
    again = client.post(CREATE, json=body, headers=counting)
    assert row_of(gateway, again.headers["x-request-id"])["fingerprint"] == kept["fingerprint"]


def test_a_result_that_goes_while_the_ledger_is_verified_is_not_missed(
    gateway: Gateway, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verification's snapshot still has it; its file is gone."""
    monkeypatch.setattr(results, "SMALL_RESULT_BYTES", 0)
    made = make(client)

    async def verified(services: Any) -> Any:
        lookup = services.blobs.lookup()
        identifier = id_of(made)
        gone: list[str] = []

        def exists(name: str) -> bool:
            if name.endswith(identifier) and not gone:
                gone.append(name)
                deleting = services.deletion.delete(identifier, owner=None, actor="test")
                asyncio.run_coroutine_threadsafe(deleting, loop).result(timeout=30)
            return bool(lookup(name))

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(services.blobs, "lookup", lambda: exists)
        try:
            found = await verify_all(services.database, services.blobs)
        finally:
            monkeypatch.undo()
        assert gone
        return found

    found = gateway.call(verified)
    assert id_of(made) not in {finding.subject for finding in found.findings}
    assert refused(client.get(result_path(made))) == (410, "result_deleted")
