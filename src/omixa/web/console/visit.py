"""One request of the console: who visits, what they sent, and how they are answered."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

import msgspec

from omixa.access.roles import Action, may, roles_that_may
from omixa.access.sessions import generate_token
from omixa.access.store import KeyOwner
from omixa.api.address import public_address
from omixa.api.errors import Headers
from omixa.api.exchange import Exchange
from omixa.billing.ledger import workspace_account
from omixa.domain.access import Member, Mode, Secret
from omixa.errors import FormRefused, NotFound, OmixaError, RoleForbidden
from omixa.gateway.people import SESSION_LIFETIME_MS, Visitor
from omixa.services import Services
from omixa.storage.database import Transaction
from omixa.web.console.cookies import FLOW, SESSION, Place
from omixa.web.console.forms import EMPTY, Form
from omixa.web.page import Page
from omixa.web.pages import SECURITY
from omixa.web.site import Site

_HTML = b"text/html; charset=utf-8"
ID = re.compile(r"[a-z]{2,5}_[0-9a-hjkmnp-tv-z]{26}")

_OfWorkspace = Literal["overview", "requests", "pictures", "usage", "wallet", "keys", "settings"]
_OfGateway = Literal["routes", "calls", "accounts", "prices", "workspaces", "findings", "margins", "audit"]
Section = Literal[_OfWorkspace, _OfGateway, ""]


class Visit:
    """A request and the answer to it. Who visits is known after `recognise`, and where after `enter_workspace`."""

    def __init__(self, exchange: Exchange, site: Site, services: Services) -> None:
        self.exchange = exchange
        self.site = site
        self.services = services
        self.place = Place(public_address(exchange, services))
        self.token = self.place.read_cookie(exchange)
        self.form: Form = EMPTY
        self._visitor: Visitor | None = None
        self._member: Member | None = None
        self._cookies: dict[str, tuple[bytes, bytes]] = {}
        self._further: Headers = []

    # ------------------------------------------------------------------------------------------------------ who visits

    @property
    def is_signed_in(self) -> bool:
        """Tell whether somebody has signed in."""
        return self._visitor is not None

    @property
    def visitor(self) -> Visitor:
        """Return who has signed in."""
        assert self._visitor is not None, "this route lets everybody in"
        return self._visitor

    @property
    def member(self) -> Member:
        """Return the visitor in the workspace of the path."""
        assert self._member is not None, "this route has no workspace"
        return self._member

    @property
    def mode(self) -> Mode:
        """Return the mode of the path."""
        return "live" if self.exchange.path_parameters["mode"] == "live" else "test"

    @property
    def owner(self) -> KeyOwner:
        """Return whose keys the page is about."""
        return KeyOwner(self.member.workspace_id, self.mode)

    def account_id(self, tx: Transaction) -> str:
        """Return the account that the page is about."""
        return workspace_account(tx, self.member.workspace_id, self.mode)

    async def recognise(self) -> None:
        """Find out who visits."""
        if self.token is not None:
            self._visitor = await self.services.people.visitor(self.token)

    def enter_workspace(self, action: Action) -> None:
        """Let the visitor into the workspace of the path. Raises NotFound for one that is not theirs, or RoleForbidden."""
        parameters = self.exchange.path_parameters
        member = self.visitor.member_of(parameters["workspace"])
        if member is None or parameters["mode"] not in ("live", "test"):
            raise nothing_here()
        if not may(member.role, action):
            enough = roles_that_may(action)
            raise RoleForbidden(
                f"As {member.role} of {member.workspace} you may not do this;"
                f" {', '.join(enough[:-1])} and {enough[-1]} may."
            )
        self._member = member

    def enter_gateway(self) -> None:
        """Let the visitor into the pages of operators. Raises NotFound for everybody else, as if there were none."""
        if not self.visitor.is_operator:
            raise nothing_here()

    def may(self, action: Action) -> bool:
        """Tell whether the visitor's role is enough for an action."""
        return may(self.member.role, action)

    # -------------------------------------------------------------------------------------------------- what they sent

    def require_own_origin(self) -> None:
        """Raise FormRefused unless the browser says that this form comes from a page of ours."""
        origin = (self.exchange.header(b"origin") or "").lower()
        site = self.exchange.header(b"sec-fetch-site") or "same-origin"
        if origin != self.place.origin or site != "same-origin":
            raise FormRefused(
                f"This form does not come from a page of {self.place.origin}. Open the console there and send it again;"
                " behind a proxy, the operator sets public_url to that address."
            )

    def require_form_token(self) -> None:
        """Raise FormRefused unless the form carries what was written into it for this browser."""
        given = self.form.exact("csrf")
        if self.token is None or not self.services.people.keys.is_form_token(self.token, given):
            raise FormRefused("This page is older than your last sign-in. Load it again and send the form from there.")

    def identifier(self, name: str) -> str:
        """Return an id in the path. Raises NotFound for what cannot be one."""
        text: str = self.exchange.path_parameters[name]
        if not ID.fullmatch(text):
            raise nothing_here()
        return text

    @property
    def client_address(self) -> str:
        """Return where the connection comes from: behind a proxy, the proxy."""
        client = self.exchange.scope.get("client") or ("",)
        address: str = client[0]
        return address

    # -------------------------------------------------------------------------------------------- how they are answered

    def call(self, path: str, **query: str | int | None) -> str:
        """Return the call of the API that gives the same, as a command of a shell."""
        given = {name: value for name, value in query.items() if value not in (None, "")}
        question = f"?{urlencode(given)}" if given else ""
        return f"curl '{self.place.address}/api/v1/{path}{question}' \\\n  -H \"Authorization: Bearer $OMIXA_API_KEY\""

    def change(self, action: Action, method: str, path: str, **body: object) -> list[str]:
        """Return the call of the API that changes the same, with a key that has the scope; none for whoever may not do it."""
        return [self._change(method, path, body, "$OMIXA_MANAGEMENT_KEY")] if self.may(action) else []

    def operator_change(self, method: str, path: str, **body: object) -> str:
        """Return the call of the operators' API that changes the same, as a command of a shell on the server."""
        return self._change(method, f"operator/{path}", body, "$(omixa users token)")

    def _change(self, method: str, path: str, body: Mapping[str, object], key: str) -> str:
        lines = [f"curl -X {method} '{self.place.address}/api/v1/{path}'", f'-H "Authorization: Bearer {key}"']
        if body:
            given = shlex.quote(msgspec.json.format(msgspec.json.encode(body), indent=0).decode())
            lines += ['-H "Content-Type: application/json"', f"-d {given}"]
        return " \\\n  ".join(lines)

    def operator_call(self, path: str, **query: str | int | None) -> str:
        """Return the call of the operators' API that gives the same, as a command of a shell on the server."""
        return self.call(f"operator/{path}", **query).replace("$OMIXA_API_KEY", "$(omixa users token)")

    @property
    def home(self) -> str:
        """Return the address of the workspace's pages below the root."""
        return f"console/{self.member.workspace}/{self.mode}"

    @property
    def path(self) -> str:
        """Return the address of this page below the root, each step of it written in one way."""
        raw = self.exchange.scope["path"]
        return "/".join(quote(step, safe="") for step in raw.removeprefix("/").split("/"))

    async def send(
        self, template: str, title: str, *, section: Section = "", status: int = 200, **values: object
    ) -> None:
        """Send a page made from a template."""
        if self.token is None:
            # Forms of visitors who have not signed in belong to their browser too.
            self.token = generate_token()
            self._cookies[SESSION] = self.place.write_cookie(self.token)
        page = Page(self.path, title, "The console of this gateway.", "Console", "", template)
        known: dict[str, Any] = {
            "visitor": self._visitor,
            "member": self._member,
            "csrf": self.services.people.keys.form_token(self.token),
            "section": section,
            "address": self.place.address,
            "takes_passkeys": self.place.domain is not None,
        }
        if self._member is not None:
            known |= {"mode": self.mode, "home": self.home, "may": self.may}
        body = await asyncio.to_thread(self.site.page_for, page, known | values)
        await self._respond(status, _HTML, body, [])

    async def send_json(self, value: object) -> None:
        """Send what a script of ours has asked for."""
        await self._respond(200, b"application/json", msgspec.json.encode(value), [])

    async def send_csv(self, name: str, body: bytes) -> None:
        """Send a table as a file."""
        disposition = f'attachment; filename="{name}"'.encode()
        await self._respond(
            200, b"text/csv; charset=utf-8; header=present", body, [(b"content-disposition", disposition)]
        )

    async def redirect(self, path: str) -> None:
        """Send the browser to another page below the root, to fetch it anew."""
        await self.leave(("../" * self.path.count("/") or "./") + path)

    async def leave(self, address: str) -> None:
        """Send the browser to another address."""
        await self._respond(303, b"text/plain; charset=utf-8", b"", [(b"location", address.encode())])

    async def explain(self, error: OmixaError) -> None:
        """Send the page that says why something was not done."""
        headers: Headers = []
        if not self.exchange.body_complete:
            headers.append((b"connection", b"close"))
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        self._further += headers
        known = self.site.page(f"docs/errors/{error.code}")
        await self.send(
            "console/problem.html",
            "That did not work" if error.status < 500 else "Something is wrong here",
            status=error.status,
            error=error,
            explanation=None if known is None else known.path,
            request_id=self.exchange.id,
        )

    def keep(self, token: Secret | None) -> None:
        """Let the browser keep the token of a session, or forget the one that it has."""
        self._cookies[SESSION] = self.place.write_cookie(token, max_age_s=SESSION_LIFETIME_MS // 1000)
        self.token = token

    def keep_flow(self, flow: Secret | None, *, max_age_s: int | None = None) -> None:
        """Let the browser keep what it needs on its way to a provider and back, or forget it."""
        self._cookies[FLOW] = self.place.write_cookie(flow, FLOW, max_age_s=max_age_s)

    async def _respond(self, status: int, media_type: bytes, body: bytes, headers: Headers) -> None:
        await self.exchange.respond(
            status,
            media_type,
            body,
            [
                *SECURITY,
                (b"cache-control", b"no-store"),
                (b"vary", b"cookie"),
                *self._cookies.values(),
                *self._further,
                *headers,
            ],
        )


def nothing_here() -> NotFound:
    """Return what is said of a place that does not exist, or not for this visitor: it is not told which."""
    return NotFound("There is nothing here, or nothing for you.")


def wanted_place(visit: Visit) -> str:
    """Return where somebody wanted to go who has to sign in first, as the question of an address."""
    query = visit.exchange.scope["query_string"].decode("latin-1")
    path = visit.exchange.scope["path"].removeprefix("/")
    return urlencode({"next": f"{path}?{query}" if query else path})
