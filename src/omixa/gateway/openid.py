"""Who comes in by an OpenID provider: whoever was invited, and whoever belongs to a domain that needs no invitation."""

from __future__ import annotations

from dataclasses import dataclass

from omixa.access import people, store
from omixa.access.openid import Identity, OpenIdProvider
from omixa.access.people import Person
from omixa.access.sessions import generate_token
from omixa.domain.access import EMAIL, Role, Secret
from omixa.errors import SignInRefused
from omixa.gateway.people import NAME, People
from omixa.storage.database import Database, Transaction


@dataclass(frozen=True, slots=True)
class Joining:
    """Whose verified e-mail addresses need no invitation, and what they become."""

    domains: tuple[str, ...]
    workspace: str
    role: Role


class OpenIdDoor:
    """Lets people in whom a provider knows.

    The first time, a person is found by their name; from then on the provider's subject counts, whatever else changes there.
    """

    def __init__(self, database: Database, people: People, provider: OpenIdProvider, joining: Joining) -> None:
        self.provider = provider
        self._database = database
        self._people = people
        self._joining = joining

    async def sign_in(self, flow: Secret, code: str, callback: str, *, address: str) -> Secret:
        """Return the token of a new session for the code that a provider gave.

        Raises RateLimited after too many tries from an address, OpenIdFailed, OpenIdUnavailable, SignInRefused.
        """
        self._people.tries.count(None, address)
        identity = await self.provider.identity(flow, code, callback)
        token = generate_token()

        def operation(tx: Transaction) -> None:
            found = people.find_identity(tx, identity.issuer, identity.subject) or self._bound(tx, identity)
            self._people.open_session(tx, found.id, token)

        await self._database.write(operation)
        self._people.tries.succeeded(None, address)
        return token

    async def knows(self, person_id: str) -> bool:
        """Tell whether a person has come in by this provider."""
        issuer = self.provider.registration.issuer
        return await self._database.read(lambda tx: people.has_identity(tx, person_id, issuer))

    def _bound(self, tx: Transaction, identity: Identity) -> Person:
        """Return whoever has the name of somebody who comes for the first time, and keep that it is them."""
        name, provider = identity.name, self.provider.registration.name
        if name is None:
            raise SignInRefused(f"{provider} names no e-mail address of yours that it has verified.")
        found = people.find_person(tx, name) if NAME.fullmatch(name) else None
        if found is None:
            found = self._joined(tx, name)
        elif people.has_identity(tx, found.id, identity.issuer):
            # An address may have come to somebody else there.
            raise SignInRefused(
                f"{provider} says that you are {name}, and meant somebody else by that name before. If that was you, whoever"
                f" runs this gateway makes a link: `omixa users link {name}`."
            )
        elif not people.memberships(tx, found.id):
            # They were taken out, and come back by an invitation alone.
            found = None
        if found is None:
            raise SignInRefused(
                f"{provider} says that you are {name[:100]}. Nobody here has invited you under that name."
            )
        # Whoever had a password under this name until now may have been somebody else: nobody has checked it.
        people.forget_ways_in(tx, found.id)
        people.insert_identity(tx, found.id, identity.issuer, identity.subject)
        details = {"issuer": identity.issuer, "subject": identity.subject, "name": name}
        store.audit(tx, actor=found.id, action="person.recognised", target=found.id, details=details)
        return found

    def _joined(self, tx: Transaction, name: str) -> Person | None:
        """Let somebody in who needs no invitation, into a workspace that exists."""
        joining = self._joining
        is_theirs = EMAIL.fullmatch(name) and name.rpartition("@")[2] in joining.domains
        if not is_theirs or not NAME.fullmatch(name):
            return None
        workspace_id = store.find_workspace(tx, joining.workspace)
        if workspace_id is None:
            return None
        found = people.insert_person(tx, name)
        people.set_role(tx, found.id, workspace_id, joining.role)
        details = {"name": name, "workspace": joining.workspace, "role": joining.role}
        store.audit(tx, actor=found.id, action="person.joined", target=found.id, details=details)
        return found
