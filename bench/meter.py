"""What a process and its children cost, as the Linux kernel counts it: run time of all threads, and the highest memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
# Written to clear_refs, this number sets the highest memory back to what is used now.
_RESET_PEAK = "5"


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time in seconds and the highest resident memory in bytes; None where the system does not tell."""

    cpu_s: float | None
    peak_rss_bytes: int | None


class Meter:
    """Measures a tree of processes from `start` to `stop`. Elsewhere than on Linux it measures nothing."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._run_ns: dict[Path, int] = {}

    def start(self) -> None:
        """Begin."""
        for process in self._processes():
            # Not every container allows it; then the peak is that of the process's whole life.
            with contextlib.suppress(OSError):
                (process / "clear_refs").write_text(_RESET_PEAK)
        self._run_ns = self._thread_run_ns()

    def stop(self) -> Cost:
        """Return the cost since the start."""
        run_ns = self._thread_run_ns()
        if not run_ns:
            return Cost(None, None)
        cpu_s = sum(now - self._run_ns.get(thread, 0) for thread, now in run_ns.items()) / 1e9
        return Cost(cpu_s, sum(map(_peak_rss_bytes, self._processes())))

    def _processes(self) -> Iterator[Path]:
        waiting = [str(self._pid)]
        while waiting:
            process = _PROC / waiting.pop()
            if process.is_dir():
                yield process
                for children in process.glob("task/*/children"):
                    waiting += children.read_text().split()

    def _thread_run_ns(self) -> dict[Path, int]:
        found = {}
        for process in self._processes():
            for schedule in process.glob("task/*/schedstat"):
                # A thread may end between the two.
                with contextlib.suppress(OSError):
                    found[schedule] = int(schedule.read_text().split()[0])
        return found


def _peak_rss_bytes(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
