"""Accounts at providers that are kept in the database: what operators do with them, and what servers call.

The credential is encrypted in its row and never shown again. It is bound to the account's name, its provider, its kind and the
origin of its endpoint, so a change that would send it elsewhere needs it once more. Accounts of omixa.toml are not kept here;
their names are taken.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

from omixa.access import provider_accounts, store
from omixa.access.envelopes import MasterKey, NotOpened, Sealed, binding, fingerprint, rewrap, seal, unseal
from omixa.access.provider_accounts import StoredAccount
from omixa.catalogue.loader import Catalogue
from omixa.domain.access import Secret
from omixa.domain.accounts import Auth, Mistake, ProviderAccount, Quality, mistake_in
from omixa.errors import AccountNotFound, Conflict, InvalidRequest
from omixa.providers.entra import TAKE_TOKENS
from omixa.providers.places import origin_of
from omixa.storage.database import Database, Transaction

log = logging.getLogger(__name__)

# What the router says of an account whose credential does not open.
UNREADABLE = "credential_unreadable"
_NO_CREDENTIAL = Secret("")


class AccountChanges(TypedDict, total=False):
    """What is to be changed of an account; what is not named stays. Its name stays for ever."""

    provider: str
    endpoint: str
    auth: Auth
    credential: Secret
    entra_scope: str
    models: tuple[str, ...]
    deployment: str
    region: str
    weight: int
    priority: int
    qualities: tuple[Quality, ...]
    requests_per_minute: int
    images_per_minute: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class AccountView:
    """A stored account as operators see it, without its credential. Times are Unix milliseconds.

    `fingerprint` are the first 8 digits of the credential's SHA-256, empty where tokens are fetched. `problem` says in a sentence
    why the account cannot be used although it is enabled, None where it can.
    """

    account: ProviderAccount
    enabled: bool
    fingerprint: str
    problem: str | None
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the master key is kept. `load` returns None while there is none; `create` makes one, once, and returns what is there.

    Both may read files, and raise OSError or ConfigError where these are not what they should be.
    """

    load: Callable[[], MasterKey | None]
    create: Callable[[], MasterKey]


