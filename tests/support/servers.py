"""Real servers on loopback for tests: the gateway and a simulated Foundry, each on an event loop of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2 as httpx
import msgspec
import uvloop
from starlette.types import ASGIApp

from omixa.app import create_app
from omixa.config import FoundrySettings, Settings
from omixa.domain.access import Mode, Secret
from omixa.engines.workers import Workers
from omixa.server import listen, make_server
from omixa.services import SIMULATOR_KEY, Services, open_services
from omixa.simulator.foundry import FoundrySimulatorOptions
from omixa.simulator.foundry import create_app as create_simulator
from omixa.simulator.inside import simulators
from omixa.storage.database import Operation
from omixa.tokens import Tokenizer

T = TypeVar("T")
SIMULATOR_API_KEY = "simulator-key"


@functools.cache
def workers() -> Workers:
    """Return the workers that all simulators of a test run share; they end with the process."""
    return Workers()


@functools.cache
def tokenizer() -> Tokenizer:
    """Return the tokenizer that all servers of a test run share."""
    return Tokenizer()


class LoopThread:
    """An event loop in a thread. `serve` runs there until `stop`."""

    def __init__(self, serve: Callable[[LoopThread], Coroutine[Any, Any, None]]) -> None:
        self._serve = serve
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        if self.loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def ready(self) -> None:
        self._ready.set()

    async def stopped(self) -> None:
        assert self._stop is not None
        await self._stop.wait()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result."""
        assert self.loop is not None
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(timeout=60)

    def _main(self) -> None:
        async def main() -> None:
            self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await self._serve(self)

        try:
            uvloop.run(main())
        except BaseException as error:  # noqa: BLE001 - told to whoever started the thread
            self._error = error
        finally:
            self._ready.set()


async def _serve_until_stopped(thread: LoopThread, app: ASGIApp, port_of: Callable[[int], None]) -> None:
    with listen("127.0.0.1", 0) as listener:
        port_of(listener.getsockname()[1])
        server = make_server(app, header_timeout_s=5, grace_s=2, on_ready=thread.ready)

        async def stop() -> None:
            await thread.stopped()
            server.should_exit = True

        stopping = asyncio.create_task(stop())
        await server.serve(sockets=[listener])
        stopping.cancel()


@dataclass
class Simulator:
    """A simulated Foundry that listens."""

    port: int = 0
    options: FoundrySimulatorOptions = field(default_factory=lambda: FoundrySimulatorOptions(api_key=SIMULATOR_API_KEY))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, scenario: str) -> None:
        """Set what the next requests meet."""
        with self._client() as client:
            client.put("/simulator/scenario", content=scenario).raise_for_status()

    def log(self) -> list[dict[str, Any]]:
        """Return the provider's own log."""
        with self._client() as client:
            entries: list[dict[str, Any]] = client.get("/simulator/requests").raise_for_status().json()["requests"]
        return entries

    def paint(self, **fields: Any) -> str:
        """Return the picture that a generation brings, in base64."""
        with self._client() as client:
            answer = client.post("/mai/v1/images/generations", json=fields).raise_for_status()
        return str(answer.json()["data"][0]["b64_json"])

    def _client(self) -> httpx.Client:
        headers = {"api-key": SIMULATOR_API_KEY}
        # Without certificates, which cost a tenth of a second to load and which loopback has no use for.
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=False)


@contextlib.contextmanager
def running_simulator(**options: Any) -> Iterator[Simulator]:
    """Run a simulated Foundry."""
    simulator = Simulator(options=FoundrySimulatorOptions(api_key=SIMULATOR_API_KEY, **options))

    async def serve(thread: LoopThread) -> None:
        await _serve_until_stopped(
            thread,
            create_simulator(simulator.options, workers(), tokenizer=tokenizer()),
            lambda port: setattr(simulator, "port", port),
        )

    with LoopThread(serve):
        yield simulator


@contextlib.contextmanager
def running_app(app: ASGIApp) -> Iterator[str]:
    """Serve an application and give its address."""
    port = 0

    def listening(on: int) -> None:
        nonlocal port
        port = on

    with LoopThread(lambda thread: _serve_until_stopped(thread, app, listening)):
        yield f"http://127.0.0.1:{port}"


@dataclass
class Gateway:
    """A gateway that listens. `services` may only be touched through `call`."""

    settings: Settings
    workers: Workers
    port: int = 0
    services: Services | None = None
    thread: LoopThread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.url}/api/v1"

    def call(self, work: Callable[[Services], Awaitable[T]]) -> T:
        """Do something with the services on their own loop."""

        async def run() -> T:
            assert self.services is not None
            return await work(self.services)

        assert self.thread is not None
        return self.thread.call(run())

    def write(self, operation: Operation[T]) -> T:
        """Change the ledger behind the back of its rooms."""
        return self.call(lambda services: services.database.write(operation))

    def read(self, operation: Operation[T]) -> T:
        """Look into the ledger."""
        return self.call(lambda services: services.database.read(operation))

    def key(self, mode: Mode, workspace: str = "default", models: list[str] | None = None) -> str:
        """Create a key."""

        async def create(services: Services) -> str:
            _, secret = await services.workspaces.create_key(
                workspace=workspace, mode=mode, name="", models=models, actor="test"
            )
            return secret.reveal()

        return self.call(create)

    def grant(self, amount_micro_usd: int, mode: Mode = "live", workspace: str = "default") -> None:
        """Add credit."""
        self.call(
            lambda services: services.workspaces.grant(
                workspace=workspace, mode=mode, amount_micro_usd=amount_micro_usd, reason="test", actor="test"
            )
        )

    def forget_faults(self) -> None:
        """Use every deployment again, whatever it did."""

        async def enable(services: Services) -> None:
            for deployment in services.router.deployments:
                services.router.enable(deployment.id)

        self.call(enable)

    def client(self, key: str | None) -> httpx.Client:
        """Return an HTTP client that sends a key."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False, verify=False)


def _unchanged(services: Services) -> Services:
    return services


@contextlib.contextmanager
def running_gateway(
    data_dir: Path,
    simulator: Simulator | None = None,
    *,
    adapt: Callable[[Services], Services] = _unchanged,
    own_workers: Workers | None = None,
    **settings: Any,
) -> Iterator[Gateway]:
    """Run a gateway; its live keys use the simulated Foundry when one is given. `adapt` may replace some of its parts.

    Its pictures are painted by `own_workers`, or else by those that all servers share.
    """
    foundry = (
        FoundrySettings()
        if simulator is None
        else FoundrySettings(endpoint=simulator.url, api_key=Secret(SIMULATOR_API_KEY))
    )
    base = Settings(data_dir=str(data_dir), foundry=foundry)
    gateway = Gateway(msgspec.structs.replace(base, **settings), own_workers or workers())
    in_process = simulators(gateway.workers, tokenizer(), api_key=SIMULATOR_KEY)

    async def serve(thread: LoopThread) -> None:
        async with open_services(gateway.settings, in_process, tokenizer(), gateway.workers) as services:
            gateway.services = adapt(services)
            await _serve_until_stopped(
                thread, create_app(gateway.services), lambda port: setattr(gateway, "port", port)
            )

    with LoopThread(serve) as thread:
        gateway.thread = thread
        yield gateway
