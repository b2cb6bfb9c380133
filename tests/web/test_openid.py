"""Signing in at an OpenID provider: who comes in, who does not, and what no answer can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from joserfc.jwk import RSAKey
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect
from starlette.responses import JSONResponse, Response

from omixa.access import people
from omixa.config import ConfigError, load
from omixa.domain.access import Role
from omixa.web.pages import POLICY
from tests.support.browser import opened
from tests.support.console import PASSWORD, Browser, browser, invited, text_of
from tests.support.openid import (
    BACK,
    CertifiedProvider,
    LyingProvider,
    options,
    running_certified_provider,
    running_lying_provider,
    why_not,
)
from tests.support.servers import Gateway, running_gateway
from tests.web.test_browser import AXE, require_readable

BEGIN = "/sign-in/openid"
NAME = "ada@example.org"


@pytest.fixture
def provider() -> Iterator[LyingProvider]:
    with running_lying_provider() as running:
        yield running


@pytest.fixture
def house(provider: LyingProvider, tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(tmp_path, openid=options(provider.issuer, name="Example")) as gateway:
        yield gateway


def invite(gateway: Gateway, name: str = NAME, role: Role = "viewer") -> None:
    invited(gateway, name, role)


def answer_of(somebody: Browser, page: str = BEGIN) -> str:
    """Go to the provider and return the way back from there."""
    there = somebody.get(page)
    assert there.status_code == 303, text_of(there.text)
    back = httpx.get(there.headers["location"], trust_env=False)
    return back.headers["location"]


def come_in(gateway: Gateway, somebody: Browser | None = None) -> httpx.Response:
    somebody = somebody or browser(gateway)
    return somebody.client.get(answer_of(somebody))


def require_refused(answer: httpx.Response, status: int, words: str) -> None:
    """Expect a page that says why, in a browser that is not signed in."""
    assert (answer.status_code, words in text_of(answer.text)) == (status, True), text_of(answer.text)
    assert answer.headers["content-security-policy"] == POLICY
    assert "omixa_session" not in answer.headers.get("set-cookie", "") or "Max-Age=1209600" not in str(answer.headers)


def test_an_invited_person_comes_in_and_is_sent_where_they_wanted(house: Gateway) -> None:
    invite(house)
    somebody = browser(house)
    page = somebody.get("/sign-in?next=console%2Fdefault%2Flive%2Frequests%3Fstate%3Dcaptured")
    assert "Sign in with Example" in text_of(page.text)
    before = page.headers["set-cookie"].partition(";")[0]
    answer = somebody.client.get(
        answer_of(somebody, f"{BEGIN}?next=console%2Fdefault%2Flive%2Frequests%3Fstate%3Dcaptured")
    )
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "../../console/default/live/requests?state=captured",
    )
    kept = dict(cookie.partition(";")[0].split("=", 1) for cookie in answer.headers.get_list("set-cookie"))
    assert kept["omixa_flow"] == ""
    assert f"omixa_session={kept['omixa_session']}" != before
    assert somebody.get("/console/default/live/requests?state=captured").status_code == 200
    # Who comes by password goes on doing so, and who is signed in is not asked again.
    assert somebody.get(BEGIN).headers["location"] == "../console"


def test_without_a_provider_there_is_none(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        somebody = browser(gateway)
        assert "Sign in with" not in text_of(somebody.get("/sign-in").text)
        assert somebody.get(BEGIN).status_code == somebody.get(BACK).status_code == 404


def test_a_stranger_is_refused_and_told_under_which_name(house: Gateway, provider: LyingProvider) -> None:
    provider.email = "<b>Mallory</b>@example.org"
    require_refused(come_in(house), 403, "Nobody here has invited you under that name.")
    provider.email = "Ada@Example.org "
    invite(house)
    assert come_in(house).status_code == 303


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_was_not_verified_is_nobodys(house: Gateway, provider: LyingProvider, verified: object) -> None:
    invite(house)
    provider.claim = lambda claims: claims | {"email_verified": verified}
    require_refused(come_in(house), 403, "names no e-mail address of yours that it has verified")


def test_after_the_first_time_the_subject_counts(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    invite(house, "grace@example.org")
    assert come_in(house).status_code == 303
    provider.email = "grace@example.org"
    somebody = browser(house)
    assert come_in(house, somebody).status_code == 303
    assert NAME in somebody.get("/console/profile").text
    # Nor does an address that has come to somebody else there lead to who had it before.
    provider.subject, provider.email = "subject-2", NAME
    require_refused(come_in(house), 403, "meant somebody else by that name before")
    # A link of the operator's begins anew.
    link = house.call(lambda services: services.people.link(NAME, actor="test"))
    way = f"/welcome/{link.reveal()}"
    somebody = browser(house)
    assert somebody.post(way, way, password=PASSWORD, again=PASSWORD).status_code == 303
    assert come_in(house).status_code == 303
    provider.subject = "subject-1"
    require_refused(come_in(house), 403, "meant somebody else by that name before")


def test_whoever_was_taken_out_comes_in_no_more(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    somebody = browser(house)
    assert come_in(house, somebody).status_code == 303
    house.call(lambda services: services.people.remove(NAME, workspace="default", actor="test"))
    assert somebody.get("/console/default/live").status_code == 303
    require_refused(come_in(house), 403, "Nobody here has invited you")
    invite(house)
    assert come_in(house).status_code == 303


def test_people_of_a_domain_need_no_invitation(provider: LyingProvider, tmp_path: Path) -> None:
    joining = options(provider.issuer, join_domains="Example.org, other.example", join_role="developer")
    with running_gateway(tmp_path, openid=joining) as gateway:
        somebody = browser(gateway)
        assert come_in(gateway, somebody).status_code == 303
        assert "developer" in somebody.get("/console/profile").text
        (row,) = gateway.read(lambda tx: people.list_people(tx, "default"))
        assert (row.name, row.role) == (NAME, "developer")
        provider.subject = "subject-2"
        for email in ("eve@example.org.evil.example", "eve@evil-example.org", "example.org", "eve@@example.org x"):
            provider.email = email
            require_refused(come_in(gateway), 403, "Nobody here has invited you")
        provider.email = "new@example.org"
        provider.claim = lambda claims: claims | {"email_verified": False}
        require_refused(come_in(gateway), 403, "that it has verified")
        provider.claim = lambda claims: claims
        provider.email, provider.subject = NAME, "subject-1"
        gateway.call(lambda services: services.people.remove(NAME, workspace="default", actor="test"))
        require_refused(come_in(gateway), 403, "Nobody here has invited you")


def test_what_the_token_does_not_say_is_asked_for(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    provider.claim = lambda claims: {name: value for name, value in claims.items() if not name.startswith("email")}
    provider.user_info = {"sub": provider.subject, "email": NAME, "email_verified": True}
    assert come_in(house).status_code == 303
    provider.subject = "subject-2"
    require_refused(come_in(house), 403, "does not prove who you are")
    provider.user_info = None
    require_refused(come_in(house), 403, "does not prove who you are")


def test_another_claim_may_be_the_name(provider: LyingProvider, tmp_path: Path) -> None:
    with running_gateway(tmp_path, openid=options(provider.issuer, name_claim="upn")) as gateway:
        invite(gateway, "ada")
        provider.claim = lambda claims: claims | {"upn": "Ada", "email_verified": False}
        assert come_in(gateway).status_code == 303
        provider.subject = "subject-2"
        for upn in (7, None, ["ada"], "", "\0", "x" * 5000):
            provider.claim = lambda claims, upn=upn: claims | {"upn": upn}  # type: ignore[misc]
            assert come_in(gateway).status_code == 403


# ----------------------------------------------------------------------------------------------------------- forged answers

Sign = Callable[[LyingProvider, dict[str, Any]], str]
FORGED: dict[str, Sign] = {
    "expired": lambda one, claims: one.signed(claims | {"exp": int(time.time()) - 120}),
    "without an end": lambda one, claims: one.signed({name: claims[name] for name in claims if name != "exp"}),
    "of the future": lambda one, claims: one.signed(claims | {"iat": int(time.time()) + 600}),
    "not yet valid": lambda one, claims: one.signed(claims | {"nbf": int(time.time()) + 600}),
    "of another issuer": lambda one, claims: one.signed(claims | {"iss": "https://evil.example"}),
    "for another client": lambda one, claims: one.signed(claims | {"aud": "somebody else"}),
    "for several, by another": lambda one, claims: one.signed(claims | {"aud": ["omixa", "b"], "azp": "b"}),
    "with another nonce": lambda one, claims: one.signed(claims | {"nonce": "another"}),
    "without a nonce": lambda one, claims: one.signed({name: claims[name] for name in claims if name != "nonce"}),
    "with another access token": lambda one, claims: one.signed(claims | {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
    "without a subject": lambda one, claims: one.signed({name: claims[name] for name in claims if name != "sub"}),
    "of an odd subject": lambda one, claims: one.signed(claims | {"sub": ["subject-1"]}),
    "of an endless subject": lambda one, claims: one.signed(claims | {"sub": "x" * 300}),
    "signed by a stranger": lambda one, claims: one.signed(claims, RSAKey.generate_key(2048)),
    "signed by an unknown key": lambda one, claims: one.signed(claims, RSAKey.generate_key(2048), kid="b"),
    "signed by the client": lambda one, claims: one.signed_with_the_client_secret(claims),
    "not signed": lambda one, claims: one.unsigned(claims),
    "changed after it was signed": lambda one, claims: one.signed(claims)[:-8] + "AAAAAAAA",
    "nothing": lambda one, claims: "",
    "no token": lambda one, claims: "a.b.c",
    "no object": lambda one, claims: one.signed(claims).partition(".")[0] + ".W10.AAAA",
}


@pytest.mark.parametrize("how", FORGED)
def test_a_token_that_proves_nothing_lets_nobody_in(house: Gateway, provider: LyingProvider, how: str) -> None:
    invite(house)
    provider.sign = FORGED[how]
    require_refused(come_in(house), 403, "does not prove who you are")
    assert house.read(lambda tx: people.find_identity(tx, provider.issuer, provider.subject)) is None


def test_new_keys_are_asked_for_and_not_all_the_time(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    assert come_in(house).status_code == 303
    provider.sign = FORGED["signed by an unknown key"]
    for _ in range(3):
        assert come_in(house).status_code == 403
    # The keys were fetched a moment ago.
    assert provider.asked.count("keys") == 1
    assert provider.asked.count("configuration") == 1
    assert house.services is not None
    door = house.services.openid
    assert door is not None
    new = RSAKey.generate_key(2048, {"kid": "b", "use": "sig"})
    provider.published, provider.sign = [new], lambda one, claims: one.signed(claims, new, kid="b")
    door.provider._next_keys_at = 0.0
    assert come_in(house).status_code == 303
    assert provider.asked.count("keys") == 2


def test_an_answer_is_good_for_its_own_browser_and_once(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    somebody, other = browser(house), browser(house)
    back = answer_of(somebody)
    # Another browser has begun nothing, or something else.
    require_refused(other.client.get(back), 403, "has begun no sign-in")
    answer_of(other)
    require_refused(other.client.get(back), 403, "does not belong to a sign-in")
    # What was refused was forgotten.
    assert "omixa_flow" not in other.client.cookies
    flow = somebody.client.cookies["omixa_flow"]
    assert somebody.client.get(back).status_code == 303
    require_refused(browser(house).client.get(back), 403, "has begun no sign-in")
    third = browser(house)
    third.client.cookies.set("omixa_flow", flow)
    require_refused(third.client.get(back), 403, "it was used already")


def test_a_changed_answer_or_cookie_lets_nobody_in(house: Gateway, provider: LyingProvider) -> None:
    invite(house)
    somebody = browser(house)
    good = httpx.URL(answer_of(somebody))
    flow = somebody.client.cookies["omixa_flow"]
    token, ends, place = flow.split(".", 2)
    ways = [
        (good.copy_set_param("state", "another"), flow, "does not belong to a sign-in"),
        (good.copy_set_param("state", "\u00e9"), flow, "does not belong to a sign-in"),
        (good.copy_remove_param("state"), flow, "does not belong to a sign-in"),
        (good.copy_set_param("iss", "https://evil.example"), flow, "does not belong to a sign-in"),
        (good.copy_remove_param("code"), flow, "without a code"),
        (good.copy_set_param("code", "x" * 5000), flow, "without a code"),
        (good.copy_set_param("code", "another"), flow, "did not accept this answer"),
        (good.copy_set_param("error", "access_denied"), flow, "it says access_denied"),
        (good.copy_set_param("error", "<b>x</b>"), flow, "something else than the protocol knows"),
        (good, f"{token}.{int(ends) + 1}.{place}", "does not belong to a sign-in"),
        (good, f"{token}.{ends}.console/other", "does not belong to a sign-in"),
        (good, f"{token}.1.{place}", "too long ago"),
        (good, "nothing", "has begun no sign-in"),
        (httpx.URL(str(good) + "&a=b" * 50), flow, "does not belong to a sign-in"),
    ]
    for way, cookie, words in ways:
        other = browser(house)
        other.client.cookies.set("omixa_flow", cookie)
        require_refused(other.client.get(way), 403, words)
    other = browser(house)
    other.client.cookies.set("omixa_flow", flow)
    assert other.client.get(good).status_code == 303


def test_tries_are_counted(house: Gateway, provider: LyingProvider) -> None:
    somebody, tries = browser(house), 0
    # There are forty at once, and a few more for as long as this takes.
    while (answer := come_in(house, somebody)).status_code == 403:
        tries += 1
        assert tries < 200
    assert tries >= 40
    require_refused(answer, 429, "Too many tries to sign in.")


BROKEN: dict[str, Callable[[LyingProvider], None]] = {
    "says it is another": lambda one: setattr(one, "describe", lambda told: told | {"issuer": "https://evil.example"}),
    "says nothing": lambda one: setattr(one, "describe", lambda told: {}),
    "says too much": lambda one: setattr(one, "describe", lambda told: told | {"more": "x" * 300_000}),
    "leads elsewhere in the clear": lambda one: setattr(
        one, "describe", lambda told: told | {"token_endpoint": "ftp://evil.example/token"}
    ),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_provider_that_cannot_be_asked_is_told_on_the_page(house: Gateway, provider: LyingProvider, how: str) -> None:
    BROKEN[how](provider)
    answer = browser(house).get(BEGIN)
    require_refused(answer, 503, "Example cannot be asked now")
    assert "evil.example" not in answer.text
    asked = len(provider.asked)
    assert browser(house).get(BEGIN).status_code == 503
    # It is left alone for a moment.
    assert len(provider.asked) == asked


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (JSONResponse({"error": "invalid_client"}, 401), 503, "does not know this gateway"),
        (JSONResponse({"error": "server_error"}, 500), 503, "cannot be asked now"),
        (JSONResponse({"access_token": "a", "token_type": "Bearer"}), 403, "does not prove who you are"),
        (Response("<html>", 200), 403, "does not prove who you are"),
        (Response("", 302, {"location": "http://127.0.0.1:1/"}), 403, "did not accept this answer"),
        (Response(b"x" * 300_000), 503, "cannot be asked now"),
    ],
    ids=["unknown client", "broken", "no token", "no JSON", "elsewhere", "too much"],
)
def test_what_the_token_endpoint_says_wrong(
    house: Gateway, provider: LyingProvider, answer: Response, status: int, words: str
) -> None:
    invite(house)
    provider.token_answer = answer
    require_refused(come_in(house), status, words)


def test_no_secret_and_no_token_is_logged(
    house: Gateway, provider: LyingProvider, caplog: pytest.LogCaptureFixture
) -> None:
    invite(house)
    come_in(house)
    provider.sign = FORGED["expired"]
    come_in(house)
    told = str([record.__dict__ for record in caplog.records])
    assert "openid.untrue" in told
    for secret in ("a secret of the client", "an access token", "eyJ", "code-0"):
        assert secret not in told


# ------------------------------------------------------------------------------------------------- the certified provider


@pytest.fixture(scope="module")
def certified() -> Iterator[CertifiedProvider]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_certified_provider() as running:
        yield running


@pytest.fixture(scope="module")
def home(certified: CertifiedProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = options(certified.issuer, name="The Company")
    with running_gateway(tmp_path_factory.mktemp("openid"), openid=settings) as gateway:
        certified.register(gateway)
        yield gateway


def go_there(page: Page, gateway: Gateway, account: str, button: str = "Continue") -> None:
    page.goto(f"{gateway.url}/console")
    page.get_by_role("link", name="Sign in with The Company").click()
    page.get_by_label("Account").fill(account)
    page.get_by_role("button", name=button).click()


def test_a_browser_goes_to_a_certified_provider_and_back(
    page: Page, home: Gateway, certified: CertifiedProvider
) -> None:
    certified.know({"7": {"email": "Ada@example.org", "email_verified": True}})
    invite(home, role="admin")
    require_readable(page, f"{home.url}/sign-in")
    go_there(page, home, "7")
    page.wait_for_url(f"{home.url}/console/default/live")
    require_readable(page, f"{home.url}/console/profile")
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    page.wait_for_url(f"{home.url}/sign-in")
    # The provider still knows them, by their subject: their address there may be another one now.
    certified.know({"7": {"email": "renamed@example.org", "email_verified": True}})
    page.get_by_role("link", name="Sign in with The Company").click()
    page.wait_for_url(f"{home.url}/console/default/live")
    page.goto(f"{home.url}/console/profile")
    leads = page.get_by_role("link", name="sign out of The Company").get_attribute("href") or ""
    assert leads.startswith(f"{certified.issuer}/session/end?client_id=omixa&post_logout_redirect_uri=")


def test_a_browser_is_told_why_it_is_not_let_in(
    request: pytest.FixtureRequest, home: Gateway, certified: CertifiedProvider
) -> None:
    certified.know(
        {
            "8": {"email": "stranger@example.org", "email_verified": True},
            "9": {"email": "grace@example.org", "email_verified": False},
        }
    )
    invite(home, "grace@example.org")
    chromium: Chromium = request.getfixturevalue("browser")
    for account, button, complaint in (
        ("8", "Continue", "you are stranger@example.org. Nobody here has invited you"),
        ("9", "Continue", "no e-mail address of yours that it has verified"),
        ("9", "Cancel", "it says access_denied"),
    ):
        with opened(chromium) as (page, wrong):
            go_there(page, home, account, button)
            expect(page.get_by_role("alert")).to_contain_text(complaint)
            expect(page.get_by_role("link", name="Sign in with The Company")).to_be_visible()
            page.evaluate(AXE)
            assert page.evaluate("axe.run({resultTypes: ['violations']})")["violations"] == []
            # The status itself is told on the console, and nothing else.
            assert [line for line in wrong if "403 (Forbidden)" not in line] == []


def test_a_code_of_the_certified_provider_is_good_once(page: Page, home: Gateway, certified: CertifiedProvider) -> None:
    certified.know({"10": {"email": "once@example.org", "email_verified": True}})
    invite(home, "once@example.org")
    with page.expect_request(lambda request: BACK in request.url) as asked:
        go_there(page, home, "10")
    page.wait_for_url(f"{home.url}/console/default/live")
    flow = asked.value.all_headers()["cookie"].partition("omixa_flow=")[2].partition(";")[0]
    other = browser(home)
    other.client.cookies.set("omixa_flow", flow)
    require_refused(other.client.get(asked.value.url), 403, "it was used already")


# ------------------------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CLIENT_ID": "omixa"}, "openid.issuer is missing"),
        ({"ISSUER": "https://a.example"}, "openid.client_id is missing"),
        ({"ISSUER": "http://a.example", "CLIENT_ID": "omixa"}, "openid.issuer must be an address"),
        ({"ISSUER": "http://127.0.0.1.evil.example", "CLIENT_ID": "omixa"}, "openid.issuer must be an address"),
        ({"ISSUER": "https://a.example?b", "CLIENT_ID": "omixa"}, "openid.issuer must be an address"),
        ({"ISSUER": "https://a.example", "CLIENT_ID": "omixa", "SCOPES": "email"}, "openid.scopes must have openid"),
        ({"ISSUER": "https://a.example", "CLIENT_ID": "omixa", "JOIN_DOMAINS": "a@b"}, "openid.join_domains must be"),
        ({"ISSUER": "https://a.example", "CLIENT_ID": "omixa", "JOIN_ROLE": "owner"}, "owner"),
        (
            {"ISSUER": "https://a.example", "CLIENT_ID": "omixa", "JOIN_DOMAINS": "b.example", "NAME_CLAIM": "upn"},
            "openid.join_domains needs e-mail addresses",
        ),
    ],
)
def test_options_that_cannot_be_meant_are_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load({f"OMIXA_OPENID_{name}": value for name, value in given.items()})


def test_a_secret_among_the_options_is_never_printed() -> None:
    given = {"ISSUER": "https://a.example/realm", "CLIENT_ID": "omixa", "CLIENT_SECRET": "hush"}
    configuration = load({f"OMIXA_OPENID_{name}": value for name, value in given.items()})
    (shown,) = [one.value for one in configuration.options() if one.name == "openid.client_secret"]
    assert shown == "***"
    assert "hush" not in str(configuration)
