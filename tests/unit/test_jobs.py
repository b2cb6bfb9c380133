"""Jobs at providers: asked after within the call's time, given up aloud, and fetched from the provider's own hosts alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from omixa.engines.conversions import Conversions
from omixa.errors import (
    UpstreamError,
    UpstreamFailed,
    UpstreamJobFailed,
    UpstreamProtocol,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.client import FETCH_TRIES, MAX_REDIRECTS
from omixa.providers.transport import HttpTransport
from tests.support.certificates import authority_for
from tests.support.wires import KEY, Answer, Wire, ask, call, paths, png, shown, speaking

SUBMITTED = Answer(200, {"id": "a1", "polling_url": "HERE/v1/get_result?id=a1"})
PENDING = Answer(200, {"id": "a1", "status": "Pending"})
READY = Answer(200, {"id": "a1", "status": "Ready", "result": {"sample": "HERE/delivery/x.png"}})
PICTURE = shown("1024x1024")
SUBMIT, LOOK, FETCH = "POST /v1/flux-2-pro", "GET /v1/get_result?id=a1", "GET /delivery/x.png"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def conversions() -> Iterator[Conversions]:
    with contextlib.closing(Conversions(1, waiting=1)) as pool:
        yield pool


@pytest.fixture
async def http() -> AsyncIterator[HttpTransport]:
    async with HttpTransport() as transport:
        yield transport


def flux(wire: Wire, **offer: Any) -> ProviderCall:
    return call("flux", "flux-2-pro", wire.url, offer=offer)


async def fails(http: HttpTransport, wanted: ProviderCall, conversions: Conversions) -> UpstreamError:
    """Make the call and return its error, which must not show the key."""
    with pytest.raises(UpstreamError) as caught:
        await ask(http, wanted, conversions)
    assert KEY not in f"{caught.value.message} {caught.value.diagnostics}"
    return caught.value


# -------------------------------------------------------------------------------------------------------- asking after


async def test_a_job_is_asked_after_until_it_is_done(http: HttpTransport, conversions: Conversions) -> None:
    async with speaking(SUBMITTED, PENDING, PENDING, READY, PICTURE) as wire:
        result = await ask(http, flux(wire), conversions)
    assert isinstance(result, ProviderResult)
    assert result.image.data == png("1024x1024")
    assert result.provider_request_id == "a1"
    assert paths(wire.asked) == [SUBMIT, LOOK, LOOK, LOOK, FETCH]
    # The key goes to the API and never to where the picture lies.
    assert [one.headers.get("x-key") for one in wire.asked] == [KEY] * 4 + [None]


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(500, "{}"),
        Answer(502, "<html>", {"content-type": "text/html"}),
        Answer(503, "{}", {"retry-after": "0"}),
        Answer(504, "{}"),
        Answer(429, {"detail": "too many"}),
        Answer(408, "{}"),
        Answer(200, {"status": "Ready", "result": {"sample": "x" * 100}}, cut=True),
    ],
    ids=lambda trouble: f"{trouble.status}{' cut' if trouble.cut else ''}",
)
async def test_a_look_that_fails_for_a_moment_is_repeated(
    http: HttpTransport, conversions: Conversions, trouble: Answer
) -> None:
    async with speaking(SUBMITTED, trouble, PENDING, trouble, READY, PICTURE) as wire:
        assert (await ask(http, flux(wire), conversions)).image.info.size == "1024x1024"
    assert len(wire.asked) == 6


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(401, {"detail": "no"}), UpstreamProtocol),
        (Answer(403, {"detail": "no"}), UpstreamProtocol),
        (Answer(402, {"detail": "no credits"}), UpstreamProtocol),
        (Answer(404, {"status": "Task not found"}), UpstreamProtocol),
        (Answer(400, {"detail": "what?"}), UpstreamProtocol),
        (Answer(422, {"detail": "what?"}), UpstreamProtocol),
        (Answer(307, "", {"location": "https://elsewhere.invalid/"}), UpstreamProtocol),
        (Answer(200, "<html>", {"content-type": "text/html"}), UpstreamProtocol),
        (Answer(200, '{"status": "Rea'), UpstreamProtocol),
        (Answer(200, {"state": "Ready"}), UpstreamProtocol),
        (Answer(200, {"status": "Ready", "result": None}), UpstreamProtocol),
        (Answer(200, {"status": "Paused"}), UpstreamProtocol),
        (Answer(200, {"status": "Task not found"}), UpstreamProtocol),
        (Answer(200, {"status": "Error", "details": {"error": "out of memory"}}), UpstreamJobFailed),
        (Answer(200, {"status": "Request Moderated"}), UpstreamRefused),
        (Answer(200, {"status": "Content Moderated"}), UpstreamRefused),
    ],
    ids=lambda value: value.body if isinstance(value, Answer) else value.__name__,
)
async def test_once_the_provider_has_the_job_only_its_own_word_ends_the_doubt(
    http: HttpTransport, conversions: Conversions, answer: Answer, kind: type[UpstreamError]
) -> None:
    async with speaking(SUBMITTED, PENDING, answer) as wire:
        error = await fails(http, flux(wire), conversions)
    assert type(error) is kind, error.diagnostics
    assert error.ambiguous is (kind is UpstreamProtocol)
    # A refusal is final, everything else may be tried elsewhere.
    assert error.fails_over is (kind is not UpstreamRefused)
    assert not error.disables
    assert error.provider_request_id == "a1"
    assert len(wire.asked) == 3


@pytest.mark.parametrize("name", ["x" * 500, "a\u00e4", "a\nb", ""])
async def test_a_name_that_is_not_fit_to_be_stored_is_not_kept(
    http: HttpTransport, conversions: Conversions, name: str
) -> None:
    taken = Answer(200, json.dumps({"id": name, "polling_url": "HERE/v1/get_result?id=a1"}))
    async with speaking(taken, READY, PICTURE) as wire:
        assert (await ask(http, flux(wire), conversions)).provider_request_id is None


async def test_what_fails_before_the_job_is_taken_is_no_doubt(http: HttpTransport, conversions: Conversions) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
    error = await fails(http, call("flux", "flux-2-pro", f"http://127.0.0.1:{free}"), conversions)
    assert type(error) is UpstreamUnreachable
    assert not error.ambiguous


@pytest.mark.parametrize(
    "answer",
    [PENDING, Answer(503, "{}"), Answer(429, "{}", {"retry-after": "60"}), Answer(200, "", silent=True)],
    ids=["pending", "busy", "told to wait", "silent"],
)
async def test_the_calls_time_is_never_passed(http: HttpTransport, conversions: Conversions, answer: Answer) -> None:
    async with speaking(SUBMITTED, answer) as wire:
        error = await fails(http, flux(wire, total_timeout_s=1.5), conversions)
    assert type(error) is UpstreamTimeout
    assert error.ambiguous
    assert error.provider_request_id == "a1"


# --------------------------------------------------------------------------------------------------------- giving up


def queued(**urls: str) -> Answer:
    base = "HERE/fal-ai/flux-2-pro/requests/7c1e"
    job = {"status": "IN_QUEUE", "request_id": "7c1e", "response_url": base, "status_url": f"{base}/status"}
    return Answer(200, json.dumps({**job, "cancel_url": f"{base}/cancel", **urls}))


def predicted(status: str = "starting") -> Answer:
    urls = {"get": "HERE/v1/predictions/gm3q", "cancel": "HERE/v1/predictions/gm3q/cancel"}
    return Answer(201, json.dumps({"id": "gm3q", "status": status, "urls": urls}))


CANCELS = [
    ("fal", queued(), Answer(202, {"status": "IN_PROGRESS"}), "PUT /fal-ai/flux-2-pro/requests/7c1e/cancel"),
    ("replicate", predicted(), predicted("processing"), "POST /v1/predictions/gm3q/cancel"),
]


@pytest.mark.parametrize(("provider", "first", "running", "cancel"), CANCELS, ids=["fal", "replicate"])
async def test_a_call_that_is_given_up_is_cancelled_at_the_provider(
    http: HttpTransport, conversions: Conversions, provider: str, first: Answer, running: Answer, cancel: str
) -> None:
    async with speaking(first, running) as wire:
        working = asyncio.create_task(ask(http, call(provider, "flux-2-pro", wire.url), conversions))
        await wire.until(3)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    last = wire.asked[-1]
    assert f"{last.method} {last.path}" == cancel
    assert KEY in last.headers["authorization"]


@pytest.mark.parametrize(("provider", "first", "running", "cancel"), CANCELS, ids=["fal", "replicate"])
async def test_a_job_whose_time_is_over_is_cancelled_at_the_provider(
    http: HttpTransport, conversions: Conversions, provider: str, first: Answer, running: Answer, cancel: str
) -> None:
    async with speaking(first, running) as wire:
        error = await fails(http, call(provider, "flux-2-pro", wire.url, offer={"total_timeout_s": 1.5}), conversions)
    assert type(error) is UpstreamTimeout
    assert paths(wire.asked)[-1] == cancel


async def test_a_provider_that_does_not_answer_to_a_cancellation_is_not_waited_for(
    http: HttpTransport, conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omixa.providers.client.CANCEL_TIMEOUT_S", 0.05)
    running = Answer(202, {"status": "IN_PROGRESS"})
    async with speaking(queued(), running, running, Answer(silent=True)) as wire:
        working = asyncio.create_task(ask(http, call("fal", "flux-2-pro", wire.url), conversions))
        await wire.until(3)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(working, 10)


async def test_a_job_that_is_over_is_not_cancelled(http: HttpTransport, conversions: Conversions) -> None:
    refused = {"detail": [{"loc": ["body", "prompt"], "type": "content_policy_violation", "msg": "flagged"}]}
    async with speaking(queued(), Answer(200, {"status": "COMPLETED"}), Answer(422, refused)) as wire:
        assert type(await fails(http, call("fal", "flux-2-pro", wire.url), conversions)) is UpstreamRefused
    assert [one.method for one in wire.asked] == ["POST", "GET", "GET"]


# ------------------------------------------------------------------------------------------------------------ fetching


async def fetched_from(
    address: str, http: HttpTransport, conversions: Conversions, *answers: Answer
) -> tuple[UpstreamError, Wire]:
    """Let a job be done whose picture is said to lie there, and return the error and what was asked."""
    ready = Answer(200, {"status": "Ready", "result": {"sample": address}})
    async with speaking(SUBMITTED, ready, *(answers or (PICTURE,))) as wire:
        return await fails(http, flux(wire), conversions), wire


@pytest.mark.parametrize(
    "address",
    [
        "http://delivery.eu.bfl.ai/x.png",
        "https://delivery.eu.bfl.ai:8443/x.png",
        "https://delivery.eu.bfl.ai.evil.example/x.png",
        "https://evil.example/x.png",
        "https://127.0.0.1/x.png",
        "http://127.0.0.1:9/x.png",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "https://user:word@delivery.eu.bfl.ai/x.png",
        "simulator://flux/delivery/x",
        "",
    ],
)
async def test_a_picture_is_fetched_from_nowhere_else(
    http: HttpTransport, conversions: Conversions, address: str
) -> None:
    error, wire = await fetched_from(address, http, conversions)
    assert type(error) is UpstreamProtocol
    assert error.message == "The provider pointed to an address that is not its own."
    assert error.ambiguous
    assert error.fails_over
    assert paths(wire.asked) == [SUBMIT, LOOK]


async def test_a_job_is_not_asked_after_elsewhere_and_the_key_stays(
    http: HttpTransport, conversions: Conversions
) -> None:
    async with speaking(PENDING) as other:
        taken = Answer(200, {"id": "a1", "polling_url": f"{other.url}/v1/get_result?id=a1"})
        async with speaking(taken) as wire:
            error = await fails(http, flux(wire), conversions)
        assert type(error) is UpstreamProtocol
        assert other.asked == []


class Names(AbstractResolver):
    """Every name stands for this machine, at one port, and the questions are counted."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.questions: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.questions.append(host)
        return [
            {"hostname": host, "host": "127.0.0.1", "port": self.port, "family": family, "proto": 0, "flags": 0},
        ]

    async def close(self) -> None:
        pass


