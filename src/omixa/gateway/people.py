"""What people do at the door, and what operators do about people: links, passwords, sessions, roles. Each is one transaction."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from omixa.access import people, store
from omixa.access.passwords import MAX_CHARS, Passwords, require_password
from omixa.access.people import Person, PersonRow
from omixa.access.roles import Action, key_may, may, roles_that_may
from omixa.access.sessions import SessionKeys, generate_token
from omixa.domain.access import DEFAULT_WORKSPACE, Member, Principal, Role, Secret
from omixa.errors import (
    BadSignInLink,
    InvalidRequest,
    PersonNotFound,
    RoleForbidden,
    ScopeForbidden,
    SignInFailed,
    WorkspaceNotFound,
)
from omixa.limits.slots import Slots
from omixa.limits.tries import Tries
from omixa.storage.database import Database, Transaction

T = TypeVar("T")

# The name of an owner that nobody has named.
FIRST_PERSON = "owner"
# Whom the audit log names for what nobody asked for.
FIRST_START = "first start"

LINK_LIFETIME_MS = 24 * 3_600_000
SESSION_LIFETIME_MS = 14 * 24 * 3_600_000
# A session that was not used for so long has ended.
SESSION_IDLE_MS = 24 * 3_600_000
# How often it is noted at most that a session is in use: a page should not cost a write.
_NOTED_EVERY_MS = 10 * 60_000

# Each password that is hashed takes 64 MiB and all cores for a moment.
_HASHED_AT_A_TIME = 2
_MAX_WAITING = 32

NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in, and where they belong to."""

    person_id: str
    name: str
    memberships: tuple[Member, ...]
    is_operator: bool = False

    def member_of(self, workspace: str) -> Member | None:
        """Return what they are in a workspace of that name; None for one that is not theirs, whether it exists or not."""
        return next((one for one in self.memberships if one.workspace == workspace), None)


