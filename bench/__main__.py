"""`python -m bench`: measure, print the table, write results."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.machine import facts, filesystem
from bench.plot import draw
from bench.report import Books, Report, markdown
from bench.rounds import Sample, measure
from bench.servers import Gateway, gateway, nginx, upstream
from bench.summary import OMIXA, judge, summarise
from bench.works import WARM_UP, WORKS, Work

RESULTS = Path(__file__).with_name("results")
DEFAULT_DATA = Path(__file__).parent.parent / "build" / "bench"
# A connection from the client and one to the provider for each of a thousand requests, and some more.
OPEN_FILES = 8192
# Results of about 2,000 requests of 1 MB and 1,000 of 3 MB a round, kept until the ledger is verified, with room to spare.
DISK_BYTES_PER_ROUND = 6 * 10**9
QUICK_PACE = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return 0 when every answer was good and the ledger agrees with it."""
    options = _parse(arguments)
    works = [work for work in WORKS if not options.only or any(work.name.startswith(name) for name in options.only)]
    if not works:
        print(f"there is no such work; there are: {', '.join(work.name for work in WORKS)}", file=sys.stderr)
        return 2
    _allow_open_files()
    with _directory(options.data, rounds=options.rounds) as directory:
        report = _run(directory, works, options.rounds, QUICK_PACE if options.quick else 1.0)
    text = markdown(report)
    print(f"\n{text}")
    _write(report, text, whole=works == list(WORKS) and not options.quick)
    failed = sum(sample.load.failed for sample in report.samples)
    return 0 if report.books.right and not failed else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join(work.name for work in WORKS)
    parser = argparse.ArgumentParser(prog="python -m bench", description="Omixa beside a direct call and beside nginx.")
    parser.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured (5)")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", action="append", metavar="NAME", help=f"only works that start so: {names}")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where Omixa keeps its data")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def _allow_open_files() -> None:
    """Raise the limit that the servers inherit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def _directory(parent: Path, *, rounds: int) -> Iterator[Path]:
    """Make a directory for one run and delete it at the end. Two runs at once would only measure each other."""
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < rounds * DISK_BYTES_PER_ROUND:
        raise SystemExit(
            f"{rounds} rounds can need {rounds * DISK_BYTES_PER_ROUND / 1e9:.0f} GB of disk; --data names another"
        )
    if filesystem(parent) == "tmpfs":
        print("The data directory is in memory: what waiting for a disk costs is not measured. --data names another.")
    with (parent / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another benchmark is running here; wait for its end") from None
        with tempfile.TemporaryDirectory(prefix="run-", dir=parent) as name:
            yield Path(name)


def _run(directory: Path, works: Sequence[Work], rounds: int, pace: float) -> Report:
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(upstream(directory))
        proxy = stack.enter_context(nginx(directory, provider, keepalive=False))
        keeping = stack.enter_context(nginx(directory, provider, keepalive=True))
        if proxy is None:
            print(
                "nginx is not installed: no ratios. It is what everything is compared with; apt-get install nginx-light"
            )
        books = gateway(directory, provider)
        omixa = stack.enter_context(books.serve(directory))
        servers = [server for server in (provider, proxy, keeping, omixa) if server is not None]
        first = list(measure(WARM_UP, servers, 1, pace=1, tell=_tell))
        samples = list(measure(works, servers, rounds, pace=pace, tell=_tell))
        known = facts(directory)
    lines = summarise(samples)
    return Report(
        started=started.strftime("%Y-%m-%d %H:%M UTC"),
        rounds=rounds,
        pace=pace,
        seconds=time.monotonic() - clock,
        facts=known,
        samples=samples,
        lines=lines,
        verdicts=judge(lines),
        books=_books(books, [*first, *samples]),
    )


def _tell(line: str) -> None:
    print(line, flush=True)


def _books(closed: Gateway, samples: Sequence[Sample]) -> Books:
    print("Verifying the ledger …", flush=True)
    verified = closed.verification()
    return Books(
        answered=sum(sample.load.answered for sample in samples if sample.server == OMIXA),
        charges=closed.charges(),
        clean=verified["clean"],
        findings=[f"{finding['invariant']} {finding['subject']}" for finding in verified["findings"]][:10],
    )


def _write(report: Report, text: str, *, whole: bool) -> None:
    """Write the figures; what was measured only in part does not replace the latest report."""
    RESULTS.mkdir(exist_ok=True)
    stamp = report.started.removesuffix(" UTC").replace(" ", "-").replace(":", "")
    encoded = msgspec.json.format(msgspec.json.encode(report), indent=1)
    (RESULTS / f"{stamp}.json").write_bytes(encoded + b"\n")
    print(f"Written: bench/results/{stamp}.json{', latest.md, latest.png' if whole else ''}")
    if not whole:
        return
    (RESULTS / "latest.md").write_text(f"{text}\n![Omixa beside nginx](latest.png)\n")
    (RESULTS / "latest.png").write_bytes(draw(report.lines, report.started))


if __name__ == "__main__":
    sys.exit(main())
