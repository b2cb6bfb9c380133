"""The simulated Foundry resource, over a real socket: its rules, its moods, its log."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import httpx2
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from omixa.domain.scenarios import STEPS, Scenario, Step, parse_scenario, split_prompt
from omixa.imaging.inspect import inspect
from omixa.simulator.foundry import FoundrySimulatorOptions, RateWindow, create_app
from omixa.simulator.models import MODELS, auto_size, edit_size, image_tokens, input_tokens
from omixa.simulator.multipart import parse_multipart
from omixa.simulator.replies import HUGE_BODY_BYTES
from omixa.simulator.scenarios import Moods, Script
from omixa.simulator.wire import JSON_BODY_MAX_BYTES, MULTIPART_BODY_MAX_BYTES, ServiceError
from omixa.tokens import Tokenizer
from tests.support.servers import workers

KEY = "a-key-of-the-simulator"
GENERATIONS = "/mai/v1/images/generations"
EDITS = "/mai/v1/images/edits"
DEPLOYMENTS = {"prod": "MAI-Image-2.5", "grounded": "MAI-Image-2.6", "large": "MAI-Image-2.7"}
PROMPT = "Abstract shapes in red and blue"

Start = Callable[..., httpx2.Client]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer()


@contextmanager
def serving(**options: Any) -> Iterator[httpx2.Client]:
    """Serve a simulator on an ephemeral loopback port and give a client that holds its key."""
    options = {"api_key": KEY, "deployments": DEPLOYMENTS} | options
    app = create_app(FoundrySimulatorOptions(**options), workers(), tokenizer=tokenizer())
    config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False, timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx2.Client(base_url=address, headers={"api-key": KEY}, trust_env=False, timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx2.Client]:
    with serving() as client:
        yield client


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(serving(**options))


def generate(client: httpx2.Client, prompt: str = PROMPT, **fields: Any) -> httpx2.Response:
    return client.post(GENERATIONS, json={"model": "prod", "prompt": prompt} | fields)


def edit(client: httpx2.Client, *files: tuple[str, bytes, str], **fields: str) -> httpx2.Response:
    data = {"model": "prod", "prompt": PROMPT} | fields
    return client.post(EDITS, data=data, files=[("image", file) for file in files])


def play(client: httpx2.Client, scenario: str) -> None:
    assert client.put("/simulator/scenario", content=scenario).status_code == 200


def left(client: httpx2.Client) -> str:
    return client.get("/simulator/scenario").text


def log(client: httpx2.Client) -> list[dict[str, Any]]:
    entries = client.get("/simulator/requests").json()["requests"]
    assert isinstance(entries, list)
    return entries


def picture(width: int, height: int, kind: str = "png") -> tuple[str, bytes, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 60, 30)).save(buffer, kind)
    return f"reference.{kind}", buffer.getvalue(), f"image/{kind}"


def made(response: httpx2.Response) -> bytes:
    assert response.status_code == 200, response.text
    return base64.b64decode(response.json()["data"][0]["b64_json"], validate=True)


def code(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-ms-request-id"]
    error = response.json()["error"]
    assert {"code", "message"} <= error.keys() <= {"code", "message", "details"}
    return str(error["code"])


# ------------------------------------------------------------------------------------------------------- an ordinary day


def test_a_generation_answers_in_the_service_s_shape(shared: httpx2.Client) -> None:
    response = generate(shared, width=832, height=1248)
    body = response.json()
    info = inspect(made(response))
    assert (info.format, info.width, info.height) == ("png", 832, 1248)
    assert body.keys() == {"created", "model", "size", "data", "usage"}
    assert (body["model"], body["size"], len(body["data"])) == ("MAI-Image-2.5", "832x1248", 1)
    assert body["usage"] == {
        "num_output_tokens": 1014,
        "num_input_text_tokens": tokenizer().count(PROMPT).tokens,
        "num_input_image_tokens": 0,
    }
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-ms-request-id"]


def test_without_a_size_the_picture_is_1024x1024(shared: httpx2.Client) -> None:
    response = generate(shared)
    assert response.json()["size"] == inspect(made(response)).size == "1024x1024"
    assert response.json()["usage"]["num_output_tokens"] == 1024


def test_the_same_request_gives_the_same_picture_and_a_variant_another(shared: httpx2.Client) -> None:
    first, again = made(generate(shared)), made(generate(shared))
    varied = shared.post(GENERATIONS, json={"model": "prod", "prompt": PROMPT}, headers={"x-omixa-variant": "3"})
    assert first == again != made(varied)


def test_n_is_accepted_and_ignored(shared: httpx2.Client) -> None:
    assert len(generate(shared, n=4).json()["data"]) == 1


def test_identical_requests_at_once_all_get_the_one_picture(shared: httpx2.Client) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: made(generate(shared, "a green boat")), range(6)))
    assert len(set(answers)) == 1


def test_a_bearer_token_is_as_good_as_the_key(shared: httpx2.Client) -> None:
    url, body = shared.base_url.join(GENERATIONS), {"model": "prod", "prompt": PROMPT}
    assert httpx2.post(url, json=body, headers={"authorization": f"Bearer {KEY}"}, trust_env=False).status_code == 200
    assert code(httpx2.post(url, json=body, trust_env=False), 401) == "401"


def test_the_api_version_is_tolerated(shared: httpx2.Client) -> None:
    answer = shared.post(GENERATIONS, params={"api-version": "preview"}, json={"model": "prod", "prompt": PROMPT})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("size", "output"), [((1200, 1500), "912x1152"), ((1024, 1024), "1024x1024"), ((300, 200), "1248x832")]
)
def test_an_edit_follows_the_input_at_about_one_megapixel(
    shared: httpx2.Client, size: tuple[int, int], output: str
) -> None:
    response = edit(shared, picture(*size))
    assert response.json()["size"] == inspect(made(response)).size == output
    width, height = map(int, output.split("x"))
    assert response.json()["usage"]["num_output_tokens"] == image_tokens(width, height)
    assert response.json()["usage"]["num_input_image_tokens"] == input_tokens(*size)


def test_an_edit_depends_on_its_reference(shared: httpx2.Client) -> None:
    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((1024, 1024)).save(buffer, "png")
    other = ("reference.png", buffer.getvalue(), "image/png")
    assert made(edit(shared, picture(1024, 1024))) != made(edit(shared, other))


def test_a_jpeg_reference_is_taken(shared: httpx2.Client) -> None:
    assert edit(shared, picture(1024, 1024, "jpeg")).status_code == 200
    name, data, media_type = picture(1024, 1024, "jpeg")
    assert edit(shared, (name.replace("jpeg", "JPG"), data, media_type)).status_code == 200


def test_a_newer_model_takes_sizes_and_several_references(shared: httpx2.Client) -> None:
    pictures = picture(1024, 1024), picture(768, 768, "jpeg")
    response = edit(shared, *pictures, model="grounded", width="1024", height="1536", web_grounding="true")
    assert (response.json()["model"], response.json()["size"]) == ("MAI-Image-2.6", "1024x1536")
    assert response.json()["usage"]["num_input_image_tokens"] == 1024 + 576
    assert response.json()["usage"]["num_output_tokens"] == 1536


def test_automatic_aspect_ratio(shared: httpx2.Client) -> None:
    response = generate(shared, model="grounded", auto_aspect_ratio=True, web_grounding=False)
    width, height = auto_size(PROMPT)
    assert response.json()["size"] == f"{width}x{height}"
    assert edit(shared, picture(1200, 1500), model="grounded", auto_aspect_ratio="true").json()["size"] == "912x1152"


# ------------------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    "headers",
    [{"api-key": "wrong"}, {"api-key": ""}, {"authorization": f"Bearer {KEY}"}, {"api-key": "schlüssel".encode()}],
    ids=["wrong", "empty", "both", "not ascii"],
)
@pytest.mark.parametrize("path", [GENERATIONS, EDITS, "/simulator/scenario", "/simulator/requests"])
def test_one_good_credential_is_needed(shared: httpx2.Client, path: str, headers: dict[str, Any]) -> None:
    method = "GET" if path.startswith("/simulator") else "POST"
    assert code(shared.request(method, path, headers=headers), 401) == "401"


def test_an_unknown_deployment_is_404(shared: httpx2.Client) -> None:
    assert code(generate(shared, model="MAI-Image-2.5"), 404) == "DeploymentNotFound"
    assert code(edit(shared, picture(768, 768), model="nowhere"), 404) == "DeploymentNotFound"
    assert code(shared.get("/mai/v1/models"), 404) == "404"
    assert code(shared.get(GENERATIONS), 405) == "405"


@pytest.mark.parametrize(
    "name",
    [
        "size",
        "response_format",
        "seed",
        "quality",
        "negative_prompt",
        "output_format",
        "user",
        "image",
        "web_grounding",
    ],
)
def test_an_undocumented_field_is_refused_by_name(shared: httpx2.Client, name: str) -> None:
    response = generate(shared, **{name: "1024x1024"})
    assert code(response, 400) == "unsupported_request_value"
    assert f"'{name}'" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["size", "mask", "response_format", "width", "auto_aspect_ratio"])
def test_an_undocumented_edit_field_is_refused_by_name(shared: httpx2.Client, name: str) -> None:
    response = edit(shared, picture(768, 768), **{name: "1024"})
    assert code(response, 400) == "unsupported_request_value"
    assert f"'{name}'" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("model", "width", "height"),
    [
        ("prod", 752, 1024),
        ("prod", 1024, 767),
        ("prod", 1000, 1000),
        ("prod", 1040, 1024),
        ("prod", 1024, 1536),
        ("prod", 1024, None),
        ("prod", "1024", 1024),
        ("prod", 1024.0, 1024),
        ("prod", True, 1024),
        ("prod", -1024, -1024),
        ("grounded", 1552, 1536),
        ("large", 2064, 2048),
    ],
)
def test_a_size_the_model_cannot_paint(shared: httpx2.Client, model: str, width: Any, height: Any) -> None:
    assert code(generate(shared, model=model, width=width, height=height), 400) == "unsupported_request_value"


def test_one_side_alone_is_refused(shared: httpx2.Client) -> None:
    assert code(generate(shared, width=1024), 400) == "unsupported_request_value"
    assert code(edit(shared, picture(768, 768), model="grounded", height="x"), 400) == "unsupported_request_value"


@pytest.mark.parametrize(("model", "side"), [("prod", 1024), ("grounded", 1536)])
def test_the_largest_picture_of_each_model(shared: httpx2.Client, model: str, side: int) -> None:
    assert generate(shared, "a moon", model=model, width=side, height=side).json()["size"] == f"{side}x{side}"


@pytest.mark.parametrize("prompt", ["", "  \n", None, 7, ["a cat"]])
def test_a_prompt_is_required(shared: httpx2.Client, prompt: Any) -> None:
    assert code(generate(shared, prompt), 400) == "invalid_request"
    assert code(shared.post(GENERATIONS, json={"model": "prod"}), 400) == "invalid_request"


def test_a_prompt_fills_the_context_and_no_more(shared: httpx2.Client) -> None:
    text = " cat" * 32_000
    assert tokenizer().count(text).tokens == 32_000
    assert generate(shared, text).json()["usage"]["num_input_text_tokens"] == 32_000
    assert code(generate(shared, text + " cat"), 400) == "unsupported_request_value"


def test_a_model_is_required(shared: httpx2.Client) -> None:
    assert code(shared.post(GENERATIONS, json={"prompt": PROMPT}), 400) == "invalid_request"
    assert code(generate(shared, model=3), 400) == "invalid_request"


@pytest.mark.parametrize(
    "prompt", ["forbidden-test-word", "A Forbidden-Test-Word, please", "a cat sim:filter", "sim:filter"]
)
def test_trigger_words_meet_the_content_filter(shared: httpx2.Client, prompt: str) -> None:
    response = generate(shared, prompt)
    assert code(response, 400) == "content_safety_violation"
    error = response.json()["error"]
    assert error["message"] == error["details"]
    assert error["message"].startswith("blocked by label '")


def test_a_body_must_be_a_json_object(shared: httpx2.Client) -> None:
    for body in (b"", b"[]", b"{", b'"text"', b'{"model": "\xff"}', b'{"n":' + b"[" * 100_000, b'{"n": "\\ud800"}'):
        answer = shared.post(GENERATIONS, content=body, headers={"content-type": "application/json; charset=utf-8"})
        assert code(answer, 400) == "invalid_request"
    assert code(shared.post(GENERATIONS, content=b"{}", headers={"content-type": "text/plain"}), 415)
    assert code(shared.post(EDITS, json={}), 415)


def test_bodies_have_limits(shared: httpx2.Client) -> None:
    assert code(generate(shared, "a" * JSON_BODY_MAX_BYTES), 413) == "RequestEntityTooLarge"
    assert code(generate(shared, "a" * (JSON_BODY_MAX_BYTES - 100)), 400) == "unsupported_request_value"
    chunks = (b" " * 65536 for _ in range(JSON_BODY_MAX_BYTES // 65536 + 1))
    streamed = shared.post(GENERATIONS, content=chunks, headers={"content-type": "application/json"})
    assert code(streamed, 413) == "RequestEntityTooLarge"
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(MULTIPART_BODY_MAX_BYTES + 1)}
    with socket.create_connection((shared.base_url.host, shared.base_url.port or 80)) as connection:
        lines = [f"POST {EDITS} HTTP/1.1", "host: simulator", f"api-key: {KEY}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


def test_more_than_ten_custom_headers_are_too_many(shared: httpx2.Client) -> None:
    body = {"model": "prod", "prompt": PROMPT}
    custom = {f"x-custom-{index}": "1" for index in range(10)}
    assert shared.post(GENERATIONS, json=body, headers=custom).status_code == 200
    answer = shared.post(GENERATIONS, json=body, headers=custom | {"x-one-more": "1"})
    assert code(answer, 431) == "RequestHeaderFieldsTooLarge"


@pytest.mark.parametrize("variant", ["-1", "two", "٣"])
def test_a_variant_is_a_number(shared: httpx2.Client, variant: str) -> None:
    headers = {b"x-omixa-variant": variant.encode()}
    assert code(shared.post(GENERATIONS, json={"model": "prod", "prompt": PROMPT}, headers=headers), 400)


def test_references_are_png_or_jpeg_and_say_so(shared: httpx2.Client) -> None:
    name, png, media_type = picture(768, 768)
    webp = picture(768, 768, "webp")
    assert code(edit(shared, webp), 400) == "unsupported_request_value"
    for file in (
        (name, webp[1], media_type),
        (name, picture(768, 768, "jpeg")[1], media_type),
        (name, png, "image/jpeg"),
        (name, png, "application/octet-stream"),
        ("reference.jpg", png, media_type),
        ("reference", png, media_type),
        (name, b"not a picture", media_type),
        (name, b"", media_type),
    ):
        assert edit(shared, file).status_code == 400


def test_a_reference_that_only_looks_like_a_picture(shared: httpx2.Client) -> None:
    name, png, media_type = picture(768, 768)
    start, length = png.index(b"IDAT") + 4, png.index(b"IEND") - png.index(b"IDAT") - 12
    damaged = png[:start] + bytes(length) + png[start + length :]
    assert inspect(damaged).size == "768x768"
    answer = edit(shared, (name, damaged, media_type))
    assert code(answer, 400) == "invalid_request"
    assert "cannot be decoded" in answer.json()["error"]["message"]


def test_the_number_of_references_is_the_model_s(shared: httpx2.Client) -> None:
    reference = picture(768, 768)
    assert code(shared.post(EDITS, data={"model": "prod", "prompt": PROMPT}, files={"x": reference}), 400)
    assert code(edit(shared, reference, reference), 400) == "unsupported_request_value"
    assert edit(shared, *[reference] * 5, model="grounded").status_code == 200
    assert code(edit(shared, *[reference] * 6, model="grounded"), 400) == "unsupported_request_value"


def test_an_edit_needs_a_file_part(shared: httpx2.Client) -> None:
    boundary = {"content-type": "multipart/form-data; boundary=b"}

    def post(*fields: tuple[str, str]) -> httpx2.Response:
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields]
        return shared.post(EDITS, content="".join([*parts, "--b--\r\n"]).encode(), headers=boundary)

    assert code(post(("model", "prod"), ("prompt", "a cat")), 400) == "invalid_request"
    assert code(post(("model", "prod"), ("prompt", "a cat"), ("image", "text")), 400) == "invalid_request"
    assert code(post(("model", "prod"), ("model", "prod")), 400) == "invalid_request"
    assert code(shared.post(EDITS, content=b"--b\r\n\r\n", headers=boundary), 400) == "invalid_request"


def test_a_prompt_in_a_form_stays_a_text(shared: httpx2.Client) -> None:
    assert edit(shared, picture(768, 768), prompt="true").status_code == 200


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
optional = st.dictionaries(st.sampled_from(["height", "n", "auto_aspect_ratio", "web_grounding"]), anything)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(width=anything, fields=optional, prompt=anything)
def test_no_document_breaks_the_service(shared: httpx2.Client, width: Any, fields: Any, prompt: Any) -> None:
    fields = fields | {"model": "grounded", "width": width, "height": 1000}
    assert code(generate(shared, prompt, **fields), 400) in {"unsupported_request_value", "invalid_request"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(body=st.binary(max_size=200), path=st.sampled_from([GENERATIONS, EDITS]))
def test_no_bytes_break_the_service(shared: httpx2.Client, body: bytes, path: str) -> None:
    media_type = "application/json" if path == GENERATIONS else "multipart/form-data; boundary=b"
    framed = body if path == GENERATIONS else b"--b\r\n" + body + b"\r\n--b--"
    answer = shared.post(path, content=framed, headers={"content-type": media_type})
    assert code(answer, 400) == "invalid_request"


def test_requests_per_minute_count_for_each_deployment(start: Start) -> None:
    client = start(requests_per_minute=2)
    assert [generate(client).status_code for _ in range(2)] == [200, 200]
    answer = generate(client)
    assert code(answer, 429) == "RateLimitReached"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert generate(client, model="grounded").status_code == 200


def test_a_rate_window_slides() -> None:
    window = RateWindow(2)
    window.admit("a", 100.0)
    window.admit("a", 130.0)
    with pytest.raises(ServiceError) as refused:
        window.admit("a", 131.5)
    assert refused.value.headers["retry-after"] == "29"
    window.admit("a", 160.0)
    with pytest.raises(ServiceError):
        window.admit("a", 189.9)
    with pytest.raises(ServiceError, match="requests per minute"):
        RateWindow(0).admit("a", 0.0)
    RateWindow(None).admit("a", 0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": ""},
        {"deployments": {}},
        {"deployments": {"prod": "MAI-Image-9"}},
        {"requests_per_minute": -1},
        {"latency_s": -1.0},
        {"latency_s": float("nan")},
        {"scenario": "429,nonsense"},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        FoundrySimulatorOptions(**({"api_key": KEY} | options))


def test_options_hide_the_key_and_deploy_every_model() -> None:
    options = FoundrySimulatorOptions(api_key=KEY)
    assert KEY not in repr(options)
    assert options.deployments == {name: name for name in MODELS}


# ------------------------------------------------------------------------------------------------------------- the moods


@pytest.mark.parametrize(
    ("scenario", "status", "error_code", "retry_after"),
    [
        ("401", 401, "401", None),
        ("403", 403, "PermissionDenied", None),
        ("404", 404, "DeploymentNotFound", None),
        ("429", 429, "RateLimitReached", "1"),
        ("429(retry_after=7)", 429, "RateLimitReached", "7"),
        ("429(retry_after=none)", 429, "RateLimitReached", None),
        ("quota", 429, "insufficient_quota", None),
        ("500", 500, "InternalServerError", None),
        ("502", 502, "BadGateway", None),
        ("503", 503, "ServiceUnavailable", None),
        ("503(retry_after=30)", 503, "ServiceUnavailable", "30"),
        ("504", 504, "GatewayTimeout", None),
        ("filter", 400, "content_safety_violation", None),
    ],
)
def test_refusing_moods(
    shared: httpx2.Client, scenario: str, status: int, error_code: str, retry_after: str | None
) -> None:
    play(shared, scenario)
    answer = generate(shared)
    assert code(answer, status) == error_code
    assert answer.headers.get("retry-after") == retry_after
    assert generate(shared).status_code == 200
    assert log(shared)[-2]["usage"] is None


def test_a_redirect_leads_elsewhere(shared: httpx2.Client) -> None:
    play(shared, "redirect")
    answer = generate(shared)
    assert answer.status_code == 307
    assert answer.headers["location"] == "https://elsewhere.invalid" + GENERATIONS


def spoilt(client: httpx2.Client, mood: str) -> bytes:
    play(client, mood)
    return made(generate(client))


def test_moods_that_spoil_the_picture(shared: httpx2.Client) -> None:
    ordinary = made(generate(shared))
    assert inspect(spoilt(shared, "jpeg")).format == "jpeg"
    truncated = spoilt(shared, "truncated")
    assert ordinary.startswith(truncated)
    assert len(truncated) < len(ordinary)
    damaged = spoilt(shared, "damaged")
    assert sum((one ^ other).bit_count() for one, other in zip(damaged, ordinary, strict=True)) == 1
    bomb = spoilt(shared, "bomb")
    assert len(bomb) < 1000
    assert struct.unpack(">II", bomb[16:24]) == (60_000, 60_000)
    with pytest.raises(ValueError, match=r"\w"):
        inspect(spoilt(shared, "notpng"))
    play(shared, "badbase64")
    with pytest.raises(ValueError, match=r"\w"):
        made(generate(shared))


def test_moods_that_spoil_the_document(shared: httpx2.Client) -> None:
    def document(mood: str) -> dict[str, Any]:
        play(shared, mood)
        body = generate(shared).json()
        assert isinstance(body, dict)
        return body

    ordinary = document("ok")
    assert document("empty") == ordinary | {"data": [], "created": document("empty")["created"]}
    assert "data" not in document("nodata")
    assert "usage" not in document("nousage")
    assert list(document("badusage")["usage"].values()) == [-1, "many", 10**15]
    assert document("bigusage")["usage"]["num_output_tokens"] == 102_400
    assert document("longusage")["usage"] == ordinary["usage"] | {"num_input_text_tokens": 32_000}
    old = document("topusage")
    assert "usage" not in old
    assert old["num_output_tokens"] == 1024
    play(shared, "badjson")
    with pytest.raises(json.JSONDecodeError):
        generate(shared).json()
    play(shared, "html")
    page = generate(shared)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("mood", ["reset", "short"])
def test_moods_that_break_the_connection(shared: httpx2.Client, mood: str) -> None:
    play(shared, mood)
    chunks: list[bytes] = []
    with shared.stream("POST", GENERATIONS, json={"model": "prod", "prompt": PROMPT}) as response:
        assert response.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            chunks.extend(response.iter_raw())
    assert b"".join(chunks).startswith(b'{"created":')
    assert log(shared)[-1]["status"] == 200
    assert generate(shared).status_code == 200


def test_a_huge_body_is_streamed(shared: httpx2.Client) -> None:
    play(shared, "huge")
    with shared.stream("POST", GENERATIONS, json={"model": "prod", "prompt": PROMPT}) as response:
        assert "content-length" not in response.headers
        assert sum(map(len, response.iter_raw())) > HUGE_BODY_BYTES > 64 * 1024 * 1024


def test_a_drip_comes_in_drops(shared: httpx2.Client) -> None:
    play(shared, "drip=1000")
    with shared.stream("POST", GENERATIONS, json={"model": "prod", "prompt": PROMPT}) as response:
        chunk = next(response.iter_raw())
        assert int(response.headers["content-length"]) > 1000
        assert chunk.startswith(b'{"created":')
        assert len(chunk) <= 300
    assert generate(shared).status_code == 200


def test_a_hang_never_answers_and_was_charged(shared: httpx2.Client) -> None:
    prompt = "a clock without hands"
    assert generate(shared, prompt).status_code == 200
    play(shared, "hang")
    with pytest.raises(httpx2.ReadTimeout):
        shared.post(GENERATIONS, json={"model": "prod", "prompt": prompt}, timeout=0.3)
    entry = log(shared)[-1]
    assert (entry["step"], entry["status"], entry["usage"]["num_output_tokens"]) == ("hang", 200, 1024)


def test_a_slow_answer_is_logged_before_it_is_sent(shared: httpx2.Client) -> None:
    play(shared, "ok,slow=60")
    assert generate(shared).status_code == 200
    with pytest.raises(httpx2.ReadTimeout):
        shared.post(GENERATIONS, json={"model": "prod", "prompt": PROMPT}, timeout=0.3)
    assert [(entry["step"], entry["status"]) for entry in log(shared)[-2:]] == [("ok", 200), ("slow", 200)]


def test_slowness_and_latency_add_up(start: Start) -> None:
    client = start(scenario="slow=0.1", latency_s=0.1)
    begun = time.monotonic()
    assert generate(client).status_code == 200
    assert time.monotonic() - begun >= 0.2


def test_steps_are_used_one_by_one_and_only_by_good_requests(shared: httpx2.Client) -> None:
    client = shared
    play(client, "429x2, 500,ok,503x*")
    assert generate(client, size="1024x1024").status_code == 400
    assert generate(client).status_code == 429
    assert left(client) == "429,500,ok,503x*"
    assert [generate(client).status_code for _ in range(5)] == [429, 500, 200, 503, 503]
    assert left(client) == "503x*"
    play(client, "")
    assert generate(client).status_code == 200


def test_edits_have_moods_too(shared: httpx2.Client) -> None:
    play(shared, "502")
    assert edit(shared, picture(768, 768)).status_code == 502


def test_a_bad_scenario_is_refused_and_changes_nothing(shared: httpx2.Client) -> None:
    play(shared, "500")
    answer = shared.put("/simulator/scenario", content="418")
    assert code(answer, 400) == "invalid_scenario"
    assert all(name in answer.json()["error"]["message"] for name in STEPS)
    assert shared.put("/simulator/scenario", content=b"\xff").status_code == 400
    assert shared.put("/simulator/scenario", content=b"ok," * 4000).status_code == 413
    assert left(shared) == "500"
    play(shared, "")


def test_a_prompt_brings_its_own_scenario(shared: httpx2.Client) -> None:
    client = shared
    play(client, "500")
    prompt = f"sim:429x1,503 {PROMPT}"
    assert [generate(client, prompt).status_code for _ in range(4)] == [429, 503, 200, 200]
    assert generate(client, "sim:429x1,503 a dog").status_code == 429
    assert left(client) == "500"
    play(client, "")
    assert made(generate(client, prompt)) == made(generate(client))
    assert generate(client, f"sim:nonsense {PROMPT}").status_code == 200
    assert [generate(client, f"sim:filterx1 {PROMPT}").status_code for _ in range(2)] == [400, 200]
    assert [generate(client, "sim:401").status_code for _ in range(2)] == [401, 200]


# --------------------------------------------------------------------------------------------------------------- the log


def test_the_log_remembers_what_was_decided(shared: httpx2.Client) -> None:
    client = shared
    answer = generate(client, model="grounded", width=1024, height=1536)
    generate(client, "sim:429x* a bird")
    generate(client, seed=1)
    client.post(EDITS, headers={"api-key": "wrong"})
    painted, limited, refused, stranger = log(client)[-4:]
    assert painted["request_id"] == answer.headers["x-ms-request-id"]
    assert (painted["path"], painted["deployment"], painted["status"]) == (GENERATIONS, "grounded", 200)
    assert painted["usage"] == answer.json()["usage"]
    assert painted["prompt_sha256"] == hashlib.sha256(PROMPT.encode()).hexdigest()
    assert (limited["status"], limited["step"], limited["usage"]) == (429, "429", None)
    assert (refused["status"], refused["step"], refused["deployment"]) == (400, "", "prod")
    assert (stranger["path"], stranger["status"], stranger["prompt_sha256"]) == (EDITS, 401, "")
    assert painted["time"] <= stranger["time"]
    assert PROMPT not in client.get("/simulator/requests").text


def test_the_log_has_the_true_usage_whatever_is_reported(shared: httpx2.Client) -> None:
    play(shared, "bigusage")
    assert generate(shared).json()["usage"]["num_output_tokens"] == 102_400
    assert log(shared)[-1]["usage"]["num_output_tokens"] == 1024


# --------------------------------------------------------------------------------------------------- the pieces by name


steps = st.builds(
    lambda name, count, number, retry_after: Step(
        name,
        number=None if STEPS[name].number == "none" else number,
        retry_after=retry_after if STEPS[name].retry_after else None,
        count=count,
    ),
    st.sampled_from(list(STEPS)),
    st.none() | st.integers(1, 100),
    st.integers(1, 500).map(lambda tenths: tenths / 10),
    st.none() | st.just("none") | st.integers(0, 3600).map(str),
)


@given(st.lists(steps, max_size=8))
def test_a_scenario_reads_back_as_it_is_written(script: list[Step]) -> None:
    assert list(parse_scenario(",".join(map(str, script))).steps) == script
    assert list(parse_scenario(", then ".join(map(str, script))).steps) == script


@given(st.lists(steps, max_size=5), st.integers(0, 600).map(lambda tenths: tenths / 10), st.integers(1, 3))
def test_a_whole_scenario_reads_back_as_it_is_written(script: list[Step], latency_s: float, routes: int) -> None:
    scenario = Scenario(tuple(script), latency_s, routes)
    assert parse_scenario(str(scenario)) == scenario


@given(st.lists(steps.filter(lambda step: step.count is not None), min_size=1, max_size=6))
def test_a_position_has_the_step_that_a_script_plays_there(script: list[Step]) -> None:
    scenario, played = Scenario(tuple(script), latency_s=2.0), Script(Scenario(tuple(script), latency_s=2.0))
    for position in range(sum(step.count or 0 for step in script) + 2 if len(script) < 3 else 50):
        step, taken = scenario.step_at(position), played.take()
        assert (step.name, step.number, step.retry_after) == (taken.name, taken.number, taken.retry_after)
        assert step.latency_s == taken.latency_s == 2.0


@given(st.lists(steps.filter(lambda step: step.count is not None), max_size=6))
def test_a_script_plays_each_step_as_often_as_it_says(script: list[Step]) -> None:
    played = Script(Scenario(tuple(script)))
    for step in script:
        for _ in range(step.count or 0):
            assert played.take().name == step.name
    assert (played.take().name, str(played)) == ("ok", "")


@pytest.mark.parametrize(
    "text",
    [
        *("418", "429x0", "429x", "429x1000001", "429(retry_after=)", "429(wait=1)", "500(retry_after=1)", "429,,500"),
        *(
            "slow",
            "slow=x",
            "slow=0",
            "500=3",
            "ok" * 3000,
            "ok\x00",
            "then ok",
            "429 then",
            "429;ok",
            "429;;latency=1",
        ),
        *("ok;latency=0", "ok;latency=61", "ok;latency=1;latency=1", "ok;routes=0", "ok;routes=4", "ok;speed=1"),
    ],
)
def test_a_scenario_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"scenario|Steps"):
        parse_scenario(text)


@given(st.text())
def test_any_prompt_can_be_split(prompt: str) -> None:
    assert split_prompt(prompt) == (Scenario(), prompt) or prompt.startswith("sim:")
    assert split_prompt("sim:500;latency=2s " + prompt)[0] == Scenario((Step("500"),), latency_s=2.0)


def test_the_memory_of_prompts_is_bounded() -> None:
    moods = Moods()
    assert moods.step_for("sim:500 first").name == "500"
    assert moods.step_for("sim:500 first").name == "ok"
    for index in range(1024):
        moods.step_for(f"sim:500 {index}")
    assert moods.step_for("sim:500 first").name == "500"


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_edit_sizes_stay_near_one_megapixel(width: int, height: int) -> None:
    output = edit_size(width, height)
    assert all(side % 16 == 0 for side in output)
    assert 0.95 < output[0] * output[1] / 1_048_576 < 1.05
    assert 1 <= input_tokens(width, height) <= image_tokens(*output) <= 1056


def test_the_table_of_models() -> None:
    caps = {name: spec.max_pixels for name, spec in MODELS.items()}
    assert caps["MAI-Image-2.5"] == caps["MAI-Image-2.5-Flash"] == caps["MAI-Image-2.5-Pro"] == 1024 * 1024
    assert caps["MAI-Image-2.6"] == caps["MAI-Image-2.6-Flash"] == 1536 * 1536
    assert caps["MAI-Image-2.7"] == 2048 * 2048
    assert (image_tokens(768, 768), image_tokens(1280, 768), image_tokens(784, 784)) == (576, 960, 601)
    assert (edit_size(1200, 1500), edit_size(100, 9000)) == ((912, 1152), (512, 2048))


@given(st.lists(st.tuples(st.text("abc_", min_size=1), st.binary()), min_size=1, max_size=5))
def test_multipart_bodies_read_back(fields: list[tuple[str, bytes]]) -> None:
    request = httpx2.Request("POST", "http://x", files=[(name, ("f.bin", data, "x/y")) for name, data in fields])
    parts = parse_multipart(request.read(), request.headers["content-type"])
    assert [(part.name, part.data) for part in parts] == fields
    assert all((part.filename, part.content_type) == ("f.bin", "x/y") for part in parts)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b--\r\n",
        b"no boundary",
        b"--b\r\n\r\ntext\r\n--b--",
        b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\ntext',
        b'--b\r\ncontent-disposition: attachment; name="a"\r\n\r\ntext\r\n--b--',
        b'--bb\r\ncontent-disposition: form-data; name="a"\r\n\r\ntext\r\n--b--',
        b"--b\r\n" + b"x" * 9000 + b"\r\n\r\ntext\r\n--b--",
        b"--b\r\nx: y\r\n\r\n\r\n" * 100 + b"--b--",
    ],
)
def test_multipart_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"part|boundary"):
        parse_multipart(body, "multipart/form-data; boundary=b")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/mixed; boundary=b", "", "nonsense"])
def test_multipart_needs_its_content_type(content_type: str) -> None:
    with pytest.raises(ValueError, match="Content-Type"):
        parse_multipart(b"--b--", content_type)


def test_a_header_says_what_its_own_request_meets(shared: httpx2.Client) -> None:
    play(shared, "500")
    prompt = f"sim:502 {PROMPT}"

    def asked(scenario: str) -> httpx2.Response:
        fields = {"model": "prod", "prompt": prompt}
        return shared.post(GENERATIONS, json=fields, headers={"x-omixa-scenario": scenario})

    assert [asked(scenario).status_code for scenario in ("429,503", "429,503", "ok", "latency=0.01")] == [
        *(429, 429, 200, 200)
    ]
    assert "is not a step" in asked("418").text
    # Neither the prompt's own scenario nor the application's was used up by that.
    assert generate(shared, prompt).status_code == 502
    assert left(shared) == "500"
    play(shared, "")


def test_latency_is_waited_for_before_every_answer(shared: httpx2.Client) -> None:
    play(shared, "429;latency=60s")
    with pytest.raises(httpx2.ReadTimeout):
        shared.post(GENERATIONS, json={"model": "prod", "prompt": PROMPT}, timeout=0.3)
    assert left(shared) == "latency=60s"
    play(shared, "")
