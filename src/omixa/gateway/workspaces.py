"""What operators do with workspaces: open them, hand out and revoke keys, grant credit. Each is one transaction."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from functools import partial
from types import MappingProxyType
from typing import TypedDict

from omixa.access import keys, people, signatures, store
from omixa.access.credentials import CredentialDigests
from omixa.access.links import LinkSigner
from omixa.access.operators import OperatorTokens
from omixa.access.roles import SCOPES, may
from omixa.access.sessions import SessionKeys
from omixa.access.store import KeyOwner, KeyRow, ResultSettings, WorkspaceRow
from omixa.billing import alerts, budgets, ledger, lots
from omixa.billing.budgets import Subject
from omixa.billing.ledger import Balance
from omixa.billing.lots import MAX_PRIORITY, MIN_PRIORITY, PAID, Lot, LotTerms
from omixa.billing.pricing import MAX_MARKUP_PPM, MIN_MARKUP_PPM
from omixa.domain.access import (
    DEFAULT_WORKSPACE,
    EMAIL,
    Constraints,
    Member,
    Mode,
    Principal,
    ResponseFormat,
    Scope,
    Secret,
)
from omixa.domain.money import MAX_AMOUNT_MICRO_USD, format_usd
from omixa.domain.times import MAX_TIME_MS
from omixa.errors import InvalidRequest, RoleForbidden, ScopeForbidden, Unauthenticated, WorkspaceNotFound
from omixa.gateway.allowances import LimitChanges, Limits, require_key, require_limits, require_rates, set_limits
from omixa.storage import prompts, retention
from omixa.storage.database import Database, Transaction

# Play money that every new workspace starts with, so that a test key works at once.
PLAY_MONEY_MICRO_USD = 1_000_000_000

# Keys that are remembered between requests, some hundred bytes each.
MAX_KNOWN_KEYS = 10_000
# How long a key's limits are believed without asking the database again.
KNOWN_FOR_NS = 5_000_000_000

# Ten years.
MAX_RETENTION_HOURS = 87_600
HOUR_MS = 3_600_000

MAX_KEY_NAME = 200
# Prompts that are deleted in one transaction.
_PROMPT_BATCH = 200

# How long an old key may work beside the one that takes its place: a month.
MAX_OVERLAP_MS = 31 * 24 * HOUR_MS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_REASON = 500
_REFERENCE = re.compile(r"[!-~]{1,200}")


class ResultChanges(TypedDict, total=False):
    """What is to be changed of a workspace's results. Hours are None for what is usual, and 0 for until they are delivered."""

    retention_hours: int | None
    response_format: ResponseFormat
    keep_prompts: bool


class RouteChanges(TypedDict, total=False):
    """What is to be changed of where a workspace's requests may go: names of providers or regions, None for all."""

    providers: frozenset[str] | None
    regions: frozenset[str] | None


