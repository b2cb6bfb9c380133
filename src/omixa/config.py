"""Every option of Omixa with its unit and default, on one page.

A value comes from the first of: command line, environment, omixa.toml, default. Options of a section such as [foundry] are
OMIXA_FOUNDRY_… in the environment, all others OMIXA_….  Unknown names are errors, so that a typing error never passes for a
setting. Secrets are read like everything else and never printed.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import importlib.util
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from omixa.domain.access import EMAIL, RateLimits, Secret
from omixa.domain.accounts import (
    ACCOUNT_NAME,
    ENTRA_SCOPE,
    MAX_PACE,
    MAX_PRIORITY,
    MAX_REGION,
    MAX_WEIGHT,
    RESERVED,
    SHORT_FORM,
    Auth,
    ProviderAccount,
    Quality,
    is_endpoint,
)
from omixa.domain.money import parse_usd

CONFIG_FILE = "omixa.toml"
SQLITE = "sqlite:"
FILES = "file:"
ENVIRONMENT_PREFIX = "OMIXA_"

# Names that start like options and belong to clients and to the command line.
_NOT_OPTIONS = frozenset(
    {"OMIXA_API_KEY", "OMIXA_BASE_URL", "OMIXA_CONFIG", "OMIXA_MANAGEMENT_KEY", "OMIXA_SIGNING_SECRET"}
)

_MIB = 1 << 20

# The form of the specification of Standard Webhooks.
EVENT_KEY_PREFIX, EVENT_KEY_BYTES = "whsec_", range(24, 65)
# A shorter secret could be guessed, and whoever has it can credit himself.
MIN_WEBHOOK_SECRET_BYTES = 24
CREDENTIALS_KEY_BYTES = 32

Count = Annotated[int, Meta(ge=0, le=10**9)]
Pace = Annotated[int, Meta(ge=0, le=MAX_PACE)]
PositiveInt = Annotated[int, Meta(ge=1)]
PositiveFloat = Annotated[float, Meta(gt=0)]


class ConfigError(Exception):
    """An option is unknown or has a value that cannot be used. The message names it and its source."""


class DatabaseAddress:
    """Where the ledger is: `sqlite:` in the data directory, or an address of PostgreSQL. Printing it leaves the password out."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if text != SQLITE and not re.fullmatch(r"postgres(ql)?://[^\s/?#]*/[^\s/?#]+(\?\S*)?", text):
            raise ValueError(f"expected {SQLITE} or an address such as postgresql://USER:PASSWORD@HOST/DATABASE")
        self._text = text

    @property
    def is_sqlite(self) -> bool:
        """Tell whether the ledger is a file in the data directory."""
        return self._text == SQLITE

    def reveal(self) -> str:
        """Return the whole address, with the password that may be in it."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseAddress) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        scheme, separator, rest = self._text.partition("?")[0].partition("//")
        access, at, place = rest.rpartition("@")
        return f"{scheme}{separator}{access.partition(':')[0]}{at}{place}"

    def __repr__(self) -> str:
        return f"DatabaseAddress({self})"


# Whether an account has a key or token in the configuration, or has tokens fetched.
FileAuth = Literal["key", "entra"]


class FoundrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[foundry]: Microsoft Foundry, for live keys."""

    endpoint: Annotated[str, Meta(description="address of the resource, https://NAME.services.ai.azure.com")] = ""
    api_key: Annotated[Secret | None, Meta(description="the resource's key")] = None
    bearer_token: Annotated[Secret | None, Meta(description="an Entra access token, instead of a key")] = None
    auth: Annotated[
        FileAuth, Meta(description="key, or entra: tokens are fetched for the identity that the server runs under")
    ] = "key"
    entra_scope: Annotated[str, Meta(description="what Entra's tokens are for")] = ENTRA_SCOPE
    deployment: Annotated[str, Meta(description="name of the deployment, where it is not the model's")] = ""


class DeploymentSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[[deployments]]: an account at a provider, for live keys. [foundry] is the short way to write one."""

    name: Annotated[
        str,
        Meta(
            pattern=ACCOUNT_NAME,
            description="what routes, attempts and receipts call it, before /MODEL",
        ),
    ]
    provider: Annotated[str, Meta(description="who runs it: the id of one of the catalogue's providers")] = "foundry"
    endpoint: Annotated[
        str,
        Meta(
            description="its address, such as https://NAME.services.ai.azure.com; default: the provider's, if it has one"
        ),
    ] = ""
    api_key: Annotated[Secret | None, Meta(description="the account's key")] = None
    api_key_env: Annotated[str, Meta(description="variable that holds the account's key, instead of api_key")] = ""
    bearer_token: Annotated[Secret | None, Meta(description="an Entra access token, instead of a key")] = None
    auth: Annotated[
        FileAuth, Meta(description="key, or entra: tokens are fetched for the identity that the server runs under")
    ] = "key"
    entra_scope: Annotated[str, Meta(description="what Entra's tokens are for")] = ENTRA_SCOPE
    models: Annotated[
        tuple[str, ...], Meta(description="models that it serves; default: all of the provider's in the catalogue")
    ] = ()
    deployment: Annotated[str, Meta(description="name of the deployment, where it is not the model's")] = ""
    region: Annotated[
        str, Meta(max_length=MAX_REGION, description="where it is; workspaces may be bound to regions")
    ] = ""
    weight: Annotated[
        int, Meta(ge=1, le=MAX_WEIGHT, description="its share of the requests, among those of the same priority")
    ] = 1
    priority: Annotated[int, Meta(ge=0, le=MAX_PRIORITY, description="a lower number is tried first")] = 0
    qualities: Annotated[
        tuple[Quality, ...],
        Meta(description="qualities that it is there for under the policy quality; default: every one"),
    ] = ()
    requests_per_minute: Annotated[Pace, Meta(description="calls for a model in a minute; 0: no limit")] = 0
    images_per_minute: Annotated[Pace, Meta(description="pictures of a model in a minute; 0: no limit")] = 0
    concurrency: Annotated[Pace, Meta(description="calls for a model at a time; 0: no limit")] = 0

    @property
    def account(self) -> ProviderAccount:
        """Return what is written here as an account like any other."""
        return ProviderAccount(
            name=self.name,
            provider=self.provider,
            endpoint=self.endpoint,
            auth=_auth(self.auth, self.api_key),
            credential=self.api_key or self.bearer_token,
            entra_scope=self.entra_scope,
            models=self.models,
            deployment=self.deployment,
            region=self.region,
            weight=self.weight,
            priority=self.priority,
            qualities=self.qualities,
            requests_per_minute=self.requests_per_minute,
            images_per_minute=self.images_per_minute,
            concurrency=self.concurrency,
        )


def _auth(auth: FileAuth, api_key: Secret | None) -> Auth:
    if auth == "entra":
        return "entra"
    return "bearer_token" if api_key is None else "api_key"


class RoutingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[routing]: which of several deployments serves a request."""

    policy: Annotated[
        Literal["weighted", "priority", "least_busy", "cheapest", "fastest", "sticky", "quality"],
        Meta(description="who goes first among deployments of the same priority"),
    ] = "weighted"
    queue_length: Annotated[
        Count, Meta(description="pictures of a model that may wait for room at its deployments")
    ] = 100
    queue_wait_s: Annotated[PositiveFloat, Meta(description="how long each may wait")] = 10.0
    check_interval_s: Annotated[
        float, Meta(ge=0, description="between free checks of an account without credit; 0: no free checks at all")
    ] = 300.0
    late_answer_s: Annotated[
        float,
        Meta(
            ge=0, description="how long a call that was given up is listened to, to learn what it costs; 0: not at all"
        ),
    ] = 120.0
    late_answers: Annotated[
        Count, Meta(description="calls that are listened to so at a time; further ones are broken off")
    ] = 32
    hedge_percent: Annotated[
        int,
        Meta(
            ge=0, le=2, description="pictures in a hundred of cheap models that may be asked for twice; 0: no hedging"
        ),
    ] = 0


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: how often may be asked, unless a key or a workspace has limits of its own. 0 is no limit.

    The cost of refusals is bounded for every workspace alike.
    """

    key_requests_per_minute: Annotated[Count, Meta(description="requests of a key in a minute; 0: no limit")] = 600_000
    key_images_per_minute: Annotated[Count, Meta(description="pictures of a key in a minute; 0: no limit")] = 600_000
    key_concurrent_images: Annotated[Count, Meta(description="pictures of a key at a time; 0: no limit")] = 0
    workspace_requests_per_minute: Annotated[
        Count, Meta(description="requests of a workspace in a minute, in each mode; 0: no limit")
    ] = 0
    workspace_images_per_minute: Annotated[
        Count, Meta(description="pictures of a workspace in a minute, in each mode; 0: no limit")
    ] = 0
    workspace_concurrent_images: Annotated[
        Count, Meta(description="pictures of a workspace at a time, in each mode; 0: no limit")
    ] = 0

    refusal_cost_per_day: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$",
            description="USD that refusals of content filters may cost you for a workspace, in each mode, in a UTC day",
        ),
    ] = "25.00"

    @property
    def of_keys(self) -> RateLimits:
        """Return the usual limits of a key."""
        return RateLimits(self.key_requests_per_minute, self.key_images_per_minute, self.key_concurrent_images)

    @property
    def of_workspaces(self) -> RateLimits:
        """Return the usual limits of a workspace."""
        return RateLimits(
            self.workspace_requests_per_minute, self.workspace_images_per_minute, self.workspace_concurrent_images
        )


class LinkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[links]: links to pictures, for `response_format: url`."""

    base_url: Annotated[
        str,
        Meta(
            description="what links begin with, best a host of their own; default: public_url, or how the client came here"
        ),
    ] = ""
    lifetime_minutes: Annotated[
        int, Meta(ge=1, le=10**7, description="how long a link may be used; never longer than its picture is kept")
    ] = 60


class EmulationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[emulation]: what the gateway may do in the place of models that cannot do it themselves. Names are separated by commas."""

    masks: Annotated[
        str, Meta(description="models whose edits keep the original outside a mask; they rework the whole picture")
    ] = ""

    transparency: Annotated[
        str, Meta(description="models whose background the cutout model takes away, as a line of its own on the bill")
    ] = ""

    @property
    def masked_models(self) -> tuple[str, ...]:
        """Return the models for which masks are allowed."""
        return _names_in(self.masks)

    @property
    def transparent_models(self) -> tuple[str, ...]:
        """Return the models for which a transparent background is allowed."""
        return _names_in(self.transparency)


def _names_in(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


class S3Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """[s3]: the object store of `results = "s3://…"`. What is not given comes from AWS' own variables or the machine's role."""

    endpoint: Annotated[str, Meta(description="address of a store that is not AWS, https://…")] = ""
    region: Annotated[str, Meta(description="region of the bucket")] = ""
    access_key_id: Annotated[str, Meta(description="name of the access key")] = ""
    secret_access_key: Annotated[Secret | None, Meta(description="the access key's secret")] = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and what the names of its objects begin with, which may be nothing."""

    name: str
    prefix: str


class StripeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[stripe]: top-ups by Stripe's hosted checkout. Offered when the key, the secret and the return address are given."""

    api_key: Annotated[Secret | None, Meta(description="the account's secret or restricted key")] = None
    webhook_secret: Annotated[
        Secret | None, Meta(description="signs events; without one of at least 24 bytes there are no top-ups")
    ] = None
    api_base: Annotated[str, Meta(description="address of Stripe's API")] = "https://api.stripe.com"
    return_url: Annotated[str, Meta(description="where the browser goes after the payment page")] = ""
    min_topup: Annotated[str, Meta(description="smallest top-up in USD")] = "5.00"
    max_topup: Annotated[str, Meta(description="largest top-up in USD")] = "10000.00"

    @property
    def is_complete(self) -> bool:
        """Tell whether top-ups can be offered."""
        secret = self.webhook_secret
        return (
            self.api_key is not None
            and bool(self.return_url)
            and secret is not None
            and len(secret.reveal().encode()) >= MIN_WEBHOOK_SECRET_BYTES
        )


class SmtpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[smtp]: e-mail for alerts."""

    host: Annotated[str, Meta(description="mail server; without one no e-mail is sent")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="port of the mail server")] = 587
    user: Annotated[str, Meta(description="name to log in with, where that is needed")] = ""
    password: Annotated[Secret | None, Meta(description="password to log in with")] = None
    sender: Annotated[str, Meta(description="address that e-mail comes from")] = ""
    tls: Annotated[Literal["starttls", "tls", "none"], Meta(description="how the connection is protected")] = "starttls"


class OpenIdSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[openid]: people sign in at a provider of OpenID Connect. Only those who were invited, unless `join_domains` says more."""

    issuer: Annotated[
        str, Meta(description="the provider's address, as its tokens name it; without one nobody signs in there")
    ] = ""
    client_id: Annotated[str, Meta(description="how the provider knows this gateway")] = ""
    client_secret: Annotated[
        Secret | None, Meta(description="the secret that belongs to client_id, where it has one")
    ] = None
    name: Annotated[
        str, Meta(min_length=1, max_length=60, description="what people call the provider: “Sign in with NAME”")
    ] = "OpenID Connect"
    scopes: Annotated[str, Meta(description="what is asked for, with blanks between")] = "openid email"
    name_claim: Annotated[
        str,
        Meta(min_length=1, description="the claim that is a person's name here; best one that nobody chooses himself"),
    ] = "email"
    trusts_email: Annotated[
        bool, Meta(description="take e-mail addresses that the provider does not call verified")
    ] = False
    join_domains: Annotated[
        str, Meta(description="whose verified e-mail addresses need no invitation; with commas between several")
    ] = ""
    join_workspace: Annotated[str, Meta(description="which workspace those belong to then")] = "default"
    join_role: Annotated[Literal["admin", "billing", "developer", "viewer"], Meta(description="and as what")] = "viewer"

    @property
    def domains(self) -> tuple[str, ...]:
        """Return the domains whose people need no invitation, in lower case."""
        return tuple(name.lower() for name in _names_in(self.join_domains))


class EventSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[events]: an endpoint that is told of low balances and refunds."""

    url: Annotated[str, Meta(description="where events are posted; without one they are only logged")] = ""
    secret: Annotated[
        Secret | None, Meta(description="signs events: whsec_ and the base64 of 24 to 64 random bytes")
    ] = None

    @property
    def key(self) -> bytes:
        """Return the key in the secret, empty when it has not the form."""
        text = "" if self.secret is None else self.secret.reveal()
        try:
            key = base64.b64decode(text.removeprefix(EVENT_KEY_PREFIX), validate=True)
        except binascii.Error:
            return b""
        return key if text.startswith(EVENT_KEY_PREFIX) and len(key) in EVENT_KEY_BYTES else b""


class ContentCredentialsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[content_credentials]: a certificate of your own that signs pictures without any (C2PA). Needs omixa[c2pa]."""

    certificate: Annotated[
        str, Meta(description="PEM file with the chain of certificates; without one nothing is signed")
    ] = ""
    private_key: Annotated[str, Meta(description="PEM file with the certificate's private key, as PKCS #8")] = ""
    algorithm: Annotated[
        Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"],
        Meta(description="what the key signs with"),
    ] = "es256"


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """All options. Sizes are in bytes, times in the unit that ends the name."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on; 0 takes a free one")] = 8787
    public_url: Annotated[
        str,
        Meta(description="address under which clients reach the server, for pages and code; default: as they asked"),
    ] = ""
    data_dir: Annotated[str, Meta(description="directory of the results, the pepper and, with sqlite:, the ledger")] = (
        "omixa-data"
    )
    database: Annotated[
        DatabaseAddress, Meta(description="sqlite: in data_dir, or postgresql://USER:PASSWORD@HOST/DATABASE")
    ] = DatabaseAddress(SQLITE)
    catalogue_dir: Annotated[
        str, Meta(description="directory with models/ and providers/, in place of the catalogue that comes with Omixa")
    ] = ""
    model_aliases: Annotated[
        str,
        Meta(description="further names of models, such as gpt-image-1=MAI-Image-2.5, with commas between several"),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="how much is logged to standard error")
    ] = "info"
    key_pepper: Annotated[Secret | None, Meta(description="64 hexadecimal digits; default: a file in data_dir")] = None
    credentials_key: Annotated[
        Secret | None,
        Meta(
            description="encrypts the keys of stored accounts: 32 random bytes, in base64 or hexadecimal; default: a file"
        ),
    ] = None
    credentials_key_file: Annotated[
        str,
        Meta(description="the file with that key, which the first stored account makes; default: one in data_dir"),
    ] = ""
    max_requests_in_flight: Annotated[PositiveInt, Meta(description="image requests at a time")] = 2000
    max_body_bytes: Annotated[PositiveInt, Meta(description="largest request body")] = 64 * _MIB
    max_body_bytes_in_flight: Annotated[PositiveInt, Meta(description="bodies of all requests together")] = 1024 * _MIB
    header_timeout_s: Annotated[PositiveFloat, Meta(description="until a request's headers are complete")] = 10.0
    body_timeout_s: Annotated[PositiveFloat, Meta(description="until a request's body is complete")] = 120.0
    run_deadline_s: Annotated[PositiveFloat, Meta(description="for all attempts of a request together")] = 580.0
    stream_keep_alive_s: Annotated[PositiveFloat, Meta(description="between comments while a stream has no news")] = (
        10.0
    )
    shutdown_grace_s: Annotated[PositiveFloat, Meta(description="for running requests when the server stops")] = 30.0
    result_retention_hours: Annotated[PositiveInt, Meta(description="how long results can be fetched again")] = 72
    idempotency_retention_hours: Annotated[
        int, Meta(ge=24, description="how long a repeat with the same Idempotency-Key gets the same answer")
    ] = 72
    codec_processes: Annotated[PositiveInt, Meta(description="pictures decoded and encoded at a time")] = 2
    provider_proxy: Annotated[
        Secret | None,
        Meta(
            description="HTTP proxy through which providers are called, http://USER:PASSWORD@HOST:PORT; default: none"
        ),
    ] = None
    simulator_latency_s: Annotated[float, Meta(ge=0, description="how long the simulator waits before it paints")] = 0.0
    results: Annotated[
        str,
        Meta(
            pattern=r"^(file:|s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)$",
            description="where results are kept: file: in data_dir, or s3://BUCKET/PREFIX in an object store",
        ),
    ] = FILES
    s3: Annotated[S3Settings, Meta(description="the object store of results")] = S3Settings()
    links: Annotated[LinkSettings, Meta(description="links to pictures")] = LinkSettings()
    limits: Annotated[LimitSettings, Meta(description="how often may be asked")] = LimitSettings()
    emulation: Annotated[EmulationSettings, Meta(description="what the gateway does for models")] = EmulationSettings()
    foundry: Annotated[FoundrySettings, Meta(description="Microsoft Foundry, for live keys")] = FoundrySettings()
    deployments: Annotated[
        tuple[DeploymentSettings, ...],
        Meta(description="accounts at providers, for live keys: [[deployments]] in omixa.toml"),
    ] = ()
    routing: Annotated[RoutingSettings, Meta(description="which deployment serves a request")] = RoutingSettings()
    events: Annotated[EventSettings, Meta(description="an endpoint that is told of events")] = EventSettings()
    content_credentials: Annotated[
        ContentCredentialsSettings, Meta(description="a certificate that signs pictures")
    ] = ContentCredentialsSettings()
    smtp: Annotated[SmtpSettings, Meta(description="e-mail for alerts")] = SmtpSettings()
    stripe: Annotated[StripeSettings, Meta(description="Stripe, for top-ups")] = StripeSettings()
    openid: Annotated[OpenIdSettings, Meta(description="where people sign in")] = OpenIdSettings()

    @property
    def aliases(self) -> tuple[tuple[str, str], ...]:
        """Return the further names of models, each with the model's own."""
        pairs = (pair.partition("=") for pair in self.model_aliases.split(",") if pair.strip())
        return tuple((alias.strip(), model.strip()) for alias, _, model in pairs)

    @property
    def public_path(self) -> str:
        """Return the path of the public address, "" or for example "/omixa": where a proxy puts the server."""
        return urlsplit(self.public_url).path.rstrip("/")

    @property
    def bucket(self) -> Bucket | None:
        """Return where results are kept, or None where they are files."""
        if self.results == FILES:
            return None
        name, _, prefix = self.results.removeprefix("s3://").partition("/")
        return Bucket(name, prefix)

    @property
    def accounts(self) -> tuple[ProviderAccount, ...]:
        """Return all accounts at providers that the configuration has, that of [foundry] first."""
        written = tuple(one.account for one in self.deployments)
        short = self.foundry
        if not short.endpoint:
            return written
        written_out = ProviderAccount(
            name=SHORT_FORM,
            endpoint=short.endpoint,
            auth=_auth(short.auth, short.api_key),
            credential=short.api_key or short.bearer_token,
            entra_scope=short.entra_scope,
            deployment=short.deployment,
        )
        return (written_out, *written)

    @property
    def credentials_key_path(self) -> Path:
        """Return the file of the key that encrypts credentials, where the options do not hold the key itself."""
        return Path(self.credentials_key_file) if self.credentials_key_file else self.data_path / "credentials.key"

    @property
    def data_path(self) -> Path:
        """Return the data directory."""
        return Path(self.data_dir)


