"""The commands `omixa serve` and `omixa simulate foundry` as processes of their own, which a test may kill."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from omixa.billing.verify import Finding, verify
from omixa.config import SQLITE, DatabaseAddress, Settings
from omixa.services import BackOffice, open_back_office
from tests.support.servers import SIMULATOR_API_KEY, Simulator

_LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
_EXIT_TIMEOUT_S = 30
# As on a full disk, but for one process: writing further fails with EFBIG.
_WITH_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
from omixa.cli import main
main()
"""


class Process(Protocol):
    """What a test does with a process."""

    @property
    def pid(self) -> int: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    def wait(self, timeout: float | None = None, /) -> int: ...


@dataclass
class ServerProcess:
    """A server in a process. `lines` is what it has written to standard error so far."""

    process: Process
    port: int
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def kill(self) -> None:
        """Kill it as kill -9 does."""
        self.process.kill()
        self.process.wait()

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        return self.process.wait(_EXIT_TIMEOUT_S)

    def peak_memory_bytes(self) -> int:
        """Return the largest resident size so far, as Linux tells it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a server: with these variables, and no other option of this process's own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OMIXA_")} | variables


@contextlib.contextmanager
def _server(command: Sequence[str], variables: dict[str, str]) -> Iterator[ServerProcess]:
    process = subprocess.Popen(
        [sys.executable, *command], env=environment(variables), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    with process.stderr, listening(process, process.stderr) as server:
        yield server


@contextlib.contextmanager
def listening(process: Process, told: TextIO) -> Iterator[ServerProcess]:
    """Wait until a server listens, which it tells on its standard error; it has ended afterwards."""
    server = ServerProcess(process, 0)
    try:
        for line in told:
            server.lines.append(line)
            if match := _LISTENS.search(line):
                server.port = int(match[1])
                break
        assert server.port, server.log
        reading = threading.Thread(target=server.lines.extend, args=(told,))
        reading.start()
        yield server
    finally:
        process.terminate()
        process.wait(_EXIT_TIMEOUT_S)
        if server.port:
            reading.join()


@contextlib.contextmanager
def serving(
    data_dir: Path, provider_url: str, *, database: str = SQLITE, max_file_bytes: int | None = None
) -> Iterator[ServerProcess]:
    """Run `omixa serve` with live keys on a provider. No file may grow beyond `max_file_bytes`."""
    program = ("-m", "omixa") if max_file_bytes is None else ("-c", _WITH_LIMIT.format(max_file_bytes))
    with _server((*program, *serve_arguments(data_dir)), serve_variables(provider_url, database)) as server:
        yield server


def serve_arguments(data_dir: Path) -> tuple[str, ...]:
    """Return the arguments of a server over a data directory."""
    return "serve", "--port", "0", "--data", str(data_dir)


def serve_variables(provider_url: str, database: str = SQLITE) -> dict[str, str]:
    """Return the environment of a server with live keys on a provider."""
    return {
        "OMIXA_DATABASE": database,
        "OMIXA_FOUNDRY_ENDPOINT": provider_url,
        "OMIXA_FOUNDRY_API_KEY": SIMULATOR_API_KEY,
        "OMIXA_SHUTDOWN_GRACE_S": "5",
    }


@contextlib.contextmanager
def simulating() -> Iterator[Simulator]:
    """Run `omixa simulate foundry`."""
    with _server(("-m", "omixa", "simulate", "foundry", "--port", "0", "--api-key", SIMULATOR_API_KEY), {}) as server:
        yield Simulator(port=server.port)


def open_account(data_dir: Path, credit_micro_usd: int, *, workspace: str = "default", database: str = SQLITE) -> str:
    """Create a live key with credit in a workspace of a data directory, also beside running servers."""

    async def work(office: BackOffice) -> str:
        if credit_micro_usd:
            await office.workspaces.grant(
                workspace=workspace, mode="live", amount_micro_usd=credit_micro_usd, reason="test", actor="test"
            )
        _, secret = await office.workspaces.create_key(
            workspace=workspace, mode="live", name="", models=None, actor="test"
        )
        return secret.reveal()

    async def main() -> str:
        async with open_back_office(_settings(data_dir, database)) as office:
            return await work(office)

    return asyncio.run(main())


def _settings(data_dir: Path, database: str) -> Settings:
    return Settings(data_dir=str(data_dir), database=DatabaseAddress(database))


def findings(data_dir: Path, *, database: str = SQLITE) -> tuple[Finding, ...]:
    """Return what is wrong with the ledger of a data directory, also beside a running server."""

    async def main() -> tuple[Finding, ...]:
        async with open_back_office(_settings(data_dir, database)) as office:
            found = await office.database.read(lambda tx: verify(tx, result_exists=office.blobs.has))
            return found.findings

    return asyncio.run(main())


def run_omixa(*arguments: str, data_dir: Path, database: str = SQLITE) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "omixa", "--data", str(data_dir), *arguments],
        env=environment({"OMIXA_DATABASE": database}),
        capture_output=True,
        text=True,
        check=False,
    )
