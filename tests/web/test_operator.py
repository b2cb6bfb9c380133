"""The pages of operators over HTTP: nobody else finds them, they say what the API says, and do what the commands do."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import httpx2 as httpx
import pytest
from sqlalchemy import select, update

from omixa.access import store
from omixa.access.roles import ROLES, OperatorAction
from omixa.billing.margins import margins
from omixa.billing.verify import verify
from omixa.domain.access import Role, Secret
from omixa.domain.accounts import ProviderAccount
from omixa.domain.money import format_usd
from omixa.domain.times import month_after, utc_today
from omixa.gateway.receipt import format_exact
from omixa.gateway.reconciliation import Reconciliation
from omixa.storage import tables
from omixa.usage import operators
from omixa.web.console.routes import ROUTES, ConsoleRoute
from omixa.web.pages import POLICY
from tests.support.console import Browser, browser, made_operator, operated, signed_in, text_of
from tests.support.document import Document
from tests.support.servers import SIMULATOR_API_KEY, Gateway, Simulator, running_gateway, running_simulator
from tests.web.test_pages import Tags

MODEL = "MAI-Image-2.5"
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
CREATE = "/api/v1/images/generations"
ROUTE = f"foundry/{MODEL}"
HOSTILE = (
    "</script><img src=x onerror=alert(1)><svg onload=alert(1)> `tick` [x](javascript:alert(1)) "
    "\u202e\u2067\u200f # {{ 7*7 }} ' \" & \x01"
)
OF_GATEWAY = [route for route in ROUTES if route.operates is not None]


@dataclass
class Staff:
    """A browser for every role in a workspace, of operators and of others."""

    operators: Mapping[Role, Browser]
    others: Mapping[Role, Browser]


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def house(provider: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with ExitStack() as stack:
        running = stack.enter_context(running_gateway(tmp_path_factory.mktemp("operator"), provider))
        running.grant(10_000_000, workspace="acme")
        running.key("live", "acme")
        running.key("test", "globex")
        running.call(lambda services: services.accounts.add(account("spare", provider, priority=9), actor="test"))
        yield running
        assert running.read(verify).findings == ()


def account(name: str, provider: Simulator, key: str = SIMULATOR_API_KEY, **more: Any) -> ProviderAccount:
    # For a model that no test asks for, so that it serves nothing.
    return ProviderAccount(name, endpoint=provider.url, credential=Secret(key), models=("MAI-Image-2.7",), **more)


@pytest.fixture(scope="module")
def staff(house: Gateway) -> Staff:
    found: dict[bool, dict[Role, Browser]] = {True: {}, False: {}}
    for role in ROLES:
        for operates in (True, False):
            name = f"{role}-{'operator' if operates else 'member'}@acme"
            found[operates][role] = signed_in(house, name, role, "acme")
            if operates:
                made_operator(house, name)
    return Staff(found[True], found[False])


@pytest.fixture
def operator(staff: Staff) -> Browser:
    return staff.operators["viewer"]


@pytest.fixture
def token(house: Gateway) -> Iterator[httpx.Client]:
    """A client with the token of a command line."""
    assert house.services is not None
    with house.client(house.services.operators.issue(actor="cli:test", now_s=int(time.time())).reveal()) as client:
        yield client


# -------------------------------------------------------------------------------------------------------------- who may


def filled(route: ConsoleRoute, **other: str) -> str:
    values = {"request": "req_" + "0" * 26, "name": "acme", "finding": "find_" + "0" * 26, "account": "spare"}
    return route.path.format(**values | other)


def visited(route: ConsoleRoute, somebody: Browser, path: str) -> httpx.Response:
    if route.method == "GET":
        return somebody.get(path)
    # Fields that every handler refuses, so that nobody changes anything.
    wrong = {
        "auth": "?",
        "amount": "?",
        "markup_ppm": "?",
        "mode": "?",
        "requests_per_minute": "?",
        "retention_hours": "?",
    }
    return somebody.send(path, csrf=somebody.token("/console/profile"), **wrong)


def state_of(gateway: Gateway) -> str:
    """Return what forms of operators could change."""
    names = ("workspace", "account", "budget", "transfer", "grant_lot", "recon_finding", "price_version", "audit_log")
    found = [name for name in (*names, "provider_account") if name in tables.metadata.tables]

    def read(tx: Any) -> str:
        rows = [dict(row) for name in found for row in tx.all(select(tables.metadata.tables[name]))]
        return str(sorted(map(str, rows)))

    return gateway.read(read)


def test_every_route_of_the_gateway_says_what_is_done_there() -> None:
    assert {route.operates for route in OF_GATEWAY} <= set(get_args(OperatorAction))
    for route in ROUTES:
        assert (route.operates is not None) == route.path.startswith("/operator"), route.path
        assert route.operates is None or (route.action is None and not route.for_everybody)
        if route.operates is not None:
            assert (route.operates == "see_gateway") == (route.method == "GET"), f"{route.path} changes nothing"


@pytest.mark.parametrize("route", OF_GATEWAY, ids=lambda route: f"{route.method} {route.path}")
def test_the_pages_are_there_for_operators_alone(
    house: Gateway, provider: Simulator, staff: Staff, route: ConsoleRoute
) -> None:
    before = state_of(house)
    for role in ROLES:
        for path in (filled(route), filled(route, name="globex"), filled(route, name="nobodys")):
            answer = visited(route, staff.others[role], path)
            assert answer.status_code == 404, (role, path)
            assert "globex" not in answer.text
        assert state_of(house) == before, role
        # A role in a workspace, or none in another one, changes nothing for whoever runs the gateway.
        for number, path in enumerate((filled(route), filled(route, name="globex"))):
            if re.search("/accounts/.*/(enable|disable|remove)", path):
                # They take no field that could be refused, so each has an account of its own to lose.
                own = f"{role}-{number}-{route.path.rpartition('/')[2]}"
                house.call(lambda services, own=own: services.accounts.add(account(own, provider), actor="test"))
                answer = visited(route, staff.operators[role], filled(route, account=own))
                assert answer.status_code == 303
                if not path.endswith("/remove"):
                    house.call(lambda services, own=own: services.accounts.remove(own, actor="test"))
                before = state_of(house)
                continue
            answer = visited(route, staff.operators[role], path)
            there = answer.status_code in (200, 303, 400)
            assert there or (
                answer.status_code == 404 and ("{request}" in path or "_0000" in path or "enable" in path)
            ), (
                role,
                path,
                answer.status_code,
            )
    for path in (filled(route, name="nobodys"), filled(route, name="%00"), filled(route, request="req_%00")):
        if path != filled(route) and "/accounts" not in path:
            assert visited(route, staff.operators["owner"], path).status_code == 404, path
    nobody = browser(house)
    assert nobody.get("/sign-in").status_code == 200
    answer = (
        nobody.get(filled(route))
        if route.method == "GET"
        else nobody.send(filled(route), csrf=nobody.token("/sign-in"))
    )
    assert (answer.status_code, "sign-in" in answer.headers["location"]) == (303, True)
    assert state_of(house) == before


def test_operators_are_strangers_in_workspaces_that_are_not_theirs(staff: Staff) -> None:
    for somebody in staff.operators.values():
        assert somebody.get("/console/globex/test").status_code == 404


def test_whoever_operates_no_longer_is_out_with_the_next_page(house: Gateway) -> None:
    somebody = signed_in(house, "for-a-while", "viewer", "acme")
    assert somebody.get("/operator").status_code == 404
    assert "/operator" not in somebody.get("/console/profile").text
    made_operator(house, "for-a-while")
    assert somebody.get("/operator").status_code == 200
    assert 'href="../operator"' in somebody.get("/console/profile").text
    house.call(lambda services: services.people.set_operator("for-a-while", is_operator=False, actor="test"))
    assert somebody.get("/operator").status_code == 404


def test_after_signing_in_an_operator_is_where_they_wanted_to_go(house: Gateway) -> None:
    made_operator(house, "viewer-operator@acme")
    nobody = browser(house)
    answer = nobody.get("/operator/audit?action=credit.granted")
    assert answer.headers["location"].endswith("next=operator%2Faudit%3Faction%3Dcredit.granted")
    page = answer.request.url.join(answer.headers["location"]).raw_path.decode()
    place = re.search(r'name="next" value="([^"]*)"', nobody.get(page).text)
    assert place is not None
    assert html.unescape(place[1]) == "operator/audit?action=credit.granted"


# ------------------------------------------------------------------------------------------------------------------ pages


def test_pages_keep_the_rules_of_all_pages(house: Gateway, operator: Browser) -> None:
    for path in operated(house, "initech"):
        answer = operator.client.get(f"/{path}")
        assert answer.status_code == 200, (path, text_of(answer.text))
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        tags = Tags(answer.text)
        assert not tags.forbidden, path
        assert len(tags.ids) == len(set(tags.ids)), path
        for target in (*tags.links, *tags.files):
            if target.startswith("#"):
                assert target[1:] in tags.ids
                continue
            joined = answer.url.join(target)
            assert joined.host == "127.0.0.1", f"{path}: {target}"
            found = operator.client.get(joined, follow_redirects=True)
            assert found.status_code == 200, f"{path} leads to {target}"


def test_every_call_that_a_page_names_gives_an_answer(house: Gateway, operator: Browser, token: httpx.Client) -> None:
    named, changes = set(), set()
    document = Document(token.get("/openapi.json").json())
    for path in operated(house, "initech"):
        for source in re.findall(r'<pre[^>]*id="call-\d+">(.*?)</pre>', operator.get(f"/{path}").text, re.DOTALL):
            text = html.unescape(re.sub("<[^>]*>", "", source))
            assert "Bearer $(omixa users token)" in text
            found = re.search(r"'http://[^/]+/api/v1([^']+)'", text)
            assert found is not None, source
            named.add(found[1].partition("?")[0])
            if "-X " in text:
                changes.add(document.operation(text.split()[2], f"/api/v1{found[1]}")["operationId"])
                continue
            assert token.get(f"/api/v1{found[1]}").status_code == 200, found[1]
    twins = {"routes", "accounts", "calls", "prices", "prices/difference", "workspaces", "findings", "margins", "audit"}
    assert {f"/operator/{name}" for name in twins} <= named
    assert changes >= {
        *("addAccount", "changeAccount", "disableAccount", "removeAccount", "enableRoute", "grantCredit", "setMarkup"),
        *("setWorkspaceBudgets", "setWorkspaceLimits", "setWorkspaceResults"),
    }


def test_what_is_broken_is_seen_and_put_right(
    house: Gateway, provider: Simulator, operator: Browser, token: httpx.Client
) -> None:
    with house.client(house.key("live", "acme")) as client:
        provider.play("401")
        failed = client.post(CREATE, json=BODY)
        provider.play("")
        assert failed.status_code in (502, 503), failed.text
        request_id = failed.headers["x-request-id"]
        overview = text_of(operator.get("/operator").text)
        assert "foundry is out of use" in overview
        page = operator.get("/operator/routes")
        shown = text_of(page.text)
        assert "its key is refused: 401" in shown
        route = next(one for one in token.get("/api/v1/operator/routes").json()["data"] if one["route"] == ROUTE)
        assert (route["health"], route["reason"]) == ("disabled", "401")
        # From the route to its calls that failed, and from there to the request with its attempts.
        listed = operator.get(f"/operator/calls?route={ROUTE}")
        (call,) = token.get(f"/api/v1/operator/calls?route={ROUTE}").json()["data"]
        assert (call["request_id"], call["http_status"], call["workspace"]) == (request_id, 401, "acme")
        assert f"/operator/requests/{request_id}" in str(listed.url.join(f"requests/{request_id}"))
        assert request_id in listed.text
        one = operator.get(f"/operator/requests/{request_id}")
        assert f"{ROUTE}: {call['code']}, HTTP 401" in text_of(one.text)
        assert BODY["prompt"] not in one.text
        assert operator.get(f"/operator/requests?id={request_id}").headers["location"].endswith(request_id)
        used = operator.post("/operator/routes/enable", "/operator/routes", route=ROUTE)
        assert used.status_code == 303
        (entry,) = token.get("/api/v1/operator/audit?limit=1").json()["data"]
        assert (entry["action"], entry["target"]) == ("route.enabled", ROUTE)
        assert ROUTE in entry["details"]["deployments"]
        assert "out of use" not in text_of(operator.get("/operator").text)
        made = client.post(CREATE, json={**BODY, "prompt": "again"})
        assert made.status_code == 200
    unknown = operator.post("/operator/routes/enable", "/operator/routes", route="nobody")
    assert (unknown.status_code, "There is no deployment nobody" in text_of(unknown.text)) == (404, True)


def test_a_ledger_that_does_not_verify_is_the_first_thing_that_is_seen(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        somebody = signed_in(gateway, "ada", "owner")
        made_operator(gateway, "ada")
        gateway.call(lambda services: services.sweeper.check())
        assert "nothing is wrong" in text_of(somebody.get("/operator").text)
        gateway.grant(1_000_000)
        gateway.write(lambda tx: tx.execute(update(tables.account).values(head_hash="0" * 64)))
        gateway.call(lambda services: services.sweeper.check())
        assert "The ledger does not verify" in text_of(somebody.get("/operator").text)


def test_failed_calls_are_paged_by_a_cursor(house: Gateway, token: httpx.Client) -> None:
    with house.client(house.key("test", "hooli")) as client:
        for _ in range(3):
            client.post(CREATE, json={"model": MODEL, "prompt": "sim:500x9 x"})
    whole = token.get("/api/v1/operator/calls?limit=100").json()["data"]
    ids: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = token.get("/api/v1/operator/calls", params=query).json()
        ids += [one["id"] for one in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert ids[: len(whole)] == [one["id"] for one in whole]
    assert ids == sorted(ids, reverse=True)
    wrong = token.get("/api/v1/operator/calls?after=req_1").json()["error"]
    assert (wrong["param"], wrong["message"]) == ("after", "after must be the id of a call; got req_1.")


# --------------------------------------------------------------------------------------------------------------- accounts


def test_an_account_is_added_changed_switched_off_and_removed_without_a_restart(
    house: Gateway, provider: Simulator, operator: Browser, token: httpx.Client
) -> None:
    home = "/operator/accounts"
    secret = "a-key-that-nobody-reads-again"
    fields = {
        "name": "second",
        "provider": "foundry",
        "auth": "api_key",
        "credential": secret,
        "endpoint": provider.url + "/",
        "region": "swedencentral",
        "priority": "3",
        "weight": "",
        "models": f"{MODEL}\r\n",
        "concurrency": "4",
    }
    for wrong, told in (
        ({"name": "No Name"}, "name"),
        ({"name": "spare"}, "There is an account spare already"),
        ({"name": "foundry"}, "foundry"),
        ({"auth": "magic"}, "Choose how the account"),
        ({"weight": "heavy"}, "is no whole number"),
        ({"weight": "5000"}, "weight must be"),
        ({"models": "nothing"}, "offers no model nothing"),
        ({"credential": ""}, "Give the account's key"),
        ({"endpoint": "ftp://example.org"}, "endpoint"),
    ):
        answer = operator.post(home, home, **{**fields, **wrong})
        assert (answer.status_code, told in text_of(answer.text)) == (400, True), (wrong, text_of(answer.text))
        # What was written is not lost, and a key is not sent back.
        assert secret not in answer.text
        assert "swedencentral" in answer.text
    assert operator.post(home, home, **fields).headers["location"].endswith("operator/accounts/second")
    one = f"{home}/second"
    for page in (home, one, "/operator/audit", "/operator/routes"):
        shown = operator.get(page).text
        assert secret not in shown
        assert "second" in shown
    found = {entry["name"]: entry for entry in token.get("/api/v1/operator/accounts").json()["data"]}
    assert secret not in str(found)
    mine = found["second"]
    assert (mine["priority"], mine["weight"], mine["concurrency"], mine["models"]) == (3, 1, 4, [MODEL])
    assert mine["key_fingerprint"] in operator.get(one).text
    changed = {**fields, "credential": "", "weight": "7", "priority": ""}
    assert operator.post(one, one, **changed).status_code == 303
    entry = audited(token, "account.changed")
    assert entry["details"]["weight"] == {"before": 1, "after": 7}
    # A key goes nowhere but where it was given for.
    elsewhere = operator.post(one, one, **{**changed, "endpoint": "https://evil.example"})
    assert (elsewhere.status_code, "give the key again" in text_of(elsewhere.text)) == (400, True)
    assert operator.post(one, one, **{**changed, "credential": "another-key"}).status_code == 303
    again = {entry["name"]: entry for entry in token.get("/api/v1/operator/accounts").json()["data"]}["second"]
    assert again["key_fingerprint"] != mine["key_fingerprint"]
    assert operator.post(f"{one}/disable", one).status_code == 303
    assert "switched off" in text_of(operator.get(one).text)
    assert operator.post(f"{one}/enable", one).status_code == 303
    assert operator.post(f"{one}/remove", one).status_code == 303
    assert operator.get(one).status_code == 404
    assert operator.post(f"{one}/disable", home).status_code == 404
    assert [audited(token, f"account.{what}")["target"] for what in ("added", "disabled", "enabled", "removed")] == (
        ["second"] * 4
    )


# ------------------------------------------------------------------------------------------------------------- workspaces


def audited(token: httpx.Client, action: str) -> dict[str, Any]:
    """Return the newest entry of an action."""
    entry: dict[str, Any] = token.get(f"/api/v1/operator/audit?action={action}&limit=1").json()["data"][0]
    return entry


def test_workspaces_are_listed_with_what_they_have_and_spend(
    house: Gateway, operator: Browser, token: httpx.Client
) -> None:
    house.grant(3_000_000, workspace="umbrella")
    with house.client(house.key("live", "umbrella")) as client:
        billed = client.post(CREATE, json=BODY).raise_for_status().json()["omixa"]["billed_amount"]
        balance = client.get("/api/v1/balance").json()
    page = token.get("/api/v1/operator/workspaces?first=umbrella&limit=1").json()
    (found,) = page["data"]
    assert (found["name"], found["spent"], found["requests"]) == ("umbrella", billed, 1)
    assert (found["available"], found["held"]) == (balance["available"], balance["held"])
    listed = operator.get("/operator/workspaces?first=umbrella")
    shown = text_of(listed.text)
    assert f"umbrella {balance['available']} {balance['held']} {billed} 1" in shown
    assert "workspaces/acme" not in listed.text
    names: list[str] = []
    query: dict[str, Any] = {"limit": 1}
    while True:
        page = token.get("/api/v1/operator/workspaces", params=query).json()
        names += [one["name"] for one in page["data"]]
        if page["next_first"] is None:
            break
        query["first"] = page["next_first"]
    assert names == sorted(row.name for row in house.call(lambda services: services.workspaces.list_workspaces()))


def test_credit_is_granted_once_however_often_the_form_is_sent(
    house: Gateway, workspace: str, operator: Browser, token: httpx.Client
) -> None:
    key = house.key("live", workspace)
    home = f"/operator/workspaces/{workspace}"
    reference = re.search(r'name="reference" value="([^"]+)"', operator.get(home).text)
    assert reference is not None
    fields = {
        "mode": "live",
        "amount": "12.50",
        "kind": "promo",
        "expires": "2999-12-31",
        "reason": "a friend",
        "reference": reference[1],
    }
    for _ in range(2):
        assert operator.post(f"{home}/credit", home, **fields).status_code == 303
    with house.client(key) as client:
        assert client.get("/api/v1/balance").json()["available"] == "12.500000"
    entry = audited(token, "credit.granted")
    assert entry["actor_name"] == "viewer-operator@acme"
    assert (entry["details"]["amount"], entry["details"]["reason"]) == ("12.500000", "a friend")
    shown = text_of(operator.get(home).text)
    assert "promo" in shown
    assert "3000-01-01" in shown
    for wrong, told in (
        ({"amount": "many"}, "is not an amount"),
        ({"amount": ""}, "Write how much"),
        ({"reason": ""}, "Give a reason"),
        ({"expires": "2020-01-01"}, "cannot expire in the past"),
        ({"expires": "soon"}, "last day of credit"),
        ({"mode": "both"}, "Choose live or test"),
        ({"amount": "1"}, "reference"),
    ):
        answer = operator.post(f"{home}/credit", home, **{**fields, **wrong})
        assert answer.status_code in (400, 409), (wrong, text_of(answer.text))
        assert told in text_of(answer.text), wrong
    missing = operator.post("/operator/workspaces/nobodys/credit", home, **fields)
    assert missing.status_code == 404
    assert house.read(lambda tx: store.find_workspace(tx, "nobodys")) is None


def test_a_workspace_is_set_up(house: Gateway, workspace: str, operator: Browser, token: httpx.Client) -> None:
    key = house.key("test", workspace)
    home = f"/operator/workspaces/{workspace}"

    def row() -> store.WorkspaceRow:
        found = house.read(lambda tx: store.read_workspace(tx, workspace))
        assert found is not None
        return found

    assert operator.post(f"{home}/markup", home, markup_ppm="-100000", reason="partner").status_code == 303
    assert row().markup_ppm == -100_000
    assert audited(token, "workspace.markup_set")["details"]["after_ppm"] == -100_000
    for wrong in ("-1000001", "1e3", "", "\u0663"):
        assert operator.post(f"{home}/markup", home, markup_ppm=wrong, reason="x").status_code == 400
    assert operator.post(f"{home}/budgets", home, mode="test", budget_day="2", budget_month="").status_code == 303
    with house.client(key) as client:
        (budget,) = client.get("/api/v1/budgets").json()["data"]
        assert (budget["period"], budget["limit"]) == ("day", "2.000000")
    limits = {"requests_per_minute": "7", "images_per_minute": "none", "concurrent_images": ""}
    assert operator.post(f"{home}/limits", home, **limits).status_code == 303
    assert (row().limits.requests_per_minute, row().limits.images_per_minute, row().limits.concurrent_images) == (
        7,
        0,
        None,
    )
    assert operator.post(f"{home}/limits", home, requests_per_minute="-3").status_code == 400
    kept = {"retention_hours": "5000", "response_format": "url"}
    assert operator.post(f"{home}/results", home, **kept).status_code == 303
    assert (row().result_retention_ms, row().response_format) == (5000 * 3_600_000, "url")
    assert operator.post(f"{home}/results", home, retention_hours="999999").status_code == 400
    shown = operator.get(home).text
    for value in ('value="-100000"', 'value="2.000000"', 'value="7"', 'value="none"', 'value="5000"'):
        assert value in shown, value
    assert house.read(verify).findings == ()


def test_a_suspended_workspace_is_let_spend_again(
    house: Gateway, workspace: str, operator: Browser, token: httpx.Client
) -> None:
    house.key("live", workspace)
    home = f"/operator/workspaces/{workspace}"
    assert "/resume" not in operator.get(home).text
    suspend = update(tables.workspace).where(tables.workspace.c.name == workspace)
    house.write(lambda tx: tx.execute(suspend.values(suspended_at_ms=tx.now_ms())))
    assert "1 workspace may not spend" in text_of(operator.get("/operator").text)
    assert operator.post(f"{home}/resume", home, reason="").status_code == 400
    assert operator.post(f"{home}/resume", home, reason="paid after all").status_code == 303
    assert audited(token, "workspace.resumed")["details"]["reason"] == "paid after all"
    assert "may not spend" not in text_of(operator.get("/operator").text)


# ----------------------------------------------------------------------------------------------------------------- prices


def test_prices_are_those_that_were_published(operator: Browser, token: httpx.Client) -> None:
    lists = token.get("/api/v1/operator/prices").json()["data"]
    shown = text_of(operator.get("/operator/prices").text)
    assert {one["standing"] for one in lists} >= {"in force"}
    for one in lists:
        assert one["version"] in shown
        for name, price in one["prices"].items():
            assert f"{name.replace('_', ' ')}: {price}" in shown


def test_what_other_prices_would_change_is_known_before_they_are_published(house: Gateway, operator: Browser) -> None:
    with house.client(house.key("live", "acme")) as client:
        client.post(CREATE, json=BODY).raise_for_status()
    file = Path(tables.__file__).parent.parent / "catalogue" / "data" / "models" / "mai-image-2.5.toml"
    text = file.read_text()
    before = state_of(house)
    page = "/operator/prices/difference"
    month = f"{utc_today():%Y-%m}"
    same = text_of(operator.get(f"{page}?month={month}").text)
    assert "nothing would change" in same
    # The same list from another day on: who pays what does not change, and it is another version all the same.
    later = re.sub(r"effective_from = \d{4}-\d\d-\d\d", "effective_from = 2999-01-01", text)
    assert later != text
    answer = operator.post(page, page, file=later.replace("\n", "\r\n"), month=month, mode="live")
    assert answer.status_code == 200, text_of(answer.text)
    assert f"{MODEL} from 2999-01-01" in text_of(answer.text)
    assert "acme" in text_of(answer.text)
    dearer = re.sub(r'usd = "(\d+)', lambda found: f'usd = "{int(found[1]) + 100}', later)
    difference = text_of(operator.post(page, page, file=dearer, month=month, mode="live").text)
    assert re.search(r"Difference in [\d-]+ \+\$[1-9]", difference), difference
    for wrong in ("", "id = ", "x = 1", HOSTILE, text.split("[[prices]]")[0]):
        refused = operator.post(page, page, file=wrong, month=month, mode="live")
        assert refused.status_code == 400, wrong
        assert not Tags(refused.text).forbidden
    assert operator.get(f"{page}?month=2026-13").status_code == 400
    assert operator.get(f"{page}?mode=both").status_code == 400
    assert state_of(house) == before


def test_one_report_of_a_month_is_made_at_a_time(house: Gateway, operator: Browser) -> None:
    assert house.services is not None
    month = f"{utc_today():%Y-%m}"
    with house.services.reports.slot():
        busy = operator.get(f"/operator/prices/difference?month={month}")
        assert (busy.status_code, "1 report of a whole month" in text_of(busy.text)) == (503, True)
        assert operator.get("/operator/margins").status_code == 200
    assert operator.get(f"/operator/prices/difference?month={month}").status_code == 200


def test_margins_are_those_of_the_command(house: Gateway, operator: Browser) -> None:
    with house.client(house.key("live", "acme")) as client:
        client.post(CREATE, json=BODY).raise_for_status()
    first = utc_today().replace(day=1)
    rows = house.read(lambda tx: margins(tx, "live", first, month_after(first)))
    page = operator.get("/operator/margins")
    assert page.text == operator.get(f"/operator/margins?month={first:%Y-%m}&mode=live").text
    assert rows
    for row in rows:
        assert format_usd(row.charged_micro_usd) in page.text
        assert format_exact(row.margin_pico_usd) in page.text
    assert "No request ended" in text_of(operator.get("/operator/margins?month=2020-01").text)


# --------------------------------------------------------------------------------------------------- findings and the log


def test_findings_are_explained(house: Gateway, tmp_path: Path, operator: Browser, token: httpx.Client) -> None:
    file = tmp_path / "usage.csv"
    day = utc_today().isoformat()
    file.write_text(
        f"time,model,amount,provider_request_id\n{day}T00:00:01Z,{MODEL},1.25,never-made\n"
        f"{day}T00:00:02Z,{MODEL},2.50,{'=' + HOSTILE.replace(chr(34), '')[:60].replace(',', '')}\n"
    )

    async def import_file(services: Any) -> None:
        await Reconciliation(services.database, "foundry", {}).import_file(file, since=None, until=None, actor="test")

    house.call(import_file)
    found = token.get("/api/v1/operator/findings").json()
    assert [one["kind"] for one in found["data"]] == ["no_attempt", "no_attempt"]
    assert {one["billed"] for one in found["data"]} == {"1.250000000000", "2.500000000000"}
    assert "2 findings of foundry to explain" in text_of(operator.get("/operator").text)
    page = operator.get("/operator/findings")
    assert "never-made" in page.text
    assert "<img src=x" not in page.text
    finding = found["data"][0]["id"]
    way = f"/operator/findings/{finding}/accept"
    assert operator.post(way, "/operator/findings", note="").status_code == 400
    assert operator.post(way, "/operator/findings", note="the provider says so").status_code == 303
    assert operator.post(way, "/operator/findings", note="again").status_code == 409
    assert len(token.get("/api/v1/operator/findings").json()["data"]) == 1
    assert audited(token, "finding.accepted")["details"]["note"] == "the provider says so"
    one = token.get("/api/v1/operator/findings?limit=1").json()
    assert (one["has_more"], one["last_id"]) == (False, found["data"][1]["id"])


def test_the_audit_log_is_filtered_in_its_address_and_paged(
    house: Gateway, operator: Browser, token: httpx.Client
) -> None:
    house.grant(1, workspace="acme")
    whole = token.get("/api/v1/operator/audit?limit=100").json()["data"]
    assert [one["seq"] for one in whole] == sorted((one["seq"] for one in whole), reverse=True)
    actions = {one["action"] for one in whole}
    assert {"credit.granted", "key.created", "operator.made"} <= actions
    for name in ("actor", "action", "target"):
        value = whole[0][name]
        query = {name: value, "limit": 100}
        found = token.get("/api/v1/operator/audit", params=query).json()["data"]
        assert found[0] == whole[0]
        assert {one[name] for one in found} == {value}
        assert text_of(operator.client.get("/operator/audit", params={name: value}).text).count("no. ") <= 50
    all_three = {name: whole[0][name] for name in ("actor", "action", "target")}
    assert token.get("/api/v1/operator/audit", params=all_three).json()["data"][0] == whole[0]
    first = token.get("/api/v1/operator/audit?limit=3").json()
    second = token.get(f"/api/v1/operator/audit?limit=3&before={first['next_before']}").json()
    assert [one["seq"] for one in (*first["data"], *second["data"])] == [one["seq"] for one in whole[:6]]
    assert "No entry like that" in text_of(operator.get("/operator/audit?action=nothing").text)
    assert operator.get("/operator/audit?before=x").status_code == 400
    older = re.search(r'rel="next" href="([^"]+)"', operator.get("/operator/audit?limit=2").text)
    assert older is not None
    assert operator.get("/operator/audit" + older[1].partition("audit")[2].replace("&amp;", "&")).status_code == 200


def test_hostile_text_is_shown_and_does_nothing(house: Gateway, workspace: str, operator: Browser) -> None:
    house.key("live", workspace)
    home = f"/operator/workspaces/{workspace}"
    long = HOSTILE + "A" * 10_000
    reason = HOSTILE.replace("\x01", "")
    fields = {"mode": "live", "amount": "1", "reason": reason, "kind": "paid"}
    assert operator.post(f"{home}/credit", home, **fields).status_code == 303
    with house.client(house.key("test", workspace)) as client:
        made = client.post(CREATE, json={"model": MODEL, "prompt": "sim:500x9 " + long, "user": HOSTILE})
    question = httpx.QueryParams({"actor": HOSTILE, "action": long[:4000], "target": "\x00"})
    pages = [
        operator.get("/operator/audit"),
        operator.get(f"/operator/audit?{question}"),
        operator.get(f"/operator/calls?{httpx.QueryParams({'route': HOSTILE})}"),
        operator.get(f"/operator/workspaces?{httpx.QueryParams({'first': HOSTILE})}"),
        operator.get(f"/operator/margins?{httpx.QueryParams({'month': HOSTILE})}"),
        operator.get(f"/operator/requests?{httpx.QueryParams({'id': HOSTILE})}"),
        operator.get(f"/operator/requests/{made.headers['x-request-id']}"),
        operator.post(f"{home}/credit", home, **{**fields, "reason": long, "amount": HOSTILE}),
        operator.post("/operator/routes/enable", home, route=long),
        operator.post("/operator/prices/difference", home, file=long, month=HOSTILE, mode=HOSTILE),
    ]
    for page in pages:
        assert page.status_code < 500, page.url
        assert page.headers["content-security-policy"] == POLICY, page.url
        assert "<img src=x" not in page.text
        assert "<svg onload" not in page.text
        tags = Tags(page.text)
        assert not tags.forbidden, page.url
        assert not [link for link in tags.links if link.startswith("javascript")], page.url
    assert "&lt;img src=x onerror=alert(1)&gt;" in pages[0].text
    outside = re.sub(r"<bdi[^>]*>.*?</bdi>|<option.*?</option>|value=\"[^\"]*\"", "", pages[0].text, flags=re.DOTALL)
    assert "\u202e" not in outside


def test_the_mix_of_calls_counts_what_the_log_has(house: Gateway, workspace: str) -> None:
    before = house.read(lambda tx: operators.call_mix(tx, since_ms=0)).get(f"simulator/{MODEL}")
    with house.client(house.key("test", workspace)) as client:
        client.post(CREATE, json=BODY).raise_for_status()
        client.post(CREATE, json={"model": MODEL, "prompt": "sim:filter x"})
    after = house.read(lambda tx: operators.call_mix(tx, since_ms=0))[f"simulator/{MODEL}"]
    assert after.calls - (0 if before is None else before.calls) == 2
    assert after.failed - (0 if before is None else before.failed) == 1
    assert house.read(lambda tx: operators.call_mix(tx, since_ms=tx.now_ms() + 60_000)) == {}
