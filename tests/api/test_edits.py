"""POST /images/edits: a form or OpenAI's JSON is the same request as a generation with reference pictures, in other words."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omixa.api.operations import API as CANONICAL
from tests.support.document import Document, events
from tests.support.footprint import footprint
from tests.support.forms import CONTENT_TYPE, form, part, split
from tests.support.pictures import data_url, decoded, picture, reference
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
EDIT, CREATE = f"{API}/images/edits", f"{API}/images/generations"
PROMPT = "Make the sky a deep orange"
TEXTS = {"model": MODEL, "prompt": PROMPT}
MIB = 1 << 20


@pytest.fixture
def client(test_client: httpx.Client, document: Document) -> httpx.Client:
    """A client with a test key, each answer of which is held against the document."""
    test_client.event_hooks["response"] = [document.check]
    return test_client


@pytest.fixture(scope="module")
def small(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with low limits."""
    limits: dict[str, Any] = {"max_body_bytes": MIB, "max_body_bytes_in_flight": MIB}
    with running_gateway(tmp_path_factory.mktemp("small"), foundry, **limits) as running:
        yield running


BASE64 = "Content-Transfer-Encoding: base64"


def a_form(*more: bytes, **texts: str) -> bytes:
    """Return a good form with one picture, or with other parts in its place."""
    parts = [part(name, text) for name, text in {**TEXTS, **texts}.items()]
    return form(*parts, *(more or (part("image", picture(), "a.png", "image/png"),)))


def send(client: httpx.Client, body: bytes, content_type: str = CONTENT_TYPE) -> httpx.Response:
    return client.post(EDIT, content=body, headers={"content-type": content_type})


