"""The console over HTTP: who gets in, who may do what, and that its pages say what the API says."""

from __future__ import annotations

import csv
import html
import io
import itertools
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import httpx2 as httpx
import pytest
from sqlalchemy import select

from omixa.access import store
from omixa.access.roles import ROLES, Action
from omixa.billing.verify import verify
from omixa.config import DatabaseAddress, StripeSettings
from omixa.domain.access import Role, Secret
from omixa.domain.times import utc_today
from omixa.storage import tables
from omixa.usage import search
from omixa.web.console.routes import ROUTES, ConsoleRoute
from omixa.web.pages import POLICY
from tests.support.console import PASSWORD, Browser, browser, form_token, invited, signed_in, text_of
from tests.support.document import Document
from tests.support.imagefiles import encoded
from tests.support.payments import API_KEY, WEBHOOK_SECRET, FakeStripe, paid, running_stripe, signed
from tests.support.postgres import Cluster
from tests.support.servers import Gateway, running_gateway
from tests.web.test_pages import MAX_WEIGHT, Tags, weight

PAINTER = "omixa-illustrator-1"
HOSTILE = (
    "</script><img src=x onerror=alert(1)><svg onload=alert(1)> `tick` [x](javascript:alert(1)) "
    "\u202e\u2067\u200f # {{ 7*7 }} ' \" & \x01"
)
_names = itertools.count()


def new_name() -> str:
    return f"somebody-{next(_names)}@example.org"


@dataclass
class Team:
    """A workspace with a browser for every role, a test key, and requests that were made with it."""

    workspace: str
    browsers: Mapping[Role, Browser]
    key: str
    key_id: str
    made: str
    failed: str

    @property
    def home(self) -> str:
        return f"/console/{self.workspace}/test"


def make_team(gateway: Gateway, workspace: str) -> Team:
    key = gateway.key("test", workspace)
    with gateway.client(key) as client:
        made = paint(client, "a lamp on a desk")
        failed = client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:filter x"})
    (row,) = keys_of(gateway, workspace)
    browsers = {role: signed_in(gateway, f"{role}@{workspace}", role, workspace) for role in ROLES}
    return Team(workspace, browsers, key, row.id, made["omixa"]["request_id"], failed.headers["x-request-id"])


def paint(client: httpx.Client, prompt: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/images/generations", json={"model": PAINTER, "prompt": prompt, **more})
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


def keys_of(gateway: Gateway, workspace: str) -> list[store.KeyRow]:
    return gateway.read(lambda tx: store.list_keys(tx, workspace))


@pytest.fixture(scope="module")
def stripe() -> Iterator[FakeStripe]:
    with running_stripe() as running:
        yield running


@pytest.fixture(scope="module")
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stripe: FakeStripe
) -> Iterator[Gateway]:
    """A gateway that sells credit. With GATEWAY_DATABASE=postgresql its ledger is there."""
    options = StripeSettings(
        api_key=Secret(API_KEY),
        webhook_secret=Secret(WEBHOOK_SECRET),
        api_base=stripe.url,
        return_url="https://shop.example/thanks",
    )
    with ExitStack() as stack:
        settings: dict[str, Any] = {"stripe": options}
        if os.environ.get("GATEWAY_DATABASE") == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            settings["database"] = DatabaseAddress(cluster.address(stack.enter_context(cluster.database())))
        running = stack.enter_context(running_gateway(tmp_path_factory.mktemp("console"), **settings))
        yield running
        assert running.read(verify).findings == ()


@pytest.fixture(scope="module")
def acme(house: Gateway) -> Team:
    return make_team(house, "acme")


@pytest.fixture(scope="module")
def globex(house: Gateway) -> Team:
    return make_team(house, "globex")


@pytest.fixture
def owner(acme: Team) -> Browser:
    return acme.browsers["owner"]


# ---------------------------------------------------------------------------------------------------------------- the door


def test_the_owner_comes_in_by_the_first_link_and_then_by_a_password(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        link = gateway.call(lambda services: services.people.first_link())
        assert link is not None
        way = f"/welcome/{link.reveal()}"
        first = browser(gateway)
        assert "You sign in as owner" in text_of(first.get(way).text)
        differing = first.post(way, way, password=PASSWORD, again=PASSWORD + "!")
        assert (differing.status_code, "The two passwords differ" in text_of(differing.text)) == (400, True)
        assert first.post(way, way, password=PASSWORD, again=PASSWORD).headers["location"] == "../console"
        assert first.get("/console").headers["location"] == "./console/default/live"
        assert first.get("/console/default/live").status_code == 200
        assert first.get(way).status_code == 403
        second = browser(gateway)
        # Whoever is not signed in is led back to where they wanted to go.
        wanted = second.get("/console/default/test/requests?state=captured")
        assert (wanted.status_code, wanted.headers["location"].partition("?")[0]) == (303, "../../../sign-in")
        page = httpx.URL(wanted.request.url).join(wanted.headers["location"]).raw_path.decode()
        token, place = (
            form_token(second.get(page).text),
            re.search(r'name="next" value="([^"]*)"', second.get(page).text),
        )
        assert place is not None
        wrong = second.send("/sign-in", csrf=token, name="owner", password="not this one", next=place[1])
        assert wrong.status_code == 403
        assert "The name or the password is wrong" in text_of(wrong.text)
        assert 'value="owner"' in wrong.text
        done = second.send("/sign-in", csrf=token, name="Owner", password=PASSWORD, next=place[1])
        assert done.headers["location"] == "./console/default/test/requests?state=captured"
        assert second.get("/console/default/test/requests?state=captured").status_code == 200
        assert second.get("/sign-in").status_code == 303


def test_a_session_is_a_new_token_in_a_cookie_that_no_script_reads(house: Gateway) -> None:
    name = new_name()
    somebody = browser(house)
    way = invited(house, name, "viewer")
    assert way is not None
    answer = somebody.get(way)
    before = answer.headers["set-cookie"]
    answer = somebody.post(way, way, password=PASSWORD, again=PASSWORD)
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"omixa_session=[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax; Max-Age=1209600", cookie), (
        cookie
    )
    assert cookie.split(";")[0] != before.split(";")[0]
    old = cookie.partition("=")[2].partition(";")[0]
    # Signing in again ends the session that this browser had.
    token = somebody.token("/console/profile")
    again = somebody.send("/sign-in", csrf=token, name=name, password=PASSWORD)
    assert again.headers["location"] == "./console"
    new = again.headers["set-cookie"].partition("=")[2].partition(";")[0]
    assert new != old
    other = browser(house)
    other.client.cookies.set("omixa_session", old)
    assert other.get("/console/profile").status_code == 303
    assert somebody.get("/console/profile").status_code == 200