class People:
    """Who may sign in, and who has. `actor` in the methods is who the audit log names."""

    def __init__(self, database: Database, keys: SessionKeys) -> None:
        self.keys = keys
        self._database = database
        self._passwords = Passwords()
        self.tries = Tries()
        self._waiting = Slots(_MAX_WAITING, "passwords are being checked")
        self._turns = asyncio.Semaphore(_HASHED_AT_A_TIME)

    # ------------------------------------------------------------------------------------------------------- operators

    async def first_link(self) -> Secret | None:
        """Return a link by which the owner sets a password, and create the owner; None when an owner can sign in already."""
        token = generate_token()

        def operation(tx: Transaction) -> bool:
            if people.can_an_owner_sign_in(tx):
                return False
            self._insert_link(tx, _owner(tx, FIRST_START), token)
            return True

        return token if await self._database.write(operation) else None

    async def link(self, name: str, *, actor: str) -> Secret:
        """Return a link by which a person sets a new password. Raises NotFound."""
        token, name = generate_token(), name.lower()

        def operation(tx: Transaction) -> None:
            if name == FIRST_PERSON:
                _owner(tx, actor)
            found = _require_person(tx, name)
            self._insert_link(tx, found, token)
            store.audit(tx, actor=actor, action="person.linked", target=found.id, details={"name": name})

        await self._database.write(operation)
        return token

    async def invite(self, name: str, *, workspace: str, role: Role, actor: str) -> Secret | None:
        """Make a person a member of a workspace, or give a member another role.

        Returns a link by which they set a password; None for whoever has one, or a passkey. Raises NotFound for a workspace
        that does not exist, InvalidRequest for a name that is none and for the last owner, who stays one.
        """
        name = _require_name(name)
        token = generate_token()

        def operation(tx: Transaction) -> bool:
            workspace_id = _require_workspace(tx, workspace)
            found = people.find_person(tx, name) or people.insert_person(tx, name)
            before = people.find_role(tx, found.id, workspace_id)
            if before == "owner" and role != "owner":
                _require_another_owner(tx, workspace_id, workspace)
            people.set_role(tx, found.id, workspace_id, role)
            details = {"name": name, "workspace": workspace, "role": role, "before": before}
            store.audit(tx, actor=actor, action="person.invited", target=found.id, details=details)
            has_way_in = found.password_hash is not None or bool(people.list_passkeys(tx, found.id))
            if not has_way_in:
                self._insert_link(tx, found, token)
            return not has_way_in

        return token if await self._database.write(operation) else None

    async def remove(self, name: str, *, workspace: str, actor: str) -> None:
        """Take a person out of a workspace. Whoever belongs to none any more is signed out and has no way in.

        Nor do they run the gateway any longer. Raises NotFound, or InvalidRequest for the last owner and the last operator.
        """
        name = name.lower()

        def operation(tx: Transaction) -> None:
            workspace_id = _require_workspace(tx, workspace)
            _take_out(tx, _require_person(tx, name), workspace_id, workspace, actor)

        await self._database.write(operation)

    async def set_operator(self, name: str, *, is_operator: bool, actor: str) -> None:
        """Say whether a person runs the gateway, with all of its workspaces.

        Raises NotFound, or InvalidRequest for somebody who belongs to no workspace and for the last operator, who stays one.
        """
        name = name.lower()

        def operation(tx: Transaction) -> None:
            found = _require_person(tx, name)
            if is_operator and not people.memberships(tx, found.id):
                raise InvalidRequest(f"{name[:80]} belongs to no workspace. Invite them to one first.", param="name")
            if found.is_operator != is_operator:
                _set_operator(tx, found, is_operator, actor)
                # Whoever was handed one before may be somebody who owns a workspace and nothing else.
                people.delete_links(tx, found.id)

        await self._database.write(operation)

    async def list_people(self, workspace: str | None) -> list[PersonRow]:
        """Return the people of a workspace, or of all."""
        return await self._database.read(lambda tx: people.list_people(tx, workspace))

    # -------------------------------------------------------------------------------------------------------- members

    async def member_of(self, principal: Principal, action: Action) -> Member:
        """Return for whom a key does something that takes a scope. Their role is asked for each time.

        Raises ScopeForbidden, RoleForbidden. A test key does nothing where both modes are concerned.
        """
        if not key_may(principal.scopes, action) or principal.person_id is None:
            raise ScopeForbidden(
                f"This takes a key with the scope {action}. Owners and admins make one in the console, or the operator with"
                f" `omixa keys create --scope {action}`."
            )
        if action == "manage_members" and principal.mode != "live":
            raise ScopeForbidden("Members belong to both modes. Use a live key.", code="live_key_required")
        person_id = principal.person_id
        found = await self._database.read(
            lambda tx: [one for one in people.memberships(tx, person_id) if one.workspace_id == principal.workspace_id]
        )
        if not found or not may(found[0].role, action):
            raise RoleForbidden(
                f"The key acts for somebody who may not do this any more; {' and '.join(roles_that_may(action))} may."
            )
        return replace(found[0], key_id=principal.key_id)

    async def invite_member(self, name: str, *, role: Role, by: Member) -> Secret | None:
        """Let a member make somebody a member of their workspace, or give a member another role.

        A name stands for a person in all workspaces, and a member does not know who that is elsewhere: so they let in whom
        nobody knows yet, and never get a link for somebody who has a way in or belongs to another workspace. Returns a link for
        everybody else. A key that acts for a member does not decide who is an owner or an admin. Raises RoleForbidden,
        InvalidRequest.
        """
        name = _require_name(name)
        token = generate_token()

        def operation(tx: Transaction) -> bool:
            workspace_id = _require_workspace(tx, by.workspace)
            found = people.find_person(tx, name)
            before = None if found is None else people.find_role(tx, found.id, workspace_id)
            _require_power(tx, by, before, role)
            elsewhere = found is not None and any(
                one.workspace_id != workspace_id for one in people.memberships(tx, found.id)
            )
            if elsewhere and before is None:
                raise InvalidRequest(
                    f"{name} belongs to another workspace. Whoever runs this gateway lets them into yours too:"
                    f" `omixa users invite {name} --workspace {by.workspace}`.",
                    param="name",
                )
            if before == "owner" and role != "owner":
                _require_another_owner(tx, workspace_id, by.workspace)
            found = found or people.insert_person(tx, name)
            people.set_role(tx, found.id, workspace_id, role)
            details = {"name": name, "workspace": by.workspace, "role": role, "before": before}
            store.audit(tx, actor=by.actor, action="person.invited", target=found.id, details=details)
            waits = not (elsewhere or found.is_operator or people.has_way_in(tx, found.id))
            if waits:
                self._insert_link(tx, found, token)
            return waits

        return token if await self._database.write(operation) else None

    async def remove_member(self, name: str, *, by: Member) -> None:
        """Let a member take somebody out of their workspace. Raises NotFound, RoleForbidden, or InvalidRequest."""
        name = _require_name(name)

        def operation(tx: Transaction) -> None:
            workspace_id = _require_workspace(tx, by.workspace)
            found = people.find_person(tx, name)
            role = None if found is None else people.find_role(tx, found.id, workspace_id)
            _require_power(tx, by, role)
            if found is None or role is None:
                raise _not_a_member(name, by.workspace)
            if found.is_operator and len(people.memberships(tx, found.id)) == 1:
                raise InvalidRequest(f"{name} runs this gateway and belongs to no other workspace.", param="name")
            _take_out(tx, found, workspace_id, by.workspace, by.actor)

        await self._database.write(operation)

    # --------------------------------------------------------------------------------------------------------- the door

    async def owner_of(self, link: Secret) -> str:
        """Return the name of whoever a link is for. Raises BadSignInLink."""
        digest = self.keys.link_digest(link)
        found = await self._database.read(lambda tx: people.find_link(tx, digest))
        return require_link(found).name

    async def use_link(self, link: Secret, password: str, *, address: str) -> Secret:
        """Make a password the only way in by a link, end all other sessions, and return the token of a new one.

        Raises BadSignInLink, InvalidRequest for a password that is not good enough, RateLimited, Overloaded.
        """
        self.tries.count(None, address)
        require_password(password, await self.owner_of(link))
        link_digest = self.keys.link_digest(link)
        password_hash = await self._in_turn(functools.partial(self._passwords.hash, password))
        token = generate_token()

        def operation(tx: Transaction) -> None:
            found = require_link(people.use_link(tx, link_digest))
            # Whoever has lost a device, or has been robbed of one, begins anew.
            people.forget_ways_in(tx, found.id)
            people.set_password_hash(tx, found.id, password_hash)
            self.open_session(tx, found.id, token)
            store.audit(tx, actor=found.id, action="person.password_set", target=found.id, details={})

        await self._database.write(operation)
        self.tries.succeeded(None, address)
        return token

    async def sign_in(self, name: str, password: str, *, address: str) -> Secret:
        """Return the token of a new session. Takes as long for a name that nobody has.

        Raises SignInFailed, RateLimited after too many tries with a name or from an address, Overloaded.
        """
        name = name.strip().lower()[:MAX_CHARS]
        self.tries.count(name, address)
        # What is no name is nobody's, and no database has to know all that can be written.
        wanted = name if NAME.fullmatch(name) else ""
        found = await self._database.read(lambda tx: people.find_person(tx, wanted))
        known = None if found is None else found.password_hash
        # Longer ones are nobody's.
        tried = password[: MAX_CHARS + 1]
        fits = await self._in_turn(functools.partial(self._passwords.verify, known, tried))
        if found is None or known is None or not fits:
            raise SignInFailed("The name or the password is wrong.")
        self.tries.succeeded(name, address)
        renewed = known
        if self._passwords.is_outdated(known):
            renewed = await self._in_turn(functools.partial(self._passwords.hash, password))
        token = generate_token()

        def operation(tx: Transaction) -> None:
            current = people.find_person(tx, name)
            if current is None or current.password_hash != known:
                # It was changed meanwhile.
                raise SignInFailed("The name or the password is wrong.")
            if renewed != known:
                people.set_password_hash(tx, current.id, renewed)
            self.open_session(tx, current.id, token)

        await self._database.write(operation)
        return token

    async def visitor(self, token: Secret) -> Visitor | None:
        """Return who has signed in with a cookie, and note that they are still there; None when that has ended."""
        digest = self.keys.session_digest(token)

        def operation(tx: Transaction) -> tuple[Visitor, bool] | None:
            found = people.find_session(tx, digest)
            if found is None:
                return None
            memberships = tuple(people.memberships(tx, found.person_id))
            visitor = Visitor(found.person_id, found.person, memberships, found.is_operator)
            return visitor, found.idle_until_ms < tx.now_ms() + SESSION_IDLE_MS - _NOTED_EVERY_MS

        found = await self._database.read(operation)
        if found is None:
            return None
        visitor, is_to_be_noted = found
        if is_to_be_noted:
            await self._database.write(lambda tx: people.stay(tx, digest, idle_ms=SESSION_IDLE_MS))
        return visitor

    async def sign_out(self, token: Secret) -> None:
        """End a session; one that has ended stays ended."""
        digest = self.keys.session_digest(token)
        await self._database.write(lambda tx: people.close_session(tx, digest))

    async def sign_out_everywhere(self, person_id: str) -> int:
        """End all sessions of a person and return how many there were."""

        def operation(tx: Transaction) -> int:
            ended = people.close_sessions(tx, person_id)
            store.audit(tx, actor=person_id, action="person.signed_out", target=person_id, details={"sessions": ended})
            return ended

        return await self._database.write(operation)

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Do what takes a core for a while, in a thread. Raises Overloaded when too many wait."""
        with self._waiting.slot():
            async with self._turns:
                return await asyncio.to_thread(work)

    def open_session(self, tx: Transaction, person_id: str, token: Secret) -> None:
        """Begin a session of whoever has proved who they are."""
        people.open_session(
            tx,
            person_id,
            self.keys.session_digest(token),
            idle_ms=SESSION_IDLE_MS,
            lifetime_ms=SESSION_LIFETIME_MS,
        )

    def _insert_link(self, tx: Transaction, found: Person, token: Secret) -> None:
        people.insert_link(tx, found.id, self.keys.link_digest(token), lifetime_ms=LINK_LIFETIME_MS)


def _owner(tx: Transaction, actor: str) -> Person:
    """Return the owner of the default workspace, who is created where there is none.

    They run the gateway where nobody does yet.
    """
    workspace_id = _require_workspace(tx, DEFAULT_WORKSPACE)
    found = people.find_owner(tx, workspace_id)
    if found is None:
        found = people.find_person(tx, FIRST_PERSON) or people.insert_person(tx, FIRST_PERSON)
        people.set_role(tx, found.id, workspace_id, "owner")
    if not people.operators(tx):
        _set_operator(tx, found, True, actor)
    return found


def _set_operator(tx: Transaction, found: Person, is_operator: bool, actor: str) -> None:
    if not is_operator and people.operators(tx) == [found.id]:
        raise InvalidRequest(f"{found.name} is the only operator. Make somebody else one first.", param="name")
    people.set_operator(tx, found.id, is_operator)
    action = "operator.made" if is_operator else "operator.unmade"
    store.audit(tx, actor=actor, action=action, target=found.id, details={"name": found.name})


def _require_person(tx: Transaction, name: str) -> Person:
    found = people.find_person(tx, name)
    if found is None:
        raise PersonNotFound(f'There is nobody called "{name[:80]}".')
    return found


def _require_workspace(tx: Transaction, name: str) -> str:
    """Return a workspace's id, with its roles for this transaction alone."""
    found = store.find_workspace(tx, name)
    if found is None:
        raise WorkspaceNotFound(f'There is no workspace "{name[:80]}".')
    people.lock_workspace(tx, found)
    return found


