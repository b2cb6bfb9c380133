"""Money for k of n requests that come to three gateways at the same moment: exactly k are served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack

import httpx2 as httpx

from tests.proof.admission import TITLE, rounds
from tests.proof.part import Part, Result, Task
from tests.support.faults import CREATE, MODEL
from tests.support.serving import findings, open_account, serving, simulating

GATEWAYS = 3
# Charges are below their holds, and what is given back must not be enough for one more.
MAX_SERVED = 25
BODY = {"model": MODEL, "prompt": "a red kite over a field"}


def run(task: Task) -> Result:
    """Ask three gateways on one PostgreSQL over HTTP."""
    chance = task.chance()
    assert task.cluster is not None
    served_in_all = 0
    with ExitStack() as stack:
        name = stack.enter_context(task.cluster.database(empty=True))
        database = task.cluster.address(name)
        data_dir = task.directory / "data"
        provider = stack.enter_context(simulating())
        key = open_account(data_dir, 0, database=database)
        urls = [stack.enter_context(serving(data_dir, provider.url, database=database)).url for _ in range(GATEWAYS)]
        ceiling = asyncio.run(_ceiling(urls[0], key))
        for requests, done in rounds(task.size):
            covered = chance.randint(0, MAX_SERVED)
            key = open_account(data_dir, covered * ceiling, workspace=f"round-{done}", database=database)
            statuses = asyncio.run(_ask_all(urls, key, requests))
            assert statuses == Counter({200: covered, 402: requests - covered}), f"{statuses}, {covered} covered"
            served_in_all += covered
            task.progress(done)
        assert findings(data_dir, database=database) == ()
    return Result({"requests": task.size, "covered and served": served_in_all})


def _client(url: str, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=url,
        headers={"authorization": f"Bearer {key}"},
        timeout=120,
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
        verify=False,
    )


async def _ceiling(url: str, key: str) -> int:
    """Return the most that the request can cost, in micro-USD."""
    async with _client(url, key) as client:
        answer = await client.post("/api/v1/images/estimate", json=BODY)
        return int(answer.json()["ceiling"]["amount"].replace(".", ""))


async def _ask_all(urls: Sequence[str], key: str, requests: int) -> Counter[int]:
    """Send all requests at once, in turn to each gateway, and count how they are answered."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(url, key)) for url in urls]
        asked = (clients[number % len(clients)].post(CREATE, json=BODY) for number in range(requests))
        return Counter(answer.status_code for answer in await asyncio.gather(*asked))


PART = Part(
    name="admission-http",
    title=f"{TITLE}, to three gateways on one PostgreSQL",
    passes_when="exactly k are served, all others are told 402",
    run=run,
    unit="requests",
    size=10_000,
    share=5_000,
    small=60,
    needs_postgres=True,
)