class Accounts:
    """Accounts in the database. `actor` in the methods is who the audit log names.

    `taken` are the names of the accounts of omixa.toml. Whoever serves waits for `changed`, which is set after each change that
    was made in this process.
    """

    def __init__(self, database: Database, catalogue: Catalogue, keys: KeySource, *, taken: Collection[str]) -> None:
        self._database = database
        self._catalogue = catalogue
        self._keys = keys
        self._taken = frozenset(taken)
        # Credentials that were opened, by the account's name, with the revision at which that was.
        self._open: dict[str, tuple[str, Secret]] = {}
        # What was logged of an account, so that it is logged once.
        self._logged: dict[str, str] = {}
        self.changed = asyncio.Event()

    # ------------------------------------------------------------------------------------------------------- operators

    async def list(self) -> Sequence[AccountView]:
        """Return all stored accounts in the order of the alphabet, each with what is wrong with it."""
        stored = await self._database.read(provider_accounts.list_accounts)
        key = await self._master_key()
        return [self._view(one, key) for one in stored]

    async def show(self, name: str) -> AccountView:
        """Return a stored account. Raises NotFound."""
        stored = await self._database.read(lambda tx: _require(tx, name))
        return self._view(stored, await self._master_key())

    async def add(self, account: ProviderAccount, *, actor: str) -> None:
        """Store an account with its credential; it serves from now on.

        Raises InvalidRequest, which names the field, for what cannot be used, and for a name that is taken.
        """
        self._check(account)
        if account.auth != "entra" and account.credential is None:
            raise InvalidRequest("Give the account's key or token.", param="credential")
        key = await self._key_to_seal()

        def operation(tx: Transaction) -> None:
            if provider_accounts.find_account(tx, account.name) is not None:
                raise InvalidRequest(f"There is an account {account.name} already; change that one.", param="name")
            sealed, mark = self._seal(account, key)
            provider_accounts.insert_account(tx, account, sealed, mark)
            details = {**_facts(account), "fingerprint": mark}
            store.audit(tx, actor=actor, action="account.added", target=account.name, details=details)

        await self._database.write(operation)
        self.changed.set()

    async def change(self, name: str, changes: AccountChanges, *, actor: str) -> None:
        """Change an account; what the credential is bound to changes only together with the credential.

        Raises NotFound, InvalidRequest.
        """
        present = await self._database.read(lambda tx: _require(tx, name))
        stays = self._stays_bound(present.account, replace(present.account, **changes))
        key = None if stays else await self._key_to_seal()

        def operation(tx: Transaction) -> None:
            stored = _require(tx, name)
            account = replace(stored.account, **changes)
            self._check(account)
            if self._stays_bound(stored.account, account):
                sealed, mark = stored.sealed, stored.fingerprint
            elif account.auth != "entra" and account.credential is None:
                raise InvalidRequest(
                    "The stored key is bound to the account's provider, its kind and the host of its endpoint. To change"
                    " these, give the key again.",
                    param="credential",
                )
            elif key is None:
                raise Conflict("The account was changed at the same time. Try again.")
            else:
                sealed, mark = self._seal(account, key)
            provider_accounts.update_account(tx, account, sealed, mark)
            was, now = _facts(stored.account), _facts(account)
            details: dict[str, object] = {
                field: {"before": was[field], "after": now[field]} for field in now if was[field] != now[field]
            }
            if mark != stored.fingerprint or account.credential is not None:
                details["fingerprint"] = {"before": stored.fingerprint, "after": mark}
            store.audit(tx, actor=actor, action="account.changed", target=name, details=details)

        await self._database.write(operation)
        self.changed.set()

    async def enable(self, name: str, *, actor: str) -> None:
        """Let an account serve again. Raises NotFound."""
        await self._set_enabled(name, enabled=True, actor=actor)

    async def disable(self, name: str, *, actor: str) -> None:
        """Let an account serve nothing for now; calls that are under way end as they do. Raises NotFound."""
        await self._set_enabled(name, enabled=False, actor=actor)

    async def remove(self, name: str, *, actor: str) -> None:
        """Forget an account and its credential. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            stored = _require(tx, name)
            provider_accounts.delete_account(tx, name)
            details = {"provider": stored.account.provider, "fingerprint": stored.fingerprint}
            store.audit(tx, actor=actor, action="account.removed", target=name, details=details)

        await self._database.write(operation)
        self.changed.set()

    async def rewrap(self, old: MasterKey, *, actor: str) -> int:
        """Put every credential under the configured master key in one transaction; return how many were under the old one.

        Those that are under the configured key already stay as they are, so it may be run again. Raises Conflict, with nothing
        changed, when a credential is under neither key or does not open.
        """
        new = await asyncio.to_thread(self._keys.create)

        def operation(tx: Transaction) -> int:
            moved = 0
            for stored in provider_accounts.lock_accounts(tx):
                if stored.sealed.key_id == new.id:
                    continue
                name = stored.account.name
                if stored.sealed.key_id != old.id:
                    raise Conflict(
                        f"The key of {name} was sealed with {stored.sealed.key_id}. The old key that was given is {old.id},"
                        f" the configured one is {new.id}. Nothing was changed."
                    )
                try:
                    again = rewrap(old, new, stored.sealed, self._binding(stored.account))
                except (NotOpened, ValueError) as error:
                    raise Conflict(
                        f"The key of {name} does not open: {error}. Give it again with `omixa accounts change {name}"
                        " --new-key`, or remove the account. Nothing was changed."
                    ) from error
                moved += provider_accounts.rewrap_account(tx, name, old.id, again)
            if moved:
                details = {"from": old.id, "to": new.id, "accounts": moved}
                store.audit(tx, actor=actor, action="accounts.rewrapped", target=new.id, details=details)
            return moved

        return await self._database.write(operation)

    # --------------------------------------------------------------------------------------------------------- servers

    async def serving(self) -> Sequence[ProviderAccount]:
        """Return the accounts that are to serve, with their credentials.

        One whose credential does not open has a `fault` in its place, and one that the catalogue or omixa.toml leaves no room
        for is left out; the log tells of both, once.
        """
        stored = [one for one in await self._database.read(provider_accounts.list_accounts) if one.enabled]
        key: MasterKey | None = None
        if any(self._known(one) is None for one in stored):
            key = await self._master_key()
        found, told = [], {}
        for one in stored:
            name = one.account.name
            if (unfit := self._unfit(one.account)) is not None:
                told[name] = unfit.message
                continue
            try:
                secret = self._opened(one, key)
                found.append(replace(one.account, credential=None if one.account.auth == "entra" else secret))
            except NotOpened as error:
                told[name] = f"its key does not open: {error}"
                found.append(replace(one.account, fault=UNREADABLE))
        for name, reason in told.items():
            if self._logged.get(name) != reason:
                log.error("account.unusable", extra={"account": name, "reason": reason})
        self._logged = told
        self._open = {
            name: known for name, known in self._open.items() if any(one.account.name == name for one in stored)
        }
        return found

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _set_enabled(self, name: str, *, enabled: bool, actor: str) -> None:
        def operation(tx: Transaction) -> None:
            if _require(tx, name).enabled == enabled:
                return
            provider_accounts.enable_account(tx, name, enabled=enabled)
            action = "account.enabled" if enabled else "account.disabled"
            store.audit(tx, actor=actor, action=action, target=name, details={})

        await self._database.write(operation)
        self.changed.set()

    def _check(self, account: ProviderAccount) -> None:
        """Raise InvalidRequest for what cannot be stored."""
        mistake = mistake_in(account) or self._unfit(account)
        if mistake is None:
            try:
                self._binding(account)
            except ValueError as error:
                mistake = Mistake("endpoint", f"endpoint must be an address of a plain host: {error}.")
        if mistake is not None:
            raise InvalidRequest(mistake.message, param=mistake.field)

    def _unfit(self, account: ProviderAccount) -> Mistake | None:
        if account.name in self._taken:
            return Mistake("name", f"{account.name} is the name of a deployment in omixa.toml, which is used.")
        return unsuited(account, self._catalogue)

    def _binding(self, account: ProviderAccount) -> bytes:
        """Return what the credential of an account is bound to. Raises ValueError for an endpoint that is no plain address."""
        provider = self._catalogue.providers.get(account.provider)
        origin = origin_of(account.endpoint or ("" if provider is None else provider.endpoint))
        place = f"{origin.scheme}://{origin.host}:{origin.port}"
        scope = account.entra_scope if account.auth == "entra" else ""
        return binding(account.name, account.provider, account.auth, scope, place)

    def _stays_bound(self, before: ProviderAccount, after: ProviderAccount) -> bool:
        """Tell whether what is sealed may stay as it is: no other credential is given, and it goes nowhere else."""
        try:
            return after.credential is None and self._binding(after) == self._binding(before)
        except ValueError:
            # One of the endpoints is none, so that they are not the same.
            return False

    def _seal(self, account: ProviderAccount, key: MasterKey) -> tuple[Sealed, str]:
        """Return what is stored of a credential, and its fingerprint. Where tokens are fetched, that is the empty text's."""
        if account.credential is None:
            return seal(key, _NO_CREDENTIAL, self._binding(account)), ""
        return seal(key, account.credential, self._binding(account)), fingerprint(account.credential)

    async def _master_key(self) -> MasterKey | None:
        return await asyncio.to_thread(self._keys.load)

    async def _key_to_seal(self) -> MasterKey:
        """Return the master key, which is made for the first credential of all. Raises Conflict where it was lost."""
        key = await self._master_key()
        if key is not None:
            return key
        stored = await self._database.read(provider_accounts.list_accounts)
        if stored:
            raise Conflict(
                f"The master key {stored[0].sealed.key_id}, with which the stored keys were sealed, is missing. Put it"
                " back; a new one would open none of them. Where it is lost, remove those accounts and add them again."
            )
        return await asyncio.to_thread(self._keys.create)

    def _known(self, stored: StoredAccount) -> Secret | None:
        """Return a credential that was opened before, if the account has not changed since."""
        revision, secret = self._open.get(stored.account.name, ("", None))
        return secret if revision == stored.revision else None

    def _opened(self, stored: StoredAccount, key: MasterKey | None) -> Secret:
        """Return the credential of an account, which is empty where tokens are fetched. Raises NotOpened."""
        if (known := self._known(stored)) is not None:
            return known
        secret = self._unsealed(stored, key)
        self._open[stored.account.name] = stored.revision, secret
        return secret

    def _unsealed(self, stored: StoredAccount, key: MasterKey | None) -> Secret:
        if key is None:
            raise NotOpened(f"the master key {stored.sealed.key_id} is missing")
        try:
            return unseal(key, stored.sealed, self._binding(stored.account))
        except ValueError as error:
            raise NotOpened(f"the endpoint is no plain address: {error}") from error

    def _view(self, stored: StoredAccount, key: MasterKey | None) -> AccountView:
        unfit = self._unfit(stored.account)
        problem = None if unfit is None else unfit.message
        if problem is None:
            try:
                self._unsealed(stored, key)
            except NotOpened as error:
                problem = f"The key does not open: {error}."
        return AccountView(
            account=stored.account,
            enabled=stored.enabled,
            fingerprint=stored.fingerprint,
            problem=problem,
            created_at_ms=stored.created_at_ms,
            updated_at_ms=stored.updated_at_ms,
        )


