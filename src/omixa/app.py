"""The ASGI application: routes from the table of operations, the pages, and errors for paths that do not exist."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from omixa.api.endpoint import Endpoint, refuse
from omixa.api.exchange import Exchange
from omixa.api.openapi import document_operation
from omixa.api.operations import API, OPERATIONS
from omixa.domain.ids import new_id
from omixa.errors import MethodNotAllowed, NotFound, OmixaError
from omixa.services import Services
from omixa.web.console.endpoint import ConsoleEndpoint
from omixa.web.console.routes import ROUTES
from omixa.web.pages import CODE_PATH, PATHS, Pages
from omixa.web.site import Site

# Where many clients look by themselves. The API document names the canonical paths only.
ALIAS = "/v1"
# Of a path that does not exist, an error shows so much.
MAX_SHOWN_CHARS = 200


def create_app(services: Services) -> ASGIApp:
    """Return the application that serves every operation and every page."""
    offered = tuple(row for row in OPERATIONS if row.is_offered(services))
    operations = (*offered, document_operation(offered, services.catalogue))
    site = Site(services, operations)
    pages = Pages(site, services)
    return Application(
        Router(
            [
                Route(path, Endpoint(row, services), methods=[row.method], name=row.id)
                for row in operations
                for path in _paths(row.path)
            ]
            + [Route(path, pages, methods=["GET"]) for path in PATHS]
            + [Route(CODE_PATH, pages, methods=["POST"])]
            + [
                Route(row.path, ConsoleEndpoint(row, site, services), methods=[row.method])
                for row in ROUTES
                if row.is_offered(services)
            ],
            # A path has one spelling; a redirect would be an answer outside the document.
            redirect_slashes=False,
        ),
        services.settings.public_path,
    )


def _paths(path: str) -> Iterator[str]:
    """Yield the paths of an operation. Both lead to the same row, so nothing behind the route differs between them."""
    yield path
    if path.startswith(f"{API}/"):
        yield ALIAS + path.removeprefix(API)


class Application:
    """Routes requests. Starlette's own middleware is left out: `Endpoint` maps errors, and pictures pass untouched.

    `prefix` is the path of the public address. A proxy may take it off a request or leave it on.
    """

    def __init__(self, router: Router, prefix: str) -> None:
        self._router = router
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self
        if self._prefix and scope["path"].startswith(f"{self._prefix}/"):
            # Only the request line keeps it: what is signed is what the client has sent.
            scope["path"] = scope["path"].removeprefix(self._prefix)
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            exchange = Exchange(scope, receive, send, new_id("req"))
            # Of these errors, only 405 has headers: it must say which methods there are.
            headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
            await refuse(exchange, self._refusal(error, scope["method"], scope["path"]), headers)

    def _refusal(self, error: HTTPException, method: str, path: str) -> OmixaError:
        asked = f"{method} {path}"[:MAX_SHOWN_CHARS]
        if error.status_code == 405:
            offered = (error.headers or {}).get("Allow", "another method")
            return MethodNotAllowed(f"{asked} is not offered, this path takes {offered}.")
        meant = next((spelling for spelling in _spellings(path) if self._leads_somewhere(spelling)), None)
        hint = "" if meant is None else f" Did you mean {meant}?"
        return NotFound(f"There is no {asked}.{hint} The endpoints are listed in /openapi.json.", code="unknown_path")

    def _leads_somewhere(self, path: str) -> bool:
        routes = (route for route in self._router.routes if isinstance(route, Route))
        return len(path) <= MAX_SHOWN_CHARS and any(route.path_regex.match(path) for route in routes)


def _spellings(path: str) -> Iterator[str]:
    """Yield what may have been meant: clients add paths to an address that lacks the prefix, has it twice or ends in a slash."""
    bare = "/" + path.strip("/")
    yield bare
    yield API + bare
    for prefix in (API, ALIAS):
        yield API + bare.removeprefix(prefix).removeprefix(ALIAS)
