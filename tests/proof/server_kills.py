"""kill -9 of a whole server under load: the provider's log, the clients' log and the ledger must tell the same story."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import random
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2 as httpx
import msgspec
from sqlalchemy import func, select

from omixa.billing import ledger
from omixa.billing.verify import verify
from omixa.config import Settings
from omixa.services import BackOffice, open_back_office
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, attempt, request, transfer
from tests.proof.forked_servers import forked_server
from tests.proof.part import Part, Result, Task
from tests.support.document import events
from tests.support.faults import CREATE, MODEL
from tests.support.servers import Simulator
from tests.support.serving import ServerProcess, open_account, run_omixa, simulating

log = logging.getLogger(__name__)

# A data directory that has seen so many kills is given up for a new one.
KILLS_OF_A_LEDGER = 10
CLIENTS = 40
CREDIT = 10**9
# The server dies when this many clients have their answer, so that the machine's speed does not matter, and a moment later.
MAX_ANSWERS_BEFORE = 28
MAX_MOMENT_S = 0.05
MAX_LATENCY_MS = 600
# Every fourth request takes so much longer that it cannot be answered by then.
SLOW_EACH, SLOW_S = 4, 2
# Few pictures, so that the simulated provider paints each once; the scenario in front makes each prompt the only one.
SUBJECTS = ("a red kite over a field", "a calm lake at dawn", "a small robot in a garden", "a lighthouse in a storm")


@dataclass
class Caller:
    """One client: what it asked for, and what it got. `body` may be the beginning of an answer."""

    prompt: str
    n: int
    stream: bool
    request_id: str = ""
    body: bytearray = field(default_factory=bytearray)
    answered: bool = False

    @property
    def prompt_sha256(self) -> str:
        return hashlib.sha256(self.prompt.encode()).hexdigest()

    @property
    def receipt(self) -> tuple[str, list[str]]:
        """What was billed and the pictures, from either form."""
        if not self.stream:
            answer = msgspec.json.decode(self.body)
            return answer["usage"]["billed_amount"], [each["b64_json"] for each in answer["data"]]
        told = events(self.body.decode())
        return told[-1]["usage"]["billed_amount"], [each["b64_json"] for each in told]


class Killer(threading.Timer):
    """Kills a server a moment after so many clients have their answer. A thread, because the event loop is busy with answers."""

    def __init__(self, server: ServerProcess, answers_before: int, moment_s: float) -> None:
        super().__init__(moment_s, server.kill)
        self.answers_before = answers_before
        self._answers = 0

    def count_answer(self) -> None:
        """Note that a client has its answer."""
        self._answers += 1
        if self._answers == self.answers_before:
            self.start()


@dataclass
class Books:
    """What the ledger says, read from the file."""

    findings: tuple[object, ...]
    held: int
    spent: int
    requests: dict[str, Row]
    charges: Counter[str]
    charged: dict[str, int]
    calls: list[Row]


@dataclass
class History:
    """What the clients and the provider remember of all rounds, and which charges were looked at already.

    `before` are the calls of which the provider knows from an earlier ledger's rounds.
    """

    before: frozenset[str]
    callers: list[Caller] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)

    def add(self, callers: list[Caller], provider: Simulator) -> None:
        """Add a round. The provider's log has an end, so it is read after each."""
        self.callers += callers
        self.made |= {
            entry["request_id"]: entry["prompt_sha256"]
            for entry in provider.log()
            if entry["request_id"] not in self.before
        }


def run(task: Task) -> Result:
    """Kill servers under load, and compare what everybody remembers after each."""
    chance = task.chance()
    figures: Counter[str] = Counter()
    done = 0
    with simulating() as provider:
        while done < task.size:
            kills = min(KILLS_OF_A_LEDGER, task.size - done)
            with tempfile.TemporaryDirectory(dir=task.directory) as directory:
                figures.update(_kill_servers(Path(directory), provider, kills, chance))
            done += kills
            task.progress(done)
    return Result({"kills": done, **figures})


def _kill_servers(data_dir: Path, provider: Simulator, kills: int, chance: random.Random) -> dict[str, int]:
    key = open_account(data_dir, CREDIT)
    history = History(before=frozenset(entry["request_id"] for entry in provider.log()))
    with ExitStack() as running:
        server = running.enter_context(forked_server(data_dir, provider.url))
        history.add(asyncio.run(_warm_up(server, key)), provider)
        for number in range(kills):
            callers = [_caller(chance, number * CLIENTS + index) for index in range(CLIENTS)]
            asyncio.run(_load_and_kill(server, key, callers, chance))
            history.add(callers, provider)
            server = running.enter_context(forked_server(data_dir, provider.url))
            books = asyncio.run(_books(data_dir))
            _check_ledger(books)
            _check_results(books, callers, set(books.charged) - history.checked, server, key)
            _check_provider(books, history)
            history.checked |= books.charged.keys()
    assert run_omixa("ledger", "verify", data_dir=data_dir).returncode == 0
    answered = sum(caller.answered for caller in history.callers)
    return {
        "answered and charged": answered,
        "charged, waiting under their id": len(books.charged) - answered,
        "released": len(books.requests) - len(books.charged),
        "never held": len(history.callers) - len(books.requests),
    }


def _caller(chance: random.Random, number: int) -> Caller:
    latency_s = chance.randrange(20, MAX_LATENCY_MS) / 1000 + SLOW_S * (number % SLOW_EACH == 0)
    return Caller(
        prompt=f"sim:slow={latency_s:.3f}x2,okx{number + 1} {chance.choice(SUBJECTS)}",
        n=chance.choice((1, 1, 1, 2)),
        stream=chance.random() < 0.25,
    )


