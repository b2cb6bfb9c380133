"""The full proof: every share of every part, a few at a time, going on where an earlier run of the same sources stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.proof import report
from tests.proof.part import RESULT, Part
from tests.proof.parts import PARTS

# Shares at a time: one more than the processors it is made for, because many wait for the disk, for servers or for a death.
LANES = 3
LINES_OF_A_FAILURE = 60
# A share that is told to end may take so long to stop its servers.
SECONDS_TO_END = 60


@dataclass(frozen=True)
class Share:
    """What one process does of a part."""

    part: Part
    number: int
    size: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.part.name}/{self.number}"

    @property
    def arguments(self) -> list[str]:
        return [self.part.name, "--size", str(self.size), "--seed", str(self.seed)]


class ShareFailed(Exception):
    """A share did not pass. The message has its output and how to run it again."""


class State:
    """What is proved of these sources so far, in one file that is replaced after every share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        if path.exists():
            self._values: dict[str, Any] = json.loads(path.read_text())
        else:
            self._values = {"seed": random.SystemRandom().randrange(2**32), "seconds": 0.0, "shares": {}}

    @property
    def seed(self) -> int:
        return int(self._values["seed"])

    @property
    def seconds(self) -> float:
        """Return how long all runs have taken together."""
        return float(self._values["seconds"])

    def done(self, share: Share) -> dict[str, Any] | None:
        """Return the figures and the duration of a share that has passed, or None."""
        found: dict[str, Any] | None = self._values["shares"].get(share.key)
        return found

    def keep(self, share: Share, figures: dict[str, int], seconds: float) -> None:
        """Note that a share has passed."""
        with self._lock:
            self._values["shares"][share.key] = {"seed": share.seed, "seconds": round(seconds, 1), "figures": figures}
            self._write()

    def add_seconds(self, seconds: float) -> None:
        """Note how long this run has taken."""
        with self._lock:
            self._values["seconds"] += seconds
            self._write()

    def _write(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps(self._values, indent=1))
        beside.replace(self._path)


class FullRun:
    """Runs what is not proved yet, shows how far it is, and writes docs/proof.md when everything is.

    `scale` divides all sizes: such a run proves less and writes no page, but tells how long a full one takes.
    """

    def __init__(self, root: Path, *, scale: int = 1) -> None:
        self._root = root
        self._scale = scale
        self._parts = [part for part in PARTS if part.why_not() is None]
        self._left_out = [part for part in PARTS if part not in self._parts]
        name = f"{commit(root)}-{digest_of_sources(root)}" + (f"-{scale}" if scale > 1 else "")
        self._state = State(root / "build/proof" / f"{name}.json")
        self._running: set[subprocess.Popen[str]] = set()

    def run(self) -> int:
        """Run to the end and return the exit code."""
        for part in self._left_out:
            print(f"left out: {part.name}: {part.why_not()}")
        shares = [share for part in self._parts for share in self._shares(part)]
        pending = interleaved([share for share in shares if self._state.done(share) is None])
        print(f"seed {self._state.seed}; {len(shares) - len(pending)} of {len(shares)} shares are proved already")
        with self._counting_seconds():
            try:
                failed = self._run_all(shares, pending)
            except KeyboardInterrupt:
                print("\ninterrupted; the next run goes on here")
                return 130
        if failed:
            print(f"{failed} of {len(shares)} shares FAILED; the next run tries them again")
            return 1
        self._tell(shares)
        return 0

    def _shares(self, part: Part) -> Iterator[Share]:
        """Give the shares of a part; their seeds follow from that of the run."""
        sizes = part.shares()
        if self._scale > 1:
            total = max(part.size // self._scale, 1)
            sizes = [min(part.share, total)] * max(total // part.share, 1)
        for number, size in enumerate(sizes):
            yield Share(part, number, size, random.Random(f"{self._state.seed}/{part.name}/{number}").getrandbits(32))

    def _run_all(self, shares: Sequence[Share], pending: Sequence[Share]) -> int:
        """Run what is pending to its end, whatever fails, and return how many shares did not pass."""
        began = time.monotonic()
        done, failed = len(shares) - len(pending), 0
        with ThreadPoolExecutor(LANES) as lanes:
            running: set[Future[Share]] = {lanes.submit(self._run_share, share) for share in pending}
            try:
                while running:
                    ended, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        try:
                            share = future.result()
                        except ShareFailed as failure:
                            failed += 1
                            print(failure, flush=True)
                            continue
                        done += 1
                        print(self._line(share, done, len(shares), time.monotonic() - began), flush=True)
            except BaseException:
                lanes.shutdown(wait=False, cancel_futures=True)
                self._end_running()
                raise
        return failed

    def _line(self, share: Share, done: int, of: int, elapsed_s: float) -> str:
        entry = self._state.done(share)
        assert entry is not None
        figures = ", ".join(f"{value:,} {name}" for name, value in entry["figures"].items())
        share_of = f"{share.key}: {entry['seconds']:.0f} s, {figures}"
        return f"[{done * 100 // of:3}%] {elapsed_s // 60:3.0f} min  {share_of}"

    def _run_share(self, share: Share) -> Share:
        began = time.monotonic()
        # A group of its own, so that Ctrl-C meets this process first, which then ends its children.
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.proof", *share.arguments],
            cwd=self._root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._running.add(process)
        output, _ = process.communicate()
        self._running.discard(process)
        lines = output.splitlines()
        if process.returncode or not lines or not lines[-1].startswith(RESULT):
            told = "\n".join(lines[-LINES_OF_A_FAILURE:])
            again = f"python -m tests.proof {' '.join(share.arguments)}"
            raise ShareFailed(f"{told}\n\nFAILED: {share.key}. To run it again: {again}")
        self._state.keep(share, json.loads(lines[-1].removeprefix(RESULT)), time.monotonic() - began)
        return share

    def _end_running(self) -> None:
        """End the shares in progress; each stops the servers that it has started, unless that takes too long."""
        running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGINT)
        for process in running:
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _counting_seconds(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._state.add_seconds(time.monotonic() - began)

    def _tell(self, shares: Sequence[Share]) -> None:
        told = [(share, self._state.done(share) or {}) for share in shares]
        rows = [
            report.Row.of(part, [(share.size, entry) for share, entry in told if share.part is part])
            for part in self._parts
        ]
        page = report.page(rows, self._left_out, self._state.seed, self._state.seconds, self._root)
        if self._scale == 1 and not self._left_out:
            (self._root / "docs/proof.md").write_text(page, encoding="utf-8")
            print("everything is proved; docs/proof.md tells it")
        else:
            print(page)


def interleaved(shares: Sequence[Share]) -> list[Share]:
    """Return the shares so that all parts advance alike.

    Some parts compute and others wait for disks and servers: side by side they use the processors that either would leave idle.
    """
    numbers = Counter(share.part.name for share in shares)
    begun: Counter[str] = Counter()
    places: list[tuple[float, Share]] = []
    for share in shares:
        places.append((begun[share.part.name] / numbers[share.part.name], share))
        begun[share.part.name] += 1
    return [share for _, share in sorted(places, key=lambda place: place[0])]


def commit(root: Path) -> str:
    """Return the commit of the sources, as far as git knows one."""
    done = subprocess.run(
        ["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "no-commit"


def digest_of_sources(root: Path) -> str:
    """Return a digest of all that is proved and proves: another one is another proof."""
    digest = hashlib.sha256()
    for path in sorted(path for name in ("src", "tests") for path in (root / name).rglob("*") if path.is_file()):
        if "__pycache__" not in path.parts:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
