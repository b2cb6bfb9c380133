"""The report as Markdown: one table of figures, one of targets, and what was checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bench.rounds import Sample
from bench.summary import NGINX, OMIXA, Line, Verdict, short
from bench.works import WORKS, Operation, Work

_HEADER = (
    *("work", "server", "req/s", "x nginx", "p50 ms", "p99 ms", "added p50", "added p99"),
    *("CPU s / 1000", "CPU x nginx", "peak MB", "failed"),
)
_INTRODUCTION = """\
Medians of {rounds} rounds; ratios and differences are taken within each round. The whole run took {seconds:.0f} s.
Added is the time over the direct call, in ms. CPU is the server's own processor time in seconds per 1,000 requests.
Omixa: billing on, every result on the disk before its charge, SQLite with synchronous=FULL.
nginx: one worker, proxy_buffering off, otherwise as installed, so with a connection to the provider for each request; all
ratios are to it. nginx-ka: the same with connections that are kept. Neither checks, charges or stores anything."""
_UNITS = {
    "rate_x_nginx": "req/s x nginx",
    "added_p50_ms": "added p50, ms",
    "added_p99_ms": "added p99, ms",
    "cpu_x_nginx": "CPU per request x nginx",
    "peak_rss_mb": "peak memory, MB",
    "failed": "not served",
}


class Books(msgspec.Struct, frozen=True):
    """What the ledger says after the run, beside what the clients saw."""

    answered: int
    charges: int
    clean: bool
    findings: list[str]

    @property
    def right(self) -> bool:
        """Tell whether the ledger is clean and every answer was charged once."""
        return self.clean and self.answered == self.charges


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    started: str
    rounds: int
    pace: float
    seconds: float
    facts: dict[str, str]
    samples: list[Sample]
    lines: list[Line]
    verdicts: list[Verdict]
    books: Books


def markdown(report: Report) -> str:
    """Return the report as text."""
    measured = dict.fromkeys(line.work for line in report.lines)
    works = [work for work in WORKS if work.name in measured]
    parts = [
        f"# Benchmark of {report.started}",
        _INTRODUCTION.format(rounds=report.rounds, seconds=report.seconds),
        _table(_HEADER, map(_cells, report.lines)),
        "## The work",
        "\n".join(f"- **{work.name}**: {_explained(work)}" for work in works),
        "## Targets",
        _targets(report.verdicts) if report.verdicts else "None for what was measured.",
        "## Checked",
        "\n".join(f"- {line}" for line in _checked(report)),
        "## Machine",
        ", ".join(f"{name}: {value}" for name, value in report.facts.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns line up in a terminal too; all but the first two are numbers."""
    cells = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if position < 2 else cell.rjust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = "|".join("-" * (width + 1) + ("-" if position < 2 else ":") for position, width in enumerate(widths))
    return "\n".join([line(cells[0]), f"|{rule}|", *map(line, cells[1:])])


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.work,
        line.server,
        f"{line.rate:,.0f}",
        short(line.rate_x_nginx),
        short(line.p50_ms),
        short(line.p99_ms),
        short(line.added_p50_ms),
        short(line.added_p99_ms),
        short(line.cpu_s_per_1000),
        short(line.cpu_x_nginx),
        short(line.peak_rss_mb),
        str(line.failed),
    )


_BODIES: Mapping[Operation, str] = {
    "generation": "a request of 150 bytes",
    "edit": "a request with a 4 MB reference picture",
    "form": "a form with a 4 MB picture",
}


def _explained(work: Work) -> str:
    times = f", the provider thinks for {work.latency_s:g} s" if work.latency_s else ""
    body = _BODIES[work.operation]
    sizes = {"8k": "8 KB", "1500k": "1.5 MB", "4000k": "4 MB"}
    return f"{work.clients:,} in flight, {body}, an answer of {sizes[work.answer]}{times}"


def _targets(verdicts: Sequence[Verdict]) -> str:
    header = ("work", "figure", "reached", "first stage", "", "goal", "")
    return _table(header, map(_target_cells, verdicts))


def _target_cells(verdict: Verdict) -> tuple[str, ...]:
    target = verdict.target
    sign = ">=" if target.at_least else "<="
    return (
        target.work,
        _UNITS[target.figure],
        short(verdict.value),
        *(f"{sign} {target.first_stage:g}", _word(verdict.reached(target.first_stage))),
        *(f"{sign} {target.goal:g}", _word(verdict.reached(target.goal))),
    )


def _word(reached: bool | None) -> str:
    return {True: "reached", False: "MISSED", None: "not measured"}[reached]


def _checked(report: Report) -> Iterable[str]:
    books = report.books
    sampled = sum(sample.load.sampled for sample in report.samples if sample.server == OMIXA)
    yield f"`omixa ledger verify`: {'clean' if books.clean else 'BROKEN: ' + '; '.join(books.findings)}"
    equal = "as many as" if books.answered == books.charges else "NOT as many as"
    yield f"{books.charges:,} charges, {equal} the {books.answered:,} requests that were answered"
    yield f"{sampled:,} of Omixa's answers were searched for their `billed_amount`; every answer's status and length were checked"
    for server, busiest in _busiest(report.samples).items():
        yield f"busiest while {server} was measured: provider {busiest[0]:.0%}, load generator {busiest[1]:.0%} of one processor"
    for sample in report.samples:
        for failure in sample.load.failures:
            yield f"failed, {sample.work} on {sample.server}, round {sample.round + 1}: {failure!r}"


def _busiest(samples: Sequence[Sample]) -> Mapping[str, tuple[float, float]]:
    return {
        server: (max(sample.upstream_busy or 0 for sample in own), max(sample.load_busy for sample in own))
        for server in (NGINX, OMIXA)
        if (own := [sample for sample in samples if sample.server == server])
    }
