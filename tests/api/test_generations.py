"""One request in, pictures and an exact receipt out: every field, every refusal, every form of the answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import ImageChops, ImageStat

from tests.support.document import Document
from tests.support.footprint import footprint, money
from tests.support.pictures import data_url, decoded, picture, reference
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
PROMPT = "A red kite over a stubble field at dusk"
EXAMPLE_PROMPT = "A premium black and white product dashboard, clean glass UI, high contrast."
CONTEXT_WINDOW_TOKENS = 32_000


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


def body(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": PROMPT, **fields}


def make(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json=body(**fields))
    assert answer.status_code == 200, answer.text[:500]
    made: dict[str, Any] = answer.json()
    return made


# ----------------------------------------------------------------------------------------------------------- the answer


def test_answer_has_the_picture_the_bill_and_how_it_came_about(client: httpx.Client) -> None:
    before = int(time.time())
    answer = client.post(CREATE, json=body())
    made = answer.json()
    assert list(made) == ["created", "data", "size", "output_format", "quality", "background", "usage", "omixa"]
    assert before <= made["created"] <= time.time()
    assert [list(datum) for datum in made["data"]] == [["b64_json", "url"]]
    assert made["data"][0]["url"] is None
    assert decoded(made).size == (1024, 1024)
    echo = {name: made[name] for name in ("size", "output_format", "quality", "background")}
    assert echo == {"size": "1024x1024", "output_format": "png", "quality": "auto", "background": "opaque"}
    omixa = made["omixa"]
    assert (omixa["model"], omixa["requested_model"], omixa["operation"]) == (MODEL, MODEL, "generation")
    assert (omixa["mode"], omixa["route"], omixa["simulated"]) == ("test", f"simulator/{MODEL}", True)
    assert omixa["attempts"] == [{"attempt": 1, "image": 0, "route": f"simulator/{MODEL}", "outcome": "ok"}]
    assert omixa["price_version"].startswith("mai-image-2.5@")
    assert (omixa["ignored_parameters"], omixa["emulated"], omixa["failed"]) == ([], [], [])


def test_usage_has_the_names_of_openai_and_adds_up_to_the_bill(client: httpx.Client) -> None:
    made = make(client)
    usage, omixa = made["usage"], made["omixa"]
    text_tokens = usage["input_tokens_details"]["text_tokens"]
    assert 0 < text_tokens < len(PROMPT)
    assert usage["input_tokens_details"]["image_tokens"] == 0
    assert (usage["input_tokens"], usage["output_tokens"]) == (text_tokens, 1024)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert (usage["images"], usage["usage_estimated"]) == (1, False)
    lines = {line["component"]: (line["quantity"], Decimal(line["amount"])) for line in omixa["line_items"]}
    assert lines == {
        "input_text": (text_tokens, text_tokens * Decimal("5.00") / 10**6),
        "input_image": (0, 0),
        "output_image": (1024, 1024 * Decimal("33.00") / 10**6),
    }
    exact = sum((amount for _, amount in lines.values()), Decimal())
    assert Decimal(omixa["exact_amount"]) == exact
    billed = exact.quantize(Decimal("0.0001"), ROUND_UP)
    assert usage["billed_amount"] == omixa["billed_amount"] == f"{billed:.6f}"
    assert Decimal(omixa["held_amount"]) >= billed


def test_headers_name_the_request_its_cost_and_where_the_time_went(client: httpx.Client, workspace: str) -> None:
    answer = client.post(CREATE, json=body(quality="high", user="somebody"))
    made = answer.json()
    assert answer.headers["x-request-id"] == made["omixa"]["request_id"]
    assert answer.headers["omixa-cost"] == made["usage"]["billed_amount"]
    assert answer.headers["omixa-mode"] == "test"
    assert answer.headers["omixa-route"] == made["omixa"]["route"]
    assert answer.headers["omixa-attempts"] == "1"
    assert answer.headers["omixa-ignored-parameters"] == "quality, user"
    timings = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert list(timings) == ["hold", "convert", "provider", "store", "capture", "total", "attempt-1"]
    took, _, said = timings.pop("attempt-1").partition(";")
    assert said == f'desc="{made["omixa"]["route"]} ok"'
    assert float(took) <= float(timings["provider"]) + 0.1
    kept = client.get(f"/api/v1/requests/{made['omixa']['request_id']}").headers["server-timing"]
    assert kept.startswith("total;dur=")
    assert kept.endswith(said)
    assert sum(float(timings[name]) for name in ("hold", "provider", "store", "capture")) <= float(timings["total"]) + 1
    # Both are rounded, to a tenth of a millisecond and to a whole one.
    assert abs(int(answer.headers["openai-processing-ms"]) - float(timings["total"])) <= 0.56


def test_money_leaves_the_account_once_and_nothing_stays_held(
    live: httpx.Client, gateway: Gateway, workspace: str
) -> None:
    before = footprint(gateway)
    made = make(live)
    after = footprint(gateway)
    billed = int(Decimal(made["usage"]["billed_amount"]) * 10**6)
    assert money(gateway, workspace, "live") == (10_000_000 - billed, 0)
    assert after.posted == before.posted - billed
    grown = {table: after.rows[table] - before.rows[table] for table in ("request", "attempt", "transfer")}
    assert grown == {"request": 1, "attempt": 1, "transfer": 1}
    assert len(after.results - before.results) == 1


def test_a_live_key_pays_the_provider_that_is_configured(live: httpx.Client, foundry: Simulator) -> None:
    before = len(foundry.log())
    made = make(live)
    assert (made["omixa"]["mode"], made["omixa"]["route"]) == ("live", f"foundry/{MODEL}")
    assert (made["omixa"]["provider"], made["omixa"]["simulated"]) == ("foundry", False)
    (entry,) = foundry.log()[before:]
    assert (entry["path"], entry["deployment"], entry["status"]) == ("/mai/v1/images/generations", MODEL, 200)


# ------------------------------------------------------------------------------------------------------ what is accepted

ACCEPTED: list[tuple[dict[str, Any], list[str]]] = [
    ({"model": "mai-image-2.5"}, []),
    ({"model": "MAI-IMAGE-2.5"}, []),
    ({"n": 1}, []),
    ({"n": None, "size": None, "quality": None, "stream": None, "input_images": None, "mask": None}, []),
    ({"output_format": "png"}, []),
    ({"size": "auto"}, []),
    ({"size": "1024x1024"}, []),
    *(({"quality": quality}, ["quality"]) for quality in ("auto", "low", "medium", "high", "standard")),
    *(({"background": background}, []) for background in ("auto", "opaque")),
    *(({"moderation": moderation}, ["moderation"]) for moderation in ("auto", "low")),
    *(({"input_fidelity": fidelity}, ["input_fidelity"]) for fidelity in ("auto", "low", "high")),
    ({"input_images": []}, []),
    ({"stream": False}, []),
    ({"user": "somebody"}, ["user"]),
    ({"user": ""}, ["user"]),
    ({"response_format": "b64_json"}, []),
    *(({"partial_images": number}, ["partial_images"]) for number in (0, 3)),
    ({"output_compression": 100}, ["output_compression"]),
    *(({"style": style}, ["style"]) for style in ("vivid", "natural")),
    (
        {
            "quality": "low",
            "moderation": "low",
            "input_fidelity": "high",
            "style": "vivid",
            "user": "u",
            "response_format": "b64_json",
            "partial_images": 1,
            "output_compression": 100,
        },
        sorted(
            [
                "quality",
                "moderation",
                "input_fidelity",
                "style",
                "user",
                "partial_images",
                "output_compression",
            ]
        ),
    ),
]


@pytest.mark.parametrize(("fields", "ignored"), ACCEPTED, ids=str)
def test_accepted_values_make_a_picture_and_name_what_has_no_effect(
    client: httpx.Client, fields: dict[str, Any], ignored: list[str]
) -> None:
    answer = client.post(CREATE, json=body(**fields))
    assert answer.status_code == 200, answer.text[:500]
    made = answer.json()
    assert made["omixa"]["model"] == MODEL
    assert made["omixa"]["requested_model"] == fields.get("model", MODEL)
    assert made["omixa"]["ignored_parameters"] == ignored
    assert answer.headers.get("omixa-ignored-parameters", "") == ", ".join(ignored)
    assert made["quality"] == (fields.get("quality") if fields.get("quality") != "standard" else None) or "auto"


@pytest.mark.parametrize("prompt", ["x", "Ein Zündholz 🔥 in 东京\nund\tmehr", "sim: not a scenario", "مرحبا بالعالم"])
def test_prompts_are_any_text(client: httpx.Client, prompt: str) -> None:
    assert make(client, prompt=prompt)["usage"]["images"] == 1


def test_a_prompt_may_fill_the_context_window(client: httpx.Client) -> None:
    made = make(client, prompt="a" + " a" * (CONTEXT_WINDOW_TOKENS - 1))
    assert made["usage"]["input_tokens"] == CONTEXT_WINDOW_TOKENS


# ------------------------------------------------------------------------------------------------------- what is refused


def square() -> list[dict[str, Any]]:
    return [reference()]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": None}, "missing_required_parameter", "model"),
    ({"model": 25}, "invalid_type", "model"),
    ({"model": ""}, "model_not_found", "model"),
    ({"model": "gpt-image-1"}, "model_not_found", "model"),
    ({"prompt": None}, "missing_required_parameter", "prompt"),
    ({"prompt": 7}, "invalid_type", "prompt"),
    ({"prompt": ["a kite"]}, "invalid_type", "prompt"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": " \n\t "}, "invalid_value", "prompt"),
    ({"prompt": "a kite\0"}, "invalid_value", "prompt"),
    ({"prompt": "a" + " a" * CONTEXT_WINDOW_TOKENS}, "context_length_exceeded", "prompt"),
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 11}, "invalid_value", "n"),
    ({"n": -1}, "invalid_value", "n"),
    ({"n": 10**30}, "invalid_value", "n"),
    ({"n": "2"}, "invalid_type", "n"),
    ({"n": 1.5}, "invalid_type", "n"),
    ({"n": True}, "invalid_type", "n"),
    ({"output_format": "gif"}, "invalid_value", "output_format"),
    ({"output_format": "PNG"}, "invalid_value", "output_format"),
    ({"output_format": 1}, "invalid_type", "output_format"),
    ({"size": "512x512"}, "invalid_value", "size"),
    ({"size": "1024 x 1024"}, "invalid_value", "size"),
    ({"size": 1024}, "invalid_type", "size"),
    ({"size": {"width": 1024}}, "invalid_type", "size"),
    ({"quality": "ultra"}, "invalid_value", "quality"),
    ({"quality": "hd"}, "unsupported_value", "quality"),
    ({"background": "transparent"}, "unsupported_value", "background"),
    ({"background": "green"}, "invalid_value", "background"),
    ({"moderation": "high"}, "invalid_value", "moderation"),
    ({"input_fidelity": "medium"}, "invalid_value", "input_fidelity"),
    ({"mask": data_url(picture())}, "unsupported_value", "mask"),
    ({"mask": reference()}, "unsupported_value", "mask"),
    ({"mask": reference(), "input_images": square()}, "unsupported_value", "mask"),
    ({"input_images": "data:image/png;base64,AAAA"}, "invalid_type", "input_images"),
    ({"input_images": [7]}, "invalid_type", "input_images[0]"),
    ({"input_images": [{"type": "image_url"}]}, "invalid_type", "input_images[0]"),
    ({"input_images": [{"type": "image", "image_url": "data:"}]}, "invalid_type", "input_images[0].type"),
    (
        {"input_images": [{"image_url": {"url": "data:", "detail": "high"}}]},
        "unknown_parameter",
        "input_images[0].image_url",
    ),
    ({"input_images": [reference(), reference()]}, "invalid_value", "input_images"),
    ({"input_images": square(), "size": "1536x1024"}, "invalid_value", "size"),
    ({"input_images": square(), "size": "1024x1536"}, "invalid_value", "size"),
    ({"input_images": [reference("png", 832, 1248)], "size": "1024x1024"}, "invalid_value", "size"),
    ({"stream": "true"}, "invalid_type", "stream"),
    ({"stream": 1}, "invalid_type", "stream"),
    ({"user": 12}, "invalid_type", "user"),
    ({"user": "u" * 513}, "invalid_value", "user"),
    ({"response_format": "file"}, "invalid_value", "response_format"),
    ({"partial_images": 4}, "invalid_value", "partial_images"),
    ({"partial_images": -1}, "invalid_value", "partial_images"),
    ({"output_compression": 50}, "invalid_value", "output_compression"),
    ({"output_compression": 101, "output_format": "jpeg"}, "invalid_value", "output_compression"),
    ({"output_compression": -1, "output_format": "webp"}, "invalid_value", "output_compression"),
    ({"style": "noir"}, "invalid_value", "style"),
    ({"seed": 42}, "unknown_parameter", "seed"),
    ({"promt": "a kite"}, "unknown_parameter", "promt"),
    ({"N": 2}, "unknown_parameter", "N"),
    ({"": 2}, "unknown_parameter", ""),
]


def _named(value: object) -> str:
    return str(value)[:60]


@pytest.mark.parametrize(("fields", "code", "param"), REFUSED, ids=_named)
def test_refused_values_name_the_field_and_leave_nothing(
    live: httpx.Client, gateway: Gateway, foundry: Simulator, fields: dict[str, Any], code: str, param: str
) -> None:
    calls, before = len(foundry.log()), footprint(gateway)
    answer = live.post(CREATE, json=body(**fields))
    assert answer.status_code == (404 if code == "model_not_found" else 400), answer.text[:500]
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["code"], error["param"]) == (code, param)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert len(error["message"]) < 1000
    assert answer.headers["x-should-retry"] == "false"
    assert footprint(gateway) == before
    assert len(foundry.log()) == calls


def test_a_prompt_over_the_context_window_is_told_its_number_of_tokens(client: httpx.Client) -> None:
    answer = client.post(CREATE, json=body(prompt="a" + " a" * CONTEXT_WINDOW_TOKENS))
    assert "32,001 tokens" in answer.json()["error"]["message"]
    assert "32,000" in answer.json()["error"]["message"]


def test_a_misspelt_field_gets_a_suggestion(client: httpx.Client) -> None:
    message = client.post(CREATE, json={"model": MODEL, "promt": PROMPT}).json()["error"]["message"]
    assert "Did you mean prompt?" in message


@pytest.mark.parametrize("form", ["nested", "plain", "string"])
def test_addresses_of_pictures_are_refused_and_never_fetched(client: httpx.Client, gateway: Gateway, form: str) -> None:
    before = footprint(gateway)
    with socket.create_server(("127.0.0.1", 0)) as web:
        url = f"http://127.0.0.1:{web.getsockname()[1]}/picture.png"
        entry: Any = {
            "nested": {"type": "image_url", "image_url": {"url": url}},
            "plain": {"type": "image_url", "image_url": url},
            "string": url,
        }[form]
        answer = client.post(CREATE, json=body(input_images=[entry]))
        web.setblocking(False)
        with pytest.raises(BlockingIOError):
            web.accept()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "image_url_not_inline", "input_images[0]")
    assert "never fetches" in error["message"]
    assert footprint(gateway) == before


# ----------------------------------------------------------------------------------------------------- sizes and formats


@pytest.mark.parametrize(("size", "native"), [("1024x1536", "832x1248"), ("1536x1024", "1248x832")])
def test_oblong_sizes_are_exactly_that_and_say_how(client: httpx.Client, size: str, native: str) -> None:
    made = make(client, size=size)
    assert made["size"] == size
    assert "{}x{}".format(*decoded(made).size) == size
    assert made["omixa"]["emulated"] == [
        {"parameter": "size", "how": f"painted at {native} and resampled to {size}"},
    ]
    assert made["usage"]["output_tokens"] == 832 * 1248 // 1024


def test_png_is_what_the_provider_sent_to_the_byte(live: httpx.Client, foundry: Simulator) -> None:
    painted = foundry.paint(model=MODEL, prompt=PROMPT, width=1024, height=1024)
    assert make(live)["data"][0]["b64_json"] == painted


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_other_formats_are_encoded_from_the_same_picture(client: httpx.Client, output_format: str) -> None:
    png, made = decoded(make(client)), make(client, output_format=output_format)
    image = decoded(made)
    assert (made["output_format"], image.format, image.size) == (output_format, output_format.upper(), (1024, 1024))
    assert made["omixa"]["emulated"] == [
        {"parameter": "output_format", "how": f"encoded as {output_format} from the provider's png"},
    ]
    difference = ImageStat.Stat(ImageChops.difference(image.convert("RGB"), png.convert("RGB"))).mean
    assert max(difference) < 4
    small, large = (make(client, output_format=output_format, output_compression=level) for level in (10, 95))
    assert len(small["data"][0]["b64_json"]) < len(large["data"][0]["b64_json"])
    assert small["omixa"]["ignored_parameters"] == []


# ---------------------------------------------------------------------------------------------------------------- several


def test_several_pictures_are_one_hold_and_one_bill(client: httpx.Client, gateway: Gateway, workspace: str) -> None:
    before = footprint(gateway)
    made = make(client, n=3)
    after = footprint(gateway)
    assert len({datum["b64_json"] for datum in made["data"]}) == 3
    usage, omixa = made["usage"], made["omixa"]
    assert (usage["images"], usage["output_tokens"]) == (3, 3 * 1024)
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert usage[name] == sum(one[name] for one in omixa["usage_by_image"])
    billed = Decimal(omixa["exact_amount"]).quantize(Decimal("0.0001"), ROUND_UP)
    assert Decimal(usage["billed_amount"]) == billed
    one = Decimal(make(client)["usage"]["billed_amount"])
    assert billed < 3 * one, "rounding each picture would cost more"
    assert [(call["attempt"], call["image"]) for call in sorted(omixa["attempts"], key=lambda call: call["image"])] == [
        (1, 0),
        (2, 1),
        (3, 2),
    ]
    assert omixa["emulated"] == [{"parameter": "n", "how": "3 calls of the provider, one picture each"}]
    grown = {table: after.rows[table] - before.rows[table] for table in ("request", "attempt", "transfer")}
    assert grown == {"request": 1, "attempt": 3, "transfer": 1}
    assert len(after.results - before.results) == 1


def test_ten_pictures_are_the_most(live: httpx.Client, foundry: Simulator) -> None:
    calls = len(foundry.log())
    made = make(live, n=10, output_format="png")
    assert (len(made["data"]), made["usage"]["output_tokens"]) == (10, 10_240)
    assert len(foundry.log()) == calls + 10


def test_what_arrives_of_several_is_delivered_and_billed(
    live: httpx.Client, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    foundry.play("ok,filter,ok,500")
    made = make(live, n=4)
    assert len(made["data"]) == 2
    assert sorted(failed["code"] for failed in made["omixa"]["failed"]) == [
        "content_policy_violation",
        "provider_error",
    ]
    failed = {failure["image"] for failure in made["omixa"]["failed"]}
    assert {call["image"] for call in made["omixa"]["attempts"] if call["outcome"] == "ok"} == {0, 1, 2, 3} - failed
    usage = made["usage"]
    assert (usage["images"], usage["output_tokens"]) == (2, 2 * 1024)
    exact = (usage["input_tokens"] * Decimal(5) + 2048 * Decimal(33)) / 10**6
    assert Decimal(usage["billed_amount"]) == exact.quantize(Decimal("0.0001"), ROUND_UP)
    billed = int(Decimal(usage["billed_amount"]) * 10**6)
    assert money(gateway, workspace, "live") == (10_000_000 - billed, 0)


def test_when_none_of_several_arrives_nothing_is_charged(
    live: httpx.Client, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    foundry.play("filterx3")
    answer = live.post(CREATE, json=body(n=3))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
    assert money(gateway, workspace, "live") == (10_000_000, 0)


# ------------------------------------------------------------------------------------------------------------------ edits


def test_the_example_request_costs_exactly_what_was_published(
    live: httpx.Client, foundry: Simulator, gateway: Gateway, workspace: str
) -> None:
    made = make(live, prompt=EXAMPLE_PROMPT, n=1, size="1024x1024", input_images=[reference()])
    assert made["usage"]["billed_amount"] == "0.039000"
    assert made["usage"]["input_tokens_details"] == {"text_tokens": 15, "image_tokens": 1024}
    assert made["usage"]["output_tokens"] == 1024
    assert made["omixa"]["operation"] == "edit"
    assert foundry.log()[-1]["path"] == "/mai/v1/images/edits"
    assert money(gateway, workspace, "live") == (10_000_000 - 39_000, 0)


@pytest.mark.parametrize("form", ["nested", "plain", "string", "untyped"])
def test_a_reference_may_be_written_in_every_form(live: httpx.Client, form: str) -> None:
    url = data_url(picture())
    entry: Any = {
        "nested": {"type": "image_url", "image_url": {"url": url}},
        "plain": {"type": "image_url", "image_url": url},
        "string": url,
        "untyped": {"image_url": {"url": url}},
    }[form]
    assert make(live, input_images=[entry])["omixa"]["operation"] == "edit"


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_references_of_other_formats_reach_the_provider_in_one_it_takes(
    live: httpx.Client, foundry: Simulator, format: Any
) -> None:
    made = make(live, input_images=[reference(format)], input_fidelity="high")
    assert made["omixa"]["operation"] == "edit"
    assert made["omixa"]["ignored_parameters"] == ["input_fidelity"]
    entry = foundry.log()[-1]
    assert (entry["path"], entry["status"]) == ("/mai/v1/images/edits", 200)


def test_an_edit_keeps_the_shape_of_its_reference(client: httpx.Client) -> None:
    made = make(client, input_images=[reference("png", 800, 400)])
    width, height = decoded(made).size
    assert made["size"] == f"{width}x{height}"
    assert abs(width / height - 2) < 0.05
    assert make(client, input_images=[reference("png", 832, 1248)], size="1024x1536")["size"] == "1024x1536"


def test_an_edit_is_another_picture_than_its_reference_and_than_the_prompt_alone(client: httpx.Client) -> None:
    edit, alone = make(client, input_images=[reference()]), make(client)
    assert edit["data"][0]["b64_json"] != alone["data"][0]["b64_json"]
    assert decoded(edit).tobytes() != picture()


# ------------------------------------------------------------------------------------------------------ what can go wrong

FAULTS = [
    ("429(retry_after=7)", 429, "rate_limit_error", "provider_rate_limited", "7", "true"),
    ("filter", 400, "content_policy_violation", "content_policy_violation", None, "false"),
    ("401", 503, "provider_error", "provider_unavailable", None, "false"),
    ("404", 503, "provider_error", "provider_unavailable", None, "false"),
    ("quota", 503, "provider_error", "provider_unavailable", None, "false"),
    ("503(retry_after=3)", 503, "provider_error", "provider_unavailable", "3", "true"),
    ("500", 502, "provider_error", "provider_error", None, "true"),
    ("504", 502, "provider_error", "provider_error", None, "true"),
    ("reset", 502, "provider_error", "provider_error", None, "true"),
    ("notpng", 502, "provider_error", "bad_provider_response", None, "true"),
    ("bomb", 502, "provider_error", "bad_provider_response", None, "true"),
    ("html", 502, "provider_error", "bad_provider_response", None, "true"),
    ("redirect", 502, "provider_error", "provider_redirected", None, "false"),
]


@pytest.mark.parametrize(("scenario", "status", "kind", "code", "retry_after", "again"), FAULTS)
def test_a_provider_that_fails_costs_nothing_and_is_told_in_public_words(
    live: httpx.Client,
    foundry: Simulator,
    gateway: Gateway,
    workspace: str,
    scenario: str,
    status: int,
    kind: str,
    code: str,
    retry_after: str | None,
    again: str,
) -> None:
    foundry.play(scenario)
    results = footprint(gateway).results
    answer = live.post(CREATE, json=body())
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (status, kind, code)
    assert (answer.headers.get("retry-after"), answer.headers["x-should-retry"]) == (retry_after, again)
    assert money(gateway, workspace, "live") == (10_000_000, 0)
    assert footprint(gateway).results == results


@pytest.mark.parametrize("scenario", ["nousage", "badusage", "bigusage"])
def test_without_usable_usage_a_picture_costs_the_flat_price(
    live: httpx.Client, foundry: Simulator, scenario: str
) -> None:
    foundry.play(scenario)
    made = make(live)
    assert (made["usage"]["billed_amount"], made["usage"]["usage_estimated"]) == ("0.033000", True)
    assert [line["component"] for line in made["omixa"]["line_items"]] == ["image"]


def test_a_bill_is_never_above_what_was_held(live: httpx.Client, foundry: Simulator) -> None:
    foundry.play("longusage")
    made = make(live)
    assert made["usage"]["billed_amount"] == made["omixa"]["held_amount"]


def test_without_money_nothing_is_sent(
    gateway: Gateway, foundry: Simulator, workspace: str, document: Document
) -> None:
    key = gateway.key("live", workspace)
    calls, before = len(foundry.log()), footprint(gateway)
    with gateway.client(key) as client:
        answer = client.post(CREATE, json=body())
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (402, "billing_error", "insufficient_balance")
    assert answer.headers["x-should-retry"] == "false"
    assert footprint(gateway) == before
    assert len(foundry.log()) == calls


@pytest.fixture(scope="module")
def unconfigured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway as it is without any configuration."""
    with running_gateway(tmp_path_factory.mktemp("unconfigured")) as running:
        yield running


