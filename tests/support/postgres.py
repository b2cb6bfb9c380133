"""A real PostgreSQL for tests: a temporary cluster on loopback with its syncs on, and databases in it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from omixa.storage.postgres import PostgresBackend

# Debian keeps the server's programs here, outside of PATH.
_DEBIAN = Path("/usr/lib/postgresql")
_TIMEOUT_S = 60
_ROOM_BYTES = 2 << 30
_USER = "omixa"
_EMPTY = "omixa_empty"


def find_programs() -> Path | None:
    """Return the directory of the newest PostgreSQL server's programs, or None where there is none."""
    versions = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if versions:
        return versions[-1].parent
    found = shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


@dataclass
class Cluster:
    """A server with its data in a temporary directory. `settings` are options of its command line."""

    programs: Path
    directory: Path
    port: int
    settings: Sequence[str] = ()
    _names: Iterator[int] = field(default_factory=itertools.count)

    def address(self, database: str, port: int | None = None) -> str:
        """Return the address of a database; `port` may be that of a relay before the server."""
        return f"postgresql://{_USER}@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def start(self, *settings: str) -> None:
        """Start the server and wait until it answers."""
        options = [f"-p {self.port} -h 127.0.0.1 -k {self.directory}", *(f"-c {one}" for one in settings)]
        log = str(self.directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", log, "-o", " ".join(options), "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop the server; "immediate" is what a power cut leaves, but for the disk's cache."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", how, "stop")

    def create(self) -> None:
        """Make the cluster."""
        self.directory.chmod(0o755)
        if os.geteuid() == 0:
            # initdb refuses to run as root.
            shutil.chown(self.directory, "postgres")
        self._run("initdb", "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--locale=C")

    def execute(self, sql: str, database: str = "postgres") -> list[dict[str, Any]]:
        """Run a statement as the cluster's owner and return its rows."""

        async def run() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.address(database))
            try:
                return [dict(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(run())

    @contextlib.contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Give the name of a new database, with all tables unless it is to be `empty`; it is dropped afterwards."""
        name = f"test_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {'template1' if empty else _EMPTY} STRATEGY file_copy")
        try:
            yield name
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def make_template(self) -> None:
        """Migrate one database, of which those for tests are copies."""
        self.execute(f"CREATE DATABASE {_EMPTY}")
        PostgresBackend(self.address(_EMPTY)).migrate()

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            cwd=self.directory,
            user="postgres" if os.geteuid() == 0 else None,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
        )


def why_not() -> str | None:
    """Return why no PostgreSQL can run here, or None."""
    if find_programs() is None:
        return "PostgreSQL's server is not installed (Debian: apt install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "PostgreSQL does not run as root, and there is no user postgres"
    return None


@contextlib.contextmanager
def running_cluster(*, in_memory: bool = True) -> Iterator[Cluster]:
    """Run a cluster until the block ends; its data is in memory where there is room, unless syncs are to cost what they cost."""
    programs = find_programs()
    assert programs is not None
    # A short path: a Unix socket's address has little room. Not below pytest's directory, which other users cannot enter.
    with tempfile.TemporaryDirectory(prefix="omixa-pg-", dir=fast_directory() if in_memory else None) as directory:
        cluster = Cluster(programs, Path(directory), _free_port())
        cluster.create()
        cluster.start()
        try:
            cluster.make_template()
            yield cluster
        finally:
            cluster.stop()


def fast_directory() -> Path | None:
    """Return a directory in memory where there is room: nothing here cuts the power, and every test makes a database."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    return memory if roomy else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
