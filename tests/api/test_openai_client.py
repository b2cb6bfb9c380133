"""The official OpenAI package, unchanged, with its base address set to a running gateway."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2 as httpx
import openai
import pytest
from openai.types import ImagesResponse

from tests.support.footprint import money
from tests.support.pictures import picture, reference
from tests.support.servers import Gateway, Simulator

T = TypeVar("T")
MODEL = "MAI-Image-2.5"
PROMPT = "A red kite over a stubble field at dusk"


@pytest.fixture
def client(gateway: Gateway, new_key: Callable[..., str]) -> Iterator[openai.OpenAI]:
    """A client with a test key."""
    with make_client(gateway, new_key()) as client:
        yield client


@pytest.fixture
def live(gateway: Gateway, live_client: httpx.Client) -> Iterator[openai.OpenAI]:
    """A client with a live key and ten dollars."""
    with make_client(gateway, live_client.headers["authorization"].removeprefix("Bearer ")) as client:
        yield client


def make_client(gateway: Gateway, key: str, max_retries: int = 0) -> openai.OpenAI:
    transport = httpx.Client(trust_env=False, verify=False, timeout=60)
    return openai.OpenAI(base_url=gateway.api, api_key=key, max_retries=max_retries, http_client=transport)


def check_picture(encoded: str | None) -> None:
    assert encoded is not None
    assert base64.b64decode(encoded).startswith(b"\x89PNG\r\n\x1a\n")


def check_answer(made: ImagesResponse) -> None:
    assert made.data is not None
    check_picture(made.data[0].b64_json)
    assert made.data[0].url is None
    assert (made.size, made.output_format, made.background) == ("1024x1024", "png", "opaque")
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    assert made.usage.input_tokens_details.text_tokens == made.usage.input_tokens
    assert made.usage.model_extra is not None
    assert made.usage.model_extra["billed_amount"] == "0.033900"
    assert made.model_extra is not None
    omixa = made.model_extra["omixa"]
    assert made._request_id == omixa["request_id"]
    assert omixa["billed_amount"] == "0.033900"


def test_generate(client: openai.OpenAI) -> None:
    check_answer(client.images.generate(model=MODEL, prompt=PROMPT))


def test_generate_with_everything_the_package_offers(client: openai.OpenAI) -> None:
    made = client.images.generate(
        model=MODEL,
        prompt=PROMPT,
        background="opaque",
        moderation="low",
        n=1,
        output_compression=80,
        output_format="jpeg",
        partial_images=0,
        quality="standard",
        response_format="b64_json",
        size="1024x1024",
        style="vivid",
        user="somebody",
    )
    assert made.output_format == "jpeg"
    assert made.model_extra is not None
    assert made.model_extra["omixa"]["ignored_parameters"] == [
        "moderation",
        "partial_images",
        "quality",
        "style",
        "user",
    ]


def test_several_pictures(client: openai.OpenAI) -> None:
    made = client.images.generate(model=MODEL, prompt=PROMPT, n=3)
    assert made.data is not None
    assert len({image.b64_json for image in made.data}) == 3


def test_headers_are_within_reach(client: openai.OpenAI) -> None:
    raw = client.images.with_raw_response.generate(model=MODEL, prompt=PROMPT)
    assert raw.headers["omixa-cost"] == "0.033900"
    assert raw.headers["omixa-mode"] == "test"


def test_edit_with_a_reference(client: openai.OpenAI) -> None:
    made = client.images.generate(model=MODEL, prompt=PROMPT, extra_body={"input_images": [reference()]})
    assert made.model_extra is not None
    assert made.model_extra["omixa"]["operation"] == "edit"
    assert made.usage is not None
    assert made.usage.input_tokens_details.image_tokens == 1024


def test_stream(client: openai.OpenAI) -> None:
    plain = client.images.generate(model=MODEL, prompt=PROMPT)
    made = list(client.images.generate(model=MODEL, prompt=PROMPT, stream=True, n=2))
    assert [event.type for event in made] == ["image_generation.completed"] * 2
    completed = made[0]
    assert completed.type == "image_generation.completed"
    assert plain.data is not None
    assert completed.b64_json == plain.data[0].b64_json
    assert sum(event.usage.output_tokens for event in made if event.type == "image_generation.completed") == 2 * 1024


def test_an_error_inside_a_stream_is_raised(live: openai.OpenAI, foundry: Simulator) -> None:
    foundry.play("filter")
    with pytest.raises(openai.APIError) as caught:
        list(live.images.generate(model=MODEL, prompt=PROMPT, stream=True))
    assert caught.value.code == "content_policy_violation"


# ----------------------------------------------------------------------------------------------------------------- edits


@pytest.mark.parametrize("kind", ["file", "stream", "bytes", "path", "name and bytes", "name, bytes and type", "list"])
def test_edit_with_every_kind_of_file(client: openai.OpenAI, tmp_path: Path, kind: str) -> None:
    path = tmp_path / 'Größe " 1.png'
    path.write_bytes(picture())
    with path.open("rb") as file:
        images: dict[str, Any] = {
            "file": file,
            "stream": io.BytesIO(picture()),
            "bytes": picture(),
            "path": path,
            "name and bytes": ("a.png", picture()),
            "name, bytes and type": ("a", picture(), "image/png"),
            "list": [picture()],
        }
        made = client.images.edit(model=MODEL, image=images[kind], prompt=PROMPT)
    same = client.images.generate(model=MODEL, prompt=PROMPT, extra_body={"input_images": [reference()]})
    assert made.data is not None
    assert same.data is not None
    assert made.data[0].b64_json == same.data[0].b64_json
    assert made.usage is not None
    assert made.usage.input_tokens_details.image_tokens == 1024
    assert made.model_extra is not None
    assert made.model_extra["omixa"]["operation"] == "edit"


def test_edit_with_everything_the_package_offers(client: openai.OpenAI) -> None:
    made = client.images.edit(
        model=MODEL,
        image=picture("jpeg"),
        prompt=PROMPT,
        background="opaque",
        input_fidelity="high",
        n=2,
        output_compression=80,
        output_format="webp",
        partial_images=1,
        quality="high",
        response_format="b64_json",
        size="1024x1024",
        user="somebody",
        stream=False,
    )
    assert made.output_format == "webp"
    assert made.data is not None
    assert len({image.b64_json for image in made.data}) == 2


def test_edit_as_a_stream(client: openai.OpenAI) -> None:
    made = list(client.images.edit(model=MODEL, image=picture(), prompt=PROMPT, n=2, stream=True))
    assert [event.type for event in made] == ["image_edit.completed"] * 2
    for event in made:
        check_picture(event.b64_json)
    assert sum(event.usage.output_tokens for event in made if event.type == "image_edit.completed") == 2 * 1024


def test_edit_by_the_other_path(gateway: Gateway, client: openai.OpenAI) -> None:
    made = client.with_options(base_url=f"{gateway.url}/v1").images.edit(model=MODEL, image=picture(), prompt=PROMPT)
    assert made.model_extra is not None
    assert made.model_extra["omixa"]["operation"] == "edit"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"image": [picture(), picture()]}, "invalid_value", "image"),
        ({"mask": picture()}, "unsupported_value", "mask"),
        ({"image": ("a.jpg", picture(), "image/jpeg")}, "image_type_mismatch", "image"),
        ({"image": b"GIF89a"}, "unsupported_image_format", "image"),
        ({"image": []}, "missing_required_parameter", "image"),
        ({"background": "transparent"}, "unsupported_value", "background"),
        ({"response_format": "file"}, "invalid_value", "response_format"),
        ({"size": "512x512"}, "invalid_value", "size"),
        ({"stream": True, "n": 11}, "invalid_value", "n"),
        ({"markup": picture()}, "unknown_parameter", "markup"),
    ],
)
def test_what_an_edit_cannot_do_is_a_bad_request(
    client: openai.OpenAI, fields: dict[str, Any], code: str, param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(**{"model": MODEL, "image": picture(), "prompt": PROMPT, **fields})
    assert (caught.value.code, caught.value.param) == (code, param)


def test_an_edit_asks_for_a_model_that_exists(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.edit(model="dall-e-2", image=picture(), prompt=PROMPT)
    assert caught.value.code == "model_not_found"


def test_an_edit_that_is_tried_again_is_charged_once(
    gateway: Gateway, live: openai.OpenAI, foundry: Simulator, workspace: str
) -> None:
    foundry.play("429(retry_after=1)")
    made = live.with_options(max_retries=1).images.edit(model=MODEL, image=picture(), prompt=PROMPT)
    assert made.usage is not None
    assert made.usage.model_extra is not None
    billed = round(float(made.usage.model_extra["billed_amount"]) * 1_000_000)
    assert money(gateway, workspace, "live") == (10_000_000 - billed, 0)


# ----------------------------------------------------------------------------------------------------------- typed errors


def test_a_bad_value_is_a_bad_request(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model=MODEL, prompt=PROMPT, size="512x512")
    error = caught.value
    assert (error.code, error.param, error.type) == ("invalid_value", "size", "invalid_request_error")
    assert error.request_id is not None
    assert error.request_id.startswith("req_")


def test_a_wrong_key_is_an_authentication_error(gateway: Gateway) -> None:
    with make_client(gateway, "sk-proj-abc") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.images.generate(model=MODEL, prompt=PROMPT)
    assert caught.value.code == "invalid_api_key"


def test_a_model_that_is_not_for_this_key_is_a_permission_error(gateway: Gateway, new_key: Callable[..., str]) -> None:
    key = new_key(models=["Another-Model"])
    with make_client(gateway, key) as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.images.generate(model=MODEL, prompt=PROMPT)
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.images.generate(model="dall-e-3", prompt=PROMPT)
    assert caught.value.code == "model_not_found"


def test_a_provider_at_its_limit_is_a_rate_limit_error(live: openai.OpenAI, foundry: Simulator) -> None:
    foundry.play("429(retry_after=7)")
    with pytest.raises(openai.RateLimitError) as caught:
        live.images.generate(model=MODEL, prompt=PROMPT)
    assert caught.value.code == "provider_rate_limited"
    assert caught.value.response.headers["retry-after"] == "7"


def test_a_provider_that_fails_is_a_server_error(live: openai.OpenAI, foundry: Simulator) -> None:
    foundry.play("500")
    with pytest.raises(openai.InternalServerError) as caught:
        live.images.generate(model=MODEL, prompt=PROMPT)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_error")


def test_missing_money_is_a_status_error(gateway: Gateway, new_key: Callable[..., str]) -> None:
    with make_client(gateway, new_key("live")) as client, pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(model=MODEL, prompt=PROMPT)
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (
        402,
        "insufficient_balance",
        "billing_error",
    )


# ---------------------------------------------------------------------------------------------------------------- retries


def test_what_may_succeed_later_is_tried_again_and_charged_once(
    gateway: Gateway, live: openai.OpenAI, foundry: Simulator, workspace: str
) -> None:
    foundry.play("429(retry_after=1)")
    calls = len(foundry.log())
    made = live.with_options(max_retries=1).images.generate(model=MODEL, prompt=PROMPT)
    check_answer(made)
    assert [entry["status"] for entry in foundry.log()[calls:]] == [429, 200]
    assert money(gateway, workspace, "live") == (10_000_000 - 33_900, 0)


def test_what_is_final_is_not_tried_again(live: openai.OpenAI, foundry: Simulator) -> None:
    # Without `x-should-retry: false` the package would try every 5xx again.
    foundry.play("redirectx3")
    calls = len(foundry.log())
    with pytest.raises(openai.InternalServerError) as caught:
        live.with_options(max_retries=2).images.generate(model=MODEL, prompt=PROMPT)
    assert caught.value.code == "provider_redirected"
    assert len(foundry.log()) == calls + 1


# ------------------------------------------------------------------------------------------------------------------ async


def run_async(gateway: Gateway, key: str, work: Callable[[openai.AsyncOpenAI], Coroutine[Any, Any, T]]) -> T:
    async def main() -> T:
        transport = httpx.AsyncClient(trust_env=False, verify=False, timeout=60)
        options: dict[str, Any] = {"max_retries": 0, "http_client": transport}
        async with openai.AsyncOpenAI(base_url=gateway.api, api_key=key, **options) as client:
            return await work(client)

    return asyncio.run(main())


def test_generate_and_edit_asynchronously(gateway: Gateway, new_key: Callable[..., str]) -> None:
    async def work(client: openai.AsyncOpenAI) -> tuple[ImagesResponse, ...]:
        edit = {"input_images": [reference()]}
        return await asyncio.gather(
            client.images.generate(model=MODEL, prompt=PROMPT),
            client.images.generate(model=MODEL, prompt=PROMPT, extra_body=edit),
            client.images.edit(model=MODEL, image=picture(), prompt=PROMPT),
        )

    made, *edits = run_async(gateway, new_key(), work)
    check_answer(made)
    for edited in edits:
        assert edited.model_extra is not None
        assert edited.model_extra["omixa"]["operation"] == "edit"


def test_stream_asynchronously(gateway: Gateway, new_key: Callable[..., str]) -> None:
    async def work(client: openai.AsyncOpenAI) -> list[str]:
        stream = await client.images.generate(model=MODEL, prompt=PROMPT, stream=True)
        return [event.b64_json async for event in stream]

    (encoded,) = run_async(gateway, new_key(), work)
    check_picture(encoded)


def test_errors_asynchronously(gateway: Gateway, new_key: Callable[..., str]) -> None:
    async def work(client: openai.AsyncOpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(model=MODEL, prompt="", size="1024x1024")
        assert caught.value.param == "prompt"

    run_async(gateway, new_key(), work)
