"""A server that is stopped until its holds have expired and goes on then: it may not answer with a success."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2 as httpx
from sqlalchemy import select

from omixa.billing.ledger import HOLD_MARGIN_MS
from omixa.jobs.sweeper import Sweeper
from omixa.storage.blobs import BlobStore
from omixa.storage.database import Database
from omixa.storage.sqlite import SqliteBackend
from omixa.storage.tables import request, transfer
from tests.proof.part import Part, Result, Task
from tests.support.faults import CREATE, MODEL
from tests.support.serving import ServerProcess, findings, open_account, serving, simulating

CREDIT = 10**12
CLIENTS = 6
MAX_LATENCY_MS = 150
MAX_MOMENT_S = 0.25
MAX_NUDGE_S = 0.01
# More than the deadline of a request and the margin of its hold.
LONG_MS = 3_600_000 + HOLD_MARGIN_MS
SUBJECT = "a red kite over a field"

_held = select(request.c.id).where(request.c.state == "held")
_charged = select(transfer.c.request_id).where(transfer.c.kind == "charge")


@dataclass
class Answer:
    """What a client got."""

    request_id: str
    status: int
    body: str

    @property
    def is_success(self) -> bool:
        """Whether it has a picture; a stream begins with 200 whatever comes."""
        return self.status == 200 and "b64_json" in self.body


class Later:
    """Another process on the same ledger, for which it is an hour later."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "omixa.db"
        self._blobs = BlobStore(data_dir / "results", on_fatal=print)
        self._database = Database(SqliteBackend(self._path, clock=_an_hour_later), on_fatal=print)
        self._database.open()
        self._sweeper = Sweeper(self._database, self._blobs, node_id="later")

    def is_locked(self) -> bool:
        """Tell whether somebody is in the middle of a transaction."""
        with contextlib.closing(sqlite3.connect(self._path, timeout=0, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            connection.execute("ROLLBACK")
            return False

    async def expire(self) -> set[str]:
        """Release what is held, because its time is over, and return which requests that were."""
        before = await self._ids(_held)
        await self._sweeper.sweep()
        assert await self._ids(_held) == set()
        return before

    async def charged(self) -> set[str]:
        """Return the requests that are charged."""
        return await self._ids(_charged)

    async def _ids(self, query: object) -> set[str]:
        return set(await self._database.read(lambda tx: [row[0] for row in tx.all(query)]))  # type: ignore[arg-type, index]

    def close(self) -> None:
        self._database.close()
        self._blobs.close()


def _an_hour_later() -> int:
    return time.time_ns() + LONG_MS * 1_000_000


def run(task: Task) -> Result:
    """Stop a server under load, let its holds expire, let it go on, and read every answer."""
    data_dir = task.directory / "data"
    key = open_account(data_dir, CREDIT)
    with simulating() as provider, serving(data_dir, provider.url) as server:
        figures = asyncio.run(_pause_again_and_again(task, data_dir, server, key))
        assert findings(data_dir) == ()
    assert figures["expired, told an error"]
    return Result({"pauses": task.size, **figures})


async def _pause_again_and_again(task: Task, data_dir: Path, server: ServerProcess, key: str) -> Counter[str]:
    chance = task.chance()
    figures: Counter[str] = Counter()
    with contextlib.closing(Later(data_dir)) as later:
        async with _client(server, key) as client:
            # The provider paints the picture.
            await _ask(client, SUBJECT, stream=False)
            for number in range(task.size):
                figures += await _pause(server, client, later, chance)
                task.progress(number + 1)
    return figures


async def _pause(server: ServerProcess, client: httpx.AsyncClient, later: Later, chance: random.Random) -> Counter[str]:
    asking = [
        asyncio.create_task(
            _ask(client, f"sim:slow={chance.randrange(MAX_LATENCY_MS) / 1000} {SUBJECT}", stream=chance.random() < 0.3)
        )
        for _ in range(CLIENTS)
    ]
    await asyncio.sleep(chance.random() * MAX_MOMENT_S)
    async with _stopped(server, later, chance):
        expired = await later.expire()
        charged = await later.charged()
    answers: Sequence[Answer] = await asyncio.gather(*asking)
    for answer in answers:
        if answer.request_id in expired:
            assert not answer.is_success, answer
            assert '"error"' in answer.body
        else:
            assert answer.is_success, answer
    assert not expired & charged
    assert not expired & await later.charged()
    assert {answer.request_id for answer in answers if answer.is_success} <= await later.charged()
    return Counter(
        {
            "expired, told an error": sum(answer.request_id in expired for answer in answers),
            "served": sum(answer.is_success for answer in answers),
        }
    )


@contextlib.asynccontextmanager
async def _stopped(server: ServerProcess, later: Later, chance: random.Random) -> AsyncIterator[None]:
    """Stop a server. One that is stopped in the middle of a transaction keeps the file locked, so it gets a moment more."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        while later.is_locked():
            os.kill(server.process.pid, signal.SIGCONT)
            await asyncio.sleep(chance.random() * MAX_NUDGE_S)
            os.kill(server.process.pid, signal.SIGSTOP)
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


def _client(server: ServerProcess, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False, verify=False
    )


async def _ask(client: httpx.AsyncClient, prompt: str, *, stream: bool) -> Answer:
    answer = await client.post(CREATE, json={"model": MODEL, "prompt": prompt, "stream": stream})
    return Answer(answer.headers["x-request-id"], answer.status_code, answer.text)


PART = Part(
    name="pauses",
    title="SIGSTOP of a server past the expiry of its holds, then SIGCONT",
    passes_when="no request whose hold has expired is answered with a success, and none is charged",
    run=run,
    unit="pauses",
    size=200,
    share=50,
    small=5,
)
