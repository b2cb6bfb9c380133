"""From a route to its handler: where the browser is, who visits, what they may do. Every page of the console passes here."""

from __future__ import annotations

import logging

from starlette.types import Receive, Scope, Send

from omixa.access.sessions import generate_token
from omixa.api.exchange import Exchange
from omixa.domain.ids import new_id
from omixa.errors import ClientGone, InternalError, OmixaError
from omixa.services import Services
from omixa.web.console.forms import read_form
from omixa.web.console.routes import ConsoleRoute
from omixa.web.console.visit import Visit, wanted_place
from omixa.web.site import Site

log = logging.getLogger(__name__)


class ConsoleEndpoint:
    """The ASGI application of one route."""

    def __init__(self, route: ConsoleRoute, site: Site, services: Services) -> None:
        self._route = route
        self._site = site
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, new_id("req"))
        visit = Visit(exchange, self._site, self._services)
        try:
            try:
                await self._serve(visit)
            except OmixaError as error:
                if isinstance(error, ClientGone):
                    return
                await visit.explain(error)
        except Exception:
            log.exception("console.failed", extra={"request_id": exchange.id, "path": self._route.path})
            if exchange.started:
                raise
            await visit.explain(InternalError(f"Omixa failed on request {exchange.id}."))

    async def _serve(self, visit: Visit) -> None:
        if not (visit.place.has_tls or visit.place.is_this_machine):
            # A cookie would be read on the way.
            visit.token = generate_token()
            await visit.send("console/no_tls.html", "This connection is not safe", status=403)
            return
        changes = self._route.method == "POST"
        if changes:
            visit.require_own_origin()
            visit.form = await read_form(visit.exchange, self._services)
            visit.require_form_token()
        await visit.recognise()
        if not self._route.for_everybody:
            if not visit.is_signed_in:
                await visit.redirect("sign-in" if changes else f"sign-in?{wanted_place(visit)}")
                return
            if self._route.action is not None:
                visit.enter_workspace(self._route.action)
            if self._route.operates is not None:
                visit.enter_gateway()
        await self._route.handler(visit)
