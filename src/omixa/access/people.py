"""People, their roles, sessions and one-time links in the database: functions of an open transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, delete, exists, func, select, update

from omixa.domain.access import Member, Role
from omixa.domain.ids import new_id
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import (
    membership,
    openid_identity,
    passkey,
    person,
    session,
    sign_in_link,
    spent_challenge,
    workspace,
)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in. `password_hash` is None until they have set a password."""

    id: str
    name: str
    password_hash: str | None
    is_operator: bool = False


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person in a workspace as operators see them. Times are Unix milliseconds."""

    name: str
    workspace: str
    role: Role
    is_operator: bool
    has_password: bool
    has_passkey: bool
    has_identity: bool
    sessions: int
    created_at_ms: int


# ----------------------------------------------------------------------------------------------------------------- people

_person = select(person.c.id, person.c.name, person.c.password_hash, person.c.is_operator)
_person_by_name = _person.where(person.c.name == bindparam("name"))
_person_by_id = _person.where(person.c.id == bindparam("person_id"))
_owners_by_age = (
    _person.join(membership, membership.c.person_id == person.c.id)
    .where(membership.c.role == "owner")
    .order_by(person.c.id)
    .limit(1)
)
_oldest_owner = _owners_by_age.where(membership.c.workspace_id == bindparam("workspace_id"))
_owner_with_way_in = _owners_by_age.where(
    person.c.password_hash.is_not(None) | exists().where(passkey.c.person_id == person.c.id)
)
_insert_person = insert_into(person, "id", "name", "created_at_ms")
_set_hash = update(person).where(person.c.id == bindparam("of_person")).values(password_hash=bindparam("hash"))
_set_operator = update(person).where(person.c.id == bindparam("of_person")).values(is_operator=bindparam("flag"))
# Whoever asks has all of them for this transaction alone.
_operators = select(person.c.id).where(person.c.is_operator == 1).order_by(person.c.id).with_for_update()
_names = select(person.c.name).where(person.c.id == bindparam("person_id"))


def find_person(tx: Transaction, name: str) -> Person | None:
    """Return the person of a name."""
    row = tx.first(_person_by_name, name=name)
    return None if row is None else _as_person(row)


def _as_person(row: Row) -> Person:
    return Person(row["id"], row["name"], row["password_hash"], bool(row["is_operator"]))


def insert_person(tx: Transaction, name: str) -> Person:
    """Create a person without a password."""
    identifier = new_id("usr")
    tx.execute(_insert_person, id=identifier, name=name, created_at_ms=tx.now_ms())
    return Person(identifier, name, None)


def find_owner(tx: Transaction, workspace_id: str) -> Person | None:
    """Return the owner of a workspace who was there first."""
    row = tx.first(_oldest_owner, workspace_id=workspace_id)
    return None if row is None else _as_person(row)


def can_an_owner_sign_in(tx: Transaction) -> bool:
    """Tell whether an owner of some workspace has a password or a passkey."""
    return tx.first(_owner_with_way_in) is not None


def set_password_hash(tx: Transaction, person_id: str, password_hash: str | None) -> None:
    """Set what a person's password is held against; None takes the password away."""
    tx.execute(_set_hash, of_person=person_id, hash=password_hash)


def operators(tx: Transaction) -> list[str]:
    """Return the ids of all who run the gateway, and let nobody else change that until this transaction ends."""
    return [row["id"] for row in tx.all(_operators)]


def set_operator(tx: Transaction, person_id: str, is_operator: bool) -> None:
    """Say whether a person runs the gateway."""
    tx.execute(_set_operator, of_person=person_id, flag=int(is_operator))


def names(tx: Transaction, person_ids: Iterable[str]) -> dict[str, str]:
    """Return what people are called, by their ids; of other ids, nothing."""
    found = {one: tx.first(_names, person_id=one) for one in person_ids}
    return {one: row["name"] for one, row in found.items() if row is not None}


# ------------------------------------------------------------------------------------------------------------ memberships

