"""Repeats that reach another gateway than the first request did: both gateways share one PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.faults import CREATE, MODEL, eventually
from tests.support.postgres import Cluster
from tests.support.servers import Simulator, running_simulator
from tests.support.serving import ServerProcess, findings, open_account, serving

PRICE = 33_900
CREDIT = 10_000_000
KEYS = 20
REPEATS = 4
FIRST = {"x-stainless-retry-count": "0"}
RETRY = {"x-stainless-retry-count": "1"}


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def pair(cluster: Cluster, provider: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two gateways and a key with credit; at the end the ledger is in order."""
    data_dir: Path = tmp_path_factory.mktemp("pair")
    with cluster.database(empty=True) as name:
        address = cluster.address(name)
        key = open_account(data_dir, CREDIT, database=address)
        with ExitStack() as stack:
            servers = [stack.enter_context(serving(data_dir, provider.url, database=address)) for _ in range(2)]
            yield Pair(servers, key)
        assert findings(data_dir, database=address) == ()


class Pair:
    """Two gateways that share a ledger."""

    def __init__(self, servers: Sequence[ServerProcess], key: str) -> None:
        self.servers = servers
        self._authorization = {"authorization": f"Bearer {key}"}
        self._prompts = itertools.count()

    def prompt(self) -> str:
        return f"A red kite {next(self._prompts)}"

    def client(self, number: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.servers[number % 2].url,
            headers=self._authorization,
            timeout=60,
            trust_env=False,
            verify=False,
        )

    async def ask(self, number: int, prompt: str, **headers: str) -> httpx.Response:
        """Ask one of the gateways, over a connection of its own, as a client that counts its tries."""
        async with self.client(number) as client:
            return await client.post(CREATE, json={"model": MODEL, "prompt": prompt}, headers=FIRST | headers)

    def spent(self) -> int:
        async def read() -> httpx.Response:
            async with self.client(0) as client:
                return await client.get("/api/v1/balance")

        balance = asyncio.run(read()).json()
        assert balance["held"] == "0.000000"
        return CREDIT - int(balance["posted"].replace(".", ""))


def test_of_repeats_that_race_over_two_gateways_one_is_charged(pair: Pair, provider: Simulator) -> None:
    spent, calls = pair.spent(), len(provider.log())
    prompts = [pair.prompt() for _ in range(KEYS)]

    async def race() -> Sequence[httpx.Response]:
        pairs = [(key, number) for number in range(REPEATS) for key in range(KEYS)]
        return await asyncio.gather(
            *(
                pair.ask(number, prompts[key], **{"idempotency-key": prompts[key].replace(" ", "-")})
                for key, number in pairs
            )
        )

    answers = asyncio.run(race())
    for key in range(KEYS):
        mine = answers[key::KEYS]
        assert {answer.status_code for answer in mine} <= {200, 409}
        assert sum(answer.status_code == 200 and "idempotency-replayed" not in answer.headers for answer in mine) == 1
        assert len({answer.content for answer in mine if answer.status_code == 200}) == 1
    assert pair.spent() - spent == KEYS * PRICE
    assert len(provider.log()) == calls + KEYS


def test_every_gateway_replays_what_another_one_made(pair: Pair) -> None:
    prompt = pair.prompt()
    first, again = (asyncio.run(pair.ask(number, prompt, **{"idempotency-key": "both"})) for number in range(2))
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
def test_a_retry_joins_what_another_gateway_makes(pair: Pair, provider: Simulator, ended: bool) -> None:
    spent, calls, prompt = pair.spent(), len(provider.log()), pair.prompt()
    provider.play("slow=0.8")

    async def cut_and_retry() -> httpx.Response:
        asking = asyncio.create_task(pair.ask(0, prompt))
        await asyncio.to_thread(eventually, lambda: len(provider.log()) > calls)
        if ended:
            await asyncio.shield(asking)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        return await pair.ask(1, prompt, **RETRY)

    answer = asyncio.run(cut_and_retry())
    assert (answer.status_code, answer.headers["omixa-joined"]) == (200, "true")
    assert answer.json()["omixa"]["joined_request"] is True
    assert pair.spent() - spent == PRICE
    assert len(provider.log()) == calls + 1


def test_retries_that_race_over_two_gateways_are_one_request(pair: Pair, provider: Simulator) -> None:
    spent, calls, prompt = pair.spent(), len(provider.log()), pair.prompt()

    async def race() -> Sequence[httpx.Response]:
        return await asyncio.gather(*(pair.ask(number, prompt, **RETRY) for number in range(8)))

    answers = asyncio.run(race())
    made = [answer for answer in answers if answer.status_code == 200]
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.headers["x-request-id"] for answer in made}) == 1
    assert pair.spent() - spent == PRICE
    eventually(lambda: len(provider.log()) == calls + 1)
