"""People who sign in to a gateway's console with a client of HTTP: it keeps cookies and sends forms as a browser does."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

import httpx2 as httpx

from omixa.domain.access import Role
from omixa.domain.times import utc_today
from tests.support.servers import Gateway

PASSWORD = "four words in a row"
_FIELD = re.compile(r'<input type="hidden" name="csrf" value="([0-9a-f]+)">')


@dataclass
class Browser:
    """A client whose forms carry what their page wrote into them."""

    client: httpx.Client
    origin: str

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def cookies(self) -> list[tuple[str, str]]:
        """Return what it keeps, by name."""
        return list(self.client.cookies.items())

    def token(self, path: str) -> str:
        """Return what the forms of a page carry."""
        return form_token(self.get(path).text)

    def post(self, path: str, page: str, **fields: str | list[str]) -> httpx.Response:
        """Send a form from a page; names with a dash are written with an underscore."""
        named = {name.replace("_", "-") if name.startswith("budget") else name: value for name, value in fields.items()}
        return self.send(path, csrf=self.token(page), **named)

    def send(self, path: str, origin: str | None = "", **fields: str | list[str]) -> httpx.Response:
        """Send a form as it is, from our origin unless another one is given."""
        said = self.origin if origin == "" else origin
        return self.client.post(path, data=fields, headers={} if said is None else {"origin": said})


def form_token(page: str) -> str:
    """Return what the forms of a page carry."""
    found = _FIELD.search(page)
    assert found is not None, page[:500]
    return found[1]


def browser(gateway: Gateway) -> Browser:
    """Return a browser that has never been here."""
    client = gateway.client(None)
    # No connection outlives its answer, so nobody has to close a browser.
    client.headers["connection"] = "close"
    return Browser(client, gateway.url)


def invited(gateway: Gateway, name: str, role: Role, workspace: str = "default") -> str | None:
    """Invite somebody and return the way to their page, None where they have a password."""

    async def invite(services) -> str | None:  # type: ignore[no-untyped-def]
        link = await services.people.invite(name, workspace=workspace, role=role, actor="test")
        return None if link is None else f"/welcome/{link.reveal()}"

    return gateway.call(invite)


def signed_in(gateway: Gateway, name: str, role: Role, workspace: str = "default") -> Browser:
    """Return the browser of somebody who has just set a password."""
    somebody, way = browser(gateway), invited(gateway, name, role, workspace)
    assert way is not None, f"{name} has a password already"
    answer = somebody.post(way, way, password=PASSWORD, again=PASSWORD)
    assert answer.status_code == 303, text_of(answer.text)
    return somebody


def made_operator(gateway: Gateway, name: str) -> None:
    """Let somebody run the gateway."""
    gateway.call(lambda services: services.people.set_operator(name, is_operator=True, actor="test"))


def operated(gateway: Gateway, workspace: str) -> list[str]:
    """Return the addresses of the pages of operators, with a workspace on one of them and a request that failed."""
    with gateway.client(gateway.key("test", workspace)) as client:
        failed = client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:500x9 x"})
    gateway.grant(25_000_000, workspace=workspace)
    month = f"{utc_today():%Y-%m}"
    return [
        "operator",
        "operator/routes",
        "operator/accounts",
        *(f"operator/accounts/{one.account.name}" for one in gateway.call(lambda services: services.accounts.list())),
        "operator/calls",
        f"operator/requests/{failed.headers['x-request-id']}",
        "operator/prices",
        f"operator/prices/difference?month={month}&mode=test",
        "operator/workspaces",
        f"operator/workspaces/{workspace}",
        "operator/findings",
        "operator/margins",
        f"operator/margins?month={month}&mode=test",
        "operator/audit",
    ]


def lived_in(gateway: Gateway, workspace: str) -> list[str]:
    """Fill a workspace with what its pages can show, and return their addresses below the root."""
    painted = {"model": "omixa-illustrator-1", "prompt": "A lighthouse on a cliff at dusk", "n": 2}

    async def create(services) -> tuple[str, str]:  # type: ignore[no-untyped-def]
        identifier, secret = await services.workspaces.create_key(
            workspace=workspace,
            mode="test",
            name="Shop, product pictures",
            models=None,
            actor="test",
            budgets={"day": 50_000, "month": 5_000_000},
        )
        await services.allowances.set_workspace_budget(workspace, "test", {"month": 2_000_000}, actor="test")
        await services.workspaces.set_results(workspace, {"keep_prompts": True}, actor="test")
        return identifier, secret.reveal()

    key_id, secret = gateway.call(create)
    gateway.key("test", workspace)
    with gateway.client(secret) as client:
        made = client.post("/api/v1/images/generations", json=painted).raise_for_status().json()
        retried = client.post(
            "/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:429x1 a red kite"}
        )
        failed = client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "sim:filter x"})
    home = f"console/{workspace}/test"
    return [
        home,
        f"{home}/requests",
        f"{home}/requests/{made['omixa']['request_id']}",
        f"{home}/requests/{retried.headers['x-request-id']}",
        f"{home}/requests/{failed.headers['x-request-id']}",
        f"{home}/usage",
        f"{home}/usage?group_by=model",
        f"{home}/usage?group_by=route",
        f"{home}/wallet",
        f"{home}/keys",
        f"{home}/keys/{key_id}",
        f"{home}/pictures",
        f"{home}/pictures?prompt=nothing+like+that",
        f"{home}/settings",
        f"console/{workspace}/live",
        "console/profile",
    ]


def text_of(page: str) -> str:
    """Return what a page shows, roughly."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())