async def test_a_known_host_that_stands_for_an_inner_address_is_not_called(conversions: Conversions) -> None:
    async with speaking(PICTURE) as inner:
        names = Names(int(inner.url.rpartition(":")[2]))
        async with HttpTransport(resolver=names) as http:
            error, _ = await fetched_from("https://delivery.eu.bfl.ai/x.png", http, conversions)
        assert inner.asked == []
    assert type(error) is UpstreamProtocol
    assert error.ambiguous
    assert "must not be called" in error.diagnostics
    assert names.questions == ["delivery.eu.bfl.ai"]


async def test_a_known_host_is_called_by_tls_at_the_address_that_was_checked(
    conversions: Conversions, tmp_path: Path
) -> None:
    server_side, client_side = authority_for("delivery.eu.bfl.ai", tmp_path)
    checked: list[str] = []

    def note(address: str) -> bool:
        checked.append(address)
        return True

    async with speaking(PICTURE, tls=server_side) as outer:
        names = Names(int(outer.url.rpartition(":")[2]))
        ready = Answer(200, {"status": "Ready", "result": {"sample": "https://delivery.eu.bfl.ai/x.png?sig=1"}})
        async with (
            HttpTransport(resolver=names, may_connect=note, tls=client_side) as http,
            speaking(SUBMITTED, ready) as wire,
        ):
            result = await ask(http, flux(wire), conversions)
    assert result.image.data == png("1024x1024")
    assert names.questions == ["delivery.eu.bfl.ai"]
    assert checked == ["127.0.0.1"]
    (fetched,) = outer.asked
    assert fetched.path == "/x.png?sig=1"
    assert fetched.headers["host"] == "delivery.eu.bfl.ai"
    assert KEY not in str(fetched.headers)