def made(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text[:500]
    value: dict[str, Any] = answer.json()
    return value


def error_of(answer: httpx.Response) -> str:
    """Return the status, the code and the field at fault."""
    error = answer.json()["error"]
    return f"{answer.status_code} {error['code']} {error['param'] or '-'}"


# ------------------------------------------------------------------------------------------------------------- the same


def test_a_form_json_and_a_generation_are_one_request(client: httpx.Client) -> None:
    answers = [
        made(send(client, a_form())),
        made(client.post(EDIT, json={**TEXTS, "images": [{"image_url": data_url(picture())}]})),
        made(client.post(CREATE, json={**TEXTS, "input_images": [reference()]})),
    ]
    pictures = {answer["data"][0]["b64_json"] for answer in answers}
    assert len(pictures) == 1
    assert decoded(answers[0]).size == (1024, 1024)
    for answer in answers:
        assert answer["omixa"]["operation"] == "edit"
        assert answer["usage"] == answers[0]["usage"]
        assert answer["omixa"]["line_items"] == answers[0]["omixa"]["line_items"]


def test_a_form_leaves_the_same_records(client: httpx.Client) -> None:
    answer = send(client, a_form())
    request_id = answer.headers["x-request-id"]
    details = client.get(f"{API}/requests/{request_id}").json()
    assert (details["operation"], details["billed_amount"]) == ("edit", answer.headers["omixa-cost"])
    assert client.get(f"{API}/requests/{request_id}/result").content == answer.content
    assert client.get(f"{API}/requests/{request_id}/receipt").status_code == 200


def test_every_text_of_a_form_is_understood(client: httpx.Client) -> None:
    texts = {
        "n": "2",
        "size": "1024x1024",
        "output_format": "jpeg",
        "output_compression": "70",
        "quality": "high",
        "background": "opaque",
        "moderation": "low",
        "input_fidelity": "high",
        "partial_images": "0",
        "response_format": "b64_json",
        "stream": "False",
        "user": "somebody",
    }
    answer = made(send(client, a_form(**texts)))
    assert len(answer["data"]) == 2
    assert answer["output_format"] == "jpeg"
    assert answer["omixa"]["ignored_parameters"] == [
        "input_fidelity",
        "moderation",
        "partial_images",
        "quality",
        "user",
    ]


def test_a_stream_has_the_events_of_edits(client: httpx.Client) -> None:
    for answer in (
        send(client, a_form(stream="true", n="2")),
        client.post(EDIT, json={**TEXTS, "n": 2, "stream": True, "images": [{"image_url": data_url(picture())}]}),
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [event["type"] for event in events(answer.text)] == ["image_edit.completed"] * 2


@pytest.mark.parametrize(
    ("format", "media_type"),
    [
        ("png", None),
        ("jpeg", "application/octet-stream"),
        ("webp", "Image/WebP; charset=binary"),
        ("jpeg", "image/jpg"),
    ],
)
def test_a_picture_without_a_type_is_what_its_bytes_say(client: httpx.Client, format: Any, media_type: Any) -> None:
    answer = made(send(client, a_form(part("image[]", picture(format), "", media_type))))
    assert answer["omixa"]["operation"] == "edit"


def test_a_form_may_come_in_chunks(client: httpx.Client) -> None:
    body = a_form()
    pieces = iter(split(body, range(0, len(body), 997)))
    answer = client.post(EDIT, content=pieces, headers={"content-type": CONTENT_TYPE})
    assert "content-length" not in answer.request.headers
    made(answer)


def test_a_price_may_be_capped(client: httpx.Client, gateway: Gateway) -> None:
    before = footprint(gateway)
    answer = client.post(EDIT, content=a_form(), headers={"content-type": CONTENT_TYPE, "omixa-max-cost": "0.01"})
    assert error_of(answer) == "402 max_cost_exceeded Omixa-Max-Cost"
    assert footprint(gateway).held == before.held


# ----------------------------------------------------------------------------------------------------------- refusals

BAD_FORMS: list[tuple[str, bytes, str]] = [
    ("no picture", form(part("model", MODEL), part("prompt", PROMPT)), "400 missing_required_parameter image"),
    ("no model", form(part("prompt", PROMPT)), "400 missing_required_parameter model"),
    ("nothing", form(), "400 missing_required_parameter model"),
    ("another model", a_form(model="dall-e-2"), "404 model_not_found model"),
    ("model as a file", form(part("model", MODEL, "a.txt")), "400 invalid_type model"),
    ("prompt as a file", form(part("model", MODEL), part("prompt", PROMPT, "a.txt")), "400 missing_required_parameter image"),
    ("size as a file", a_form(part("size", "auto", "a.txt"), part("image", picture(), "a")), "400 invalid_type size"),
    ("picture without a file name", a_form(part("image", picture("jpeg").hex())), "400 invalid_type image"),
    ("picture as a data URL", a_form(part("image", data_url(picture()))), "400 invalid_type image"),
    ("empty picture", a_form(part("image", b"", "a.png", "image/png")), "400 unsupported_image_format image"),
    ("not a picture", a_form(part("image", b"<svg/>", "a.png", "image/png")), "400 unsupported_image_format image"),
    ("another type", a_form(part("image", picture(), "a.jpg", "image/jpeg")), "400 image_type_mismatch image"),
    ("a type that is not taken", a_form(part("image", picture(), "a.gif", "image/gif")), "400 unsupported_image_format image"),
    ("a broken picture", a_form(part("image", picture()[:-9], "a.png")), "400 truncated_image image"),
    ("several pictures", a_form(part("image[]", picture(), "a"), part("image[]", picture(), "b")), "400 invalid_value image"),
    ("a mask", a_form(part("image", picture(), "a"), part("mask", picture(), "b")), "400 unsupported_value mask"),
    ("a transparent background", a_form(background="transparent"), "400 unsupported_value background"),
    ("no such form of an answer", a_form(response_format="file"), "400 invalid_value response_format"),
    ("an unknown text", a_form(szie="auto"), "400 unknown_parameter szie"),
    ("an unknown file", a_form(part("image", picture(), "a"), part("markup", picture(), "b")), "400 unknown_parameter markup"),
    ("the name of generations", a_form(input_images="x"), "400 unknown_parameter input_images"),
    ("a text twice", form(part("n", "1"), part("n", "1")), "400 invalid_value n"),
    ("n in words", a_form(n="one"), "400 invalid_type n"),
    ("n empty", a_form(n=""), "400 invalid_type n"),
    ("n with a point", a_form(n="1.0"), "400 invalid_type n"),
    ("n too large", a_form(n="11"), "400 invalid_value n"),
    ("n enormous", a_form(n="9" * 5000), "400 invalid_type n"),
    ("stream in words", a_form(stream="yes"), "400 invalid_type stream"),
    ("empty size", a_form(size=""), "400 invalid_value size"),
    ("empty prompt", a_form(prompt=""), "400 invalid_value prompt"),
    ("a character that no text has", a_form(prompt="a\0b"), "400 invalid_value prompt"),
    ("another charset", form(part("prompt", "x", None, "text/plain; charset=utf-16")), "415 unsupported_media_type prompt"),
    ("an encoded picture", form(part("image", "aGk=", "a", None, BASE64)), "415 unsupported_media_type image"),
    ("too many parts", form(*(part(f"f{number}", "") for number in range(65))), "413 request_too_large -"),
    ("too long a text", a_form(prompt="a" * (MIB + 1)), "413 request_too_large prompt"),
    ("too long a header", form(part("image", b"", "a" * 5000)), "413 request_too_large -"),
    ("no end", a_form()[:-4], "400 invalid_form -"),
    ("another boundary", a_form().replace(b"--edge", b"--egde", 1), "400 invalid_form -"),
    ("JSON", json.dumps(TEXTS).encode(), "400 invalid_form -"),
    ("empty", b"", "400 invalid_form -"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), [case[1:] for case in BAD_FORMS], ids=[case[0] for case in BAD_FORMS])
def test_bad_forms_are_refused(client: httpx.Client, gateway: Gateway, body: bytes, expected: str) -> None:
    before = footprint(gateway)
    answer = send(client, body)
    assert error_of(answer) == expected, answer.text
    assert answer.headers["x-should-retry"] == "false"
    assert footprint(gateway) == before


IMAGE = {"image_url": data_url(picture())}
BAD_JSON: list[tuple[str, dict[str, Any], str]] = [
    ("no picture", {}, "400 missing_required_parameter images"),
    ("null", {"images": None}, "400 missing_required_parameter images"),
    ("an empty list", {"images": []}, "400 invalid_value images"),
    ("no list", {"images": IMAGE}, "400 invalid_type images"),
    ("a file id", {"images": [IMAGE, {"file_id": "file-abc"}]}, "400 unsupported_value images[1].file_id"),
    ("a file id and an address", {"images": [{**IMAGE, "file_id": "file-abc"}]}, "400 unsupported_value images[0].file_id"),
    ("neither", {"images": [{}]}, "400 invalid_type images[0]"),
    ("an address on the web", {"images": [{"image_url": "https://example.com/a.png"}]}, "400 image_url_not_inline images[0]"),
    ("several", {"images": [IMAGE, IMAGE]}, "400 invalid_value images"),
    ("a mask", {"images": [IMAGE], "mask": IMAGE}, "400 unsupported_value mask"),
    ("a mask by id", {"images": [IMAGE], "mask": {"file_id": "file-abc"}}, "400 unsupported_value mask"),
    ("a transparent background", {"images": [IMAGE], "background": "transparent"}, "400 unsupported_value background"),
    ("the name of forms", {"image": IMAGE["image_url"]}, "400 unknown_parameter image"),
    ("the name of generations", {"images": [IMAGE], "input_images": []}, "400 unknown_parameter input_images"),
    ("a number as text", {"images": [IMAGE], "n": "1"}, "400 invalid_type n"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), [case[1:] for case in BAD_JSON], ids=[case[0] for case in BAD_JSON])
def test_bad_json_is_refused(client: httpx.Client, gateway: Gateway, fields: dict[str, Any], expected: str) -> None:
    before = footprint(gateway)
    answer = client.post(EDIT, json={**TEXTS, **fields})
    assert error_of(answer) == expected, answer.text
    assert footprint(gateway) == before


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/mixed; boundary=a"]
)
def test_other_types_are_refused(client: httpx.Client, content_type: str) -> None:
    answer = send(client, a_form(), content_type)
    assert error_of(answer) == "415 unsupported_media_type Content-Type"
    assert "multipart/form-data or application/json" in answer.json()["error"]["message"]


def test_a_body_without_a_type_is_json(client: httpx.Client) -> None:
    body = json.dumps({**TEXTS, "images": [IMAGE]}).encode()
    request = client.build_request("POST", EDIT, content=body)
    assert "content-type" not in request.headers
    made(client.send(request))


def test_a_form_is_for_edits_only(client: httpx.Client) -> None:
    answer = client.post(CREATE, content=a_form(), headers={"content-type": CONTENT_TYPE})
    assert error_of(answer) == "415 unsupported_media_type Content-Type"


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=3)), min_size=1, max_size=4))
def test_a_damaged_form_is_never_a_fault_of_the_server(client: httpx.Client, damage: list[tuple[int, bytes]]) -> None:
    body = bytearray(a_form(part("image", picture(width=32, height=32), "a.png", "image/png")))
    for place, data in damage:
        body[place : place + 1] = data
    answer = send(client, bytes(body))
    assert answer.status_code in (200, 400, 404, 413, 415), answer.text


