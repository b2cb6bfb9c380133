"""Measure: every work on every server, round by round, so that all of them meet the same weather."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

import msgspec

from bench.load import Figures, Order
from bench.meter import Cost, Meter
from bench.payloads import PICTURE_BYTES
from bench.servers import Server, prepare_upstream
from bench.works import Work

MIB = 1024 * 1024


class Sample(msgspec.Struct, frozen=True):
    """One work on one server in one round. Busy is the share of one processor; upstream and load have one thread each."""

    round: int
    work: str
    server: str
    load: Figures
    cpu_s_per_1000: float | None
    peak_rss_mb: float | None
    upstream_busy: float | None
    load_busy: float


def measure(
    works: Sequence[Work], servers: Sequence[Server], rounds: int, *, pace: float, tell: Callable[[str], None]
) -> Iterator[Sample]:
    """Give the samples of all rounds. `pace` stretches or shortens the time of each measurement."""
    provider = servers[0]
    for number in range(rounds):
        # Nobody is always the one who comes first.
        turn = [*servers[number % len(servers) :], *servers[: number % len(servers)]]
        for work in works:
            prepare_upstream(provider, work)
            samples = [sample(number, work, server, provider, pace) for server in turn]
            rates = "   ".join(f"{one.server:>6} {one.load.rate:>7,.0f}/s" for one in samples)
            tell(f"round {number + 1} of {rounds}   {work.name:<16}{rates}")
            yield from samples


def sample(number: int, work: Work, server: Server, provider: Server, pace: float) -> Sample:
    """Measure one work on one server. The provider must be prepared for it."""
    serving, answering = Meter(server.pid), Meter(provider.pid)
    serving.start()
    answering.start()
    figures = finished(started(order(work, server, pace)))
    cost, behind = serving.stop(), answering.stop()
    return Sample(
        round=number,
        work=work.name,
        server=server.name,
        load=figures,
        cpu_s_per_1000=_per_1000(cost, figures),
        peak_rss_mb=None if cost.peak_rss_bytes is None else cost.peak_rss_bytes / MIB,
        upstream_busy=None if behind.cpu_s is None else behind.cpu_s / figures.wall_s,
        load_busy=figures.cpu_s / figures.wall_s,
    )


def _per_1000(cost: Cost, figures: Figures) -> float | None:
    return None if cost.cpu_s is None or not figures.answered else 1000 * cost.cpu_s / figures.answered


def order(work: Work, server: Server, pace: float) -> Order:
    """Return what the load generator is told of a work."""
    return Order(
        port=server.port,
        path=server.paths[work.operation],
        headers=dict(server.headers),
        operation=work.operation,
        expected_in_tail=server.marker,
        least_body_bytes=PICTURE_BYTES[work.answer] * 4 // 3,
        clients=work.clients,
        ramp_s=work.ramp_s,
        warm_s=work.warm_s,
        measure_s=work.measure_s * pace,
    )


def started(order: Order) -> subprocess.Popen[bytes]:
    """Start a load generator."""
    command = [sys.executable, "-m", "bench.load"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order))
    process.stdin.close()
    process.stdin = None
    return process


def finished(load: subprocess.Popen[bytes]) -> Figures:
    """Wait for a load generator and return its figures."""
    output, errors = load.communicate()
    if load.returncode:
        raise SystemExit(f"the load generator failed:\n{errors.decode()}")
    return msgspec.json.decode(output, type=Figures)
