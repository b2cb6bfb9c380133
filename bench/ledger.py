"""`python -m bench.ledger`: how many requests one workspace can hold and capture in a second, and how long that takes each.

Measured at the ledger's surface, in one process and on the server's kind of event loop: no HTTP, no pictures, no pricing. Each
pair is two transactions that have to be durable, and requests of the same moment share them, as in the server.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from bench.load import percentile_ms
from bench.machine import facts
from omixa.billing.recovery import register_node
from omixa.billing.verify import verify
from omixa.domain.ids import new_id
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.storage.database import Database
from tests.support.ledger import (
    NODE,
    ONE_PICTURE,
    Customer,
    a_call,
    a_hold,
    a_record,
    a_result,
    add_customer,
    succeeded,
)
from tests.support.places import Place, SqlitePlace, postgres_place
from tests.support.postgres import running_cluster, why_not

RESULTS = Path(__file__).with_name("results") / "ledger.md"
DEFAULT_DATA = Path(__file__).parent.parent / "build" / "bench"
CREDIT, HOLD = 10**15, 50_000
AT_ONCE = (1, 16, 64, 256)
# Requests a second that come evenly, whatever the ledger does, and what their money may take of the slowest hundredth.
PACE = 100
PACED_P99_MS = {"SQLite": 5.0, "PostgreSQL": 10.0}
# What the ledger has to sustain for one workspace, in pairs a second.
TARGETS = {"SQLite": 5_000, "PostgreSQL": 2_000}


@dataclass(frozen=True)
class Line:
    """Pairs a second of every round, with so many requests at a time."""

    database: str
    at_once: int
    rates: Sequence[float]


@dataclass(frozen=True)
class Pace:
    """What a hold and its capture take together at PACE pairs a second, in ms: the median of the rounds."""

    database: str
    p50_ms: float
    p99_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell; return 0 when every ledger is clean afterwards."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description="Holds and captures of one workspace.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often everything is measured (5)")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of each measurement (2)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where SQLite keeps its file")
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    paces: list[Pace] = []
    for name, place in _places(options.data):
        sustained, pace = uvloop.run(_measure(name, place, options.rounds, options.seconds))
        lines += sustained
        paces.append(pace)
    text = _table(lines, paces, options.data)
    print(f"\n{text}")
    RESULTS.write_text(text)
    print(
        f"Written: {RESULTS.relative_to(Path.cwd())}" if RESULTS.is_relative_to(Path.cwd()) else f"Written: {RESULTS}"
    )
    return 0


def _places(data: Path) -> Iterator[tuple[str, Place]]:
    with tempfile.TemporaryDirectory(prefix="ledger-", dir=data) as directory:
        yield "SQLite", SqlitePlace(Path(directory) / "omixa.db").create()
    reason = why_not()
    if reason is not None:
        print(f"PostgreSQL is left out: {reason}.", file=sys.stderr)
        return
    with running_cluster(in_memory=False) as cluster, postgres_place(cluster) as place:
        yield "PostgreSQL", place


async def _measure(name: str, place: Place, rounds: int, seconds: float) -> tuple[list[Line], Pace]:
    fatal: list[str] = []
    database = Database(place.backend(), on_fatal=fatal.append)
    await asyncio.to_thread(database.open)
    try:
        customer = await database.write(lambda tx: add_customer(tx, credit=CREDIT))
        node = NodeIdentity(NODE, await database.write(lambda tx: register_node(tx, NODE)))
        pairs = Pairs(Settlement(database, node), customer)
        await pairs.sustained(AT_ONCE[-1], seconds)
        rates: dict[int, list[float]] = {number: [] for number in AT_ONCE}
        paced: list[tuple[float, float]] = []
        for _ in range(rounds):
            paced.append(await pairs.paced(seconds))
            print(f"{name:<10} {PACE} pairs/s: p50 {paced[-1][0]:.2f} ms, p99 {paced[-1][1]:.2f} ms", flush=True)
            for number in AT_ONCE:
                rates[number].append(await pairs.sustained(number, seconds))
                print(f"{name:<10} {number:>4} at a time {rates[number][-1]:>8.0f} pairs/s", flush=True)
        found = await database.read(verify)
    finally:
        await asyncio.to_thread(database.close)
    if fatal or not found.clean:
        raise SystemExit(f"the ledger is not clean: {[str(one) for one in found.findings[:5]] or fatal}")
    pace = Pace(name, statistics.median(p50 for p50, _ in paced), statistics.median(p99 for _, p99 in paced))
    return [Line(name, number, rates[number]) for number in AT_ONCE], pace


class Pairs:
    """Requests of one customer, each held and captured."""

    def __init__(self, settlement: Settlement, customer: Customer) -> None:
        self._settlement = settlement
        self._customer = customer
        self._record = a_record(customer, "", ONE_PICTURE, HOLD)

    async def sustained(self, at_once: int, seconds: float) -> float:
        """Return how many come through in a second when so many are always under way."""
        begin = time.perf_counter()
        pairs = await asyncio.gather(*(self._client(begin + seconds) for _ in range(at_once)))
        return sum(pairs) / (time.perf_counter() - begin)

    async def _client(self, end: float) -> int:
        pairs = 0
        while time.perf_counter() < end:
            await self._pair()
            pairs += 1
        return pairs

    async def paced(self, seconds: float) -> tuple[float, float]:
        """Return the median and the 99th percentile of what a pair takes, in ms, when pairs come at a steady pace."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        running: list[asyncio.Task[float]] = []
        for number in range(round(PACE * seconds)):
            await asyncio.sleep(begin + number / PACE - loop.time())
            running.append(loop.create_task(self._pair()))
        ordered = sorted(await asyncio.gather(*running))
        return percentile_ms(ordered, 0.50) or 0.0, percentile_ms(ordered, 0.99) or 0.0

    async def _pair(self) -> float:
        """Hold and capture one request; return the seconds that took."""
        begin = time.perf_counter()
        request_id = new_id("req")
        call = a_call(request_id)
        await self._settlement.authorise(a_hold(self._customer, request_id, HOLD, self._settlement.node), [call])
        record = replace(self._record, request_id=request_id)
        await self._settlement.capture(record, a_result(request_id), [succeeded(call)])
        return time.perf_counter() - begin


