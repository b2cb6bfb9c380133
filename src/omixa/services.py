"""Everything that lives as long as the server: opened in order from the settings, closed in reverse."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import importlib.util
import logging
import os
import socket
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omixa.access.envelopes import MasterKey, generate_master_key
from omixa.access.keys import PEPPER_BYTES, generate_pepper
from omixa.access.links import LinkSigner
from omixa.access.operators import OperatorTokens
from omixa.billing.prices import publish_prices
from omixa.catalogue.aliases import with_aliases
from omixa.catalogue.emulation import with_emulation
from omixa.catalogue.loader import Catalogue, CatalogueError, load_catalogue
from omixa.config import ConfigError, Settings, credentials_key_bytes
from omixa.domain.access import DEFAULT_WORKSPACE, Secret
from omixa.domain.accounts import ProviderAccount
from omixa.domain.models import SIMULATOR_SCHEME, Deployment, Offer, ProviderProfile
from omixa.domain.money import PICO_PER_MICRO, parse_usd
from omixa.domain.times import utc_today
from omixa.engines.conversions import Conversions
from omixa.engines.notary import SAMPLE, Identity
from omixa.errors import PublishedPriceChanged, StorageUnavailable
from omixa.gateway.accounts import Accounts, KeySource, unsuited
from omixa.gateway.allowances import Allowances
from omixa.gateway.attempts import Attempts
from omixa.gateway.cutouts import Cutouts
from omixa.gateway.deletion import Deletion
from omixa.gateway.finishing import Finisher
from omixa.gateway.late import LateAnswers
from omixa.gateway.people import People
from omixa.gateway.pipeline import Pipeline
from omixa.gateway.provenance import Credentials, sample
from omixa.gateway.rehearsals import Rehearsals
from omixa.gateway.replay import Replays
from omixa.gateway.results import Results
from omixa.gateway.routes import Routes
from omixa.gateway.run import Runs
from omixa.gateway.settlement import Settlement
from omixa.gateway.thumbnails import Thumbnails
from omixa.gateway.topups import TopUps
from omixa.gateway.workspaces import Workspaces
from omixa.imaging.refusals import UnacceptableImage
from omixa.jobs.account_watch import AccountWatch
from omixa.jobs.courier import Courier
from omixa.jobs.route_checks import RouteChecks
from omixa.jobs.route_keeper import RouteKeeper
from omixa.jobs.sweeper import Sweeper
from omixa.limits.bodies import ByteBudget
from omixa.limits.rates import Rates
from omixa.limits.slots import Slots
from omixa.mail import Mailer
from omixa.payments.stripe import Stripe
from omixa.providers.base import Provider
from omixa.routing.router import Router
from omixa.storage.blobs import Blobs, BlobStore
from omixa.storage.database import Backend, Database, UnsafeStorage
from omixa.storage.files import create_durably
from omixa.storage.sqlite import SqliteBackend
from omixa.tokens import Tokenizer
from omixa.webhooks import Webhook

if TYPE_CHECKING:
    from omixa.engines.workers import Workers
    from omixa.gateway.openid import OpenIdDoor
    from omixa.gateway.passkeys import Passkeys
    from omixa.providers.transport import AsgiApp

log = logging.getLogger(__name__)

# Not an address: the engine is called where it runs.
EMBEDDED_ENDPOINT = "embedded:"
# The simulator inside the process is reachable from nowhere else, so its key protects nothing.
SIMULATOR_KEY = "in-process"
# Pictures of a request that may wait to be converted: more than go in or come out of any. One that has been paid for is never
# turned away.
PICTURES_OF_A_REQUEST = 16
# Pictures that are sent to whoever has a link, at a time. Each holds no more than a piece of its file in memory.
MAX_PICTURES_ON_THEIR_WAY = 512
# Servers of one machine that may share a PostgreSQL database.
MAX_SERVERS_OF_A_MACHINE = 64
# Reports that read every request of a month. Each keeps one of the database's readers busy while it is made.
MAX_REPORTS = 1
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
    """What the command line needs: the database, the results, the catalogue, and what operators do with workspaces and people."""

    settings: Settings
    catalogue: Catalogue
    database: Database
    blobs: Blobs
    workspaces: Workspaces
    allowances: Allowances
    people: People
    accounts: Accounts
    fail_stop: FailStop


@dataclass(frozen=True, slots=True)
class Services(BackOffice):
    """What a server needs besides."""

    tokenizer: Tokenizer
    router: Router
    routes: Routes
    runs: Runs
    results: Results
    deletion: Deletion
    thumbnails: Thumbnails
    links: LinkSigner
    operators: OperatorTokens
    sending: Slots
    reports: Slots
    pipeline: Pipeline
    conversions: Conversions
    sweeper: Sweeper
    courier: Courier
    topups: TopUps | None
    openid: OpenIdDoor | None
    passkeys: Passkeys
    body_bytes: ByteBudget
    rates: Rates
    rehearsals: Rehearsals


@asynccontextmanager
async def open_back_office(settings: Settings) -> AsyncIterator[BackOffice]:
    """Open the database and what works on it alone. Several processes may do so at the same time.

    Raises ConfigError on a database whose settings would break the promise, OSError on one that cannot be reached.
    """
    settings.data_path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    fail_stop = FailStop()
    catalogue = open_catalogue(settings)
    database = Database(_backend(settings), on_fatal=fail_stop.fail)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.to_thread, database.close)
        try:
            await asyncio.to_thread(database.open)
        except UnsafeStorage as error:
            raise ConfigError(str(error)) from error
        blobs = _blobs(settings, fail_stop)
        stack.push_async_callback(asyncio.to_thread, blobs.close)
        workspaces = Workspaces(database, settings.key_pepper or _pepper(settings.data_path / "pepper"))
        await workspaces.prepare()
        ledger_id = await workspaces.find(DEFAULT_WORKSPACE)
        await asyncio.to_thread(_claim_directory, settings.data_path / "ledger", ledger_id)
        try:
            await database.write(lambda tx: publish_prices(tx, catalogue.models.values()))
        except PublishedPriceChanged as error:
            raise ConfigError(f"catalogue: {error.message}") from error
        people = People(database, workspaces.session_keys())
        taken = [one.name for one in settings.accounts]
        accounts = Accounts(database, catalogue, _credentials_keys(settings), taken=taken)
        yield BackOffice(
            settings, catalogue, database, blobs, workspaces, Allowances(database), people, accounts, fail_stop
        )


@asynccontextmanager
async def open_services(
    settings: Settings, simulators: Mapping[str, AsgiApp], tokenizer: Tokenizer, workers: Workers
) -> AsyncIterator[Services]:
    """Open all that a server needs. `simulators` answer test keys in the place of providers, inside this process; they share
    `tokenizer` and `workers` with the embedded models.

    Raises ConfigError when another server uses the data directory and its SQLite file, and for a catalogue whose embedded models
    no engine fits.
    """
    # Here, because the command line opens a back office alone and should not wait for an HTTP client and an illustrator.
    from omixa.gateway.passkeys import Passkeys
    from omixa.providers.adapters import adapters
    from omixa.providers.checks import Checks
    from omixa.providers.embedded import EmbeddedProvider, misfit
    from omixa.providers.entra import EntraTokens, with_tokens
    from omixa.providers.transport import HttpTransport, InProcessTransport, Transports

    _require_vision(settings)
    settings.data_path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    with _node_name(settings) as node_id:
        async with AsyncExitStack() as stack:
            office = await stack.enter_async_context(open_back_office(settings))
            for provider, name in office.catalogue.offers:
                fault = misfit(office.catalogue.resolve(name)) if provider == "embedded" else None
                if fault is not None:
                    raise ConfigError(f"catalogue: {name}, which is embedded: {fault}")
            await _claim_results(office)
            await asyncio.to_thread(tokenizer.load)
            http = await stack.enter_async_context(HttpTransport(proxy=settings.provider_proxy))
            tokens = await stack.enter_async_context(EntraTokens())
            conversions = Conversions(
                settings.codec_processes, waiting=PICTURES_OF_A_REQUEST * settings.max_requests_in_flight
            )
            stack.push_async_callback(asyncio.to_thread, conversions.close)
            sweeper = Sweeper(office.database, office.blobs, node_id=node_id)
            node = await sweeper.recover()
            settlement = Settlement(office.database, node)
            transport = Transports(http, {name: InProcessTransport(app) for name, app in simulators.items()})
            embedded = EmbeddedProvider(workers)
            spoken_with = with_tokens(adapters(transport, conversions), tokens)
            providers = spoken(office.catalogue, {**spoken_with, "embedded": embedded})
            results = Results(office.database, office.blobs, retention_ms=settings.result_retention_hours * 3_600_000)
            stored = await office.accounts.serving()
            router = _router(settings, office.catalogue, simulators, stored)
            late = LateAnswers(settlement, wait_s=settings.routing.late_answer_s, most=settings.routing.late_answers)
            stack.push_async_callback(late.close)
            pipeline = Pipeline(
                router=router,
                attempts=Attempts(
                    catalogue=office.catalogue,
                    providers=providers,
                    router=router,
                    settlement=settlement,
                    cutouts=Cutouts(office.catalogue, embedded, router, settlement),
                    finish=Finisher(conversions, office.catalogue).finish,
                    late=late,
                    credentials=Credentials(office.catalogue, conversions, await _identity(settings, conversions)),
                ),
                settlement=settlement,
                results=results,
                replays=Replays(settlement, results, patience_s=settings.run_deadline_s),
                deadline_s=settings.run_deadline_s,
                refusal_limit_pico_usd=parse_usd(settings.limits.refusal_cost_per_day) * PICO_PER_MICRO,
            )
            digests = office.workspaces.credential_digests()
            keeper = RouteKeeper(office.database, router, node_id=node_id, digest_of=digests.of)
            await keeper.recall()
            await stack.enter_async_context(keeper)
            formats = {provider.id: provider.adapter for provider in office.catalogue.providers.values()}
            interval_s = settings.routing.check_interval_s
            await stack.enter_async_context(RouteChecks(router, Checks(transport, formats), interval_s=interval_s))
            await stack.enter_async_context(sweeper)

            def serve_from(accounts: Sequence[ProviderAccount]) -> None:
                router.configure(deployments(settings, office.catalogue, simulators, accounts))

            await stack.enter_async_context(AccountWatch(office.accounts, serve_from, stored))
            courier = await stack.enter_async_context(Courier(office.database, _mailer(settings), _webhook(settings)))
            runs = Runs(settings.max_requests_in_flight)
            stack.push_async_callback(runs.drain, settings.shutdown_grace_s)
            yield Services(
                settings=settings,
                catalogue=office.catalogue,
                database=office.database,
                blobs=office.blobs,
                workspaces=office.workspaces,
                allowances=office.allowances,
                people=office.people,
                accounts=office.accounts,
                fail_stop=office.fail_stop,
                tokenizer=tokenizer,
                router=router,
                routes=Routes(office.database, router),
                runs=runs,
                results=results,
                deletion=Deletion(office.database, office.blobs),
                thumbnails=Thumbnails(results, conversions),
                links=office.workspaces.link_signer(),
                operators=office.workspaces.operator_tokens(),
                sending=Slots(MAX_PICTURES_ON_THEIR_WAY, "pictures are on their way"),
                reports=Slots(MAX_REPORTS, "report of a whole month is being made"),
                pipeline=pipeline,
                conversions=conversions,
                sweeper=sweeper,
                courier=courier,
                topups=await _topups(settings, office, stack),
                openid=_openid(settings, office),
                passkeys=Passkeys(office.database, office.people),
                body_bytes=ByteBudget(settings.max_body_bytes_in_flight),
                rates=_rates(settings, sweeper),
                rehearsals=Rehearsals(),
            )


async def _identity(settings: Settings, conversions: Conversions) -> Identity | None:
    """Return what signs pictures, once it has signed one. Raises ConfigError when it cannot."""
    options = settings.content_credentials
    if not options.certificate:
        return None
    identity = Identity(Path(options.certificate), Path(options.private_key), options.algorithm)
    try:
        await conversions.sign(sample(identity, SAMPLE))
    except UnacceptableImage as error:
        raise ConfigError(f"content_credentials: no picture can be signed: {error.message}") from error
    return identity


def _rates(settings: Settings, sweeper: Sweeper) -> Rates:
    """Return the rate limits. A SQLite file has one server, whatever names earlier ones had."""
    sharing = (lambda: 1) if settings.database.is_sqlite else (lambda: sweeper.live_nodes)
    return Rates(settings.limits.of_keys, settings.limits.of_workspaces, nodes=sharing)


def _require_vision(settings: Settings) -> None:
    """Raise ConfigError where backgrounds are to be taken away without what does that: pictures would be made in vain."""
    if settings.emulation.transparent_models and importlib.util.find_spec("onnxruntime") is None:
        raise ConfigError("emulation.transparency needs onnxruntime: pip install 'omixa[vision]'")


def open_catalogue(settings: Settings) -> Catalogue:
    """Return the configured catalogue. Raises ConfigError when one of its files is wrong."""
    try:
        catalogue = load_catalogue(Path(settings.catalogue_dir) if settings.catalogue_dir else None)
        emulation = settings.emulation
        catalogue = with_emulation(catalogue, masks=emulation.masked_models, transparency=emulation.transparent_models)
        return with_aliases(catalogue, settings.aliases)
    except (CatalogueError, OSError) as error:
        raise ConfigError(f"catalogue: {error}") from error


def _mailer(settings: Settings) -> Mailer | None:
    smtp = settings.smtp
    if not smtp.host:
        return None
    return Mailer(smtp.host, smtp.port, smtp.user, smtp.password, smtp.sender, smtp.tls)


def _webhook(settings: Settings) -> Webhook | None:
    events = settings.events
    return Webhook(events.url, events.key) if events.url else None


def _openid(settings: Settings, office: BackOffice) -> OpenIdDoor | None:
    """Return what lets people in by an OpenID provider where one is configured."""
    options = settings.openid
    if not options.issuer:
        return None
    # Here, because nobody else should wait for its library.
    from omixa.access.openid import OpenIdProvider, Registration
    from omixa.gateway.openid import Joining, OpenIdDoor

    registration = Registration(
        issuer=options.issuer,
        client_id=options.client_id,
        client_secret=options.client_secret,
        name=options.name,
        scopes=options.scopes,
        name_claim=options.name_claim,
        trusts_email=options.trusts_email,
    )
    provider = OpenIdProvider(registration, office.people.keys)
    joining = Joining(options.domains, options.join_workspace, options.join_role)
    return OpenIdDoor(office.database, office.people, provider, joining)


async def _topups(settings: Settings, office: BackOffice, stack: AsyncExitStack) -> TopUps | None:
    """Return what sells credit where that is configured."""
    options = settings.stripe
    if not options.is_complete or options.api_key is None or options.webhook_secret is None:
        if options.api_key is not None or options.webhook_secret is not None:
            log.warning("topups.incomplete", extra={"needs": "stripe.api_key, webhook_secret of 24 bytes, return_url"})
        return None
    stripe = Stripe(
        api_key=options.api_key,
        webhook_secret=options.webhook_secret,
        api_base=options.api_base.rstrip("/"),
        return_url=options.return_url,
    )
    stack.push_async_callback(stripe.close)
    return TopUps(
        office.database,
        stripe,
        gateway=await office.workspaces.find(DEFAULT_WORKSPACE),
        least_micro_usd=parse_usd(options.min_topup),
        most_micro_usd=parse_usd(options.max_topup),
    )


def spoken(catalogue: Catalogue, adapters: Mapping[str, Provider]) -> Mapping[str, Provider]:
    """Return the adapter of each of the catalogue's providers. Raises ConfigError for a wire format that is not known."""
    for provider in catalogue.providers.values():
        if provider.adapter not in adapters:
            raise ConfigError(
                f"catalogue: the provider {provider.id} speaks {provider.adapter}; known: {', '.join(sorted(adapters))}"
            )
    return {provider.id: adapters[provider.adapter] for provider in catalogue.providers.values()}