def test_over_tls_the_cookie_is_for_this_host_alone(tmp_path: Path) -> None:
    address = "https://images.example.org"
    with running_gateway(tmp_path, public_url=address) as gateway, gateway.client(None) as client:
        link = gateway.call(lambda services: services.people.first_link())
        assert link is not None
        way = f"/welcome/{link.reveal()}"
        page = client.get(way)
        cookie = page.headers["set-cookie"]
        assert re.fullmatch(r"__Host-omixa_session=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax; Secure", cookie), cookie
        headers = {"cookie": cookie.partition(";")[0], "origin": address}
        data = {"csrf": form_token(page.text), "password": PASSWORD, "again": PASSWORD}
        # The name on the way to here does not count, nor does a cookie that any host could have set.
        plain = {**headers, "cookie": headers["cookie"].removeprefix("__Host-")}
        assert client.post(way, data=data, headers=plain).status_code == 403
        assert client.post(way, data=data, headers={**headers, "origin": gateway.url}).status_code == 403
        done = client.post(way, data=data, headers=headers)
        assert done.status_code == 303
        assert "; Secure" in done.headers["set-cookie"]


def test_without_tls_people_sign_in_on_the_machine_itself_alone(house: Gateway) -> None:
    with house.client(None) as client:
        page = client.get("/sign-in", headers={"host": "images.example.org"})
        assert page.status_code == 403
        assert "This connection is not safe" in page.text
        assert "set-cookie" not in page.headers
        for host in (f"localhost:{house.port}", f"127.0.0.1:{house.port}", f"[::1]:{house.port}"):
            assert client.get("/sign-in", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/console",
        "//evil.example",
        "/\\evil.example",
        "console/../../evil",
        "console//evil.example",
        "javascript:alert(1)",
        "sign-out",
        "console\r\nset-cookie: a=b",
        "console/" + "x" * 3000,
    ],
)
def test_after_signing_in_nobody_is_sent_elsewhere(house: Gateway, acme: Team, place: str) -> None:
    somebody = browser(house)
    token = somebody.token("/sign-in")
    answer = somebody.send("/sign-in", csrf=token, name="owner@acme", password=PASSWORD, next=place)
    assert (answer.status_code, answer.headers["location"]) == (303, "./console")


def test_too_many_tries_are_told_when_to_come_again(house: Gateway) -> None:
    somebody, name = browser(house), new_name()
    answers = [
        somebody.post("/sign-in", "/sign-in", name=name, password=f"wrong password {number}") for number in range(11)
    ]
    assert [answer.status_code for answer in answers] == [403] * 10 + [429]
    assert "Try again in" in text_of(answers[-1].text)


def test_signing_out_everywhere_ends_all_browsers(house: Gateway) -> None:
    name = new_name()
    first, second = signed_in(house, name, "viewer"), browser(house)
    assert second.post("/sign-in", "/sign-in", name=name, password=PASSWORD).status_code == 303
    out = first.post("/sign-out", "/console/profile")
    assert out.headers["location"] == "./sign-in"
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert first.get("/console/profile").status_code == 303
    assert second.get("/console/profile").status_code == 200
    third = browser(house)
    assert third.post("/sign-in", "/sign-in", name=name, password=PASSWORD).status_code == 303
    assert third.post("/sign-out-everywhere", "/console/profile").status_code == 303
    assert second.get("/console/profile").status_code == 303


def test_whoever_is_removed_is_out_with_the_next_page(house: Gateway) -> None:
    name = new_name()
    somebody = signed_in(house, name, "viewer")
    assert somebody.get("/console/default/live").status_code == 200
    house.call(lambda services: services.people.remove(name, workspace="default", actor="test"))
    assert somebody.get("/console/default/live").status_code == 303


# ------------------------------------------------------------------------------------------------------------------ forms


def forms() -> list[ConsoleRoute]:
    return [route for route in ROUTES if route.method == "POST"]


@pytest.mark.parametrize("route", forms(), ids=lambda route: route.path)
def test_a_form_from_elsewhere_does_nothing(house: Gateway, acme: Team, globex: Team, route: ConsoleRoute) -> None:
    before = state_of(house)
    owner = acme.browsers["owner"]
    path = filled(route, acme)
    token = owner.token("/console/profile")
    foreign = globex.browsers["owner"].token("/console/profile")
    name = {"name": "owner@acme", "password": PASSWORD, "again": PASSWORD, "overlap": "0", "amount": "25.00"}
    for origin, csrf in (
        (None, token),
        ("null", token),
        ("https://evil.example", token),
        (house.url.replace("127.0.0.1", "localhost"), token),
        (house.url + ".evil.example", token),
        (house.url, foreign),
        (house.url, ""),
        (house.url, token[:-1]),
        (house.url, "\u00e9" * 64),
    ):
        answer = owner.send(path, origin, csrf=csrf, **name)
        assert answer.status_code == 403, (origin, csrf, answer.headers)
        assert "form_refused" in answer.text
    cross = owner.client.post(
        path, data={"csrf": token, **name}, headers={"origin": house.url, "sec-fetch-site": "cross-site"}
    )
    assert cross.status_code == 403
    as_json = owner.client.post(path, json={"csrf": token, **name}, headers={"origin": house.url})
    assert as_json.status_code == 415
    large = owner.client.post(
        path, content=b"csrf=" + b"x" * 100_000, headers={"origin": house.url, "content-type": FORM}
    )
    assert large.status_code == 413
    many = owner.client.post(path, content=b"a=b&" * 1000, headers={"origin": house.url, "content-type": FORM})
    assert many.status_code == 400
    assert state_of(house) == before


FORM = "application/x-www-form-urlencoded"


def state_of(gateway: Gateway) -> str:
    """Return what forms could change."""
    names = ("api_key", "budget", "membership", "topup", "person", "session", "audit_log")

    def read(tx: Any) -> str:
        rows = [dict(row) for name in names for row in tx.all(select(tables.metadata.tables[name]))]
        return str(sorted(map(str, rows)))

    return gateway.read(read)


# ------------------------------------------------------------------------------------------------------------------ roles

# What each role may do, written down a second time, by hand.
ALLOWED: Mapping[Action, set[Role]] = {
    "read": {"owner", "admin", "billing", "developer", "viewer"},
    "see_pictures": {"owner", "admin", "developer", "viewer"},
    "delete_pictures": {"owner", "admin", "developer"},
    "manage_keys": {"owner", "admin", "developer"},
    "give_scopes": {"owner", "admin"},
    "buy_credit": {"owner", "admin", "billing"},
    "manage_alerts": {"owner", "admin", "billing"},
    "manage_settings": {"owner", "admin"},
    "manage_members": {"owner", "admin"},
}
OF_WORKSPACES = [route for route in ROUTES if route.action is not None]


def filled(route: ConsoleRoute, team: Team, **other: str) -> str:
    """Return the path of a route in a team's workspace."""
    values = {
        "workspace": team.workspace,
        "mode": "test",
        "request": team.made,
        "key": team.key_id,
        "month": "2020-01",
        "link": "nothing",
        "name": team.workspace,
        "finding": "find_" + "0" * 26,
        "passkey": "psk_00000000000000000000000000",
        "account": "nothing",
    }
    return route.path.format(**values | other)


