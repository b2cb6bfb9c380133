"""On what the figures were measured: the machine, the file system and the versions of what took part."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.servers import nginx_program

_PACKAGES = ("omixa", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "pybase64", "starlette")


def facts(data: Path) -> dict[str, str]:
    """Return facts by name. No name of the machine and no path is among them."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": f"{_processor()}, {len(_usable_processors())} usable",
        "memory": _memory(),
        "file system of the data": f"{filesystem(data)}, {shutil.disk_usage(data).free / 1e9:.0f} GB free",
        "python": f"{platform.python_version()}, {_build_of_python()}",
        "sqlite": sqlite3.sqlite_version,
        "nginx": _nginx_version(),
        "commit": _first_line(["git", "rev-parse", "--short", "HEAD"]) or "unknown",
        **{name: version(name) for name in _PACKAGES},
    }


def _build_of_python() -> str:
    """Tell whose build runs: a distribution optimises its own by profiles, one built from source is often slower."""
    return "of the system" if sys.base_prefix == "/usr" else "of its own"


def filesystem(path: Path) -> str:
    """Return the kind of file system that a path lies on."""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    found = [line.split(" ")[1:3] for line in mounts]
    holding = [(len(point), kind) for point, kind in found if path.resolve().is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"


def _usable_processors() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"


def _nginx_version() -> str:
    program = nginx_program()
    return "not installed" if program is None else _first_line([program, "-v"]).rpartition("/")[2]


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return ((done.stdout or done.stderr).splitlines() or [""])[0] if done.returncode == 0 else ""
