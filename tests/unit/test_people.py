"""The door in front of the console, on both databases: links work once, sessions end, nothing that opens it is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from omixa.access.keys import generate_pepper
from omixa.access.sessions import SessionKeys, generate_token
from omixa.domain.access import Member, Secret
from omixa.errors import BadSignInLink, InvalidRequest, NotFound, OmixaError, RateLimited, SignInFailed
from omixa.gateway.people import FIRST_PERSON, LINK_LIFETIME_MS, SESSION_IDLE_MS, SESSION_LIFETIME_MS, People
from omixa.gateway.workspaces import Workspaces
from omixa.limits.tries import NAME_BURST
from omixa.storage import tables
from omixa.storage.database import Database
from tests.support.places import Clock, Place

T = TypeVar("T")

PASSWORD = "four words in a row"
OTHER = "five other words in a row"
HERE = "127.0.0.1"
MINUTE_MS = 60_000


@dataclass
class House:
    """A ledger with one workspace and a door."""

    database: Database
    people: People
    clock: Clock

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run(work)

    def owner(self, password: str = PASSWORD) -> Secret:
        """Let the owner set a password and return the session's token."""
        link = self.do(self.people.first_link())
        assert link is not None
        return self.do(self.people.use_link(link, password, address=HERE))

    def invite(self, name: str, role: Any = "developer", workspace: str = "default") -> Secret | None:
        return self.do(self.people.invite(name, workspace=workspace, role=role, actor="test"))

    def memberships(self, token: Secret) -> list[tuple[str, str]] | None:
        visitor = self.do(self.people.visitor(token))
        return None if visitor is None else [(one.workspace, one.role) for one in visitor.memberships]

    def is_in(self, token: Secret) -> bool:
        return self.do(self.people.visitor(token)) is not None


@pytest.fixture
def house(place: Place) -> Iterator[House]:
    clock = Clock()
    fatal: list[str] = []
    database = Database(place.backend(clock), on_fatal=fatal.append)
    database.open()
    workspaces = Workspaces(database, generate_pepper())
    asyncio.run(workspaces.prepare())
    for name in ("acme", "globex"):
        asyncio.run(workspaces.create_key(workspace=name, mode="test", name="", models=None, actor="test"))
    yield House(database, People(database, workspaces.session_keys()), clock)
    database.close()
    assert fatal == []


# -------------------------------------------------------------------------------------------------------------- operators


def test_the_first_owner_runs_the_gateway_and_the_last_operator_goes_on(house: House) -> None:
    owner = house.owner()
    visitor = house.do(house.people.visitor(owner))
    assert visitor is not None
    assert visitor.is_operator

    def operates(token: Secret) -> bool:
        found = house.do(house.people.visitor(token))
        assert found is not None
        return found.is_operator

    def set_operator(name: str, is_operator: bool) -> None:
        house.do(house.people.set_operator(name, is_operator=is_operator, actor="test"))

    link = house.invite("ada", "owner", "acme")
    assert link is not None
    ada = house.do(house.people.use_link(link, PASSWORD, address=HERE))
    # An owner of a workspace, and of the default one too, is no operator by that.
    house.invite("ada", "owner")
    assert not operates(ada)
    with pytest.raises(InvalidRequest):
        set_operator(FIRST_PERSON, False)
    set_operator("ada", True)
    assert operates(ada)
    # A link that somebody may still have from before is no way to become an operator.
    waits = house.invite("alan", "developer", "acme")
    assert waits is not None
    set_operator("alan", True)
    with pytest.raises(BadSignInLink):
        house.do(house.people.use_link(waits, PASSWORD, address=HERE))
    set_operator("alan", False)
    set_operator(FIRST_PERSON, False)
    assert not operates(owner)
    # Asking for the owner's link again makes nobody an operator while there is one.
    house.do(house.people.link(FIRST_PERSON, actor="test"))
    assert not operates(owner)
    with pytest.raises(InvalidRequest):
        set_operator("ada", False)
    house.do(house.people.remove("ada", workspace="default", actor="test"))
    # Whoever belongs to no workspace any more cannot sign in, so the last operator stays in one.
    house.invite("grace", "owner", "acme")
    with pytest.raises(InvalidRequest):
        house.do(house.people.remove("ada", workspace="acme", actor="test"))
    assert operates(ada)
    set_operator(FIRST_PERSON, True)
    house.do(house.people.remove("ada", workspace="acme", actor="test"))
    assert not house.is_in(ada)
    for name in ("nobody", "ada"):
        with pytest.raises((NotFound, InvalidRequest)):
            set_operator(name, True)


