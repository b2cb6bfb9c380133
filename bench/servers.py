"""The servers under test and the provider behind them: started, waited for, and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench.works import Operation, Work

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 60
CREDIT_USD = "1000000.00"
WORKSPACE = "bench"
PROVIDER_KEY = "bench-provider-key"

_PROVIDER_PATHS: Mapping[Operation, str] = MappingProxyType(
    {"generation": "/mai/v1/images/generations", "edit": "/mai/v1/images/edits", "form": "/mai/v1/images/edits"}
)
_OMIXA_PATHS: Mapping[Operation, str] = MappingProxyType(
    {
        "generation": "/api/v1/images/generations",
        "edit": "/api/v1/images/generations",
        "form": "/api/v1/images/edits",
        "illustration": "/api/v1/images/generations",
        "conversion": "/api/v1/images/generations",
    }
)
_OMIXA = Path(sys.executable).with_name("omixa")

# A reverse proxy with one worker: answers are passed on as they come, requests stay in memory instead of in the
# temporary files that nginx writes by default, which would make it an easy one to beat with a request of 4 MB.
_NGINX_CONFIG = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid nginx.pid;
error_log nginx.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_max_body_size 64m;
  client_body_buffer_size 8m;
  keepalive_requests 1000000000;
  upstream provider {{ server 127.0.0.1:{upstream_port}; {upstream_keepalive} }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://provider;
      {proxy_keepalive}
      proxy_buffering off;
    }}
  }}
}}
"""


_UPSTREAM_KEEPALIVE = "keepalive 2048; keepalive_requests 1000000000;"
_PROXY_KEEPALIVE = 'proxy_http_version 1.1; proxy_set_header Connection "";'


@dataclass(frozen=True, slots=True)
class Server:
    """One server that takes the load. `marker` is what each of its answers has near its end."""

    name: str
    pid: int
    port: int
    paths: Mapping[Operation, str]
    headers: Mapping[str, str] = field(repr=False)
    marker: str


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def upstream(directory: Path, name: str = "direct") -> Iterator[Server]:
    """Run the stand-in for the provider; as a server it is the direct way."""
    port = free_port()
    with _running([sys.executable, "-m", "bench.upstream", str(port)], port, directory / f"{name}.log") as pid:
        yield Server(name, pid, port, _PROVIDER_PATHS, {"api-key": PROVIDER_KEY}, '"num_output_tokens"')


def prepare_upstream(server: Server, work: Work) -> None:
    """Choose what the provider answers from now on, and when."""
    choose_answer(server, work.answer, work.latency_s)


def choose_answer(server: Server, answer: str, latency_s: float) -> None:
    """Choose an answer of `upstream.py`, or a fault."""
    url = f"http://127.0.0.1:{server.port}/{answer}/{latency_s}"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10) as response:
        response.read()


@contextlib.contextmanager
def nginx(directory: Path, provider: Server, *, keepalive: bool) -> Iterator[Server | None]:
    """Run nginx in front of the provider; None where it is not installed.

    By itself nginx opens a connection to the provider for every request; `keepalive` tells it to keep them.
    """
    program = nginx_program()
    if program is None:
        yield None
        return
    name = "nginx-ka" if keepalive else "nginx"
    port, home = free_port(), directory / name
    home.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    config = _NGINX_CONFIG.format(
        user=user,
        port=port,
        upstream_port=provider.port,
        upstream_keepalive=_UPSTREAM_KEEPALIVE if keepalive else "",
        proxy_keepalive=_PROXY_KEEPALIVE if keepalive else "",
    )
    (home / "nginx.conf").write_text(config)
    command = [program, "-p", str(home.resolve()), "-c", "nginx.conf", "-e", "nginx.log"]
    with _running(command, port, directory / f"{name}.log") as pid:
        yield Server(name, pid, port, provider.paths, provider.headers, provider.marker)


def nginx_program() -> str | None:
    """Return where nginx is; distributions put it where only the administrator looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


@dataclass(frozen=True, slots=True)
class Gateway:
    """Omixa's data directory and the environment that leads to it."""

    environment: Mapping[str, str] = field(repr=False)

    def command(self, *arguments: str) -> str:
        """Run an omixa command and return what it prints, also when it ends with 1."""
        done = subprocess.run([_OMIXA, *arguments], check=False, env=self.environment, capture_output=True, text=True)
        if done.returncode not in (0, 1) or not done.stdout:
            raise SystemExit(f"omixa {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def verification(self) -> dict[str, Any]:
        """Check the ledger."""
        report: dict[str, Any] = json.loads(self.command("ledger", "verify", "--json"))
        return report

    def charges(self) -> int:
        """Return how many charges the ledger has."""
        ((count,),) = self.query("SELECT count(*) FROM transfer WHERE kind = 'charge'")
        return int(count)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query, read from the ledger's file."""
        with contextlib.closing(sqlite3.connect(Path(self.environment["OMIXA_DATA_DIR"]) / "omixa.db")) as database:
            return list(database.execute(sql))

    @contextlib.contextmanager
    def serve(self, directory: Path) -> Iterator[Server]:
        """Run the gateway with billing on and credit for all that comes."""
        self.command(
            *("credits", "grant", "--workspace", WORKSPACE, "--mode", "live"),
            *("--amount", CREDIT_USD, "--reason", "benchmark"),
        )
        key = self.command("keys", "create", "--workspace", WORKSPACE, "--mode", "live")
        port = int(self.environment["OMIXA_PORT"])
        with _running([str(_OMIXA), "serve"], port, directory / "omixa.log", self.environment) as pid:
            yield Server("omixa", pid, port, _OMIXA_PATHS, {"authorization": f"Bearer {key}"}, '"billed_amount"')


def gateway(directory: Path, provider: Server) -> Gateway:
    """Return a gateway that calls the provider and keeps its data under a directory."""
    return _gateway(
        directory,
        OMIXA_FOUNDRY_ENDPOINT=f"http://127.0.0.1:{provider.port}",
        OMIXA_FOUNDRY_API_KEY=PROVIDER_KEY,
    )


def configured_gateway(directory: Path, configuration: str) -> Gateway:
    """Return a gateway with a configuration, a TOML text, that keeps its data under a directory."""
    file = directory / "omixa.toml"
    file.write_text(configuration)
    return _gateway(directory, OMIXA_CONFIG=str(file))


def _gateway(directory: Path, **options: str) -> Gateway:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMIXA_")}
    own = {"OMIXA_DATA_DIR": str(directory / "data"), "OMIXA_PORT": str(free_port())}
    return Gateway(environment | own | options)


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a server until the block ends."""
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            _wait_for(port, process, log)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=STOP_TIMEOUT_S)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} did not start:\n{log.read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} did not listen within {START_TIMEOUT_S} s:\n{log.read_text()}")
