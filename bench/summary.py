"""From samples to what is told: medians over the rounds, ratios and differences within each round, targets met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bench.rounds import Sample
from bench.works import TARGETS, Target

DIRECT, NGINX, NGINX_KEEPALIVE, OMIXA = "direct", "nginx", "nginx-ka", "omixa"


class Line(msgspec.Struct, frozen=True):
    """One work on one server. Each figure is a median of the rounds; ratios and differences are taken within a round."""

    work: str
    server: str
    rate: float
    rate_x_nginx: float | None
    p50_ms: float | None
    p99_ms: float | None
    added_p50_ms: float | None
    added_p99_ms: float | None
    cpu_s_per_1000: float | None
    cpu_x_nginx: float | None
    peak_rss_mb: float | None
    failed: int
    rate_x_nginx_range: tuple[float, float] | None
    cpu_x_nginx_range: tuple[float, float] | None


class Verdict(msgspec.Struct, frozen=True):
    """A target and what was reached; `value` is None where it could not be measured."""

    target: Target
    value: float | None

    def reached(self, limit: float) -> bool | None:
        """Tell whether a limit is reached."""
        return None if self.value is None else self.target.reached(self.value, limit)


def summarise(samples: Sequence[Sample]) -> list[Line]:
    """Return one line for each work and server, in the order of the first round."""
    by_key = {(sample.work, sample.server, sample.round): sample for sample in samples}
    works = list(dict.fromkeys(sample.work for sample in samples))
    servers = sorted({sample.server for sample in samples}, key=(DIRECT, NGINX, NGINX_KEEPALIVE, OMIXA).index)
    return [_line(by_key, work, server) for work in works for server in servers]


def _line(by_key: Mapping[tuple[str, str, int], Sample], work: str, server: str) -> Line:
    own = [sample for (of, by, _), sample in by_key.items() if (of, by) == (work, server)]

    def beside(other: str) -> list[tuple[Sample, Sample]]:
        return [(sample, by_key[work, other, sample.round]) for sample in own if (work, other, sample.round) in by_key]

    rates = _known(_ratio(mine.load.rate, theirs.load.rate) for mine, theirs in beside(NGINX))
    cpu = _known(_ratio(mine.cpu_s_per_1000, theirs.cpu_s_per_1000) for mine, theirs in beside(NGINX))
    direct = [] if server == DIRECT else beside(DIRECT)
    return Line(
        work=work,
        server=server,
        rate=statistics.median(sample.load.rate for sample in own),
        rate_x_nginx=_median(rates),
        p50_ms=_median(sample.load.p50_ms for sample in own),
        p99_ms=_median(sample.load.p99_ms for sample in own),
        added_p50_ms=_median(_difference(mine.load.p50_ms, theirs.load.p50_ms) for mine, theirs in direct),
        added_p99_ms=_median(_difference(mine.load.p99_ms, theirs.load.p99_ms) for mine, theirs in direct),
        cpu_s_per_1000=_median(sample.cpu_s_per_1000 for sample in own),
        cpu_x_nginx=_median(cpu),
        peak_rss_mb=_median(sample.peak_rss_mb for sample in own),
        failed=sum(sample.load.failed for sample in own),
        rate_x_nginx_range=(min(rates), max(rates)) if rates else None,
        cpu_x_nginx_range=(min(cpu), max(cpu)) if cpu else None,
    )


def _ratio(mine: float | None, theirs: float | None) -> float | None:
    return mine / theirs if mine is not None and theirs else None


def _difference(mine: float | None, theirs: float | None) -> float | None:
    return mine - theirs if mine is not None and theirs is not None else None


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _median(values: Iterable[float | None]) -> float | None:
    known = _known(values)
    return statistics.median(known) if known else None


def judge(lines: Sequence[Line]) -> list[Verdict]:
    """Return every target for the work that was measured, with what Omixa reached."""
    omixa = {line.work: line for line in lines if line.server == OMIXA}
    return [Verdict(target, getattr(omixa[target.work], target.figure)) for target in TARGETS if target.work in omixa]


def short(value: float | None) -> str:
    """Return a figure with about three digits."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 or value == 0 else f"{value:.1f}" if size >= 10 else f"{value:.3g}"