async def test_a_redirect_within_the_provider_is_followed(http: HttpTransport, conversions: Conversions) -> None:
    moved = Answer(302, "", {"location": "/delivery/y.png"})
    async with speaking(SUBMITTED, READY, moved, PICTURE) as wire:
        assert (await ask(http, flux(wire), conversions)).image.info.size == "1024x1024"
    assert paths(wire.asked)[-2:] == [FETCH, "GET /delivery/y.png"]
    assert "x-key" not in wire.asked[-1].headers


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:9/", "http://169.254.169.254/latest/meta-data/", "https://evil.example/", "file:///etc/passwd"],
)
async def test_a_redirect_elsewhere_is_not_followed(
    http: HttpTransport, conversions: Conversions, location: str
) -> None:
    error, wire = await fetched_from(
        "HERE/delivery/x.png", http, conversions, Answer(307, "", {"location": location}), PICTURE
    )
    assert type(error) is UpstreamProtocol
    assert paths(wire.asked) == [SUBMIT, LOOK, FETCH]


async def test_redirects_end(http: HttpTransport, conversions: Conversions) -> None:
    again = Answer(302, "", {"location": "/delivery/x.png"})
    error, wire = await fetched_from("HERE/delivery/x.png", http, conversions, again)
    assert type(error) is UpstreamProtocol
    assert paths(wire.asked) == [SUBMIT, LOOK] + [FETCH] * (MAX_REDIRECTS + 1)


