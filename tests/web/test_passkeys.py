"""Passkeys: by a real browser with a device of its own, and by one that says what no browser would."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from playwright.sync_api import Page, expect

from omixa.access import people
from tests.support.console import PASSWORD, Browser, browser, form_token, invited, text_of
from tests.support.passkeys import PRESENT, Device, encoded
from tests.support.servers import Gateway, running_gateway
from tests.web.test_browser import require_no_violations, require_readable

_names = itertools.count()
PROFILE = "/console/profile"
HOSTILE = "<img src=x onerror=alert(1)> \u202e {{ 7*7 }}"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of its own for each test: tries are counted by address, and all tests come from one."""
    with running_gateway(tmp_path) as running:
        yield running


@pytest.fixture
def name() -> str:
    return f"holder-{next(_names)}@example.org"


@pytest.fixture
def local(gateway: Gateway) -> str:
    """The gateway's address by a domain: passkeys are for none but those."""
    return f"http://localhost:{gateway.port}"


def at(gateway: Gateway, local: str) -> Browser:
    """Return a browser that has never been there."""
    client = gateway.client(None)
    client.headers |= {"connection": "close", "host": local.removeprefix("http://")}
    return Browser(client, local)


def way_of(gateway: Gateway, name: str) -> str:
    way = invited(gateway, name, "developer")
    assert way is not None
    return way


def asked(somebody: Browser, page: str, path: str) -> tuple[dict[str, Any], str, str]:
    """Return what a browser is asked, until when, and what the form of the page carries."""
    token = form_token(somebody.get(page).text)
    answer = somebody.send(f"{path}/options", csrf=token)
    assert answer.status_code == 200, text_of(answer.text)
    told = answer.json()
    return told["options"], str(told["ends"]), token


def made(gateway: Gateway, local: str, name: str, device: Device) -> Browser:
    """Let somebody begin with a passkey, by a link."""
    somebody, way = at(gateway, local), way_of(gateway, name)
    options, ends, token = asked(somebody, way, f"{way}/passkey")
    done = somebody.send(f"{way}/passkey", csrf=token, answer=device.make(options), ends=ends)
    assert done.status_code == 303, text_of(done.text)
    return somebody


def signed_in_by(somebody: Browser, device: Device, **more: str) -> httpx.Response:
    options, ends, token = asked(somebody, "/sign-in", "/sign-in/passkey")
    fields = {"answer": device.use(options), "ends": ends, **more}
    return somebody.send("/sign-in/passkey", csrf=token, **fields)


def test_a_browser_makes_passkeys_and_signs_in_by_them(page: Page, gateway: Gateway, local: str, name: str) -> None:
    way = way_of(gateway, name)
    unplug = with_device(page)
    page.goto(local + way)
    require_no_violations(page)
    page.get_by_role("button", name="Make a passkey instead").click()
    page.wait_for_url(f"{local}/console/default/live")
    page.goto(local + PROFILE)
    expect(page.get_by_text("not used yet")).to_be_visible()
    page.get_by_label("What do you call it?").fill("My laptop")
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_role("alert")).to_contain_text("This device has a passkey for here already.")
    unplug()
    with_device(page)
    page.get_by_role("button", name="Make a passkey").click()
    expect(page.get_by_text("My laptop")).to_be_visible()
    require_readable(page, local + PROFILE)
    page.get_by_role("button", name="Remove the passkey First passkey").click()
    expect(page.get_by_text("First passkey")).to_be_hidden()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{local}/sign-in")
    require_readable(page, f"{local}/sign-in")
    page.goto(f"{local}/sign-in?next=console%2Fdefault%2Ftest%2Fkeys")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"{local}/console/default/test/keys")
    page.goto(local + PROFILE)
    expect(page.get_by_text(", last used")).to_be_visible()