def deployments(
    settings: Settings,
    catalogue: Catalogue,
    simulated: Collection[str] = (),
    stored: Sequence[ProviderAccount] = (),
) -> list[Deployment]:
    """Return where each offer of the catalogue can be called; a simulator plays each of the providers in `simulated`.

    Those of the configuration come before those of `stored` accounts. Raises ConfigError for an account of the configuration
    at an unknown provider, of an unknown model or without an address.
    """
    for account in settings.accounts:
        mistake = unsuited(account, catalogue)
        if mistake is not None:
            raise ConfigError(f"deployment {account.name}: {mistake.message}")
    played = _played(catalogue, simulated)
    accounts = (*settings.accounts, *stored)
    return [
        found
        for _, offer in sorted(catalogue.offers.items())
        for found in _deployments(accounts, offer, catalogue.providers[offer.provider], played)
    ]


def _played(catalogue: Catalogue, simulated: Collection[str]) -> Mapping[str, str]:
    """Return which provider a simulator plays for each model: its maker rather than one that resells it."""
    offers = [offer for offer in catalogue.offers.values() if offer.provider in simulated]
    offers.sort(key=lambda offer: (catalogue.providers[offer.provider].resells, offer.provider), reverse=True)
    return {offer.model.lower(): offer.provider for offer in offers}


