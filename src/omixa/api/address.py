"""Where this server is, as those see it who reach it."""

from __future__ import annotations

import re

from omixa.api.exchange import Exchange
from omixa.services import Services

_HOST = re.compile(r"[A-Za-z0-9._\-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?", re.ASCII)


def public_address(exchange: Exchange, services: Services) -> str:
    """Return the configured address or, without one, how the client has reached this server; no slash ends it."""
    if services.settings.public_url:
        return services.settings.public_url.rstrip("/")
    host = exchange.header(b"host") or ""
    if not _HOST.fullmatch(host):
        name, port = exchange.scope["server"]
        host = f"{name}:{port}"
    return f"{exchange.scope['scheme']}://{host}"