_member_columns = (
    membership.c.person_id,
    person.c.name.label("person"),
    membership.c.workspace_id,
    workspace.c.name.label("workspace"),
    membership.c.role,
)
_memberships = (
    select(*_member_columns)
    .join(person, person.c.id == membership.c.person_id)
    .join(workspace, workspace.c.id == membership.c.workspace_id)
    .where(membership.c.person_id == bindparam("person_id"))
    .order_by(workspace.c.name)
)
_this_membership = (
    membership.c.person_id == bindparam("of_person"),
    membership.c.workspace_id == bindparam("of_workspace"),
)
_role = select(membership.c.role).where(*_this_membership)
_insert_membership = insert_into(membership)
_set_role = update(membership).where(*_this_membership).values(role=bindparam("new_role"))
_delete_membership = delete(membership).where(*_this_membership)
_lock_workspace = select(workspace.c.id).where(workspace.c.id == bindparam("workspace_id")).with_for_update()
_owners = select(func.count().label("owners")).where(
    membership.c.workspace_id == bindparam("workspace_id"), membership.c.role == "owner"
)
_people = (
    select(
        person.c.name,
        workspace.c.name.label("workspace"),
        membership.c.role,
        person.c.is_operator,
        person.c.password_hash.is_not(None).label("has_password"),
        exists().where(passkey.c.person_id == person.c.id).label("has_passkey"),
        exists().where(openid_identity.c.person_id == person.c.id).label("has_identity"),
        func.count(session.c.digest).label("sessions"),
        membership.c.created_at_ms,
    )
    .select_from(membership)
    .join(person, person.c.id == membership.c.person_id)
    .join(workspace, workspace.c.id == membership.c.workspace_id)
    .outerjoin(
        session,
        and_(
            session.c.person_id == person.c.id,
            session.c.idle_until_ms > bindparam("now"),
            session.c.ends_at_ms > bindparam("now"),
        ),
    )
    .group_by(
        *(person.c.id, person.c.name, person.c.is_operator, person.c.password_hash),
        *(workspace.c.name, membership.c.role, membership.c.created_at_ms),
    )
    .order_by(workspace.c.name, person.c.name)
)
_people_of_workspace = _people.where(workspace.c.name == bindparam("workspace"))


def memberships(tx: Transaction, person_id: str) -> list[Member]:
    """Return where a person belongs to, in the order of the alphabet."""
    return [Member(**row) for row in tx.all(_memberships, person_id=person_id)]


def lock_workspace(tx: Transaction, workspace_id: str) -> None:
    """Let nobody else change a workspace's roles until this transaction ends."""
    tx.first(_lock_workspace, workspace_id=workspace_id)


def find_role(tx: Transaction, person_id: str, workspace_id: str) -> Role | None:
    """Return what a person is in a workspace; None when they do not belong to it."""
    row = tx.first(_role, of_person=person_id, of_workspace=workspace_id)
    return None if row is None else row["role"]


def set_role(tx: Transaction, person_id: str, workspace_id: str, role: Role) -> None:
    """Make a person a member of a workspace, or give a member another role."""
    if not tx.execute(_set_role, of_person=person_id, of_workspace=workspace_id, new_role=role):
        tx.execute(
            _insert_membership, person_id=person_id, workspace_id=workspace_id, role=role, created_at_ms=tx.now_ms()
        )


def delete_membership(tx: Transaction, person_id: str, workspace_id: str) -> None:
    """Take a person out of a workspace."""
    tx.execute(_delete_membership, of_person=person_id, of_workspace=workspace_id)


def count_owners(tx: Transaction, workspace_id: str) -> int:
    """Return how many owners a workspace has."""
    row = tx.first(_owners, workspace_id=workspace_id)
    assert row is not None, "a count is one row"
    return int(row["owners"])


def list_people(tx: Transaction, workspace_name: str | None) -> list[PersonRow]:
    """Return the people of one workspace, or of all, in the order of the alphabet."""
    now = tx.now_ms()
    found = _people if workspace_name is None else _people_of_workspace
    names = {} if workspace_name is None else {"workspace": workspace_name}
    return [
        PersonRow(
            row["name"],
            row["workspace"],
            row["role"],
            bool(row["is_operator"]),
            bool(row["has_password"]),
            bool(row["has_passkey"]),
            bool(row["has_identity"]),
            int(row["sessions"]),
            row["created_at_ms"],
        )
        for row in tx.all(found, now=now, **names)
    ]


# --------------------------------------------------------------------------------------------------------------- sessions