# ------------------------------------------------------------------------------------------------------------------ links


def test_the_first_link_makes_an_owner_and_the_last_one_is_made_before_there_is_a_password(house: House) -> None:
    first, second = (house.do(house.people.first_link()) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first != second
    assert house.do(house.people.owner_of(first)) == FIRST_PERSON
    token = house.do(house.people.use_link(second, PASSWORD, address=HERE))
    assert house.memberships(token) == [("default", "owner")]
    assert house.do(house.people.first_link()) is None
    # What else was handed out before opens nothing any more.
    with pytest.raises(BadSignInLink):
        house.do(house.people.use_link(first, OTHER, address=HERE))
    assert house.is_in(house.do(house.people.sign_in("  OWNER ", PASSWORD, address=HERE)))


def test_whoever_was_invited_as_owner_gets_the_first_link(house: House) -> None:
    house.invite("grace", "viewer")
    house.invite("ada", "owner")
    link = house.do(house.people.first_link())
    assert link is not None
    assert house.do(house.people.owner_of(link)) == "ada"
    with pytest.raises(NotFound):
        house.do(house.people.link("owner", actor="test"))


def test_people_who_own_nothing_do_not_keep_an_owner_out(house: House) -> None:
    way = house.invite("grace", "viewer")
    assert way is not None
    house.do(house.people.use_link(way, PASSWORD, address=HERE))
    assert house.memberships(house.owner()) == [("default", "owner")]


def test_a_link_works_once_and_for_a_day(house: House) -> None:
    house.owner()
    late, used = house.do(house.people.link("owner", actor="test")), house.do(house.people.link("owner", actor="test"))
    house.do(house.people.use_link(used, OTHER, address=HERE))
    with pytest.raises(BadSignInLink):
        house.do(house.people.use_link(used, PASSWORD, address=HERE))
    late = house.do(house.people.link("owner", actor="test"))
    house.clock.now_ms += LINK_LIFETIME_MS
    with pytest.raises(BadSignInLink):
        house.do(house.people.owner_of(late))
    for wrong in (generate_token(), Secret(""), Secret("x" * 500)):
        with pytest.raises(BadSignInLink):
            house.do(house.people.use_link(wrong, PASSWORD, address=HERE))
    assert house.is_in(house.do(house.people.sign_in("owner", OTHER, address=HERE)))


def test_of_those_who_use_a_link_at_the_same_time_one_gets_in(house: House, place: Place) -> None:
    house.owner()
    link = house.do(house.people.link("owner", actor="test"))

    # Another server on the same ledger.
    further = Database(place.backend(house.clock), on_fatal=print)
    further.open()
    people = [house.people, People(further, house.people.keys)]

    async def race() -> list[object]:
        tries = [people[number % 2].use_link(link, f"{OTHER} {number}", address=HERE) for number in range(4)]
        return list(await asyncio.gather(*tries, return_exceptions=True))

    found = house.do(race())
    further.close()
    assert sum(isinstance(one, Secret) for one in found) == 1
    assert sum(isinstance(one, BadSignInLink) for one in found) == 3


def test_a_new_password_ends_every_other_session(house: House) -> None:
    before = house.owner()
    also = house.do(house.people.sign_in("owner", PASSWORD, address=HERE))
    link = house.do(house.people.link("owner", actor="test"))
    now = house.do(house.people.use_link(link, OTHER, address=HERE))
    assert [house.is_in(token) for token in (before, also, now)] == [False, False, True]
    with pytest.raises(SignInFailed):
        house.do(house.people.sign_in("owner", PASSWORD, address=HERE))


@pytest.mark.parametrize(
    "password", ["", "short one", "x" * 257, "a" * 40, "abababababab", "the owner of it all", "THE OWNER OF IT ALL"]
)
def test_a_poor_password_is_refused_and_the_link_stays_good(house: House, password: str) -> None:
    link = house.do(house.people.first_link())
    assert link is not None
    with pytest.raises(InvalidRequest) as refused:
        house.do(house.people.use_link(link, password, address=HERE))
    assert refused.value.param == "password"
    assert house.is_in(house.do(house.people.use_link(link, PASSWORD, address=HERE)))


# --------------------------------------------------------------------------------------------------------------- passwords


def test_a_wrong_name_and_a_wrong_password_are_told_the_same_and_take_the_same_work(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.owner()
    house.invite("waits@example.org")
    checked: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, known: str, password: str) -> Any:
        checked.append(known)
        return verify(self, known, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    messages = set()
    for name in ("owner", "nobody", "waits@example.org", "", "\0", "x" * 9000, "' OR 1=1 --"):
        with pytest.raises(SignInFailed) as failed:
            house.do(house.people.sign_in(name, OTHER, address=HERE))
        messages.add(failed.value.message)
    assert len(messages) == 1
    assert len(checked) == 7
    # All hashes were made with the same parameters.
    assert len({one.rsplit("$", 2)[0] for one in checked}) == 1


def test_letters_that_keyboards_spell_in_several_ways_are_the_same(house: House) -> None:
    house.owner("caf\u00e9 cr\u00e8me br\u00fbl\u00e9e")
    assert house.is_in(
        house.do(house.people.sign_in("owner", "cafe\u0301 cre\u0300me bru\u0302le\u0301e", address=HERE))
    )


def test_a_hash_of_older_parameters_is_renewed_at_the_next_sign_in(house: House) -> None:
    house.owner()
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    house.do(house.database.write(lambda tx: tx.execute(tables.person.update().values(password_hash=weak))))
    house.do(house.people.sign_in("owner", PASSWORD, address=HERE))
    (row,) = house.do(house.database.read(lambda tx: list(tx.all(select(tables.person.c.password_hash)))))
    assert "m=65536" in row["password_hash"]
    assert house.is_in(house.do(house.people.sign_in("owner", PASSWORD, address=HERE)))


def test_too_many_tries_have_to_wait(house: House) -> None:
    house.owner()
    for _ in range(NAME_BURST):
        with pytest.raises(SignInFailed):
            house.do(house.people.sign_in("owner", OTHER, address=HERE))
    with pytest.raises(RateLimited):
        house.do(house.people.sign_in("Owner", PASSWORD, address="192.0.2.7"))


# ---------------------------------------------------------------------------------------------------------------- sessions


def test_a_session_ends_when_it_is_not_used_and_in_any_case_after_a_while(house: House) -> None:
    token = house.owner()
    house.clock.now_ms += SESSION_IDLE_MS - 1
    assert house.is_in(token)
    house.clock.now_ms += SESSION_IDLE_MS - 1
    assert house.is_in(token)
    house.clock.now_ms += SESSION_IDLE_MS
    assert not house.is_in(token)
    token = house.do(house.people.sign_in("owner", PASSWORD, address=HERE))
    began = house.clock.now_ms
    while house.clock.now_ms < began + SESSION_LIFETIME_MS:
        assert house.is_in(token)
        house.clock.now_ms += SESSION_IDLE_MS // 2
    assert not house.is_in(token)
    # The next one sweeps away what has ended.
    house.do(house.people.sign_in("owner", PASSWORD, address=HERE))
    assert len(house.do(house.database.read(lambda tx: list(tx.all(select(tables.session)))))) == 1


def test_a_page_costs_a_write_only_now_and_then(house: House) -> None:
    token = house.owner()

    def ends() -> int:
        (row,) = house.do(house.database.read(lambda tx: list(tx.all(select(tables.session.c.idle_until_ms)))))
        return int(row["idle_until_ms"])

    first = ends()
    house.clock.now_ms += 9 * MINUTE_MS
    house.is_in(token)
    assert ends() == first
    house.clock.now_ms += 2 * MINUTE_MS
    house.is_in(token)
    assert ends() == first + 11 * MINUTE_MS


def test_signing_out_ends_one_session_or_all(house: House) -> None:
    tokens = [house.owner(), *(house.do(house.people.sign_in("owner", PASSWORD, address=HERE)) for _ in range(2))]
    house.do(house.people.sign_out(tokens[0]))
    assert [house.is_in(token) for token in tokens] == [False, True, True]
    visitor = house.do(house.people.visitor(tokens[1]))
    assert visitor is not None
    assert house.do(house.people.sign_out_everywhere(visitor.person_id)) == 2
    assert not any(house.is_in(token) for token in tokens)


def test_nothing_that_opens_the_door_is_stored(house: House) -> None:
    link = house.do(house.people.first_link())
    assert link is not None
    token = house.do(house.people.use_link(link, PASSWORD, address=HERE))
    waiting = house.invite("ada@example.org")
    assert waiting is not None
    names = ("person", "membership", "session", "sign_in_link", "audit_log")
    stored = str(
        house.do(
            house.database.read(
                lambda tx: [dict(row) for name in names for row in tx.all(select(tables.metadata.tables[name]))]
            )
        )
    )
    assert "ada@example.org" in stored
    for secret in (link.reveal(), token.reveal(), waiting.reveal(), PASSWORD):
        assert secret not in stored
    # Whoever can write the tables but does not know the pepper cannot make a session either.
    keys, other = house.people.keys, SessionKeys(generate_pepper())
    assert keys.session_digest(token) in stored
    assert other.session_digest(token) not in stored
    assert len({keys.session_digest(token), keys.link_digest(token), keys.form_token(token)}) == 3


# ------------------------------------------------------------------------------------------------------------------- roles


def test_people_belong_to_workspaces_with_a_role_in_each(house: House) -> None:
    house.owner()
    link = house.invite("Ada@Example.org", "viewer", "acme")
    assert link is not None
    token = house.do(house.people.use_link(link, PASSWORD, address=HERE))
    assert house.memberships(token) == [("acme", "viewer")]
    # Who has a password needs no link; a role is changed by inviting again.
    assert house.invite("ada@example.org", "billing", "globex") is None
    assert house.invite("ada@example.org", "admin", "acme") is None
    assert house.memberships(token) == [("acme", "admin"), ("globex", "billing")]
    visitor = house.do(house.people.visitor(token))
    assert visitor is not None
    assert visitor.member_of("default") is None
    found = visitor.member_of("acme")
    assert found is not None
    assert found == Member(visitor.person_id, "ada@example.org", found.workspace_id, "acme", "admin")
    rows = house.do(house.people.list_people(None))
    assert [(row.workspace, row.name, row.role, row.has_password, row.sessions) for row in rows] == [
        ("acme", "ada@example.org", "admin", True, 1),
        ("default", "owner", "owner", True, 1),
        ("globex", "ada@example.org", "billing", True, 1),
    ]
    assert len(house.do(house.people.list_people("acme"))) == 1


def test_who_belongs_nowhere_any_more_is_out_at_once(house: House) -> None:
    house.owner()
    link = house.invite("ada", "viewer", "acme")
    assert link is not None
    token = house.do(house.people.use_link(link, PASSWORD, address=HERE))
    house.invite("ada", "viewer", "globex")
    house.do(house.people.remove("ada", workspace="acme", actor="test"))
    assert house.memberships(token) == [("globex", "viewer")]
    waiting = house.do(house.people.link("ada", actor="test"))
    house.do(house.people.remove("ADA", workspace="globex", actor="test"))
    assert not house.is_in(token)
    for work in (
        house.people.sign_in("ada", PASSWORD, address=HERE),
        house.people.use_link(waiting, PASSWORD, address=HERE),
    ):
        with pytest.raises(OmixaError):
            house.do(work)
    with pytest.raises(NotFound):
        house.do(house.people.remove("ada", workspace="globex", actor="test"))
    # Back again, they need a new password.
    assert house.invite("ada", "viewer", "acme") is not None


def test_a_workspace_keeps_an_owner_whoever_is_faster(house: House) -> None:
    house.owner()
    for change in (
        house.people.remove("owner", workspace="default", actor="test"),
        house.people.invite("owner", workspace="default", role="admin", actor="test"),
    ):
        with pytest.raises(InvalidRequest):
            house.do(change)
    house.invite("grace", "owner")

    async def race() -> list[object]:
        changes = [
            house.people.remove("owner", workspace="default", actor="test"),
            house.people.invite("grace", workspace="default", role="viewer", actor="test"),
        ]
        return list(await asyncio.gather(*changes, return_exceptions=True))

    assert sum(isinstance(one, InvalidRequest) for one in house.do(race())) == 1
    owners = [row.name for row in house.do(house.people.list_people("default")) if row.role == "owner"]
    assert len(owners) == 1


@pytest.mark.parametrize("name", ["", "ada lovelace", "-ada", "<b>", "ada\n", "a" * 101, "\u202eada"])
def test_names_are_those_that_people_can_type(house: House, name: str) -> None:
    with pytest.raises(InvalidRequest):
        house.invite(name)


def test_what_operators_do_is_in_the_audit_log(house: House) -> None:
    house.owner()
    house.invite("ada", "viewer", "acme")
    house.do(house.people.remove("ada", workspace="acme", actor="test"))
    rows = house.do(
        house.database.read(lambda tx: list(tx.all(select(tables.audit_log.c.action, tables.audit_log.c.actor))))
    )
    found = [(row["action"], row["actor"] == "test") for row in rows if row["action"].startswith("person.")]
    assert found == [("person.password_set", False), ("person.invited", True), ("person.removed", True)]
