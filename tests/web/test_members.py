"""Members of a workspace: who lets whom in, and that nobody gets into anything else by it."""

from __future__ import annotations

import itertools
import re

import httpx2 as httpx
import pytest
from playwright.sync_api import Page, expect

from omixa.access import people
from omixa.domain.access import Role
from tests.support.browser import PHONE, WIDE
from tests.support.console import PASSWORD, Browser, browser, invited, signed_in, text_of
from tests.support.servers import Gateway
from tests.web.test_browser import require_no_violations, require_readable
from tests.web.test_browser import sign_in as sign_in_as_owner

LINK = re.compile(r"/welcome/[\w-]{43}")
_names = itertools.count()


@pytest.fixture
def name() -> str:
    return f"member-{next(_names)}@example.org"


def settings_of(workspace: str) -> str:
    return f"/console/{workspace}/live/settings"


def invite(somebody: Browser, workspace: str, name: str, role: str) -> httpx.Response:
    return somebody.post(f"{settings_of(workspace)}/members", settings_of(workspace), name=name, role=role)


def remove(somebody: Browser, workspace: str, name: str) -> httpx.Response:
    return somebody.post(f"{settings_of(workspace)}/members/remove", settings_of(workspace), name=name)


def roles_in(gateway: Gateway, workspace: str) -> dict[str, Role]:
    return {row.name: row.role for row in gateway.read(lambda tx: people.list_people(tx, workspace))}


@pytest.fixture
def owner(gateway: Gateway, workspace: str) -> Browser:
    gateway.key("test", workspace)
    return signed_in(gateway, f"owner@{workspace}", "owner", workspace)


@pytest.fixture
def admin(gateway: Gateway, workspace: str, owner: Browser) -> Browser:
    return signed_in(gateway, f"admin@{workspace}", "admin", workspace)


def test_somebody_is_let_in_changed_and_taken_out(gateway: Gateway, workspace: str, admin: Browser, name: str) -> None:
    answer = invite(admin, workspace, name.upper(), "viewer")
    assert answer.status_code == 200
    (way,) = set(LINK.findall(answer.text))
    # It is shown once.
    assert not LINK.search(admin.get(settings_of(workspace)).text)
    somebody = browser(gateway)
    assert somebody.post(way, way, password=PASSWORD, again=PASSWORD).status_code == 303
    assert somebody.get(f"/console/{workspace}/live").status_code == 200
    assert somebody.get(settings_of(workspace)).status_code == 200
    assert "/settings/members" not in somebody.get(settings_of(workspace)).text
    # Whoever has a way in gets no link by being given another role.
    changed = invite(admin, workspace, name, "developer")
    assert (changed.status_code, roles_in(gateway, workspace)[name]) == (303, "developer")
    assert remove(admin, workspace, name).status_code == 303
    assert somebody.get(f"/console/{workspace}/live").status_code == 303
    assert name not in roles_in(gateway, workspace)
    assert remove(admin, workspace, name).status_code == 404


def test_owners_are_for_owners(gateway: Gateway, workspace: str, owner: Browser, admin: Browser, name: str) -> None:
    boss = f"owner@{workspace}"
    before = roles_in(gateway, workspace)
    for answer in (
        invite(admin, workspace, name, "owner"),
        invite(admin, workspace, f"admin@{workspace}", "owner"),
        invite(admin, workspace, boss, "viewer"),
        invite(admin, workspace, boss, "owner"),
        remove(admin, workspace, boss),
    ):
        assert (answer.status_code, "role_forbidden" in answer.text) == (403, True)
    # The last one stays.
    for answer in (invite(owner, workspace, boss, "admin"), remove(owner, workspace, boss)):
        assert (answer.status_code, "needs an owner" in text_of(answer.text)) == (400, True)
    assert roles_in(gateway, workspace) == before
    assert invite(owner, workspace, f"admin@{workspace}", "owner").status_code == 303
    assert invite(owner, workspace, boss, "admin").status_code == 303
    assert invite(owner, workspace, boss, "owner").status_code == 403