class Workspaces:
    """Keys and credit. `actor` in the methods is who the audit log names.

    `fingerprint_key` begins the digests by which repeats are known.
    """

    def __init__(self, database: Database, pepper: Secret) -> None:
        self._database = database
        self._pepper = pepper
        self.fingerprint_key = keys.fingerprint_key(pepper)
        # Keys that have asked, and until when that is believed, by the monotonic clock.
        self._known: dict[str, tuple[Principal, int]] = {}

    async def prepare(self) -> None:
        """Create the system's accounts and the default workspace where they are missing."""

        def operation(tx: Transaction) -> None:
            ledger.open_system_accounts(tx)
            _workspace(tx, DEFAULT_WORKSPACE)

        await self._database.write(operation)

    async def find(self, name: str) -> str:
        """Return a workspace's id. Raises NotFound."""
        found = await self._database.read(lambda tx: store.find_workspace(tx, name))
        if found is None:
            raise _no_workspace(name)
        return found

    async def authenticate(self, text: str, *, spends: bool = False) -> Principal:
        """Return who a key belongs to. Raises Unauthenticated; malformed keys are refused without asking the database.

        Who `spends` may be remembered from an earlier request: of a key nothing but its end ever changes and nothing but
        the markup of its workspace, and the hold asks the database about both.
        """
        digest = keys.parse_key(text).digest(self._pepper)
        now = time.monotonic_ns()
        if spends and (known := self._known.get(digest)) is not None and now < known[1]:
            return known[0]
        principal = await self._database.read(lambda tx: store.find_principal(tx, digest))
        if principal is None:
            raise Unauthenticated("The API key is unknown, revoked or past its time.")
        if len(self._known) >= MAX_KNOWN_KEYS:
            self._known.clear()
        self._known[digest] = principal, now + KNOWN_FOR_NS
        return principal

    def forget(self, principal: Principal) -> None:
        """Remember a key no longer, so that its next request asks the database again."""
        for digest in [digest for digest, (known, _) in self._known.items() if known.key_id == principal.key_id]:
            del self._known[digest]

    async def create_key(
        self,
        *,
        workspace: str,
        mode: Mode,
        name: str,
        models: Sequence[str] | None,
        actor: str,
        requires_signature: bool = False,
        budgets: Limits = MappingProxyType({}),
        limits: LimitChanges = MappingProxyType({}),
        expires_at_ms: int | None = None,
        scopes: Collection[Scope] = (),
        acts_for: str | None = None,
    ) -> tuple[str, Secret]:
        """Create a key, and its workspace where that is missing. Returns the key's id and, this once, the key.

        With `scopes` it makes no pictures and does what they say for the member `acts_for`, by name, who may give them.
        Raises InvalidRequest for a name, a budget, a limit or an end out of range, and where a key that manages is limited like
        one that makes pictures; RoleForbidden for a member who may not give the scopes.
        """
        require_limits(budgets)
        require_rates(limits)
        require_key_name(name)
        if scopes:
            _require_scopes(scopes, mode=mode, is_limited=bool(models is not None or budgets or limits))
        key = keys.generate_key(mode)

        def operation(tx: Transaction) -> str:
            workspace_id = _workspace(tx, workspace)
            _require_future(tx, expires_at_ms)
            person_id = _giver(tx, workspace_id, acts_for or "", scopes) if scopes else None
            key_id = store.insert_key(
                tx,
                workspace_id=workspace_id,
                mode=mode,
                name=name,
                digest=key.digest(self._pepper),
                last4=key.last4,
                models=models,
                requires_signature=requires_signature,
                expires_at_ms=expires_at_ms,
                scopes=[one for one in SCOPES if one in scopes],
                person_id=person_id,
            )
            details: dict[str, object] = {
                "workspace": workspace,
                "mode": mode,
                "name": name,
                "models": None if models is None else list(models),
                "requires_signature": requires_signature,
                "expires_at_ms": expires_at_ms,
            }
            if scopes:
                details |= {"scopes": sorted(scopes), "acts_for": person_id}
            if budgets:
                subject = Subject(ledger.workspace_account(tx, workspace_id, mode), key_id)
                details["budgets"] = set_limits(tx, subject, budgets)
            if limits:
                store.change_key_limits(tx, key_id, limits)
                details["limits"] = dict(limits)
            store.audit(tx, actor=actor, action="key.created", target=key_id, details=details)
            return key_id

        return await self._database.write(operation), key.secret

    def signing_secret(self, key_id: str) -> Secret:
        """Return the secret with which requests of a key are signed."""
        return signatures.signing_secret(self._pepper, key_id)

    def link_signer(self) -> LinkSigner:
        """Return what signs links to pictures."""
        return LinkSigner(self._pepper)

    def session_keys(self) -> SessionKeys:
        """Return what knows the tokens of people who sign in."""
        return SessionKeys(self._pepper)

    def credential_digests(self) -> CredentialDigests:
        """Return what knows providers' credentials again."""
        return CredentialDigests(self._pepper)

    def operator_tokens(self) -> OperatorTokens:
        """Return what knows the operator's command line."""
        return OperatorTokens(self._pepper)

    async def list_keys(self, workspace: str | None) -> list[KeyRow]:
        """Return the keys of a workspace, or all."""
        return await self._database.read(lambda tx: store.list_keys(tx, workspace))

    async def revoke_key(self, key_id: str, *, actor: str, owner: KeyOwner | None = None) -> None:
        """Revoke a key at once; with an `owner`, only one of theirs. Raises NotFound."""

        def operation(tx: Transaction) -> None:
            require_key(tx, key_id, owner)
            store.revoke_key(tx, key_id)
            store.audit(tx, actor=actor, action="key.revoked", target=key_id, details={})

        await self._database.write(operation)

    async def set_key_expiry(
        self,
        key_id: str,
        expires_at_ms: int | None,
        *,
        actor: str,
        owner: KeyOwner | None = None,
        by: Member | None = None,
    ) -> None:
        """Set from when a key is as good as revoked; None takes that away. Raises NotFound, InvalidRequest for the past.

        `by` is a member who does it, None the operator: one of a key with scopes is set by whoever may give those.
        """

        def operation(tx: Transaction) -> None:
            found = require_key(tx, key_id, owner)
            _require_future(tx, expires_at_ms)
            if by is not None:
                _require_giver(tx, found, key_id, by)
            store.set_key_expiry(tx, key_id, expires_at_ms)
            details = {"expires_at_ms": expires_at_ms}
            store.audit(tx, actor=actor, action="key.expiry_set", target=key_id, details=details)

        await self._database.write(operation)

    async def roll_key(
        self, key_id: str, *, overlap_ms: int, actor: str, owner: KeyOwner | None = None, by: Member | None = None
    ) -> tuple[str, Secret]:
        """Create a key that may do what another one may, which ends after a while. Returns as `create_key` does.

        The new one has the name, models, limits, budgets and the length of life of the old one. Its budgets begin anew. One with
        scopes is rolled by whoever may give them, and the new one acts for that member; for the same one where the operator
        rolls it, which `by` being None means. Raises NotFound, RoleForbidden, ScopeForbidden, or InvalidRequest for an overlap
        out of range.
        """
        if not 0 <= overlap_ms <= MAX_OVERLAP_MS:
            raise InvalidRequest(
                f"Both keys work together from 0 to {MAX_OVERLAP_MS // HOUR_MS} hours.", param="overlap"
            )

        def operation(tx: Transaction) -> tuple[str, Secret]:
            found = require_key(tx, key_id, owner)
            old = store.find_key(tx, found.workspace_id, found.mode, key_id)
            assert old is not None, "the key was found in this transaction"
            person_id = None
            if old.scopes:
                if by is not None:
                    _require_giver(tx, found, key_id, by)
                person_id = _giver(tx, found.workspace_id, (old.person if by is None else by.person) or "", old.scopes)
            now = tx.now_ms()
            key = keys.generate_key(old.mode)
            new_id = store.insert_key(
                tx,
                workspace_id=found.workspace_id,
                mode=old.mode,
                name=old.name,
                digest=key.digest(self._pepper),
                last4=key.last4,
                models=old.models,
                requires_signature=old.requires_signature,
                expires_at_ms=None if old.expires_at_ms is None else now + old.expires_at_ms - old.created_at_ms,
                scopes=old.scopes,
                person_id=person_id,
            )
            store.change_key_limits(tx, new_id, asdict(old.limits))
            account_id = ledger.workspace_account(tx, found.workspace_id, old.mode)
            own = [one for one in budgets.list_budgets(tx, account_id, key_id) if one.subject.key_id == key_id]
            set_limits(tx, Subject(account_id, new_id), {one.period: one.limit_micro_usd for one in own})
            if overlap_ms:
                store.set_key_expiry(tx, key_id, min(now + overlap_ms, old.expires_at_ms or now + overlap_ms))
            else:
                store.revoke_key(tx, key_id)
            details = {"by": new_id, "overlap_ms": overlap_ms}
            store.audit(tx, actor=actor, action="key.rolled", target=key_id, details=details)
            return new_id, key.secret

        return await self._database.write(operation)

    async def grant(
        self,
        *,
        workspace: str,
        mode: Mode,
        amount_micro_usd: int,
        reason: str,
        actor: str,
        terms: LotTerms = PAID,
        reference: str | None = None,
    ) -> Balance:
        """Credit a workspace and return its new balance. A grant with the `reference` of an earlier one changes nothing.

        Raises InvalidRequest for an amount, a reason or terms out of range, ReferenceUsed when the earlier grant was different.
        """
        if not 0 < amount_micro_usd <= MAX_AMOUNT_MICRO_USD:
            raise InvalidRequest(
                f"The amount must be above 0 and at most {format_usd(MAX_AMOUNT_MICRO_USD)}.", param="amount"
            )
        require_reason(reason)
        _require_terms(terms, reference)

        def operation(tx: Transaction) -> Balance:
            if terms.expires_at_ms is not None and terms.expires_at_ms <= tx.now_ms():
                raise InvalidRequest("Credit cannot expire in the past.", param="expires")
            account_id = ledger.workspace_account(tx, _workspace(tx, workspace), mode)
            booked = ledger.grant(
                tx,
                account_id=account_id,
                mode=mode,
                amount_micro_usd=amount_micro_usd,
                reason=reason,
                terms=terms,
                reference=reference,
            )
            if booked.is_new:
                details = {
                    "workspace": workspace,
                    "mode": mode,
                    "amount": format_usd(amount_micro_usd),
                    "reason": reason,
                    "kind": terms.kind,
                    "priority": terms.priority,
                    "expires_at_ms": terms.expires_at_ms,
                    "reference": reference,
                }
                store.audit(tx, actor=actor, action="credit.granted", target=booked.transfer_id, details=details)
            return ledger.balance(tx, account_id)

        return await self._database.write(operation)

    async def list_credit(self, *, workspace: str, mode: Mode) -> list[Lot]:
        """Return what a workspace has to spend, lot by lot in the order in which it burns. Raises NotFound."""
        workspace_id = await self.find(workspace)
        return await self._database.read(lambda tx: lots.list_lots(tx, workspace_id, mode))

    async def list_workspaces(self) -> list[WorkspaceRow]:
        """Return all workspaces."""
        return await self._database.read(store.list_workspaces)

    async def set_markup(self, *, workspace: str, markup_ppm: int, reason: str, actor: str) -> int:
        """Set what a workspace pays above the price lists, from its next hold on, and return what it was.

        Raises NotFound, or InvalidRequest for a markup or reason out of range.
        """
        if not MIN_MARKUP_PPM <= markup_ppm <= MAX_MARKUP_PPM:
            raise InvalidRequest(
                f"The markup must be from {MIN_MARKUP_PPM} to {MAX_MARKUP_PPM} parts per million: a discount takes at most"
                " the whole price.",
                param="markup_ppm",
            )
        require_reason(reason)

        def operation(tx: Transaction) -> int:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            before = store.set_markup(tx, workspace_id, markup_ppm)
            details = {"workspace": workspace, "before_ppm": before, "after_ppm": markup_ppm, "reason": reason}
            store.audit(tx, actor=actor, action="workspace.markup_set", target=workspace_id, details=details)
            return before

        return await self._database.write(operation)

    async def set_alert(
        self, *, workspace: str, mode: Mode, below_micro_usd: int | None, email: str | None, actor: str
    ) -> None:
        """Alert when a workspace's balance falls below an amount; None ends that. Raises NotFound, InvalidRequest."""
        if below_micro_usd is not None and not 0 < below_micro_usd <= MAX_AMOUNT_MICRO_USD:
            raise InvalidRequest(
                f"The threshold must be above 0 and at most {format_usd(MAX_AMOUNT_MICRO_USD)}.", param="below"
            )
        if email is not None and not EMAIL.fullmatch(email):
            raise InvalidRequest(f'"{email[:80]}" is not an e-mail address.', param="email")

        def operation(tx: Transaction) -> None:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            alerts.set_threshold(tx, ledger.workspace_account(tx, workspace_id, mode), below_micro_usd, email)
            below = None if below_micro_usd is None else format_usd(below_micro_usd)
            details = {"workspace": workspace, "mode": mode, "below": below, "email": email}
            store.audit(tx, actor=actor, action="workspace.alert_set", target=workspace_id, details=details)

        await self._database.write(operation)

    async def set_results(self, workspace: str, changes: ResultChanges, *, actor: str) -> ResultSettings:
        """Set how results of a workspace are kept and come back, and return all of that. Raises NotFound, InvalidRequest.

        A shorter retention counts for results that are kept already too, a longer one for new ones alone. When this returns,
        no prompt is left of a workspace that keeps none.
        """
        hours = changes.get("retention_hours")
        if hours is not None and not 0 <= hours <= MAX_RETENTION_HOURS:
            raise InvalidRequest(
                f"Results are kept from 0 to {MAX_RETENTION_HOURS} hours; got {hours}.", param="retention_hours"
            )

        def operation(tx: Transaction) -> tuple[str, ResultSettings]:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            if "retention_hours" in changes:
                retention.set_retention(tx, workspace_id, None if hours is None else hours * HOUR_MS)
            if "response_format" in changes:
                store.set_response_format(tx, workspace_id, changes["response_format"])
            if "keep_prompts" in changes:
                retention.set_keep_prompts(tx, workspace_id, changes["keep_prompts"])
            details = {"workspace": workspace, **changes}
            store.audit(tx, actor=actor, action="workspace.results_set", target=workspace_id, details=details)
            return workspace_id, store.result_settings(tx, workspace_id)

        workspace_id, chosen = await self._database.write(operation)
        if not chosen.keeps_prompts:
            # Where this is cut short, the sweeper goes on.
            forget = partial(prompts.forget_unwanted, workspace_id=workspace_id, limit=_PROMPT_BATCH)
            while await self._database.write(forget) == _PROMPT_BATCH:
                pass
        return chosen

    async def set_routes(self, workspace: str, changes: RouteChanges, *, actor: str) -> Constraints:
        """Set where requests of a workspace may go, and return all of that. Raises NotFound. Servers obey within a few seconds.

        Names are told apart without case. Those of providers are the catalogue's, which the caller knows.
        """
        lowered = {
            kind: None if names is None else frozenset(name.lower() for name in names)
            for kind, names in (("providers", changes.get("providers")), ("regions", changes.get("regions")))
            if kind in changes
        }

        def operation(tx: Transaction) -> Constraints:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            allowed = replace(store.constraints(tx, workspace_id), **lowered)
            store.set_constraints(tx, workspace_id, allowed)
            details = {
                "workspace": workspace,
                "providers": None if allowed.providers is None else sorted(allowed.providers),
                "regions": None if allowed.regions is None else sorted(allowed.regions),
            }
            store.audit(tx, actor=actor, action="workspace.routes_set", target=workspace_id, details=details)
            return allowed

        return await self._database.write(operation)

    async def constraints(self, workspace: str) -> Constraints:
        """Return where requests of a workspace may go. Raises NotFound."""

        def operation(tx: Transaction) -> Constraints:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            return store.constraints(tx, workspace_id)

        return await self._database.read(operation)

    async def resume(self, *, workspace: str, reason: str, actor: str) -> bool:
        """Let a suspended workspace spend again. Returns False when it was not suspended. Raises NotFound, InvalidRequest."""
        require_reason(reason)

        def operation(tx: Transaction) -> bool:
            workspace_id = store.find_workspace(tx, workspace)
            if workspace_id is None:
                raise _no_workspace(workspace)
            if not store.resume(tx, workspace_id):
                return False
            details = {"workspace": workspace, "reason": reason}
            store.audit(tx, actor=actor, action="workspace.resumed", target=workspace_id, details=details)
            return True

        return await self._database.write(operation)

    async def is_suspended(self, principal: Principal) -> bool:
        """Tell whether the workspace of a key may not spend. For estimates: only the hold decides."""
        return await self._database.read(lambda tx: store.is_suspended(tx, principal.workspace_id))

    async def balance(self, principal: Principal) -> Balance:
        """Return the balance that a key spends from."""
        return await self._database.read(lambda tx: ledger.balance(tx, principal.account_id))