def _deployments(
    accounts: Sequence[ProviderAccount], offer: Offer, provider: ProviderProfile, played: Mapping[str, str]
) -> Iterator[Deployment]:
    """Yield the embedded models for all keys; the simulator for test keys and the configured accounts for live keys."""
    embedded = Deployment(
        id=f"{offer.provider}/{offer.model}",
        provider=offer.provider,
        model=offer.model,
        endpoint=EMBEDDED_ENDPOINT,
        deployment_name=offer.name,
        api_key=None,
        bearer_token=None,
        modes=frozenset({"live", "test"}),
        in_process=True,
    )
    if offer.provider == "embedded":
        yield embedded
    elif played.get(offer.model.lower()) == offer.provider:
        yield dataclasses.replace(
            embedded,
            id=f"simulator/{offer.model}",
            endpoint=f"{SIMULATOR_SCHEME}//{offer.provider}",
            api_key=Secret(SIMULATOR_KEY),
            modes=frozenset({"test"}),
        )
    for account in accounts:
        if account.provider == offer.provider and account.serves(offer.model):
            yield Deployment(
                id=f"{account.name}/{offer.model}",
                provider=offer.provider,
                model=offer.model,
                endpoint=(account.endpoint or provider.endpoint).rstrip("/"),
                deployment_name=account.deployment or offer.name,
                api_key=account.credential if account.auth == "api_key" else None,
                bearer_token=account.credential if account.auth == "bearer_token" else None,
                entra_scope=account.entra_scope if account.auth == "entra" else "",
                modes=frozenset({"live"}),
                account=account.name,
                region=account.region,
                weight=account.weight,
                priority=account.priority,
                limits=account.limits,
                qualities=frozenset(account.qualities),
                fault=account.fault,
            )


