"""`python -m bench.saturation`: what requests that only pass through wait for while every worker has more to do than it can.

Pictures of a provider pass through the serving process untouched; drawing and encoding happen in processes beside it, on the
same processors. Each round measures a load of the first kind twice, one right after the other: alone, and while a load of the
second kind keeps all workers busy with a queue behind them. What counts is the ratio of both within a round.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from bench.load import Figures, Order
from bench.machine import facts
from bench.rounds import Sample, finished, order, sample, started
from bench.servers import Server, gateway, prepare_upstream, upstream
from bench.works import WARM_UP, Work

RESULTS = Path(__file__).with_name("results") / "saturation.md"
DEFAULT_DATA = Path(__file__).parent.parent / "build" / "bench"
# A saturated pool may make the slowest hundredth of passing requests this many times as slow.
TARGET_RATIO = 2.0

# What passes through. The provider takes a tenth of a second in one, no time at all in the other.
PASSING = (
    Work("1500k-8", "generation", "1500k", clients=8, measure_s=4.0),
    Work("8k-64-100ms", "generation", "8k", clients=64, latency_s=0.1, ramp_s=0.1, measure_s=4.0),
)
# What keeps the workers busy: sixteen at a time for the two processes of each pool.
HOGS = (
    Work("drawing", "illustration", "8k", clients=16),
    Work("encoding WebP", "conversion", "8k", clients=16),
)
# From the first request of the hog until its workers are busy and its queue is full.
SETTLE_S = 2.0
# For starting and ending what is measured meanwhile: the hog goes on for so much longer.
MARGIN_S = 4.0


@dataclass(frozen=True)
class Pair:
    """One passing load in one round, alone and beside a hog; and what the hog did meanwhile."""

    work: str
    hog: str
    alone: Sample
    beside: Sample
    hogged: Figures

    def ratio(self, figure: str) -> float:
        """Return how many times as large a figure of the load is beside the hog."""
        alone, beside = getattr(self.alone.load, figure), getattr(self.beside.load, figure)
        return float(beside) / float(alone) if alone and beside else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell; return 0 when no request failed and the ledger is right."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.saturation", description="Passing requests beside busy workers."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often everything is measured (5)")
    parser.add_argument("--pace", type=float, default=1.0, metavar="F", help="stretches each measurement (1)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where Omixa keeps its data")
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="saturation-", dir=options.data) as name:
        directory = Path(name)
        with upstream(directory) as provider:
            books = gateway(directory, provider)
            with books.serve(directory) as omixa:
                for work in WARM_UP:
                    prepare_upstream(provider, work)
                    sample(0, work, omixa, provider, 1.0)
                for hog in HOGS:
                    finished(started(_order_of(replace(hog, measure_s=1.0), omixa)))
                pairs = list(_pairs(omixa, provider, options.rounds, options.pace))
        clean = books.verification()["clean"]
    text = _table(pairs, options.data, clean)
    print(f"\n{text}")
    if options.pace == 1.0:
        RESULTS.write_text(text)
        print(f"Written: bench/results/{RESULTS.name}")
    failed = sum(pair.alone.load.failed + pair.beside.load.failed + pair.hogged.failed for pair in pairs)
    return 0 if clean and not failed else 1


def _pairs(omixa: Server, provider: Server, rounds: int, pace: float) -> Iterator[Pair]:
    for number in range(rounds):
        for hog in HOGS:
            for work in PASSING:
                pair = _pair(number, work, hog, omixa, provider, pace)
                print(
                    f"round {number + 1} of {rounds}   {work.name:<12} beside {hog.name:<14}"
                    f" p50 x{pair.ratio('p50_ms'):.2f}   p99 x{pair.ratio('p99_ms'):.2f}",
                    flush=True,
                )
                yield pair


def _pair(number: int, work: Work, hog: Work, omixa: Server, provider: Server, pace: float) -> Pair:
    prepare_upstream(provider, work)
    busy = replace(hog, measure_s=SETTLE_S + work.warm_s + work.measure_s * pace + MARGIN_S)

    def alone() -> Sample:
        return sample(number, work, omixa, provider, pace)

    def beside() -> tuple[Sample, Figures]:
        with _hogging(busy, omixa) as load:
            measured = alone()
            if load.poll() is not None:
                raise SystemExit(f"{hog.name} had ended before {work.name} was measured")
        return measured, finished(load)

    # Neither is always the one that comes first.
    if number % 2:
        hogged, quiet = beside(), alone()
    else:
        quiet, hogged = alone(), beside()
    return Pair(work.name, hog.name, quiet, *hogged)


def _order_of(hog: Work, omixa: Server) -> Order:
    # What workers make has a length of its own.
    return msgspec.structs.replace(order(hog, omixa, 1.0), least_body_bytes=1)


@contextmanager
def _hogging(hog: Work, omixa: Server) -> Iterator[subprocess.Popen[bytes]]:
    """Keep the workers busy; the block begins when they are."""
    load = started(_order_of(hog, omixa))
    try:
        time.sleep(SETTLE_S)
        yield load
    except BaseException:
        load.kill()
        raise


def _table(pairs: Sequence[Pair], data: Path, clean: bool) -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    known = facts(data)
    where = ", ".join(known[name] for name in ("system", "processor", "memory", "file system of the data"))
    groups = list(dict.fromkeys((pair.hog, pair.work) for pair in pairs))
    rows, verdicts = [], []
    for hog, work in groups:
        own = [pair for pair in pairs if (pair.hog, pair.work) == (hog, work)]
        ratios = [pair.ratio("p99_ms") for pair in own]
        ratio = statistics.median(ratios)
        rows.append(
            f"| {work} | {hog} | {_median(own, 'alone', 'p50_ms'):.1f} | {_median(own, 'beside', 'p50_ms'):.1f}"
            f" | {_median(own, 'alone', 'p99_ms'):.1f} | {_median(own, 'beside', 'p99_ms'):.1f}"
            f" | {ratio:.2f} | {min(ratios):.2f} to {max(ratios):.2f}"
            f" | {statistics.median(pair.hogged.rate for pair in own):.1f} |"
        )
        verdicts.append(
            f"- {work} beside {hog}: p99 is {ratio:.2f} times what it is alone, "
            f"{'within' if ratio < TARGET_RATIO else 'above'} the target of {TARGET_RATIO:g}."
        )
    return "\n".join(
        [
            "# Passing requests beside busy workers",
            "",
            f"{now}, {where}, Python {known['python']}, commit {known['commit']}.",
            "Sixteen requests at a time keep all workers busy, with a queue behind them. Times in ms, medians of the rounds;",
            "the ratio is that of two measurements of one round, one right after the other. Clients, provider, server and",
            f"workers share the processors. The ledger is {'clean' if clean else 'NOT clean'} afterwards.",
            "",
            "| passing | workers | p50 alone | p50 beside | p99 alone | p99 beside | p99 ratio | range | made/s meanwhile |",
            "| --- | --- | --: | --: | --: | --: | --: | --: | --: |",
            *rows,
            "",
            *verdicts,
            "",
        ]
    )


def _median(pairs: Sequence[Pair], which: str, figure: str) -> float:
    return statistics.median(getattr(getattr(pair, which).load, figure) or float("nan") for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