def require_key_name(name: str) -> None:
    """Raise InvalidRequest unless a name of a key can be kept and shown."""
    if len(name) > MAX_KEY_NAME or "\0" in name:
        raise InvalidRequest(f"The name of a key has at most {MAX_KEY_NAME} characters.", param="name")


def _require_scopes(scopes: Collection[Scope], *, mode: Mode, is_limited: bool) -> None:
    """Raise InvalidRequest unless a key may have these scopes and nothing that is for pictures."""
    unknown = set(scopes).difference(SCOPES)
    if unknown:
        raise InvalidRequest(f"Scopes are {', '.join(SCOPES)}.", param="scopes")
    if is_limited:
        raise InvalidRequest(
            "A key with scopes manages and makes no pictures, so it has no models, budgets and limits. Make another key for"
            " pictures.",
            param="scopes",
        )
    if "manage_members" in scopes and mode != "live":
        raise InvalidRequest("Members belong to both modes, so a live key manages them.", param="scopes")


def _giver(tx: Transaction, workspace_id: str, name: str, scopes: Collection[Scope]) -> str:
    """Return the id of the member of a name. Raises RoleForbidden unless they may do what scopes say, and let a key do it."""
    found = people.find_person(tx, name)
    role = None if found is None else people.find_role(tx, found.id, workspace_id)
    if found is None or role is None or not (may(role, "give_scopes") and all(may(role, one) for one in scopes)):
        raise RoleForbidden(
            "A key with scopes acts for an owner or an admin of the workspace, as far as their role goes.",
            param="scopes",
        )
    return found.id


