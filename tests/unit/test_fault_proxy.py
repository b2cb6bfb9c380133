"""The fault proxy by itself: its language, what passes and what does not."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from omixa.simulator.proxy import FAULTS, LEGS, Fault, FaultProxy, parse_faults
from tests.support.proxies import Proxy, running_proxy
from tests.support.servers import running_app

BODY = bytes(range(256)) * 40

faults = st.builds(
    lambda leg, name, number, count: Fault(leg, name, None if FAULTS[name].number == "none" else number, count),
    st.sampled_from(LEGS),
    st.sampled_from(list(FAULTS)),
    st.integers(1, 500).map(lambda tenths: tenths / 10),
    st.none() | st.integers(1, 100),
)


@given(st.lists(faults, max_size=8))
def test_a_script_reads_back_as_it_is_written(script: list[Fault]) -> None:
    assert list(parse_faults(", ".join(map(str, script)))) == script


@pytest.mark.parametrize(
    "text", ["418", "fetch:", "peek:reset", "reset=3", "late", "late=0", "resetx0", "reset,,reset", "ok," * 2000]
)
def test_a_script_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"script|Faults"):
        parse_faults(text)


@pytest.mark.parametrize("target", ["", "here", "ftp://127.0.0.1", "http://"])
def test_a_target_that_is_no_address(target: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        FaultProxy(target)


async def _echo(request: Request) -> Response:
    body = await request.body()
    names = {name: request.headers[name] for name in ("host", "x-key") if name in request.headers}
    return JSONResponse({"path": request.url.path, "query": request.url.query, "bytes": len(body), **names})


async def _bytes(_: Request) -> Response:
    return Response(BODY, media_type="image/png")


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    routes = [Route("/v1/get_result", _bytes), Route("/{path:path}", _echo, methods=["POST"])]
    routes.append(Route("/{path:path}", _bytes))
    with running_app(Starlette(routes=routes)) as url, running_proxy(url) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[httpx.Client]:
    proxy.play("")
    with httpx.Client(base_url=proxy.url, timeout=5, trust_env=False, verify=False) as client:
        yield client


def test_what_passes_arrives_as_it_was_sent(proxy: Proxy, client: httpx.Client) -> None:
    answer = client.post("/a/b?c=d", content=BODY, headers={"x-key": "k"})
    host = proxy.url.removeprefix("http://")
    assert answer.json() == {"path": "/a/b", "query": "c=d", "bytes": len(BODY), "host": host, "x-key": "k"}
    assert client.get("/picture").content == BODY
    assert [(one.leg, one.status) for one in proxy.passed] == [("submit", 200), ("fetch", 200)]


def test_each_leg_has_faults_of_its_own(proxy: Proxy, client: httpx.Client) -> None:
    proxy.play("503x2, poll:404, fetch:html")
    assert proxy.proxy.remaining == "submit:503x2, poll:404, fetch:html"
    assert client.get("/v1/get_result?id=1").status_code == 404
    assert [client.post("/x").status_code for _ in range(3)] == [503, 503, 200]
    assert client.get("/picture").headers["content-type"] == "text/html"
    assert client.get("/picture").content == BODY
    assert proxy.proxy.remaining == ""
    assert [one.status for one in proxy.passed if one.fault == "503"] == [None, None]


@pytest.mark.parametrize("fault", ["refuse", "reset", "truncate", "garbage"])
def test_a_connection_that_breaks(proxy: Proxy, client: httpx.Client, fault: str) -> None:
    proxy.play(f"fetch:{fault}")
    with pytest.raises(httpx.TransportError):
        client.get("/picture")
    assert client.get("/picture").content == BODY


@pytest.mark.parametrize("fault", ["silence", "stall", "late=60"])
def test_an_answer_that_does_not_come(proxy: Proxy, client: httpx.Client, fault: str) -> None:
    proxy.play(f"fetch:{fault}")
    with pytest.raises(httpx.ReadTimeout):
        client.get("/picture", timeout=0.3)


def test_an_answer_that_drips_comes_in_pieces_and_whole(proxy: Proxy, client: httpx.Client) -> None:
    proxy.play("fetch:drip=50000")
    with client.stream("GET", "/picture") as answer:
        pieces = list(answer.iter_raw())
    assert b"".join(pieces) == BODY
    assert len(pieces) > 1


def test_half_a_body_is_announced_as_the_whole(proxy: Proxy, client: httpx.Client) -> None:
    proxy.play("fetch:half")
    assert client.get("/picture").content == BODY[: len(BODY) // 2]


def test_after_it_has_vanished_nobody_listens_until_it_accepts_again(proxy: Proxy, client: httpx.Client) -> None:
    proxy.play("vanish")
    assert client.post("/x").status_code == 200
    with pytest.raises(httpx.ConnectError):
        client.post("/x")
    proxy.play("")
    assert client.post("/x").status_code == 200


def test_what_is_no_request_ends_its_own_connection_alone(proxy: Proxy, client: httpx.Client) -> None:
    async def send(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.proxy.port)
        try:
            writer.write(sent)
            writer.write_eof()
            return await reader.read()
        except OSError:
            # It may hang up before everything was said.
            return b""
        finally:
            writer.close()

    for sent in (b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"A" * 200_000, b""):
        assert asyncio.run(send(sent)) == b""
    assert client.get("/picture").content == BODY


def test_the_command_serves(proxy: Proxy) -> None:
    command = [sys.executable, "-m", "omixa", "simulate", "proxy", "--port", "0", "--to", proxy.url]
    refused = subprocess.run([*command, "--faults", "418"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "is not a fault" in refused.stderr
    proxy.play("")
    with subprocess.Popen([*command, "--faults", "503"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            found = next(found for line in lines if (found := re.search(r"listens on (http://[0-9.:]+)", line)))
            statuses = [httpx.post(found[1], trust_env=False, verify=False).status_code for _ in range(2)]
            assert statuses == [503, 200]
        finally:
            process.terminate()
        assert process.wait(30) == 0
