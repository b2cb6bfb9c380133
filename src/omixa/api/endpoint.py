"""From a route to its handler: request id, authentication, and errors as HTTP. Every operation passes here and nowhere else."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from starlette.types import Receive, Scope, Send

from omixa.access.roles import SCOPES
from omixa.api.errors import error_body, error_headers
from omixa.api.exchange import Exchange
from omixa.api.operation import Operation
from omixa.api.permission import require_made_for
from omixa.api.signing import require_signature
from omixa.domain.ids import new_id
from omixa.errors import ClientGone, InternalError, OmixaError, ScopeForbidden, Unauthenticated
from omixa.services import Services

log = logging.getLogger(__name__)


class Endpoint:
    """The ASGI application of one operation."""

    def __init__(self, operation: Operation, services: Services) -> None:
        self._operation = operation
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, new_id("req"))
        try:
            if self._operation.authenticated:
                exchange.principal = await self._services.workspaces.authenticate(
                    _bearer(exchange), spends=self._operation.spends
                )
                if exchange.principal.requires_signature:
                    await require_signature(exchange, self._services)
                await self._require_permission(exchange)
            if self._operation.for_operators:
                exchange.operator = self._services.operators.check(_bearer(exchange), now_s=int(time.time()))
            await self._operation.handler(exchange, self._services)
        except ClientGone:
            return
        except OmixaError as error:
            await refuse(exchange, error)
        except Exception:
            log.exception("request.failed", extra={"request_id": exchange.id, "operation": self._operation.id})
            if exchange.started:
                # A second status line cannot be sent: cutting the connection is the only honest end.
                raise
            await refuse(exchange, InternalError(f"Omixa failed on request {exchange.id}. Nothing was charged."))

    async def _require_permission(self, exchange: Exchange) -> None:
        """Raise ScopeForbidden unless the key was made for this, or RoleForbidden where whoever it acts for may not do it."""
        principal, action = exchange.principal, self._operation.action
        if action in SCOPES:
            exchange.member = await self._services.people.member_of(principal, action)
        elif self._operation.takes_images is not None and principal.scopes:
            raise ScopeForbidden("This key manages and makes no pictures. Use one without scopes.", code="scoped_key")
        else:
            require_made_for(principal, action)


async def refuse(exchange: Exchange, error: OmixaError, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Answer with an error. The connection closes when the request's body was not read to its end."""
    headers = [*error_headers(error), *headers]
    if not exchange.body_complete:
        headers.append((b"connection", b"close"))
    await exchange.respond(error.status, b"application/json", error_body(error, exchange.id), headers)


def _bearer(exchange: Exchange) -> str:
    scheme, _, key = (exchange.header(b"authorization") or "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated("Send your API key in the header Authorization: Bearer omx_…", code="missing_api_key")
    return key.strip()