def _router(
    settings: Settings, catalogue: Catalogue, simulated: Collection[str], stored: Sequence[ProviderAccount]
) -> Router:
    """Return what chooses among the deployments. Their costs are those of the day on which the server starts."""
    today = utc_today()

    def cost_of(deployment: Deployment) -> int:
        return catalogue.offer(deployment.provider, deployment.model).cost_on(today).fallback.unit_price_pico_usd

    routing = settings.routing
    return Router(
        deployments(settings, catalogue, simulated, stored),
        policy=routing.policy,
        queue_length=routing.queue_length,
        queue_wait_s=routing.queue_wait_s,
        hedge_percent=routing.hedge_percent,
        cost_of=cost_of,
    )


def _pepper(path: Path) -> Secret:
    """Return the pepper of the data directory; the first process creates it, durably, before any key depends on it."""
    if not path.exists():
        create_durably(path, generate_pepper().reveal())
    text = path.read_text().strip()
    if len(text) != 2 * PEPPER_BYTES:
        raise ConfigError(
            f"{path.name} in the data directory is damaged: it must hold {2 * PEPPER_BYTES} hexadecimal digits"
        )
    return Secret(text)


def _credentials_keys(settings: Settings) -> KeySource:
    """Return where the key is that encrypts the credentials of stored accounts."""
    given, path = settings.credentials_key, settings.credentials_key_path

    def load() -> MasterKey | None:
        if given is not None:
            return MasterKey(credentials_key_bytes(given.reveal()))
        try:
            return MasterKey(credentials_key_bytes(path.read_text()))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise ConfigError(f"{path.name}, the key of stored credentials, is damaged: {error}") from error

    def create() -> MasterKey:
        if load() is None:
            create_durably(path, generate_master_key().value.hex() + "\n")
        key = load()
        assert key is not None, "it was there or was made"
        return key

    return KeySource(load, create)