def visited(route: ConsoleRoute, somebody: Browser, path: str) -> httpx.Response:
    if route.method == "GET":
        return somebody.get(path)
    # Fields that every handler refuses, so that nobody changes what the next one needs.
    return somebody.send(
        path, csrf=somebody.token("/console/profile"), overlap="?", budget="?", expires="?", amount="?"
    )


def test_every_route_of_a_workspace_asks_for_an_action() -> None:
    assert set(ALLOWED) == set(get_args(Action))
    for route in ROUTES:
        assert (route.action is not None) == ("{workspace}" in route.path), route.path
        assert route.method == "POST" or route.action in (None, "read", "see_pictures"), f"{route.path} changes nothing"
        assert not route.for_everybody or route.path.startswith(("/sign-in", "/welcome"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", OF_WORKSPACES, ids=lambda route: f"{route.method} {route.path}")
def test_who_may_use_a_route(house: Gateway, acme: Team, globex: Team, route: ConsoleRoute, role: Role) -> None:
    assert route.action is not None
    somebody, is_allowed = acme.browsers[role], role in ALLOWED[route.action]
    if route.path.endswith(("/revoke", "/delete")):
        # They take no field that could be refused, so each role has a key and a picture of its own to lose.
        with house.client(house.key("test", acme.workspace)) as client:
            picture = paint(client, "a lamp to lose")["omixa"]["request_id"]
        spare = keys_of(house, acme.workspace)[-1].id
        answer = visited(route, somebody, filled(route, acme, key=spare, request=picture))
    else:
        answer = visited(route, somebody, filled(route, acme))
    if is_allowed:
        assert answer.status_code in (200, 303, 400) or (answer.status_code == 404 and "month" in route.path)
        assert "role_forbidden" not in answer.text
    else:
        assert (answer.status_code, "role_forbidden" in answer.text) == (403, True)
    before = state_of(house)
    # A workspace that is not theirs is not there, for whoever is an owner elsewhere too.
    for path in (
        filled(route, globex),
        filled(route, acme, workspace="nobodys"),
        filled(route, acme, mode="other"),
        filled(route, acme, workspace="%00"),
    ):
        answer = visited(route, somebody, path)
        assert (answer.status_code, globex.made in answer.text) == (404, False), path
    # Nor do ids of others lead anywhere from one that is theirs.
    if is_allowed and ("{key}" in route.path or "{request}" in route.path):
        for ids in (
            {"key": globex.key_id, "request": globex.made},
            {"key": "key_%00", "request": "req_%00"},
            {"key": acme.made, "request": acme.key_id},
        ):
            answer = visited(route, somebody, filled(route, acme, **ids))
            assert answer.status_code == 404, ids
    if "{key}" in route.path or "{request}" in route.path:
        # Live and test are apart.
        assert visited(route, somebody, filled(route, acme, mode="live")).status_code in (400, 403, 404)
    nobody = browser(house)
    assert nobody.get("/sign-in").status_code == 200
    if route.method == "GET":
        answer = nobody.get(filled(route, acme))
    else:
        answer = nobody.send(filled(route, acme), csrf=nobody.token("/sign-in"))
    assert (answer.status_code, "sign-in" in answer.headers["location"]) == (303, True)
    assert state_of(house) == before


def test_pictures_are_for_those_who_may_see_them(acme: Team) -> None:
    for role, somebody in acme.browsers.items():
        sees = role in ALLOWED["see_pictures"]
        for path in (f"{acme.home}/requests/{acme.made}", f"{acme.home}/requests", acme.home, f"{acme.home}/pictures"):
            page = somebody.get(path)
            assert ("/results/" in page.text) == sees, (role, path)


# ------------------------------------------------------------------------------------------------------------------ pages


def pages_of(team: Team) -> list[str]:
    return [
        team.home,
        f"{team.home}/requests",
        f"{team.home}/requests/{team.made}",
        f"{team.home}/requests/{team.failed}",
        f"{team.home}/usage",
        f"{team.home}/usage?period_type=month&group_by=model",
        f"{team.home}/usage?group_by=key",
        f"{team.home}/wallet",
        f"{team.home}/keys",
        f"{team.home}/keys/{team.key_id}",
        f"{team.home}/pictures",
        f"{team.home}/settings",
        f"/console/{team.workspace}/live",
        f"/console/{team.workspace}/live/wallet",
        "/console/profile",
    ]


def test_pages_keep_the_rules_of_all_pages_and_are_nobody_elses(acme: Team, owner: Browser) -> None:
    for path in [*pages_of(acme), "/sign-in", f"{acme.home}/requests/nothing"]:
        answer = owner.client.get(path, follow_redirects=True)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "gateway.invalid" not in answer.text
        tags = Tags(answer.text)
        assert not tags.forbidden, path
        assert len(tags.ids) == len(set(tags.ids)), path
        for target in (*tags.links, *tags.files):
            if target.startswith("#"):
                assert target[1:] in tags.ids
                continue
            joined = answer.url.join(target)
            assert joined.host == "127.0.0.1", f"{path}: {target}"
            found = owner.client.get(joined, follow_redirects=True)
            assert found.status_code == 200, f"{path} leads to {target}"


def test_a_page_of_the_console_stays_below_its_weight(house: Gateway, acme: Team, owner: Browser) -> None:
    for path in pages_of(acme):
        assert weight(owner.client, path) < MAX_WEIGHT, path
    assert weight(browser(house).client, "/sign-in") < MAX_WEIGHT


def test_every_call_that_a_page_names_gives_an_answer(house: Gateway, acme: Team, owner: Browser) -> None:
    named, changes = set(), set()
    document = Document(owner.get("/openapi.json").json())
    with house.client(acme.key) as client:
        for path in pages_of(acme):
            for source in re.findall(r'<pre[^>]*id="call-\d+">(.*?)</pre>', owner.get(path).text, re.DOTALL):
                text = html.unescape(re.sub("<[^>]*>", "", source))
                found = re.search(r"'http://[^/]+/api/v1([^']+)'", text)
                assert found is not None, source
                call = found[1]
                named.add(call.partition("?")[0])
                if "-X " in text:
                    changes.add(document.operation(text.split()[2], f"/api/v1{call}")["operationId"])
                elif "/live" not in path:
                    answer = client.get(f"/api/v1{call}")
                    # Of a request that failed there are no pictures.
                    assert answer.status_code == 200 or call == f"/requests/{acme.failed}/images", call
    assert {
        *("/balance", "/budgets", "/credit", "/keys", "/settings/alert", "/settings/results", "/statements"),
        *("/usage/export", "/usage/forecast", "/usage/requests", "/usage/rollups"),
    } <= named
    assert f"/requests/{acme.made}/receipt" in named
    assert changes == {
        *("createKey", "changeKey", "rollKey", "revokeKey", "inviteMember", "removeMember", "changeAlertSettings"),
    }
    # Whoever may not change it is not told how.
    for page in ("keys", "settings", "wallet"):
        assert "OMIXA_MANAGEMENT_KEY" not in acme.browsers["viewer"].get(f"{acme.home}/{page}").text


def test_the_overview_says_what_the_api_says(house: Gateway, acme: Team, owner: Browser) -> None:
    with house.client(acme.key) as client:
        balance = client.get("/api/v1/balance").json()
        (month,) = client.get("/api/v1/usage/rollups?period_type=month").json()["data"]
        last = client.get("/api/v1/usage/requests?limit=10").json()["data"]
    page = text_of(owner.get(acme.home).text)
    assert f"${brief(balance['available'])}" in page
    assert f"${brief(month['billed_amount'])}" in page
    for request in last:
        assert request["billed_amount"] in page
        assert request["id"][-6:] in page


def brief(amount: str) -> str:
    return amount[:-4] + amount[-4:].rstrip("0")


def test_a_request_has_its_picture_its_receipt_and_its_attempts(house: Gateway, acme: Team, owner: Browser) -> None:
    with house.client(acme.key) as client:
        receipt = client.get(f"/api/v1/requests/{acme.made}/receipt").json()
        details = client.get(f"/api/v1/requests/{acme.made}").json()
    page = owner.get(f"{acme.home}/requests/{acme.made}")
    shown = text_of(page.text)
    for line in receipt["line_items"]:
        assert line["component"] in shown
        assert f"${line['amount']}" in shown
    assert f"${receipt['paid_amount']}" in shown
    assert receipt["transfers"][0]["hash"][:12] in shown
    (attempt,) = details["attempts"]
    assert attempt["route"] in shown
    assert f"for {attempt['duration_ms'] / 1000:.3f} s" in shown
    # What was sent is not in the log, so it is on no page.
    assert "a lamp on a desk" not in page.text
    small, large = (
        page.url.join(re.search(pattern, page.text)[1].replace("&amp;", "&"))  # type: ignore[index]
        for pattern in (r'<img src="([^"]+thumbnail[^"]+)"', r'<a href="([^"]+/results/[^"]+)"')
    )
    with house.client(None) as client:
        # Links need no cookie, and end.
        for address, kind in ((small, "image/webp"), (large, "image/png")):
            picture = client.get(address)
            assert (picture.status_code, picture.headers["content-type"]) == (200, kind)
        assert client.get(str(large)[:-3] + "abc").status_code == 403


def test_a_request_that_failed_is_explained(acme: Team, owner: Browser) -> None:
    page = owner.get(f"{acme.home}/requests/{acme.failed}")
    assert "content_policy_violation" in page.text
    link = re.search(r'<a href="([^"]+)">Explain this error</a>', page.text)
    assert link is not None
    assert owner.client.get(page.url.join(link[1])).status_code == 200
    assert "cost nothing" in text_of(page.text)


def test_the_log_is_filtered_in_its_address_and_paged_by_a_cursor(house: Gateway, workspace: str) -> None:
    first, second = house.key("test", workspace), house.key("test", workspace)
    refused = {"model": "MAI-Image-2.5", "prompt": "sim:filter a lamp"}
    with house.client(first) as client:
        made = [client.post("/api/v1/images/generations", json=refused).headers["x-request-id"] for _ in range(52)]
    with house.client(second) as client:
        other = paint(client, "a kite")["omixa"]["request_id"]
    somebody = signed_in(house, new_name(), "viewer", workspace)
    home = f"/console/{workspace}/test/requests"
    seen: list[str] = []
    page = somebody.get(home)
    while True:
        seen += re.findall(r"/requests/(req_[0-9a-z]+)\"", page.text)
        older = re.search(r'rel="next" href="([^"]+)"', page.text)
        if older is None:
            break
        page = somebody.client.get(page.url.join(older[1].replace("&amp;", "&")))
    assert seen == [other, *reversed(made)]
    (key_id,) = [key.id for key in keys_of(house, workspace) if key.last4 == second[-4:]]
    narrow = somebody.get(f"{home}?key_id={key_id}&model={PAINTER.upper()}&state=captured").text
    assert re.findall(r"/requests/(req_[0-9a-z]+)\"", narrow) == [other]
    assert "No request like that" in somebody.get(f"{home}?state=held").text
    refusals = somebody.get(f"{home}?outcome=content_policy_violation&key_id=&until={utc_today()}").text
    assert re.findall(r"/requests/(req_[0-9a-z]+)\"", refusals) == made[:-51:-1]
    assert "No request like that" in somebody.get(f"{home}?outcome=provider_timeout").text
    assert "No request like that" in somebody.get(f"{home}?until=2020-01-01").text
    # What a form leaves empty filters nothing; what is wrong is named.
    assert somebody.get(f"{home}?key_id=&model=&state=&outcome=&since=&until=").status_code == 200
    order = somebody.get(f"{home}?since=2026-02-01&until=2026-01-01")
    assert (order.status_code, "until must not lie before since" in text_of(order.text)) == (400, True)
    wrong = somebody.get(f"{home}?state=lost")
    assert (wrong.status_code, "state must be one of" in text_of(wrong.text)) == (400, True)
    rows = list(csv.DictReader(io.StringIO(somebody.get(f"{home}.csv").text)))
    assert [row["request_id"] for row in rows] == [other, *reversed(made)]
    assert [row["billed_amount"] for row in rows] == ["0.002000", *["0.000000"] * 52]


def test_usage_says_what_the_rollups_say(house: Gateway, acme: Team, owner: Browser) -> None:
    for question in ("period_type=day", "period_type=month&group_by=model", "group_by=key", "group_by=route"):
        with house.client(acme.key) as client:
            sums = client.get(f"/api/v1/usage/rollups?{question}").json()["data"]
        page = text_of(owner.get(f"{acme.home}/usage?{question}").text)
        rows = list(csv.DictReader(io.StringIO(owner.get(f"{acme.home}/usage.csv?{question}").text)))
        assert len(rows) == len(sums) > 0
        for row, one in zip(rows, sums, strict=True):
            assert one["billed_amount"] in page
            assert row["billed_amount"] == one["billed_amount"]
            assert (row["period"], *(row[name] or None for name in ("model", "key_id", "route"))) == (
                one["period"],
                *(one[name] for name in ("model", "key_id", "route")),
            )
    wrong = owner.get(f"{acme.home}/usage?since=2026-02-01&until=2026-01-01")
    assert (wrong.status_code, "until must not lie before since" in text_of(wrong.text)) == (400, True)


def test_what_it_comes_to_is_what_the_forecast_says(house: Gateway, workspace: str) -> None:
    async def create(services: Any) -> str:
        _, secret = await services.workspaces.create_key(
            workspace=workspace, mode="test", name="Shop", models=None, actor="test", budgets={"month": 4_000}
        )
        return str(secret.reveal())

    with house.client(house.call(create)) as client:
        made = paint(client, "a lamp")["omixa"]
        found = client.get("/api/v1/usage/forecast").json()
        credit = client.get("/api/v1/credit").json()["data"]
        keys = client.get("/api/v1/keys").json()["data"]
    assert found["month_spent_amount"] == made["billed_amount"] == "0.002000"
    (budget,) = found["budgets"]
    assert (budget["scope"], budget["key_id"], budget["spent"]) == ("key", keys[0]["id"], "0.002000")
    assert float(found["month_expected_amount"]) >= 0.002
    somebody = signed_in(house, new_name(), "viewer", workspace)
    usage = text_of(somebody.get(f"/console/{workspace}/test/usage").text)
    assert f"Expected for {found['month']}" in usage
    assert "Budgets, if it goes on as in the last seven days" in usage
    wallet = text_of(somebody.get(f"/console/{workspace}/test/wallet").text)
    assert "Lasts" in wallet
    for one in credit:
        assert one["remaining"] in wallet


def test_an_alert_is_set_in_the_wallet(house: Gateway, workspace: str) -> None:
    key = house.key("test", workspace)
    home = f"/console/{workspace}/test/wallet"
    somebody = signed_in(house, new_name(), "billing", workspace)
    with house.client(key) as client:
        assert client.get("/api/v1/settings/alert").json()["below"] is None
        told = somebody.post(f"{home}/alert", home, below="5000.00", email="ada@example.org")
        assert told.status_code == 303
        found = client.get("/api/v1/settings/alert").json()
        # Play money is a thousand dollars, so it is low at once.
        assert (found["below"], found["email"], found["is_low"]) == ("5000.000000", "ada@example.org", True)
        assert "The balance is below $5,000" in text_of(somebody.get(home).text).replace("$5000.00", "$5,000")
        for below, email in (("0", ""), ("lots", ""), ("1", "<nobody>")):
            wrong = somebody.post(f"{home}/alert", home, below=below, email=email)
            assert wrong.status_code == 400, (below, email)
        assert client.get("/api/v1/settings/alert").json() == found
        assert somebody.post(f"{home}/alert", home, below="", email="").status_code == 303
        assert client.get("/api/v1/settings/alert").json()["below"] is None


def test_a_request_leads_to_the_playground_with_what_it_asked_for(house: Gateway, workspace: str) -> None:
    with house.client(house.key("test", workspace)) as client:
        made = paint(client, "a secret lamp", size="1536x1024", n=2)["omixa"]["request_id"]
    somebody = signed_in(house, new_name(), "viewer", workspace)
    page = somebody.get(f"/console/{workspace}/test/requests/{made}").text
    found = re.search(r'href="[./]*playground#([^"]+)"', page)
    assert found is not None
    given = dict(httpx.QueryParams(html.unescape(found[1])).items())
    assert given == {"model": PAINTER, "size": "1536x1024", "n": "2", "before": made}
    assert "secret" not in page
    assert "Give its prompt again" in text_of(page)


def test_a_kept_prompt_is_there_again_for_those_who_may_see_pictures(house: Gateway, workspace: str) -> None:
    key = house.key("test", workspace)
    house.call(lambda services: _keep_prompts(services, workspace))
    words = "a lamp & <b>a</b> desk\n\u202eback"
    long = "x" * 10_001
    with house.client(key) as client:
        made, cut = (paint(client, one)["omixa"]["request_id"] for one in (words, long))
    viewer, billing = (signed_in(house, new_name(), role, workspace) for role in ("viewer", "billing"))
    log = f"/console/{workspace}/test/requests"
    page = viewer.get(f"{log}/{made}").text
    assert f'dir="auto" tabindex="0" role="region" aria-label="Text of the prompt">{html.escape(words)}</div>' in page
    assert "Give its" not in text_of(page)
    found = re.search(r'href="[./]*playground#([^"]+)"', page)
    assert found is not None
    assert dict(httpx.QueryParams(html.unescape(found[1])).items())["prompt"] == words
    # What may have been longer is not sent as if it were all.
    page = viewer.get(f"{log}/{cut}").text
    assert "Its first 10,000 characters" in text_of(page)
    assert "prompt=" not in page
    assert "lamp" not in billing.get(f"{log}/{made}").text
    # It goes with its pictures.
    with house.client(key) as client:
        assert client.delete(f"/api/v1/requests/{made}/result").status_code == 200
    assert "lamp" not in viewer.get(f"{log}/{made}").text


# -------------------------------------------------------------------------------------------------------------------- keys


def test_the_page_of_a_model_names_the_readers_own_keys(house: Gateway, workspace: str) -> None:
    async def create(services: Any) -> list[tuple[str, str]]:
        made = []
        for mode, name, models in (
            ("test", HOSTILE[:190], None),
            ("live", "Shop", [PAINTER]),
            ("test", "", None),
            ("test", "Elsewhere", ["MAI-Image-2.5"]),
            ("test", "Gone", None),
        ):
            key_id, secret = await services.workspaces.create_key(
                workspace=workspace, mode=mode, name=name, models=models, actor="test"
            )
            made.append((key_id, secret.reveal()))
        await services.workspaces.revoke_key(key_id, actor="test")
        return made

    keys = house.call(create)
    somebody, stranger = signed_in(house, new_name(), "viewer", workspace), browser(house)
    path = f"/docs/models/{PAINTER}"
    answer = somebody.get(path)
    page = answer.text
    assert "private" in answer.headers["cache-control"]
    assert "cookie" in answer.headers["vary"]
    assert [f"/keys/{key_id}" in page for key_id, _ in keys] == [True, True, True, False, False]
    assert not any(secret in page for _, secret in keys)
    assert f">omx_test_…{keys[2][1][-4:]}<" in page
    assert "<img src=x" not in page
    assert "\u202e" not in re.sub(r"<bdi[^>]*>.*?</bdi>", "", page, flags=re.DOTALL)
    assert not Tags(page).forbidden
    for other in (stranger.get(path), somebody.get(f"{path}.md"), somebody.get("/docs/quickstart")):
        assert other.status_code == 200
        assert "key_" not in other.text
        assert "own key" not in other.text
        assert "private" not in other.headers["cache-control"]
    somebody.post("/sign-out", "/console/profile")
    assert "key_" not in somebody.get(path).text


def shown_key(answer: httpx.Response) -> str:
    found = re.search(r'<code id="new-key"[^>]*>(omx_[A-Za-z0-9_]+)</code>', answer.text)
    assert found is not None, text_of(answer.text)
    return found[1]


def status_with(gateway: Gateway, key: str) -> int:
    with gateway.client(key) as client:
        return client.get("/api/v1/balance").status_code


@pytest.fixture
def developer(house: Gateway, workspace: str) -> Browser:
    house.key("test", workspace)
    return signed_in(house, new_name(), "developer", workspace)


def test_a_key_is_shown_once_and_does_what_its_form_said(house: Gateway, workspace: str, developer: Browser) -> None:
    home = f"/console/{workspace}/test/keys"
    answer = developer.post(
        home, home, name="Shop", model=[PAINTER], budget_day="0.003", budget_month="5", expires="2099-12-31"
    )
    key = shown_key(answer)
    assert key.startswith("omx_test_")
    assert key not in developer.get(home).text
    with house.client(key) as client:
        assert [model["id"] for model in client.get("/api/v1/models").json()["data"]] == [PAINTER]
        budgets = {one["period"]: one["limit"] for one in client.get("/api/v1/budgets").json()["data"]}
        assert budgets == {"day": "0.003000", "month": "5.000000"}
        paint(client, "a lamp")
        over = client.post("/api/v1/images/generations", json={"model": PAINTER, "prompt": "a lamp"})
        assert over.json()["error"]["code"] == "budget_exceeded"
    row = next(one for one in keys_of(house, workspace) if one.last4 == key[-4:])
    assert (row.name, row.models) == ("Shop", (PAINTER,))
    page = text_of(developer.get(f"{home}/{row.id}").text)
    assert "2100-01-01 00:00:00" in page
    assert "$0.002 of $0.003" in page
    assert "1 request, 1 picture" in page


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"budget_day": "many"}, "is not an amount"),
        ({"budget_month": "-1"}, "is not an amount"),
        ({"expires": "tomorrow"}, "last day of a key"),
        ({"expires": "2020-01-01"}, "Choose a later day"),
        ({"model": "nothing"}, "does not exist"),
        ({"name": "x" * 201}, "at most 200 characters"),
    ],
)
def test_a_mistake_in_a_form_is_named_and_nothing_is_lost(
    house: Gateway, workspace: str, developer: Browser, fields: dict[str, str], told: str
) -> None:
    home = f"/console/{workspace}/test/keys"
    before = len(keys_of(house, workspace))
    answer = developer.post(home, home, **{"name": "My shop"} | fields)
    assert answer.status_code in (400, 404)
    assert told in text_of(answer.text)
    assert fields.get("name", "My shop") in answer.text
    assert len(keys_of(house, workspace)) == before