@dataclass(frozen=True, slots=True)
class Option:
    """One option with the value it has and where that comes from. Secrets show as stars."""

    name: str
    variable: str
    value: str
    source: str
    description: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings together with the source of each option."""

    settings: Settings
    sources: Mapping[str, str]

    def options(self) -> list[Option]:
        """Return every option with its value and source."""
        return [
            Option(
                name,
                "" if "[" in name else _variable(name),
                _shown(_lookup(self.settings, name)),
                self._source(name),
                description,
            )
            for name, description in _options(self.settings)
        ]

    def _source(self, name: str) -> str:
        table, in_a_list, _ = name.partition("[")
        if in_a_list and not _is_given(self.settings, name):
            return "default"
        return self.sources.get(table, "default")


def load(
    environment: Mapping[str, str], *, file: Path | None = None, flags: Mapping[str, object] | None = None
) -> Configuration:
    """Return the settings. `file` must exist when given; otherwise OMIXA_CONFIG or ./omixa.toml is read if it exists.

    `flags` are options from the command line; None among them means not given. Raises ConfigError.
    """
    known = dict(_names(Settings))
    values: dict[str, object] = {}
    sources: dict[str, str] = {}
    for source, found in (
        _from_file(environment, file),
        ("environment", _from_environment(environment, known)),
        ("command line", {name: value for name, value in (flags or {}).items() if value is not None}),
    ):
        for name, value in found.items():
            if name not in known:
                raise ConfigError(f"{source}: unknown option {name}{_suggestion(name, known)}")
            values[name] = value
            sources[name] = f"{source} ({_variable(name)})" if source == "environment" else source
    settings = _with_keys(_convert(values, sources), environment)
    _check_provider_proxy(settings.provider_proxy)
    _check_public_url(settings.public_url)
    _check_credentials_key(settings)
    _check_foundry(settings.foundry)
    _check_deployments(settings.deployments)
    _check_smtp(settings.smtp)
    _check_events(settings.events)
    _check_results(settings)
    _check_links(settings.links)
    _check_aliases(settings.aliases)
    _check_stripe(settings.stripe)
    _check_content_credentials(settings.content_credentials)
    _check_openid(settings.openid)
    return Configuration(settings, sources)


def _from_file(environment: Mapping[str, str], file: Path | None) -> tuple[str, dict[str, object]]:
    named = file or (Path(environment["OMIXA_CONFIG"]) if "OMIXA_CONFIG" in environment else None)
    path = named or Path(CONFIG_FILE)
    if named is None and not path.is_file():
        return str(path), {}
    try:
        return str(path), dict(_flatten(tomllib.loads(path.read_text())))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _from_environment(environment: Mapping[str, str], known: Mapping[str, str]) -> dict[str, object]:
    by_variable = {_variable(name): name for name in known}
    found: dict[str, object] = {}
    for variable, value in environment.items():
        # An empty variable counts as absent: container files often pass on what is not set.
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_OPTIONS or not value:
            continue
        if variable not in by_variable:
            raise ConfigError(f"environment: unknown option {variable}{_suggestion(variable, by_variable)}")
        found[by_variable[variable]] = value
    return found


def _convert(values: Mapping[str, object], sources: Mapping[str, str]) -> Settings:
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        table = tree
        for step in path:
            table = table.setdefault(step, {})
        table[last] = value
    try:
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_own_type)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0]
        raise ConfigError(f"{sources.get(name, 'configuration')}: {error}") from error


def _check_public_url(address: str) -> None:
    if address and not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*/?", address):
        raise ConfigError(
            "public_url must be an address such as https://images.example.org or https://example.org/omixa"
        )


def _check_provider_proxy(address: Secret | None) -> None:
    # Its value may hold a password, so the message does not show it.
    if address is not None and not re.fullmatch(r"http://([^\s/@]+@)?[A-Za-z0-9.:\[\]-]+/?", address.reveal()):
        raise ConfigError("provider_proxy must be an address such as http://proxy.example.org:3128")


def _with_keys(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Return the settings with the keys that deployments have in variables of their own."""
    return msgspec.structs.replace(
        settings, deployments=tuple(_with_key(one, environment) for one in settings.deployments)
    )


def _with_key(deployment: DeploymentSettings, environment: Mapping[str, str]) -> DeploymentSettings:
    variable = deployment.api_key_env
    if not variable:
        return deployment
    if deployment.api_key is not None:
        raise ConfigError(f"deployment {deployment.name}: give api_key or api_key_env, not both")
    if not environment.get(variable):
        raise ConfigError(f"deployment {deployment.name}: the variable {variable} that api_key_env names is not set")
    return msgspec.structs.replace(deployment, api_key=Secret(environment[variable]))