def _claim_directory(path: Path, ledger_id: str) -> None:
    """Mark the data directory as the place of this ledger's results. Raises ConfigError when it is another ledger's.

    The sweeper deletes what its ledger does not know, so the results of one must never lie under another. The id of the
    workspace that every ledger has from the start serves as the ledger's.
    """
    if not path.exists():
        create_durably(path, ledger_id)
    if path.read_text().strip() != ledger_id:
        raise ConfigError(
            f"the data directory {path.parent} holds the results of another ledger than the one at the configured "
            "database; choose another --data, or the database that belongs to it"
        )


def _blobs(settings: Settings, fail_stop: FailStop) -> Blobs:
    """Return where results are kept."""
    bucket = settings.bucket
    if bucket is None:
        return BlobStore(settings.data_path / "results", on_fatal=fail_stop.fail)
    # Here, because its library is large and an extra.
    from omixa.storage.objects import ObjectStore

    options = settings.s3
    return ObjectStore(
        bucket.name,
        bucket.prefix,
        directory=settings.data_path,
        endpoint=options.endpoint,
        region=options.region,
        access_key_id=options.access_key_id,
        secret_access_key=options.secret_access_key,
    )


async def _claim_results(office: BackOffice) -> None:
    """Mark a bucket as the place of this ledger's results, as a data directory is. Raises ConfigError, OSError."""
    ledger_id = await office.workspaces.find(DEFAULT_WORKSPACE)
    try:
        owner = await office.blobs.claim(ledger_id)
    except StorageUnavailable as error:
        raise OSError(f"{office.settings.results} cannot be reached: {error.__cause__}") from error
    if owner != ledger_id:
        raise ConfigError(
            f"{office.settings.results} holds the results of another ledger; choose another prefix or bucket"
        )