def unsuited(account: ProviderAccount, catalogue: Catalogue) -> Mistake | None:
    """Return what of an account cannot be used with this catalogue and what is installed, None where all is well."""
    provider = catalogue.providers.get(account.provider)
    if provider is None or provider.adapter == "embedded":
        known = ", ".join(one.id for one in catalogue.providers.values() if one.adapter != "embedded")
        return Mistake("provider", f"no provider is called {account.provider}; known: {known}")
    if not (account.endpoint or provider.endpoint):
        return Mistake("endpoint", f"endpoint is missing; {provider.id} has none for everybody")
    if account.auth == "entra":
        if provider.adapter not in TAKE_TOKENS:
            return Mistake("auth", f"auth: {provider.id} does not take tokens of Microsoft Entra")
        if not _is_installed("azure.identity"):
            return Mistake("auth", "auth: Entra's tokens need azure-identity: pip install 'omixa[entra]'")
    if provider.adapter == "bedrock" and account.auth == "api_key" and account.credential is not None:
        unsigned = _unsigned(account.credential)
        if unsigned is not None:
            return unsigned
    for model in account.models:
        if (provider.id, model.lower()) not in catalogue.offers:
            return Mistake("models", f"{provider.id} offers no model {model}")
    return None


def _unsigned(key: Secret) -> Mistake | None:
    """Return why requests to AWS could not be signed with a key."""
    identity, _, secret = key.reveal().partition(":")
    if not (identity and secret):
        return Mistake("api_key", "api_key must be ACCESS_KEY_ID:SECRET_ACCESS_KEY; a Bedrock key is a bearer_token")
    if not _is_installed("botocore"):
        return Mistake(
            "api_key",
            "signing needs botocore: pip install 'omixa[bedrock]', or have a Bedrock key as bearer_token",
        )
    return None


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _require(tx: Transaction, name: str) -> StoredAccount:
    stored = provider_accounts.find_account(tx, name)
    if stored is None:
        raise AccountNotFound(f'There is no stored account "{name[:80]}".')
    return stored


def _facts(account: ProviderAccount) -> Mapping[str, object]:
    """Return what the audit log says of an account: all but its credential."""
    return {
        "provider": account.provider,
        "endpoint": account.endpoint,
        "auth": account.auth,
        "entra_scope": account.entra_scope if account.auth == "entra" else None,
        "models": list(account.models),
        "deployment": account.deployment,
        "region": account.region,
        "weight": account.weight,
        "priority": account.priority,
        "qualities": list(account.qualities),
        "requests_per_minute": account.requests_per_minute,
        "images_per_minute": account.images_per_minute,
        "concurrency": account.concurrency,
    }
