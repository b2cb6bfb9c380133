"""Keys that manage: who may make them, what they may do, and that no key gets anything by them that nobody gave it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select

from omixa.access import audit, people, store
from omixa.access.roles import ROLES, SCOPES, may
from omixa.access.store import KeyOwner, KeyRow
from omixa.api.operation import Operation
from omixa.api.operations import OPERATIONS
from omixa.domain.access import Member, Mode, Role, Scope
from omixa.domain.times import utc_today
from omixa.errors import InvalidRequest, OmixaError, RoleForbidden
from omixa.services import Services
from omixa.storage import tables
from tests.support.console import PASSWORD, browser, signed_in, text_of
from tests.support.document import Document
from tests.support.servers import Gateway

API = "/api/v1"
CREATE = f"{API}/images/generations"
PAINTED = {"model": "omixa-illustrator-1", "prompt": "A lighthouse on a cliff at dusk"}
MANAGED = [one for one in OPERATIONS if one.action in SCOPES]
LATER = utc_today().replace(year=utc_today().year + 2, month=1, day=31)
_names = itertools.count()

# A body that does something, for each operation that takes one; written down for the matrix of who may.
BODIES: Mapping[str, dict[str, Any]] = {
    "createKey": {"name": "shop"},
    "changeKey": {"budget_day": "1.00"},
    "rollKey": {"overlap_hours": 1},
    "inviteMember": {"name": "somebody@example.org", "role": "viewer"},
    "changeAlertSettings": {"below": "5.00", "email": "ada@example.org"},
}


@dataclass
class Manager:
    """A key with scopes, and for whom it acts."""

    key: str
    key_id: str
    name: str


def make_manager(
    gateway: Gateway, workspace: str, *scopes: Scope, role: Role = "admin", mode: Mode = "live", name: str | None = None
) -> Manager:
    name = name or f"manager-{next(_names)}@example.org"

    async def create(services: Services) -> Manager:
        await services.people.invite(name, workspace=workspace, role=role, actor="test")
        key_id, secret = await services.workspaces.create_key(
            workspace=workspace, mode=mode, name="", models=None, actor="test", scopes=scopes, acts_for=name
        )
        return Manager(secret.reveal(), key_id, name)

    return gateway.call(create)


def keys_of(gateway: Gateway, workspace: str) -> dict[str, KeyRow]:
    return {one.id: one for one in gateway.read(lambda tx: store.list_keys(tx, workspace))}


def roles_in(gateway: Gateway, workspace: str) -> dict[str, Role]:
    return {row.name: row.role for row in gateway.read(lambda tx: people.list_people(tx, workspace))}


def state_of(gateway: Gateway) -> list[str]:
    """Return what could be changed."""
    names = ("api_key", "budget", "membership", "person", "sign_in_link", "account", "topup", "audit_log")
    return gateway.read(
        lambda tx: sorted(str(dict(row)) for name in names for row in tx.all(select(tables.metadata.tables[name])))
    )


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"]["code"])


@pytest.fixture
def ready(gateway: Gateway, workspace: str) -> str:
    """A workspace with an owner and a key for pictures."""
    gateway.key("live", workspace)
    gateway.call(
        lambda services: services.people.invite(f"owner@{workspace}", workspace=workspace, role="owner", actor="test")
    )
    return workspace


@pytest.fixture
def client_of(gateway: Gateway) -> Callable[[str], httpx.Client]:
    def opened(key: str) -> httpx.Client:
        client = gateway.client(key)
        client.headers["connection"] = "close"
        return client

    return opened


# ------------------------------------------------------------------------------------------------------------------- keys


def test_a_key_is_made_limited_rolled_and_revoked(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    manager = make_manager(gateway, ready, "manage_keys", mode="test")
    client = client_of(manager.key)
    asked = {
        "name": "shop",
        "models": ["OMIXA-illustrator-1"],
        "budget_day": "0.003",
        "budget_month": "5",
        "expires": f"{LATER}",
    }
    answer = client.post(f"{API}/keys", json=asked)
    document.check(answer)
    made = answer.json()
    assert (made["key"]["name"], made["key"]["mode"], made["key"]["models"]) == ("shop", "test", [PAINTED["model"]])
    assert made["key"]["expires_at"].startswith(f"{LATER.replace(month=2, day=1)}T00:00:00")
    assert {one["period"]: one["limit"] for one in made["key"]["budgets"]} == {"day": "0.003000", "month": "5.000000"}
    assert (made["key"]["scopes"], made["signing_secret"]) == ([], None)
    shop = client_of(made["secret"])
    assert shop.post(CREATE, json=PAINTED).status_code == 200
    assert code_of(shop.post(CREATE, json=PAINTED)) == (402, "budget_exceeded")
    assert code_of(shop.post(CREATE, json={**PAINTED, "model": "MAI-Image-2.5"})) == (403, "model_not_allowed")
    # It is told this once.
    listed = client.get(f"{API}/keys")
    document.check(listed)
    assert made["secret"] not in listed.text
    assert made["key"]["id"] in {one["id"] for one in listed.json()["data"]}
    one = f"{API}/keys/{made['key']['id']}"
    changed = client.patch(one, json={"budget_day": None, "expires": None})
    document.check(changed)
    # What is not given stays.
    assert [limit["period"] for limit in changed.json()["budgets"]] == ["month"]
    assert changed.json()["expires_at"] is None
    assert shop.post(CREATE, json=PAINTED).status_code == 200
    rolled = client.post(f"{one}/roll", json={"overlap_hours": 1})
    document.check(rolled)
    assert rolled.json()["key"]["models"] == [PAINTED["model"]]
    both = [
        shop.get(f"{API}/balance").status_code,
        client_of(rolled.json()["secret"]).get(f"{API}/balance").status_code,
    ]
    assert both == [200, 200]
    revoked = client.post(f"{one}/revoke")
    document.check(revoked)
    assert (revoked.json()["state"], shop.get(f"{API}/balance").status_code) == ("revoked", 401)
    again = client.post(f"{one}/revoke")
    document.check(again)
    assert code_of(again) == (404, "key_not_found")
    # As on the page, with the key for the person.
    page = gateway.read(lambda tx: audit.list_entries(tx, limit=10, actor=manager.key_id))
    assert [entry.action for entry in reversed(page.entries)] == [
        *("key.created", "key.expiry_set", "key.budget_set", "key.rolled", "key.revoked")
    ]


def test_a_key_for_signed_requests_comes_with_what_signs_them(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client]
) -> None:
    client = client_of(make_manager(gateway, ready, "manage_keys").key)
    made = client.post(f"{API}/keys", json={"signed": True}).json()
    assert gateway.services is not None
    assert made["signing_secret"] == gateway.services.workspaces.signing_secret(made["key"]["id"]).reveal()
    assert code_of(client_of(made["secret"]).get(f"{API}/balance")) == (401, "missing_signature")


# ---------------------------------------------------------------------------------------------------------------- members


def test_somebody_is_let_in_changed_and_taken_out(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    manager = make_manager(gateway, ready, "manage_members")
    client, name = client_of(manager.key), f"new-{next(_names)}@example.org"
    answer = client.post(f"{API}/settings/members", json={"name": name.upper(), "role": "viewer"})
    document.check(answer)
    assert (answer.json()["name"], answer.json()["link"].startswith(f"{gateway.url}/welcome/")) == (name, True)
    way, somebody = answer.json()["link"].removeprefix(gateway.url), browser(gateway)
    assert somebody.post(way, way, password=PASSWORD, again=PASSWORD).status_code == 303
    assert somebody.get(f"/console/{ready}/live").status_code == 200
    # Whoever has a way in gets no link by being given another role.
    changed = client.post(f"{API}/settings/members", json={"name": name, "role": "developer"})
    assert (changed.json()["link"], roles_in(gateway, ready)[name]) == (None, "developer")
    listed = client.get(f"{API}/settings/members")
    document.check(listed)
    (row,) = [one for one in listed.json()["data"] if one["name"] == name]
    assert (row["role"], row["comes_in_by"]) == ("developer", ["password"])
    removed = client.delete(f"{API}/settings/members/{name}")
    document.check(removed)
    assert removed.json() == {"object": "removed_member", "name": name, "removed": True}
    assert somebody.get(f"/console/{ready}/live").status_code == 303
    gone = client.delete(f"{API}/settings/members/{name}")
    document.check(gone)
    assert code_of(gone) == (404, "person_not_found")
    page = gateway.read(lambda tx: audit.list_entries(tx, limit=10, actor=manager.key_id))
    assert [entry.action for entry in reversed(page.entries)] == ["person.invited", "person.invited", "person.removed"]


@pytest.mark.parametrize("role", ["admin", "owner"])
def test_no_key_decides_who_manages(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document, role: Role
) -> None:
    manager = make_manager(gateway, ready, "manage_members", role=role)
    client, other = client_of(manager.key), make_manager(gateway, ready, "manage_alerts").name
    before = state_of(gateway)
    members = f"{API}/settings/members"
    for answer in (
        client.post(members, json={"name": "eve@example.org", "role": "owner"}),
        client.post(members, json={"name": "eve@example.org", "role": "admin"}),
        client.post(members, json={"name": other, "role": "viewer"}),
        client.post(members, json={"name": manager.name, "role": "owner"}),
        client.post(members, json={"name": f"owner@{ready}", "role": "viewer"}),
        client.delete(f"{members}/{other}"),
        client.delete(f"{members}/{manager.name}"),
        client.delete(f"{members}/owner@{ready}"),
    ):
        document.check(answer)
        assert code_of(answer) == (403, "role_forbidden")
    assert state_of(gateway) == before


def test_nobody_of_another_workspace_is_let_in(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client]
) -> None:
    stranger = make_manager(gateway, "default", "manage_alerts").name
    client = client_of(make_manager(gateway, ready, "manage_members").key)
    answer = client.post(f"{API}/settings/members", json={"name": stranger, "role": "viewer"})
    assert (code_of(answer), answer.json()["error"]["param"]) == ((400, "invalid_value"), "name")
    assert code_of(client.delete(f"{API}/settings/members/{stranger}")) == (404, "person_not_found")
    assert stranger not in roles_in(gateway, ready)


# ----------------------------------------------------------------------------------------------------------------- alerts


def test_an_alert_is_set_and_ended(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    client = client_of(make_manager(gateway, ready, "manage_alerts").key)
    answer = client.patch(f"{API}/settings/alert", json={"below": "5", "email": "ada@example.org"})
    document.check(answer)
    assert answer.json() == {
        "object": "alert_settings",
        "below": "5.000000",
        "email": "ada@example.org",
        # There is no credit.
        "is_low": True,
    }
    ended = client.patch(f"{API}/settings/alert", json={"below": None})
    assert (ended.json()["below"], ended.json()["email"]) == (None, None)


# ---------------------------------------------------------------------------------------------------------------- who may


def call(client: httpx.Client, operation: Operation, *, key: str, name: str) -> httpx.Response:
    path = operation.path.format(key=key, name=name)
    return client.request(operation.method, path, json=BODIES.get(operation.id))


@pytest.mark.parametrize("operation", MANAGED, ids=lambda operation: operation.id)
def test_who_may_manage(
    gateway: Gateway,
    ready: str,
    client_of: Callable[[str], httpx.Client],
    document: Document,
    operation: Operation,
) -> None:
    """Every operation x every kind of key x every role of whom it acts for, and what belongs to a foreign workspace."""
    assert (operation.body is not None) == (operation.id in BODIES)
    scope = next(one for one in SCOPES if one == operation.action)
    foreign = f"{ready}-foreign"
    gateway.key("live", foreign)
    foreign_manager = make_manager(gateway, foreign, scope)
    (foreign_key,) = [one.id for one in keys_of(gateway, foreign).values() if not one.scopes]
    (own_key,) = [one.id for one in keys_of(gateway, ready).values() if not one.scopes]
    member = f"viewer-{next(_names)}@example.org"
    gateway.call(lambda services: services.people.invite(member, workspace=ready, role="viewer", actor="test"))

    def refused(asking: str, code: tuple[int, str], **ids: str) -> None:
        before = state_of(gateway)
        answer = call(client_of(asking), operation, **({"key": own_key, "name": member} | ids))
        document.check(answer)
        assert code_of(answer) == code, operation.id
        assert state_of(gateway) == before

    # Keys for pictures, in both modes, and keys that manage something else.
    for mode in ("live", "test"):
        refused(gateway.key(mode, ready), (403, "scope_required"))
    others = [one for one in SCOPES if one != scope]
    refused(make_manager(gateway, ready, *others).key, (403, "scope_required"))
    # A test key of members cannot be made; this one is, behind the back of the checks.
    if scope == "manage_members":
        tester = make_manager(gateway, ready, "manage_keys", mode="test")
        turned = tables.api_key.update().values(scopes_json='["manage_members"]')
        gateway.write(lambda tx: tx.execute(turned.where(tables.api_key.c.id == tester.key_id)))
        refused(tester.key, (403, "live_key_required"))
    # Keys of the other mode and of another workspace are not there, nor is whoever belongs there.
    if "{key}" in operation.path:
        tester = make_manager(gateway, ready, scope, mode="test")
        refused(tester.key, (404, "key_not_found"))
        for nothing in (foreign_key, foreign_manager.key_id, "key_" + "0" * 26, "%00"):
            refused(make_manager(gateway, ready, scope).key, (404, "key_not_found"), key=nothing)
        refused(foreign_manager.key, (404, "key_not_found"))
    if "{name}" in operation.path:
        refused(foreign_manager.key, (404, "person_not_found"))
    # What its person may, at this moment.
    manager = make_manager(gateway, ready, scope)
    for role in ROLES:
        gateway.call(
            lambda services, role=role: services.people.invite(manager.name, workspace=ready, role=role, actor="test")
        )
        if not may(role, operation.action):
            refused(manager.key, (403, "role_forbidden"))
            continue
        spare = gateway.call(
            lambda services: services.workspaces.create_key(
                workspace=ready, mode="live", name="spare", models=None, actor="test"
            )
        )[0]
        gateway.call(lambda services: services.people.invite(member, workspace=ready, role="viewer", actor="test"))
        answer = call(client_of(manager.key), operation, key=spare, name=member)
        document.check(answer)
        assert answer.status_code == 200, (role, answer.text)
    # With its person the key leaves, and does not come back with them.
    gateway.call(lambda services: services.people.remove(manager.name, workspace=ready, actor="test"))
    refused(manager.key, (401, "invalid_api_key"))
    gateway.call(lambda services: services.people.invite(manager.name, workspace=ready, role="admin", actor="test"))
    refused(manager.key, (401, "invalid_api_key"))


def test_a_key_that_manages_makes_and_sees_no_pictures(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    with gateway.client(gateway.key("test", ready)) as painter:
        made = painter.post(CREATE, json=PAINTED).raise_for_status().json()["omixa"]["request_id"]
    client = client_of(
        make_manager(gateway, ready, *(one for one in SCOPES if one != "manage_members"), mode="test").key
    )
    before = state_of(gateway)
    picture = {"image": "data:image/png;base64,AAAA", **PAINTED}
    for method, path, body in (
        ("POST", "/images/generations", PAINTED),
        ("POST", "/images/edits", picture),
        ("POST", "/images/estimate", PAINTED),
        ("GET", f"/requests/{made}/result", None),
        ("GET", f"/requests/{made}/images", None),
        ("DELETE", f"/requests/{made}/result", None),
        ("PATCH", "/settings/results", {"keep_prompts": True}),
        ("GET", "/usage/requests?prompt=lighthouse", None),
    ):
        answer = client.request(method, f"{API}{path}", json=body)
        document.check(answer)
        assert code_of(answer) == (403, "scoped_key"), path
    assert state_of(gateway) == before
    for path in (
        "/usage/requests",
        "/balance",
        "/keys",
        f"/requests/{made}",
        f"/requests/{made}/receipt",
        "/usage/rollups",
    ):
        assert client.get(f"{API}{path}").status_code == 200, path


# ----------------------------------------------------------------------------------------------------------- giving scopes


def test_no_key_passes_on_what_it_may(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    manager, other = (make_manager(gateway, ready, "manage_keys") for _ in range(2))
    client, before = client_of(manager.key), state_of(gateway)
    answer = client.post(f"{API}/keys", json={"scopes": ["manage_keys"]})
    document.check(answer)
    assert (code_of(answer), answer.json()["error"]["param"]) == ((400, "unknown_parameter"), "scopes")
    for key_id in (manager.key_id, other.key_id):
        for answer in (
            client.post(f"{API}/keys/{key_id}/roll", json={}),
            client.patch(f"{API}/keys/{key_id}", json={"expires": f"{LATER}"}),
        ):
            document.check(answer)
            assert code_of(answer) == (403, "scoped_key")
        spending = client.patch(f"{API}/keys/{key_id}", json={"budget_day": "5"})
        document.check(spending)
        assert (code_of(spending), "no budgets" in spending.text) == ((400, "invalid_value"), True)
    assert state_of(gateway) == before
    # To take it away is always right.
    assert client.post(f"{API}/keys/{other.key_id}/revoke").status_code == 200
    assert client.get(f"{API}/keys/{manager.key_id}").json()["scopes"] == ["manage_keys"]


@pytest.mark.parametrize("role", ROLES)
def test_scopes_are_given_by_owners_and_admins(gateway: Gateway, ready: str, role: Role) -> None:
    for scope in SCOPES:
        try:
            make_manager(gateway, ready, scope, role=role)
        except RoleForbidden:
            assert role not in ("owner", "admin")
        else:
            assert role in ("owner", "admin")
    with pytest.raises(RoleForbidden):
        gateway.call(
            lambda services: services.workspaces.create_key(
                workspace=ready, mode="live", name="", models=None, actor="test", scopes=["manage_keys"], acts_for="eve"
            )
        )


@pytest.mark.parametrize(
    "wrong",
    [
        {"models": ["MAI-Image-2.5"]},
        {"budgets": {"day": 1_000_000}},
        {"limits": {"requests_per_minute": 5}},
        {"scopes": ["manage_everything"]},
        {"scopes": ["manage_members"], "mode": "test"},
    ],
    ids=str,
)
def test_a_key_with_scopes_is_for_nothing_else(gateway: Gateway, ready: str, wrong: dict[str, Any]) -> None:
    named: dict[str, Any] = {"workspace": ready, "mode": "live", "name": "", "models": None, "actor": "test"}
    named |= {"scopes": ["manage_keys"], "acts_for": f"owner@{ready}"}
    with pytest.raises(InvalidRequest) as refusal:
        gateway.call(lambda services: services.workspaces.create_key(**named | wrong))
    assert refusal.value.param == "scopes"


def test_whoever_may_not_give_a_scope_does_not_get_it_by_rolling(gateway: Gateway, ready: str) -> None:
    """A developer manages keys, and would have the secret of the new one."""
    manager = make_manager(gateway, ready, "manage_keys", "manage_alerts")
    developer = f"developer-{next(_names)}@example.org"
    gateway.call(lambda services: services.people.invite(developer, workspace=ready, role="developer", actor="test"))

    def member(tx: Any) -> tuple[Member, KeyOwner]:
        found = people.find_person(tx, developer)
        assert found is not None
        (one,) = people.memberships(tx, found.id)
        return one, KeyOwner(one.workspace_id, "live")

    by, owner = gateway.read(member)
    before = state_of(gateway)
    for change in (
        lambda services: services.workspaces.roll_key(manager.key_id, overlap_ms=0, actor=by.actor, owner=owner, by=by),
        lambda services: services.workspaces.set_key_expiry(manager.key_id, None, actor=by.actor, owner=owner, by=by),
    ):
        with pytest.raises(OmixaError) as refusal:
            gateway.call(change)
        assert refusal.value.code == "role_forbidden"
    assert state_of(gateway) == before
    # An operator's roll keeps whom it acts for.
    new_id, _ = gateway.call(lambda services: services.workspaces.roll_key(manager.key_id, overlap_ms=0, actor="test"))
    row = keys_of(gateway, ready)[new_id]
    assert (row.scopes, row.person) == (("manage_keys", "manage_alerts"), manager.name)


def test_people_give_scopes_in_the_console(gateway: Gateway, ready: str) -> None:
    keys = f"/console/{ready}/live/keys"
    admin = signed_in(gateway, f"admin@{ready}", "admin", ready)
    page = admin.post(keys, keys, name="onboarding", scope=["manage_keys", "manage_members"])
    assert page.status_code == 200
    (row,) = [one for one in keys_of(gateway, ready).values() if one.name == "onboarding"]
    assert (row.scopes, row.person) == (("manage_keys", "manage_members"), f"admin@{ready}")
    assert "manages" in text_of(admin.get(keys).text)
    one = admin.get(f"{keys}/{row.id}").text
    assert "let people in and take them out, for admin@" in text_of(one)
    limited = admin.post(keys, keys, name="both", scope=["manage_keys"], budget_day="1.00")
    assert (limited.status_code, "makes no pictures" in text_of(limited.text)) == (400, True)
    unknown = admin.post(keys, keys, name="odd", scope=["manage_everything"])
    assert unknown.status_code == 400
    rolled = admin.post(f"{keys}/{row.id}/roll", f"{keys}/{row.id}", overlap="0")
    assert rolled.status_code == 200
    (new,) = [key for key in keys_of(gateway, ready).values() if key.name == "onboarding" and not key.revoked_at_ms]
    assert new.scopes == row.scopes
    developer = signed_in(gateway, f"developer@{ready}", "developer", ready)
    assert 'name="scope"' not in developer.get(keys).text
    forged = developer.post(keys, keys, name="forged", scope=["manage_keys"])
    assert (forged.status_code, "acts for an owner or an admin" in text_of(forged.text)) == (403, True)
    for way, fields in (("roll", {"overlap": "0"}), ("limits", {"expires": f"{LATER}"})):
        answer = developer.post(f"{keys}/{new.id}/{way}", f"{keys}/{new.id}", **fields)
        assert (answer.status_code, "acts for an owner or an admin" in text_of(answer.text)) == (403, True)


# ----------------------------------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("method", "path", "body", "param", "code"),
    [
        ("POST", "/keys", {"name": "x" * 201}, "name", "invalid_value"),
        ("POST", "/keys", {"name": "a\0b"}, "name", "invalid_value"),
        ("POST", "/keys", {"name": 5}, "name", "invalid_type"),
        ("POST", "/keys", {"models": "all"}, "models", "invalid_type"),
        ("POST", "/keys", {"models": [1]}, "models", "invalid_type"),
        ("POST", "/keys", {"budget_day": 5}, "budget_day", "invalid_type"),
        ("POST", "/keys", {"budget_day": "-5"}, "budget_day", "invalid_value"),
        ("POST", "/keys", {"budget_month": "1e3"}, "budget_month", "invalid_value"),
        ("POST", "/keys", {"budget_month": "9999999999"}, "budget_month", "invalid_value"),
        ("POST", "/keys", {"expires": "soon"}, "expires", "invalid_value"),
        ("POST", "/keys", {"expires": "2020-01-01"}, "expires", "invalid_value"),
        ("POST", "/keys", {"expires": "9999-12-31"}, "expires", "invalid_value"),
        ("POST", "/keys", {"signed": "yes"}, "signed", "invalid_type"),
        ("POST", "/keys", {"budget": "5"}, "budget", "unknown_parameter"),
        ("PATCH", "/keys/{key}", {}, "budget_day", "missing_required_parameter"),
        ("PATCH", "/keys/{key}", {"name": "new"}, "name", "unknown_parameter"),
        ("PATCH", "/keys/{key}", {"budget_day": "x", "expires": "2099-01-01"}, "budget_day", "invalid_value"),
        ("PATCH", "/keys/{key}", {"expires": "2020-01-01"}, "expires", "invalid_value"),
        ("POST", "/keys/{key}/roll", {"overlap_hours": 745}, "overlap_hours", "invalid_value"),
        ("POST", "/keys/{key}/roll", {"overlap_hours": -1}, "overlap_hours", "invalid_value"),
        ("POST", "/keys/{key}/roll", {"overlap_hours": 1.5}, "overlap_hours", "invalid_type"),
        ("POST", "/settings/members", {"name": "a@example.org"}, "role", "missing_required_parameter"),
        ("POST", "/settings/members", {"name": "a@example.org", "role": "boss"}, "role", "invalid_value"),
        ("POST", "/settings/members", {"name": "a b", "role": "viewer"}, "name", "invalid_value"),
        ("POST", "/settings/members", {"name": None, "role": "viewer"}, "name", "invalid_type"),
        ("DELETE", "/settings/members/%00", None, "name", "invalid_value"),
        ("PATCH", "/settings/alert", {}, "below", "missing_required_parameter"),
        ("PATCH", "/settings/alert", {"below": "0"}, "below", "invalid_value"),
        ("PATCH", "/settings/alert", {"below": "5", "email": "nobody"}, "email", "invalid_value"),
        ("PATCH", "/settings/alert", {"below": 5}, "below", "invalid_type"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_changed(
    gateway: Gateway,
    ready: str,
    client_of: Callable[[str], httpx.Client],
    document: Document,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    param: str,
    code: str,
) -> None:
    (own,) = keys_of(gateway, ready)
    client = client_of(make_manager(gateway, ready, *SCOPES).key)
    before = state_of(gateway)
    answer = client.request(method, API + path.format(key=own), json=body)
    document.check(answer)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error["message"]
    assert param in error["message"] or code == "invalid_value"
    assert state_of(gateway) == before


def test_bodies_are_bounded_and_json(
    gateway: Gateway, ready: str, client_of: Callable[[str], httpx.Client], document: Document
) -> None:
    client, before = client_of(make_manager(gateway, ready, *SCOPES).key), None
    before = state_of(gateway)
    for body, kind, code in (
        (b"{", "application/json", (400, "invalid_json")),
        (b"[]", "application/json", (400, "invalid_type")),
        (b'{"name": "' + b"x" * 20_000 + b'"}', "application/json", (413, "request_too_large")),
        (b"name=x", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
    ):
        answer = client.post(f"{API}/keys", content=body, headers={"content-type": kind})
        document.check(answer)
        assert code_of(answer)[0] == code[0], answer.text
    assert state_of(gateway) == before