_insert_session = insert_into(session)
_session = (
    select(session.c.person_id, person.c.name, person.c.is_operator, session.c.idle_until_ms, session.c.ends_at_ms)
    .join(person, person.c.id == session.c.person_id)
    .where(session.c.digest == bindparam("digest"))
)
_stay = update(session).where(session.c.digest == bindparam("of_digest")).values(idle_until_ms=bindparam("idle_until"))
_delete_session = delete(session).where(session.c.digest == bindparam("digest"))
_delete_sessions = delete(session).where(session.c.person_id == bindparam("person_id"))
_delete_ended = delete(session).where(
    (session.c.idle_until_ms <= bindparam("now")) | (session.c.ends_at_ms <= bindparam("now"))
)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, until when in Unix milliseconds."""

    person_id: str
    person: str
    is_operator: bool
    idle_until_ms: int
    ends_at_ms: int


def open_session(tx: Transaction, person_id: str, digest: str, *, idle_ms: int, lifetime_ms: int) -> None:
    """Begin a session, and forget those of anybody that have ended."""
    now = tx.now_ms()
    tx.execute(_delete_ended, now=now)
    tx.execute(
        _insert_session,
        digest=digest,
        person_id=person_id,
        created_at_ms=now,
        idle_until_ms=now + idle_ms,
        ends_at_ms=now + lifetime_ms,
    )


def find_session(tx: Transaction, digest: str) -> Session | None:
    """Return a session that has not ended."""
    row = tx.first(_session, digest=digest)
    if row is None or min(row["idle_until_ms"], row["ends_at_ms"]) <= tx.now_ms():
        return None
    return Session(row["person_id"], row["name"], bool(row["is_operator"]), row["idle_until_ms"], row["ends_at_ms"])


def stay(tx: Transaction, digest: str, *, idle_ms: int) -> None:
    """Note that a session is in use."""
    tx.execute(_stay, of_digest=digest, idle_until=tx.now_ms() + idle_ms)


def close_session(tx: Transaction, digest: str) -> None:
    """End a session."""
    tx.execute(_delete_session, digest=digest)


def close_sessions(tx: Transaction, person_id: str) -> int:
    """End all sessions of a person and return how many there were."""
    return tx.execute(_delete_sessions, person_id=person_id)


# ------------------------------------------------------------------------------------------------------------------ links

_insert_link = insert_into(sign_in_link)
_link = select(sign_in_link.c.person_id, sign_in_link.c.expires_at_ms).where(
    sign_in_link.c.digest == bindparam("digest")
)
_delete_link = delete(sign_in_link).where(sign_in_link.c.digest == bindparam("digest"))
_delete_links = delete(sign_in_link).where(sign_in_link.c.person_id == bindparam("person_id"))
_delete_old_links = delete(sign_in_link).where(sign_in_link.c.expires_at_ms <= bindparam("now"))


def insert_link(tx: Transaction, person_id: str, digest: str, *, lifetime_ms: int) -> None:
    """Keep a one-time link, and forget those of anybody whose time has passed."""
    now = tx.now_ms()
    tx.execute(_delete_old_links, now=now)
    tx.execute(_insert_link, digest=digest, person_id=person_id, expires_at_ms=now + lifetime_ms)


def find_link(tx: Transaction, digest: str) -> Person | None:
    """Return whose link it is, while it may be used."""
    row = tx.first(_link, digest=digest)
    if row is None or row["expires_at_ms"] <= tx.now_ms():
        return None
    found = tx.first(_person_by_id, person_id=row["person_id"])
    return None if found is None else _as_person(found)


def use_link(tx: Transaction, digest: str) -> Person | None:
    """Return whose link it is and use it up. Of two who use it at the same time, one gets None."""
    found = find_link(tx, digest)
    return found if found is not None and tx.execute(_delete_link, digest=digest) else None


def delete_links(tx: Transaction, person_id: str) -> None:
    """Make all links of a person useless."""
    tx.execute(_delete_links, person_id=person_id)


# ------------------------------------------------------------------------------------------------------------- identities

_this_identity = (openid_identity.c.issuer == bindparam("issuer"), openid_identity.c.subject == bindparam("subject"))
_person_of_identity = _person.join(openid_identity, openid_identity.c.person_id == person.c.id).where(*_this_identity)
_insert_identity = insert_into(openid_identity)
_has_identity = (
    select(openid_identity.c.subject)
    .where(openid_identity.c.person_id == bindparam("person_id"), openid_identity.c.issuer == bindparam("issuer"))
    .limit(1)
)
_delete_identities = delete(openid_identity).where(openid_identity.c.person_id == bindparam("person_id"))


def find_identity(tx: Transaction, issuer: str, subject: str) -> Person | None:
    """Return whom an OpenID provider means by a subject."""
    row = tx.first(_person_of_identity, issuer=issuer, subject=subject)
    return None if row is None else _as_person(row)


def insert_identity(tx: Transaction, person_id: str, issuer: str, subject: str) -> None:
    """Note whom an OpenID provider means by a subject."""
    tx.execute(_insert_identity, issuer=issuer, subject=subject, person_id=person_id, created_at_ms=tx.now_ms())


def has_identity(tx: Transaction, person_id: str, issuer: str) -> bool:
    """Tell whether a person has signed in at an OpenID provider."""
    return tx.first(_has_identity, person_id=person_id, issuer=issuer) is not None


def delete_identities(tx: Transaction, person_id: str) -> None:
    """Forget by which subjects OpenID providers mean a person."""
    tx.execute(_delete_identities, person_id=person_id)


# --------------------------------------------------------------------------------------------------------------- passkeys


@dataclass(frozen=True, slots=True)
class PasskeyRow:
    """A passkey as its owner sees it. Times are Unix milliseconds."""

    id: str
    name: str
    credential_id: str
    created_at_ms: int
    used_at_ms: int | None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a device made: its name for it in base64url, the public key in CBOR, and how often it says that it was used."""

    id: str
    public_key: bytes
    sign_count: int


