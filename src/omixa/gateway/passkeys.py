"""People and their passkeys: making one, signing in with one, taking one away. Each is one transaction.

A challenge is derived from the cookie of the browser that is asked and from an end, so nothing is stored until it has served;
from then on it is kept until that end, so that it serves once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from omixa.access import passkeys, people, store
from omixa.access.passkeys import RelyingParty
from omixa.access.people import Credential, PasskeyRow
from omixa.access.sessions import generate_token
from omixa.domain.access import Secret
from omixa.errors import InvalidRequest, NotFound
from omixa.gateway.people import People, require_link
from omixa.storage.database import Database, Transaction

LIFETIME_S: Final = 300
MAX_PASSKEYS: Final = 20
MAX_NAME_CHARS: Final = 60
FIRST_NAME: Final = "First passkey"


@dataclass(frozen=True, slots=True)
class Question:
    """What a browser is asked, and until when, in Unix seconds, it may answer."""

    options: dict[str, Any]
    ends_s: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser answers. `cookie` is what it keeps, which must be what it kept when it was asked."""

    cookie: Secret
    text: str
    ends_s: int


class Passkeys:
    """What people do with passkeys, at the door and on the page about them."""

    def __init__(self, database: Database, door: People, *, now_s: Callable[[], float] = time.time) -> None:
        self._database = database
        self._door = door
        self._now_s = now_s

    # ---------------------------------------------------------------------------------------------------- what is asked

    def ask_to_sign_in(self, party: RelyingParty, cookie: Secret) -> Question:
        """Return what a browser is asked to sign in."""
        ends_s = self._end()
        return Question(passkeys.request_options(party, challenge=self._challenge(cookie, ends_s)), ends_s)

    async def ask_for_one(self, party: RelyingParty, cookie: Secret, *, person_id: str, name: str) -> Question:
        """Return what a browser is asked to make a passkey of a person."""
        known = await self.of(person_id)
        ends_s = self._end()
        challenge = self._challenge(cookie, ends_s)
        options = passkeys.creation_options(
            party, person_id=person_id, name=name, challenge=challenge, known=[one.credential_id for one in known]
        )
        return Question(options, ends_s)

    async def ask_by_link(self, party: RelyingParty, cookie: Secret, link: Secret) -> Question:
        """Return what a browser is asked to make a passkey of whoever a link is for. Raises BadSignInLink."""
        digest = self._door.keys.link_digest(link)
        found = require_link(await self._database.read(lambda tx: people.find_link(tx, digest)))
        return await self.ask_for_one(party, cookie, person_id=found.id, name=found.name)

    # -------------------------------------------------------------------------------------------------- what is answered

    async def sign_in(self, party: RelyingParty, answer: Answer, *, address: str) -> Secret:
        """Return the token of a new session. Raises BadPasskey, RateLimited after too many tries from an address."""
        self._door.tries.count(None, address)
        challenge = self._require_challenge(answer)
        wanted = passkeys.credential_id(answer.text)
        token = generate_token()

        def operation(tx: Transaction) -> None:
            self._spend(tx, challenge, answer)
            found = people.find_passkey(tx, wanted)
            if found is None or not people.memberships(tx, found.person_id):
                raise passkeys.refused()
            count = passkeys.used(party, answer.text, found.credential, challenge=challenge)
            if not people.use_passkey(tx, found.id, found.credential.sign_count, count):
                raise passkeys.refused()
            self._door.open_session(tx, found.person_id, token)

        await self._database.write(operation)
        self._door.tries.succeeded(None, address)
        return token

    async def add(self, party: RelyingParty, answer: Answer, name: str, *, person_id: str) -> None:
        """Keep a passkey that somebody who is signed in has made. Raises BadPasskey, InvalidRequest for its name."""
        name = _require_name(name)
        challenge = self._require_challenge(answer)
        made = passkeys.made(party, answer.text, challenge=challenge)

        def operation(tx: Transaction) -> None:
            self._spend(tx, challenge, answer)
            if len(people.list_passkeys(tx, person_id)) >= MAX_PASSKEYS:
                raise InvalidRequest(f"You have {MAX_PASSKEYS} passkeys. Take one away first.", param="name")
            self._insert(tx, person_id, name, made)

        await self._database.write(operation)

    async def use_link(self, party: RelyingParty, answer: Answer, link: Secret, *, address: str) -> Secret:
        """Make a passkey the only way in by a link, end all other sessions, and return the token of a new one.

        Raises BadSignInLink, BadPasskey, RateLimited.
        """
        self._door.tries.count(None, address)
        challenge = self._require_challenge(answer)
        made = passkeys.made(party, answer.text, challenge=challenge)
        digest = self._door.keys.link_digest(link)
        token = generate_token()

        def operation(tx: Transaction) -> None:
            self._spend(tx, challenge, answer)
            found = require_link(people.use_link(tx, digest))
            people.forget_ways_in(tx, found.id)
            self._insert(tx, found.id, FIRST_NAME, made)
            self._door.open_session(tx, found.id, token)

        await self._database.write(operation)
        self._door.tries.succeeded(None, address)
        return token

    # ------------------------------------------------------------------------------------------------------ what there is

    async def of(self, person_id: str) -> list[PasskeyRow]:
        """Return a person's passkeys, the oldest first."""
        return await self._database.read(lambda tx: people.list_passkeys(tx, person_id))

    async def remove(self, passkey_id: str, *, person_id: str) -> None:
        """Take a passkey away. Raises NotFound, or InvalidRequest for the only way in that is left."""

        def operation(tx: Transaction) -> None:
            people.lock_person(tx, person_id)
            rows = people.list_passkeys(tx, person_id)
            if passkey_id not in [one.id for one in rows]:
                raise NotFound("There is no such passkey of yours.")
            if len(rows) == 1 and not people.has_another_way(tx, person_id):
                raise InvalidRequest("This is your only way in. Make another passkey first.", param="passkey")
            people.delete_passkey(tx, passkey_id)
            details = {"passkey": passkey_id}
            store.audit(tx, actor=person_id, action="passkey.removed", target=person_id, details=details)

        await self._database.write(operation)

    def _insert(self, tx: Transaction, person_id: str, name: str, made: Credential) -> None:
        if people.find_passkey(tx, made.id) is not None:
            raise passkeys.refused()
        identifier = people.insert_passkey(tx, person_id, name, made)
        details = {"passkey": identifier, "name": name}
        store.audit(tx, actor=person_id, action="passkey.added", target=person_id, details=details)

    def _end(self) -> int:
        return int(self._now_s()) + LIFETIME_S

    def _challenge(self, cookie: Secret, ends_s: int) -> bytes:
        return self._door.keys.derived("passkey", Secret(f"{cookie.reveal()}.{ends_s}")).encode()

    def _require_challenge(self, answer: Answer) -> bytes:
        now = self._now_s()
        if not now < answer.ends_s <= now + LIFETIME_S:
            raise passkeys.refused()
        return self._challenge(answer.cookie, answer.ends_s)

    def _spend(self, tx: Transaction, challenge: bytes, answer: Answer) -> None:
        if not people.spend_challenge(tx, challenge.decode(), ends_at_ms=answer.ends_s * 1000):
            raise passkeys.refused()


def _require_name(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= MAX_NAME_CHARS:
        raise InvalidRequest(f"Give the passkey a name of 1 to {MAX_NAME_CHARS} characters.", param="name")
    return name