@pytest.mark.parametrize(
    ("answer", "kind", "tries"),
    [
        (Answer(404, "gone"), UpstreamProtocol, 1),
        (Answer(403, "expired"), UpstreamProtocol, 1),
        (Answer(400, "what?"), UpstreamProtocol, 1),
        (Answer(500, "{}"), UpstreamFailed, FETCH_TRIES),
        (Answer(503, "{}"), UpstreamProtocol, FETCH_TRIES),
        (Answer(200, png("1024x1024"), cut=True), UpstreamFailed, FETCH_TRIES),
        (Answer(200, ""), UpstreamProtocol, 1),
        (Answer(200, "<h1>no</h1>", {"content-type": "text/html"}), UpstreamProtocol, 1),
        (Answer(200, png("1024x1024")[:-20]), UpstreamProtocol, 1),
        (Answer(200, png("60000x60000")), UpstreamProtocol, 1),
        (shown("1024x1040"), UpstreamProtocol, 1),
    ],
    ids=["gone", "expired", "bad", "broken", "busy", "cut", "empty", "html", "truncated", "bomb", "other size"],
)
async def test_a_picture_that_is_not_there_leaves_the_doubt(
    http: HttpTransport, conversions: Conversions, answer: Answer, kind: type[UpstreamError], tries: int
) -> None:
    error, wire = await fetched_from("HERE/delivery/x.png", http, conversions, answer)
    assert type(error) is kind, error.diagnostics
    assert error.ambiguous
    assert len(wire.asked) == 2 + tries


async def test_a_picture_that_is_late_for_a_moment_is_fetched(http: HttpTransport, conversions: Conversions) -> None:
    async with speaking(SUBMITTED, READY, Answer(503, "{}"), Answer(500, "{}"), PICTURE) as wire:
        assert (await ask(http, flux(wire), conversions)).image.info.size == "1024x1024"


async def test_a_picture_of_any_size_is_not_taken(conversions: Conversions) -> None:
    async with HttpTransport(max_response_bytes=5000) as http:
        huge = Answer(200, bytes(6000), {"content-type": "image/png"})
        error, wire = await fetched_from("HERE/delivery/x.png", http, conversions, huge)
    assert type(error) is UpstreamProtocol
    assert "more than 5000 bytes" in error.diagnostics
    assert len(wire.asked) == 3