def credentials_key_bytes(text: str) -> bytes:
    """Return the 32 bytes of a key that encrypts credentials. Raises ValueError, which does not repeat the text."""
    text = text.strip()
    try:
        if re.fullmatch(r"[0-9A-Fa-f]{64}", text):
            return bytes.fromhex(text)
        key = base64.b64decode(text, altchars=b"-_" if set(text) & set("-_") else None, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != CREDENTIALS_KEY_BYTES:
        raise ValueError(
            f"it must hold {CREDENTIALS_KEY_BYTES} bytes, as 64 hexadecimal digits or in base64: openssl rand -base64 32"
        )
    return key


def _check_credentials_key(settings: Settings) -> None:
    if settings.credentials_key is None:
        return
    if settings.credentials_key_file:
        raise ConfigError("give credentials_key or credentials_key_file, not both")
    try:
        credentials_key_bytes(settings.credentials_key.reveal())
    except ValueError as error:
        raise ConfigError(f"credentials_key: {error}") from error


def _check_foundry(foundry: FoundrySettings) -> None:
    if not foundry.endpoint:
        if foundry.api_key or foundry.bearer_token or foundry.auth == "entra":
            raise ConfigError("foundry.endpoint is missing: a credential alone cannot be used")
        return
    _check_endpoint(foundry.endpoint, "foundry.endpoint")
    if _has_one_credential(foundry):
        return
    raise ConfigError(
        'give exactly one of foundry.api_key and foundry.bearer_token, or foundry.auth = "entra" and neither'
    )


def _has_one_credential(account: FoundrySettings | DeploymentSettings) -> bool:
    """Tell whether an account has a key or else a token, or neither where tokens are fetched."""
    given = (account.api_key is not None) + (account.bearer_token is not None)
    return given == (0 if account.auth == "entra" else 1)


def _check_results(settings: Settings) -> None:
    s3 = settings.s3
    if settings.bucket is None:
        if s3 != S3Settings():
            raise ConfigError('the options of [s3] have no effect unless results is "s3://BUCKET/PREFIX"')
        return
    if importlib.util.find_spec("obstore") is None:
        raise ConfigError("results in an object store need the extra s3: pip install 'omixa[s3]'")
    if s3.endpoint and not re.fullmatch(r"https?://[^/?#@\s]+/?", s3.endpoint):
        raise ConfigError("s3.endpoint must be an address such as https://s3.example.org")
    if bool(s3.access_key_id) != (s3.secret_access_key is not None):
        raise ConfigError("give both s3.access_key_id and s3.secret_access_key, or neither")


def _check_aliases(aliases: tuple[tuple[str, str], ...]) -> None:
    if not all(alias and model for alias, model in aliases):
        raise ConfigError("model_aliases must be pairs such as gpt-image-1=MAI-Image-2.5, with commas between several")


def _check_deployments(deployments: Sequence[DeploymentSettings]) -> None:
    seen = set(RESERVED)
    for one in deployments:
        if one.name in seen:
            taken = "is a name of Omixa's own" if one.name in RESERVED else "stands twice"
            raise ConfigError(f"deployment {one.name}: {taken}; give each [[deployments]] a name of its own")
        seen.add(one.name)
        if one.endpoint:
            _check_endpoint(one.endpoint, f"deployment {one.name}: endpoint")
        if not _has_one_credential(one):
            raise ConfigError(
                f"deployment {one.name}: give exactly one of api_key, api_key_env and bearer_token, or"
                ' auth = "entra" and none of them'
            )
        if one.deployment and len(one.models) != 1:
            raise ConfigError(f"deployment {one.name}: deployment names one model's; give models with that one")


def _check_endpoint(address: str, name: str) -> None:
    if not is_endpoint(address):
        raise ConfigError(f"{name} must be an address such as https://NAME.services.ai.azure.com")


def _check_links(links: LinkSettings) -> None:
    if links.base_url and not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#@\s]*)?", links.base_url):
        raise ConfigError("links.base_url must be an address such as https://pictures.example.org")


def _check_events(events: EventSettings) -> None:
    if not events.url and events.secret is None:
        return
    if not re.fullmatch(r"https?://[^/?#@\s]+(/\S*)?", events.url):
        raise ConfigError("events.url must be an address such as https://example.org/omixa")
    if not events.key:
        raise ConfigError("events.secret must be whsec_ and the base64 of 24 to 64 random bytes")


def _check_smtp(smtp: SmtpSettings) -> None:
    if not smtp.host:
        return
    if not EMAIL.fullmatch(smtp.sender):
        raise ConfigError("smtp.sender must be an e-mail address when smtp.host is given")
    if bool(smtp.user) != (smtp.password is not None):
        raise ConfigError("give both smtp.user and smtp.password, or neither")
    if smtp.user and smtp.tls == "none" and smtp.host not in {"localhost", "127.0.0.1", "::1"}:
        raise ConfigError("smtp.password would be sent in the clear: set smtp.tls to starttls or tls")


def _check_stripe(stripe: StripeSettings) -> None:
    for name, address in (("api_base", stripe.api_base), ("return_url", stripe.return_url)):
        if address and not re.fullmatch(r"https?://[^/?#@\s]+(/\S*)?", address):
            raise ConfigError(f"stripe.{name} must be an address such as https://example.org")
    amounts = []
    for name, text in (("min_topup", stripe.min_topup), ("max_topup", stripe.max_topup)):
        try:
            amounts.append(parse_usd(text))
        except ValueError as error:
            raise ConfigError(f"stripe.{name}: {error}") from error
    if not 0 < amounts[0] <= amounts[1]:
        raise ConfigError("stripe.min_topup must be above zero and at most stripe.max_topup")


def _check_content_credentials(options: ContentCredentialsSettings) -> None:
    if bool(options.certificate) != bool(options.private_key):
        raise ConfigError("give both content_credentials.certificate and content_credentials.private_key, or neither")


def _check_openid(openid: OpenIdSettings) -> None:
    if not openid.issuer:
        if openid != OpenIdSettings():
            raise ConfigError("openid.issuer is missing: the other options of [openid] have no effect without it")
        return
    on_this_machine = r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
    if not re.fullmatch(rf"(https://[^/?#@\s]+|{on_this_machine})(/[^?#@\s]*)?", openid.issuer):
        raise ConfigError("openid.issuer must be an address such as https://login.example.org")
    if not openid.client_id:
        raise ConfigError("openid.client_id is missing: the provider tells it when the gateway is registered there")
    if "openid" not in openid.scopes.split():
        raise ConfigError("openid.scopes must have openid among them")
    if not all(EMAIL.fullmatch(f"somebody@{domain}") for domain in openid.domains):
        raise ConfigError("openid.join_domains must be domains such as example.org, with commas between several")
    if openid.domains and openid.name_claim != "email":
        raise ConfigError("openid.join_domains needs e-mail addresses: leave openid.name_claim as it is")


def _own_type(kind: type, value: object) -> object:
    if isinstance(value, str) and value:
        if kind is Secret:
            return Secret(value)
        if kind is DatabaseAddress:
            return DatabaseAddress(value)
    raise ValueError("expected text that is not empty")


def _names(kind: type[Struct], prefix: str = "") -> Iterator[tuple[str, str]]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    for field in info.fields:
        inner, description = field.type, ""
        while isinstance(inner, msgspec.inspect.Metadata):
            description = description or str((inner.extra_json_schema or {}).get("description", ""))
            inner = inner.type
        if isinstance(inner, msgspec.inspect.StructType):
            yield from _names(inner.cls, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, description


def _options(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the name and the description of every option, with those of each table of a list in its place."""
    for name, description in _names(Settings):
        yield name, description
        if name == "deployments":
            for number in range(len(settings.deployments)):
                yield from _names(DeploymentSettings, f"deployments[{number}].")


def _is_given(settings: Settings, name: str) -> bool:
    """Tell whether a table of a list says something else than what is usual."""
    field = name.rpartition(".")[2]
    usual = {one.name: one.default for one in msgspec.structs.fields(DeploymentSettings)}[field]
    return bool(_lookup(settings, name) != usual)


def _lookup(settings: Settings, name: str) -> object:
    value: Any = settings
    for step in name.split("."):
        attribute, in_a_list, number = step.rstrip("]").partition("[")
        value = getattr(value, attribute)
        if in_a_list:
            value = value[int(number)]
    return value


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.replace(".", "_").upper()


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(one.name if isinstance(one, DeploymentSettings) else str(one) for one in value)
    return "" if value is None else "***" if isinstance(value, Secret) else str(value)


def _suggestion(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known options: {', '.join(known)}"