def _require_name(name: str) -> str:
    name = name.lower()
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f'"{name[:80]}" is not a name: use an e-mail address, or 1 to 100 letters, digits and . _ @ + -.',
            param="name",
        )
    return name


def _not_a_member(name: str, workspace: str) -> PersonNotFound:
    return PersonNotFound(f"{name[:80]} does not belong to {workspace}.")


def _require_power(tx: Transaction, by: Member, *roles: Role | None) -> None:
    """Raise RoleForbidden unless a member, as what they are now, may give and take roles; those of owners are for owners.

    Roles that may do so themselves are given and taken by people, so that no key outlives itself in somebody it has let in.
    """
    now = people.find_role(tx, by.person_id, by.workspace_id)
    if now is None or not may(now, "manage_members") or ("owner" in roles and now != "owner"):
        raise RoleForbidden("Owners and admins change who belongs to a workspace, and owners alone who owns it.")
    if by.key_id is not None and any(role is not None and may(role, "manage_members") for role in roles):
        raise RoleForbidden("Owners and admins are made, changed and taken out by people, not by keys.")


def _take_out(tx: Transaction, found: Person, workspace_id: str, workspace: str, actor: str) -> None:
    """Take a person out of a workspace, and out of the gateway where it was their last one."""
    role = people.find_role(tx, found.id, workspace_id)
    if role is None:
        raise _not_a_member(found.name, workspace)
    if role == "owner":
        _require_another_owner(tx, workspace_id, workspace)
    people.delete_membership(tx, found.id, workspace_id)
    # Whoever comes back later does not find them at work.
    for key_id in store.keys_acting_for(tx, workspace_id, found.id):
        store.revoke_key(tx, key_id)
        store.audit(tx, actor=actor, action="key.revoked", target=key_id, details={"acted_for": found.id})
    if not people.memberships(tx, found.id):
        if found.is_operator:
            _set_operator(tx, found, False, actor)
        people.forget_ways_in(tx, found.id)
    details = {"name": found.name, "workspace": workspace, "role": role}
    store.audit(tx, actor=actor, action="person.removed", target=found.id, details=details)


def _require_another_owner(tx: Transaction, workspace_id: str, workspace: str) -> None:
    if people.count_owners(tx, workspace_id) < 2:
        raise InvalidRequest(f"{workspace} needs an owner. Make somebody else one first.", param="role")


def require_link(found: Person | None) -> Person:
    """Return whoever a link is for. Raises BadSignInLink."""
    if found is None:
        raise BadSignInLink(
            "This link was used already, or its time has passed. Whoever runs this gateway makes another one with"
            " `omixa users link`."
        )
    return found