def _backend(settings: Settings) -> Backend:
    if settings.database.is_sqlite:
        return SqliteBackend(settings.data_path / "omixa.db")
    # Here, because the command line should not wait for a driver that it does not use.
    from omixa.storage.postgres import PostgresBackend

    return PostgresBackend(settings.database.reveal())


@contextmanager
def _node_name(settings: Settings) -> Iterator[str]:
    """Give this server a name that no other running one has and that it has again when it is started again.

    The name is the machine's and, where several servers of a machine share a database, their number. Whoever has the lock of
    a name has the name; the system gives locks back when a process dies, however that happens. Raises ConfigError when there
    is no name left: a SQLite file is for one server.
    """
    host = socket.gethostname()
    if settings.database.is_sqlite:
        names = {"serve.lock": host}
    else:
        names = {
            f"serve.{host}.{number}.lock": host if number == 1 else f"{host}-{number}"
            for number in range(1, MAX_SERVERS_OF_A_MACHINE + 1)
        }
    for file, name in names.items():
        descriptor = os.open(settings.data_path / file, os.O_RDWR | os.O_CREAT, _SECRET_FILE_MODE)
        try:
            if _locked(descriptor):
                yield name
                return
        finally:
            os.close(descriptor)
    raise ConfigError(
        f"another server is using the data directory {settings.data_path}; stop it or choose another --data"
    )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
