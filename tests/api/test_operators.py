"""What operators do on their pages, done by programs: for nobody else, the same things, and in the audit log under who asked."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select, update

from omixa.access.operators import PREFIX, OperatorTokens
from omixa.api.operation import Operation
from omixa.api.operations import OPERATIONS
from omixa.billing.margins import margins
from omixa.billing.verify import verify
from omixa.domain.access import Secret
from omixa.domain.money import format_usd
from omixa.domain.times import month_after, utc_today
from omixa.errors import Unauthenticated
from omixa.gateway.reconciliation import Reconciliation
from omixa.storage import tables
from tests.support.document import Document
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
OPERATOR = "/api/v1/operator"
OF_OPERATORS = [one for one in OPERATIONS if one.for_operators]
MONTH = f"{utc_today():%Y-%m}"
ACTOR = "cli:ada"
MODEL_FILE = (Path(tables.__file__).parent.parent / "catalogue" / "data" / "models" / "mai-image-2.5.toml").read_text()


@pytest.fixture(scope="module")
def house(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("operators"), foundry) as running:
        running.grant(10_000_000, workspace="acme")
        running.key("live", "acme")
        yield running
        assert running.read(verify).findings == ()


@pytest.fixture
def token(house: Gateway) -> Iterator[httpx.Client]:
    """A client with the token of a command line."""
    assert house.services is not None
    with house.client(house.services.operators.issue(actor=ACTOR, now_s=int(time.time())).reveal()) as client:
        yield client


@pytest.fixture
def document(house: Gateway) -> Document:
    with house.client(None) as client:
        return Document(client.get("/openapi.json").json())


@pytest.fixture
def ask(token: httpx.Client, document: Document) -> Callable[..., httpx.Response]:
    """Ask as the operator; every answer is what the document says."""

    def asked(method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        answer = token.request(method, OPERATOR + path, json=body)
        document.check(answer)
        return answer

    return asked


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, str(answer.json()["error"]["code"])


def state_of(gateway: Gateway) -> list[str]:
    names = (
        "workspace",
        "account",
        "budget",
        "transfer",
        "grant_lot",
        "recon_finding",
        "audit_log",
        "provider_account",
    )
    return gateway.read(
        lambda tx: sorted(str(dict(row)) for name in names for row in tx.all(select(tables.metadata.tables[name])))
    )


def newest(ask: Callable[..., httpx.Response]) -> tuple[str, str]:
    """Return what was done last, and by whom."""
    (entry,) = ask("GET", "/audit?limit=1").json()["data"]
    return entry["action"], entry["actor"]


# -------------------------------------------------------------------------------------------------------------- who may


@pytest.mark.parametrize("operation", OF_OPERATORS, ids=lambda operation: operation.id)
def test_nobody_but_an_operator_is_answered(house: Gateway, document: Document, operation: Operation) -> None:
    path = re.sub(r"{\w+}", "acme", operation.path)
    assert house.services is not None
    own = house.services.operators
    good = own.issue(actor=ACTOR, now_s=int(time.time())).reveal()
    expires, named, signature = good.removeprefix(PREFIX).split("_")
    tried = {
        None: "missing_api_key",
        house.key("live", "acme"): "invalid_api_key",
        house.key("test", "acme"): "invalid_api_key",
        own.issue(actor=ACTOR, now_s=int(time.time()) - 300).reveal(): "invalid_api_key",
        OperatorTokens(Secret("00" * 32)).issue(actor=ACTOR, now_s=int(time.time())).reveal(): "invalid_api_key",
        # Neither who asked nor until when can be written anew.
        f"{PREFIX}{expires}_{b'cli:eve'.hex()}_{signature}": "invalid_api_key",
        f"{PREFIX}{int(expires) + 1}_{named}_{signature}": "invalid_api_key",
        f"{PREFIX}{expires}_{signature}": "invalid_api_key",
    }
    before = state_of(house)
    for given, code in tried.items():
        with house.client(given) as client:
            answer = client.request(operation.method, path, json={} if operation.body else None)
        document.check(answer)
        assert code_of(answer) == (401, code), given
    assert state_of(house)[:-1] == before[:-1]


def test_a_token_names_whoever_asked_for_it() -> None:
    tokens = OperatorTokens(Secret("ab" * 32))
    for actor in (ACTOR, "cli:a_b", "cli:ürsula", "cli:" + "x" * 1000):
        assert actor.startswith(tokens.check(tokens.issue(actor=actor, now_s=1000).reveal(), now_s=1000))
    with pytest.raises(Unauthenticated):
        tokens.check(tokens.issue(actor=ACTOR, now_s=1000).reveal(), now_s=1200)


# ------------------------------------------------------------------------------------------------------------- accounts


def test_an_account_is_added_changed_switched_off_and_removed(
    house: Gateway, foundry: Simulator, ask: Callable[..., httpx.Response]
) -> None:
    secret = "a-key-that-nobody-reads-again"
    fields = {
        "name": "second",
        "provider": "foundry",
        "credential": secret,
        "endpoint": foundry.url + "/",
        "region": "swedencentral",
        "priority": 3,
        "models": ["MAI-Image-2.7"],
        "concurrency": 4,
    }
    before = state_of(house)
    for wrong, param in (
        ({"name": "No Name"}, "name"),
        ({"name": "foundry"}, "name"),
        ({"auth": "magic"}, "auth"),
        ({"weight": "heavy"}, "weight"),
        ({"weight": 5000}, "weight"),
        ({"models": ["nothing"]}, "models"),
        ({"credential": None}, "credential"),
        ({"credential": 5}, "credential"),
        ({"endpoint": "ftp://example.org"}, "endpoint"),
        ({"provider": "nobody"}, "provider"),
        ({"colour": "red"}, "colour"),
    ):
        answer = ask("POST", "/accounts", {**fields, **wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
        assert secret not in answer.text
    assert state_of(house) == before
    made = ask("POST", "/accounts", fields)
    assert (made.status_code, secret in made.text, made.json()["endpoint"]) == (200, False, foundry.url)
    assert newest(ask) == ("account.added", ACTOR)
    assert ask("GET", "/accounts/second").json() == made.json()
    assert code_of(ask("POST", "/accounts", fields)) == (400, "invalid_value")
    changed = ask("PATCH", "/accounts/second", {"weight": 7}).json()
    assert (changed["weight"], changed["priority"], changed["key_fingerprint"]) == (
        *(7, 3),
        made.json()["key_fingerprint"],
    )
    # A key goes nowhere but where it was given for.
    elsewhere = ask("PATCH", "/accounts/second", {"endpoint": "https://evil.example"})
    assert (elsewhere.status_code, elsewhere.json()["error"]["param"]) == (400, "credential")
    assert (
        ask("PATCH", "/accounts/second", {"credential": "another"}).json()["key_fingerprint"]
        != changed["key_fingerprint"]
    )
    assert not ask("POST", "/accounts/second/disable").json()["is_enabled"]
    assert newest(ask) == ("account.disabled", ACTOR)
    assert ask("POST", "/accounts/second/enable").json()["is_enabled"]
    assert ask("DELETE", "/accounts/second").json() == {"object": "removed_account", "name": "second", "removed": True}
    assert newest(ask) == ("account.removed", ACTOR)
    for method, path in (*(("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/enable"), ("POST", "/disable")),):
        assert code_of(ask(method, f"/accounts/second{path}", {"weight": 1} if method == "PATCH" else None)) == (
            *(404, "account_not_found"),
        )


# ----------------------------------------------------------------------------------------------------------- workspaces


def test_a_workspace_is_granted_credit_and_limited(
    house: Gateway, workspace: str, ask: Callable[..., httpx.Response]
) -> None:
    house.key("live", workspace)
    home = f"/workspaces/{workspace}"
    credit = {"amount": "25.00", "mode": "live", "reason": "first credit", "reference": f"invoice-{workspace}"}
    granted = ask("POST", f"{home}/credit", credit).json()
    assert newest(ask) == ("credit.granted", ACTOR)
    assert {one["mode"]: one["available"] for one in granted["wallets"]}["live"] == "25.000000"
    # Once, however often it is sent; another one under its name is refused.
    assert ask("POST", f"{home}/credit", credit).json() == granted
    assert ask("POST", f"{home}/credit", {**credit, "amount": "26"}).status_code == 409
    marked = ask("PATCH", f"{home}/markup", {"markup_ppm": 100_000, "reason": "ten percent"}).json()
    assert (marked["markup_ppm"], newest(ask)) == (100_000, ("workspace.markup_set", ACTOR))
    budgeted = ask("PATCH", f"{home}/budgets", {"mode": "live", "budget_day": "5", "budget_month": "50"}).json()
    live = next(one for one in budgeted["wallets"] if one["mode"] == "live")
    assert {one["period"]: one["limit"] for one in live["budgets"]} == {"day": "5.000000", "month": "50.000000"}
    fewer = ask("PATCH", f"{home}/budgets", {"mode": "live", "budget_day": None}).json()
    assert [one["period"] for one in next(one for one in fewer["wallets"] if one["mode"] == "live")["budgets"]] == [
        "month"
    ]
    limited = ask("PATCH", f"{home}/limits", {"requests_per_minute": 60, "images_per_minute": 0}).json()
    assert (limited["requests_per_minute"], limited["images_per_minute"], limited["concurrent_images"]) == (60, 0, None)
    kept = ask("PATCH", f"{home}/results", {"retention_hours": 2000, "response_format": "url"}).json()
    assert (kept["retention_hours"], kept["response_format"], newest(ask)) == (
        *(2000, "url"),
        ("workspace.results_set", ACTOR),
    )
    assert ask("PATCH", f"{home}/results", {"retention_hours": None}).json()["retention_hours"] is None
    suspend = update(tables.workspace).where(tables.workspace.c.name == workspace)
    house.write(lambda tx: tx.execute(suspend.values(suspended_at_ms=tx.now_ms())))
    assert ask("GET", home).json()["suspended_at"] is not None
    assert ask("POST", f"{home}/resume", {"reason": "paid after all"}).json()["suspended_at"] is None
    assert newest(ask) == ("workspace.resumed", ACTOR)
    assert (ask("GET", home).json()["active_keys"], ask("GET", home).json()["members"]) == (1, [])


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "credit", {"amount": "0", "mode": "live", "reason": "x"}, "amount"),
    ("POST", "credit", {"amount": "-1", "mode": "live", "reason": "x"}, "amount"),
    ("POST", "credit", {"amount": 25, "mode": "live", "reason": "x"}, "amount"),
    ("POST", "credit", {"amount": "1", "mode": "both", "reason": "x"}, "mode"),
    ("POST", "credit", {"amount": "1", "reason": "x"}, "mode"),
    ("POST", "credit", {"amount": "1", "mode": "live", "reason": " "}, "reason"),
    ("POST", "credit", {"amount": "1", "mode": "live", "reason": "x", "expires": "2020-01-01"}, "expires"),
    ("POST", "credit", {"amount": "1", "mode": "live", "reason": "x", "expires": "9999-12-31"}, "expires"),
    ("POST", "credit", {"amount": "1", "mode": "live", "reason": "x", "kind": "gift"}, "kind"),
    ("POST", "credit", {"amount": "1", "mode": "live", "reason": "x", "reference": "a b"}, "reference"),
    ("PATCH", "markup", {"markup_ppm": -1_000_001, "reason": "x"}, "markup_ppm"),
    ("PATCH", "markup", {"markup_ppm": 10**30, "reason": "x"}, "markup_ppm"),
    ("PATCH", "markup", {"markup_ppm": 5}, "reason"),
    ("PATCH", "budgets", {"mode": "live"}, "budget_day"),
    ("PATCH", "budgets", {"mode": "live", "budget_month": "x"}, "budget_month"),
    ("PATCH", "limits", {}, "requests_per_minute"),
    ("PATCH", "limits", {"requests_per_minute": -1}, "requests_per_minute"),
    ("PATCH", "limits", {"concurrent_images": 10**12}, "concurrent_images"),
    ("PATCH", "results", {}, "retention_hours"),
    ("PATCH", "results", {"retention_hours": 87_601}, "retention_hours"),
    ("PATCH", "results", {"response_format": "tape"}, "response_format"),
    ("POST", "resume", {"reason": ""}, "reason"),
]


@pytest.mark.parametrize(("method", "what", "body", "param"), WRONG)
def test_a_wrong_field_is_named_and_nothing_is_changed(
    house: Gateway, ask: Callable[..., httpx.Response], method: str, what: str, body: dict[str, Any], param: str
) -> None:
    before = state_of(house)
    answer = ask(method, f"/workspaces/acme/{what}", body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert state_of(house) == before


def test_no_workspace_is_opened_by_a_mistake(house: Gateway, ask: Callable[..., httpx.Response]) -> None:
    before = state_of(house)
    for method, what, body in (
        ("GET", "", None),
        ("POST", "/credit", {"amount": "1", "mode": "live", "reason": "x"}),
        ("PATCH", "/markup", {"markup_ppm": 5, "reason": "x"}),
        ("PATCH", "/budgets", {"mode": "live", "budget_day": "1"}),
        ("PATCH", "/limits", {"requests_per_minute": 5}),
        ("PATCH", "/results", {"retention_hours": 5}),
        ("POST", "/resume", {"reason": "x"}),
    ):
        for name in ("nobodys", "%00"):
            assert code_of(ask(method, f"/workspaces/{name}{what}", body)) == (404, "workspace_not_found"), what
    assert state_of(house) == before


# ------------------------------------------------------------------------------------------------- calls, prices, findings


def test_a_request_is_told_call_by_call(house: Gateway, ask: Callable[..., httpx.Response]) -> None:
    with house.client(house.key("test", "acme")) as client:
        failed = client.post(CREATE, json={**BODY, "prompt": "sim:500x9 a secret prompt"})
    answer = ask("GET", f"/requests/{failed.headers['x-request-id']}")
    found = answer.json()
    assert (found["workspace"], found["mode"], found["state"], found["billed_amount"]) == (
        "acme",
        "test",
        "released",
        None,
    )
    assert [call["attempt"] for call in found["calls"]] == list(range(1, len(found["calls"]) + 1))
    assert found["calls"][0]["http_status"] == 500
    assert "a secret prompt" not in answer.text
    mix = {one["route"]: one for one in ask("GET", "/routes/calls?hours=1").json()["data"]}
    route = found["calls"][0]["route"]
    assert mix[route]["failed"] >= 1
    assert sum(mix[route]["errors"].values()) == mix[route]["failed"]
    for wrong in ("req_" + "0" * 26, "%00"):
        assert code_of(ask("GET", f"/requests/{wrong}")) == (404, "request_not_found")
    assert code_of(ask("GET", "/routes/calls?hours=2")) == (400, "invalid_value")


def test_what_other_prices_would_change_and_what_is_left(house: Gateway, ask: Callable[..., httpx.Response]) -> None:
    with house.client(house.key("live", "acme")) as client:
        client.post(CREATE, json=BODY).raise_for_status()
    assert ask("GET", f"/prices/difference?month={MONTH}").json()["new_versions"] == {}
    later = re.sub(r"effective_from = \d{4}-\d\d-\d\d", "effective_from = 2999-01-01", MODEL_FILE)
    dearer = re.sub(r'usd = "(\d+)', lambda found: f'usd = "{int(found[1]) + 100}', later)
    before = state_of(house)
    found = ask("POST", "/prices/difference", {"file": dearer, "month": MONTH}).json()
    (row,) = [one for one in found["data"] if one["workspace"] == "acme"]
    assert float(row["at_new"]) - float(row["at_present"]) == pytest.approx(float(row["difference"]))
    assert float(found["difference"]) > 0
    assert list(found["new_versions"]) == [MODEL]
    for wrong in ("", "id = ", "x = 1", MODEL_FILE.split("[[prices]]")[0]):
        answer = ask("POST", "/prices/difference", {"file": wrong})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "file")
    first = utc_today().replace(day=1)
    rows = house.read(lambda tx: margins(tx, "live", first, month_after(first)))
    told = ask("GET", f"/margins?month={MONTH}").json()["data"]
    assert rows
    assert [(one["model"], one["charged"]) for one in told] == [
        (row.model, format_usd(row.charged_micro_usd)) for row in rows
    ]
    assert ask("GET", "/margins").json()["data"] == told
    for path in (
        "/margins?month=2026-13",
        "/prices/difference?month=x",
        "/margins?month=2026-01&mode=both",
    ):
        assert ask("GET", path).status_code == 400
    assert house.services is not None
    with house.services.reports.slot():
        assert code_of(ask("GET", f"/prices/difference?month={MONTH}")) == (503, "overloaded")
    assert state_of(house) == before


def test_findings_are_explained(house: Gateway, tmp_path: Path, ask: Callable[..., httpx.Response]) -> None:
    file = tmp_path / "usage.csv"
    file.write_text(
        f"time,model,amount,provider_request_id\n{utc_today().isoformat()}T00:00:01Z,{MODEL},1.25,never-made\n"
    )

    async def import_file(services: Any) -> None:
        await Reconciliation(services.database, "foundry", {}).import_file(file, since=None, until=None, actor="test")

    house.call(import_file)
    (finding,) = ask("GET", "/findings").json()["data"]
    way = f"/findings/{finding['id']}/accept"
    assert code_of(ask("POST", way, {"note": ""})) == (400, "invalid_value")
    assert code_of(ask("POST", way, {})) == (400, "missing_required_parameter")
    done = ask("POST", way, {"note": "the provider says so"}).json()
    assert done == {"object": "finding", "id": finding["id"], "accepted": True}
    assert newest(ask) == ("finding.accepted", ACTOR)
    assert ask("POST", way, {"note": "again"}).status_code == 409
    for wrong in ("find_" + "0" * 26, "%00"):
        assert code_of(ask("POST", f"/findings/{wrong}/accept", {"note": "x"})) == (404, "finding_not_found")
    assert ask("GET", "/findings").json()["data"] == []