async def _warm_up(server: ServerProcess, key: str) -> list[Caller]:
    """Let the provider paint the pictures."""
    callers = [Caller(subject, 1, False) for subject in SUBJECTS]
    async with _client(server, key) as client:
        await asyncio.gather(*(_call(client, caller) for caller in callers))
    assert all(caller.answered for caller in callers)
    return callers


async def _load_and_kill(server: ServerProcess, key: str, callers: list[Caller], chance: random.Random) -> None:
    killer = Killer(server, chance.randint(1, MAX_ANSWERS_BEFORE), chance.random() * MAX_MOMENT_S)
    async with _client(server, key) as client:
        await asyncio.gather(*(_call(client, caller, killer) for caller in callers))
    killer.join()
    answered = sum(caller.answered for caller in callers)
    log.warning("killed after %d answers, %d of %d came through", killer.answers_before, answered, len(callers))
    assert answered < CLIENTS


def _client(server: ServerProcess, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.url,
        headers={"authorization": f"Bearer {key}"},
        timeout=60,
        limits=httpx.Limits(max_connections=CLIENTS),
        trust_env=False,
        verify=False,
    )


async def _call(client: httpx.AsyncClient, caller: Caller, killer: Killer | None = None) -> None:
    body = {"model": MODEL, "prompt": caller.prompt, "n": caller.n, "stream": caller.stream}
    try:
        async with client.stream("POST", CREATE, json=body) as answer:
            assert answer.status_code == 200
            caller.request_id = answer.headers["x-request-id"]
            async for piece in answer.aiter_raw():
                caller.body += piece
        caller.answered = True
        if killer is not None:
            killer.count_answer()
    except httpx.TransportError:
        log.debug("the server left %s", caller)


# ------------------------------------------------------------------------------------------------------------- the oracle


async def _books(data_dir: Path) -> Books:
    async with open_back_office(Settings(data_dir=str(data_dir))) as office:
        return await office.database.read(lambda tx: _read_books(tx, office))


def _read_books(tx: Transaction, office: BackOffice) -> Books:
    (purse,) = tx.all(select(account).where(account.c.workspace_id.is_not(None), account.c.mode == "live"))
    charges = tx.all(
        select(transfer.c.request_id, func.count().label("count"), func.sum(transfer.c.amount).label("amount"))
        .where(transfer.c.kind == "charge")
        .group_by(transfer.c.request_id)
    )
    return Books(
        findings=verify(tx, result_exists=office.blobs.has).findings,
        held=ledger.balance(tx, purse["id"]).held,
        spent=CREDIT - purse["posted"],
        requests={row["id"]: row for row in tx.all(select(request))},
        charges=Counter({row["request_id"]: row["count"] for row in charges}),
        charged={row["request_id"]: row["amount"] for row in charges},
        calls=list(tx.all(select(attempt))),
    )


def _check_ledger(books: Books) -> None:
    """Every hold is resolved, every charge is single and paid, every invariant holds."""
    assert books.findings == ()
    assert books.held == 0
    assert {row["state"] for row in books.requests.values()} <= {"captured", "released"}
    assert set(books.charges.values()) <= {1}
    assert sum(books.charged.values()) == books.spent
    captured = {name for name, row in books.requests.items() if row["state"] == "captured"}
    assert captured == set(books.charged)


def _check_results(books: Books, callers: list[Caller], charged: set[str], server: ServerProcess, key: str) -> None:
    """What a client was answered is charged as it was told, and what was charged can be read again, equal to the byte."""
    known = {caller.request_id: caller for caller in callers if caller.request_id}
    assert {name for name, caller in known.items() if caller.answered} <= charged
    for name in known.keys() - charged:
        # A stream may have begun; all that came is that it lives.
        assert not known[name].body.replace(b": keep-alive", b"").strip()
    with httpx.Client(
        base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=60, trust_env=False, verify=False
    ) as client:
        for name in charged:
            answer = client.get(f"/api/v1/requests/{name}/result")
            assert answer.status_code == 200
            amount = int(answer.json()["usage"]["billed_amount"].replace(".", ""))
            assert books.charged[name] == amount
            if name in known:
                _check_answer(known[name], answer)


def _check_answer(caller: Caller, answer: httpx.Response) -> None:
    if not caller.stream:
        assert answer.content.startswith(caller.body)
        assert not caller.answered or answer.content == caller.body
    if caller.answered:
        stored = answer.json()
        billed, pictures = caller.receipt
        assert billed == stored["usage"]["billed_amount"]
        assert pictures == [each["b64_json"] for each in stored["data"]]
        assert len(pictures) == caller.n
        assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


def _check_provider(books: Books, history: History) -> None:
    """The provider was called at most once for each picture, never without a record, and made all that was charged."""
    times = Counter(history.made.values())
    wanted = {caller.prompt_sha256: caller.n for caller in history.callers}
    assert all(count <= wanted[prompt] for prompt, count in times.items())
    assert len(history.made) <= len(books.calls)
    delivered = [call for call in books.calls if call["state"] == "ok"]
    assert len({call["provider_request_id"] for call in delivered}) == len(delivered)
    prompts = {caller.request_id: caller.prompt_sha256 for caller in history.callers if caller.request_id}
    for call in delivered:
        made = history.made[call["provider_request_id"]]
        assert made == prompts.get(call["request_id"], made)
    pictures = Counter(call["request_id"] for call in delivered)
    for caller in history.callers:
        if caller.answered:
            assert pictures[caller.request_id] == caller.n == times[caller.prompt_sha256]


PART = Part(
    name="server-kills",
    title="kill -9 of the whole server under load",
    passes_when="provider's log, clients' log and ledger agree after every kill: 0 lost, 0 double, drift 0, every gap explained",
    run=run,
    unit="kills",
    size=500,
    share=50,
    small=1,
)