def test_nobody_gets_a_link_for_somebody_of_another_workspace(
    gateway: Gateway, workspace: str, owner: Browser, name: str
) -> None:
    # They have not set a password there yet: a link would be theirs there too.
    assert invited(gateway, name, "owner", "default") is not None
    refused = invite(owner, workspace, name, "viewer")
    assert (refused.status_code, "belongs to another workspace" in text_of(refused.text)) == (400, True)
    assert not LINK.search(refused.text)
    assert name not in roles_in(gateway, workspace)
    # Nor when they belong to both.
    invited(gateway, name, "viewer", workspace)
    again = invite(owner, workspace, name, "developer")
    assert (again.status_code, roles_in(gateway, workspace)[name]) == (303, "developer")
    assert roles_in(gateway, "default")[name] == "owner"
    assert remove(owner, workspace, name).status_code == 303
    assert roles_in(gateway, "default")[name] == "owner"
    gateway.call(lambda services: services.people.invite(f"b-{name}", workspace="default", role="owner", actor="test"))
    gateway.call(lambda services: services.people.remove(name, workspace="default", actor="test"))


def test_whoever_comes_in_by_a_provider_is_not_impersonated(
    gateway: Gateway, workspace: str, owner: Browser, name: str
) -> None:
    assert LINK.search(invite(owner, workspace, name, "developer").text)

    def bind(tx) -> None:  # type: ignore[no-untyped-def]
        found = people.find_person(tx, name)
        assert found is not None
        people.insert_identity(tx, found.id, "https://login.example.org", name)

    gateway.write(bind)
    again = invite(owner, workspace, name, "viewer")
    assert (again.status_code, LINK.search(again.text)) == (303, None)


def test_whoever_runs_the_gateway_is_not_taken_out_of_it(
    gateway: Gateway, workspace: str, owner: Browser, name: str
) -> None:
    signed_in(gateway, name, "developer", workspace)
    gateway.call(lambda services: services.people.set_operator(name, is_operator=True, actor="test"))
    answer = remove(owner, workspace, name)
    assert (answer.status_code, "runs this gateway" in text_of(answer.text)) == (400, True)
    assert name in roles_in(gateway, workspace)


@pytest.mark.parametrize("wrong", ["", "a b", "<script>", "x" * 101, "\u202e", "-a"])
def test_what_is_no_name_or_no_role_is_refused(gateway: Gateway, workspace: str, owner: Browser, wrong: str) -> None:
    before = roles_in(gateway, workspace)
    assert invite(owner, workspace, wrong, "viewer").status_code == 400
    assert remove(owner, workspace, wrong).status_code == 400
    assert invite(owner, workspace, "new@example.org", wrong).status_code == 400
    assert roles_in(gateway, workspace) == before


def test_a_browser_lets_somebody_in(page: Page, gateway: Gateway, workspace: str, name: str) -> None:
    gateway.key("test", workspace)
    sign_in_as_owner(page, gateway, workspace)
    page.goto(gateway.url + settings_of(workspace))
    page.get_by_label("Their name").fill(name)
    page.get_by_role("combobox", name="As", exact=True).select_option("billing")
    page.get_by_role("button", name="Make a link").click()
    expect(page.locator("#welcome-link")).to_contain_text("/welcome/")
    require_no_violations(page)
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    page.set_viewport_size({"width": WIDE, "height": 900})
    page.goto(gateway.url + settings_of(workspace))
    page.get_by_label(f"Role of {name}").select_option("viewer")
    page.get_by_role("button", name=f"Save, new link: {name}").click()
    expect(page.locator("#welcome-link")).to_contain_text("/welcome/")
    require_readable(page, gateway.url + settings_of(workspace))
    page.get_by_role("button", name=f"Take out: {name}").click()
    expect(page.get_by_text(name)).to_have_count(0)