def _require_giver(tx: Transaction, owner: KeyOwner, key_id: str, by: Member) -> None:
    """Raise RoleForbidden or ScopeForbidden unless a member may give the scopes that a key has."""
    found = store.find_key(tx, owner.workspace_id, owner.mode, key_id)
    assert found is not None, "the key was found in this transaction"
    if not found.scopes:
        return
    if by.key_id is not None:
        raise ScopeForbidden("Keys with scopes are changed and rolled by people, not by keys.", code="scoped_key")
    _giver(tx, owner.workspace_id, by.person, found.scopes)


def _require_future(tx: Transaction, expires_at_ms: int | None) -> None:
    if expires_at_ms is not None and expires_at_ms <= tx.now_ms():
        raise InvalidRequest("A key cannot have ended already when it is made. Choose a later day.", param="expires")
    _require_writable(expires_at_ms)


def _require_writable(expires_at_ms: int | None) -> None:
    if expires_at_ms is not None and expires_at_ms > MAX_TIME_MS:
        raise InvalidRequest("That day is too far away. Choose an earlier one, or none.", param="expires")


def require_reason(reason: str) -> None:
    """Raise InvalidRequest unless a reason can be kept in the ledger and the audit log."""
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise InvalidRequest(f"Give a reason of 1 to {_MAX_REASON} characters.", param="reason")


