"""The models that enlarge and cut out: one picture in, one out, with test and live keys, without any account."""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import pytest
from PIL import Image

from omixa.config import ConfigError
from omixa.domain.access import Mode
from omixa.engines.workers import Workers
from tests.support.catalogues import copy_catalogue
from tests.support.document import Document, events
from tests.support.footprint import money
from tests.support.pictures import data_url, decoded, picture, reference
from tests.support.quality import PHOTOGRAPHS, halved, intersection_over_union, mask_of, photograph, psnr
from tests.support.servers import Gateway, running_gateway

UPSCALE, CUTOUT = "omixa-upscale-1", "omixa-cutout-1"
API = "/api/v1"
CREATE, EDIT, ESTIMATE = f"{API}/images/generations", f"{API}/images/edits", f"{API}/images/estimate"
PRICES = {UPSCALE: "0.004000", CUTOUT: "0.003000"}
DOLLARS_10 = 10_000_000
COFFEE = data_url((PHOTOGRAPHS / "coffee.png").read_bytes())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway without any provider configured, as it is after its installation."""
    with running_gateway(tmp_path_factory.mktemp("alone")) as running:
        yield running


@pytest.fixture(scope="module")
def document(alone: Gateway) -> Document:
    with alone.client(None) as client:
        return Document(client.get("/openapi.json").json())


@pytest.fixture(params=["test", "live"])
def mode(request: pytest.FixtureRequest) -> Mode:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def client(alone: Gateway, workspace: str, mode: Mode) -> Iterator[httpx.Client]:
    """A client with ten dollars of real or play money."""
    alone.grant(DOLLARS_10, mode="live", workspace=workspace)
    with alone.client(alone.key(mode, workspace)) as client:
        yield client


@pytest.fixture
def own_client(alone: Gateway, workspace: str) -> Iterator[httpx.Client]:
    """A client with a live key and ten dollars."""
    alone.grant(DOLLARS_10, workspace=workspace)
    with alone.client(alone.key("live", workspace)) as client:
        yield client


def body(model: str, picture: Any, **fields: Any) -> dict[str, Any]:
    return {"model": model, "input_images": [picture], **fields}


def make(client: httpx.Client, model: str, picture: Any, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json=body(model, picture, **fields))
    assert answer.status_code == 200, answer.text[:500]
    made: dict[str, Any] = answer.json()
    return made


def as_url(shown: Image.Image) -> str:
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return data_url(stream.getvalue())


def with_hole(size: int) -> Image.Image:
    """A gradient that is transparent in the middle."""
    with Image.open(io.BytesIO(picture("png", size, size))) as opened:
        shown = opened.convert("RGBA")
    shown.paste((0, 0, 0, 0), (size // 4, size // 4, size // 2, size // 2))
    return shown


# -------------------------------------------------------------------------------------------------------------- enlarging


@pytest.mark.parametrize("scale", [None, 2, 4])
def test_a_picture_is_enlarged_for_its_price(client: httpx.Client, document: Document, mode: Mode, scale: Any) -> None:
    fields = {} if scale is None else {"scale": scale}
    answer = client.post(CREATE, json=body(UPSCALE, reference("png", 90, 60), **fields))
    document.check(answer)
    made, times = answer.json(), scale or 2
    width, height = 90 * times, 60 * times
    assert decoded(made).size == (width, height)
    assert (made["size"], made["background"], made["output_format"]) == (f"{width}x{height}", "opaque", "png")
    omixa, usage = made["omixa"], made["usage"]
    assert (omixa["provider"], omixa["route"], omixa["simulated"]) == ("embedded", f"embedded/{UPSCALE}", False)
    assert (omixa["mode"], omixa["operation"], omixa["emulated"]) == (mode, "edit", [])
    assert (omixa["ignored_parameters"], omixa["failed"]) == ([], [])
    assert (usage["billed_amount"], usage["images"], usage["usage_estimated"]) == (PRICES[UPSCALE], 1, False)
    assert usage["input_tokens_details"] == {"text_tokens": 0, "image_tokens": 6}
    assert usage["output_tokens"] == -(-width * height // 1024)
    assert [(line["component"], line["quantity"]) for line in omixa["line_items"]] == [("image", 1)]


def test_it_comes_closer_to_the_photograph_than_lanczos(own_client: httpx.Client) -> None:
    whole, half = halved(photograph("astronaut.png").crop((100, 0, 356, 256)))
    made = np.asarray(decoded(make(own_client, UPSCALE, as_url(half))))
    plain = half.resize(whole.size, Image.Resampling.LANCZOS)
    assert psnr(made, np.asarray(whole)) > psnr(np.asarray(plain), np.asarray(whole)) + 1


@pytest.mark.parametrize(
    ("output_format", "background"), [("png", "transparent"), ("webp", "transparent"), ("jpeg", "opaque")]
)
def test_transparency_is_kept_where_the_format_has_it(
    own_client: httpx.Client, output_format: str, background: str
) -> None:
    made = make(own_client, UPSCALE, as_url(with_hole(40)), output_format=output_format)
    assert (made["background"], made["output_format"]) == (background, output_format)
    shown = decoded(made)
    assert shown.size == (80, 80)
    if background == "transparent":
        assert shown.getpixel((30, 30))[3] == 0  # type: ignore[index]
        assert shown.getpixel((70, 70))[3] == 255  # type: ignore[index]
    else:
        assert min(shown.getpixel((30, 30))) > 245  # type: ignore[arg-type]


def test_previews_come_before_the_picture(client: httpx.Client, document: Document) -> None:
    shown = as_url(photograph("camera.png").crop((100, 60, 400, 260)))
    answer = client.post(CREATE, json=body(UPSCALE, shown, stream=True, partial_images=2))
    document.check(answer)
    *previews, last = events(answer.text)
    assert [event["type"] for event in previews] == ["image_edit.partial_image"] * 2
    assert [event["partial_image_index"] for event in previews] == [0, 1]
    assert (last["type"], last["size"]) == ("image_edit.completed", "600x400")
    assert (last["usage"]["billed_amount"], last["omixa"]["ignored_parameters"]) == (PRICES[UPSCALE], [])
    pixels = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(event["b64_json"])))).astype(int)
        for event in (*previews, last)
    ]
    first, second = (np.abs(one - pixels[-1]).mean() for one in pixels[:-1])
    assert first > second > 0


# ------------------------------------------------------------------------------------------------------------- cutting out


def test_the_background_is_taken_away_for_its_price(client: httpx.Client, document: Document, mode: Mode) -> None:
    answer = client.post(CREATE, json=body(CUTOUT, COFFEE))
    document.check(answer)
    made = answer.json()
    shown = decoded(made)
    assert (shown.size, shown.mode) == ((600, 400), "RGBA")
    assert (made["size"], made["background"], made["output_format"]) == ("600x400", "transparent", "png")
    assert intersection_over_union(np.asarray(shown)[..., 3], mask_of("coffee.png")) > 0.95
    omixa, usage = made["omixa"], made["usage"]
    assert (omixa["mode"], omixa["route"], omixa["operation"]) == (mode, f"embedded/{CUTOUT}", "edit")
    assert (usage["billed_amount"], usage["total_tokens"]) == (PRICES[CUTOUT], 2 * 235)


def test_a_cut_out_as_webp(own_client: httpx.Client) -> None:
    made = make(own_client, CUTOUT, COFFEE, output_format="webp", background="auto")
    assert (made["background"], made["output_format"]) == ("transparent", "webp")
    assert decoded(made).getchannel("A").getextrema() == (0, 255)


def test_a_photograph_lying_on_its_side_is_cut_out_upright(own_client: httpx.Client) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    photograph("coffee.png").save(stream, "JPEG", quality=95, exif=exif)
    made = decoded(make(own_client, CUTOUT, data_url(stream.getvalue(), "image/jpeg")))
    assert made.size == (400, 600)
    upright = np.rot90(np.asarray(made)[..., 3])
    assert intersection_over_union(upright, mask_of("coffee.png")) > 0.9


def test_a_picture_of_nothing_is_refused_and_costs_nothing(
    own_client: httpx.Client, alone: Gateway, workspace: str, document: Document
) -> None:
    answer = own_client.post(CREATE, json=body(CUTOUT, as_url(Image.new("RGB", (300, 200), "#808080"))))
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "nothing_found", "input_images")
    assert answer.headers["x-should-retry"] == "false"
    assert money(alone, workspace, "live") == (DOLLARS_10, 0)


# -------------------------------------------------------------------------------------------------------------------- both


@pytest.mark.parametrize("model", [UPSCALE, CUTOUT])
def test_the_price_is_charged_and_the_estimate_told_it(
    own_client: httpx.Client, alone: Gateway, workspace: str, document: Document, model: str
) -> None:
    asked = body(model, as_url(photograph("coffee.png").resize((150, 100))))
    told = own_client.post(ESTIMATE, json=asked)
    document.check(told)
    assert told.json()["ceiling"]["amount"] == told.json()["expected"]["amount"] == PRICES[model]
    assert told.json()["admitted"]
    made = own_client.post(CREATE, json=asked).json()
    assert money(alone, workspace, "live") == (DOLLARS_10 - int(float(PRICES[model]) * 1e6), 0)
    record = own_client.get(f"{API}/requests/{made['omixa']['request_id']}")
    document.check(record)
    assert record.json()["billed_amount"] == PRICES[model]
    receipt = own_client.get(f"{API}/requests/{made['omixa']['request_id']}/receipt")
    document.check(receipt)


@pytest.mark.parametrize("model", [UPSCALE, CUTOUT])
def test_the_same_request_gives_the_same_bytes(own_client: httpx.Client, model: str) -> None:
    shown = as_url(photograph("flower.jpg").resize((160, 107)))
    assert make(own_client, model, shown)["data"] == make(own_client, model, shown)["data"]


@pytest.mark.parametrize("model", [UPSCALE, CUTOUT])
def test_the_edit_route_takes_a_file_and_openai_json(own_client: httpx.Client, document: Document, model: str) -> None:
    small = photograph("coffee.png").resize((150, 100))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    sent = {"model": model, "prompt": "please"} | ({"scale": "2"} if model == UPSCALE else {})
    form = own_client.post(EDIT, data=sent, files={"image": ("cup.png", stream.getvalue(), "image/png")})
    document.check(form)
    written = own_client.post(EDIT, json={"model": model, "images": [{"image_url": as_url(small)}]})
    document.check(written)
    assert form.status_code == written.status_code == 200, form.text[:300]
    assert form.json()["omixa"]["ignored_parameters"] == ["prompt"]
    assert form.json()["data"] == written.json()["data"] == make(own_client, model, as_url(small))["data"]


def test_the_openai_client_enlarges_and_cuts_out(alone: Gateway, workspace: str, mode: Mode) -> None:
    alone.grant(DOLLARS_10, mode="live", workspace=workspace)
    small = picture("png", 60, 40)
    with (
        httpx.Client(trust_env=False, verify=False, timeout=60) as transport,
        openai.OpenAI(
            base_url=alone.api, api_key=alone.key(mode, workspace), max_retries=0, http_client=transport
        ) as client,
    ):
        larger = client.images.edit(
            model=UPSCALE, image=("small.png", small), prompt="enlarge", extra_body={"scale": 4}
        )
        assert larger.data is not None
        assert Image.open(io.BytesIO(base64.b64decode(str(larger.data[0].b64_json)))).size == (240, 160)
        cut = client.images.edit(model=CUTOUT, image=PHOTOGRAPHS / "flower.jpg", prompt="", background="transparent")
        assert (cut.background, cut.output_format) == ("transparent", "png")


@pytest.mark.parametrize(
    ("model", "fields", "code", "param"),
    [
        (UPSCALE, {"scale": 3}, "invalid_value", "scale"),
        (UPSCALE, {"scale": "2"}, "invalid_type", "scale"),
        (UPSCALE, {"scale": True}, "invalid_type", "scale"),
        (UPSCALE, {"size": "1024x1024"}, "invalid_value", "size"),
        (UPSCALE, {"n": 2}, "invalid_value", "n"),
        (UPSCALE, {"background": "transparent"}, "unsupported_value", "background"),
        (UPSCALE, {"mask": "data:image/png;base64,AAAA"}, "unsupported_value", "mask"),
        (UPSCALE, {"prompt": 5}, "invalid_type", "prompt"),
        (UPSCALE, {"input_images": []}, "invalid_value", "input_images"),
        (UPSCALE, {"input_images": None}, "missing_required_parameter", "input_images"),
        (UPSCALE, {"input_images": [COFFEE, COFFEE]}, "invalid_value", "input_images"),
        (UPSCALE, {"input_images": [reference("png", 1025, 1024)]}, "image_too_large", "input_images[0]"),
        (CUTOUT, {"scale": 2}, "unknown_parameter", "scale"),
        (CUTOUT, {"output_format": "jpeg"}, "unsupported_value", "output_format"),
        (CUTOUT, {"background": "opaque"}, "unsupported_value", "background"),
        (CUTOUT, {"input_images": None}, "missing_required_parameter", "input_images"),
        (CUTOUT, {"input_images": [reference("png", 4097, 4096)]}, "image_too_large", "input_images[0]"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_they_cannot_do_is_refused(
    own_client: httpx.Client,
    alone: Gateway,
    workspace: str,
    document: Document,
    model: str,
    fields: dict[str, Any],
    code: str,
    param: str,
) -> None:
    answer = own_client.post(CREATE, json=body(model, COFFEE) | fields)
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert money(alone, workspace, "live") == (DOLLARS_10, 0)


def test_a_scale_that_does_not_exist_is_answered_with_those_that_do(own_client: httpx.Client) -> None:
    error = own_client.post(CREATE, json=body(UPSCALE, COFFEE, scale=8)).json()["error"]
    assert error["message"] == "scale must be one of 2, 4; got 8."


@pytest.mark.parametrize("model", [UPSCALE, CUTOUT])
def test_a_damaged_picture_is_the_callers_fault_and_costs_nothing(
    own_client: httpx.Client, alone: Gateway, workspace: str, document: Document, model: str
) -> None:
    whole = picture("jpeg", 64, 64)
    damaged = whole[:200] + bytes(len(whole) - 202) + whole[-2:]
    answer = own_client.post(CREATE, json=body(model, data_url(damaged, "image/jpeg")))
    document.check(answer)
    assert answer.status_code == 400
    assert money(alone, workspace, "live") == (DOLLARS_10, 0)


@pytest.mark.parametrize("model", [UPSCALE, CUTOUT])
def test_the_model_says_what_it_takes(own_client: httpx.Client, document: Document, model: str) -> None:
    answer = own_client.get(f"{API}/models/{model}")
    document.check(answer)
    described = answer.json()
    parameters = {parameter["name"]: parameter for parameter in described["parameters"]}
    assert parameters["input_images"]["required"]
    assert not parameters["prompt"]["required"]
    assert parameters["input_images"]["max_pixels"] == {UPSCALE: 1_048_576, CUTOUT: 16_777_216}[model]
    assert (described["owned_by"], described["prices"]["image"]) == ("embedded", PRICES[model])
    assert ("scale" in parameters) == (model == UPSCALE)
    if model == UPSCALE:
        assert parameters["scale"]["accepted"] == [2, 4]


# ---------------------------------------------------------------------------------------------------------------- the pool


def test_a_worker_that_dies_in_the_middle_fails_one_request_and_charges_nothing(tmp_path: Path, workspace: str) -> None:
    with Workers(1, waiting=1) as workers, running_gateway(tmp_path, own_workers=workers) as small:
        small.grant(DOLLARS_10, workspace=workspace)
        key = small.key("live", workspace)
        asked = body(UPSCALE, as_url(photograph("astronaut.png")), scale=4, stream=True, partial_images=1)
        with small.client(key) as client, client.stream("POST", CREATE, json=asked) as streamed:
            lines = streamed.iter_lines()
            # The preview comes when the first half of the work is done.
            assert any(line == "event: image_edit.partial_image" for line in lines)
            (pid,) = workers.pids
            os.kill(pid, signal.SIGKILL)
            *_, last = events("\n".join(lines) + "\n\n")
        assert last["error"]["code"] == "engine_failed"
        assert money(small, workspace, "live") == (DOLLARS_10, 0)
        with small.client(key) as client:
            assert make(client, CUTOUT, COFFEE)["usage"]["billed_amount"] == PRICES[CUTOUT]
        assert pid not in workers.pids


def test_a_full_pool_is_a_clear_503_that_costs_nothing(tmp_path: Path, workspace: str, document: Document) -> None:
    with Workers(1, waiting=0) as workers, running_gateway(tmp_path, own_workers=workers) as small:
        small.grant(DOLLARS_10, workspace=workspace)
        with small.client(small.key("live", workspace)) as client, ThreadPoolExecutor(1) as thread:
            make(client, CUTOUT, COFFEE)
            (pid,) = workers.pids
            os.kill(pid, signal.SIGSTOP)
            first = thread.submit(make, client, UPSCALE, reference("png", 20, 20))
            small.call(lambda _: until_busy(workers))
            refused = client.post(CREATE, json=body(CUTOUT, COFFEE))
            os.kill(pid, signal.SIGCONT)
            document.check(refused)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert refused.headers["x-should-retry"] == "true"
            assert first.result()["usage"]["billed_amount"] == PRICES[UPSCALE]
        assert money(small, workspace, "live") == (DOLLARS_10 - 7000, 0)


async def until_busy(workers: Workers) -> None:
    while not workers.unfinished:  # noqa: ASYNC110 - the pool has no event
        await asyncio.sleep(0.01)


def test_without_the_extra_the_models_say_what_is_missing_and_the_others_work(
    tmp_path: Path, workspace: str, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers look for modules where this process does, and find this one first.
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.syspath_prepend(tmp_path)  # type: ignore[no-untyped-call]
    with Workers(1) as workers, running_gateway(tmp_path / "data", own_workers=workers) as bare:
        bare.grant(DOLLARS_10, workspace=workspace)
        with bare.client(bare.key("live", workspace)) as client:
            for model in (UPSCALE, CUTOUT):
                answer = client.post(CREATE, json=body(model, COFFEE))
                document.check(answer)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_installed")
                assert "omixa[vision]" in answer.json()["error"]["message"]
                assert answer.headers["x-should-retry"] == "false"
            assert money(bare, workspace, "live") == (DOLLARS_10, 0)
            drawn = client.post(CREATE, json={"model": "omixa-illustrator-1", "prompt": "a fox"})
            assert drawn.status_code == 200


def test_a_catalogue_that_no_engine_fits_is_refused_at_the_start(tmp_path: Path) -> None:
    directory = copy_catalogue(tmp_path / "catalogue")
    file = directory / "models" / "omixa-upscale-1.toml"
    file.write_text(file.read_text().replace("accepted = [2, 4]", "accepted = [2, 3]", 1))
    with (
        pytest.raises(ConfigError, match="omixa-upscale-1, which is embedded: scale must accept"),
        running_gateway(tmp_path / "data", catalogue_dir=str(directory)),
    ):
        pass
