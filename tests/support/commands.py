"""Real commands in processes of their own, in an environment that holds nothing but what a test gives them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx

_LISTENS = re.compile(r"listens on (http://127\.0\.0\.1:\d+)")
_TIMEOUT_S = 60
OMIXA = Path(sys.executable).with_name("omixa")


@dataclass
class Server:
    """A command that listens. `lines` is what it has written to standard error so far, all of it after `stop`."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str]
    reading: threading.Thread

    def __post_init__(self) -> None:
        self.reading.start()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, key: str | None) -> httpx.Client:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=False)

    def stop(self) -> int:
        """Ask it to end as a supervisor does, wait, and return the exit code."""
        self.process.terminate()
        code = self.process.wait(_TIMEOUT_S)
        self.reading.join()
        return code

    def peak_bytes(self) -> int:
        """Return the most memory it has ever had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


@dataclass
class Omixa:
    """The command `omixa` in a directory, with its own variables."""

    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    executable: Path = OMIXA

    def with_variables(self, **variables: str) -> Omixa:
        return Omixa(self.directory, {**self.variables, **variables}, self.executable)

    def run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever that is, with what is typed into it."""
        return subprocess.run(
            [self.executable, *arguments],
            cwd=self.directory,
            env=self._environment(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        """Run a command that must succeed without a word on standard error; return what it prints."""
        done = self.run(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.rstrip("\n")

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))

    def price_lists(self, model: str) -> list[dict[str, Any]]:
        """Return what `prices list` tells of one model."""
        return [prices for prices in self.json("prices", "list") if prices["model"] == model]

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[Server]:
        """Run a command that listens, until the block ends."""
        process = subprocess.Popen(
            [self.executable, *arguments],
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stderr is not None
            lines: list[str] = []
            reading = threading.Thread(target=lines.extend, args=(process.stderr,))
            try:
                yield Server(process, _address(process.stderr, lines), lines, reading)
            finally:
                process.kill()
                if reading.ident is not None:
                    reading.join()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | dict(self.variables)


def _address(output: Iterable[str], lines: list[str]) -> str:
    """Read until the server says where it listens."""
    for line in output:
        lines.append(line)
        if match := _LISTENS.search(line):
            return match[1]
    raise AssertionError(f"it did not start: {''.join(lines)}")