def _require_terms(terms: LotTerms, reference: str | None) -> None:
    _require_writable(terms.expires_at_ms)
    if not MIN_PRIORITY <= terms.priority <= MAX_PRIORITY:
        raise InvalidRequest(f"The priority must be from {MIN_PRIORITY} to {MAX_PRIORITY}.", param="priority")
    if reference is not None and not _REFERENCE.fullmatch(reference):
        raise InvalidRequest("A reference is 1 to 200 visible ASCII characters.", param="reference")


def _no_workspace(name: str) -> WorkspaceNotFound:
    return WorkspaceNotFound(f'There is no workspace "{name[:80]}".')


def _workspace(tx: Transaction, name: str) -> str:
    """Return a workspace's id, and create it with its two accounts and play money when it does not exist."""
    found = store.find_workspace(tx, name)
    if found is not None:
        return found
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f'"{name[:80]}" is not a workspace name: use 1 to 63 letters, digits, dots, dashes or underscores.',
            param="workspace",
        )
    workspace_id = store.insert_workspace(tx, name)
    ledger.open_workspace_account(tx, workspace_id, "live")
    test_account = ledger.open_workspace_account(tx, workspace_id, "test")
    ledger.grant(
        tx,
        account_id=test_account,
        mode="test",
        amount_micro_usd=PLAY_MONEY_MICRO_USD,
        reason="play money to start with",
    )
    return workspace_id