def test_a_key_is_revoked_at_once(house: Gateway, workspace: str, developer: Browser) -> None:
    home = f"/console/{workspace}/test/keys"
    key = shown_key(developer.post(home, home, name="gone"))
    (row,) = [one for one in keys_of(house, workspace) if one.name == "gone"]
    assert status_with(house, key) == 200
    assert developer.post(f"{home}/{row.id}/revoke", f"{home}/{row.id}").status_code == 303
    assert status_with(house, key) == 401
    assert developer.post(f"{home}/{row.id}/revoke", home).status_code == 404
    assert "Revoked and expired" in text_of(developer.get(home).text)
    assert '/roll"' not in developer.get(f"{home}/{row.id}").text


def test_a_rolled_key_works_beside_the_new_one_for_a_while(house: Gateway, workspace: str, developer: Browser) -> None:
    home = f"/console/{workspace}/test/keys"
    old = shown_key(developer.post(home, home, name="rolled", model=[PAINTER], budget_day="1"))
    (row,) = [one for one in keys_of(house, workspace) if one.name == "rolled"]
    before = time.time_ns() // 1_000_000
    new = shown_key(developer.post(f"{home}/{row.id}/roll", f"{home}/{row.id}", overlap="24"))
    assert [status_with(house, key) for key in (old, new)] == [200, 200]
    rows = {one.last4: one for one in keys_of(house, workspace) if one.name == "rolled"}
    ends = rows[old[-4:]].expires_at_ms
    assert ends is not None
    assert before + 86_400_000 <= ends <= time.time_ns() // 1_000_000 + 86_400_000
    made = rows[new[-4:]]
    assert (made.models, made.expires_at_ms, made.limits) == (row.models, None, row.limits)
    with house.client(new) as client:
        assert [one["limit"] for one in client.get("/api/v1/budgets").json()["data"]] == ["1.000000"]
    third = shown_key(developer.post(f"{home}/{made.id}/roll", f"{home}/{made.id}", overlap="0"))
    assert [status_with(house, key) for key in (old, new, third)] == [200, 401, 200]


