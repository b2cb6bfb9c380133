"""Stored accounts on both databases: what changes them, what their credentials are bound to, and how the master key changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

from omixa.access.envelopes import MasterKey, generate_master_key
from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.accounts import ProviderAccount
from omixa.errors import AccountNotFound, Conflict, InvalidRequest, OmixaError
from omixa.gateway.accounts import UNREADABLE, Accounts, KeySource
from omixa.storage import tables
from omixa.storage.database import Database
from tests.support.places import Place

T = TypeVar("T")

KEY = "provider-key-of-the-operator-0123456789"
ENDPOINT = "https://sweden.services.ai.azure.com"
CATALOGUE = load_catalogue()


@dataclass
class Keys:
    """A place for the master key that a test may empty or fill."""

    present: MasterKey | None = None
    made: int = 0

    def source(self) -> KeySource:
        return KeySource(lambda: self.present, self.create)

    def create(self) -> MasterKey:
        if self.present is None:
            self.present = generate_master_key()
            self.made += 1
        return self.present


@dataclass
class Office:
    """A database, and accounts in it as one process sees them."""

    place: Place
    database: Database
    keys: Keys = field(default_factory=Keys)

    def accounts(self, taken: tuple[str, ...] = ("in-file",)) -> Accounts:
        """Return what another process would have: nothing is known from before."""
        return Accounts(self.database, CATALOGUE, self.keys.source(), taken=taken)

    def do(self, work: Callable[[Accounts], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run(work(self.accounts()))

    def add(self, name: str = "sweden", key: str = KEY, **fields: Any) -> None:
        account = ProviderAccount(name, endpoint=fields.pop("endpoint", ENDPOINT), credential=Secret(key), **fields)
        self.do(lambda accounts: accounts.add(account, actor="test"))

    def change(self, **changes: Any) -> None:
        self.do(lambda accounts: accounts.change("sweden", changes, actor="test"))  # type: ignore[arg-type]

    def serving(self) -> dict[str, ProviderAccount]:
        found = asyncio.run(self.accounts().serving())
        return {one.name: one for one in found}

    def problem(self, name: str = "sweden") -> str | None:
        return self.do(lambda accounts: accounts.show(name)).problem

    def rows(self, table: Any) -> list[dict[str, Any]]:
        async def read() -> list[dict[str, Any]]:
            query = select(table).order_by(*table.primary_key.columns)
            return await self.database.read(lambda tx: [dict(row) for row in tx.all(query)])

        return asyncio.run(read())

    def tamper(self, statement: str) -> None:
        self.place.tamper([statement], [])


@pytest.fixture
def office(place: Place) -> Iterator[Office]:
    fatal: list[str] = []
    database = Database(place.backend(), on_fatal=fatal.append)
    database.open()
    yield Office(place, database)
    database.close()
    assert fatal == []


def refusal(work: Callable[[], object]) -> tuple[type[OmixaError], str | None, str]:
    with pytest.raises(OmixaError) as caught:
        work()
    return type(caught.value), caught.value.param, caught.value.message


def test_an_account_is_kept_with_all_that_it_is(office: Office) -> None:
    facts: dict[str, Any] = {
        "models": ("MAI-Image-2.5",),
        "deployment": "mine",
        "region": "swedencentral",
        "weight": 3,
        "priority": 2,
        "qualities": ("low", "auto"),
        "requests_per_minute": 6,
        "images_per_minute": 7,
        "concurrency": 2,
    }
    office.add(**facts)
    expected = ProviderAccount("sweden", endpoint=ENDPOINT, credential=Secret(KEY), **facts)
    assert office.serving() == {"sweden": expected}
    (view,) = office.do(lambda accounts: accounts.list())
    assert (view.account.credential, view.enabled, view.problem, len(view.fingerprint)) == (None, True, None, 8)
    assert office.keys.made == 1


def test_keys_are_stored_nowhere_as_they_are(office: Office) -> None:
    office.add()
    office.change(credential=Secret(KEY + "-2"), weight=5)
    office.do(lambda accounts: accounts.disable("sweden", actor="test"))
    office.do(lambda accounts: accounts.remove("sweden", actor="test"))
    office.add()
    stored = {name: repr(office.rows(table)) for name, table in tables.metadata.tables.items()}
    assert [name for name, text in stored.items() if KEY in text or KEY.encode().hex() in text] == []
    told = [row["action"] for row in office.rows(tables.audit_log)]
    assert told == ["account.added", "account.changed", "account.disabled", "account.removed", "account.added"]
    assert '"weight": {"after": 5, "before": 1}' in office.rows(tables.audit_log)[1]["details_json"]


def test_what_a_key_is_bound_to_changes_only_with_the_key(office: Office) -> None:
    office.add()
    for changes in (
        {"endpoint": "https://elsewhere.example"},
        {"endpoint": ENDPOINT + ":8443"},
        {"endpoint": ENDPOINT.replace("https", "http")},
        {"auth": "bearer_token"},
        {"provider": "azure-openai"},
    ):
        assert refusal(lambda changes=changes: office.change(**changes))[:2] == (InvalidRequest, "credential")  # type: ignore[misc]
    assert office.serving()["sweden"].endpoint == ENDPOINT
    # The same origin in other words, and another path of it, are no other place.
    office.change(endpoint=ENDPOINT.upper().replace("HTTPS", "https") + ":443/path")
    assert office.serving()["sweden"].credential == Secret(KEY)
    office.change(endpoint="https://elsewhere.example", credential=Secret("another-key"))
    assert office.serving()["sweden"].credential == Secret("another-key")


def test_an_account_without_a_key_of_its_own_is_bound_too(office: Office) -> None:
    account = ProviderAccount("azure", endpoint=ENDPOINT, auth="entra")
    office.do(lambda accounts: accounts.add(account, actor="test"))
    assert office.serving() == {"azure": account}
    office.do(lambda accounts: accounts.change("azure", {"endpoint": "https://moved.example"}, actor="test"))
    assert office.serving()["azure"].endpoint == "https://moved.example"
    office.tamper("UPDATE provider_account SET endpoint = 'https://thief.example'")
    assert office.serving()["azure"].fault == UNREADABLE
    office.do(lambda accounts: accounts.change("azure", {"weight": 2}, actor="test"))
    assert office.serving()["azure"].fault == UNREADABLE


BOUND = {
    "name": "name = 'norway'",
    "provider": "provider = 'azure-openai'",
    "endpoint": "endpoint = 'https://thief.example'",
    "scheme": f"endpoint = '{ENDPOINT.replace('https', 'http')}'",
    "port": f"endpoint = '{ENDPOINT}:444'",
    "no address": "endpoint = 'https://thief.example\\@sweden.services.ai.azure.com'",
    "auth": "auth = 'bearer_token'",
    "fetched": "auth = 'entra'",
    "key_id": "key_id = '0000000000000000'",
    "wrapped_key": "wrapped_key = ciphertext",
    "ciphertext": "ciphertext = wrapped_key",
}


@pytest.mark.parametrize("change", BOUND.values(), ids=BOUND)
def test_a_row_that_is_changed_by_hand_gives_no_key_and_says_so(
    office: Office, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    office.add()
    office.add("untouched", key="the-other-key")
    office.tamper(f"UPDATE provider_account SET {change} WHERE name = 'sweden'")
    serving = office.serving()
    assert serving.pop("untouched").credential == Secret("the-other-key")
    ((name, account),) = serving.items()
    assert (account.credential, account.fault) == (None, UNREADABLE)
    assert "account.unusable" in caplog.text
    problem = office.problem(name)
    assert problem is not None
    assert KEY not in caplog.text + problem
    # Whoever has the key puts it right.
    office.do(
        lambda accounts: accounts.change(
            name, {"credential": Secret(KEY), "endpoint": ENDPOINT, "auth": "api_key"}, actor="test"
        )
    )
    assert (office.serving()[name].credential, office.problem(name)) == (Secret(KEY), None)


def test_a_key_that_is_moved_into_another_row_does_not_open(office: Office) -> None:
    office.add()
    office.add("thief", key="worthless", endpoint="https://thief.example")
    columns = ("key_id", "wrapped_key", "ciphertext", "fingerprint")
    taken = ", ".join(f"{name} = (SELECT {name} FROM provider_account WHERE name = 'sweden')" for name in columns)
    office.tamper(f"UPDATE provider_account SET {taken} WHERE name = 'thief'")
    assert office.serving()["thief"].fault == UNREADABLE
    assert office.serving()["sweden"].credential == Secret(KEY)


@pytest.mark.parametrize("column", ["weight", "priority", "region", "deployment", "requests_per_minute"])
def test_what_a_key_is_not_bound_to_may_change(office: Office, column: str) -> None:
    office.add(models=("MAI-Image-2.5",))
    office.tamper(f"UPDATE provider_account SET {column} = '7'")
    assert str(getattr(office.serving()["sweden"], column)) == "7"
    assert office.problem() is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": "Sweden"}, "name"),
        ({"name": "foundry"}, "name"),
        ({"name": "in-file"}, "name"),
        ({"endpoint": "ftp://x.example"}, "endpoint"),
        ({"endpoint": "https://user@x.example"}, "endpoint"),
        ({"endpoint": "https://x.example/?a=b"}, "endpoint"),
        ({"endpoint": "https://exämple.org"}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": "embedded"}, "provider"),
        ({"models": ("nothing",)}, "models"),
        ({"deployment": "mine"}, "deployment"),
        ({"weight": 0}, "weight"),
        ({"priority": -1}, "priority"),
        ({"concurrency": 100_001}, "concurrency"),
        ({"region": "a\nb"}, "region"),
        ({"key": ""}, "credential"),
        ({"key": "two words"}, "credential"),
        ({"key": "line\r\nbreak"}, "credential"),
        ({"auth": "entra"}, "credential"),
        ({"provider": "bedrock", "key": "no-pair"}, "api_key"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_stored(office: Office, fields: dict[str, Any], param: str) -> None:
    kind, named, message = refusal(lambda: office.add(**fields))
    assert (kind, named) == (InvalidRequest, param)
    assert len(message) > 10
    assert office.rows(tables.provider_account) == []
    assert office.keys.made == 0


def test_a_name_is_given_once_and_unknown_ones_are_told(office: Office) -> None:
    office.add()
    assert refusal(office.add)[:2] == (InvalidRequest, "name")
    for work in (
        lambda accounts: accounts.show("nobody"),
        lambda accounts: accounts.change("nobody", {"weight": 2}, actor="test"),
        lambda accounts: accounts.enable("nobody", actor="test"),
        lambda accounts: accounts.remove("nobody", actor="test"),
    ):
        assert refusal(lambda work=work: office.do(work))[0] is AccountNotFound  # type: ignore[misc]


def test_what_no_longer_fits_is_left_out_and_told_once(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.add()
    accounts = office.accounts(taken=("sweden",))
    assert [asyncio.run(accounts.serving()) for _ in range(3)] == [[], [], []]
    assert caplog.text.count("account.unusable") == 1
    office.tamper("UPDATE provider_account SET provider = 'gone'")
    assert office.serving() == {}
    assert "gone" in str(office.problem())


# -------------------------------------------------------------------------------------------------------- the master key


def test_a_lost_or_another_master_key_is_told_and_stops_nothing(office: Office) -> None:
    office.add()
    right, office.keys.present = office.keys.present, None
    assert office.serving()["sweden"].fault == UNREADABLE
    assert "missing" in str(office.problem())
    # A new one would hide that the old one is gone.
    kind, _, message = refusal(lambda: office.add("norway"))
    assert (kind, office.keys.made) == (Conflict, 1)
    assert right is not None
    assert right.id in message
    office.keys.present = generate_master_key()
    assert right.id in str(office.problem())
    assert office.keys.present.id in str(office.problem())
    office.keys.present = right
    assert office.serving()["sweden"].credential == Secret(KEY)


def rewrapped(office: Office, old: MasterKey) -> int:
    return office.do(lambda accounts: accounts.rewrap(old, actor="test"))


def key_ids(office: Office) -> set[str]:
    return {row["key_id"] for row in office.rows(tables.provider_account)}


def test_all_keys_go_under_a_new_master_key_at_once(office: Office) -> None:
    for name in ("one", "two", "three"):
        office.add(name, key=f"key-of-{name}")
    before = office.rows(tables.provider_account)
    old = office.keys.create()
    office.keys.present = None
    assert rewrapped(office, old) == 3
    assert key_ids(office) == {office.keys.create().id}
    assert {name: one.credential for name, one in office.serving().items()} == {
        name: Secret(f"key-of-{name}") for name in ("one", "two", "three")
    }
    # What is encrypted, and what servers know of a row, stay as they are.
    for was, now in zip(before, office.rows(tables.provider_account), strict=True):
        assert {name for name in was if was[name] != now[name]} == {"key_id", "wrapped_key"}
    assert rewrapped(office, old) == 0
    assert [row["action"] for row in office.rows(tables.audit_log)][3:] == ["accounts.rewrapped"]


def test_a_server_that_has_an_account_open_goes_on_while_its_key_is_wrapped_again(office: Office) -> None:
    office.add()
    server = office.accounts()
    before = asyncio.run(server.serving())
    old, office.keys.present = office.keys.create(), None
    rewrapped(office, old)
    # It was started with the old one and has not been told of another.
    office.keys.present = old
    assert asyncio.run(server.serving()) == before


def test_a_wrong_old_key_changes_nothing(office: Office) -> None:
    office.add("one")
    office.add("two")
    old, office.keys.present = office.keys.create(), generate_master_key()
    wrong = generate_master_key()
    kind, _, message = refusal(lambda: rewrapped(office, wrong))
    assert kind is Conflict
    assert {old.id, wrong.id, office.keys.present.id} <= set(message.replace(",", "").replace(".", "").split())
    assert key_ids(office) == {old.id}


def test_one_row_that_does_not_open_leaves_all_as_they_were(office: Office) -> None:
    for name in ("one", "two", "zero"):
        office.add(name)
    office.tamper("UPDATE provider_account SET endpoint = 'https://thief.example' WHERE name = 'zero'")
    old, office.keys.present = office.keys.create(), generate_master_key()
    kind, _, message = refusal(lambda: rewrapped(office, old))
    assert (kind, "zero" in message) == (Conflict, True)
    assert key_ids(office) == {old.id}
    office.do(lambda accounts: accounts.remove("zero", actor="test"))
    # Half of them may be under the new one already, of accounts that were stored meanwhile.
    office.add("three")
    assert rewrapped(office, old) == 2
    assert key_ids(office) == {office.keys.present.id}
