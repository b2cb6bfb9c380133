"""`python -m bench.pages`: how long the gateway takes for each page and each filter, with a million requests in the ledger.

The requests are held, captured and released by the ledger's own functions, many in a transaction and with a clock that goes
through forty days, so that every row is one that a gateway writes. Then a gateway is started on that ledger, a person signs in,
and every page is fetched again and again over one connection on loopback, one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest import mock

import httpx2 as httpx

from bench.drawing import FAINT, RULE, dot, line, picture, text
from bench.load import percentile_ms
from bench.machine import facts
from omixa import catalogue
from omixa.access import store
from omixa.billing import ledger, margins
from omixa.billing.ledger import Capture, Release
from omixa.billing.pricing import rate
from omixa.billing.recovery import register_node
from omixa.billing.verify import verify
from omixa.domain.ids import first_id, new_id
from omixa.domain.models import Model
from omixa.domain.times import utc_today
from omixa.gateway.reconciliation import Reconciliation
from omixa.gateway.settlement import NodeIdentity
from omixa.jobs import sweeper
from omixa.services import Services
from omixa.storage import prompts, retention
from omixa.storage.database import Database, Transaction
from omixa.usage import records
from omixa.usage.records import StartedAttempt, new_attempt_id
from tests.support.console import Browser, form_token, made_operator, signed_in
from tests.support.ledger import (
    CATALOGUE,
    NODE,
    ONE_PICTURE,
    Customer,
    a_hold,
    a_record,
    a_result,
    add_customer,
    failed,
    succeeded,
)
from tests.support.places import Clock, SqlitePlace
from tests.support.servers import Gateway, running_gateway

RESULTS = Path(__file__).with_name("results")
DEFAULT_DATA = Path(__file__).parent.parent / "build" / "bench"
TARGET_P50_MS = 50.0
WORKSPACE = "bench"
DAYS = 40
DAY_MS = 86_400_000
IN_A_TRANSACTION = 1000
HOLD = 200_000
MODELS = ("MAI-Image-2.5", "MAI-Image-2.5-Flash", "gpt-image-2", "gemini-3-pro-image")
ROUTES = ("sweden", "virginia", "spare")
KEYS = 8
# Of a hundred requests, those that fail, and how.
FAILURES = {"provider_unavailable": 3, "content_policy_violation": 2, "provider_timeout": 1}
RARE_FAILURE = "no_capacity"
# For how long the workspace keeps its prompts.
PROMPT_DAYS = 10
_SUBJECTS = ("A brass lamp", "Two ceramic lamps", "A paper lamp with a red cord")
_SCENES = (
    "on a walnut desk by a window, soft light of the morning from the left, shallow depth of field",
    "on a desk full of books, seen from above, muted colours, for the front page of a catalogue",
    "beside a desk in an empty room, hard light of the evening, long shadows, much room for words at the top",
)
# Words of most prompts, of some, and of none.
FREQUENT_WORDS, RARE_WORD, NO_WORD = "lamp desk", "heron", "zeppelin"
# Real pictures on top, so that the gallery has some to show.
PAINTED = 30
PAINTER = "omixa-illustrator-1"
# What operators have besides: other workspaces, what was done, and lines of a bill that no call explains.
OTHER_WORKSPACES = 500
AUDITED = 50_000
STRAY_LINES = 500


@dataclass(frozen=True)
class Fetched:
    """A page, its address, how much came, and what it took each time, in sorted seconds."""

    name: str
    path: str
    size_bytes: int
    times_s: Sequence[float]

    @property
    def p50_ms(self) -> float:
        """Return what half of the fetches took at most."""
        return percentile_ms(self.times_s, 0.50) or 0.0

    @property
    def p99_ms(self) -> float:
        """Return what 99 of 100 took at most."""
        return percentile_ms(self.times_s, 0.99) or 0.0


@dataclass(frozen=True)
class Filled:
    """What is in the ledger to look for."""

    busy_key: str
    rare_key: str
    rare_model: str
    last_request: str
    last_failure: str
    first_day: datetime.date
    last_day: datetime.date


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell; return 0 when every page is within the target."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description="Pages over a full ledger.")
    parser.add_argument("--requests", type=int, default=1_000_000, metavar="N", help="in the ledger (1000000)")
    parser.add_argument("--times", type=int, default=100, metavar="N", help="how often each page is fetched (100)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where the ledger is kept")
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pages-", dir=options.data) as name:
        directory = Path(name)
        filled = asyncio.run(_fill(directory, options.requests))
        # A new server reads all of its ledger soon after its start. Here that comes last, so that nothing is measured beside it.
        with mock.patch.object(sweeper, "FIRST_VERIFY_S", 86_400.0), running_gateway(directory) as gateway:
            fetched, report_s = _measure(gateway, filled, options.times)
            load = os.getloadavg()[0]
        print("Verifying the ledger …", flush=True)
        findings = asyncio.run(_verify(directory))
        known = facts(directory)
        size = sum(file.stat().st_size for file in directory.glob("omixa.db*"))
    if findings:
        raise SystemExit(f"the ledger is not clean: {findings[:5]}")
    told = _table(fetched, report_s, options.requests, size, load, known)
    print(f"\n{told}")
    slow = [one for one in fetched if one.p50_ms >= TARGET_P50_MS]
    if options.requests >= 1_000_000:
        (RESULTS / "pages.md").write_text(f"{told}\n![What pages take](pages.png)\n")
        (RESULTS / "pages.png").write_bytes(_draw(fetched, options.requests))
        print("Written: bench/results/pages.md, pages.png")
    return 1 if slow else 0


# ------------------------------------------------------------------------------------------------------------------- fill


async def _fill(directory: Path, requests: int) -> Filled:
    clock = Clock(time.time_ns() // 1_000_000 - DAYS * DAY_MS)
    place = SqlitePlace(directory / "omixa.db", synchronous="NORMAL").create()
    fatal: list[str] = []
    database = Database(place.backend(clock), on_fatal=fatal.append)
    await asyncio.to_thread(database.open)
    chance, began = random.Random(6), time.monotonic()
    try:
        customers, epoch = await database.write(_customers)
        node = NodeIdentity(NODE, epoch)
        models = [CATALOGUE.resolve(name) for name in MODELS]
        step_ms = DAYS * DAY_MS * IN_A_TRANSACTION // requests
        done = 0
        while done < requests:
            wanted = min(IN_A_TRANSACTION, requests - done)
            rare = done < requests // 5
            kept = done >= requests - requests * PROMPT_DAYS // DAYS
            batch = _Batch(
                clock.now_ms, wanted, customers, models, node, chance, rare=rare and done % 50_000 == 0, kept=kept
            )
            await database.write(batch.hold)
            clock.now_ms += 4_000
            await database.write(batch.settle)
            clock.now_ms += max(step_ms - 4_000, 1)
            done += wanted
            if done % 50_000 == 0 or done == requests:
                print(f"{done:>10,} of {requests:,} requests, {done / (time.monotonic() - began):,.0f}/s", flush=True)
        await _add_up(database)
    finally:
        await asyncio.to_thread(database.close)
    if fatal:
        raise SystemExit(f"the ledger was not filled: {fatal}")
    _sweep(place.path)
    return Filled(
        busy_key=customers[1].key_id,
        rare_key=customers[-1].key_id,
        rare_model="MAI-Image-2.7",
        last_request=batch.captured[-1],
        last_failure=batch.refused[-1],
        first_day=utc_today() - datetime.timedelta(days=DAYS),
        last_day=utc_today(),
    )


async def _add_up(database: Database) -> None:
    """Add margins up as the sweeper does, behind the requests."""
    while (portion := await database.read(margins.next_portion)) is not None:
        await database.write(partial(margins.add_up, portion=portion))


async def _verify(directory: Path) -> list[str]:
    database = Database(SqlitePlace(directory / "omixa.db").backend(), on_fatal=print)
    await asyncio.to_thread(database.open)
    try:
        return [str(one) for one in (await database.read(verify)).findings]
    finally:
        await asyncio.to_thread(database.close)


def _customers(tx: Transaction) -> tuple[list[Customer], int]:
    """Open the workspace and return it once for each of its keys; the last one is for a few requests of long ago."""
    first = add_customer(tx, credit=10**12, name=WORKSPACE)
    ledger.open_workspace_account(tx, first.workspace_id, "test")
    retention.set_keep_prompts(tx, first.workspace_id, True)
    customers = [first]
    for number in range(KEYS):
        key_id = store.insert_key(
            tx,
            workspace_id=first.workspace_id,
            mode="live",
            name=f"Shop {number + 1}",
            digest=new_id("digest"),
            last4="abcd",
            models=None,
        )
        customers.append(replace(first, key_id=key_id))
    for number in range(OTHER_WORKSPACES):
        add_customer(tx, credit=25_000_000, name=f"studio-{number:03}")
    for number in range(AUDITED):
        store.audit(
            tx, actor=f"cli:{number % 7}", action="limits.set", target=first.workspace_id, details={"n": number}
        )
    return customers, register_node(tx, NODE)


class _Batch:
    """Requests that are held together and settled together."""

    def __init__(
        self,
        at_ms: int,
        count: int,
        customers: Sequence[Customer],
        models: Sequence[Model],
        node: NodeIdentity,
        chance: random.Random,
        *,
        rare: bool,
        kept: bool,
    ) -> None:
        self._node = node
        self._outcomes = [chance.choices([None, *FAILURES], [94, *FAILURES.values()])[0] for _ in range(count)]
        self._customers = [chance.choice(customers[:-1]) for _ in range(count)]
        self._models = [chance.choice(models) for _ in range(count)]
        if rare:
            # What somebody may look for among all the others.
            self._outcomes[0], self._outcomes[1], self._outcomes[2] = RARE_FAILURE, None, None
            self._customers[1] = customers[-1]
            self._models[2] = CATALOGUE.resolve("MAI-Image-2.7")
        self._outcomes[-2:] = [None, "provider_unavailable"]
        ids = [first_id("req", at_ms)[:-16] + _tail(chance) for _ in range(count)]
        self._calls = [
            StartedAttempt(new_attempt_id(), one, 1, 0, "foundry", f"{chance.choice(ROUTES)}/{model.id}")
            for one, model in zip(ids, self._models, strict=True)
        ]
        self._ids = ids
        self.captured = [one for one, outcome in zip(ids, self._outcomes, strict=True) if outcome is None]
        self.refused = [one for one, outcome in zip(ids, self._outcomes, strict=True) if outcome is not None]
        self._prompts = {one: _prompt(chance) for one in self.captured} if kept else {}

    def hold(self, tx: Transaction) -> None:
        holds = [
            replace(
                a_hold(customer, one, HOLD, self._node),
                model=model.id,
                price_version_id=model.price_lists[0].version,
                parameters_json=f'{{"requested_model":"{model.id}","n":1,"size":"1024x1024","given":["size"]}}',
            )
            for one, customer, model in zip(self._ids, self._customers, self._models, strict=True)
        ]
        refused = [why for why in ledger.hold(tx, holds) if why is not None]
        if refused:
            raise refused[0]
        records.start_attempts(tx, self._calls)

    def settle(self, tx: Transaction) -> None:
        rows = list(zip(self._ids, self._outcomes, self._customers, self._models, self._calls, strict=True))
        made = []
        for one, outcome, customer, model, call in rows:
            if outcome is None:
                charge = rate([ONE_PICTURE], model.price_lists[0])
                made.append(
                    replace(
                        a_record(customer, one, ONE_PICTURE, HOLD),
                        model=model.id,
                        exact_pico_usd=charge.exact_pico_usd,
                        amount_micro_usd=charge.amount_micro_usd,
                        price_version_id=model.price_lists[0].version,
                        route=call.deployment,
                    )
                )
        refused = ledger.capture(
            tx,
            [Capture(one.request_id, self._node.epoch, one.amount_micro_usd, a_result(one.request_id)) for one in made],
        )
        if any(refused):
            raise SystemExit(f"a hold was lost: {refused}")
        records.record_usage(tx, made)
        prompts.keep(tx, self._prompts)
        ledger.release(
            tx, [Release(one, self._node.epoch, outcome) for one, outcome, *_ in rows if outcome is not None]
        )
        records.end_attempts(
            tx, [succeeded(call) if outcome is None else failed(call) for _, outcome, _, _, call in rows]
        )


def _tail(chance: random.Random) -> str:
    return "".join(chance.choices("0123456789abcdefghjkmnpqrstvwxyz", k=16))


def _prompt(chance: random.Random) -> str:
    heron = f", a {RARE_WORD} in the picture behind it" if chance.random() < 0.001 else ""
    return f"{chance.choice(_SUBJECTS)} {chance.choice(_SCENES)}{heron}, number {chance.randrange(10**6)}"


def _sweep(path: Path) -> None:
    """Leave of results what the sweeper leaves of those whose time has passed: there are no files of these."""
    with sqlite3.connect(path) as connection:
        now_ms = time.time_ns() // 1_000_000
        connection.execute(
            "UPDATE request SET result_ref = NULL, result_expires_at_ms = MIN(result_expires_at_ms, ?)"
            " WHERE result_ref IS NOT NULL",
            (now_ms - 1,),
        )
    connection.close()


# ---------------------------------------------------------------------------------------------------------------- measure


def _pages(filled: Filled, mode_home: str) -> Mapping[str, str]:
    """Return the pages to fetch by what they are called."""
    log, early = f"{mode_home}/requests", filled.first_day + datetime.timedelta(days=1)
    return {
        "front": "/",
        "models": "/docs/models",
        "model": "/docs/models/MAI-Image-2.5",
        "model, health of its routes": "/docs/models/MAI-Image-2.5/health",
        "guide": "/docs/quickstart",
        "error": "/docs/errors/provider_unavailable",
        "playground": "/playground",
        "overview": mode_home,
        "requests": log,
        "requests, captured": f"{log}?state=captured",
        "requests, released": f"{log}?state=released",
        "requests, held (none)": f"{log}?state=held",
        "requests, a frequent error": f"{log}?outcome=provider_unavailable",
        "requests, a rare error": f"{log}?outcome={RARE_FAILURE}",
        "requests, an error that never was": f"{log}?outcome=max_cost_exceeded",
        "requests, a busy key": f"{log}?key_id={filled.busy_key}",
        "requests, a rare key": f"{log}?key_id={filled.rare_key}",
        "requests, a busy model": f"{log}?model=gpt-image-2",
        "requests, a rare model": f"{log}?model={filled.rare_model}",
        "requests, a model nobody called": f"{log}?model=stable-image-core",
        "requests, a day of long ago": f"{log}?since={early}&until={early}",
        "requests, model and key and day": f"{log}?model=gpt-image-2&key_id={filled.busy_key}&until={early}",
        "requests, captured of a busy key": f"{log}?state=captured&key_id={filled.busy_key}",
        "request": f"{log}/{filled.last_request}",
        "request that failed": f"{log}/{filled.last_failure}",
        "pictures": f"{mode_home}/pictures",
        "pictures of a busy model": f"{mode_home}/pictures?model=gpt-image-2",
        "pictures, frequent words": f"{mode_home}/pictures?prompt={FREQUENT_WORDS.replace(' ', '+')}",
        "pictures, a rare word": f"{mode_home}/pictures?prompt={RARE_WORD}",
        "pictures, a word of no prompt": f"{mode_home}/pictures?prompt={NO_WORD}",
        "pictures, frequent words, a rare model": f"{mode_home}/pictures?prompt=lamp&model={filled.rare_model}",
        "usage by day": f"{mode_home}/usage",
        "usage by month": f"{mode_home}/usage?period_type=month",
        "usage by model": f"{mode_home}/usage?group_by=model",
        "usage by key": f"{mode_home}/usage?group_by=key",
        "usage by route": f"{mode_home}/usage?group_by=route",
        "usage by key, 40 days": f"{mode_home}/usage?group_by=key&since={filled.first_day}",
        "wallet": f"{mode_home}/wallet",
        "keys": f"{mode_home}/keys",
        "key": f"{mode_home}/keys/{filled.busy_key}",
        "settings": f"{mode_home}/settings",
        "you": "/console/profile",
    }


def _pages_of_operators(filled: Filled) -> Mapping[str, str]:
    """Return those of whoever runs the gateway."""
    month = f"{filled.last_day:%Y-%m}"
    return {
        "operator: overview": "/operator",
        "operator: routes, last hour": "/operator/routes?hours=1",
        "operator: routes, last day": "/operator/routes?hours=24",
        "operator: accounts": "/operator/accounts",
        "operator: failed calls": "/operator/calls",
        "operator: failed calls of a route": f"/operator/calls?route={ROUTES[0]}/{MODELS[0]}",
        "operator: failed calls of no route": "/operator/calls?route=nobody",
        "operator: request that failed": f"/operator/requests/{filled.last_failure}",
        "operator: prices": "/operator/prices",
        "operator: price difference of a month": f"/operator/prices/difference?month={month}",
        "operator: workspaces": "/operator/workspaces",
        "operator: workspace": f"/operator/workspaces/{WORKSPACE}",
        "operator: findings": "/operator/findings",
        "operator: margins": "/operator/margins",
        "operator: margins of a month": f"/operator/margins?month={month}",
        "operator: audit log": "/operator/audit",
        "operator: audit log, one actor": "/operator/audit?actor=cli:3",
    }


_CALLS = {
    "API: requests": "/api/v1/usage/requests?limit=100",
    "API: sums by route": "/api/v1/usage/rollups?group_by=route",
    "API: forecast": "/api/v1/usage/forecast",
    "API: credit": "/api/v1/credit",
    "API: keys": "/api/v1/keys",
}


def _measure(gateway: Gateway, filled: Filled, times: int) -> tuple[list[Fetched], float]:
    """Return what each page takes, and how many seconds the one report that reads a whole month."""
    key = gateway.key("live", WORKSPACE)
    with gateway.client(key) as client:
        for number in range(PAINTED):
            body = {"model": PAINTER, "prompt": f"a lamp on a desk, number {number}"}
            answer = client.post("/api/v1/images/generations", json=body)
            if answer.status_code != 200:
                raise SystemExit(f"no picture: {answer.text}")
    print(f"{PAINTED} pictures painted; fetching each page {times} times …", flush=True)
    somebody = signed_in(gateway, f"owner@{WORKSPACE}", "owner", WORKSPACE)
    made_operator(gateway, f"owner@{WORKSPACE}")
    gateway.call(_find)
    with gateway.client(key) as client:
        cookies = "; ".join(f"{name}={value}" for name, value in somebody.cookies())
        wanted = {**_pages(filled, f"/console/{WORKSPACE}/live"), **_pages_of_operators(filled), **_CALLS}
        fetched = [
            _fetch(client, name, path, {} if path.startswith("/api") else {"cookie": cookies}, times)
            for name, path in wanted.items()
        ]
    return fetched, _compare_prices(somebody, filled)


def _compare_prices(somebody: Browser, filled: Filled) -> float:
    """Return in how many seconds an operator learns who would pay how much more by a model file that is not in use yet."""
    way = "/operator/prices/difference"
    file = Path(catalogue.__file__).with_name("data") / "models" / f"{MODELS[0].lower()}.toml"
    text = re.sub(r"effective_from = \d{4}-\d\d-\d\d", "effective_from = 2999-01-01", file.read_text())
    token = form_token(somebody.get(way).text)
    began = time.perf_counter()
    answer = somebody.send(way, csrf=token, file=text, month=f"{filled.last_day:%Y-%m}", mode="live")
    taken_s = time.perf_counter() - began
    if answer.status_code != 200 or WORKSPACE not in answer.text:
        raise SystemExit(f"no comparison of prices: {answer.text[:300]}")
    print(f"{'operator: price difference by a file':<36} {taken_s:>10.1f} s", flush=True)
    return taken_s


async def _find(services: Services) -> None:
    """Import a bill of calls that were never made."""
    day = utc_today() - datetime.timedelta(days=1)
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write("time,model,amount,provider_request_id\n")
        file.writelines(f"{day}T00:00:01Z,{MODELS[0]},1.25,stray-{number}\n" for number in range(STRAY_LINES))
        file.flush()
        await Reconciliation(services.database, "foundry", {}).import_file(
            Path(file.name), since=None, until=None, actor="bench"
        )


def _fetch(client: httpx.Client, name: str, path: str, headers: Mapping[str, str], times: int) -> Fetched:
    taken: list[float] = []
    for number in range(times + 3):
        began = time.perf_counter()
        answer = client.get(path, headers=dict(headers))
        ended = time.perf_counter() - began
        if answer.status_code != 200:
            raise SystemExit(f"{path} answers {answer.status_code}: {answer.text[:300]}")
        # The first ones open connections and fill caches.
        if number >= 3:
            taken.append(ended)
    found = Fetched(name, path, len(answer.content), sorted(taken))
    print(f"{name:<36} p50 {found.p50_ms:>7.1f} ms   p99 {found.p99_ms:>7.1f} ms", flush=True)
    return found


# -------------------------------------------------------------------------------------------------------------------- tell


def _table(
    fetched: Sequence[Fetched], report_s: float, requests: int, size: int, load: float, known: Mapping[str, str]
) -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    where = ", ".join(known[name] for name in ("system", "processor", "memory", "file system of the data"))
    slow = [one.name for one in fetched if one.p50_ms >= TARGET_P50_MS]
    worst = max(fetched, key=lambda one: one.p50_ms)
    verdict = (
        f"Every page is below {TARGET_P50_MS:.0f} ms at p50; the slowest is {worst.name} with {worst.p50_ms:.1f} ms,"
        f" their median {statistics.median(one.p50_ms for one in fetched):.1f} ms."
        if not slow
        else f"Not below {TARGET_P50_MS:.0f} ms at p50: {', '.join(slow)}."
    )
    return "\n".join(
        [
            f"# Pages with {requests:,} requests in the ledger",
            "",
            f"{now}, {where}, Python {known['python']}, SQLite {known['sqlite']}, commit {known['commit']}.",
            f"One workspace, {DAYS} days, {KEYS + 1} keys, {len(MODELS)} models on {len(ROUTES)} routes, {size / 1e9:.2f} GB.",
            "Times are those of a client on loopback, above the server's own, and what else the machine did adds to them:",
            f"its load was {load:.1f} on {os.cpu_count()} processors. The ledger is clean afterwards.",
            "",
            "| page | p50 ms | p99 ms | kB |",
            "| --- | --: | --: | --: |",
            *(f"| {one.name} | {one.p50_ms:.1f} | {one.p99_ms:.1f} | {one.size_bytes / 1000:.0f} |" for one in fetched),
            "",
            verdict,
            "",
            "One report reads all requests of a month when an operator asks for it, one at a time: who would pay how much more",
            f"by a model file that is not in use yet. It took {report_s:.1f} s.",
            "",
        ]
    )


_WIDTH, _LEFT, _RIGHT, _TOP, _ROW = 1200, 330, 1150, 120, 26
_COLOUR, _LIMIT = "#5b4bdb", "#e08a1e"


def _draw(fetched: Sequence[Fetched], requests: int) -> bytes:
    """Return a dot for each page's p50 and a circle for its p99."""
    highest = max(200.0, *(one.p99_ms for one in fetched))

    def x(value_ms: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * value_ms / highest

    bottom = _TOP + _ROW * len(fetched)
    body = [
        text(30, 46, f"Pages with {requests:,} requests in the ledger", size=25, weight=700),
        text(30, 74, "ms over loopback: p50 filled, p99 hollow; the bar is the target of p50", size=15, colour=FAINT),
    ]
    for value in range(0, int(highest) + 1, 50):
        body.append(line(x(value), _TOP - 8, x(value), bottom, RULE, 1))
        body.append(text(x(value), bottom + 20, str(value), size=13, colour=FAINT, anchor="middle"))
    body.append(line(x(TARGET_P50_MS), _TOP - 8, x(TARGET_P50_MS), bottom, _LIMIT, 3))
    for number, one in enumerate(fetched):
        y = _TOP + _ROW * (number + 0.5)
        body.append(text(30, y + 5, one.name, size=14))
        body.append(line(x(one.p50_ms), y, x(one.p99_ms), y, _COLOUR, 2, opacity=0.5))
        body.append(dot(x(one.p99_ms), y, _COLOUR, filled=False, radius=5))
        body.append(dot(x(one.p50_ms), y, _COLOUR, filled=True, radius=5))
    return picture(_WIDTH, bottom + 50, "".join(body))


if __name__ == "__main__":
    sys.exit(main())