def test_a_key_past_its_day_is_as_good_as_revoked(house: Gateway, workspace: str, developer: Browser) -> None:
    home = f"/console/{workspace}/test/keys"
    key = shown_key(developer.post(home, home, name="short", expires="2099-01-01"))
    (row,) = [one for one in keys_of(house, workspace) if one.name == "short"]
    with house.client(key) as client:
        # Its server remembers it from now on.
        paint(client, "a lamp")
        house.write(lambda tx: store.set_key_expiry(tx, row.id, tx.now_ms()))
        refused = client.post("/api/v1/images/generations", json={"model": PAINTER, "prompt": "a lamp"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert client.get("/api/v1/balance").status_code == 401
    assert "expired" in text_of(developer.get(f"{home}/{row.id}").text)
    # A later day lets it live again, and an empty field takes budgets away.
    limits = f"{home}/{row.id}/limits"
    assert developer.post(limits, f"{home}/{row.id}", budget_day="2", expires="2099-01-01").status_code == 303
    assert status_with(house, key) == 200
    past = developer.post(limits, f"{home}/{row.id}", budget_day="9", expires="2020-01-01")
    assert (past.status_code, "Choose a later day" in text_of(past.text)) == (400, True)
    with house.client(key) as client:
        assert [one["limit"] for one in client.get("/api/v1/budgets").json()["data"]] == ["2.000000"]
    assert developer.post(limits, f"{home}/{row.id}").status_code == 303
    with house.client(key) as client:
        assert client.get("/api/v1/budgets").json()["data"] == []


# -------------------------------------------------------------------------------------------------------------- settings


def test_pictures_are_looked_through_and_deleted(house: Gateway, workspace: str) -> None:
    with house.client(house.key("test", workspace)) as client:
        several = paint(client, "a lamp", n=2)["omixa"]["request_id"]
        single = paint(client, "a kite")["omixa"]["request_id"]
        somebody = signed_in(house, new_name(), "developer", workspace)
        home = f"/console/{workspace}/test"
        page = somebody.get(f"{home}/pictures")
        addresses = [link.replace("&amp;", "&") for link in re.findall(r'<img src="([^"]+thumbnail[^"]+)"', page.text)]
        assert [re.search(r"/results/([^/]+)/(\d)", link).groups() for link in addresses] == [  # type: ignore[union-attr]
            (single, "0"),
            (several, "0"),
            (several, "1"),
        ]
        for link in addresses:
            assert somebody.client.get(page.url.join(link)).status_code == 200
        gone = somebody.post(f"{home}/requests/{several}/delete", f"{home}/requests/{several}")
        assert gone.status_code == 303
        assert client.get(f"/api/v1/requests/{several}/result").status_code == 410
        assert somebody.client.get(page.url.join(addresses[1])).status_code == 410
    assert several not in somebody.get(f"{home}/pictures").text
    left = somebody.get(f"{home}/requests/{several}").text
    assert "Its pictures were deleted" in text_of(left)
    assert "/delete" not in left


def test_pictures_are_found_by_words_where_prompts_are_kept(house: Gateway, workspace: str) -> None:
    with house.client(house.key("test", workspace)) as client:
        before = paint(client, "an old red kite")["omixa"]["request_id"]
    admin = signed_in(house, new_name(), "admin", workspace)
    viewer = signed_in(house, new_name(), "viewer", workspace)
    settings, pictures = f"/console/{workspace}/test/settings", f"/console/{workspace}/test/pictures"
    # Nothing is kept unless somebody wants it, and those who may say so are told where.
    for somebody, is_told in ((admin, True), (viewer, False)):
        page = somebody.get(pictures).text
        assert 'name="prompt"' not in page
        assert "Prompts are not kept" in text_of(page)
        assert ("turn on Keep prompts in the settings" in text_of(page)) == is_told
        assert before not in somebody.get(f"{pictures}?prompt=kite").text
    wanted = {"retention_hours": "", "response_format": "b64_json", "keep_prompts": "yes"}
    assert viewer.post(settings, "/console/profile", **wanted).status_code == 403
    assert admin.post(settings, settings, **wanted).status_code == 303
    assert re.search(r'name="keep_prompts" value="yes" checked', admin.get(settings).text)
    assert "Prompts are kept with their pictures" in text_of(viewer.get(settings).text)
    with house.client(house.key("test", workspace)) as client:
        kite = paint(client, "A RED kite &c. <b>over</b> 50% stubble", n=2)["omixa"]["request_id"]
        fox = paint(client, "a red fox")["omixa"]["request_id"]
    for somebody in (admin, viewer):
        page = somebody.get(pictures).text
        assert all(one in page for one in (before, kite, fox))
        assert page.count('<bdi class="said">A RED kite &amp;c. &lt;b&gt;over&lt;/b&gt; 50% stubble</bdi>') == 2
        page = somebody.get(f"{pictures}?prompt=Red+kite").text
        assert (kite in page, fox in page, before in page) == (True, False, False)
        assert 'name="prompt" maxlength="200" value="Red kite"' in page
        assert kite in somebody.get(f"{pictures}?prompt=50%25&model={PAINTER}&since=2020-01-01&until=").text
        for query in ("prompt=50%25+owl", "prompt=re_", "prompt=kite&until=2020-01-01"):
            page = somebody.get(f"{pictures}?{query}").text
            assert kite not in page
            assert "No kept prompt in test mode has all of these words" in text_of(page)
        assert kite in somebody.get(f"{pictures}?prompt=++").text
        assert somebody.get(f"{pictures}?prompt={'x' * 201}").status_code == 400
        # The log is for those too who may not see pictures, and is not searched.
        assert somebody.get(f"/console/{workspace}/test/requests?prompt=kite").status_code == 400
    billing = signed_in(house, new_name(), "billing", workspace)
    assert billing.get(f"{pictures}?prompt=kite").status_code == 403
    assert "RED kite" not in billing.get(f"/console/{workspace}/test/requests/{kite}").text
    # Without the tick they are gone.
    assert admin.post(settings, settings, retention_hours="", response_format="b64_json").status_code == 303
    page = admin.get(pictures).text
    assert (kite in page, "RED kite" in page, 'name="prompt"' in page) == (True, False, False)


def test_a_search_that_stopped_on_its_way_goes_on_with_the_next_page(
    house: Gateway, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = house.key("test", workspace)
    house.call(lambda services: _keep_prompts(services, workspace))
    with house.client(key) as client:
        kite = paint(client, "a kite")["omixa"]["request_id"]
        for n in range(4):
            paint(client, f"fox {n}")
    monkeypatch.setattr(search, "MAX_LOOKED_THROUGH", 4)
    monkeypatch.setattr(search, "_CHUNK", 2)
    somebody = signed_in(house, new_name(), "viewer", workspace)
    first = somebody.get(f"/console/{workspace}/test/pictures?prompt=kite")
    assert kite not in first.text
    assert "This page has looked through" in text_of(first.text)
    assert "No prompt that was looked through in test mode has all of these words" in text_of(first.text)
    older = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert older is not None
    last = somebody.client.get(first.url.join(html.unescape(older[1])))
    assert kite in last.text
    assert 'rel="next"' not in last.text
    with house.client(key) as client:
        page = client.get("/api/v1/usage/requests?prompt=kite").json()
        assert (page["data"], page["has_more"]) == ([], True)
        page = client.get("/api/v1/usage/requests", params={"prompt": "kite", "after": page["last_id"]}).json()
        assert ([one["id"] for one in page["data"]], page["has_more"]) == ([kite], False)


async def _keep_prompts(services: Any, workspace: str) -> None:
    await services.workspaces.set_results(workspace, {"keep_prompts": True}, actor="test")


def test_settings_say_how_results_are_kept(house: Gateway, workspace: str) -> None:
    key = house.key("test", workspace)
    somebody = signed_in(house, new_name(), "admin", workspace)
    home = f"/console/{workspace}/test/settings"
    assert somebody.post(home, home, retention_hours="3", response_format="both").status_code == 303
    with house.client(key) as client:
        found = client.get("/api/v1/settings/results").json()
        assert (found["retention_hours"], found["response_format"]) == (3, "both")
        for hours, form in (("-1", "url"), ("1.5", "url"), ("999999", "url"), ("\u0663", "url"), ("2", "gif")):
            wrong = somebody.post(home, home, retention_hours=hours, response_format=form)
            assert wrong.status_code == 400, hours
        assert client.get("/api/v1/settings/results").json() == found
    assert somebody.post(home, home, retention_hours="", response_format="b64_json").status_code == 303
    with house.client(key) as client:
        assert client.get("/api/v1/settings/results").json()["is_usual"]


# ------------------------------------------------------------------------------------------------------------------ wallet


def test_credit_is_ordered_in_person_and_booked_when_it_is_paid(
    house: Gateway, stripe: FakeStripe, workspace: str
) -> None:
    house.key("live", workspace)
    somebody = signed_in(house, new_name(), "billing", workspace)
    home = f"/console/{workspace}/live/wallet"
    answer = somebody.post(f"{home}/topups", home, amount="25.00")
    session = stripe.only_session()
    assert answer.status_code == 200
    # A form leads nowhere else from here, a link does.
    assert f'href="{session["url"]}"' in answer.text
    assert "$0.00" in text_of(somebody.get(home).text)
    body = paid(session, "pi_" + "a" * 24)
    with house.client(None) as client:
        told = client.post("/webhooks/stripe", content=body, headers={"stripe-signature": signed(body)})
        assert told.status_code == 200
    assert "$25.00" in text_of(somebody.get(home).text)
    for amount, why in (("0.01", "A top-up is a whole number"), ("lots", "is not an amount"), ("", "Write how much")):
        wrong = somebody.post(f"{home}/topups", home, amount=amount)
        assert (wrong.status_code, why in text_of(wrong.text)) == (400, True), amount
    stripe.failing = 500
    try:
        broken = somebody.post(f"{home}/topups", home, amount="25.00")
    finally:
        stripe.failing = None
    assert broken.status_code == 503
    play = f"/console/{workspace}/test/wallet"
    assert "/topups" not in somebody.get(play).text
    assert somebody.post(f"{play}/topups", play, amount="25.00").status_code == 400


# ----------------------------------------------------------------------------------------------------------------- hostile


def test_hostile_text_is_shown_and_does_nothing(house: Gateway, workspace: str) -> None:
    long = HOSTILE + "A" * 10_000
    name = HOSTILE[:190]

    async def create(services: Any) -> str:
        _, secret = await services.workspaces.create_key(
            workspace=workspace, mode="test", name=name, models=None, actor="test"
        )
        await _keep_prompts(services, workspace)
        return str(secret.reveal())

    with house.client(house.call(create)) as client:
        made = paint(client, long, user=HOSTILE)["omixa"]["request_id"]
        edited = client.post(
            "/api/v1/images/edits",
            data={"model": PAINTER, "prompt": HOSTILE},
            files={"image": (HOSTILE.replace("\x01", ""), encoded("png"), "image/png")},
        )
        assert edited.status_code == 200, edited.text
        client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:500x9 " + HOSTILE})
    (row,) = keys_of(house, workspace)
    somebody = signed_in(house, new_name(), "owner", workspace)
    home = f"/console/{workspace}/test"
    query, step = (
        str(httpx.QueryParams({"model": HOSTILE, "key_id": HOSTILE})),
        quote(HOSTILE.replace("/", ""), safe=""),
    )
    paths = [
        home,
        f"{home}/requests",
        f"{home}/requests?{query}",
        f"{home}/requests/{made}",
        f"{home}/requests/{edited.json()['omixa']['request_id']}",
        f"{home}/pictures",
        f"{home}/pictures?{httpx.QueryParams({'prompt': HOSTILE})}",
        f"{home}/usage?group_by=key",
        f"{home}/usage?group_by={step}",
        f"{home}/wallet",
        f"{home}/keys",
        f"{home}/keys/{row.id}",
        f"{home}/keys/{step}",
        f"/sign-in?next={step}",
        f"/welcome/{step}",
    ]
    pages = [somebody.client.get(path, follow_redirects=True) for path in paths]
    pages.append(somebody.post(f"{home}/keys", f"{home}/keys", name=long))
    pages.append(somebody.post("/sign-in", "/console/profile", name=long, password=long, next=long))
    for page in pages:
        assert page.headers["content-security-policy"] == POLICY, page.url
        assert "<img src=x" not in page.text
        assert "<svg onload" not in page.text
        tags = Tags(page.text)
        assert not tags.forbidden, page.url
        assert not [link for link in tags.links if link.startswith("javascript")], page.url
        # Whoever reads a whole prompt does so on its own request's page, in a box.
        shown = re.sub(r'<div class="prompt-text said"[^>]*>[^<]*</div>|#model=[^"]*', "", page.text)
        assert "A" * 9000 not in shown or page.request.method == "POST"
    (prompt,) = re.findall(r'<div class="prompt-text said" dir="auto"[^>]*>([^<]*)</div>', somebody.get(paths[3]).text)
    assert html.unescape(prompt) == long[:10_000]
    gallery = somebody.get(f"{home}/pictures?prompt={quote('<img onerror=alert(1)>')}").text
    assert gallery.count('<bdi class="said">&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;') == 2
    assert "\u202e" not in re.sub(r"<bdi[^>]*>.*?</bdi>", "", gallery, flags=re.DOTALL)
    named = somebody.get(f"{home}/keys").text
    # The name is there as text, and turns nothing around it.
    assert "&lt;img src=x onerror=alert(1)&gt;" in named
    assert re.search(r'<bdi class="said">&lt;/script&gt;', named)
    assert "\u202e" not in re.sub(
        r"<bdi[^>]*>.*?</bdi>|<option.*?</option>|value=\"[^\"]*\"", "", named, flags=re.DOTALL
    )
    rows = list(csv.reader(io.StringIO(somebody.get(f"{home}/usage.csv?group_by=key").text)))
    assert all(not cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_a_name_that_is_a_formula_is_text_in_every_file(house: Gateway, workspace: str) -> None:
    async def create(services: Any) -> str:
        _, secret = await services.workspaces.create_key(
            workspace=workspace, mode="test", name='=HYPERLINK("http://evil.example")', models=None, actor="test"
        )
        return str(secret.reveal())

    with house.client(house.call(create)) as client:
        paint(client, "a lamp")
    somebody = signed_in(house, new_name(), "billing", workspace)
    for path in ("requests.csv", "usage.csv?group_by=key"):
        answer = somebody.get(f"/console/{workspace}/test/{path}")
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert "'=HYPERLINK" in answer.text


def test_pages_work_below_a_path(tmp_path: Path) -> None:
    address = "https://example.org/omixa"
    with running_gateway(tmp_path, public_url=address) as gateway, gateway.client(None) as client:
        link = gateway.call(lambda services: services.people.first_link())
        assert link is not None
        for prefix in ("", "/omixa"):
            page = client.get(f"{prefix}/sign-in")
            assert page.status_code == 200
            for target in (*Tags(page.text).files, *Tags(page.text).links):
                joined = httpx.URL(f"{address}/sign-in").join(target)
                assert joined.path.startswith("/omixa/"), target
        page = client.get(f"/welcome/{link.reveal()}")
        headers = {"cookie": page.headers["set-cookie"].partition(";")[0], "origin": "https://example.org"}
        data = {"csrf": form_token(page.text), "password": PASSWORD, "again": PASSWORD}
        done = client.post(f"/omixa/welcome/{link.reveal()}", data=data, headers=headers)
        assert done.status_code == 303
        assert httpx.URL(f"{address}/welcome/x").join(done.headers["location"]).path == "/omixa/console"
        cookie = {"cookie": done.headers["set-cookie"].partition(";")[0]}
        for prefix in ("", "/omixa"):
            answer = client.get(f"{prefix}/console/default/test/keys", headers=cookie)
            assert answer.status_code == 200
            assert f"{address}/api/v1/keys" in re.sub(r"<[^>]*>", "", answer.text)
            for target in (*Tags(answer.text).files, *Tags(answer.text).links):
                joined = httpx.URL(f"{address}/console/default/test/keys").join(target)
                assert joined.path.startswith("/omixa/"), target


def test_a_fault_of_the_ledger_is_told_on_a_page(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        somebody = signed_in(gateway, "ada", "owner")

        def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("out of order")

        assert gateway.services is not None
        original = gateway.services.results.describe_with_provenance
        with gateway.client(gateway.key("test")) as client:
            made = paint(client, "a lamp")["omixa"]["request_id"]
        gateway.services.results.describe_with_provenance = broken  # type: ignore[method-assign]
        page = somebody.get(f"/console/default/test/requests/{made}")
        gateway.services.results.describe_with_provenance = original  # type: ignore[method-assign]
        assert page.status_code == 500
        assert "internal_error" in page.text
        assert "out of order" not in page.text
        assert page.headers["content-security-policy"] == POLICY