def _table(lines: Sequence[Line], paces: Sequence[Pace], data: Path) -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    rows = [
        "| database | at a time | pairs/s, median | lowest | highest |",
        "| --- | --: | --: | --: | --: |",
        *(
            f"| {line.database} | {line.at_once} | {statistics.median(line.rates):,.0f} | {min(line.rates):,.0f}"
            f" | {max(line.rates):,.0f} |"
            for line in lines
        ),
    ]
    best = {line.database: statistics.median(line.rates) for line in lines if line.at_once == AT_ONCE[-1]}
    verdicts = [
        f"- {name}: {best[name]:,.0f} pairs/s with {AT_ONCE[-1]} at a time, "
        f"{'above' if best[name] >= target else 'below'} the target of {target:,}."
        for name, target in TARGETS.items()
        if name in best
    ]
    verdicts += [
        f"- {pace.database} at {PACE} pairs/s: hold and capture take {pace.p50_ms:.1f} ms together, {pace.p99_ms:.1f} ms at p99, "
        f"{'within' if pace.p99_ms <= PACED_P99_MS[pace.database] else 'above'} the target of {PACED_P99_MS[pace.database]:g} ms."
        for pace in paces
    ]
    known = facts(data)
    where = ", ".join(known[name] for name in ("system", "processor", "memory", "file system of the data"))
    return "\n".join(
        [
            "# Holds and captures of one workspace",
            "",
            f"{now}, {where}, Python {known['python']}, commit {known['commit']}.",
            "A pair is a hold and its capture, each durable before it is told. PostgreSQL's server shares the machine.",
            "",
            *rows,
            "",
            *verdicts,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