@dataclass(frozen=True, slots=True)
class Passkey:
    """Whose passkey it is, and what its answers are held against."""

    id: str
    person_id: str
    credential: Credential


_passkeys_of = (
    select(passkey.c.id, passkey.c.name, passkey.c.credential_id, passkey.c.created_at_ms, passkey.c.used_at_ms)
    .where(passkey.c.person_id == bindparam("person_id"))
    .order_by(passkey.c.id)
)
_passkey = select(passkey).where(passkey.c.credential_id == bindparam("credential_id"))
_insert_passkey = insert_into(
    passkey, "id", "person_id", "name", "credential_id", "public_key", "sign_count", "created_at_ms"
)
_use_passkey = (
    update(passkey)
    .where(passkey.c.id == bindparam("of_passkey"), passkey.c.sign_count == bindparam("was"))
    .values(sign_count=bindparam("now_is"), used_at_ms=bindparam("now"))
)
_delete_passkey = delete(passkey).where(passkey.c.id == bindparam("passkey_id"))
_delete_passkeys = delete(passkey).where(passkey.c.person_id == bindparam("person_id"))
_lock_person = select(person.c.id).where(person.c.id == bindparam("person_id")).with_for_update()
_other_way = select(person.c.id).where(
    person.c.id == bindparam("person_id"),
    person.c.password_hash.is_not(None) | exists().where(openid_identity.c.person_id == person.c.id),
)
_challenge = select(spent_challenge.c.challenge).where(spent_challenge.c.challenge == bindparam("challenge"))
_insert_challenge = insert_into(spent_challenge)
_delete_old_challenges = delete(spent_challenge).where(spent_challenge.c.ends_at_ms <= bindparam("now"))


def list_passkeys(tx: Transaction, person_id: str) -> list[PasskeyRow]:
    """Return a person's passkeys, the oldest first."""
    return [PasskeyRow(**row) for row in tx.all(_passkeys_of, person_id=person_id)]


def find_passkey(tx: Transaction, credential_id: str) -> Passkey | None:
    """Return the passkey that a device calls so."""
    row = tx.first(_passkey, credential_id=credential_id)
    if row is None:
        return None
    credential = Credential(row["credential_id"], bytes(row["public_key"]), int(row["sign_count"]))
    return Passkey(row["id"], row["person_id"], credential)


def insert_passkey(tx: Transaction, person_id: str, name: str, credential: Credential) -> str:
    """Keep a passkey and return its id."""
    identifier = new_id("psk")
    tx.execute(
        _insert_passkey,
        id=identifier,
        person_id=person_id,
        name=name,
        credential_id=credential.id,
        public_key=credential.public_key,
        sign_count=credential.sign_count,
        created_at_ms=tx.now_ms(),
    )
    return identifier


def use_passkey(tx: Transaction, passkey_id: str, before: int, count: int) -> bool:
    """Note that a passkey was used. Of two who do so from the same count at the same time, one gets False."""
    return bool(tx.execute(_use_passkey, of_passkey=passkey_id, was=before, now_is=count, now=tx.now_ms()))


def delete_passkey(tx: Transaction, passkey_id: str) -> None:
    """Take a passkey away."""
    tx.execute(_delete_passkey, passkey_id=passkey_id)


def lock_person(tx: Transaction, person_id: str) -> None:
    """Let nobody else change a person's ways in until this transaction ends."""
    tx.first(_lock_person, person_id=person_id)


def has_another_way(tx: Transaction, person_id: str) -> bool:
    """Tell whether a person comes in without a passkey too."""
    return tx.first(_other_way, person_id=person_id) is not None


def has_way_in(tx: Transaction, person_id: str) -> bool:
    """Tell whether a person has a password or a passkey, or has come in by a provider."""
    return has_another_way(tx, person_id) or bool(list_passkeys(tx, person_id))


def forget_ways_in(tx: Transaction, person_id: str) -> None:
    """Take away everything by which a person comes in, and end their sessions."""
    set_password_hash(tx, person_id, None)
    tx.execute(_delete_passkeys, person_id=person_id)
    delete_identities(tx, person_id)
    delete_links(tx, person_id)
    close_sessions(tx, person_id)


def spend_challenge(tx: Transaction, challenge: str, *, ends_at_ms: int) -> bool:
    """Let a challenge serve. Returns False when it has; of two who try at the same time, one fails."""
    tx.execute(_delete_old_challenges, now=tx.now_ms())
    if tx.first(_challenge, challenge=challenge) is not None:
        return False
    tx.execute(_insert_challenge, challenge=challenge, ends_at_ms=ends_at_ms)
    return True