def test_without_a_provider_live_keys_are_told_how_to_configure_one(unconfigured: Gateway, document: Document) -> None:
    unconfigured.grant(1_000_000)
    before = footprint(unconfigured)
    with unconfigured.client(unconfigured.key("live")) as client:
        answer = client.post(CREATE, json=body())
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "no_healthy_route")
    assert "OMIXA_FOUNDRY_ENDPOINT" in error["message"]
    assert "omixa.toml" in error["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert footprint(unconfigured) == before


def test_without_a_provider_test_keys_work(unconfigured: Gateway) -> None:
    with unconfigured.client(unconfigured.key("test")) as client:
        assert make(client)["omixa"]["mode"] == "test"


def test_the_same_request_twice_gives_the_same_picture_and_two_bills(
    client: httpx.Client, gateway: Gateway, workspace: str
) -> None:
    first, second = make(client), make(client)
    assert first["data"] == second["data"]
    assert first["omixa"]["request_id"] != second["omixa"]["request_id"]
    billed = int(Decimal(first["usage"]["billed_amount"]) * 10**6)
    assert money(gateway, workspace, "test") == (1_000_000_000 - 2 * billed, 0)


def test_results_are_files_that_only_the_owner_may_read(client: httpx.Client, gateway: Gateway) -> None:
    request_id = make(client)["omixa"]["request_id"]
    (path,) = Path(gateway.settings.data_dir).glob(f"results/*/{request_id}")
    assert path.stat().st_mode & 0o077 == 0
    assert Path(gateway.settings.data_dir, "pepper").stat().st_mode & 0o077 == 0