def with_device(page: Page) -> Callable[[], None]:
    """Give the browser a device that keeps passkeys and knows its owner. Returns what takes it away."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    added = devices.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return lambda: devices.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": added["authenticatorId"]})


def test_without_a_script_or_a_domain_a_password_does(gateway: Gateway, local: str, name: str) -> None:
    way = way_of(gateway, name)
    plain = browser(gateway)
    page = plain.get(way)
    assert "passkey" not in text_of(page.text)
    assert plain.send(f"{way}/passkey/options", csrf=form_token(page.text)).status_code == 404
    assert plain.post(way, way, password=PASSWORD, again=PASSWORD).status_code == 303
    assert "Open this page by one, on this machine by localhost" in text_of(plain.get(PROFILE).text)
    for button in ("Sign in with a passkey",):
        assert f"hidden>{button}" in at(gateway, local).get("/sign-in").text


def test_a_link_makes_what_it_sets_the_only_way_in(gateway: Gateway, local: str, name: str) -> None:
    device = Device(local)
    first = made(gateway, local, name, device)
    assert first.get(PROFILE).status_code == 200
    assert signed_in_by(at(gateway, local), device).status_code == 303
    # Whoever has a passkey is invited without a link.
    assert invited(gateway, name, "viewer") is None
    link = gateway.call(lambda services: services.people.link(name, actor="test"))
    way = f"/welcome/{link.reveal()}"
    second = at(gateway, local)
    assert second.post(way, way, password=PASSWORD, again=PASSWORD).status_code == 303
    assert first.get(PROFILE).status_code == 303
    assert signed_in_by(at(gateway, local), device).status_code == 403
    assert "First passkey" not in second.get(PROFILE).text


def test_several_have_names_and_the_last_way_in_stays(gateway: Gateway, local: str, name: str) -> None:
    somebody = made(gateway, local, name, Device(local))
    for given, status in ((HOSTILE, 303), ("", 400), ("x" * 61, 400)):
        options, ends, token = asked(somebody, PROFILE, f"{PROFILE}/passkeys")
        assert len(options["excludeCredentials"]) >= 1
        answer = Device(local).make(options)
        done = somebody.send(f"{PROFILE}/passkeys", csrf=token, answer=answer, ends=ends, name=given)
        assert done.status_code == status, text_of(done.text)
    page = somebody.get(PROFILE).text
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    rows = rows_of(gateway, name)
    assert len(rows) == 2
    stranger = made(gateway, local, f"stranger-{name}", Device(local))
    assert stranger.post(f"{PROFILE}/passkeys/{rows[0].id}/remove", PROFILE).status_code == 404
    assert somebody.post(f"{PROFILE}/passkeys/{rows[0].id}/remove", PROFILE).status_code == 303
    last = somebody.post(f"{PROFILE}/passkeys/{rows[1].id}/remove", PROFILE)
    assert (last.status_code, "This is your only way in" in text_of(last.text)) == (400, True)
    assert [one.id for one in rows_of(gateway, name)] == [rows[1].id]


def rows_of(gateway: Gateway, name: str) -> list[people.PasskeyRow]:
    def read(tx: Any) -> list[people.PasskeyRow]:
        found = people.find_person(tx, name)
        assert found is not None
        return people.list_passkeys(tx, found.id)

    return gateway.read(read)


def test_whoever_is_taken_out_comes_in_no_more(gateway: Gateway, local: str, name: str) -> None:
    device = Device(local)
    made(gateway, local, name, device)
    gateway.call(lambda services: services.people.remove(name, workspace="default", actor="test"))
    assert signed_in_by(at(gateway, local), device).status_code == 403
    invited(gateway, name, "viewer")
    assert signed_in_by(at(gateway, local), device).status_code == 403


def test_an_answer_serves_once_and_in_its_own_browser(gateway: Gateway, local: str, name: str) -> None:
    device = Device(local)
    made(gateway, local, name, device)
    somebody, other = at(gateway, local), at(gateway, local)
    options, ends, token = asked(somebody, "/sign-in", "/sign-in/passkey")
    answer = device.use(options)
    cookie = somebody.client.cookies["omixa_session"]
    foreign = form_token(other.get("/sign-in").text)
    assert other.send("/sign-in/passkey", csrf=foreign, answer=answer, ends=ends).status_code == 403
    done = somebody.send("/sign-in/passkey", csrf=token, answer=answer, ends=ends)
    assert (done.status_code, somebody.client.cookies["omixa_session"] != cookie) == (303, True)
    # The same browser as it was before, and a device that goes on counting.
    again = at(gateway, local)
    again.client.cookies.set("omixa_session", cookie)
    assert again.send("/sign-in/passkey", csrf=token, answer=answer, ends=ends).status_code == 403
    fresh = again.send("/sign-in/passkey", csrf=token, answer=device.use(options), ends=ends)
    assert fresh.status_code == 403
    assert "omixa_session" not in again.client.cookies or again.client.cookies["omixa_session"] == cookie


WRONG: dict[str, Callable[[Device], None]] = {
    "another origin": lambda device: setattr(device, "origin", "http://evil.example"),
    "another port": lambda device: setattr(device, "origin", device.origin + "1"),
    "another domain": lambda device: setattr(device, "domain", "evil.example"),
    "nobody verified": lambda device: setattr(device, "flags", PRESENT),
    "nobody present": lambda device: setattr(device, "flags", 0x04),
    "a copy that counts less": lambda device: setattr(device, "count", -1 + 1),
    "another key": lambda device: setattr(device, "key", Device("").key),
    "unknown": lambda device: setattr(device, "id", b"unknown"),
}


@pytest.mark.parametrize("how", WRONG)
def test_an_answer_that_proves_nothing_lets_nobody_in(gateway: Gateway, local: str, name: str, how: str) -> None:
    device = Device(local)
    made(gateway, local, name, device)
    for _ in range(2):
        assert signed_in_by(at(gateway, local), device).status_code == 303
    WRONG[how](device)
    somebody = at(gateway, local)
    refused = signed_in_by(somebody, device)
    assert (refused.status_code, "This passkey is not known here" in text_of(refused.text)) == (403, True)
    assert somebody.get(PROFILE).status_code == 303


@pytest.mark.parametrize("how", ["another origin", "another domain", "nobody verified", "nobody present"])
def test_a_passkey_that_proves_nothing_is_not_kept(gateway: Gateway, local: str, name: str, how: str) -> None:
    device = Device(local)
    WRONG[how](device)
    somebody, way = at(gateway, local), way_of(gateway, name)
    options, ends, token = asked(somebody, way, f"{way}/passkey")
    refused = somebody.send(f"{way}/passkey", csrf=token, answer=device.make(options), ends=ends)
    assert refused.status_code == 403
    # The link is still good, and its page leads to where it did.
    assert f'action="../{way.rpartition("/")[2]}' in refused.text or "/passkey/options" in refused.text
    assert somebody.get(way).status_code == 200


def test_one_persons_passkey_never_becomes_anothers(gateway: Gateway, local: str, name: str) -> None:
    device = Device(local)
    made(gateway, local, name, device)
    somebody, way = at(gateway, local), way_of(gateway, f"thief-{name}")
    options, ends, token = asked(somebody, way, f"{way}/passkey")
    assert somebody.send(f"{way}/passkey", csrf=token, answer=device.make(options), ends=ends).status_code == 403


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 20_000,
        '{"id": 7}',
        '{"id": "\u00e9"}',
        '{"id": "a", "rawId": "?"}',
        "x" * 40_000,
    ],
)
def test_rubbish_is_refused(gateway: Gateway, local: str, name: str, answer: str) -> None:
    somebody = at(gateway, local)
    _, ends, token = asked(somebody, "/sign-in", "/sign-in/passkey")
    for until in (ends, "", "-1", "9" * 12, "1", "\u0663"):
        assert somebody.send("/sign-in/passkey", csrf=token, answer=answer, ends=until).status_code in (403, 429)
    way = way_of(gateway, name)
    _, ends, token = asked(somebody, way, f"{way}/passkey")
    assert somebody.send(f"{way}/passkey", csrf=token, answer=answer, ends=ends).status_code in (403, 429)


def test_a_mangled_answer_is_refused(gateway: Gateway, local: str, name: str) -> None:
    device = Device(local)
    somebody, way = at(gateway, local), way_of(gateway, name)
    options, ends, token = asked(somebody, way, f"{way}/passkey")
    good = json.loads(device.make(options))
    for part, value in (
        ("attestationObject", encoded(b"\xff\xff")),
        ("attestationObject", encoded(b"")),
        ("attestationObject", encoded(b"\xa1\x63fmt\x64none")),
        ("clientDataJSON", encoded(b"{}")),
        ("clientDataJSON", encoded(b"[]")),
        ("clientDataJSON", 7),
    ):
        bad = {**good, "response": {**good["response"], part: value}}
        refused = somebody.send(f"{way}/passkey", csrf=token, answer=json.dumps(bad), ends=ends)
        assert refused.status_code == 403, (part, value)
    assert somebody.send(f"{way}/passkey", csrf=token, answer=json.dumps(good), ends=ends).status_code == 303
