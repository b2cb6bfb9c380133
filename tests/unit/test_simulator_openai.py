"""The simulated OpenAI and Azure OpenAI, over a real socket: their rules, their moods, their log."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from omixa.domain.scenarios import STEPS
from omixa.imaging.inspect import inspect
from omixa.simulator.openai import OpenAISimulatorOptions, create_app
from omixa.simulator.openai_rules import MODELS, PARTIAL_IMAGE_TOKENS
from tests.support.document import events
from tests.support.servers import running_app, tokenizer, workers

KEY = "a-key-of-the-simulator"
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"
PROMPT = "Abstract shapes in red and blue"
MODEL = "gpt-image-2"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    options = OpenAISimulatorOptions(KEY, models={**{name: name for name in MODELS}, "prod": MODEL})
    with running_app(create_app(options, workers(), tokenizer=tokenizer())) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx2.Client]:
    headers = {"authorization": f"Bearer {KEY}"}
    with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=60, verify=False) as client:
        client.put("/simulator/scenario", content="")
        yield client


def generate(client: httpx2.Client, path: str = GENERATIONS, **fields: Any) -> httpx2.Response:
    return client.post(path, json={"model": MODEL, "prompt": PROMPT, "quality": "low", **fields})


def picture(width: int = 256, height: int = 256, kind: str = "png", *, alpha: bool = False) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA" if alpha else "RGB", (width, height), (200, 60, 30, 0) if alpha else (200, 60, 30)).save(
        buffer, kind
    )
    return buffer.getvalue()


def edit(client: httpx2.Client, *files: tuple[str, tuple[str, bytes, str]], **fields: str) -> httpx2.Response:
    data = {"model": MODEL, "prompt": PROMPT, "quality": "low"} | fields
    return client.post(EDITS, data=data, files=list(files))


def one(data: bytes | None = None, field: str = "image") -> tuple[str, tuple[str, bytes, str]]:
    return field, ("a.png", data or picture(), "image/png")


def complaint(answer: httpx2.Response, status: int) -> tuple[str, str, str | None]:
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error["type"], error["code"], error["param"]


# ------------------------------------------------------------------------------------------------------ an ordinary day


def test_a_generation_answers_in_the_shape_of_the_reference(client: httpx2.Client) -> None:
    answer = generate(client, size="1536x1024")
    body = answer.json()
    assert body.keys() == {"created", "background", "output_format", "quality", "size", "data", "usage"}
    assert (body["background"], body["output_format"], body["quality"], body["size"]) == (
        "opaque",
        "png",
        "low",
        "1536x1024",
    )
    info = inspect(base64.b64decode(body["data"][0]["b64_json"], validate=True))
    assert (info.format, info.size) == ("png", "1536x1024")
    text, output = tokenizer().count(PROMPT).tokens, MODELS[MODEL].output_tokens["low"] * 4 // 5
    assert body["usage"] == {
        "input_tokens": text,
        "input_tokens_details": {"text_tokens": text, "image_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output},
        "total_tokens": text + output,
    }


def test_several_pictures_differ_and_are_counted_together(client: httpx2.Client) -> None:
    body = generate(client, n=2).json()
    assert len({datum["b64_json"] for datum in body["data"]}) == 2
    assert body["usage"]["output_tokens"] == 2 * MODELS[MODEL].output_tokens["low"]


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_pictures_come_in_the_format_and_size_that_is_asked_for(client: httpx2.Client, format: str) -> None:
    body = generate(client, output_format=format, output_compression=60, size="2560x1440").json()
    info = inspect(base64.b64decode(body["data"][0]["b64_json"], validate=True))
    assert (info.format, info.size) == (format, "2560x1440")


def test_an_edit_reads_its_pictures(client: httpx2.Client) -> None:
    mask = picture(alpha=True)
    body = edit(client, one(field="image[]"), one(field="image[]"), one(mask, "mask"), size="1024x1024").json()
    assert body["usage"]["input_tokens_details"]["image_tokens"] > 0
    assert inspect(base64.b64decode(body["data"][0]["b64_json"])).size == "1024x1024"


def test_a_stream_is_events_that_simply_end(client: httpx2.Client) -> None:
    answer = generate(client, stream=True, partial_images=2)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "[DONE]" not in answer.text
    told = events(answer.text)
    names = [line.removeprefix("event: ") for line in answer.text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in told]
    assert [event.get("partial_image_index") for event in told] == [0, 1, None]
    common = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format"}
    assert told[0].keys() == common | {"partial_image_index"}
    assert told[-1].keys() == common | {"usage"}
    assert told[-1]["type"] == "image_generation.completed"
    assert told[-1]["usage"]["output_tokens"] == MODELS[MODEL].output_tokens["low"] + 2 * PARTIAL_IMAGE_TOKENS


def test_a_stream_of_an_edit_says_so_and_without_previews_has_one_event(client: httpx2.Client) -> None:
    (event,) = events(edit(client, one(), stream="true").text)
    assert event["type"] == "image_edit.completed"


def test_azure_takes_its_own_header_and_writes_no_webp(url: str) -> None:
    with httpx2.Client(base_url=url, headers={"api-key": KEY}, trust_env=False, timeout=60, verify=False) as client:
        assert generate(client, "/openai/v1/images/generations", model="prod").status_code == 200
        refused = generate(client, "/openai/v1/images/generations", output_format="webp")
        assert complaint(refused, 400) == ("invalid_request_error", "invalid_value", "output_format")
        # OpenAI itself knows nothing of that header.
        assert complaint(generate(client), 401)[1] == "invalid_api_key"


def test_the_log_remembers(client: httpx2.Client) -> None:
    answer = generate(client, prompt="remember me")
    entry = client.get("/simulator/requests").json()["requests"][-1]
    assert (entry["path"], entry["status"], entry["step"], entry["deployment"]) == (GENERATIONS, 200, "ok", MODEL)
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert entry["prompt_sha256"] == hashlib.sha256(b"remember me").hexdigest()


# ----------------------------------------------------------------------------------------------------------- the rules

REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"response_format": "b64_json"}, "unknown_parameter", "response_format"),
    ({"style": "vivid"}, "unknown_parameter", "style"),
    ({"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
    ({"prompt": ""}, "missing_required_parameter", "prompt"),
    ({"prompt": "x" * 32_001}, "string_above_max_length", "prompt"),
    ({"n": 11}, "invalid_value", "n"),
    ({"n": "2"}, "invalid_value", "n"),
    ({"n": True}, "invalid_value", "n"),
    ({"size": "1000x1000"}, "invalid_value", "size"),
    ({"size": "3840x1024"}, "invalid_value", "size"),
    ({"size": "512x512"}, "invalid_value", "size"),
    ({"size": "3856x2160"}, "invalid_value", "size"),
    ({"size": 1024}, "invalid_type", "size"),
    ({"quality": "xhigh"}, "invalid_value", "quality"),
    ({"quality": "standard"}, "invalid_value", "quality"),
    ({"background": "transparent"}, "invalid_value", "background"),
    (
        {"model": "gpt-image-2.5-flare", "background": "transparent", "output_format": "jpeg"},
        "invalid_value",
        "background",
    ),
    ({"moderation": "off"}, "invalid_value", "moderation"),
    ({"output_format": "avif"}, "invalid_value", "output_format"),
    ({"output_compression": 50}, "invalid_value", "output_compression"),
    ({"output_format": "webp", "output_compression": 101}, "invalid_value", "output_compression"),
    ({"partial_images": 1}, "invalid_value", "partial_images"),
    ({"stream": True, "partial_images": 4}, "invalid_value", "partial_images"),
    ({"stream": "true"}, "invalid_type", "stream"),
    ({"user": 7}, "invalid_type", "user"),
]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_generation_against_the_rules_is_refused_and_the_field_named(
    client: httpx2.Client, fields: dict[str, Any], code: str, param: str
) -> None:
    assert complaint(generate(client, **fields), 400) == ("invalid_request_error", code, param)


def test_an_unknown_model_is_not_found(client: httpx2.Client) -> None:
    assert complaint(generate(client, model="gpt-image-1"), 404) == (
        "invalid_request_error",
        "model_not_found",
        "model",
    )


@pytest.mark.parametrize(
    ("files", "fields", "code", "param"),
    [
        ([one(), one()], {}, "invalid_value", "image"),
        ([one(field="picture")], {}, "unknown_parameter", "picture"),
        ([one(b"GIF89a")], {}, "invalid_image_file", "image"),
        ([("image", ("a.png", picture(kind="jpeg"), "image/png"))], {}, "unsupported_file_mimetype", "image"),
        ([one(), one(picture(), "mask")], {}, "invalid_mask", "mask"),
        ([one(), one(picture(128, 128, alpha=True), "mask")], {}, "invalid_mask", "mask"),
        ([one()], {"input_fidelity": "high"}, "unknown_parameter", "input_fidelity"),
        ([one()], {"model": "gpt-image-2.6-flare", "input_fidelity": "auto"}, "invalid_value", "input_fidelity"),
        ([one()], {"n": "many"}, "invalid_value", "n"),
    ],
)
def test_an_edit_against_the_rules_is_refused_and_the_field_named(
    client: httpx2.Client, files: list[Any], fields: dict[str, str], code: str, param: str
) -> None:
    assert complaint(edit(client, *files, **fields), 400) == ("invalid_request_error", code, param)


def test_an_edit_without_a_picture_is_refused(client: httpx2.Client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-image-2\r\n--b--\r\n'
    answer = client.post(EDITS, content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert complaint(answer, 400) == ("invalid_request_error", "missing_required_parameter", "image")


def test_what_is_neither_json_nor_a_form_is_refused(client: httpx2.Client) -> None:
    assert complaint(client.post(GENERATIONS, content=b"{", headers={"content-type": "application/json"}), 400)
    assert complaint(client.post(GENERATIONS, content=b"x", headers={"content-type": "text/plain"}), 415)
    assert complaint(client.get(GENERATIONS), 405)
    assert complaint(client.post("/v1/images/variations"), 404)


# ----------------------------------------------------------------------------------------------------------- the moods


@pytest.mark.parametrize(
    ("step", "status", "kind", "code"),
    [
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("403", 403, "invalid_request_error", "unsupported_country_region_territory"),
        ("404", 404, "invalid_request_error", "model_not_found"),
        ("429", 429, "requests", "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota", "insufficient_quota"),
        ("500", 500, "server_error", "server_error"),
        ("503", 503, "server_error", "server_error"),
        ("filter", 400, "image_generation_user_error", "moderation_blocked"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_speak_the_services_words(
    client: httpx2.Client, step: str, status: int, kind: str, code: str, stream: bool
) -> None:
    client.put("/simulator/scenario", content=step)
    assert complaint(generate(client, stream=stream), status)[:2] == (kind, code)
    assert generate(client).status_code == 200


@pytest.mark.parametrize("step", ["streamerror", "streamfilter"])
def test_a_stream_may_end_with_an_error(client: httpx2.Client, step: str) -> None:
    client.put("/simulator/scenario", content=step)
    preview, error = events(generate(client, stream=True, partial_images=1).text)
    assert preview["type"] == "image_generation.partial_image"
    assert error["error"].keys() == {"message", "type", "param", "code"}
    assert error["error"]["code"] == {"streamerror": "server_error", "streamfilter": "moderation_blocked"}[step]


@pytest.mark.parametrize("step", ["empty", "badjson", "nodata"])
def test_a_stream_may_end_without_its_picture(client: httpx2.Client, step: str) -> None:
    client.put("/simulator/scenario", content=step)
    told = generate(client, stream=True, partial_images=1).text
    assert "partial_image" in told
    assert "completed" not in told


@pytest.mark.parametrize("step", ["reset", "short"])
def test_a_stream_may_be_cut_in_the_middle_of_its_picture(client: httpx2.Client, step: str) -> None:
    client.put("/simulator/scenario", content=step)
    received = b""
    try:
        with client.stream("POST", GENERATIONS, json={"model": MODEL, "prompt": PROMPT, "stream": True}) as answer:
            for piece in answer.iter_raw():
                received += piece
        cut = False
    except httpx2.HTTPError:
        cut = True
    assert cut == (step == "reset")
    assert b"image_generation.completed" in received
    assert not received.endswith(b"\n\n")


def test_usage_may_be_absurd_in_a_stream_too(client: httpx2.Client) -> None:
    client.put("/simulator/scenario", content="badusage,nousage")
    bad, missing = (events(generate(client, stream=True).text)[-1] for _ in range(2))
    assert bad["usage"]["output_tokens"] == -1
    assert "usage" not in missing


def test_a_scenario_that_is_none_is_refused_with_the_steps(client: httpx2.Client) -> None:
    answer = client.put("/simulator/scenario", content="thunder")
    assert complaint(answer, 400)[1] == "invalid_scenario"
    assert all(name in json.loads(answer.text)["error"]["message"] for name in STEPS)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"api_key": ""}, "needs an API key"),
        ({"models": {"a": "dall-e-3"}}, "unknown: dall-e-3"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"latency_s": float("nan")}, "latency_s"),
        ({"scenario": "thunder"}, "thunder"),
    ],
)
def test_an_account_that_makes_no_sense_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        OpenAISimulatorOptions(**{"api_key": KEY, **options})
