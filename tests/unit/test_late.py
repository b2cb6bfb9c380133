"""What is kept of an answer that nobody waits for, and what adapters make of one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.errors import UpstreamError, UpstreamProtocol, UpstreamTimeout
from omixa.providers.late import MAX_TEXT_BYTES, PictureFilter, Waiting
from omixa.providers.transport import HttpTransport
from omixa.providers.wire import Timeouts, WireEvent, WireRequest
from omixa.usage.operators import ProviderCallRow
from omixa.web.console.charts import timeline

SHORT = st.text(max_size=40)
LONG = st.integers(MAX_TEXT_BYTES + 1, 3 * MAX_TEXT_BYTES).map(lambda length: "A/+" * (length // 3 + 1))
ADDRESS = LONG.map(lambda text: f"data:image/png;base64,{text}")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | SHORT | LONG | ADDRESS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SHORT, inner, max_size=4),
    max_leaves=12,
)


def without_pictures(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_pictures(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_pictures(inner) for inner in value]
    if isinstance(value, str) and len(json.dumps(value)) - 2 > MAX_TEXT_BYTES:
        return "data:image/png;base64," if value.startswith("data:") else ""
    return value


@given(document=JSON, sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=8), as_event=st.booleans())
def test_texts_as_long_as_pictures_are_left_out_wherever_the_pieces_are_cut(
    document: Any, sizes: list[int], as_event: bool
) -> None:
    text = json.dumps(document)
    body = (f"event: done\r\ndata: {text}\n\n" if as_event else text).encode()
    pictures, kept, position, turn = PictureFilter(), b"", 0, 0
    while position < len(body):
        piece = body[position : position + sizes[turn % len(sizes)]]
        kept += pictures.take(piece)
        position, turn = position + len(piece), turn + 1
    if as_event:
        assert kept.startswith(b"event: done\r\ndata: ")
        assert kept.endswith(b"\n\n")
        kept = kept.removeprefix(b"event: done\r\ndata: ")
    assert json.loads(kept) == without_pictures(document)


def test_a_text_that_never_ends_takes_no_memory() -> None:
    pictures = PictureFilter()
    kept = pictures.take(b'{"data":[{"b64_json":"')
    kept += b"".join(pictures.take(b"A" * 65_536) for _ in range(1000))
    assert kept == b'{"data":[{"b64_json":"'


def test_a_call_is_given_up_once_and_for_good() -> None:
    asked: list[str] = []

    def part(error: UpstreamTimeout) -> bool:
        asked.append(error.message)
        return len(asked) > 1

    waiting = Waiting(part)
    assert not waiting.give_up(UpstreamTimeout("one"))
    assert not waiting.is_over
    assert waiting.give_up(UpstreamTimeout("two"))
    assert waiting.give_up(UpstreamTimeout("three"))
    assert asked == ["one", "two"]


def test_the_time_line_says_that_an_answer_came_late() -> None:
    call = ProviderCallRow(
        n=1,
        image_index=0,
        deployment="west/MAI-Image-2.5",
        state="failed_billed",
        provider_request_id="theirs-1",
        upstream_status=200,
        error_code="provider_timeout",
        diagnostics=None,
        cost_pico_usd=7,
        cost_basis="reported",
        sent_at_ms=1_000,
        ended_at_ms=3_000,
        late_at_ms=3_500,
    )
    _, step, _ = timeline(900, 3_100, [call])
    assert step.note == "west/MAI-Image-2.5: provider_timeout, HTTP 200, answered late after 2.5 s"
    assert (step.look, step.duration_ms) == ("bad", 2_000)


# -------------------------------------------------------------------------------------------------- over a connection

PICTURE = "A" * 4_000_000
SAID = {"usage": {"output_tokens": 7}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def heard_late(media_type: str, body: bytes) -> tuple[bytes, list[WireEvent], list[UpstreamError]]:
    """Return what is kept of an answer that is given up when half of it has come, its events, and with what it was given up."""
    given_up, reasons, events = asyncio.Event(), list[UpstreamError](), list[WireEvent]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[: len(body) // 2])
        await given_up.wait()
        writer.write(body[len(body) // 2 :])
        await writer.drain()
        writer.close()

    def part(error: UpstreamError) -> bool:
        reasons.append(error)
        given_up.set()
        return True

    async with await asyncio.start_server(answer, "127.0.0.1") as server, HttpTransport() as http:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        limits = Timeouts(first_byte_s=20, total_s=1, waiting=Waiting(part))
        response = await http.send(WireRequest(url, {}, (b"{}",)), limits, events.append)
    return response.body, events, reasons


async def test_of_an_answer_that_is_given_up_half_way_only_its_picture_is_lost() -> None:
    body = json.dumps({"data": [{"b64_json": PICTURE}], **SAID}).encode()
    kept, _, (reason,) = await heard_late("application/json", body)
    assert json.loads(kept) == {"data": [{"b64_json": ""}], **SAID}
    assert isinstance(reason, UpstreamTimeout)
    assert reason.message == "The provider's answer arrived too slowly."


async def test_of_events_too() -> None:
    data = json.dumps({"type": "image_generation.completed", "b64_json": PICTURE, **SAID})
    kept, (event,), _ = await heard_late("text/event-stream", f"data: {data}\n\n".encode())
    assert json.loads(event.body) == {"type": "image_generation.completed", "b64_json": "", **SAID}
    assert kept == b""


async def test_of_a_picture_by_itself_nothing_is_kept() -> None:
    assert (await heard_late("image/png", b"x" * 4_000_000))[0] == b""


@pytest.mark.parametrize(
    ("media_type", "body"), [("text/html", b"x" * 100_000), ("application/json", b"[" + b"1," * 400_000)]
)
async def test_what_is_no_picture_takes_no_more_memory_than_is_set(media_type: str, body: bytes) -> None:
    with pytest.raises(UpstreamProtocol):
        await heard_late(media_type, body)
