"""Everything that lives as long as the server: opened in order from the settings, closed in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import logging
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omixa.access.keys import PEPPER_BYTES, generate_pepper
from omixa.billing.prices import publish_prices
from omixa.catalogue.loader import Catalogue, CatalogueError, load_catalogue
from omixa.config import ConfigError, Settings
from omixa.domain.access import Secret
from omixa.domain.models import Deployment
from omixa.errors import PublishedPriceChanged, StorageUnavailable
from omixa.gateway.attempts import Attempts
from omixa.gateway.finishing import Finisher
from omixa.gateway.pipeline import Pipeline
from omixa.gateway.run import Runs
from omixa.gateway.settlement import Settlement
from omixa.gateway.workspaces import Workspaces
from omixa.jobs.sweeper import Sweeper
from omixa.limits import ByteBudget
from omixa.providers.base import Provider
from omixa.providers.foundry import FoundryProvider
from omixa.routing.router import Router
from omixa.storage.blobs import BlobStore, sync_directory
from omixa.storage.database import Database
from omixa.storage.sqlite import SqliteBackend
from omixa.tokens import Tokenizer

if TYPE_CHECKING:
    from omixa.providers.transport import AsgiApp

log = logging.getLogger(__name__)

SIMULATOR_ENDPOINT = "simulator://foundry"
# The simulator inside the process is reachable from nowhere else, so its key protects nothing.
SIMULATOR_KEY = "in-process"
_DIRECTORY_MODE = 0o700
_SECRET_FILE_MODE = 0o600


class FailStop:
    """Ends admission for good when the disk or the database is in doubt; the process then stops and recovers by starting anew."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._loop = asyncio.get_running_loop()
        self._failed = asyncio.Event()

    def fail(self, reason: str) -> None:
        """Stop for this reason. May be called from any thread; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            log.critical("process.failed", extra={"reason": reason})
            self._loop.call_soon_threadsafe(self._failed.set)

    def check(self) -> None:
        """Raise StorageUnavailable after a failure: whatever starts now could not be charged."""
        if self.reason is not None:
            raise StorageUnavailable(
                "Omixa is stopping after a fault of its disk. Nothing was charged.", retry_after_s=5
            )

    async def wait(self) -> str:
        """Wait for a failure and return its reason."""
        await self._failed.wait()
        assert self.reason is not None
        return self.reason


@dataclass(frozen=True, slots=True)
class BackOffice:
    """What the command line needs: the database, the results, the catalogue, and the operations on workspaces."""

    settings: Settings
    catalogue: Catalogue
    database: Database
    blobs: BlobStore
    workspaces: Workspaces
    fail_stop: FailStop


@dataclass(frozen=True, slots=True)
class Services(BackOffice):
    """What a server needs besides."""

    tokenizer: Tokenizer
    router: Router
    runs: Runs
    pipeline: Pipeline
    sweeper: Sweeper
    body_bytes: ByteBudget


@asynccontextmanager
async def open_back_office(settings: Settings) -> AsyncIterator[BackOffice]:
    """Open the database and what works on it alone. Several processes may do so at the same time."""
    settings.data_path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    fail_stop = FailStop()
    catalogue = open_catalogue(settings)
    database = Database(SqliteBackend(settings.data_path / "omixa.db"), on_fatal=fail_stop.fail)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, database.close)
        await asyncio.to_thread(database.open)
        blobs = BlobStore(settings.data_path / "results", on_fatal=fail_stop.fail)
        stack.push_async_callback(asyncio.to_thread, blobs.close)
        workspaces = Workspaces(database, settings.key_pepper or _pepper(settings.data_path / "pepper"))
        await workspaces.prepare()
        try:
            await database.write(lambda tx: publish_prices(tx, catalogue.models.values()))
        except PublishedPriceChanged as error:
            raise ConfigError(f"catalogue: {error.message}") from error
        yield BackOffice(settings, catalogue, database, blobs, workspaces, fail_stop)


@asynccontextmanager
async def open_services(settings: Settings, simulator: AsgiApp, tokenizer: Tokenizer) -> AsyncIterator[Services]:
    """Open all that a server needs. `simulator` paints for test keys, inside this process; `tokenizer` is shared with it.

    Raises ConfigError when another server uses the data directory.
    """
    # Here, because the command line opens a back office alone and should not wait for an HTTP client.
    from omixa.providers.transport import HttpTransport, InProcessTransport

    settings.data_path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    with _only_server(settings.data_path):
        async with AsyncExitStack() as stack:
            office = await stack.enter_async_context(open_back_office(settings))
            await asyncio.to_thread(tokenizer.load)
            http = await stack.enter_async_context(HttpTransport())
            finisher = Finisher(settings.codec_threads)
            stack.push_async_callback(asyncio.to_thread, finisher.close)
            sweeper = Sweeper(office.database, office.blobs, node_id=socket.gethostname())
            node = await sweeper.recover()
            settlement = Settlement(office.database, node)
            providers: Mapping[str, Provider] = {"foundry": FoundryProvider(http, InProcessTransport(simulator))}
            pipeline = Pipeline(
                router=Router(_deployments(settings, office.catalogue)),
                attempts=Attempts(
                    catalogue=office.catalogue,
                    providers=providers,
                    settlement=settlement,
                    finish=finisher.finish,
                ),
                settlement=settlement,
                blobs=office.blobs,
                deadline_s=settings.run_deadline_s,
                retention_ms=settings.result_retention_hours * 3_600_000,
            )
            await stack.enter_async_context(sweeper)
            runs = Runs(settings.max_requests_in_flight)
            stack.push_async_callback(runs.drain, settings.shutdown_grace_s)
            yield Services(
                settings=settings,
                catalogue=office.catalogue,
                database=office.database,
                blobs=office.blobs,
                workspaces=office.workspaces,
                fail_stop=office.fail_stop,
                tokenizer=tokenizer,
                router=pipeline.router,
                runs=runs,
                pipeline=pipeline,
                sweeper=sweeper,
                body_bytes=ByteBudget(settings.max_body_bytes_in_flight),
            )


def open_catalogue(settings: Settings) -> Catalogue:
    """Return the configured catalogue. Raises ConfigError when one of its files is wrong."""
    try:
        return load_catalogue(Path(settings.catalogue_dir) if settings.catalogue_dir else None)
    except (CatalogueError, OSError) as error:
        raise ConfigError(f"catalogue: {error}") from error


def _deployments(settings: Settings, catalogue: Catalogue) -> list[Deployment]:
    """Return the simulator for test keys and, where one is configured, Foundry for live keys."""
    deployments = []
    for _, model in sorted(catalogue.models.items()):
        simulated = Deployment(
            id=f"simulator/{model.id}",
            provider="foundry",
            model=model.id,
            endpoint=SIMULATOR_ENDPOINT,
            deployment_name=model.id,
            api_key=Secret(SIMULATOR_KEY),
            bearer_token=None,
            modes=frozenset({"test"}),
        )
        deployments.append(simulated)
        if settings.foundry.endpoint:
            real = dataclasses.replace(
                simulated,
                id=f"foundry/{model.id}",
                endpoint=settings.foundry.endpoint.rstrip("/"),
                deployment_name=settings.foundry.deployment or model.id,
                api_key=settings.foundry.api_key,
                bearer_token=settings.foundry.bearer_token,
                modes=frozenset({"live"}),
            )
            deployments.append(real)
    return deployments


def _pepper(path: Path) -> Secret:
    """Return the pepper of the data directory; the first process creates it, durably, before any key depends on it."""
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".pepper-") as file:
            file.write(generate_pepper().reveal())
            file.flush()
            os.fsync(file.fileno())
            # A link fails where the name is taken, so that of two first processes only one decides.
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
        sync_directory(path.parent)
    text = path.read_text().strip()
    if len(text) != 2 * PEPPER_BYTES:
        raise ConfigError(
            f"{path.name} in the data directory is damaged: it must hold {2 * PEPPER_BYTES} hexadecimal digits"
        )
    return Secret(text)


@contextmanager
def _only_server(directory: Path) -> Iterator[None]:
    """Hold the data directory for this server. Raises ConfigError when another one has it."""
    descriptor = os.open(directory / "serve.lock", os.O_RDWR | os.O_CREAT, _SECRET_FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ConfigError(
            f"another server is using the data directory {directory}; stop it or choose another --data"
        ) from error
    finally:
        os.close(descriptor)