# --------------------------------------------------------------------------------------------------------------- limits


def test_the_whole_form_has_a_limit(small: Gateway, document: Document) -> None:
    before = footprint(small)
    with small.client(small.key("test")) as client:
        client.event_hooks["response"] = [document.check]
        parts = [part("image[]", b"a" * (MIB // 3), "a.png") for _ in range(4)]
        for content in (form(*parts), itertools.chain(parts, [form()])):
            answer = client.post(EDIT, content=content, headers={"content-type": CONTENT_TYPE})
            assert error_of(answer) == "413 request_too_large -"
    assert footprint(small) == before
    assert small.services is not None
    assert small.services.body_bytes.used == 0


def test_a_form_that_is_cut_short_is_forgotten(small: Gateway) -> None:
    before, body = footprint(small), a_form()
    head = (
        f"POST {EDIT} HTTP/1.1\r\nhost: omixa\r\nauthorization: Bearer {small.key('test')}\r\n"
        f"content-type: {CONTENT_TYPE}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:-10])
        connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert footprint(small) == before
    assert small.services is not None
    assert small.services.body_bytes.used == 0


def test_nothing_is_written_to_temporary_files(small: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with small.client(small.key("test")) as client:
        made(send(client, a_form()))
        assert send(client, a_form()[:-4]).status_code == 400
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- the other path


def test_every_api_route_is_found_below_v1_too(client: httpx.Client, document: Document) -> None:
    for path, operations in document.document["paths"].items():
        assert path.startswith((f"{CANONICAL}/", "/results/")) or path.count("/") == 1
        if not path.startswith(CANONICAL):
            continue
        alias = path.removeprefix("/api").replace("{model}", MODEL).replace("{request}", "req_x")
        for method in operations:
            one = client.request(method, "/api" + alias)
            other = client.request(method, alias)
            assert one.status_code == other.status_code != 405
            assert one.headers["content-type"] == other.headers["content-type"]
            assert "unknown_path" not in other.text


def test_the_other_path_makes_the_same(client: httpx.Client) -> None:
    one = made(client.post("/v1/images/edits", content=a_form(), headers={"content-type": CONTENT_TYPE}))
    assert one["data"] == made(send(client, a_form()))["data"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/", "/v1", "/v2/models", "/api/v1/v1/models", "/v1/healthz"])
def test_the_other_path_leads_nowhere_else(client: httpx.Client, path: str) -> None:
    client.event_hooks["response"] = []
    answer = client.get(path)
    assert error_of(answer) == "404 unknown_path -"
    assert path in answer.json()["error"]["message"]


def test_other_methods_of_the_other_path(client: httpx.Client) -> None:
    client.event_hooks["response"] = []
    answer = client.get("/v1/images/edits")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_pages_go_on_where_they_began(client: httpx.Client) -> None:
    for _ in range(2):
        made(client.post("/v1/images/generations", json=TEXTS))
    for prefix in ("/v1", API):
        first = client.get(f"{prefix}/usage/requests?limit=1")
        address = first.headers["link"].partition(">")[0].removeprefix("<")
        assert address.startswith(f"{prefix}/usage/requests?")
        assert len(client.get(address).json()["data"]) == 1
